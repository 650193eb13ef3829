package cli

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"hotpatch/internal/txn"
)

// pidsFlag adds --pid to a command; it is completed with the processes there are.
func pidsFlag(cmd *cobra.Command, pids *[]int, words string) {
	cmd.Flags().Var((*pidsValue)(pids), "pid", words)
	_ = cmd.RegisterFlagCompletionFunc("pid", completePIDs) // fails only for a flag that is not there
}

// durationFlag adds a flag whose value is a time such as 30s.
func durationFlag(fl *pflag.FlagSet, d *time.Duration, name string, value time.Duration, words string) {
	*d = value
	fl.Var(&durationValue{name, d}, name, words)
}

// waitFlag adds --wait, which several verbs have.
func waitFlag(fl *pflag.FlagSet, d *time.Duration) {
	durationFlag(fl, d, "wait", 0, "go on trying for `DURATION` while a process is busy, such as 30s (default: 3s)")
}

// pidsValue are the pids of --pid, which may be given several times, or with
// commas.
type pidsValue []int

func (v *pidsValue) Type() string   { return "pids" }
func (v *pidsValue) String() string { return strings.Trim(fmt.Sprint([]int(*v)), "[]") }

func (v *pidsValue) Set(text string) error {
	for word := range strings.SplitSeq(text, ",") {
		pid, err := strconv.ParseInt(strings.TrimSpace(word), 10, 32)
		switch {
		case err == nil:
			*v = append(*v, int(pid))
		case programName().MatchString(word):
			return usage("%q is not a pid (pidof %s tells it)", word, word)
		default:
			return usage("%q is not a pid", word)
		}
	}
	return nil
}

// programName is what the name of a program looks like.
var programName = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[A-Za-z][\w.+-]*$`) })

// durationValue is a time with its unit.
type durationValue struct {
	flag string
	d    *time.Duration
}

func (v *durationValue) Type() string { return "duration" }

func (v *durationValue) String() string {
	if v.d == nil || *v.d == 0 {
		return ""
	}
	return shortDuration(*v.d)
}

func (v *durationValue) Set(text string) error {
	d, err := time.ParseDuration(text)
	if err != nil {
		return usage("--%s %s: say 30s or 5m", v.flag, text)
	}
	*v.d = d
	return nil
}

// flagError takes a value's own words; pflag would put its type and flag before.
func flagError(_ *cobra.Command, err error) error {
	if invalid := (*pflag.InvalidValueError)(nil); errors.As(err, &invalid) {
		if own := (*exitError)(nil); errors.As(invalid.Unwrap(), &own) {
			return own
		}
	}
	return err
}

// completePIDs offers the processes with their commands. Threads of the kernel
// have none: their command line is empty.
func completePIDs(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	dirs, _ := filepath.Glob("/proc/[1-9]*")
	var found []string
	for _, dir := range dirs {
		if line, err := os.ReadFile(filepath.Join(dir, "cmdline")); err != nil || len(line) == 0 {
			continue
		}
		if comm, err := os.ReadFile(filepath.Join(dir, "comm")); err == nil {
			found = append(found, filepath.Base(dir)+"\t"+plain(strings.TrimSpace(string(comm))))
		}
	}
	return found, cobra.ShellCompDirectiveNoFileComp
}

// completeIDs offers the ids of what processes carry, besides files.
func completeIDs(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	carrying, _, err := txn.Patched("")
	if err != nil {
		return nil, cobra.ShellCompDirectiveDefault
	}
	var found []string
	seen := map[string]bool{}
	for _, c := range carrying {
		for _, h := range c.States {
			if id := h.ID.Short(); !seen[id] {
				seen[id] = true
				found = append(found, id+"\tin "+plain(c.Comm))
			}
		}
	}
	return found, cobra.ShellCompDirectiveDefault
}
