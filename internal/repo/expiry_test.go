package repo_test

import (
	"strings"
	"testing"
	"time"

	"hotpatch/internal/repo"
)

func TestWarningsComeAhead(t *testing.T) {
	const day = 24 * time.Hour
	f := newFixture(t)
	want := func(parts ...string) {
		t.Helper()
		got := f.repo.Warnings()
		if len(got) != len(parts) {
			t.Fatalf("warnings %q, want %q", got, parts)
		}
		for i, p := range parts {
			if !strings.Contains(got[i], p) {
				t.Errorf("warning %q does not say %q", got[i], p)
			}
		}
	}
	want()
	f.advance(19 * time.Hour)
	want("timestamp expires on 2025-10-15 17:00:00, in 5 hours; hotpatch repo refresh renews it")
	f.advance(6 * time.Hour)
	want("timestamp expired on")
	if err := f.repo.Refresh(f.keys); err != nil {
		t.Fatal(err)
	}
	want()
	f.advance(80 * day)
	if err := f.repo.Refresh(f.keys); err != nil {
		t.Fatal(err)
	}
	want("candidate expires on 2026-01-12 17:00:00, in 8 days; hotpatch repo refresh --role candidate", "stable expires")
	if err := f.repo.Renew([]string{"candidate", "stable"}, f.keys); err != nil {
		t.Fatal(err)
	}
	want()
	f.advance(250 * day)
	if got := strings.Join(f.repo.Warnings(), "\n"); !strings.Contains(got, "root expires on 2026-10-14") {
		t.Error(got)
	}
	if err := f.repo.Renew([]string{"root", "targets", "candidate", "stable"}, f.keys); err != nil {
		t.Fatal(err)
	}
	want()
	refresh(t, f.client(f.dir))
}

func TestShortLivesAreNotWarnedOfAllTheTime(t *testing.T) {
	life := func(string) time.Duration { return time.Hour }
	es := []repo.Expiry{{Role: "timestamp", Version: 1, Expires: start.Add(50 * time.Minute)}}
	if got := repo.Warnings(es, start, life); len(got) != 0 {
		t.Errorf("warned %q", got)
	}
	if got := repo.Warnings(es, start.Add(40*time.Minute), life); len(got) != 1 {
		t.Errorf("warned %q", got)
	}
}

func TestLifetimes(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"24h": 24 * time.Hour, "90d": 90 * 24 * time.Hour, "10m": 10 * time.Minute,
		"": 0, "d": 0, "1": 0, "-1d": 0, "0d": 0, "1s": 0, "9d9": 0, "99999d": 0, "1d\n": 0, "1e9h": 0,
	} {
		got, err := repo.ParseLifetime(text)
		if got != want || (err == nil) != (want != 0) {
			t.Errorf("%q: %v %v, want %v", text, got, err, want)
		}
	}
}
