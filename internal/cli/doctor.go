package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"hotpatch/internal/proc"
	"hotpatch/internal/txn"
)

// level is how grave a finding is.
type level string

const (
	levelOK      level = "ok"
	levelWarning level = "warning" // some processes cannot be patched
	levelProblem level = "problem" // none can; of one process: it cannot
)

// finding is one thing that doctor looked at. Check is a fixed word, Says and
// Remedy are for people.
type finding struct {
	Check  string `json:"check"`
	Level  level  `json:"level"`
	Says   string `json:"says"`
	Remedy string `json:"remedy"` // "" when there is nothing to do
}

// diagnosis is the documented shape of `doctor --json`.
type diagnosis struct {
	Works   bool             `json:"works"` // nothing keeps every apply from working
	Checks  []finding        `json:"checks"`
	Process *processFindings `json:"process"` // null without --pid
}

// processFindings is what one process is like.
type processFindings struct {
	PID        int           `json:"pid"`
	Comm       string        `json:"comm"`
	Patchable  bool          `json:"patchable"` // apply would try
	Checks     []finding     `json:"checks"`
	Images     []mappedImage `json:"images"`
	Hotpatches []txn.State   `json:"hotpatches"`
}

// mappedImage is one ELF file that the process has mapped as code.
type mappedImage struct {
	Path    string `json:"path"`
	BuildID string `json:"build_id"`
}

func (a *app) doctorCmd() *cobra.Command {
	var pids []int
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "doctor [--pid PID]",
		Short: "Check what could keep hotpatch from working here",
		Long: `doctor checks ahead what could keep apply from working on this host: privileges,
Yama, security modules, how the kernel guards code, seccomp, namespaces. It
names the setting and what to do about it. It starts a small process of its own
and does to it what apply does, with the bytes that are there anyway.

With --pid it also judges one process as apply would, without touching it: who
traces it, its sandbox, its limits, the images it maps and the hotpatches it
carries.

ok        nothing in the way
warning   some processes cannot be patched
problem   none can be; with --pid: this one cannot

Exit code 0: apply can work. 3: there is a problem.`,
		Example: `  hotpatch doctor
  sudo hotpatch doctor --pid 812
  hotpatch doctor --json`,
		Args: needs(),
	}
	pidsFlag(cmd, &pids, "judge this `PID`, too")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the findings as JSON")
	cmd.RunE = a.verb(func(ctx context.Context, _ []string) error {
		pids, err := checkPIDs("doctor", pids)
		if err != nil {
			return err
		}
		if len(pids) > 1 {
			return usage("doctor: one --pid at a time")
		}
		return a.doctor(ctx, pids, asJSON)
	})
	cmd.AddCommand(a.patientCmd())
	return cmd
}

func (a *app) doctor(ctx context.Context, pids []int, asJSON bool) error {
	host, err := proc.ReadHost()
	if err != nil {
		return fmt.Errorf("examine host: %w", err)
	}
	me := os.Getpid()
	rights, err := proc.ReadRights(me, me)
	if err != nil {
		return fmt.Errorf("examine ourselves: %w", err)
	}
	d := diagnosis{Works: true, Checks: append(judgeHost(host, rights), operate(ctx, host, rights).findings(host, rights)...)}
	if d.Works = !hasProblem(d.Checks); len(pids) > 0 {
		if d.Process, err = examineProcess(pids[0], host, rights); err != nil {
			return err
		}
	}
	if asJSON {
		err = writeJSON(a.out, d)
	} else {
		err = a.printDiagnosis(d)
	}
	if err != nil {
		return err
	}
	if !d.Works || d.Process != nil && !d.Process.Patchable {
		return done(exitRefused)
	}
	return nil
}

func hasProblem(fs []finding) bool {
	for _, f := range fs {
		if f.Level == levelProblem {
			return true
		}
	}
	return false
}

func allFine(fs []finding) bool {
	for _, f := range fs {
		if f.Level != levelOK {
			return false
		}
	}
	return true
}

func (a *app) printDiagnosis(d diagnosis) error {
	var w strings.Builder
	a.printFindings(&w, d.Checks)
	if p := d.Process; p != nil {
		fmt.Fprintf(&w, "\n%s\n", a.outStyle.bold(fmt.Sprintf("%s (%d)", orPID(p.Comm), p.PID)))
		a.printFindings(&w, p.Checks)
		for _, m := range p.Images {
			id := m.BuildID
			if id == "" {
				id = "no build-id"
			}
			fmt.Fprintf(&w, "  maps     %s  %s\n", plain(m.Path), plain(id))
		}
		for _, h := range p.Hotpatches {
			fmt.Fprintf(&w, "  carries  %s  %s, %s\n", h.ID.Short(), plain(h.Package), plain(h.State))
		}
	}
	fmt.Fprintln(&w)
	switch {
	case !d.Works:
		fmt.Fprintln(&w, a.outStyle.bad("no process can be patched as things are"))
	case d.Process == nil && allFine(d.Checks):
		fmt.Fprintln(&w, a.outStyle.good("processes can be patched on this host"))
	case d.Process == nil:
		fmt.Fprintln(&w, a.outStyle.good("processes can be patched on this host, with the exceptions above"))
	case d.Process.Patchable:
		fmt.Fprintln(&w, a.outStyle.good("this process can be patched by a hotpatch for one of its images"))
	default:
		fmt.Fprintln(&w, a.outStyle.bad("this process cannot be patched as things are"))
	}
	_, err := io.WriteString(a.out, w.String())
	return err
}

func orPID(comm string) string {
	if comm == "" {
		return "pid"
	}
	return plain(comm)
}

// printFindings prints one line for each, and one more for what to do:
//
//	warning  sandbox   hotpatch itself runs under a seccomp filter: ...
//	         → run it outside the container's sandbox
func (a *app) printFindings(w io.Writer, fs []finding) {
	wide := 0
	for _, f := range fs {
		wide = max(wide, len(f.Check))
	}
	for _, f := range fs {
		word := fmt.Sprintf("%-7s", f.Level)
		switch f.Level {
		case levelOK:
			word = a.outStyle.good(word)
		case levelWarning:
			word = a.outStyle.warn(word)
		default:
			word = a.outStyle.bad(word)
		}
		fmt.Fprintf(w, "%s  %-*s  %s\n", word, wide, f.Check, plain(f.Says))
		if f.Remedy != "" {
			fmt.Fprintf(w, "%s  %s\n", strings.Repeat(" ", 9+wide), a.outStyle.dim("→ "+plain(f.Remedy)))
		}
	}
}
