package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"sort"
	"strings"
	"sync"

	"github.com/spf13/cobra"

	"hotpatch/internal/patch"
	"hotpatch/internal/txn"
)

func (a *app) revertCmd() *cobra.Command {
	var f liveFlags
	cmd := &cobra.Command{
		Use:   "revert FILE|ID [--pid PID]... [--wait DURATION]",
		Short: "Take a hotpatch out of the processes that carry it",
		Long: `revert gives the functions of a process their old code back. The hotpatch is
named by its file, or by its id or the first 8 or more digits of it as status
shows them: the file is not needed.

Exit code 0: no process it was asked for carries the hotpatch any more, and at
least one did. 4: some still do or could not be examined. 3: nothing was
changed. 1: errors.`,
		Example: `  hotpatch revert redis.hotpatch
  hotpatch revert 3f9a51c07b2e --pid 812`,
		Args: needs("FILE or ID"),
	}
	f.add(cmd)
	cmd.ValidArgsFunction = completeIDs
	cmd.RunE = a.verb(func(ctx context.Context, args []string) error {
		if err := f.check("revert"); err != nil {
			return err
		}
		return a.revert(ctx, args[0], f)
	})
	return cmd
}

func (a *app) revert(ctx context.Context, what string, f liveFlags) error {
	match, err := idOf(what)
	if err != nil {
		return err
	}
	carrying, denied, err := carriers(f.pids)
	if err != nil {
		return err
	}
	id, err := match(carrying)
	if err != nil {
		return err
	}
	pids := f.pids
	if len(pids) == 0 {
		for _, c := range carrying {
			if c.carries(id) {
				pids = append(pids, c.PID)
			}
		}
	}
	o := txn.Options{Wait: f.wait, Log: a.log(), Tables: &txn.Tables{}, Turns: txn.NewTurns()}
	one := func(ctx context.Context, pid int) txn.Result { return txn.Revert(ctx, pid, id, o) }
	none := fmt.Sprintf("no process carries hotpatch %s; nothing to do", what)
	if id == "" { // a prefix that matches nothing: there is nothing to hand on
		pids = nil
	}
	if len(f.pids) > 0 {
		denied = nil // each of them reports for itself
	}
	return a.each(ctx, pids, denied, f, o.Turns, one, none)
}

// hexID is an id or a prefix of one that is long enough to mean one.
var hexID = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[0-9a-f]{8,64}$`) })

// idOf reads what the user named: a file gives its id; digits are completed
// from what processes carry. A returned id of "" says that nothing matches.
func idOf(what string) (func([]carrier) (patch.ID, error), error) {
	_, err := os.Stat(what)
	if err == nil {
		b, err := readBundle(what)
		if err != nil {
			return nil, err
		}
		id, err := b.ID()
		if err != nil {
			return nil, fmt.Errorf("identify %s: %w", what, err)
		}
		return func([]carrier) (patch.ID, error) { return id, nil }, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("revert: %w", err)
	}
	if !hexID().MatchString(what) {
		return nil, fmt.Errorf("revert %s: there is no such file, and an id is 8 to 64 digits 0-9 a-f", what)
	}
	if len(what) == 64 {
		return func([]carrier) (patch.ID, error) { return patch.ID(what), nil }, nil
	}
	return func(cs []carrier) (patch.ID, error) { return completeID(what, cs) }, nil
}

// completeID finds the one id that starts with prefix.
func completeID(prefix string, cs []carrier) (patch.ID, error) {
	found := map[patch.ID]bool{}
	for _, c := range cs {
		for _, h := range c.Hotpatches {
			if strings.HasPrefix(string(h.ID), prefix) {
				found[h.ID] = true
			}
		}
	}
	var ids []string
	for id := range found {
		ids = append(ids, string(id))
	}
	sort.Strings(ids)
	switch len(ids) {
	case 0:
		return "", nil
	case 1:
		return patch.ID(ids[0]), nil
	default:
		return "", usage("revert: %s is the beginning of %d ids: %s", prefix, len(ids), strings.Join(ids, ", "))
	}
}
