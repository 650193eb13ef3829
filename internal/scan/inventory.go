package scan

import (
	"slices"

	"hotpatch/internal/catalog"
)

// Inventory is the snapshot in the terms of catalog: images of packages only.
// labels, pinned packages, receipts and the digests of .debs are the caller's
// to add. What is half installed is no package a release could rely on, and
// stands under Facts.Packages.
func (s *Snapshot) Inventory() *catalog.Inventory {
	inv := &catalog.Inventory{Format: catalog.Format, Host: s.Host, Taken: s.Taken, Booted: s.Booted, Facts: s.Facts,
		Packages: []catalog.Package{}, Processes: []catalog.Process{}}
	for _, p := range s.Packages {
		q := catalog.Package{Root: p.Root, Name: p.Name, Source: p.Source, Arch: p.Arch, Version: p.Version, Held: p.Held}
		for _, g := range p.Images {
			q.Images = append(q.Images, catalog.Image{Path: g.Path, BuildID: g.BuildID})
		}
		inv.Packages = append(inv.Packages, q)
	}
	for _, p := range s.Processes {
		q := catalog.Process{PID: p.PID, Started: p.Started, Root: p.Root, Exe: p.Exe, Unit: p.Unit, Unknown: p.Unknown}
		if p.PID == 1 {
			q.Unit = "host"
		}
		for _, l := range p.Images {
			if l.Package != "" {
				q.Images = append(q.Images, catalog.Loaded{Path: l.Path, BuildID: l.BuildID, Next: l.Next, Deleted: l.Deleted})
			}
		}
		for _, a := range p.Patches {
			if a.State == InForce {
				q.Patches = append(q.Patches, catalog.Digest(a.ID))
			}
		}
		slices.Sort(q.Patches)
		inv.Processes = append(inv.Processes, q)
	}
	return inv
}
