package catalog_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"hotpatch/internal/catalog"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares with testdata/NAME.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := "testdata/golden/" + name
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), string(got)); d != "" {
		t.Errorf("%s (-want +got; -update writes it anew):\n%s", path, d)
	}
}

// sample is the evening of 24 October 2025, with an override from the day
// before.
func sample(t testing.TB) *world {
	t.Helper()
	w := newWorld(t, "windows-server-2025", instant(t, "2025-10-15 12:00"))
	// Only October: a golden file is read by people.
	w.c.Releases = w.c.Releases[len(w.c.Releases)-1:]
	w.c.Releases[0].Replaces = nil
	rows := w.c.Calendar.Rows
	for len(rows) > 0 && rows[0].Month != "2025-10" {
		rows = rows[1:]
	}
	w.c.Calendar.Rows = rows[:4]
	night := parseWindow(t, "FREQ=WEEKLY;BYDAY=SA at 22:00 for 4h in Europe/Berlin named weekend")
	w.add("alpha", catalog.Enrolled, true, night)
	w.add("beta", catalog.Enrolled, false)
	cold := w.cold(t)
	p, err := w.c.Preview(cold.ID, w.machines(), w.now)
	if err != nil {
		t.Fatal(err)
	}
	o, err := w.c.Approve(cold.ID, p, p.Digest(cold.ID, cold.Content()), p.WouldEject, "dave", "the hole is used", w.now)
	if err != nil {
		t.Fatal(err)
	}
	w.c.Overrides = []catalog.Override{o}
	w.companion(t)
	w.force(w.hosts["beta"], cold.ID, "mallory")
	return w
}

func encode(t testing.TB, v any) []byte {
	t.Helper()
	data, err := catalog.EncodeJSON(v)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func sampleRun(w *world) catalog.Run {
	return catalog.Run{ID: "run-1", Host: "alpha", Release: "2025-10-24-n", State: catalog.RunWarnings, Restart: catalog.RestartRequired,
		Started: w.now, Ended: w.now.Add(time.Minute), Items: []catalog.Item{{Name: "os", State: catalog.ItemInstalled},
			{Name: "pid 700 (updates)", State: catalog.ItemPending, Reason: "window-exceeded"}}, Warnings: []string{"a restart is required"}}
}

// The encodings are a contract with files that exist.
func TestEncodingsAreStable(t *testing.T) {
	w := sample(t)
	data, err := w.c.Encode()
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "catalog.json", data)
	alpha, beta := w.hosts["alpha"], w.hosts["beta"]
	golden(t, "inventory.json", encode(t, alpha.inv))
	golden(t, "enrolment.json", encode(t, beta.enr))
	golden(t, "policy.json", encode(t, catalog.Policy{Windows: alpha.policy.Windows, Hotpatches: catalog.InWindow, Disk: catalog.DiskFirst,
		Exclude: []string{"linux-image-amd64"}, PerItem: catalog.Duration(90 * time.Second)}))
	golden(t, "assessment-on-track.json", encode(t, w.assess(alpha)))
	golden(t, "assessment-off-track.json", encode(t, w.assess(beta)))
	golden(t, "forecast.json", encode(t, catalog.Forecast(&beta.inv, w.c, beta.enr, &beta.policy, w.now)))
	p, err := w.c.Preview("2025-10-23-c", w.machines(), w.now)
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "preview.json", encode(t, p))
	golden(t, "run.json", encode(t, sampleRun(w)))
}

// Exactly the fields of the model, in its order.
func TestPreviewHasExactlyTheFieldsOfTheModel(t *testing.T) {
	var fields []string
	d := json.NewDecoder(bytes.NewReader(encode(t, catalog.Preview{})))
	for depth := 0; ; {
		tok, err := d.Token()
		if err != nil {
			break
		}
		switch v := tok.(type) {
		case json.Delim:
			if strings.ContainsRune("{[", rune(v)) {
				depth++
			} else {
				depth--
			}
		case string:
			if depth == 1 && v != "" && v != "0001-01-01T00:00:00Z" {
				fields = append(fields, v)
			}
		}
	}
	if want := "on_track would_eject extra_restarts_until restart_now neutral_alternative vulnerable_if_deferred outside_window"; strings.Join(fields, " ") != want {
		t.Errorf("%v", fields)
	}
}

func TestEverythingIsReadAsItWasWritten(t *testing.T) {
	w := sample(t)
	data, err := w.c.Encode()
	if err != nil {
		t.Fatal(err)
	}
	c, err := catalog.Decode(data)
	if err != nil {
		t.Fatal(err)
	}
	again, err := c.Encode()
	if err != nil || !bytes.Equal(again, data) {
		t.Errorf("the catalogue reads otherwise: %v", err)
	}
	alpha, beta := w.hosts["alpha"], w.hosts["beta"]
	run, a := sampleRun(w), w.assess(beta)
	for _, c := range []struct {
		v      any
		decode func([]byte) (any, error)
	}{
		{&alpha.inv, func(d []byte) (any, error) { return catalog.DecodeInventory(d) }},
		{&beta.enr, func(d []byte) (any, error) { return catalog.DecodeEnrolment(d) }},
		{&alpha.policy, func(d []byte) (any, error) { return catalog.DecodePolicy(d) }},
		{a, func(d []byte) (any, error) { return catalog.DecodeAssessment(d) }},
		{&w.c.Overrides[0], func(d []byte) (any, error) { return catalog.DecodeOverride(d) }},
		{&w.c.Releases[1], func(d []byte) (any, error) { return catalog.DecodeRelease(d) }},
		{&run, func(d []byte) (any, error) { return catalog.DecodeRun(d) }},
	} {
		data := encode(t, c.v)
		back, err := c.decode(data)
		if err != nil {
			t.Errorf("%T: %v", c.v, err)
			continue
		}
		if again := encode(t, back); !bytes.Equal(again, data) {
			t.Errorf("%T reads otherwise:\n%s", c.v, cmp.Diff(string(data), string(again)))
		}
	}
}

func TestBadCataloguesAreRefused(t *testing.T) {
	w := sample(t)
	data, err := w.c.Encode()
	if err != nil {
		t.Fatal(err)
	}
	good := string(data)
	replace := func(old, new string) string {
		if !strings.Contains(good, old) {
			t.Fatalf("no %q in the sample", old)
		}
		return strings.Replace(good, old, new, 1)
	}
	for what, c := range map[string]struct{ data, want string }{
		"nothing":               {"", "EOF"},
		"cut off":               {good[:len(good)/2], "offset"},
		"something behind":      {good + "{}", "behind"},
		"unknown field":         {replace(`"format": 1,`, `"format": 1, "extra": 1,`), "unknown field"},
		"repeated field":        {replace(`"format": 1,`, `"format": 1, "format": 1,`), "canonical"},
		"other case":            {replace(`"format": 1,`, `"Format": 1,`), "canonical"},
		"other spacing":         {replace(`"format": 1,`, `"format":  1,`), "canonical"},
		"other format":          {replace(`"format": 1`, `"format": 2`), "format: 2"},
		"no channel":            {replace(`"windows-server-2025"`, `""`), "channel"},
		"unknown kind":          {replace(`"kind": "cold"`, `"kind": "warm"`), "kind"},
		"bad id":                {replace(`"id": "2025-10-23-c"`, `"id": "../x"`), "release id"},
		"two of one id":         {replace(`"id": "2025-10-23-c"`, `"id": "2025-10-14-b"`), "2025-10-14-b"},
		"missing baseline":      {replace(`"baseline": "2025-10-14-b"`, `"baseline": "2025-01-01-b"`), "no baseline of the catalogue"},
		"fixes nothing":         {replace(`"fixes": "2025-10-23-c"`, `"fixes": "2025-10-14-b"`), "no cold release"},
		"bad build-id":          {replace(buildID("2025-10-14-b", kernel), "zz"), "build-id"},
		"relative path":         {replace(`"path": "/boot/kernel"`, `"path": "boot/kernel"`), "not absolute"},
		"bad cve":               {replace("CVE-2025-59287", "CVE-20-1"), "CVE-YEAR-NUMBER"},
		"a control character":   {replace("KB5070881", "KB\\u001b[2J"), "control character"},
		"a very long text":      {replace("KB5070881", strings.Repeat("x", 5000)), "more than"},
		"year 9000":             {replace(`"issued": "2025`, `"issued": "9000`), "year 9000"},
		"unknown state of life": {replace(`"state": "complete"`, `"state": "done"`), "life.state"},
		"ring of a complete":    {replace(`"state": "complete"`, `"state": "complete", "ring": 3`), "life.ring"},
		"override nobody made":  {replace(`"approver": "dave"`, `"approver": ""`), "approver"},
		"override of more":      {replace(`"on_track": 0`, `"on_track": 1`), "digest"},
		"month of another day":  {replace(`"month": "2025-10"`, `"month": "2025-11"`), "month"},
	} {
		if _, err := catalog.Decode([]byte(c.data)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", what, err, c.want)
		}
	}
}

func TestBadInputIsRefusedAndNamed(t *testing.T) {
	for _, c := range []struct {
		what, want string
		err        error
	}{
		{"inventory without host", "host", second(catalog.DecodeInventory([]byte(`{"format":1,"host":"","taken":"2025-01-01T00:00:00Z"}`)))},
		{"inventory with pid 0", "pid", second(catalog.DecodeInventory([]byte(`{"format":1,"host":"a","taken":"2025-01-01T00:00:00Z","processes":[{"pid":0,"started":1}]}`)))},
		{"inventory with a bad digest", "SHA-256", second(catalog.DecodeInventory([]byte(`{"format":1,"host":"a","taken":"2025-01-01T00:00:00Z","processes":[{"pid":1,"started":1,"patches":["x"]}]}`)))},
		{"inventory with a control character", ".packages[0].name", second(catalog.DecodeInventory([]byte(`{"format":1,"host":"a","taken":"2025-01-01T00:00:00Z","packages":[{"name":"a\u0007","version":"1"}]}`)))},
		{"policy with a word", "hotpatches", second(catalog.DecodePolicy([]byte(`{"hotpatches":"never"}`)))},
		{"policy with a bad window", "DAILY is the finest", second(catalog.DecodePolicy([]byte(`{"windows":[{"rule":"FREQ=SECONDLY","at":"00:00","for":"1h","in":"UTC"}]}`)))},
		{"policy with a field too many", "unknown field", second(catalog.DecodePolicy([]byte(`{"restart":true}`)))},
		{"enrolment with a word", "intent", second(catalog.DecodeEnrolment([]byte(`{"intent":"maybe"}`)))},
		{"departure without cause", "left", second(catalog.DecodeEnrolment([]byte(`{"intent":"enrolled","left":{"cause":"","by":"x","at":"2025-01-01T00:00:00Z"}}`)))},
		{"work in no state", "work.state", second(catalog.DecodeEnrolment([]byte(`{"intent":"enrolled","work":{"release":"r","content":"` + content("x") + `","state":"current","since":"2025-01-01T00:00:00Z"}}`)))},
		{"run in no state", "state", second(catalog.DecodeRun([]byte(`{"id":"1","host":"a","release":"r","state":"done","restart":"required","items":[]}`)))},
	} {
		if c.err == nil || !strings.Contains(c.err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.what, c.err, c.want)
		}
	}
}

func second[T any](_ T, err error) error { return err }

// Whatever a catalogue file holds, reading it ends, and what was read can be
// asked everything.
func FuzzCatalog(f *testing.F) {
	w := sample(f)
	data, err := w.c.Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte(`{"format":1}`))
	inv := &w.hosts["alpha"].inv
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := catalog.Decode(data)
		if err != nil {
			return
		}
		again, err := c.Encode()
		if err != nil || !bytes.Equal(again, data) {
			t.Fatalf("reads otherwise: %v", err)
		}
		for _, intent := range []catalog.Intent{catalog.Enrolled, catalog.NotEnrolled} {
			e := catalog.Enrolment{Intent: intent}
			a := catalog.Assess(inv, c, e, nil, w.now)
			for _, o := range a.Offers {
				if intent == catalog.Enrolled && o.Effect == catalog.Ejects && o.Override == "" {
					t.Fatalf("%s is offered", o.Release)
				}
			}
			catalog.WhyRestart(a)
			catalog.Forecast(inv, c, e, nil, w.now)
		}
		for i := range c.Releases {
			if _, err := c.Preview(c.Releases[i].ID, w.machines(), w.now); err != nil {
				t.Fatal(err)
			}
			c.Publishable(c.Releases[i].ID, 1)
		}
	})
}

func FuzzInventory(f *testing.F) {
	w := sample(f)
	f.Add(encode(f, w.hosts["alpha"].inv))
	f.Add(encode(f, w.hosts["beta"].inv))
	f.Fuzz(func(t *testing.T, data []byte) {
		inv, err := catalog.DecodeInventory(data)
		if err != nil {
			return
		}
		a := catalog.Assess(inv, w.c, catalog.Enrolment{Intent: catalog.Enrolled}, nil, w.now)
		if _, err := catalog.DecodeAssessment(encode(t, a)); err != nil {
			t.Fatalf("the assessment does not read: %v", err)
		}
		if _, err := w.c.Verify(inv, "2025-10-24-n", false); err != nil {
			t.Fatal(err)
		}
	})
}

func FuzzPolicy(f *testing.F) {
	f.Add([]byte(`{"windows":[{"rule":"FREQ=DAILY","at":"02:30","for":"4h","in":"UTC"}],"hotpatches":"in-window","per_item":"1m30s","exclude":["a"]}`))
	f.Add([]byte(`{"rebase":"2025-10-14-b","disk":"memory-only"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := catalog.DecodePolicy(data)
		if err != nil {
			return
		}
		if _, err := catalog.DecodePolicy(encode(t, p)); err != nil {
			t.Fatal(err)
		}
	})
}

func FuzzRecords(f *testing.F) {
	w := sample(f)
	f.Add(encode(f, w.hosts["beta"].enr))
	f.Add(encode(f, w.assess(w.hosts["beta"])))
	f.Add(encode(f, w.c.Overrides[0]))
	f.Add(encode(f, w.c.Releases[1]))
	f.Add(encode(f, sampleRun(w)))
	again := func(t *testing.T, v any, err error, decode func([]byte) error) {
		if err != nil {
			return
		}
		if err := decode(encode(t, v)); err != nil {
			t.Fatalf("%T: %v", v, err)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		e, err := catalog.DecodeEnrolment(data)
		again(t, e, err, func(d []byte) error { return second(catalog.DecodeEnrolment(d)) })
		a, err := catalog.DecodeAssessment(data)
		again(t, a, err, func(d []byte) error { return second(catalog.DecodeAssessment(d)) })
		if err == nil {
			catalog.WhyRestart(a)
		}
		o, err := catalog.DecodeOverride(data)
		again(t, o, err, func(d []byte) error { return second(catalog.DecodeOverride(d)) })
		r, err := catalog.DecodeRelease(data)
		again(t, r, err, func(d []byte) error { return second(catalog.DecodeRelease(d)) })
		n, err := catalog.DecodeRun(data)
		again(t, n, err, func(d []byte) error { return second(catalog.DecodeRun(d)) })
	})
}
