package catalog_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"hotpatch/internal/catalog"
)

// Transcripts replay what happened day by day. A line is one of
//
//	YYYY-MM-DD HH:MM        the clock moves to there (UTC)
//	  verb …                somebody does something; "! verb …" and it is refused
//	  = words               what holds now
//	# …                     for the reader
//
// verbs and expectations are those of do and holds.
func TestTranscripts(t *testing.T) {
	files, err := filepath.Glob("testdata/transcripts/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, f := range files {
		t.Run(strings.TrimSuffix(filepath.Base(f), ".txt"), func(t *testing.T) {
			data, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			replay(t, string(data))
		})
	}
}

func replay(t *testing.T, text string) {
	var w *world
	calendar, expectations := "", 0
	n := 0
	for line := range strings.Lines(text) {
		n++
		line, _, _ = strings.Cut(line, "#")
		words := strings.Fields(line)
		var err error
		switch {
		case len(words) == 0:
		case words[0] == "calendar":
			calendar = words[1]
		case words[0][0] >= '0' && words[0][0] <= '9':
			now := instant(t, strings.Join(words, " "))
			if w == nil {
				w = newWorld(t, calendar, now)
			}
			if now.Before(w.now) {
				t.Fatalf("line %d: the clock goes back", n)
			}
			w.now = now
		case w == nil:
			t.Fatalf("line %d: before the first day", n)
		case words[0] == "=":
			expectations++
			err = w.holds(words[1:])
		case words[0] == "!":
			expectations++
			if e := w.do(t, words[1:]); e == nil {
				err = errors.New("it is not refused")
			} else {
				t.Logf("line %d: refused: %v", n, e)
			}
		default:
			err = w.do(t, words)
		}
		if err != nil {
			t.Errorf("line %d: %s\n\t%v", n, strings.TrimSpace(line), err)
		}
	}
	if expectations < 5 {
		t.Errorf("only %d expectations", expectations)
	}
}

// do understands
//
//	publish TYPE [none TEXT…]          the calendar file's release of today; none: the explicit "no companion"
//	machine NAME INTENT [with service] [window…]
//	NAME takes RELEASE                 as an agent: asks, rechecks, applies, verifies
//	NAME forces RELEASE by WHO         somebody with a package file
//	NAME restarts
//	NAME wants INTENT
//	NAME rebases RELEASE               "rebase now" is asked for
//	preview RELEASE
//	approve RELEASE by WHO for NAME,… because …
//	narrow RELEASE without NAME,… by WHO because …
//	recall RELEASE by WHO because …
func (w *world) do(t *testing.T, words []string) error {
	switch words[0] {
	case "publish":
		return w.publishToday(words)
	case "machine":
		return w.machine(t, words[1:])
	case "preview":
		p, err := w.c.Preview(catalog.ReleaseID(words[1]), w.machines(), w.now)
		w.preview[catalog.ReleaseID(words[1])] = p
		return err
	case "approve":
		id := catalog.ReleaseID(words[1])
		who, names, because := after(words, "by"), strings.Split(after(words, "for"), ","), rest(words, "because")
		p := w.preview[id]
		o, err := w.c.Approve(id, p, p.Digest(id, w.c.Release(id).Content()), names, who, because, w.now)
		if err == nil {
			w.c.Overrides = append(w.c.Overrides, o)
		}
		return err
	case "narrow":
		id := catalog.ReleaseID(words[1])
		r, inc, err := w.c.Narrow(id, catalog.Scope{Except: strings.Split(after(words, "without"), ",")}, w.machines(), after(words, "by"), rest(words, "because"), w.now)
		if err == nil {
			*w.c.Release(id), w.last = r, inc
		}
		return err
	case "recall":
		r := w.c.Release(catalog.ReleaseID(words[1]))
		life, err := r.Life.Recall(after(words, "by"), rest(words, "because"), w.now)
		r.Life = life
		return err
	}
	h := w.hosts[words[0]]
	if h == nil || len(words) < 2 {
		return fmt.Errorf("who or what is %q?", words[0])
	}
	switch words[1] {
	case "takes":
		return w.take(h, catalog.ReleaseID(words[2]))
	case "forces":
		w.force(h, catalog.ReleaseID(words[2]), after(words, "by"))
	case "restarts":
		w.restart(h)
	case "rebases":
		h.policy.Rebase = catalog.ReleaseID(words[2])
	case "wants":
		e, err := h.enr.Request(catalog.Intent(words[2]), "alice", w.now)
		h.enr = e.Advance(catalog.Assess(&h.inv, w.c, e, &h.policy, w.now))
		return err
	default:
		return fmt.Errorf("%s does what?", words[0])
	}
	return nil
}

func (w *world) publishToday(words []string) error {
	for _, r := range w.rows {
		if r.Type != catalog.Type(words[1]) || r.Available.Format("2006-01-02") != w.now.Format("2006-01-02") {
			continue
		}
		var without *catalog.Mitigation
		if text := rest(words, "none"); text != "" {
			without = &catalog.Mitigation{Text: text, By: "carol"}
		}
		return w.publish(r, without)
	}
	return fmt.Errorf("the calendar has no such row today")
}

func (w *world) machine(t *testing.T, words []string) error {
	name, intent := words[0], catalog.Intent(words[1])
	words = words[2:]
	with := len(words) >= 2 && words[0] == "with"
	if with {
		words = words[2:]
	}
	h := w.add(name, intent, with)
	if len(words) > 0 {
		h.policy.Windows = append(h.policy.Windows, parseWindow(t, strings.Join(words, " ")))
	}
	return nil
}

// after is the word behind a word, rest all of them.
func after(words []string, key string) string {
	if i := slices.Index(words, key); i >= 0 && i+1 < len(words) {
		return words[i+1]
	}
	return ""
}

func rest(words []string, key string) string {
	if i := slices.Index(words, key); i >= 0 {
		return strings.Join(words[i+1:], " ")
	}
	return ""
}

// holds understands
//
//	NAME is STATE [on RELEASE]         its track; "on": the newest in place
//	NAME intends INTENT
//	NAME is offered RELEASE… | nothing
//	NAME is denied RELEASE CODE [instead RELEASE]
//	NAME is due ACTION RELEASE at YYYY-MM-DD HH:MM | now | BLOCK
//	NAME has CVE STATUS
//	NAME runs VERSION
//	NAME equals | differs NAME         states, not versions
//	NAME off-track by WHO until YYYY-MM-DD with N restarts rebase RELEASE
//	NAME restarts N times, M without   the forecast of 12 months
//	RELEASE ejects NAME,… | nobody [until YYYY-MM-DD] [instead RELEASE]      as previewed
//	incident installed NAME,… exposed NAME,…
//	calendar replaces UPDATE
func (w *world) holds(words []string) error {
	switch words[0] {
	case "incident":
		return same(fmt.Sprint(w.last.Installed, w.last.Exposed), fmt.Sprint(list(words, "installed"), list(words, "exposed")))
	case "calendar":
		if w.change.Replaced == nil || w.change.Deadline.IsZero() || w.change.Notice == "" {
			return fmt.Errorf("the change is %+v", w.change)
		}
		return same(w.change.Row.Replaces, rest(words, "replaces"))
	}
	if p, ok := w.preview[catalog.ReleaseID(words[0])]; ok {
		got := fmt.Sprint(p.WouldEject, p.NeutralAlternative)
		want := fmt.Sprint(list(words, "ejects"), after(words, "instead"))
		if until := after(words, "until"); until != "" {
			got, want = got+p.ExtraRestartsUntil.Format(time.DateOnly), want+until
		}
		return same(got, want)
	}
	h := w.hosts[words[0]]
	if h == nil {
		return fmt.Errorf("who is %q?", words[0])
	}
	a := w.assess(h)
	switch words[1] {
	case "is":
		return holdsIs(a, words[2:], w.now)
	case "intends":
		return same(string(h.enr.Intent), words[2])
	case "has":
		i := slices.IndexFunc(a.Exposure, func(e catalog.Exposure) bool { return e.CVE == words[2] })
		if i < 0 {
			return fmt.Errorf("nothing is known of %s", words[2])
		}
		return same(string(a.Exposure[i].Status), words[3])
	case "runs":
		return same(h.inv.Packages[0].Version, words[2])
	case "equals", "differs":
		other := w.assess(w.hosts[words[2]])
		if a.State.Same(other.State) != (words[1] == "equals") {
			return fmt.Errorf("states are %s and %s", a.State.ID, other.State.ID)
		}
	case "off-track":
		off := a.Track.OffTrack
		if off == nil {
			return fmt.Errorf("it is %s", a.Track.State)
		}
		return same(fmt.Sprintf("by %s until %s with %d restarts rebase %s", off.Actor, off.Rejoin.At.Format(time.DateOnly), len(off.Restarts), off.Rebase.Baseline),
			strings.Join(words[2:], " "))
	case "restarts":
		o := catalog.Forecast(&h.inv, w.c, h.enr, &h.policy, w.now)
		return same(fmt.Sprintf("%d times, %d without", len(o.With), len(o.Without)), strings.Join(words[2:], " "))
	default:
		return fmt.Errorf("%q?", words[1])
	}
	return nil
}

func holdsIs(a *catalog.Assessment, words []string, now time.Time) error {
	switch words[0] {
	case "offered":
		var got []string
		for _, o := range a.Offers {
			got = append(got, string(o.Release))
		}
		if words[1] == "nothing" {
			words = words[1:]
			words[0] = ""
		}
		return same(strings.Join(got, " "), strings.Join(words[1:], " "))
	case "denied":
		x := a.Why(catalog.ReleaseID(words[1]))
		if x == nil {
			return fmt.Errorf("it is offered: %+v", a.Offer(catalog.ReleaseID(words[1])))
		}
		return same(x.Code+" "+string(x.Instead), words[2]+" "+after(words, "instead"))
	case "due":
		for _, d := range a.Due {
			if string(d.Action) != words[1] || string(d.Release) != words[2] {
				continue
			}
			when := d.At.UTC().Format("2006-01-02 15:04")
			switch {
			case d.Blocked != "":
				when = string(d.Blocked)
			case d.Now(now):
				when = "now"
			}
			return same(when, strings.TrimPrefix(strings.Join(words[3:], " "), "at "))
		}
		return fmt.Errorf("due are %+v", a.Due)
	}
	on := string(a.Track.Hotpatch)
	if n := len(a.Position.Companions); n > 0 {
		on = string(a.Position.Companions[n-1])
	}
	if on == "" {
		on = string(a.Track.Baseline)
	}
	got, want := string(a.Track.State), words[0]
	if r := after(words, "on"); r != "" {
		got, want = got+" on "+on, want+" on "+r
	}
	return same(got, want)
}

func list(words []string, key string) []string {
	v := after(words, key)
	if v == "" || v == "nobody" {
		return []string{}
	}
	return strings.Split(v, ",")
}

func same(got, want string) error {
	if got != want {
		return fmt.Errorf("it is: %s", got)
	}
	return nil
}

// The whole of both calendars, with one machine that is enrolled and one that
// is not: its baselines against every row.
func TestWholeCalendarsAreReplayed(t *testing.T) {
	for _, c := range []struct {
		calendar, from           string
		enrolled, ordinary, rows int
	}{
		{"windows-server-2025", "2025-01-15", 7, 20, 21}, // to July 2026: six planned baselines, one unplanned
		{"windows-server-2022", "2024-01-10", 9, 18, 18}, // to January 2026: eight planned, one unplanned
	} {
		w := newWorld(t, c.calendar, instant(t, c.from))
		nights := parseWindow(t, "FREQ=DAILY at 01:00 for 4h in UTC")
		on, off := w.add("on", catalog.Enrolled, false, nights), w.add("off", catalog.NotEnrolled, false)
		restarts := map[*host]int{}
		rows := 0
		for _, row := range w.rows {
			if row.Available.Before(w.now) {
				continue
			}
			rows++
			w.now = row.Available
			if err := w.publish(row, &catalog.Mitigation{Text: "stop the service", By: "carol"}); err != nil {
				t.Fatal(err)
			}
			id := idOf(row)
			if a := w.assess(on); row.Type == catalog.TypeCold && (a.Offer(id) != nil || a.Why(id).Code != catalog.WouldEject) {
				t.Errorf("%s is offered %s", c.calendar, id)
			}
			// The enrolled machine takes it at once or in the next night; the
			// other has what the ordinary channel has, and restarts for it.
			for night := 0; w.assess(on).Offer(id) != nil && night < 2; night++ {
				if before := on.inv.Processes[0].Started; w.take(on, id) == nil && on.inv.Processes[0].Started != before {
					restarts[on]++
				}
				w.now = w.now.Truncate(24 * time.Hour).Add(25 * time.Hour)
			}
			if row.Type != catalog.TypeCompanion {
				w.force(off, id, "apt")
				restarts[off]++
			}
			if a := w.assess(on); a.Track.State != catalog.Current {
				t.Errorf("%s: after %s it is %s", c.calendar, id, a.Track.State)
			}
		}
		if restarts[on] != c.enrolled || restarts[off] != c.ordinary || rows != c.rows {
			t.Errorf("%s: %d restarts enrolled, %d otherwise, %d rows", c.calendar, restarts[on], restarts[off], rows)
		}
	}
}
