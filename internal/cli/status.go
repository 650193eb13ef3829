package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sort"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"hotpatch/internal/patch"
	"hotpatch/internal/proc"
	"hotpatch/internal/txn"
)

// carrier is one process and the hotpatches in it; the documented element of
// `status --json`.
type carrier struct {
	PID        int         `json:"pid"`
	Comm       string      `json:"comm"`
	Hotpatches []txn.State `json:"hotpatches"`
}

// carries says whether the hotpatch is in the process, or may be in part.
func (c carrier) carries(id patch.ID) bool {
	for _, h := range c.Hotpatches {
		if h.ID == id {
			return true
		}
	}
	return false
}

func (a *app) statusCmd() *cobra.Command {
	var pids []int
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "status [--pid N]...",
		Short: "Show which processes carry which hotpatches",
		Long: `status reads from the processes themselves which hotpatches they carry. It
stops nothing and attaches to nothing. Processes that could not be examined are
counted on stderr.`,
		Example: `  hotpatch status
  hotpatch status --pid 812 --json`,
		Args: needs(),
	}
	cmd.Flags().IntSliceVar(&pids, "pid", nil, "only this `PID`; may be given several times")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the listing as JSON")
	cmd.RunE = a.verb(func(context.Context, []string) error {
		pids, err := checkPIDs("status", pids)
		if err != nil {
			return err
		}
		return a.status(pids, asJSON)
	})
	return cmd
}

func (a *app) status(pids []int, asJSON bool) error {
	cs, denied, err := carriers(pids)
	if err != nil {
		return err
	}
	if asJSON {
		err = writeJSON(a.out, cs)
	} else {
		err = a.printStatus(cs, pids)
	}
	if err != nil {
		return err
	}
	a.printDenied(denied)
	if len(pids) > 0 && len(denied) > 0 {
		if len(denied) == len(pids) {
			return done(exitFailed)
		}
		return done(exitPartly)
	}
	return nil
}

// carriers reads the hotpatches of the given processes, or of every process on
// the host that carries any. What could not be read is in denied; without
// pids, a process that ended meanwhile is left out.
func carriers(pids []int) (cs []carrier, denied map[int]error, err error) {
	asked := len(pids) > 0
	if !asked {
		if pids, denied, err = txn.Patched(""); err != nil {
			return nil, nil, fmt.Errorf("find patched processes: %w", err)
		}
	}
	if denied == nil {
		denied = map[int]error{}
	}
	cs = []carrier{}
	for _, pid := range pids {
		states, err := txn.Status(pid)
		if err == nil && asked && len(states) == 0 {
			_, err = proc.Read(pid) // no hotpatch, or no process?
		}
		if err != nil {
			if asked || !errors.Is(err, proc.ErrGone) {
				denied[pid] = err
			}
			continue
		}
		cs = append(cs, carrier{PID: pid, Comm: commOf(pid), Hotpatches: nonNil(states)})
	}
	sort.Slice(cs, func(i, j int) bool { return cs[i].PID < cs[j].PID })
	return cs, denied, nil
}

func (a *app) printStatus(cs []carrier, asked []int) error {
	rows := [][]string{{"PID", "COMMAND", "PACKAGE", "ID", "FUNCTIONS", "SINCE", "STATE"}}
	for _, c := range cs {
		for _, h := range c.Hotpatches {
			functions := 0
			for _, im := range h.Images {
				functions += im.Functions
			}
			since := "-"
			if !h.Since.IsZero() {
				since = h.Since.Local().Format(time.DateTime)
			}
			pkg := h.Package
			if pkg == "" {
				pkg = "-"
			}
			rows = append(rows, []string{fmt.Sprint(c.PID), plain(c.Comm), plain(pkg), h.ID.Short(), fmt.Sprint(functions), since, plain(h.State)})
		}
	}
	var w strings.Builder
	switch {
	case len(rows) > 1:
		table(&w, rows)
	case len(asked) == 0:
		fmt.Fprintln(&w, "no process carries a hotpatch")
	default:
		for _, c := range cs {
			fmt.Fprintf(&w, "%s (%d) carries no hotpatch\n", plain(c.Comm), c.PID)
		}
	}
	_, err := io.WriteString(a.out, w.String())
	return err
}
