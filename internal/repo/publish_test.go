package repo_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"hotpatch/internal/catalog"
	"hotpatch/internal/patch"
	"hotpatch/internal/repo"
)

// bundle writes a bundle for hello, from one version to another.
func bundle(t *testing.T, from, to string, change ...func(*patch.Bundle)) string {
	t.Helper()
	b, err := patch.ReadFile("../patch/testdata/hello.hotpatch")
	if err != nil {
		t.Fatal(err)
	}
	b.Accepted = nil
	b.Manifest.Package, b.Manifest.Source = "hello", "hello"
	b.Manifest.BaseVersion, b.Manifest.FixedVersion = from, to
	b.Manifest.Verdict, b.Manifest.Reasons = patch.Clean, []patch.Reason{}
	for _, c := range change {
		c(b)
	}
	file := filepath.Join(t.TempDir(), "hello_"+strings.ReplaceAll(to, "+", "_")+".hotpatch")
	if err := b.WriteFile(file); err != nil {
		t.Fatal(err)
	}
	return file
}

func bundleID(t *testing.T, file string) catalog.Digest {
	t.Helper()
	b, err := patch.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	id, err := b.ID()
	if err != nil {
		t.Fatal(err)
	}
	return catalog.Digest(id)
}

// approve takes a draft through preview and approval.
func (f *fixture) approve(ids ...catalog.ReleaseID) {
	f.t.Helper()
	for _, id := range ids {
		p, err := f.repo.Preview(id, nil, "carol")
		if err != nil {
			f.t.Fatal(err)
		}
		if _, err := f.repo.Approve(id, repo.Approval{By: "carol", Reason: "tested", Preview: p.Digest}); err != nil {
			f.t.Fatal(err)
		}
	}
}

func (f *fixture) publish(enrolled int, ids ...catalog.ReleaseID) {
	f.t.Helper()
	if _, err := f.repo.Publish(ids, repo.PublishOptions{Enrolled: enrolled, By: "carol"}, f.keys); err != nil {
		f.t.Fatal(err)
	}
}

func (f *fixture) add(rel catalog.Release, bundles ...string) {
	f.t.Helper()
	if _, err := f.repo.Add(repo.Addition{Release: rel, Bundles: bundles, By: "carol"}); err != nil {
		f.t.Fatal(err)
	}
}

// withBaseline publishes a baseline that pins hello and world.
func (f *fixture) withBaseline() {
	f.t.Helper()
	pins, err := repo.PinList(strings.NewReader("hello=1.0-1\nworld:amd64=2.0 # a comment\n"), "list")
	if err != nil {
		f.t.Fatal(err)
	}
	if _, err := f.repo.AddBaseline(catalog.Release{ID: "2025.10", Kind: catalog.Baseline, Version: "2025.10"}, pins, "carol"); err != nil {
		f.t.Fatal(err)
	}
	f.approve("2025.10")
	f.publish(0, "2025.10")
}

func catalogOf(t *testing.T, c *repo.Client, channel string) *catalog.Catalog {
	t.Helper()
	k, err := c.Catalog(context.Background(), channel)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func hot(id catalog.ReleaseID) catalog.Release {
	return catalog.Release{ID: id, Kind: catalog.Hotpatch, Baseline: "2025.10"}
}

func TestReleaseGoesThroughTheChannels(t *testing.T) {
	f := newFixture(t)
	ctx := context.Background()
	f.withBaseline()
	file := bundle(t, "1.0-1", "1.0-1+deb12u1")
	id := bundleID(t, file)
	f.add(hot("2025.11"), file)
	f.approve("2025.11")
	f.publish(1, "2025.11")
	if left, err := f.repo.Drafts(); len(left) != 0 || err != nil {
		t.Errorf("drafts left: %v %v", left, err)
	}

	c := f.client(f.dir)
	refresh(t, c)
	k := catalogOf(t, c, "candidate")
	if r := k.Release("2025.11"); r == nil || r.Life.State != catalog.InRing || r.Life.Ring != 1 || len(r.Artifacts) != 1 || r.Artifacts[0].Bundle != id {
		t.Fatalf("in candidate: %+v", r)
	}
	if _, err := c.Catalog(ctx, "stable"); !errors.Is(err, repo.ErrNotTarget) {
		t.Errorf("stable has a catalogue: %v", err)
	}
	staged := filepath.Join(t.TempDir(), "staged")
	if _, err := c.FetchBundle(ctx, "candidate", id, staged); err != nil {
		t.Fatal(err)
	}
	if _, err := c.CheckBundle("candidate", id, staged); err != nil {
		t.Fatal(err)
	}

	_, err := f.repo.Promote([]catalog.ReleaseID{"2025.11"}, "", repo.PublishOptions{Enrolled: 1, By: "carol"}, f.keys)
	wantError(t, err, repo.ErrRefused, "baseline") // not there yet
	for _, id := range []catalog.ReleaseID{"2025.10", "2025.11"} {
		if _, err := f.repo.Promote([]catalog.ReleaseID{id}, "", repo.PublishOptions{Enrolled: 1, By: "carol"}, f.keys); err != nil {
			t.Fatal(err)
		}
	}
	refresh(t, c)
	if r := catalogOf(t, c, "stable").Release("2025.11"); r == nil || r.Life.State != catalog.Complete {
		t.Fatalf("in stable: %+v", r)
	}
	rows := catalogOf(t, c, "stable").Calendar.Rows
	if len(rows) != 2 {
		t.Errorf("calendar %+v", rows)
	}
	_, err = f.repo.Promote([]catalog.ReleaseID{"2025.11"}, "", repo.PublishOptions{By: "carol"}, f.keys)
	wantError(t, err, repo.ErrRefused, "last channel")

	rep, err := repo.Verify(ctx, f.dir, f.root(), 0, f.now)
	if err != nil || len(rep.Problems) != 0 || len(rep.Channels) != 2 || rep.Channels[1].Releases != 2 {
		t.Errorf("verify: %s %v", indent(t, rep), err)
	}
}

func TestRecallReachesEveryCopy(t *testing.T) {
	f := newFixture(t)
	ctx := context.Background()
	f.withBaseline()
	file := bundle(t, "1.0-1", "1.0-1+deb12u1")
	id := bundleID(t, file)
	f.add(hot("2025.11"), file)
	f.approve("2025.11")
	f.publish(1, "2025.11")
	c := f.client(f.dir)
	refresh(t, c)
	staged := filepath.Join(t.TempDir(), "staged")
	if _, err := c.FetchBundle(ctx, "candidate", id, staged); err != nil {
		t.Fatal(err)
	}
	content := catalogOf(t, c, "candidate").Release("2025.11").Content()
	mirror := filepath.Join(t.TempDir(), "mirror")
	if _, err := repo.Mirror(ctx, f.dir, mirror, f.root(), nil, 0, f.now); err != nil {
		t.Fatal(err)
	}

	_, err := f.repo.Recall("2025.11", "dave", "", f.keys)
	wantError(t, err, repo.ErrRefused, "who and why")
	if chs, err := f.repo.Recall("2025.11", "dave", "crashes under load", f.keys); err != nil || !slices.Equal(chs, []string{"candidate"}) {
		t.Fatal(chs, err)
	}
	refresh(t, c)
	if _, err := c.CheckBundle("candidate", id, staged); !errors.Is(err, repo.ErrNotTarget) {
		t.Errorf("the staged copy is still good: %v", err)
	}
	k := catalogOf(t, c, "candidate")
	if r := k.Release("2025.11"); r == nil || r.Life.State != catalog.Recalled || r.Life.By != "dave" || r.Life.Reason != "crashes under load" {
		t.Errorf("the notice: %+v", r)
	}
	if got := k.Purge(map[catalog.ReleaseID]catalog.Digest{"2025.11": content}); len(got) != 1 {
		t.Errorf("purge %v", got)
	}
	if left, _ := filepath.Glob(f.public("targets/candidate/bundles/*")); len(left) != 0 {
		t.Errorf("left in the repository: %v", left)
	}
	m, err := repo.Mirror(ctx, f.dir, mirror, nil, nil, 0, f.now)
	if err != nil || m.Removed == 0 {
		t.Errorf("mirror: %+v %v", m, err)
	}
	if left, _ := filepath.Glob(filepath.Join(mirror, "targets/candidate/bundles/*")); len(left) != 0 {
		t.Errorf("left in the mirror: %v", left)
	}
	_, err = f.repo.Promote([]catalog.ReleaseID{"2025.11"}, "", repo.PublishOptions{By: "carol"}, f.keys)
	wantError(t, err, repo.ErrRefused, "recalled")
	_, err = f.repo.Recall("2025.11", "dave", "again", f.keys)
	wantError(t, err, repo.ErrNotFound)
	_, err = f.repo.Add(repo.Addition{Release: hot("2025.11"), By: "carol"})
	wantError(t, err, repo.ErrRefused, "recalled")
}

func TestAddRefuses(t *testing.T) {
	f := newFixture(t)
	f.withBaseline()
	good := bundle(t, "1.0-1", "1.0-1+deb12u1")
	review := bundle(t, "1.0-1", "1.0-1+deb12u1", func(b *patch.Bundle) {
		b.Manifest.Verdict = patch.Review
		b.Manifest.Reasons = []patch.Reason{{Code: "layout-unverified", Image: "/usr/bin/hello", Detail: "no types"}}
	})
	broken := filepath.Join(t.TempDir(), "broken.hotpatch")
	write(t, broken, mustRead(t, good)[:500])
	unknown := hot("x")
	unknown.Baseline = "2024.01"
	noBase := hot("x")
	noBase.Baseline = ""
	onHot := hot("x")
	onHot.Baseline = "2025.10-draft"
	for _, c := range []struct {
		name string
		rel  catalog.Release
		file string
		says string
	}{
		{"an unaccepted review", hot("x"), review, "review"},
		{"an unknown baseline", unknown, good, "unknown baseline 2024.01"},
		{"no baseline", noBase, good, "no baseline named"},
		{"another base version", hot("x"), bundle(t, "0.9-1", "1.0-1+deb12u1"), "it is for hello 0.9-1, but baseline 2025.10 has 1.0-1"},
		{"a package that is not pinned", hot("x"), bundle(t, "1.0-1", "1.0-1+deb12u1", func(b *patch.Bundle) { b.Manifest.Package = "other" }), "no package other"},
		{"an older version", hot("x"), bundle(t, "1.0-1", "1.0-0"), "no newer than"},
		{"a bundle of no package", hot("x"), bundle(t, "", ""), "names no package"},
		{"a partial bundle", hot("x"), bundle(t, "1.0-1", "1.0-1+deb12u1", func(b *patch.Bundle) {
			m := &b.Manifest
			m.Verdict, m.Reasons = patch.Review, []patch.Reason{{Code: "image-left-out", Detail: "a test"}}
			m.LeftOut = []patch.LeftOut{{Path: "/usr/lib/libhello.so.1", BuildIDBase: "0a"}}
			if err := b.Accept("carol", "a test", time.Unix(0, 0)); err != nil {
				t.Fatal(err)
			}
		}), "it leaves out /usr/lib/libhello.so.1"},
		{"a broken file", hot("x"), broken, "broken.hotpatch"},
		{"a hotpatch without bundle", hot("x"), "", "without a bundle"},
		{"a bad id", hot("../x"), good, "release id"},
		{"what is published", catalog.Release{ID: "2025.10", Kind: catalog.Baseline}, "", "published"},
		{"an unknown kind", catalog.Release{ID: "x", Kind: "lukewarm"}, good, "lukewarm"},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := repo.Addition{Release: c.rel, By: "carol"}
			if c.file != "" {
				a.Bundles = []string{c.file}
			}
			_, err := f.repo.Add(a)
			wantError(t, err, nil, c.says)
			if ds, err := f.repo.Drafts(); len(ds) != 0 || err != nil {
				t.Errorf("drafts %v %v", ds, err)
			}
		})
	}
}

func TestAcceptedReviewIsAdded(t *testing.T) {
	f := newFixture(t)
	f.withBaseline()
	f.add(hot("x"), bundle(t, "1.0-1", "1.0-1+deb12u1", func(b *patch.Bundle) {
		b.Manifest.Verdict = patch.Review
		b.Manifest.Reasons = []patch.Reason{{Code: "layout-unverified", Image: "/usr/bin/hello", Detail: "no types"}}
		if err := b.Accept("erin", "compared by hand", start); err != nil {
			t.Fatal(err)
		}
	}))
}

func TestApprovalNeedsNameReasonAndThePreviewOfThisContent(t *testing.T) {
	f := newFixture(t)
	f.withBaseline()
	f.add(hot("x"), bundle(t, "1.0-1", "1.0-1+deb12u1"))
	_, err := f.repo.Publish([]catalog.ReleaseID{"x"}, repo.PublishOptions{By: "carol"}, f.keys)
	wantError(t, err, repo.ErrRefused, "not previewed")
	_, err = f.repo.Approve("x", repo.Approval{By: "carol", Reason: "tested"})
	wantError(t, err, repo.ErrRefused, "not previewed")
	p, err := f.repo.Preview("x", nil, "carol")
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.repo.Publish([]catalog.ReleaseID{"x"}, repo.PublishOptions{By: "carol"}, f.keys)
	wantError(t, err, repo.ErrRefused, "previewed, not approved")
	for _, c := range []struct {
		a    repo.Approval
		says string
	}{
		{repo.Approval{Reason: "tested", Preview: p.Digest}, "no approver"},
		{repo.Approval{By: "carol", Reason: " ", Preview: p.Digest}, "no reason"},
		{repo.Approval{By: "carol", Reason: "tested"}, "the last preview has digest"},
		{repo.Approval{By: "carol", Reason: "tested", Preview: "00"}, "the last preview has digest"},
	} {
		_, err := f.repo.Approve("x", c.a)
		wantError(t, err, repo.ErrRefused, c.says)
	}
	// The content changes: the preview is void, and so is an approval.
	f.add(hot("x"), bundle(t, "1.0-1", "1.0-1+deb12u2"))
	_, err = f.repo.Approve("x", repo.Approval{By: "carol", Reason: "tested", Preview: p.Digest})
	wantError(t, err, repo.ErrRefused, "not previewed")
	f.approve("x")
	// Somebody looks again, perhaps at other machines: decide again.
	if _, err := f.repo.Preview("x", nil, "mallory"); err != nil {
		t.Fatal(err)
	}
	_, err = f.repo.Publish([]catalog.ReleaseID{"x"}, repo.PublishOptions{By: "carol"}, f.keys)
	wantError(t, err, repo.ErrRefused, "previewed, not approved")
	f.approve("x")
	f.add(hot("x"), bundle(t, "1.0-1", "1.0-1+deb12u3"))
	_, err = f.repo.Publish([]catalog.ReleaseID{"x"}, repo.PublishOptions{By: "carol"}, f.keys)
	wantError(t, err, repo.ErrRefused)
}

func cold(id catalog.ReleaseID) catalog.Release {
	return catalog.Release{ID: id, Kind: catalog.Cold, Baseline: "2025.10", Article: "KB5070881", OutOfBand: true}
}

func companion(id, fixes catalog.ReleaseID) catalog.Release {
	return catalog.Release{ID: id, Kind: catalog.Companion, Baseline: "2025.10", Fixes: fixes, Article: "KB5070893", OutOfBand: true}
}

func TestColdReleaseNeedsACompanionOrAWordWhyNot(t *testing.T) {
	f := newFixture(t)
	f.withBaseline()
	f.add(cold("kb5070881"), bundle(t, "1.0-1", "1.0-1+deb12u1"))
	f.approve("kb5070881")
	_, err := f.repo.Publish([]catalog.ReleaseID{"kb5070881"}, repo.PublishOptions{Enrolled: 1, By: "carol"}, f.keys)
	wantError(t, err, repo.ErrRefused, "no companion or hotpatch has its fix")

	f.add(companion("kb5070893", "kb5070881"), bundle(t, "1.0-1", "1.0-1+deb12u1"))
	f.approve("kb5070893")
	f.publish(1, "kb5070881", "kb5070893")

	f.add(cold("another"), bundle(t, "1.0-1", "1.0-1+deb12u2"))
	f.approve("another")
	o := repo.PublishOptions{Enrolled: 1, By: "carol", NoneBecause: "block port 8530 until the next baseline"}
	if _, err := f.repo.Publish([]catalog.ReleaseID{"another"}, o, f.keys); err != nil {
		t.Fatal(err)
	}
	c := f.client(f.dir)
	refresh(t, c)
	if w := catalogOf(t, c, "candidate").Release("another").Without; w == nil || w.By != "carol" || !strings.Contains(w.Text, "8530") {
		t.Errorf("without %+v", w)
	}
	// In the next channel the same rule holds.
	if _, err := f.repo.Promote([]catalog.ReleaseID{"2025.10"}, "", o, f.keys); err != nil {
		t.Fatal(err)
	}
	_, err = f.repo.Promote([]catalog.ReleaseID{"kb5070881"}, "", repo.PublishOptions{Enrolled: 1, By: "carol"}, f.keys)
	wantError(t, err, repo.ErrRefused, "no companion or hotpatch has its fix")
	if _, err := f.repo.Promote([]catalog.ReleaseID{"kb5070881", "kb5070893"}, "", repo.PublishOptions{Enrolled: 1, By: "carol"}, f.keys); err != nil {
		t.Fatal(err)
	}
}

func TestUnplannedBaselineTakesThePlaceOfItsHotpatch(t *testing.T) {
	f := newFixture(t)
	f.withBaseline()
	pins, err := repo.PinList(strings.NewReader("hello=1.0-2"), "list")
	if err != nil {
		t.Fatal(err)
	}
	rel := catalog.Release{ID: "2025.11-u", Kind: catalog.Baseline, Unplanned: true}
	if _, err := f.repo.AddBaseline(rel, pins, "carol"); err != nil {
		t.Fatal(err)
	}
	f.approve("2025.11-u")
	_, err = f.repo.Publish([]catalog.ReleaseID{"2025.11-u"}, repo.PublishOptions{By: "carol"}, f.keys)
	wantError(t, err, repo.ErrRefused, "deadline")
	_, err = f.repo.Add(repo.Addition{Release: catalog.Release{ID: "2025.11-u", Kind: catalog.Baseline, Deadline: start.Add(14 * 24 * time.Hour)}, By: "carol"})
	if err != nil {
		t.Fatal(err)
	}
	f.approve("2025.11-u")
	ps, err := f.repo.Publish([]catalog.ReleaseID{"2025.11-u"}, repo.PublishOptions{By: "carol"}, f.keys)
	if err != nil || !strings.Contains(ps[0].Calendar.Notice, "restart once until 2025-10-28") {
		t.Errorf("%+v %v", ps, err)
	}
}

func TestMirrorServesOfflineAndIncrementally(t *testing.T) {
	f := newFixture(t)
	ctx := context.Background()
	f.withBaseline()
	file := bundle(t, "1.0-1", "1.0-1+deb12u1")
	f.add(hot("2025.11"), file)
	f.approve("2025.11")
	f.publish(1, "2025.11")
	dir := filepath.Join(t.TempDir(), "mirror")
	_, err := repo.Mirror(ctx, f.dir, dir, nil, nil, 0, f.now)
	wantError(t, err, nil, "no trusted root")
	m, err := repo.Mirror(ctx, f.dir, dir, f.root(), nil, 0, f.now)
	if err != nil || m.Targets != 2 || m.Fetched != 2 || m.Role != "timestamp" {
		t.Fatalf("%+v %v", m, err)
	}
	if m, err = repo.Mirror(ctx, f.dir, dir, nil, nil, 0, f.now); err != nil || m.Fetched != 0 || m.Removed != 0 {
		t.Errorf("again: %+v %v", m, err)
	}
	moved := filepath.Join(t.TempDir(), "gone")
	if err := os.Rename(f.dir, moved); err != nil {
		t.Fatal(err)
	}
	root := mustRead(t, filepath.Join(dir, "metadata/1.root.json"))
	c, err := repo.Open(dir, root, t.TempDir(), f.now)
	if err != nil {
		t.Fatal(err)
	}
	refresh(t, c)
	if _, err := c.FetchBundle(ctx, "candidate", bundleID(t, file), filepath.Join(t.TempDir(), "b")); err != nil {
		t.Error(err)
	}
	rep, err := repo.Verify(ctx, dir, root, 0, f.now)
	if err != nil || len(rep.Problems) > 0 {
		t.Errorf("%+v %v", rep, err)
	}
	// A mirror of the mirror, and one damaged file.
	again := filepath.Join(t.TempDir(), "again")
	if _, err := repo.Mirror(ctx, dir, again, root, []string{"candidate"}, 0, f.now); err != nil {
		t.Error(err)
	}
	bad := glob(t, filepath.Join(again, "targets/candidate/bundles/*"))
	write(t, bad, []byte("evil"))
	if m, err := repo.Mirror(ctx, dir, again, root, nil, 0, f.now); err != nil || m.Fetched != 1 {
		t.Errorf("repair: %+v %v", m, err)
	}
}

func TestVerifyFindsDamage(t *testing.T) {
	f := newFixture(t)
	ctx := context.Background()
	f.withBaseline()
	f.add(hot("2025.11"), bundle(t, "1.0-1", "1.0-1+deb12u1"))
	f.approve("2025.11")
	f.publish(1, "2025.11")
	verify := func(says string) {
		t.Helper()
		rep, err := repo.Verify(ctx, f.dir, f.root(), 0, f.now)
		if err != nil || len(rep.Problems) != 1 || !strings.Contains(rep.Problems[0], says) {
			t.Errorf("problems %q %v, want one that says %q", rep.Problems, err, says)
		}
	}
	b := glob(t, f.public("targets/candidate/bundles/*"))
	data := mustRead(t, b)
	write(t, b, data[:100])
	verify("ends after 100 of")
	if err := os.Remove(b); err != nil {
		t.Fatal(err)
	}
	verify("not found")
	write(t, b, data)
	f.put("candidate/bundles/"+strings.Repeat("0", 64)+".hotpatch", "junk")
	rep, err := repo.Verify(ctx, f.dir, f.root(), 0, f.now)
	if err != nil || len(rep.Problems) != 2 || !strings.Contains(strings.Join(rep.Problems, "\n"), "no release names it") {
		t.Errorf("%q %v", rep.Problems, err)
	}
	f.advance(25 * time.Hour)
	verify("refuse timestamp (metadata/timestamp.json): expired")
}

// Machines that a cold release would take from their track are named in the
// preview; the approval is an override for exactly those, and goes along.
func TestApprovalOfWhatEjectsIsAnOverrideForThoseMachines(t *testing.T) {
	f := newFixture(t)
	f.withBaseline()
	machine := func(host string, intent catalog.Intent) catalog.Machine {
		return catalog.Machine{Enrolment: catalog.Enrolment{Intent: intent}, Inventory: &catalog.Inventory{
			Format: catalog.Format, Host: host, Taken: start, Facts: catalog.Facts{Arch: "amd64"},
			Packages: []catalog.Package{{Name: "hello", Version: "1.0-1"}, {Name: "world", Arch: "amd64", Version: "2.0"}},
		}}
	}
	f.add(cold("c"), bundle(t, "1.0-1", "1.0-1+deb12u1"))
	p, err := f.repo.Preview("c", []catalog.Machine{machine("web1", catalog.Enrolled), machine("web2", catalog.NotEnrolled)}, "carol")
	if err != nil {
		t.Fatal(err)
	}
	if p.Machines != 2 || !slices.Equal(p.Preview.WouldEject, []string{"web1"}) {
		t.Fatalf("preview %s", indent(t, p))
	}
	if _, err := f.repo.Approve("c", repo.Approval{By: "carol", Reason: "the hole is worse", Preview: p.Digest}); err != nil {
		t.Fatal(err)
	}
	o := repo.PublishOptions{Enrolled: 1, By: "carol", NoneBecause: "none in time"}
	ps, err := f.repo.Publish([]catalog.ReleaseID{"c"}, o, f.keys)
	if err != nil || !slices.Equal(ps[0].Override, []string{"web1"}) {
		t.Fatal(ps, err)
	}
	check := func(channel string) {
		t.Helper()
		c := f.client(f.dir)
		refresh(t, c)
		k := catalogOf(t, c, channel)
		if len(k.Overrides) != 1 {
			t.Fatalf("%s: overrides %v", channel, k.Overrides)
		}
		v := &k.Overrides[0]
		if err := v.Covers(k.Release("c"), "web1", start); err != nil {
			t.Errorf("%s: %v", channel, err)
		}
		if err := v.Covers(k.Release("c"), "web2", start); err == nil {
			t.Errorf("%s: it covers a machine that nobody approved", channel)
		}
	}
	check("candidate")
	for _, id := range []catalog.ReleaseID{"2025.10", "c"} {
		if _, err := f.repo.Promote([]catalog.ReleaseID{id}, "", o, f.keys); err != nil {
			t.Fatal(err)
		}
	}
	check("stable")
}

// Narrowing what is published names the machines that are left with it, or
// without it.
func TestNarrowingAPublishedReleaseOpensAnIncident(t *testing.T) {
	f := newFixture(t)
	f.withBaseline()
	f.add(hot("2025.11"), bundle(t, "1.0-1", "1.0-1+deb12u1"))
	if _, err := f.repo.Rescope("2025.11", catalog.Scope{Labels: map[string]string{"env": "test"}}, nil, "carol", "try it first", f.keys); err != nil {
		t.Fatal(err)
	}
	if d, err := f.repo.Draft("2025.11"); err != nil || d.Scope.Labels["env"] != "test" || d.Life.State != catalog.Validated {
		t.Fatalf("draft %+v %v", d, err)
	}
	f.approve("2025.11")
	f.publish(1, "2025.11")
	machine := catalog.Machine{Enrolment: catalog.Enrolment{Intent: catalog.Enrolled}, Inventory: &catalog.Inventory{
		Format: catalog.Format, Host: "web1", Labels: map[string]string{"env": "test"}, Taken: start, Facts: catalog.Facts{Arch: "amd64"},
		Packages: []catalog.Package{{Name: "hello", Version: "1.0-1"}},
	}}
	to := catalog.Scope{Except: []string{"web1"}}
	_, err := f.repo.Rescope("2025.11", to, nil, "carol", "it crashes there", f.keys)
	wantError(t, err, repo.ErrRefused, "name the machines")
	out, err := f.repo.Rescope("2025.11", to, []catalog.Machine{machine}, "carol", "it crashes there", f.keys)
	if err != nil || out.Incident == nil || !slices.Equal(out.Incident.Machines, []string{"web1"}) || !slices.Equal(out.Channels, []string{"candidate"}) {
		t.Fatalf("%s %v", indent(t, out), err)
	}
	if data := mustRead(t, out.File); !strings.Contains(string(data), "it crashes there") {
		t.Errorf("the incident: %s", data)
	}
	c := f.client(f.dir)
	refresh(t, c)
	if s := catalogOf(t, c, "candidate").Release("2025.11").Scope; !slices.Equal(s.Except, []string{"web1"}) {
		t.Errorf("scope %+v", s)
	}
}
