// Package txn applies or reverts one hotpatch in one process, atomically: the
// process is wholly old or wholly new, whatever happens to us. It decides when
// it is safe; the stopping and writing is done by ptrace, the reading by proc.
package txn

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"hotpatch/internal/patch"
)

var errTODO = errors.New("not built yet")

// Options are the choices of one transaction. The zero value is the default.
type Options struct {
	Wait time.Duration // how long to go on trying while the process is busy; 0: a short default
	Log  *slog.Logger  // nil: silent
}

// Outcome is how one process fared.
type Outcome string

const (
	Applied  Outcome = "applied"  // verified in memory (revert: "reverted")
	Reverted Outcome = "reverted" // verified in memory
	Already  Outcome = "already"  // nothing to do
	Skipped  Outcome = "skipped"  // does not map a base image; not ours to judge
	Busy     Outcome = "busy"     // a replaced function stayed on a stack
	Denied   Outcome = "refused"  // it is not safe or not allowed; untouched
	Failed   Outcome = "failed"   // an error; untouched or rolled back
	Died     Outcome = "died"     // the process ended meanwhile
)

// Result is the report on one process.
type Result struct {
	PID      int     `json:"pid"`
	Comm     string  `json:"comm"`
	Outcome  Outcome `json:"outcome"`
	Reason   string  `json:"reason"`
	Attempts int     `json:"attempts"`
	PausedUS int64   `json:"paused_us"` // total over all attempts
	Threads  int     `json:"threads"`
}

// Apply puts the bundle into the process. It never returns with the process
// stopped or half patched.
func Apply(ctx context.Context, pid int, b *patch.Bundle, o Options) Result { panic(errTODO) }

// Revert takes the hotpatch out of the process.
func Revert(ctx context.Context, pid int, id patch.ID, o Options) Result { panic(errTODO) }

// State is one hotpatch found in a process, read from its tagged mapping only.
type State struct {
	ID      patch.ID     `json:"id"`
	Package string       `json:"package"` // "redis-server 5:7.0.15-1~deb12u10"
	Since   time.Time    `json:"since"`
	Seq     uint64       `json:"seq"`   // order of application in this process
	State   string       `json:"state"` // applied, reverted, interrupted
	Images  []StateImage `json:"images"`
}

// StateImage is one patched image.
type StateImage struct {
	BuildID   string `json:"build_id"`
	Path      string `json:"path"`
	Functions int    `json:"functions"`
	Addr      uint64 `json:"addr"` // of the tagged mapping
	Size      uint64 `json:"size"`
}

// Status reads which hotpatches a process carries, without ptrace.
func Status(pid int) ([]State, error) { return nil, errTODO }

// Targets finds the processes on the host that map a base image of b.
func Targets(b *patch.Bundle) (pids []int, denied map[int]error, err error) { return nil, nil, errTODO }

// Patched finds all processes that carry a hotpatch (id "" for any).
func Patched(id patch.ID) (pids []int, denied map[int]error, err error) { return nil, nil, errTODO }
