// Package scan takes the inventory of this host: which packages are on disk,
// which images every process has in memory, and what its next start would
// load. It reads only, stops nothing, and says what it could not read: a
// process that may not be looked at is listed as unknown, never as fine.
//
// What a process runs is known by build-id. Where maps says that a file was
// deleted or replaced, the build-id is read from the process's memory; the name
// it had says which package it was of, and the caller's knowledge of build-ids
// in which version.
//
// Processes in containers (another root) are told apart, and their packages are
// read in their own root, which is hostile: names in it lead nowhere outside.
package scan

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"hotpatch/internal/catalog"
	"hotpatch/internal/deb"
	"hotpatch/internal/proc"
)

// Format is the version of the JSON form of a Snapshot.
const Format = 1

// Snapshot is a host at one moment, or as near to it as can be read.
type Snapshot struct {
	Format    int           `json:"format"`
	Host      string        `json:"host"`
	Taken     time.Time     `json:"taken"`
	Booted    time.Time     `json:"booted"`
	Facts     catalog.Facts `json:"facts"`
	Roots     []Root        `json:"roots"`    // the host's first
	Packages  []Package     `json:"packages"` // by root, name, architecture
	Processes []Process     `json:"processes"`
	Reboot    deb.Reboot    `json:"reboot"`
}

// Root is one file system that processes call "/".
type Root struct {
	Name    string `json:"name"`              // "" for the host's
	Kind    string `json:"kind"`              // host, container, chroot
	Debian  bool   `json:"debian"`            // has a dpkg database
	Unknown string `json:"unknown,omitempty"` // why its packages could not be read
}

// Package is what is on disk.
type Package struct {
	Root          string  `json:"root,omitempty"`
	Name          string  `json:"name"`
	Arch          string  `json:"arch"`
	Version       string  `json:"version"`
	Source        string  `json:"source"`
	SourceVersion string  `json:"source_version"`
	State         string  `json:"state"`
	Held          bool    `json:"held,omitempty"`
	Images        []Image `json:"images,omitempty"` // of the packages asked for
}

// Image is an ELF file with a build-id.
type Image struct {
	Path    string `json:"path"`
	BuildID string `json:"build_id"`
}

// Process is what is in memory.
type Process struct {
	PID     int       `json:"pid"`
	Started uint64    `json:"started"` // clock ticks since boot
	Comm    string    `json:"comm"`
	Root    string    `json:"root,omitempty"`
	Exe     string    `json:"exe,omitempty"`
	Unit    string    `json:"unit,omitempty"` // systemd unit, "" when it has none
	Images  []Loaded  `json:"images,omitempty"`
	Patches []Applied `json:"patches,omitempty"`
	Access  *Access   `json:"access,omitempty"`  // of those that run something old
	Unknown string    `json:"unknown,omitempty"` // why nothing, or not all, is known of it
}

// Access is what a hotpatch would meet at a process.
type Access struct {
	UID     int `json:"uid"`               // effective
	Seccomp int `json:"seccomp,omitempty"` // 1 strict, 2 filter
	Tracer  int `json:"tracer,omitempty"`  // process that debugs it
}

// Loaded is an image in memory, with the three truths: BuildID runs, Next is
// what the next start would load from the same name, and the package's Version
// on disk is Disk.
type Loaded struct {
	Path    string `json:"path"` // without " (deleted)"
	BuildID string `json:"build_id,omitempty"`
	Package string `json:"package,omitempty"` // "" when no package owns the name
	Version string `json:"version,omitempty"` // of what runs, where known
	Disk    string `json:"disk,omitempty"`    // of the package on disk
	Next    string `json:"next,omitempty"`    // build-id at Path now; "": nothing is there
	Deleted bool   `json:"deleted,omitempty"` // the mapped file is no longer the one at Path
}

// Old says that what runs is not what the next start would load, or cannot be
// told from it.
func (l Loaded) Old() bool { return l.Deleted && (l.BuildID == "" || l.BuildID != l.Next) }

// Applied is a hotpatch in a process.
type Applied struct {
	ID      string   `json:"id"`
	Package string   `json:"package"` // with the version it brings: "nginx 1.22.1-9+deb12u10"
	State   string   `json:"state"`   // as txn says: "applied" is in force
	Images  []string `json:"images"`  // build-ids of the patched images
}

// InForce is the State of a hotpatch that works.
const InForce = "applied"

// Origin is where an image comes from.
type Origin struct {
	Package, Version string
	Path             string // where the package has it; "" when that is not known
}

// Options are what the caller knows and wants.
type Options struct {
	// Managed are the packages whose files on disk are listed; nil: those of
	// which something runs.
	Managed []string
	// Known says which package and version a build-id is of; nil: nothing.
	Known func(buildID string) (Origin, bool)
	// Applied reads the hotpatches of a process; nil: they are not read.
	// What vanished meanwhile is proc.ErrGone.
	Applied func(pid int) ([]Applied, error)
	// Root has the host's packages and files; "": this host's. For tests.
	Root string
}

// Scanner takes inventories. It remembers what files are between two of them:
// keep it. It is safe for one user at a time.
type Scanner struct {
	opt    Options
	owners map[string]*owned // by root name
	seen   map[string]Origin // build-ids that were on disk in former scans
	mu     sync.RWMutex      // guards disk: the workers of a scan share it
	disk   map[fileKey]found // files on disk, by what stat says of them
}

// New is a scanner that knows nothing yet.
func New(o Options) *Scanner {
	return &Scanner{opt: o, owners: map[string]*owned{}, disk: map[fileKey]found{}, seen: map[string]Origin{}}
}

// Scan takes an inventory. A process that ends meanwhile is left out.
func (s *Scanner) Scan(ctx context.Context) (*Snapshot, error) {
	snap := &Snapshot{Format: Format, Taken: time.Now().UTC().Truncate(time.Second), Roots: []Root{}, Packages: []Package{}, Processes: []Process{}}
	var err error
	if snap.Host, err = os.Hostname(); err != nil {
		return nil, fmt.Errorf("scan: %w", err)
	}
	if snap.Booted, err = booted(); err != nil {
		return nil, fmt.Errorf("scan: %w", err)
	}
	h, err := s.host()
	if err != nil {
		return nil, fmt.Errorf("scan: %w", err)
	}
	p := &pass{scanner: s, host: h, files: map[mapped]found{}, next: map[string]found{}, roots: map[rootID]rootOf{}}
	defer p.close()
	if snap.Processes, err = p.processes(ctx); err != nil {
		return nil, fmt.Errorf("scan: %w", err)
	}
	snap.Roots = p.listRoots()
	dirs, err := s.databases(p, snap.Roots)
	if err != nil {
		return nil, fmt.Errorf("scan: %w", err)
	}
	named := s.attribute(snap)
	if err := s.packages(ctx, dirs, snap); err != nil {
		return nil, fmt.Errorf("scan: %w", err)
	}
	restart(snap, named)
	if snap.Facts, err = s.facts(); err != nil {
		return nil, fmt.Errorf("scan: %w", err)
	}
	if snap.Reboot, err = (deb.System{Root: s.opt.Root}).Reboot(); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("scan: %w", err)
	}
	return snap, nil
}

// pass is one scan. The maps are shared by its workers.
type pass struct {
	scanner *Scanner
	host    rootID
	mu      sync.RWMutex
	files   map[mapped]found // what a mapped file is
	next    map[string]found // what a name in a root leads to
	roots   map[rootID]rootOf
}

// processes looks at all of them, several at a time.
func (p *pass) processes(ctx context.Context) ([]Process, error) {
	pids, err := proc.PIDs()
	if err != nil {
		return nil, err
	}
	out := make([]*Process, len(pids))
	proc.Each(pids, func(pid int, buf []byte) (*Process, []byte) {
		if ctx.Err() != nil {
			return nil, buf
		}
		return p.process(pid), buf
	}, func(i int, x *Process, stuck error) {
		if stuck != nil {
			x = &Process{PID: pids[i], Unknown: stuck.Error()}
		}
		out[i] = x
	})
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	list := make([]Process, 0, len(out))
	for _, x := range slices.DeleteFunc(out, func(x *Process) bool { return x == nil }) {
		list = append(list, *x)
	}
	return list, nil
}
