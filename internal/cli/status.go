package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/user"
	"sort"
	"strconv"
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
	var asJSON, long bool
	cmd := &cobra.Command{
		Use:   "status [--pid PID]... [--long]",
		Short: "Show which processes carry which hotpatches",
		Long: `status reads from the processes themselves which hotpatches they carry, since
when and by whom. It stops nothing and attaches to nothing. Processes that could
not be examined are counted on stderr.

STATE is what memory holds:

applied      the new code runs
interrupted  a tool was killed half way; apply or revert again
damaged      something else changed what was written

DISK is what the next start of the program loads:

fixed    the file that the hotpatch was made from
base     the file with the flaw: install the fixed package
other    another file, as after a later update
gone     none: it was removed
unknown  it cannot be read`,
		Example: `  hotpatch status
  hotpatch status --long
  hotpatch status --pid 812 --json`,
		Args: needs(),
	}
	pidsFlag(cmd, &pids, "only this `PID`; may be given several times")
	cmd.Flags().BoolVarP(&long, "long", "l", false, "show images, build-ids and functions, too")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the listing as JSON")
	cmd.RunE = a.verb(func(context.Context, []string) error {
		pids, err := checkPIDs("status", pids)
		if err != nil {
			return err
		}
		return a.status(pids, asJSON, long)
	})
	return cmd
}

func (a *app) status(pids []int, asJSON, long bool) error {
	cs, denied, err := carriers(pids)
	if err != nil {
		return err
	}
	carrying, states := make([]int, len(cs)), make([][]txn.State, len(cs))
	for i, c := range cs {
		carrying[i], states[i] = c.PID, c.Hotpatches
	}
	txn.Disks(carrying, states)
	switch {
	case asJSON:
		err = writeJSONList(a.out, cs)
	case long:
		err = a.printLong(cs)
	default:
		err = a.printStatus(cs, pids, len(denied))
	}
	if err != nil {
		return err
	}
	a.printDenied(denied)
	if len(pids) == 0 && len(denied) > 0 && os.Geteuid() != 0 {
		a.hint("run it as root to examine every process")
		if len(cs) == 0 {
			return done(exitPartly)
		}
		return nil
	}
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
	cs = []carrier{}
	if len(pids) == 0 {
		found, denied, err := txn.Patched("")
		if err != nil {
			return nil, nil, fmt.Errorf("find patched processes: %w", err)
		}
		for _, c := range found {
			cs = append(cs, carrier{PID: c.PID, Comm: c.Comm, Hotpatches: c.States})
		}
		return cs, denied, nil
	}
	denied = map[int]error{}
	for _, pid := range pids {
		states, err := txn.Status(pid)
		if err == nil && len(states) == 0 {
			_, err = proc.Read(pid) // no hotpatch, or no process?
		}
		if err != nil {
			denied[pid] = err
			continue
		}
		cs = append(cs, carrier{PID: pid, Comm: commOf(pid), Hotpatches: nonNil(states)})
	}
	sort.Slice(cs, func(i, j int) bool { return cs[i].PID < cs[j].PID })
	return cs, denied, nil
}

func (a *app) printStatus(cs []carrier, asked []int, unknown int) error {
	rows := [][]string{{"PID", "COMMAND", "PACKAGE", "ID", "FUNCTIONS", "SINCE", "BY", "DISK", "STATE"}}
	for _, c := range cs {
		for _, h := range c.Hotpatches {
			rows = append(rows, []string{
				fmt.Sprint(c.PID), plain(c.Comm), orDash(plain(h.Package)), h.ID.Short(), fmt.Sprint(len(h.Names)),
				sinceText(h.Since), plain(byText(h)), diskText(h), plain(h.State),
			})
		}
	}
	var w strings.Builder
	switch {
	case len(rows) > 1:
		table(&w, rows)
	case len(asked) == 0 && unknown > 0 && os.Geteuid() != 0:
		fmt.Fprintln(&w, "none of the processes that could be examined carries a hotpatch")
	case len(asked) == 0:
		fmt.Fprintln(&w, "no process carries a hotpatch")
	default:
		printNone(&w, cs)
	}
	_, err := io.WriteString(a.out, w.String())
	return err
}

func printNone(w io.Writer, cs []carrier) {
	for _, c := range cs {
		fmt.Fprintf(w, "%s (%d) carries no hotpatch\n", plain(c.Comm), c.PID)
	}
}

// printLong shows everything there is to know, one block for each process.
func (a *app) printLong(cs []carrier) error {
	var w strings.Builder
	if len(cs) == 0 {
		fmt.Fprintln(&w, "no process carries a hotpatch")
	}
	for _, c := range cs {
		if len(c.Hotpatches) == 0 {
			printNone(&w, []carrier{c})
			continue
		}
		fmt.Fprintf(&w, "%s\n", a.outStyle.bold(fmt.Sprintf("%s (%d)", orPID(c.Comm), c.PID)))
		for _, h := range c.Hotpatches {
			a.printHotpatch(&w, h)
		}
	}
	_, err := io.WriteString(a.out, w.String())
	return err
}

func (a *app) printHotpatch(w io.Writer, h txn.State) {
	state := plain(h.State)
	if h.State == txn.InForce {
		state = a.outStyle.good(state)
	} else {
		state = a.outStyle.bad(state)
	}
	fmt.Fprintf(w, "  %s  %s  %s\n", h.ID.Short(), orDash(plain(h.Package)), state)
	tool := ""
	if h.Tool != "" {
		tool = " with hotpatch " + plain(h.Tool)
	}
	fmt.Fprintf(w, "    since     %s by %s (uid %d)%s, %s\n", sinceText(h.Since), plain(byText(h)), h.UID, tool, plain(string(h.Mode)))
	for _, g := range h.Images {
		fmt.Fprintf(w, "    image     %s\n", plain(g.Path))
		fmt.Fprintf(w, "      base    %s\n", plain(g.BuildID))
		fmt.Fprintf(w, "      fixed   %s\n", orDash(plain(g.Fixed)))
		fmt.Fprintf(w, "      memory  new code and data at %#x, in %s of addresses\n", g.Addr, bytesText(int64(g.Size)))
		fmt.Fprintf(w, "      disk    %s\n", diskMeaning(g.Disk))
	}
	label := "functions"
	for i, n := range h.Names {
		if i == shownFunctions {
			fmt.Fprintf(w, "    %-9s and %d more\n", "", len(h.Names)-shownFunctions)
			break
		}
		fmt.Fprintf(w, "    %-9s %s\n", label, plain(n))
		label = ""
	}
}

func sinceText(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.Local().Format(time.DateTime)
}

// byText is the name of who applied it, or the number where none was noted.
func byText(h txn.State) string {
	if h.User != "" {
		return h.User
	}
	return fmt.Sprintf("uid %d", h.UID)
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// diskText is one word for all images: the one that most asks for something to
// be done.
func diskText(h txn.State) string {
	for _, worst := range []string{txn.DiskBase, txn.DiskGone, txn.DiskUnknown, txn.DiskOther} {
		for _, g := range h.Images {
			if g.Disk == worst {
				return worst
			}
		}
	}
	return txn.DiskFixed
}

func diskMeaning(disk string) string {
	switch disk {
	case txn.DiskBase:
		return "the base file: the next start loads the flaw; install the fixed package"
	case txn.DiskFixed:
		return "the fixed file: the next start loads the fix"
	case txn.DiskOther:
		return "another file, as after a later update"
	case txn.DiskGone:
		return "no file any more"
	}
	return "cannot be read"
}

// ourselves is what is noted in a process for those who ask later: the name of
// the user who logged in, not of root that sudo made of them, and our version.
func ourselves() txn.By {
	v := version()
	tool := v.Version
	if (tool == "" || tool == "(devel)") && v.Revision != "" {
		tool = v.Revision[:min(12, len(v.Revision))]
	}
	name := userName(os.Getuid())
	if b, err := os.ReadFile("/proc/self/loginuid"); err == nil {
		if n, err := strconv.ParseUint(strings.TrimSpace(string(b)), 10, 32); err == nil && uint32(n) != ^uint32(0) && int(n) != os.Getuid() {
			name += " (" + userName(int(n)) + ")"
		}
	}
	return txn.By{User: name, Tool: tool}
}

// userName is the name of a user, or the number where there is none.
func userName(uid int) string {
	u, err := user.LookupId(strconv.Itoa(uid))
	if err != nil {
		return strconv.Itoa(uid)
	}
	return u.Username
}
