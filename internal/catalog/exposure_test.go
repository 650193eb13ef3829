package catalog_test

import (
	"testing"

	"hotpatch/internal/catalog"
)

func TestExposureIsReadFromMemory(t *testing.T) {
	s := newShop(t)
	status := func(cve, pkg string, want catalog.ExposureStatus, disk bool) {
		t.Helper()
		if e := s.exposure(t, cve, pkg); e.Status != want || e.Disk != disk {
			t.Errorf("%s in %s: %s, disk %v; want %s, %v\n%+v", cve, pkg, e.Status, e.Disk, want, disk, e.Processes)
		}
	}
	status("CVE-2026-0001", "redis-server", catalog.Exposed, false)
	s.toDisk()
	status("CVE-2026-0001", "redis-server", catalog.Exposed, true) // the version says fixed, memory says no
	status("CVE-2026-0003", "memcached", catalog.FixedOnDisk, true)
	s.patch()
	status("CVE-2026-0001", "redis-server", catalog.FixedInMemory, true)
	status("CVE-2026-0002", "zlib1g", catalog.FixedInMemory, true)

	// One process that nobody can read: undetermined, never fixed.
	s.inv.Processes = append(s.inv.Processes, catalog.Process{PID: 99, Unknown: "permission denied"})
	status("CVE-2026-0002", "zlib1g", catalog.Undetermined, true)
	s.inv.Processes = s.inv.Processes[:3]

	// A container with a library of its own.
	s.inv.Packages = append(s.inv.Packages, catalog.Package{Root: "c1", Name: "zlib1g", Version: "1:1.3-1", Images: []catalog.Image{{Path: libz, BuildID: id(libz, 1)}}})
	s.inv.Processes = append(s.inv.Processes, catalog.Process{PID: 50, Started: 1, Root: "c1", Exe: "/app", Images: []catalog.Loaded{{Path: libz, BuildID: id(libz, 1)}}})
	status("CVE-2026-0002", "zlib1g", catalog.Exposed, false)
	if e := s.exposure(t, "CVE-2026-0002", "zlib1g"); len(e.Processes) != 3 || e.Processes[2].Root != "c1" || e.Processes[2].Status != catalog.Exposed {
		t.Errorf("%+v", e.Processes)
	}
	s.inv.Processes[3].Patches = []catalog.Digest{s.bundleZ}
	status("CVE-2026-0002", "zlib1g", catalog.FixedInMemory, false)
	if a := s.assess(); a.Track.State != catalog.Current {
		t.Errorf("a container changes the host's track: %+v", a.Track)
	}

	// No process, old disk: the next start is exposed. No package: not affected.
	s = newShop(t)
	s.inv.Processes = nil
	status("CVE-2026-0001", "redis-server", catalog.Exposed, false)
	s.inv.Packages = s.inv.Packages[:1]
	status("CVE-2026-0001", "redis-server", catalog.NotAffected, true)

	// A later build that no release lists: the disk is newer, and it is what runs.
	s = newShop(t)
	s.inv.Packages[1].Version, s.inv.Packages[1].Images[0].BuildID = "5:7.0.15-1~deb12u7", id("later")
	s.inv.Processes[0].Images[0].BuildID = id("later")
	status("CVE-2026-0001", "redis-server", catalog.FixedOnDisk, true)
	// The right version over other bytes is not the fix.
	s.inv.Packages[1].Version = "5:7.0.15-1~deb12u6"
	status("CVE-2026-0001", "redis-server", catalog.Exposed, false)
}

// The file that the next start would load need not be the package's.
func TestNextStartIsMeasuredNotAssumed(t *testing.T) {
	s := newShop(t)
	s.toDisk()
	s.patch()
	if e := s.exposure(t, "CVE-2026-0001", "redis-server"); !e.Disk {
		t.Fatalf("%+v", e)
	}
	s.inv.Processes[0].Images[0].Next = id(redis, 2)
	if e := s.exposure(t, "CVE-2026-0001", "redis-server"); !e.Disk {
		t.Errorf("the fixed file: %+v", e)
	}
	s.inv.Processes[0].Images[0].Next = id("somebody's own build")
	if e := s.exposure(t, "CVE-2026-0001", "redis-server"); e.Disk || e.Status != catalog.FixedInMemory {
		t.Errorf("another file: %+v", e)
	}
}

// A container without a package database: the build-id tells.
func TestUnknownRootIsJudgedByBuildID(t *testing.T) {
	s := newShop(t)
	s.toDisk()
	s.patch()
	in := func(buildID string, patches ...catalog.Digest) catalog.Exposure {
		s.inv.Processes = append(s.inv.Processes[:3:3], catalog.Process{PID: 77, Started: 1, Root: "c9", Exe: "/app", Patches: patches,
			Images: []catalog.Loaded{{Path: "/opt/lib/libz.so", BuildID: buildID}}})
		return s.exposure(t, "CVE-2026-0002", "zlib1g")
	}
	if e := in(id(libz, 1)); e.Status != catalog.Exposed || e.Disk {
		t.Errorf("the old file: %+v", e)
	}
	if e := in(id(libz, 1), s.bundleZ); e.Status != catalog.FixedInMemory || e.Disk {
		t.Errorf("the old file, patched: %+v", e)
	}
	if e := in(id(libz, 2)); e.Status != catalog.FixedInMemory || !e.Disk || len(e.Processes) != 3 {
		t.Errorf("the fixed file: %+v", e)
	}
	if e := in(id("something else")); len(e.Processes) != 2 {
		t.Errorf("another file: %+v", e)
	}
	s.inv.Packages = nil
	s.inv.Processes = s.inv.Processes[3:]
	if e := s.exposure(t, "CVE-2026-0002", "zlib1g"); e.Status != catalog.NotAffected {
		t.Errorf("nothing of it: %+v", e)
	}
	s.inv.Processes[0].Images[0].BuildID = id(libz, 1)
	if e := s.exposure(t, "CVE-2026-0002", "zlib1g"); e.Status != catalog.Exposed {
		t.Errorf("no package anywhere, and the old file runs: %+v", e)
	}
}
