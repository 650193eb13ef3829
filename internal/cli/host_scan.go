package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"hotpatch/internal/scan"
	"hotpatch/internal/txn"
)

// scanned is the documented shape of `host scan --json`.
type scanned struct {
	*scan.Snapshot
	Needs []scan.Need `json:"needs"`
}

func (a *app) hostScanCmd() *cobra.Command {
	var asJSON, all bool
	cmd := &cobra.Command{
		Use:   "scan [--all]",
		Short: "Compare what is on disk, in memory and at the next start",
		Long: `scan looks at every process of this host, those in containers too: which
package's images it has in memory, which version of the package is on disk, and
whether its next start would load the same file. It reads build-ids, never
version numbers alone; it stops nothing and attaches to nothing.

Listed are the packages of which something else runs than the disk has, and
those with hotpatches; with --all every package of which something runs.
Processes that could not be examined are counted on stderr.`,
		Example: `  hotpatch host scan
  hotpatch host scan --all
  hotpatch host scan --json`,
		Args: needs(),
	}
	cmd.Flags().BoolVar(&all, "all", false, "list what is up to date, too")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the whole inventory as JSON")
	cmd.RunE = a.verb(func(ctx context.Context, _ []string) error {
		return a.hostScan(ctx, asJSON, all)
	})
	return cmd
}

func (a *app) hostScan(ctx context.Context, asJSON, all bool) error {
	snap, err := scan.New(scan.Options{Applied: appliedIn}).Scan(ctx)
	if err != nil {
		return err
	}
	if asJSON {
		err = writeJSON(a.out, scanned{snap, snap.Needs()})
	} else {
		_, err = io.WriteString(a.out, scanTable(snap, all))
	}
	if err != nil {
		return err
	}
	denied := map[int]error{}
	for _, p := range snap.Processes {
		if p.Unknown != "" {
			denied[p.PID] = errors.New(p.Unknown)
		}
	}
	a.printDenied(denied)
	return nil
}

// appliedIn reads the hotpatches of a process for an inventory.
func appliedIn(pid int) ([]scan.Applied, error) {
	states, err := txn.Status(pid)
	if err != nil {
		return nil, err
	}
	var out []scan.Applied
	for _, s := range states {
		x := scan.Applied{ID: string(s.ID), Package: s.Package, State: s.State}
		for _, g := range s.Images {
			x.Images = append(x.Images, g.BuildID)
		}
		out = append(out, x)
	}
	return out, nil
}

// scanRow is one line: a package as the processes of one unit run it.
type scanRow struct {
	root, unit, pkg, memory, disk, state string
}

// What can be said of a package in a process, from best to worst.
const (
	scanCurrent  = "current"
	scanPatched  = "hotpatched"
	scanReplaced = "needs restart" // or a hotpatch
)

func scanTable(snap *scan.Snapshot, all bool) string {
	pids := map[scanRow][]int{}
	for _, p := range snap.Processes {
		states := map[scanRow]bool{}
		for _, l := range p.Images {
			if l.Package == "" {
				continue
			}
			r := scanRow{root: p.Root, unit: cmp.Or(p.Unit, "-"), pkg: l.Package,
				memory: cmp.Or(l.Version, "unknown"), disk: cmp.Or(l.Disk, "-"), state: stateOf(p, l)}
			if l.Old() && l.Version == "" {
				r.memory = "other than on disk"
			}
			states[r] = true
		}
		for r := range states {
			if all || r.state != scanCurrent {
				pids[r] = append(pids[r], p.PID)
			}
		}
	}
	rows := make([]scanRow, 0, len(pids))
	for r := range pids {
		rows = append(rows, r)
	}
	slices.SortFunc(rows, func(a, b scanRow) int {
		return cmp.Or(strings.Compare(a.root, b.root), strings.Compare(a.pkg, b.pkg), strings.Compare(a.unit, b.unit),
			strings.Compare(a.state, b.state), strings.Compare(a.memory, b.memory))
	})
	out := [][]string{{"PACKAGE", "IN MEMORY", "ON DISK", "STATE", "UNIT", "PROCESSES"}}
	for _, r := range rows {
		pkg := r.pkg
		if r.root != "" {
			pkg += " in " + r.root
		}
		out = append(out, []string{plain(pkg), plain(r.memory), plain(r.disk), r.state, plain(r.unit), pidList(pids[r])})
	}
	var w strings.Builder
	if len(rows) > 0 {
		table(&w, out)
	}
	fmt.Fprint(&w, scanSummary(snap))
	return w.String()
}

func stateOf(p scan.Process, l scan.Loaded) string {
	patched := slices.ContainsFunc(p.Patches, func(a scan.Applied) bool {
		return a.State == scan.InForce && slices.Contains(a.Images, l.BuildID)
	})
	switch {
	case patched:
		return scanPatched
	case l.Old():
		return scanReplaced
	}
	return scanCurrent
}

// scanSummary says the whole in one or a few lines.
func scanSummary(snap *scan.Snapshot) string {
	old, patched, unknown := 0, 0, 0
	for _, p := range snap.Processes {
		switch {
		case p.Unknown != "":
			unknown++
		case slices.ContainsFunc(p.Images, func(l scan.Loaded) bool { return l.Package != "" && stateOf(p, l) == scanReplaced }):
			old++
		case len(p.Patches) > 0:
			patched++
		}
	}
	var w strings.Builder
	fmt.Fprintf(&w, "%s: %d run files that the disk no longer has, %d hotpatched, %d unknown\n", count(len(snap.Processes), "process"), old, patched, unknown)
	if k := snap.Reboot.Kernel; k.Old {
		fmt.Fprintf(&w, "kernel %s runs, %s is installed: a reboot loads it\n", plain(k.Version), plain(k.Next))
	}
	if snap.Reboot.Required {
		fmt.Fprintf(&w, "packages ask for a reboot: %s\n", plain(strings.Join(snap.Reboot.Packages, ", ")))
	}
	return w.String()
}
