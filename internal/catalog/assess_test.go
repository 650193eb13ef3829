package catalog_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"hotpatch/internal/catalog"
)

// shop is a Debian-like channel: a baseline of three packages, then a hotpatch
// for two of them; libz is loaded by many, redis has one process, and memcached
// has an update in which no code differs.
type shop struct {
	c        *catalog.Catalog
	inv      *catalog.Inventory
	now      time.Time
	bundleZ  catalog.Digest
	bundleR  catalog.Digest
	policy   catalog.Policy
	enrolled catalog.Enrolment
}

const (
	libz      = "/usr/lib/x86_64-linux-gnu/libz.so.1.3"
	redis     = "/usr/bin/redis-server"
	memcached = "/usr/bin/memcached"
)

func id(words ...any) string { return content(words...)[:40] }

func newShop(t testing.TB) *shop {
	t.Helper()
	start := instant(t, "2026-01-13 17:00")
	all := catalog.Life{State: catalog.Complete}
	s := &shop{now: start.AddDate(0, 1, 0), bundleZ: catalog.Digest(content("z")), bundleR: catalog.Digest(content("r")),
		enrolled: catalog.Enrolment{Intent: catalog.Enrolled}}
	base := func(name, version, path string) catalog.Artifact {
		return catalog.Artifact{Package: name, Arch: "amd64", Fixed: version, Images: []catalog.Change{{Path: path, Fixed: id(path, 1)}}}
	}
	fix := func(name, from, to, path string, bundle catalog.Digest, same bool, cves ...string) catalog.Artifact {
		return catalog.Artifact{Package: name, Arch: "amd64", Base: from, Fixed: to, Bundle: bundle, CVEs: cves,
			Images: []catalog.Change{{Path: path, Base: id(path, 1), Fixed: id(path, 2), Same: same}}}
	}
	s.c = &catalog.Catalog{Format: catalog.Format, Channel: "bookworm", Issued: start,
		Calendar: catalog.Calendar{Name: "bookworm", Cadence: catalog.Cadence{Baselines: []int{1, 4, 7, 10}, Day: "2TU"}},
		Releases: []catalog.Release{
			{ID: "2026-01-b", Kind: catalog.Baseline, Available: start, Life: all, Artifacts: []catalog.Artifact{
				base("memcached", "1.6.18-1", memcached), base("redis-server", "5:7.0.15-1~deb12u5", redis), base("zlib1g", "1:1.3-1", libz)}},
			{ID: "2026-02-h", Kind: catalog.Hotpatch, Baseline: "2026-01-b", Available: start.AddDate(0, 0, 28), Life: all, Artifacts: []catalog.Artifact{
				fix("memcached", "1.6.18-1", "1.6.18-1+deb12u1", memcached, "", true, "CVE-2026-0003"),
				fix("redis-server", "5:7.0.15-1~deb12u5", "5:7.0.15-1~deb12u6", redis, s.bundleR, false, "CVE-2026-0001"),
				fix("zlib1g", "1:1.3-1", "1:1.3-1+deb12u1", libz, s.bundleZ, false, "CVE-2026-0001", "CVE-2026-0002")}},
		}}
	data, err := s.c.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if s.c, err = catalog.Decode(data); err != nil {
		t.Fatal(err)
	}
	pkg := func(name, version, path string) catalog.Package {
		return catalog.Package{Name: name, Arch: "amd64", Version: version, Images: []catalog.Image{{Path: path, BuildID: id(path, 1)}}}
	}
	s.inv = &catalog.Inventory{Format: catalog.Format, Host: "web1", Taken: s.now, Facts: catalog.Facts{Arch: "amd64", Channel: "bookworm"},
		Packages: []catalog.Package{pkg("memcached", "1.6.18-1", memcached), pkg("redis-server", "5:7.0.15-1~deb12u5", redis), pkg("zlib1g", "1:1.3-1", libz)},
		Processes: []catalog.Process{
			{PID: 10, Started: 1, Unit: "redis-server.service", Exe: redis, Images: []catalog.Loaded{{Path: redis, BuildID: id(redis, 1)}, {Path: libz, BuildID: id(libz, 1)}}},
			{PID: 11, Started: 1, Unit: "memcached.service", Exe: memcached, Images: []catalog.Loaded{{Path: memcached, BuildID: id(memcached, 1)}}},
			{PID: 12, Started: 1, Unit: "ssh.service", Exe: "/usr/sbin/sshd", Images: []catalog.Loaded{{Path: libz, BuildID: id(libz, 1)}}},
		}}
	return s
}

func (s *shop) assess() *catalog.Assessment {
	return catalog.Assess(s.inv, s.c, s.enrolled, &s.policy, s.now)
}

// toDisk installs the hotpatch's packages.
func (s *shop) toDisk() {
	for i, v := range []string{"1.6.18-1+deb12u1", "5:7.0.15-1~deb12u6", "1:1.3-1+deb12u1"} {
		p := &s.inv.Packages[i]
		p.Version, p.Images[0].BuildID = v, id(p.Images[0].Path, 2)
	}
}

func (s *shop) patch() {
	s.inv.Processes[0].Patches = []catalog.Digest{s.bundleR, s.bundleZ}
	s.inv.Processes[2].Patches = []catalog.Digest{s.bundleZ}
}

func (s *shop) exposure(t testing.TB, cve, pkg string) catalog.Exposure {
	t.Helper()
	for _, e := range s.c.Exposure(s.inv, s.now) {
		if e.CVE == cve && e.Package == pkg {
			return e
		}
	}
	t.Fatalf("nothing about %s in %s", cve, pkg)
	return catalog.Exposure{}
}

func TestDiskFirstThenMemory(t *testing.T) {
	s := newShop(t)
	if a := s.assess(); a.Track.State != catalog.HotpatchAvailable || a.Track.Release != "2026-02-h" || len(a.Due) != 1 || !a.Due[0].Now(s.now) || len(a.Due[0].Restarts) > 0 {
		t.Fatalf("before: %+v %+v", a.Track, a.Due)
	}
	s.toDisk()
	a := s.assess()
	if a.Track.State != catalog.HotpatchAvailable || len(a.Due) != 1 || a.Due[0].Action != catalog.DoApply {
		t.Errorf("disk alone: %+v %+v", a.Track, a.Due)
	}
	var stale []string
	for _, p := range a.Position.Stale {
		stale = append(stale, p.Unit+" "+p.Package)
		if p.Bundle == "" {
			t.Errorf("no bundle for %+v", p)
		}
	}
	// memcached runs the same code under another build-id: it lacks nothing.
	if want := []string{"redis-server.service redis-server", "redis-server.service zlib1g", "ssh.service zlib1g"}; !slices.Equal(stale, want) {
		t.Errorf("behind are %q, want %q", stale, want)
	}
	s.patch()
	if a := s.assess(); a.Track.State != catalog.Current || a.Track.Hotpatch != "2026-02-h" || len(a.Due) != 0 {
		t.Errorf("both: %+v %+v", a.Track, a.Due)
	}
	// A restart of a service loads the fixed file.
	s.inv.Processes[0].Patches = nil
	s.inv.Processes[0].Images = []catalog.Loaded{{Path: redis, BuildID: id(redis, 2)}, {Path: libz, BuildID: id(libz, 2)}}
	if a := s.assess(); a.Track.State != catalog.Current {
		t.Errorf("after a restart: %+v", a.Track)
	}
}

func TestMemoryOnlyLeavesTheDisk(t *testing.T) {
	s := newShop(t)
	s.policy.Disk = catalog.MemoryOnly
	s.patch()
	if a := s.assess(); a.Track.State != catalog.Current || a.Track.Hotpatch != "2026-02-h" {
		t.Errorf("patched in memory: %+v %+v", a.Track, a.Due)
	}
	e := s.exposure(t, "CVE-2026-0001", "redis-server")
	if e.Status != catalog.FixedInMemory || e.Disk {
		t.Errorf("%+v", e)
	}
	if m, err := s.c.Verify(s.inv, "2026-02-h", true); err != nil || len(m) != 0 {
		t.Errorf("verify: %v %v", m, err)
	}
	if m, err := s.c.Verify(s.inv, "2026-02-h", false); err != nil || len(m) != 3 {
		t.Errorf("verify with the disk: %v %v", m, err)
	}
	// A process that started anew has the old file again.
	s.inv.Processes[2].Patches = nil
	if a := s.assess(); a.Track.State != catalog.HotpatchAvailable {
		t.Errorf("a new process: %+v", a.Track)
	}
}

func TestEveryUnmetGateIsListedAtOnceWithItsRemedy(t *testing.T) {
	s := newShop(t)
	if gates := s.c.Gates(s.inv); len(gates) != 0 {
		t.Fatalf("%+v", gates)
	}
	found := catalog.Probe{Found: []string{"something"}}
	s.inv.Facts = catalog.Facts{Arch: "riscv64", Channel: "trixie", Features: found, Ptrace: catalog.Probe{Found: []string{"Yama", "no CAP_SYS_PTRACE"}, Remedy: "do this"},
		Seccomp: found, Packages: found, Disk: found}
	s.inv.Packages = nil
	var codes []string
	for _, g := range s.c.Gates(s.inv) {
		codes = append(codes, g.Code)
		if g.What == "" || g.Remedy == "" {
			t.Errorf("%+v", g)
		}
		if g.Code == "ptrace" && (g.What != "Yama; no CAP_SYS_PTRACE" || g.Remedy != "do this") {
			t.Errorf("%+v", g)
		}
	}
	if want := "architecture channel kernel ptrace seccomp packages disk pinned"; strings.Join(codes, " ") != want {
		t.Errorf("%v", codes)
	}
	a := s.assess()
	if a.Track.State != catalog.Ineligible || len(a.Track.Gates) != 8 {
		t.Errorf("%+v", a.Track)
	}
	// Nothing known is not nothing wrong.
	s.inv.Facts = catalog.Facts{}
	if gates := s.c.Gates(s.inv); len(gates) == 0 || gates[0].Code != "architecture" {
		t.Errorf("%+v", gates)
	}
}

func TestOlderFilesThatRunKeepAMachineFromEnrolling(t *testing.T) {
	s := newShop(t)
	s.inv.Processes[2].Images[0] = catalog.Loaded{Path: libz, BuildID: id("of last year"), Deleted: true}
	s.enrolled = catalog.Enrolment{Intent: catalog.Pending}
	a := s.assess()
	if len(a.Gates) != 1 || a.Gates[0].Code != "stale-memory" || !strings.Contains(a.Gates[0].Remedy, "ssh.service") {
		t.Fatalf("%+v", a.Gates)
	}
	if e := s.enrolled.Advance(a); e.Intent != catalog.Pending {
		t.Errorf("it is %s", e.Intent)
	}
	s.inv.Processes[2].Images[0].BuildID = id(libz, 1)
	if e := s.enrolled.Advance(s.assess()); e.Intent != catalog.Enrolled {
		t.Errorf("with the gate met it is %s", e.Intent)
	}
	// On a machine that is enrolled it is a pending restart.
	s.enrolled.Intent = catalog.Enrolled
	s.inv.Processes[2].Images[0].BuildID = id("of last year")
	s.policy.Windows = append(s.policy.Windows, night)
	a = s.assess()
	if a.Track.State != catalog.RestartPending || a.Due[0].Action != catalog.DoRestart || a.Due[0].Window == nil || !slices.Equal(a.Track.Restarts, []string{"ssh.service"}) {
		t.Errorf("%+v %+v", a.Track, a.Due)
	}
	if why := catalog.WhyRestart(a); !strings.Contains(why, "ssh.service will be restarted on 2026-02-14 at 00:00 UTC") {
		t.Errorf("why: %s", why)
	}
}

func TestStatesOfTheWorkInHand(t *testing.T) {
	s := newShop(t)
	r := s.c.Release("2026-02-h")
	for _, c := range []struct {
		work, want catalog.TrackState
	}{
		{catalog.Staged, catalog.Staged}, {catalog.Applying, catalog.Applying},
		{catalog.AppliedUnverified, catalog.AppliedUnverified}, {catalog.Failed, catalog.Failed},
	} {
		s.enrolled.Work = &catalog.Work{Release: r.ID, Content: r.Content(), State: c.work, Since: s.now}
		if a := s.assess(); a.Track.State != c.want || a.Track.Release != r.ID {
			t.Errorf("work %s: %+v", c.work, a.Track)
		}
	}
	// Half of the packages are in place while it works: that is no departure.
	s.enrolled.Work.State = catalog.Applying
	s.inv.Packages[1].Version = "9"
	if a := s.assess(); a.Track.State != catalog.Applying || a.Track.OffTrack != nil {
		t.Errorf("%+v", a.Track)
	}
}

func TestPolicySaysWhenAndWhat(t *testing.T) {
	s := newShop(t)
	s.policy = catalog.Policy{Hotpatches: catalog.InWindow}
	if a := s.assess(); a.Due[0].Blocked != catalog.NoWindow {
		t.Errorf("in the window, without one: %+v", a.Due)
	}
	s.policy.Windows = append(s.policy.Windows, night)
	if a := s.assess(); a.Due[0].Now(s.now) || a.Due[0].Window == nil || !a.Due[0].At.Equal(instant(t, "2026-02-14 00:00")) {
		t.Errorf("in the window: %+v", a.Due)
	}
	// What is excluded is left alone, and stays exposed in plain sight.
	s.policy = catalog.Policy{Exclude: []string{"redis-server"}}
	s.inv.Packages[1].Version = "5:6-1"
	s.toDisk()
	s.inv.Packages[1].Version, s.inv.Packages[1].Images[0].BuildID = "5:6-1", id("six")
	s.patch()
	if a := s.assess(); a.Track.State != catalog.Current {
		t.Errorf("%+v", a.Track)
	}
	if e := s.exposure(t, "CVE-2026-0001", "redis-server"); e.Disk {
		t.Errorf("%+v", e)
	}
}

func TestHeldPackagesAreLeftAloneAndShown(t *testing.T) {
	s := newShop(t)
	s.toDisk()
	s.patch()
	s.inv.Packages[1] = newShop(t).inv.Packages[1]
	s.inv.Processes[0].Patches = []catalog.Digest{s.bundleZ}
	if a := s.assess(); a.Track.State != catalog.HotpatchAvailable {
		t.Errorf("not held: %+v", a.Track)
	}
	s.inv.Packages[1].Held = true
	if a := s.assess(); a.Track.State != catalog.Current || len(a.Due) != 0 {
		t.Errorf("held: %+v %+v", a.Track, a.Due)
	}
	if e := s.exposure(t, "CVE-2026-0001", "redis-server"); e.Status != catalog.Exposed {
		t.Errorf("held: %+v", e)
	}
}

func TestAnotherArchitectureBesideDoesNotStray(t *testing.T) {
	for _, before := range []bool{true, false} {
		s := newShop(t)
		foreign := catalog.Package{Name: "zlib1g", Arch: "i386", Version: "1:1.3-1", Images: []catalog.Image{{Path: "/usr/lib/i386-linux-gnu/libz.so.1.3", BuildID: id("i386")}}}
		if before {
			s.inv.Packages = append([]catalog.Package{foreign}, s.inv.Packages...)
		} else {
			s.inv.Packages = append(s.inv.Packages, foreign)
		}
		if a := s.assess(); a.Track.State != catalog.HotpatchAvailable {
			t.Errorf("listed first %v: %+v", before, a.Track)
		}
	}
}

func TestRingsComeOneAfterTheOther(t *testing.T) {
	s := newShop(t)
	r := s.c.Release("2026-02-h")
	for _, c := range []struct {
		life    catalog.Life
		ring    int
		offered bool
	}{
		{catalog.Life{State: catalog.InRing, Ring: 1}, 0, true},
		{catalog.Life{State: catalog.InRing, Ring: 1}, 1, true},
		{catalog.Life{State: catalog.InRing, Ring: 1}, 2, false},
		{catalog.Life{State: catalog.InRing, Ring: 2}, 2, true},
		{catalog.Life{State: catalog.Complete}, 9, true},
		{catalog.Life{State: catalog.Paused, Was: catalog.InRing, Ring: 3}, 1, false},
	} {
		r.Life, s.policy.Ring = c.life, c.ring
		a := s.assess()
		if (a.Offer(r.ID) != nil) != c.offered {
			t.Errorf("%+v on a machine of ring %d: %+v", c.life, c.ring, a.Why(r.ID))
		}
	}
}

func TestOutsideReleasesWaitForApproval(t *testing.T) {
	s := newShop(t)
	s.inv.Packages = append(s.inv.Packages, catalog.Package{Name: "firmware", Version: "1"})
	r := catalog.Release{ID: "firmware-2", Kind: catalog.Outside, Available: s.now.Add(-time.Hour), Life: catalog.Life{State: catalog.Complete},
		Restarts: []string{"ssh.service", "absent.service"}, Artifacts: []catalog.Artifact{{Package: "firmware", Fixed: "2"}}}
	s.c.Releases = append(s.c.Releases, r)
	if w := s.assess().Why(r.ID); w == nil || w.Code != catalog.Unapproved {
		t.Errorf("%+v", w)
	}
	s.policy.Outside = []catalog.ReleaseID{r.ID}
	o := s.assess().Offer(r.ID)
	if o == nil || o.Effect != catalog.Neutral || !slices.Equal(o.Restarts, []string{"ssh.service"}) {
		t.Errorf("%+v", o)
	}
}

func TestPreviewCountsWhoStaysAndWhoWaits(t *testing.T) {
	s := newShop(t)
	r := s.c.Release("2026-02-h")
	r.Life = catalog.Life{State: catalog.Draft} // before anybody is offered it
	other := *s.inv
	other.Host = "web2"
	machines := []catalog.Machine{
		{Inventory: s.inv, Enrolment: s.enrolled},
		{Inventory: &other, Enrolment: s.enrolled, Policy: catalog.Policy{Hotpatches: catalog.InWindow}},
	}
	p, err := s.c.Preview(r.ID, machines, s.now)
	if err != nil {
		t.Fatal(err)
	}
	if p.OnTrack != 2 || len(p.WouldEject)+len(p.RestartNow) != 0 || !p.ExtraRestartsUntil.IsZero() || !slices.Equal(p.VulnerableIfDeferred, []string{"web1", "web2"}) ||
		!slices.Equal(p.OutsideWindow, []string{"web2"}) {
		t.Errorf("%+v", p)
	}
	if r.Life.State != catalog.Draft {
		t.Error("a preview changed the release")
	}
	if _, err := s.c.Preview("unheard-of", machines, s.now); err == nil {
		t.Error("an unknown release has a preview")
	}
	// The digest tells every difference.
	seen := map[catalog.Digest]string{}
	for what, q := range map[string]catalog.Preview{
		"itself": p, "more on track": {OnTrack: 3, VulnerableIfDeferred: p.VulnerableIfDeferred, OutsideWindow: p.OutsideWindow},
		"lists swapped": {OnTrack: 2, VulnerableIfDeferred: p.OutsideWindow, OutsideWindow: p.VulnerableIfDeferred},
		"nothing":       {}, "alternative": {NeutralAlternative: "x"}, "until": {ExtraRestartsUntil: s.now},
	} {
		d := q.Digest(r.ID, r.Content())
		if other, ok := seen[d]; ok {
			t.Errorf("%s and %s have one digest", what, other)
		}
		seen[d] = what
	}
}

func TestWhyRestartIsOneSentence(t *testing.T) {
	s := newShop(t)
	for _, c := range []struct {
		change func()
		want   string
	}{
		{func() {}, "No restart is due: everything that is out is in place or needs none."},
		{func() { s.enrolled.Intent = catalog.NotEnrolled }, "it is not enrolled."},
		{func() {
			s.enrolled.Intent = catalog.Enrolled
			b := *s.c.Release("2026-01-b")
			b.ID, b.Available, b.Article = "2026-04-b", s.now, "DSA-1"
			b.Deadline, b.Restarts = s.now.AddDate(0, 0, 10), []string{catalog.HostUnit}
			b.Artifacts = slices.Clone(b.Artifacts)
			for i := range b.Artifacts {
				b.Artifacts[i].Fixed += "+b2"
				b.Artifacts[i].Images = []catalog.Change{{Path: b.Artifacts[i].Images[0].Path, Fixed: id("b2", i)}}
			}
			s.c.Releases = append(s.c.Releases, b)
		}, "This machine restarts at no time by itself, for no window is set: 2026-04-b (DSA-1) is the baseline of the track now, until 2026-02-23 at the latest."},
		{func() { s.policy.Windows = append(s.policy.Windows, night) },
			"This machine restarts on 2026-02-14 at 00:00 UTC: 2026-04-b (DSA-1) is the baseline of the track now, until 2026-02-23 at the latest."},
		{func() { s.enrolled.Intent = catalog.Suspended }, "Nothing restarts: the enrolment is suspended."},
	} {
		c.change()
		if got := catalog.WhyRestart(s.assess()); !strings.HasSuffix(got, c.want) && !strings.Contains(got, c.want) {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
}
