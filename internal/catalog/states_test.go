package catalog_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"hotpatch/internal/catalog"
)

func TestLifeOfARelease(t *testing.T) {
	now := instant(t, "2026-01-01")
	l := catalog.Life{State: catalog.Draft}
	step := func(next catalog.LifeState) {
		t.Helper()
		var err error
		if l, err = l.To(next, "carol", now); err != nil {
			t.Fatal(err)
		}
	}
	for _, next := range []catalog.LifeState{catalog.Complete, catalog.Approved, catalog.Draft, catalog.Paused, ""} {
		if _, err := l.To(next, "carol", now); err == nil {
			t.Errorf("from draft to %q", next)
		}
	}
	if _, err := l.To(catalog.Validated, "", now); err == nil {
		t.Error("by nobody")
	}
	for _, next := range []catalog.LifeState{catalog.Validated, catalog.Previewed, catalog.Approved, catalog.InRing} {
		step(next)
	}
	wider, err := l.NextRing("carol", now)
	if err != nil || wider.Ring != 2 {
		t.Fatal(wider, err)
	}
	paused, err := wider.Pause("carol", "a crash", now)
	if err != nil || paused.Was != catalog.InRing {
		t.Fatal(paused, err)
	}
	if _, err := paused.Pause("carol", "again", now); err == nil {
		t.Error("paused twice")
	}
	if _, err := paused.To(catalog.Complete, "carol", now); err == nil {
		t.Error("paused goes on")
	}
	if back, err := paused.Resume("carol", now); err != nil || back.State != catalog.InRing || back.Ring != 2 {
		t.Error(back, err)
	}
	recalled, err := paused.Recall("carol", "it crashes", now)
	if err != nil || recalled.Was != catalog.InRing {
		t.Fatal(recalled, err)
	}
	for what, err := range map[string]error{
		"resumed": second(recalled.Resume("carol", now)), "recalled twice": second(recalled.Recall("carol", "x", now)),
		"paused": second(recalled.Pause("carol", "x", now)), "widened": second(recalled.NextRing("carol", now)), "moved": second(recalled.To(catalog.Complete, "carol", now)),
	} {
		if err == nil {
			t.Errorf("a recalled release is %s", what)
		}
	}
	if done, err := wider.To(catalog.Complete, "carol", now); err != nil || done.Ring != 0 {
		t.Error(done, err)
	}
}

func TestEnrolmentGoesOnlyTheWaysOfTheModel(t *testing.T) {
	now := instant(t, "2026-01-01")
	all := []catalog.Intent{catalog.NotEnrolled, catalog.Pending, catalog.Enrolled, catalog.Suspended, catalog.Cancelled}
	allowed := "not-enrolled→pending cancelled→pending enrolled→suspended suspended→enrolled pending→cancelled enrolled→cancelled suspended→cancelled"
	for _, from := range all {
		for _, to := range all {
			_, err := catalog.Enrolment{Intent: from}.Request(to, "alice", now)
			if want := slices.Contains(strings.Fields(allowed), string(from+"→"+to)); (err == nil) != want {
				t.Errorf("%s → %s: %v", from, to, err)
			}
		}
	}
	if _, err := (catalog.Enrolment{Intent: catalog.NotEnrolled}).Request(catalog.Pending, "", now); err == nil {
		t.Error("by nobody")
	}
	if e, err := (catalog.Enrolment{}).Request(catalog.Pending, "alice", now); err != nil || e.Intent != catalog.Pending {
		t.Error(e, err)
	}
}

func TestRunsEndAsTheyWent(t *testing.T) {
	now := instant(t, "2026-01-01")
	started, err := catalog.Run{ID: "1", State: catalog.RunNotStarted, Restart: catalog.RestartNotNeeded}.Start(now)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		restart catalog.RestartStatus
		items   []catalog.ItemState
		warn    string
		want    catalog.RunState
	}{
		{catalog.RestartNotNeeded, []catalog.ItemState{catalog.ItemInstalled, catalog.ItemExcluded, catalog.ItemNotSelected}, "", catalog.RunSucceeded},
		{catalog.RestartCompleted, []catalog.ItemState{catalog.ItemInstalled}, "", catalog.RunSucceeded},
		{catalog.RestartRequired, []catalog.ItemState{catalog.ItemInstalled}, "", catalog.RunWarnings},
		{catalog.RestartStarted, nil, "", catalog.RunWarnings},
		{catalog.RestartNotNeeded, []catalog.ItemState{catalog.ItemPending}, "", catalog.RunWarnings},
		{catalog.RestartNotNeeded, []catalog.ItemState{catalog.ItemInstalled}, "the post-hook failed", catalog.RunWarnings},
		{catalog.RestartFailed, []catalog.ItemState{catalog.ItemInstalled}, "", catalog.RunFailed},
		{catalog.RestartNotNeeded, []catalog.ItemState{catalog.ItemInstalled, catalog.ItemFailed}, "x", catalog.RunFailed},
	} {
		r := started
		r.Restart = c.restart
		for _, s := range c.items {
			r.Items = append(r.Items, catalog.Item{Name: "p", State: s, Reason: "r"})
		}
		if c.warn != "" {
			r.Warnings = []string{c.warn}
		}
		done, err := r.Conclude(now)
		if err != nil || done.State != c.want || (done.State == catalog.RunFailed) != (done.Reason != "") {
			t.Errorf("%+v: %+v %v", c, done, err)
		}
		if _, err := done.Conclude(now); err == nil {
			t.Error("concluded twice")
		}
		if _, err := done.Cancel("x", now); err == nil {
			t.Error("cancelled afterwards")
		}
	}
	if r, err := started.Cancel("the pre-hook failed", now); err != nil || r.State != catalog.RunCancelled {
		t.Error(r, err)
	}
	if _, err := started.Start(now); err == nil {
		t.Error("started twice")
	}
	if catalog.RunSucceeded.May(catalog.RunInProgress) || !catalog.RestartRequired.May(catalog.RestartStarted) || catalog.ItemInstalled.May(catalog.ItemPending) {
		t.Error("a state goes back")
	}
}

func TestCalendarPlansAYearOfFourBaselines(t *testing.T) {
	k := newWorld(t, "windows-server-2025", instant(t, "2025-09-10")).c.Calendar
	baselines, hotpatches := 0, 0
	last := k.Rows[0].Available
	for _, r := range k.Rows {
		if r.Available.Before(last) {
			t.Errorf("%v after %v", r.Available, last)
		}
		last = r.Available
		switch {
		case !r.Planned:
		case r.Type == catalog.TypeBaseline:
			baselines++
		case r.Type == catalog.TypeHotpatch:
			hotpatches++
		}
	}
	if baselines != 4 || hotpatches != 8 {
		t.Errorf("%d baselines, %d hotpatches", baselines, hotpatches)
	}
	// The plan has the days on which they really came.
	for _, day := range []string{"2025-10-14", "2025-11-11", "2025-12-09", "2026-01-13", "2026-02-10", "2026-04-14", "2026-08-11"} {
		if !slices.ContainsFunc(k.Rows, func(r catalog.Row) bool { return r.Available.Format(time.DateOnly) == day }) {
			t.Errorf("no row on %s", day)
		}
	}
	if row, ok := k.NextBaseline(instant(t, "2025-10-23")); !ok || row.Month != "2026-01" {
		t.Errorf("%+v %v", row, ok)
	}
	// A release out of band before the month's regular one does not take its place.
	early := k
	early.Rows = append(slices.Clone(k.Rows[:slices.IndexFunc(k.Rows, func(r catalog.Row) bool { return r.Planned })]),
		catalog.NewRow(catalog.TypeCold, instant(t, "2025-10-02")))
	if row, ok := early.NextBaseline(instant(t, "2025-10-03")); !ok || row.Available.Format(time.DateOnly) != "2025-10-14" {
		t.Errorf("%+v %v", row, ok)
	}
	// No row yet, but a cadence.
	if row, ok := (catalog.Calendar{Cadence: k.Cadence}).NextBaseline(instant(t, "2025-10-23")); !ok || row.Month != "2026-01" {
		t.Errorf("%+v %v", row, ok)
	}
	if row, ok := (catalog.Calendar{}).NextBaseline(instant(t, "2025-10-23")); ok {
		t.Errorf("of nothing: %+v", row)
	}
}
