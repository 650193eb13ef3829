package cli

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// manCmd writes the manual pages from the same texts as --help. They hold no
// date: the same commands give the same pages.
func (a *app) manCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "man DIR",
		Short:   "Write the manual pages, one per command, into DIR",
		Example: "  hotpatch man docs/man",
		Args:    needs("DIR"),
	}
	cmd.RunE = a.verb(func(_ context.Context, args []string) error {
		if err := os.MkdirAll(args[0], 0o755); err != nil {
			return fmt.Errorf("make directory for manual pages: %w", err)
		}
		return manTree(cmd.Root(), args[0])
	})
	return cmd
}

func manTree(c *cobra.Command, dir string) error {
	c.InitDefaultHelpFlag()
	name := filepath.Join(dir, pageName(c)+".1")
	if err := os.WriteFile(name, []byte(manPage(c)), 0o644); err != nil {
		return fmt.Errorf("write manual page: %w", err)
	}
	for _, sub := range c.Commands() {
		if !sub.IsAvailableCommand() || sub.IsAdditionalHelpTopicCommand() {
			continue
		}
		if err := manTree(sub, dir); err != nil {
			return err
		}
	}
	return nil
}

func pageName(c *cobra.Command) string { return strings.ReplaceAll(c.CommandPath(), " ", "-") }

// manPage is the page of one command in the man macros of man(7).
func manPage(c *cobra.Command) string {
	var w strings.Builder
	fmt.Fprintf(&w, ".TH %s 1 \"\" hotpatch \"hotpatch manual\"\n", strings.ToUpper(pageName(c)))
	fmt.Fprintf(&w, ".SH NAME\n%s \\- %s\n", roff(pageName(c)), roff(lowerFirst(c.Short)))
	fmt.Fprintf(&w, ".SH SYNOPSIS\n\\fB%s\\fR\n", roff(c.UseLine()))
	if c.Long != "" {
		fmt.Fprintf(&w, ".SH DESCRIPTION\n%s", paragraphs(c.Long))
	}
	manFlags(&w, "OPTIONS", c.NonInheritedFlags())
	manFlags(&w, "OPTIONS OF ALL COMMANDS", c.InheritedFlags())
	if c.Example != "" {
		fmt.Fprintf(&w, ".SH EXAMPLES\n.nf\n%s\n.fi\n", roffLines(c.Example))
	}
	if related := seeAlso(c); len(related) > 0 {
		fmt.Fprintf(&w, ".SH SEE ALSO\n%s\n", strings.Join(related, ",\n"))
	}
	return w.String()
}

func lowerFirst(s string) string {
	if s == "" {
		return s
	}
	return strings.ToLower(s[:1]) + s[1:]
}

func seeAlso(c *cobra.Command) []string {
	var out []string
	add := func(c *cobra.Command) { out = append(out, fmt.Sprintf("\\fB%s\\fR(1)", roff(pageName(c)))) }
	if c.HasParent() {
		add(c.Parent())
	}
	for _, sub := range c.Commands() {
		if sub.IsAvailableCommand() && !sub.IsAdditionalHelpTopicCommand() {
			add(sub)
		}
	}
	return out
}

func manFlags(w *strings.Builder, heading string, flags *pflag.FlagSet) {
	if !flags.HasAvailableFlags() {
		return
	}
	fmt.Fprintf(w, ".SH %s\n", heading)
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Hidden {
			return
		}
		value, text := pflag.UnquoteUsage(f)
		name := "\\fB" + roff("--"+f.Name) + "\\fR"
		if f.Shorthand != "" {
			name = "\\fB" + roff("-"+f.Shorthand) + "\\fR, " + name
		}
		if value != "" {
			name += " \\fI" + roff(value) + "\\fR"
		}
		switch f.DefValue {
		case "", "false", "0", "0s", "[]":
		default:
			text += " (default " + f.DefValue + ")"
		}
		fmt.Fprintf(w, ".TP\n%s\n%s\n", name, roffLines(text))
	})
}

// paragraphs keeps the paragraphs of a text and lets the reader's width break
// its lines.
func paragraphs(text string) string {
	var w strings.Builder
	for i, p := range strings.Split(strings.TrimSpace(text), "\n\n") {
		if i > 0 {
			w.WriteString(".PP\n")
		}
		w.WriteString(roffLines(p) + "\n")
	}
	return w.String()
}

func roffLines(text string) string {
	lines := strings.Split(text, "\n")
	for i, l := range lines {
		lines[i] = roff(l)
	}
	return strings.Join(lines, "\n")
}

// roff escapes what groff takes for its own: backslashes, a hyphen (that would
// be printed as one that cannot be copied), and a dot or quote that starts a line.
func roff(s string) string {
	s = strings.ReplaceAll(s, `\`, `\e`)
	s = strings.ReplaceAll(s, `-`, `\-`)
	if strings.HasPrefix(s, ".") || strings.HasPrefix(s, "'") {
		s = `\&` + s
	}
	return s
}
