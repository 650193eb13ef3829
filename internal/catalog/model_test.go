package catalog_test

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"hotpatch/internal/catalog"
)

// docs/MODEL.md and this package use the same words, and the tests it names
// are here.
func TestModelDocumentHasEveryWordAndTest(t *testing.T) {
	read := func(path string) string {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	doc := read("../../docs/MODEL.md")
	var words []string
	add := func(list ...string) { words = append(words, list...) }
	for _, k := range []catalog.Kind{catalog.Baseline, catalog.Hotpatch, catalog.Companion, catalog.Cold, catalog.Outside} {
		add(string(k))
	}
	for _, s := range []catalog.LifeState{catalog.Draft, catalog.Validated, catalog.Previewed, catalog.Approved, catalog.InRing, catalog.Complete, catalog.Paused, catalog.Recalled} {
		add(string(s))
	}
	for _, i := range []catalog.Intent{catalog.NotEnrolled, catalog.Pending, catalog.Enrolled, catalog.Suspended, catalog.Cancelled} {
		add(string(i))
	}
	for _, s := range []catalog.TrackState{catalog.Ineligible, catalog.Current, catalog.HotpatchAvailable, catalog.Staged, catalog.Applying, catalog.AppliedUnverified,
		catalog.BaselineDue, catalog.RestartPending, catalog.CatchUp, catalog.OffTheTrack, catalog.Failed} {
		add(string(s))
	}
	for _, s := range []catalog.ExposureStatus{catalog.NotAffected, catalog.FixedOnDisk, catalog.FixedInMemory, catalog.Exposed, catalog.Undetermined} {
		add(string(s))
	}
	for _, a := range []catalog.Action{catalog.DoRestart, catalog.DoRevert, catalog.DoApply, catalog.DoRebase, catalog.DoCatchUp} {
		add(string(a))
	}
	for _, b := range []catalog.Block{catalog.WindowExceeded, catalog.NoWindow, catalog.HeldBack, catalog.WordExpired} {
		add(string(b))
	}
	for _, s := range []catalog.RunState{catalog.RunNotStarted, catalog.RunInProgress, catalog.RunSucceeded, catalog.RunFailed, catalog.RunWarnings, catalog.RunCancelled} {
		add(string(s))
	}
	for _, s := range []catalog.RestartStatus{catalog.RestartNotNeeded, catalog.RestartRequired, catalog.RestartStarted, catalog.RestartCompleted, catalog.RestartFailed} {
		add(string(s))
	}
	for _, s := range []catalog.ItemState{catalog.ItemAvailable, catalog.ItemPending, catalog.ItemInstalled, catalog.ItemFailed, catalog.ItemExcluded, catalog.ItemNotSelected} {
		add(string(s))
	}
	for _, w := range words {
		if !strings.Contains(doc, "`"+w+"`") {
			t.Errorf("docs/MODEL.md does not say `%s`", w)
		}
	}
	tests := read("invariants_test.go") + read("property_test.go") + read("model_test.go")
	named := regexp.MustCompile("`catalog\\.(Test\\w+)`").FindAllStringSubmatch(doc, -1)
	if len(named) < 12 {
		t.Errorf("docs/MODEL.md names only %d tests", len(named))
	}
	for _, n := range named {
		if !strings.Contains(tests, "func "+n[1]+"(") {
			t.Errorf("docs/MODEL.md names %s, which does not exist", n[1])
		}
	}
	// The example window is one.
	example := regexp.MustCompile(`(?m)^    (FREQ=.*)$`).FindStringSubmatch(doc)
	if example == nil {
		t.Fatal("docs/MODEL.md has no window")
	}
	parseWindow(t, example[1])
}
