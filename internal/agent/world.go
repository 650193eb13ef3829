package agent

import (
	"context"
	"time"

	"hotpatch/internal/catalog"
	"hotpatch/internal/patch"
	"hotpatch/internal/txn"
)

// World is everything the agent asks of, or does to, the repository and the
// host. host.go has the real one. Methods return when they are done or ctx
// ends; each may be called again after a crash in the middle of it.
type World interface {
	Repository
	Packages
	Memory
	Services
	Now() time.Time
	// Staging is the directory for hotpatches that wait; the agent's own.
	Staging() string
	// System is the distribution and its version (os-release(5)).
	System() (name, version string, err error)
	// Inventory measures the host. It reads only. The catalogue names the files
	// that are no longer on disk.
	Inventory(ctx context.Context, c *catalog.Catalog) (*catalog.Inventory, error)
}

// Repository is the signed source of releases.
type Repository interface {
	// Catalog returns the channel's newest verified catalogue.
	Catalog(ctx context.Context) (*catalog.Catalog, error)
	// Bundle puts the hotpatch with this digest into file, verified against the
	// signed metadata as it is now; a file that is there is checked instead.
	Bundle(ctx context.Context, id catalog.Digest, file string) error
}

// Packages is the regular channel: the files on disk.
type Packages interface {
	// Settle finishes what an interrupted installation left; nothing to do is
	// no error.
	Settle(ctx context.Context) error
	// Install puts these packages on disk and restarts nothing. Afterwards each
	// is as asked or the error says which is not.
	Install(ctx context.Context, artifacts []catalog.Artifact) error
}

// Memory is running processes.
type Memory interface {
	// Targets are the processes that map an image the bundle is for.
	Targets(b *patch.Bundle) ([]int, error)
	Apply(ctx context.Context, pid int, b *patch.Bundle) txn.Result
	// Carrying are the processes that carry the hotpatch.
	Carrying(id patch.ID) ([]int, error)
	Revert(ctx context.Context, pid int, id patch.ID) txn.Result
}

// Services starts things anew and knows how they are.
type Services interface {
	// Restart starts one unit anew and returns when it runs.
	Restart(ctx context.Context, unit string) error
	// Reboot starts the whole host anew. It returns once that is on its way.
	Reboot(ctx context.Context) error
	// Health is how a unit is now.
	Health(ctx context.Context, unit string) (Health, error)
	// Process looks at a process, and says whether it lives.
	Process(pid int) (p Running, alive bool, err error)
	// Crash says what ended a process that crashed since then; "": none is
	// known of, which proves nothing where nobody could listen.
	Crash(pid int, since time.Time) string
	// Hook runs a command of the administrator's.
	Hook(ctx context.Context, command string, env []string) error
}

// Running is a process that lives.
type Running struct {
	Started uint64    // in clock ticks since boot: with the pid, its identity
	Since   time.Time // the same by the clock
	Unit    string    // of the service manager; "": none
	Name    string    // as the kernel has it
}

// Health is what a service manager says of a unit.
type Health struct {
	Failed   bool   // it is in a failed state
	Restarts int    // by the manager's own doing, since it was started
	Why      string // of Failed
}
