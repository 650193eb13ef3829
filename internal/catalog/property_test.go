package catalog_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"hotpatch/internal/catalog"
)

// Random histories: releases of every kind are published, paused, recalled and
// narrowed, machines enrol, leave, take what they are offered, and get things
// by force. Invariants 1, 2, 3, 7 and 8 hold after every step.
func TestRandomHistoriesKeepTheInvariants(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := newHistory(t)
		t.Repeat(map[string]func(*rapid.T){
			"time":     h.time,
			"publish":  h.publish,
			"life":     h.life,
			"scope":    h.scope,
			"intent":   h.intent,
			"take":     h.take,
			"force":    h.force,
			"restart":  h.restart,
			"override": h.override,
			"machine":  h.machine,
			"":         h.check,
		})
	})
}

type history struct {
	*world
	names []string
	n     int
}

func newHistory(t *rapid.T) *history {
	h := &history{world: &world{now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), hosts: map[string]*host{}, c: &catalog.Catalog{
		Format: catalog.Format, Channel: "random", Issued: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC),
		Calendar: catalog.Calendar{Name: "random", Cadence: catalog.Cadence{Baselines: []int{1, 4, 7, 10}, Day: "2TU"}},
	}}}
	h.add1(catalog.TypeBaseline)
	for range 3 {
		h.machine(t)
	}
	return h
}

// add1 publishes one more release of a type, whose version may be that of the
// one before.
func (h *history) add1(typ catalog.Type) {
	h.n++
	row := catalog.NewRow(typ, h.now)
	row.Build, row.Article = fmt.Sprintf("1.%d", h.n/2), fmt.Sprintf("A%d", h.n)
	r := h.release(row)
	r.ID = catalog.ReleaseID(fmt.Sprintf("r%03d-%s", h.n, row.Type.String()[:1]))
	for i := range r.Artifacts {
		r.Artifacts[i].Base = fmt.Sprintf("base%d", i) // versions repeat here
		for k := range r.Artifacts[i].Images {
			g := &r.Artifacts[i].Images[k]
			g.Fixed = buildID(r.ID, g.Path)
		}
	}
	r.Life = catalog.Life{State: catalog.Complete}
	h.c.Releases = append(h.c.Releases, r)
	if k, _, err := h.c.Calendar.Publish(&r); err == nil {
		h.c.Calendar = k
	}
}

func (h *history) time(t *rapid.T) {
	h.now = h.now.Add(time.Duration(rapid.IntRange(1, 24*40).Draw(t, "hours")) * time.Hour)
}

func (h *history) publish(t *rapid.T) {
	h.now = h.now.Add(time.Minute)
	h.add1(rapid.SampledFrom([]catalog.Type{"B", "U", "H", "H", "C", "C", "N"}).Draw(t, "type"))
}

func (h *history) any(t *rapid.T) *catalog.Release {
	return &h.c.Releases[rapid.IntRange(0, len(h.c.Releases)-1).Draw(t, "release")]
}

func (h *history) life(t *rapid.T) {
	r := h.any(t)
	var err error
	l := r.Life
	switch rapid.IntRange(0, 2).Draw(t, "what") {
	case 0:
		l, err = l.Pause("p", "r", h.now)
	case 1:
		l, err = l.Resume("p", h.now)
	case 2:
		l, err = l.Recall("p", "r", h.now)
	}
	if err == nil {
		r.Life = l
	}
}

func (h *history) scope(t *rapid.T) {
	r := h.any(t)
	to := catalog.Scope{}
	if rapid.Bool().Draw(t, "narrow") {
		to.Except = []string{rapid.SampledFrom(h.names).Draw(t, "host")}
	}
	n, inc, err := h.c.Narrow(r.ID, to, h.machines(), "p", "r", h.now)
	if err != nil {
		t.Fatal(err)
	}
	if len(to.Except) > 0 && r.Scope.Includes(&h.hosts[to.Except[0]].inv) && r.Life.State == catalog.Complete && inc == nil {
		t.Fatalf("narrowed without an incident")
	}
	*r = n
}

func (h *history) host(t *rapid.T) *host { return h.hosts[rapid.SampledFrom(h.names).Draw(t, "host")] }

func (h *history) intent(t *rapid.T) {
	m := h.host(t)
	to := rapid.SampledFrom([]catalog.Intent{catalog.Pending, catalog.Enrolled, catalog.Suspended, catalog.Cancelled}).Draw(t, "to")
	if e, err := m.enr.Request(to, "alice", h.now); err == nil {
		m.enr = e
		m.enr = e.Advance(h.assess(m))
	}
}

// take whatever is offered, as an agent would.
func (h *history) take(t *rapid.T) {
	m := h.host(t)
	if offers := h.assess(m).Offers; len(offers) > 0 {
		before := h.assess(m)
		o := rapid.SampledFrom(offers).Draw(t, "offer")
		if err := h.world.take(m, o.Release); err == nil && m.enr.Intent.OnProgram() && before.Track.State != catalog.OffTheTrack {
			if after := h.assess(m); after.Track.State == catalog.OffTheTrack && o.Override == "" {
				t.Fatalf("%s, offered as %s, ejected %s", o.Release, o.Effect, m.inv.Host)
			}
		}
	}
}

func (h *history) force(t *rapid.T) {
	h.world.force(h.host(t), h.any(t).ID, "mallory")
}

func (h *history) restart(t *rapid.T) { h.world.restart(h.host(t)) }

func (h *history) override(t *rapid.T) {
	r := h.any(t)
	p, err := h.c.Preview(r.ID, h.machines(), h.now)
	if err != nil {
		t.Fatal(err)
	}
	o, err := h.c.Approve(r.ID, p, p.Digest(r.ID, r.Content()), p.WouldEject, "dave", "because", h.now)
	if (err == nil) != (len(p.WouldEject) > 0) {
		t.Fatalf("approve %v: %v", p.WouldEject, err)
	}
	if err == nil {
		h.c.Overrides = append(h.c.Overrides, o)
	}
}

func (h *history) machine(t *rapid.T) {
	if len(h.names) > 4 {
		return
	}
	name := fmt.Sprintf("m%d", len(h.names))
	h.names = append(h.names, name)
	intent := rapid.SampledFrom([]catalog.Intent{catalog.NotEnrolled, catalog.Pending, catalog.Enrolled}).Draw(t, "intent")
	m := h.add(name, intent, rapid.Bool().Draw(t, "service"))
	if rapid.Bool().Draw(t, "window") {
		m.policy.Windows = append(m.policy.Windows, night)
	}
}

var night = parseWindow(&testing.T{}, "FREQ=DAILY at 01:00 for 3h in Europe/Berlin")

func (h *history) check(t *rapid.T) {
	overridden := map[string]bool{} // release, host
	for i := range h.c.Overrides {
		o := h.c.Overrides[i].Against(must(h.c.Preview(h.c.Overrides[i].Release, h.machines(), h.now)))
		h.c.Overrides[i] = o
		for _, m := range o.Machines {
			if o.Void == "" {
				overridden[string(o.Release)+" "+m] = true
			}
		}
	}
	states := map[catalog.Digest]*host{}
	for _, name := range h.names {
		m := h.hosts[name]
		a := h.assess(m)
		for _, o := range a.Offers {
			// 1 and 2
			if o.Effect == catalog.Ejects && m.enr.Intent.OnProgram() && !overridden[string(o.Release)+" "+name] {
				t.Fatalf("%s is offered %s, which ejects it", name, o.Release)
			}
			if a.Why(o.Release) != nil {
				t.Fatalf("%s is both offered and withheld", o.Release)
			}
		}
		if len(a.Offers)+len(a.Withheld) != len(h.c.Releases) {
			t.Fatalf("%d offered, %d withheld, of %d", len(a.Offers), len(a.Withheld), len(h.c.Releases))
		}
		// 3
		if other, ok := states[a.State.ID]; ok && !sameContent(&other.inv, &m.inv) {
			t.Fatalf("%s and %s have other content and one state", other.inv.Host, name)
		}
		states[a.State.ID] = m
		// 7
		if a.Track.State == catalog.OffTheTrack {
			checkOffTrack(t, a.Track.OffTrack)
		}
		if (a.Track.OffTrack != nil) != (a.Track.State == catalog.OffTheTrack) {
			t.Fatalf("%+v", a.Track)
		}
		if (a.Track.State == "") == m.enr.Intent.OnProgram() {
			t.Fatalf("%s has track %q", m.enr.Intent, a.Track.State)
		}
		// 8
		noRestartOutsideWindow(t, a, &m.policy)
		if catalog.WhyRestart(a) == "" {
			t.Fatalf("no answer")
		}
		o := catalog.Forecast(&m.inv, h.c, m.enr, &m.policy, h.now)
		if slices.ContainsFunc(o.With, func(r catalog.Restart) bool { return r.Why == "" || r.At.IsZero() }) {
			t.Fatalf("%+v", o)
		}
		// What it says can be written and read again.
		data, err := catalog.EncodeJSON(a)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := catalog.DecodeAssessment(data); err != nil {
			t.Fatalf("%v in %s", err, data)
		}
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// sameContent compares what two machines have, by other means than digests.
func sameContent(a, b *catalog.Inventory) bool {
	words := func(inv *catalog.Inventory) string {
		var list []string
		for _, p := range inv.Packages {
			list = append(list, fmt.Sprint(p.Name, p.Images))
		}
		for _, p := range inv.Processes {
			for _, g := range p.Images {
				if g.BuildID != inv.Packages[0].Images[slices.IndexFunc(inv.Packages[0].Images, func(d catalog.Image) bool { return d.Path == g.Path })].BuildID {
					list = append(list, fmt.Sprint(g.Path, g.BuildID))
				}
			}
			for _, d := range p.Patches {
				list = append(list, string(d))
			}
		}
		slices.Sort(list)
		return fmt.Sprint(slices.Compact(list))
	}
	return words(a) == words(b)
}
