package catalog_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"hotpatch/internal/catalog"
	"hotpatch/internal/window"
)

// The ten invariants of docs/MODEL.md, one test each. What only an agent or a
// server can keep is tested there too; here is the part that both ask.

// october is the day before the cold release of October 2025, with machines in
// every intent, all at the baseline of that month.
func october(t testing.TB) *world {
	t.Helper()
	w := newWorld(t, "windows-server-2025", instant(t, "2025-10-22 12:00"))
	night := parseWindow(t, "FREQ=DAILY at 01:00 for 4h in UTC")
	w.add("on", catalog.Enrolled, false, night)
	w.add("sus", catalog.Suspended, false, night)
	w.add("pend", catalog.Pending, false, night)
	w.add("gone", catalog.Cancelled, false, night)
	w.add("never", catalog.NotEnrolled, false, night)
	return w
}

// cold publishes the one of 23 October with an explicit "none", companion the
// one of the day after.
func (w *world) cold(t testing.TB) *catalog.Release {
	t.Helper()
	return w.out(t, catalog.TypeCold, "2025-10-23 18:00")
}

func (w *world) companion(t testing.TB) *catalog.Release {
	t.Helper()
	return w.out(t, catalog.TypeCompanion, "2025-10-24 18:00")
}

func (w *world) out(t testing.TB, typ catalog.Type, at string) *catalog.Release {
	t.Helper()
	w.now = instant(t, at)
	for _, r := range w.rows {
		if r.Type == typ && r.Available.Format(time.DateOnly) == w.now.Format(time.DateOnly) {
			var none *catalog.Mitigation
			if typ == catalog.TypeCold {
				none = &catalog.Mitigation{Text: "stop the service", By: "carol"}
			}
			if err := w.publish(r, none); err != nil {
				t.Fatal(err)
			}
			return w.c.Release(idOf(r))
		}
	}
	t.Fatalf("no row %s at %s", typ, at)
	return nil
}

func TestInvariant01EjectingReleaseIsNeverOfferedToAnEnrolledMachine(t *testing.T) {
	w := october(t)
	cold := w.cold(t)
	// Outside the program, but it touches a pinned package: ejects as well.
	outside := *cold
	outside.ID, outside.Kind, outside.Baseline, outside.Without = "driver-1", catalog.Outside, "", nil
	w.c.Releases = append(w.c.Releases, outside)
	for name, ejectable := range map[string]bool{"on": true, "sus": true, "pend": false, "gone": false, "never": false} {
		h := w.hosts[name]
		h.policy.Outside = []catalog.ReleaseID{outside.ID} // an approval of the host is no override
		a := w.assess(h)
		for _, id := range []catalog.ReleaseID{"2025-10-23-c", outside.ID} {
			if got := a.Offer(id) != nil; got == ejectable {
				t.Errorf("%s: offered %s: %v", name, id, got)
			}
			if x := a.Why(id); ejectable && (x == nil || x.Code != catalog.WouldEject) {
				t.Errorf("%s: withheld %s: %+v", name, id, x)
			}
			// What is not offered cannot go on either, whoever sends it.
			err := a.Recheck(catalog.AtInstall, id, w.c.Release(id).Content())
			var refusal *catalog.Refusal
			if ejectable && (!errors.As(err, &refusal) || refusal.Code != catalog.WouldEject) {
				t.Errorf("%s: recheck of %s: %v", name, id, err)
			}
		}
	}
	// A kind that is not known is taken for the worst.
	strange := *cold
	strange.ID, strange.Kind = "strange", "miracle"
	if got := w.c.Effect(&strange, &w.hosts["on"].inv); got != catalog.Ejects {
		t.Errorf("an unknown kind %s", got)
	}
}

func TestInvariant02OverrideNeedsEverythingAndIsVoidWhenMachinesGrow(t *testing.T) {
	w := october(t)
	cold := w.cold(t)
	preview, err := w.c.Preview(cold.ID, w.machines(), w.now)
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"on", "sus"}; !slices.Equal(preview.WouldEject, want) {
		t.Fatalf("the preview ejects %v, want %v", preview.WouldEject, want)
	}
	digest := preview.Digest(cold.ID, cold.Content())
	other := preview
	other.WouldEject = []string{"on"}
	for _, c := range []struct {
		what             string
		preview          catalog.Preview
		digest           catalog.Digest
		machines         []string
		approver, reason string
	}{
		{"no approver", preview, digest, []string{"on", "sus"}, " ", "used"},
		{"no reason", preview, digest, []string{"on", "sus"}, "dave", ""},
		{"no machines", preview, digest, nil, "dave", "used"},
		{"fewer machines than previewed", preview, digest, []string{"on"}, "dave", "used"},
		{"more machines than previewed", preview, digest, []string{"on", "sus", "x"}, "dave", "used"},
		{"no digest", preview, "", []string{"on", "sus"}, "dave", "used"},
		{"digest of another preview", other, digest, []string{"on"}, "dave", "used"},
		{"digest for other content", preview, preview.Digest(cold.ID, "0"), []string{"on", "sus"}, "dave", "used"},
	} {
		if o, err := w.c.Approve(cold.ID, c.preview, c.digest, c.machines, c.approver, c.reason, w.now); err == nil {
			t.Errorf("%s: %+v", c.what, o)
		}
	}
	o, err := w.c.Approve(cold.ID, preview, digest, []string{"sus", "on"}, "dave", "the hole is used", w.now)
	if err != nil {
		t.Fatal(err)
	}
	if err := o.Covers(cold, "on", w.now); err != nil {
		t.Errorf("it does not cover its machine: %v", err)
	}
	w.c.Overrides = []catalog.Override{o}
	if offer := w.assess(w.hosts["on"]).Offer(cold.ID); offer == nil || offer.Override != "dave" {
		t.Errorf("with the override: %+v", offer)
	}
	if a := w.assess(w.hosts["sus"]); a.Offer(cold.ID) != nil {
		t.Error("a suspended machine is offered something")
	}

	// One more machine: nobody is covered until somebody looks again.
	w.add("new", catalog.Enrolled, false)
	if err := o.Covers(cold, "new", w.now); err == nil {
		t.Error("it covers a machine that it does not list")
	}
	today, err := w.c.Preview(cold.ID, w.machines(), w.now)
	if err != nil {
		t.Fatal(err)
	}
	void := o.Against(today)
	w.c.Overrides = []catalog.Override{void}
	for _, name := range []string{"on", "new"} {
		if err := void.Covers(cold, name, w.now); err == nil || w.assess(w.hosts[name]).Offer(cold.ID) != nil {
			t.Errorf("%s is still covered", name)
		}
	}
	if !strings.Contains(void.Void, "new") || void.Against(preview).Void == "" {
		t.Errorf("void: %q", void.Void)
	}
	// Fewer machines do no harm.
	if o.Against(other).Void != "" {
		t.Error("void although the set shrank")
	}
	// Changed afterwards in any part: it covers nobody.
	for what, change := range map[string]func(*catalog.Override){
		"machine added":   func(o *catalog.Override) { o.Machines = append(slices.Clone(o.Machines), "zoe") },
		"preview changed": func(o *catalog.Override) { o.Accepted.OnTrack++ },
		"approver gone":   func(o *catalog.Override) { o.Approver = "" },
		"reason gone":     func(o *catalog.Override) { o.Reason = "" },
		"content changed": func(o *catalog.Override) { o.Content = catalog.Digest(content("x")) },
		"expired":         func(o *catalog.Override) { o.Until = w.now },
		"of tomorrow":     func(o *catalog.Override) { o.At = w.now.Add(time.Hour) },
	} {
		c := o
		change(&c)
		if err := c.Covers(cold, "on", w.now); err == nil {
			t.Errorf("%s: still covers", what)
		}
	}
}

func TestInvariant03StateIsTheSetOfDigestsNotTheVersion(t *testing.T) {
	w := october(t)
	cold := w.cold(t)
	companion := w.companion(t)
	if cold.Version != companion.Version {
		t.Fatal("the point of this test is that they are equal")
	}
	on, never := w.hosts["on"], w.hosts["never"]
	if !w.assess(on).State.Same(w.assess(never).State) {
		t.Fatal("two machines at one baseline differ")
	}
	if err := w.take(on, companion.ID); err != nil {
		t.Fatal(err)
	}
	if err := w.take(never, cold.ID); err != nil {
		t.Fatal(err)
	}
	a, b := w.assess(on).State, w.assess(never).State
	if on.inv.Packages[0].Version != never.inv.Packages[0].Version || a.Same(b) {
		t.Errorf("versions %s and %s, states %s and %s", on.inv.Packages[0].Version, never.inv.Packages[0].Version, a.ID, b.ID)
	}
	if !slices.IsSorted(a.Members) || len(slices.Compact(slices.Clone(a.Members))) != len(a.Members) || len(a.Members) < 2 {
		t.Errorf("members are no sorted set: %v", a.Members)
	}
	// The version is no part of it, the order of measuring neither; memory is.
	shuffled := on.inv
	shuffled.Packages = slices.Clone(on.inv.Packages)
	shuffled.Packages[0].Images = slices.Clone(on.inv.Packages[0].Images)
	slices.Reverse(shuffled.Packages[0].Images)
	if !catalog.StateOf(&shuffled, w.c).Same(a) {
		t.Error("order matters")
	}
	w.restart(on)
	if w.assess(on).State.Same(a) {
		t.Error("memory does not matter")
	}
}

func TestInvariant04OffersAreCheckedAgainAtEveryStepAndARecallPurges(t *testing.T) {
	w := october(t)
	w.cold(t)
	companion := w.companion(t)
	on := w.hosts["on"]
	content := companion.Content()
	for _, step := range []catalog.Step{catalog.AtDownload, catalog.AtStaging, catalog.AtInstall} {
		if err := w.assess(on).Recheck(step, companion.ID, content); err != nil {
			t.Fatalf("%s: %v", step, err)
		}
	}
	staged := map[catalog.ReleaseID]catalog.Digest{companion.ID: content}
	if got := w.c.Purge(staged); len(got) != 0 {
		t.Errorf("purges %v", got)
	}
	refused := func(what, code string) {
		t.Helper()
		var refusal *catalog.Refusal
		err := w.assess(on).Recheck(catalog.AtInstall, companion.ID, content)
		if !errors.As(err, &refusal) || refusal.Code != code {
			t.Errorf("%s: %v", what, err)
		}
	}
	keep := *companion
	life, err := companion.Life.Pause("carol", "one machine crashed", w.now)
	if err != nil {
		t.Fatal(err)
	}
	companion.Life = life
	refused("paused", catalog.IsPaused)
	*companion = keep
	companion.Scope = catalog.Scope{Except: []string{"on"}}
	refused("narrowed", catalog.NotInScope)
	*companion = keep
	companion.Artifacts = slices.Clone(keep.Artifacts)
	companion.Artifacts[0].Bundle = catalog.Digest(content)
	refused("changed", catalog.ContentChanged)
	if got := w.c.Purge(staged); len(got) != 1 {
		t.Errorf("other content under the same name is kept: %v", got)
	}
	*companion = keep
	if companion.Life, err = companion.Life.Recall("carol", "it crashes", w.now); err != nil {
		t.Fatal(err)
	}
	refused("recalled", catalog.IsRecalled)
	if got := w.c.Purge(map[catalog.ReleaseID]catalog.Digest{companion.ID: content, "unheard-of": content}); len(got) != 2 {
		t.Errorf("purges %v", got)
	}
	w.c.Releases = w.c.Releases[:len(w.c.Releases)-1]
	refused("gone from the catalogue", catalog.Unreleased)
}

func TestInvariant05ColdNeedsACompanionOrAnExplicitNone(t *testing.T) {
	w := october(t)
	var coldRow, companionRow catalog.Row
	for _, r := range w.rows {
		switch {
		case r.Type == catalog.TypeCold:
			coldRow = r
		case r.Type == catalog.TypeCompanion:
			companionRow = r
		}
	}
	w.now = coldRow.Available
	cold := w.release(coldRow)
	w.c.Releases = append(w.c.Releases, cold)
	why := func() []string { return w.c.Publishable(cold.ID, 2) }
	if got := why(); len(got) != 1 || !strings.Contains(got[0], "mitigation") {
		t.Errorf("with enrolled machines and nothing linked: %v", got)
	}
	if got := w.c.Publishable(cold.ID, 0); len(got) != 0 {
		t.Errorf("with nobody enrolled: %v", got)
	}
	for _, m := range []catalog.Mitigation{{Text: "", By: "carol"}, {Text: "stop it", By: " "}} {
		w.c.Release(cold.ID).Without = &m
		if got := why(); len(got) != 1 {
			t.Errorf("%+v: %v", m, got)
		}
	}
	w.c.Release(cold.ID).Without = &catalog.Mitigation{Text: "stop the service", By: "carol"}
	if got := why(); len(got) != 0 {
		t.Errorf("with an explicit none: %v", got)
	}
	w.c.Release(cold.ID).Without = nil
	w.c.Releases = append(w.c.Releases, w.release(companionRow))
	companion := &w.c.Releases[len(w.c.Releases)-1]
	if companion.Fixes != cold.ID {
		t.Fatalf("fixes %q", companion.Fixes)
	}
	if got := why(); len(got) != 0 {
		t.Errorf("with a companion: %v", got)
	}
	// A companion on another baseline, or a recalled one, is none.
	companion.Baseline = "2025-07-08-b"
	if got := why(); len(got) != 1 {
		t.Errorf("with a companion of another baseline: %v", got)
	}
	companion.Baseline = cold.Baseline
	companion.Life = catalog.Life{State: catalog.Recalled, Was: catalog.Complete}
	if got := why(); len(got) != 1 {
		t.Errorf("with a recalled companion: %v", got)
	}
}

func TestInvariant06NarrowingAfterPublishingOpensAnIncident(t *testing.T) {
	w := october(t)
	cold := w.cold(t)
	w.force(w.hosts["on"], cold.ID, "mallory")
	w.force(w.hosts["never"], cold.ID, "apt")
	w.hosts["gone"].enr.Work = &catalog.Work{Release: cold.ID, Content: cold.Content(), State: catalog.Staged}
	r, inc, err := w.c.Narrow(cold.ID, catalog.Scope{Hosts: []string{"pend"}}, w.machines(), "carol", "it ejects", w.now)
	if err != nil || inc == nil {
		t.Fatal(inc, err)
	}
	for what, c := range map[string][2][]string{
		"machines":  {inc.Machines, {"gone", "never", "on", "sus"}},
		"installed": {inc.Installed, {"never", "on"}},
		"staged":    {inc.Staged, {"gone"}},
		"exposed":   {inc.Exposed, {"gone", "sus"}},
		"ejected":   {inc.Ejected, {"on"}},
	} {
		if !slices.Equal(c[0], c[1]) {
			t.Errorf("%s: %v, want %v", what, c[0], c[1])
		}
	}
	if inc.By != "carol" || inc.Reason != "it ejects" || !inc.At.Equal(w.now) || len(r.Scope.Hosts) != 1 {
		t.Errorf("%+v", inc)
	}
	// Widening opens none, and what nobody was offered neither; nobody does it without a name.
	*w.c.Release(cold.ID) = r
	if _, inc, err := w.c.Narrow(cold.ID, catalog.Scope{}, w.machines(), "carol", "all", w.now); err != nil || inc != nil {
		t.Errorf("widening: %+v %v", inc, err)
	}
	if _, _, err := w.c.Narrow(cold.ID, catalog.Scope{}, nil, "", "x", w.now); err == nil {
		t.Error("nobody narrows")
	}
	w.c.Release(cold.ID).Life = catalog.Life{State: catalog.Approved}
	w.c.Release(cold.ID).Scope = catalog.Scope{}
	if _, inc, err := w.c.Narrow(cold.ID, catalog.Scope{Hosts: []string{"x"}}, w.machines(), "carol", "x", w.now); err != nil || inc != nil {
		t.Errorf("before publishing: %+v %v", inc, err)
	}
}

func TestInvariant07OffTrackSaysCauseActorDateRejoinRestartsAndTheWayBack(t *testing.T) {
	w := october(t)
	cold := w.cold(t)
	on := w.hosts["on"]
	left := w.now
	w.force(on, cold.ID, "mallory")
	w.now = w.now.AddDate(0, 0, 3)
	w.companion(t)
	w.now = instant(t, "2025-10-26 12:00")
	a := w.assess(on)
	off := a.Track.OffTrack
	if a.Track.State != catalog.OffTheTrack || off == nil {
		t.Fatalf("%+v", a.Track)
	}
	checkOffTrack(t, off)
	if off.Release != cold.ID || off.Actor != "mallory" || !off.Since.Equal(left) || !strings.Contains(off.Cause, "KB5070881") {
		t.Errorf("%+v", off)
	}
	if off.Rejoin.Month != "2026-01" || len(off.Restarts) != 3 || off.Rebase.Baseline != "2025-10-14-b" || len(off.Rebase.Restarts) == 0 {
		t.Errorf("%+v", off)
	}
	if a.Offer(off.Rebase.Baseline) == nil {
		t.Error("rebase now is not offered")
	}
	if s := catalog.WhyRestart(a); !strings.Contains(s, "KB5070881") || !strings.Contains(s, "2026-01-1") {
		t.Errorf("why: %s", s)
	}
	// Something that nobody published, and no receipt: said as plainly.
	never := w.hosts["never"]
	never.enr.Intent = catalog.Enrolled
	never.inv.Packages = slices.Clone(never.inv.Packages)
	never.inv.Packages[0].Version = "26100.9999"
	off = w.assess(never).Track.OffTrack
	checkOffTrack(t, off)
	if off.Actor != "unknown" || off.Release != "" || !strings.Contains(off.Cause, "26100.9999") {
		t.Errorf("%+v", off)
	}
}

func checkOffTrack(t interface {
	Helper()
	Fatalf(string, ...any)
}, off *catalog.OffTrack) {
	t.Helper()
	if off == nil || off.Cause == "" || off.Actor == "" || off.Since.IsZero() || off.Rejoin.At.IsZero() || off.Rejoin.Month == "" ||
		len(off.Restarts) == 0 || (off.Rebase.Baseline == "") == (off.Rebase.None == "") {
		t.Fatalf("something is missing: %+v", off)
	}
}

func TestInvariant08NothingUnmetBecomesAnUnscheduledRestart(t *testing.T) {
	w := october(t)
	w.cold(t)
	w.now = instant(t, "2026-01-14 01:30") // inside the window of "on"
	w.publishAll(t, "2026-01-14")
	on := w.hosts["on"]
	rebase := func(what string) *catalog.Due {
		t.Helper()
		a := w.assess(on)
		noRestartOutsideWindow(t, a, &on.policy)
		for i := range a.Due {
			if a.Due[i].Action == catalog.DoRebase || a.Due[i].Action == catalog.DoCatchUp {
				return &a.Due[i]
			}
		}
		return nil
	}
	if d := rebase("in the window"); d == nil || !d.Now(w.now) {
		t.Fatalf("in the window: %+v", d)
	}
	w.now = w.now.Add(3*time.Hour + 20*time.Minute) // ten minutes are left
	if d := rebase("late"); d == nil || d.Now(w.now) || d.Blocked != catalog.WindowExceeded {
		t.Errorf("ten minutes before the window's end: %+v", d)
	}
	w.now = instant(t, "2026-01-14 12:00")
	if d := rebase("outside"); d == nil || d.Now(w.now) || !d.At.Equal(instant(t, "2026-01-15 01:00")) {
		t.Errorf("outside the window: %+v", d)
	}
	w.now = w.now.AddDate(0, 2, 0)
	if d := rebase("past the deadline"); d == nil || d.Now(w.now) {
		t.Errorf("a deadline that has passed opens no window: %+v", d)
	}
	keep := on.policy.Windows
	on.policy.Windows = nil
	if d := rebase("no schedule"); d == nil || d.Now(w.now) || d.Blocked != catalog.NoWindow {
		t.Errorf("taking the schedule away: %+v", d)
	}
	on.policy.Windows = keep
	w.c.Expires = w.now.Add(-time.Second)
	if d := rebase("expired"); d != nil && d.Now(w.now) {
		t.Errorf("an expired catalogue: %+v", d)
	}
	if a := w.assess(on); len(a.Offers) > 0 {
		t.Errorf("an expired catalogue offers %v", a.Offers)
	}
	w.c.Expires = time.Time{}
	on.inv.Facts.Ptrace = catalog.Probe{Found: []string{"kernel.yama.ptrace_scope is 3"}}
	w.now = instant(t, "2026-01-15 12:00")
	if d := rebase("unmet gate"); d != nil && d.Now(w.now) {
		t.Errorf("an unmet gate: %+v", d)
	}
	// No catalogue at all.
	if a := catalog.Assess(&on.inv, &catalog.Catalog{}, on.enr, &on.policy, w.now); len(a.Due) > 0 {
		t.Errorf("without a catalogue: %+v", a.Due)
	}
	on.enr.Intent = catalog.Suspended
	on.inv.Facts.Ptrace = catalog.Probe{}
	for _, d := range w.assess(on).Due {
		if d.Now(w.now) {
			t.Errorf("suspended: %+v", d)
		}
	}
}

// publishAll publishes the rows of the file until a day.
func (w *world) publishAll(t testing.TB, until string) {
	t.Helper()
	for _, r := range w.rows {
		if w.c.Release(idOf(r)) == nil && r.Available.Before(instant(t, until)) && len(w.c.Releases) > 0 && r.Available.After(w.c.Releases[0].Available) {
			if err := w.publish(r, &catalog.Mitigation{Text: "stop it", By: "carol"}); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func noRestartOutsideWindow(t interface{ Fatalf(string, ...any) }, a *catalog.Assessment, p *catalog.Policy) {
	for i := range a.Due {
		d := &a.Due[i]
		if len(d.Restarts) == 0 && d.Action != catalog.DoRebase && d.Action != catalog.DoCatchUp || d.Blocked != "" {
			continue
		}
		o, ok := p.Windows.At(d.At)
		if d.Window == nil || !ok || !window.Fits(o.Left(d.At), 1, 0, true) {
			t.Fatalf("a restart outside a window: %+v", d)
		}
	}
}

func TestInvariant09UnplannedBaselineIsAChangeANotificationAndADeadline(t *testing.T) {
	w := newWorld(t, "windows-server-2022", instant(t, "2024-08-01"))
	planned := slices.IndexFunc(w.c.Calendar.Rows, func(r catalog.Row) bool { return r.Month == "2024-08" })
	if planned < 0 || w.c.Calendar.Rows[planned].Type != catalog.TypeHotpatch || !w.c.Calendar.Rows[planned].Planned {
		t.Fatalf("August is planned as %+v", w.c.Calendar.Rows)
	}
	r := w.out(t, catalog.TypeUnplanned, "2024-08-13 18:00")
	change := w.change
	if change.Replaced == nil || change.Replaced.Type != catalog.TypeHotpatch || change.Row.Replaces != "2024.08 hotpatch" {
		t.Errorf("replaces %+v", change)
	}
	if !strings.Contains(change.Notice, "2024.08 hotpatch") || !strings.Contains(change.Notice, "KB5041160") || !change.Deadline.Equal(r.Deadline) || r.Deadline.IsZero() {
		t.Errorf("%+v", change)
	}
	for _, row := range w.c.Calendar.Rows {
		if row.Month == "2024-08" && (row.Type != catalog.TypeUnplanned || row.Planned || row.Replaces == "") {
			t.Errorf("August has %+v", row)
		}
	}
	// No deadline, no publication.
	bad := *r
	bad.ID, bad.Deadline = "2024-08-20-u", time.Time{}
	if _, _, err := w.c.Calendar.Publish(&bad); err == nil {
		t.Error("without a deadline it is published")
	}
	bad.Life = catalog.Life{State: catalog.Approved}
	w.c.Releases = append(w.c.Releases, bad)
	if why := w.c.Publishable(bad.ID, 0); len(why) == 0 {
		t.Error("without a deadline it is publishable")
	}
}

func TestInvariant10WhatWasAppliedIsVerifiedAndMatchesAgainAfterARestart(t *testing.T) {
	w := october(t)
	w.cold(t)
	companion := w.companion(t)
	on := w.hosts["on"]
	verify := func() []catalog.Mismatch {
		t.Helper()
		m, err := w.c.Verify(&on.inv, companion.ID, false)
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	if m := verify(); len(m) != 2 { // the disk, and process 1
		t.Errorf("before: %v", m)
	}
	w.toDisk(on, companion)
	if m := verify(); len(m) != 1 || m[0].PID != 1 {
		t.Errorf("disk alone: %v", m)
	}
	w.patch(on, companion)
	if m := verify(); len(m) != 0 {
		t.Errorf("after: %v", m)
	}
	on.inv.Processes = append(on.inv.Processes, catalog.Process{PID: 5, Unknown: "permission denied"})
	if m := verify(); len(m) != 1 || m[0].PID != 5 {
		t.Errorf("a process that cannot be read: %v", m)
	}
	on.inv.Processes = on.inv.Processes[:1]

	// A restart for a release, and then: match, or failed.
	on.enr.Work = &catalog.Work{Release: companion.ID, Content: companion.Content(), State: catalog.RestartPending, Restarted: true, Since: w.now}
	w.restart(on)
	if a := w.assess(on); a.Track.State != catalog.Current {
		t.Errorf("after the restart: %+v", a.Track)
	}
	w.toDisk(on, w.c.Release("2025-10-14-b")) // the new file did not survive
	w.restart(on)
	if a := w.assess(on); a.Track.State != catalog.Failed || !strings.Contains(a.Track.Reason, "after the restart") || a.Track.Release != companion.ID {
		t.Errorf("after a restart that lost it: %+v", a.Track)
	}
	if _, err := w.c.Verify(&on.inv, "unheard-of", false); err == nil {
		t.Error("an unknown release verifies")
	}
	// The same version with other content is no match.
	w.toDisk(on, companion)
	on.inv.Packages[0].Images[0].BuildID = content("tampered")[:40]
	if m := verify(); len(m) == 0 || !strings.Contains(m[0].String(), kernel) {
		t.Errorf("other content with the same version: %v", m)
	}
}
