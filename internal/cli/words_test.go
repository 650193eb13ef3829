package cli_test

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"hotpatch/internal/cli"
	"hotpatch/internal/txn"
)

func TestOutcomesBecomeExitCodes(t *testing.T) {
	for _, c := range []struct {
		outcomes string
		denied   int
		want     int
	}{
		{"", 0, 3},
		{"", 7, 3},
		{"applied", 0, 0},
		{"applied already", 0, 0},
		{"already", 0, 0},
		{"reverted", 0, 0},
		{"applied", 1, 4}, // who knows what that one runs
		{"applied busy", 0, 4},
		{"applied skipped", 0, 4},
		{"already refused", 0, 4},
		{"applied died", 0, 4},
		{"applied failed", 0, 4},
		{"busy", 0, 3},
		{"refused skipped", 0, 3},
		{"skipped", 0, 3},
		{"failed", 0, 1},
		{"died", 0, 1},
		{"busy failed", 0, 1},
		{"something-new", 0, 3},
	} {
		var rs []txn.Result
		for _, o := range strings.Fields(c.outcomes) {
			rs = append(rs, txn.Result{Outcome: txn.Outcome(o)})
		}
		if got := cli.OutcomeCode(rs, c.denied); got != c.want {
			t.Errorf("%q and %d not examined: exit code %d, want %d", c.outcomes, c.denied, got, c.want)
		}
	}
}

func TestInterruptedCommandSaysSo(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cmd := &cobra.Command{Use: "build"}
	cmd.SetContext(ctx)
	err := fmt.Errorf("/usr/lib/libx.so: %w", context.Canceled)
	if out, code := cli.Ended(cmd, err); !strings.Contains(out, "libx.so: context canceled") || code != 1 {
		t.Errorf("nobody interrupted it: %q, exit code %d", out, code)
	}
	cancel()
	if out, code := cli.Ended(cmd, err); out != "hotpatch: build: interrupted before it was done\n" || code != 1 {
		t.Errorf("interrupted: %q, exit code %d", out, code)
	}
}

func TestTextFromOutsideCannotControlTheTerminal(t *testing.T) {
	if got := cli.Plain("a\x1b[31mb\nc\u009bd\xff→"); got != "a?[31mb?c?d?→" {
		t.Errorf("got %q", got)
	}
}

// The codes are build's; their words for people are here.
func TestEveryReasonIsExplained(t *testing.T) {
	text, err := os.ReadFile("../build/reasons.go")
	if err != nil {
		t.Fatal(err)
	}
	codes := regexp.MustCompile(`(?m)^\t\w+ += "([a-z-]+)"$`).FindAllStringSubmatch(string(text), -1)
	if len(codes) < 10 {
		t.Fatalf("found only %d codes in build", len(codes))
	}
	for _, c := range codes {
		if !cli.Known(c[1]) {
			t.Errorf("%s: not explained in reasons.go", c[1])
		}
	}
	if means, todo := cli.MeaningOf("not-a-code"); means == "" || todo == "" {
		t.Error("an unknown code gets no words")
	}
}

// visible are the commands that --help lists.
func visible() []*cobra.Command {
	var cmds []*cobra.Command
	for _, c := range cli.Root().Commands() {
		if !c.Hidden && c.Name() != "help" && c.Name() != "completion" {
			cmds = append(cmds, c)
		}
	}
	return cmds
}

func TestEveryCommandExplainsItself(t *testing.T) {
	for _, c := range visible() {
		if c.Short == "" || c.Example == "" || c.GroupID == "" {
			t.Errorf("%s: has no summary, no example or no group", c.Name())
		}
		for _, sub := range c.Commands() { // of a group: each says what it is for
			if !sub.Hidden && (sub.Short == "" || sub.Long == "" && sub.Example == "") {
				t.Errorf("%s %s: has no summary, or neither text nor example", c.Name(), sub.Name())
			}
		}
		if c.Name() != "demo" && c.Name() != "man" && !c.HasAvailableSubCommands() && c.Flags().Lookup("json") == nil {
			t.Errorf("%s: has no --json", c.Name())
		}
	}
}

// The pages are written for man: every option is in them, and nothing that
// would be taken for a macro.
func TestManualPagesSayWhatHelpSays(t *testing.T) {
	macro := regexp.MustCompile(`^\.(TH|SH|TP|PP|nf|fi)\b`)
	for _, c := range visible() {
		c.InitDefaultHelpFlag()
		page := cli.ManPage(c)
		for line := range strings.Lines(page) {
			if strings.HasPrefix(line, "'") || strings.HasPrefix(line, ".") && !macro.MatchString(line) {
				t.Errorf("%s: %q would be read as a macro", c.Name(), line)
			}
		}
		c.Flags().VisitAll(func(f *pflag.Flag) {
			if !f.Hidden && !strings.Contains(page, `\fB\-\-`+strings.ReplaceAll(f.Name, "-", `\-`)+`\fR`) {
				t.Errorf("%s: --%s is not in its page", c.Name(), f.Name)
			}
		})
		for _, part := range []string{"NAME\nhotpatch\\-" + c.Name(), "SYNOPSIS", "OPTIONS", "EXAMPLES", "SEE ALSO"} {
			if !strings.Contains(page, ".SH "+part) {
				t.Errorf("%s: no %s in its page", c.Name(), part)
			}
		}
	}
}

// A value of a flag is named after what it is, not after its type in Go.
func TestFlagsNameTheirValues(t *testing.T) {
	var look func(c *cobra.Command)
	look = func(c *cobra.Command) {
		c.Flags().VisitAll(func(f *pflag.Flag) {
			if name, _ := pflag.UnquoteUsage(f); name != strings.ToUpper(name) {
				t.Errorf("%s --%s %s: the value's name is not in upper case", c.CommandPath(), f.Name, name)
			}
		})
		for _, sub := range c.Commands() {
			look(sub)
		}
	}
	look(cli.Root())
}

// The README's table of commands is the one people read first.
func TestReadmeListsTheCommands(t *testing.T) {
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	var listed []string
	for _, m := range regexp.MustCompile("(?m)^\\| `hotpatch ([a-z]+)").FindAllStringSubmatch(string(text), -1) {
		listed = append(listed, m[1])
	}
	var have []string
	for _, c := range visible() {
		have = append(have, c.Name())
	}
	slices.Sort(listed)
	slices.Sort(have)
	if !slices.Equal(listed, have) {
		t.Errorf("README.md lists %v, the program has %v", listed, have)
	}
}
