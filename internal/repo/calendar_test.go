package repo_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	ics "github.com/arran4/golang-ical"

	"hotpatch/internal/catalog"
	"hotpatch/internal/repo"
)

// autumn is the autumn of 2025 and what followed.
func autumn() *catalog.Catalog {
	row := func(day string, t catalog.Type, article, build string) catalog.Row {
		at, err := time.Parse(time.DateOnly, day)
		if err != nil {
			panic(err)
		}
		w := catalog.NewRow(t, at.Add(17*time.Hour))
		w.Article, w.Build = article, build
		return w
	}
	k := &catalog.Catalog{Format: catalog.Format, Channel: "stable", Issued: start, Calendar: catalog.Calendar{
		Name: "acme", Cadence: catalog.Cadence{Baselines: []int{1, 4, 7, 10}, Day: "2TU", Hour: 17},
		Rows: []catalog.Row{
			row("2025-10-14", catalog.TypeBaseline, "KB5066835", "26100.6899"),
			row("2025-10-23", catalog.TypeCold, "KB5070881", "26100.6905"),
			row("2025-10-24", catalog.TypeCompanion, "KB5070893", "26100.6905"),
			row("2025-11-11", catalog.TypeHotpatch, "<b>KB5068966</b>", "26100.7092"),
			row("2026-06-09", catalog.TypeUnplanned, "KB5094125", "26100.32995"),
		},
	}}
	k.Calendar.Rows[1].Release = "kb5070881"
	k.Calendar.Rows[4].Replaces = "2026.06 hotpatch"
	k.Releases = []catalog.Release{{ID: "kb5070881", Kind: catalog.Cold, Life: catalog.Life{State: catalog.Recalled, Reason: "ejects"}}}
	return k
}

func TestCalendarPageStandsAloneAndMarksWhatMatters(t *testing.T) {
	var b bytes.Buffer
	if err := repo.WriteHTML(&b, autumn(), time.Date(2026, 6, 10, 0, 0, 0, 0, time.UTC)); err != nil {
		t.Fatal(err)
	}
	page := b.String()
	for _, want := range []string{
		`<tr class="baseline">`, `<tr class="unplanned">`, `<tr class="cold recalled">`, `recalled: ejects`, `takes the place of 2026.06 hotpatch`,
		`<tr class="baseline planned">`, `2026-07-14 (planned)`, `<td>26100.6899</td>`, `&lt;b&gt;KB5068966&lt;/b&gt;`,
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	for _, bad := range []string{"<script", "http://", "https://", "src=", "@import", "ZgotmplZ"} {
		if strings.Contains(page, bad) {
			t.Errorf("the page has %q", bad)
		}
	}
}

func TestCalendarFileIsReadByCalendars(t *testing.T) {
	now := time.Date(2026, 6, 10, 0, 0, 0, 0, time.UTC)
	var b, again bytes.Buffer
	if err := repo.WriteICal(&b, autumn(), now); err != nil {
		t.Fatal(err)
	}
	if err := repo.WriteICal(&again, autumn(), now); err != nil {
		t.Fatal(err)
	}
	if b.String() != again.String() {
		t.Error("same catalogue, other bytes")
	}
	cal, err := ics.ParseCalendar(&b)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	status := map[string]int{}
	for _, e := range cal.Events() {
		if seen[e.Id()] {
			t.Errorf("uid %s is there twice", e.Id())
		}
		seen[e.Id()] = true
		status[e.GetProperty(ics.ComponentPropertyStatus).Value]++
	}
	if status["CANCELLED"] != 1 || status["CONFIRMED"] != 4 || status["TENTATIVE"] < 11 {
		t.Errorf("status of events: %v", status)
	}
}

func TestPlansThatCameToNothingAreNotShown(t *testing.T) {
	k := autumn()
	k.Calendar.Rows = k.Calendar.Rows[:1]
	rows := repo.Schedule(k, time.Date(2026, 6, 10, 0, 0, 0, 0, time.UTC))
	if rows[0].Planned || rows[1].Month != "2026-06" {
		t.Errorf("rows %+v", rows[:2])
	}
}
