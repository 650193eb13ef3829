package catalog

import (
	"cmp"
	"slices"
	"time"
)

// Inventory is what was measured on one machine: per package what is on disk,
// per process what is in memory and what its next start would load. Facts
// only; package scan takes it.
type Inventory struct {
	Format    int               `json:"format"` // Format
	Host      string            `json:"host"`   // its name, unique in a fleet
	Labels    map[string]string `json:"labels,omitempty"`
	Taken     time.Time         `json:"taken"`
	Booted    time.Time         `json:"booted,omitzero"`
	Facts     Facts             `json:"facts"`
	Packages  []Package         `json:"packages"`           // by root, name, architecture
	Processes []Process         `json:"processes"`          // by pid
	Pinned    []string          `json:"pinned,omitempty"`   // packages that hotpatches are built against; the baseline's when empty
	Receipts  []Receipt         `json:"receipts,omitempty"` // who installed what: for reasons, never for truths
}

// Package is what is on disk.
type Package struct {
	Root    string  `json:"root,omitempty"` // container it belongs to; empty: the host
	Name    string  `json:"name"`
	Source  string  `json:"source,omitempty"`
	Arch    string  `json:"arch,omitempty"`
	Version string  `json:"version"`
	Deb     Digest  `json:"deb,omitempty"`  // of the .deb it came from, where known
	Held    bool    `json:"held,omitempty"` // apt-mark hold
	Images  []Image `json:"images,omitempty"`
}

// Image is an ELF file on disk.
type Image struct {
	Path    string `json:"path"`     // inside Root
	BuildID string `json:"build_id"` // lower-case hex
}

// Process is what is in memory.
type Process struct {
	PID     int      `json:"pid"`
	Started uint64   `json:"started"`        // clock ticks since boot: with PID, its identity
	Root    string   `json:"root,omitempty"` // container
	Exe     string   `json:"exe,omitempty"`
	Unit    string   `json:"unit,omitempty"`   // systemd unit; "host" for the kernel and pid 1
	Images  []Loaded `json:"images,omitempty"` // those of packages
	Patches []Digest `json:"patches,omitempty"`
	Unknown string   `json:"unknown,omitempty"` // why it could not be read: then nothing is known of it, and it is never called fixed
}

// Loaded is an image in a process. The three truths meet here: BuildID is in
// memory, Next is what the file has that the next start would load.
type Loaded struct {
	Path    string `json:"path"`
	BuildID string `json:"build_id"`
	Next    string `json:"next,omitempty"`    // build-id at Path in the process's own root now; empty: the file is gone
	Deleted bool   `json:"deleted,omitempty"` // the mapped file is no longer the one at Path
}

// Receipt records who put a release on the machine.
type Receipt struct {
	Release ReleaseID `json:"release"`
	At      time.Time `json:"at"`
	By      string    `json:"by"` // "hotpatch agent", "alice", "apt"
}

// Facts decide about eligibility (Gates).
type Facts struct {
	Arch     string `json:"arch"`              // GOARCH's word: amd64
	Kernel   string `json:"kernel,omitempty"`  // release
	Channel  string `json:"channel,omitempty"` // the suite installed: must be the catalogue's where both are known
	Features Probe  `json:"features,omitzero"` // what of the kernel is missing
	Ptrace   Probe  `json:"ptrace,omitzero"`   // what forbids it: Yama, LSM, capabilities
	Seccomp  Probe  `json:"seccomp,omitzero"`  // a filter over the agent itself
	Packages Probe  `json:"packages,omitzero"` // dpkg's database: unreadable, half configured
	Disk     Probe  `json:"disk,omitzero"`     // room, read-only file systems
}

// Probe is the answer of one check: nothing was in the way, or what.
type Probe struct {
	Found  []string `json:"found,omitempty"`  // what is in the way, in words; empty: nothing
	Remedy string   `json:"remedy,omitempty"` // what to do about it
}

// IsZero: nothing in the way.
func (p Probe) IsZero() bool { return len(p.Found) == 0 && p.Remedy == "" }

// Digest is the identity of what is installed: the .deb where it is known,
// else what was measured.
func (p *Package) Digest() Digest {
	if p.Deb != "" {
		return p.Deb
	}
	parts := []string{"package", p.Name, p.Arch, p.Version}
	images := slices.SortedFunc(slices.Values(p.Images), func(a, b Image) int { return cmp.Compare(a.Path, b.Path) })
	for _, g := range images {
		parts = append(parts, g.Path, g.BuildID)
	}
	return digestOf(parts...)
}

// State identifies what a machine runs: the sorted set of the digests of
// everything on disk and in memory. Version strings are no part of it.
type State struct {
	ID      Digest   `json:"id"`
	Members []Digest `json:"members"`
}

// StateOf measures a machine's state. With a catalogue only the packages that
// it names count, so that machines can be compared by what is managed.
func StateOf(inv *Inventory, c *Catalog) State {
	managed := func(string) bool { return true }
	if c != nil {
		names := c.packages()
		managed = func(name string) bool { return names[name] }
	}
	var set []Digest
	paths := map[string]string{} // root, path → build-id on disk
	for i := range inv.Packages {
		p := &inv.Packages[i]
		if !managed(p.Name) {
			continue
		}
		set = append(set, p.Digest())
		for _, g := range p.Images {
			paths[p.Root+"\x00"+g.Path] = g.BuildID
		}
	}
	for i := range inv.Processes {
		p := &inv.Processes[i]
		set = append(set, p.Patches...)
		for _, g := range p.Images {
			// Memory that differs from disk is part of the state.
			if id, ok := paths[p.Root+"\x00"+g.Path]; ok && id != g.BuildID {
				set = append(set, digestOf("image", g.Path, g.BuildID))
			}
		}
	}
	slices.Sort(set)
	set = slices.Compact(set)
	parts := make([]string, 0, len(set)+1)
	parts = append(parts, "state")
	for _, d := range set {
		parts = append(parts, string(d))
	}
	return State{ID: digestOf(parts...), Members: set}
}

// Same says whether two states are the same, whatever their versions.
func (s State) Same(t State) bool { return s.ID == t.ID }

// has says whether a package is installed, on the host or in a container.
func (inv *Inventory) has(name string) bool {
	return slices.ContainsFunc(inv.Packages, func(p Package) bool { return p.Name == name })
}

// packages are the names that some release has.
func (c *Catalog) packages() map[string]bool {
	names := map[string]bool{}
	for i := range c.Releases {
		for k := range c.Releases[i].Artifacts {
			names[c.Releases[i].Artifacts[k].Package] = true
		}
	}
	return names
}
