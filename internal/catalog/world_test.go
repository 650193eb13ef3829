package catalog_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"hotpatch/internal/catalog"
	"hotpatch/internal/window"
)

// world is a channel and its machines, simulated: one package "os" with two
// images, the kernel that everybody runs and the update service that some do.
// It stands for what scan measures and what an agent does.
type world struct {
	c       *catalog.Catalog
	now     time.Time
	build   string
	rows    []catalog.Row // of the calendar file
	hosts   map[string]*host
	preview map[catalog.ReleaseID]catalog.Preview
	last    *catalog.Incident
	change  catalog.CalendarChange
}

type host struct {
	inv    catalog.Inventory
	enr    catalog.Enrolment
	policy catalog.Policy
}

const (
	kernel  = "/boot/kernel"
	service = "/usr/sbin/updates"
)

// content makes a build-id or digest of words.
func content(words ...any) string {
	sum := sha256.Sum256([]byte(fmt.Sprint(words...)))
	return hex.EncodeToString(sum[:])
}

func buildID(r catalog.ReleaseID, path string) string { return content("image", r, path)[:40] }

// newWorld reads a calendar file; rows before the day of start are published already.
func newWorld(t testing.TB, calendar string, start time.Time) *world {
	t.Helper()
	w := &world{now: start, hosts: map[string]*host{}, preview: map[catalog.ReleaseID]catalog.Preview{}}
	w.rows = readCalendar(t, calendar)
	w.build = strings.Split(w.rows[0].Build, ".")[0]
	w.c = &catalog.Catalog{Format: catalog.Format, Channel: calendar, Issued: start}
	w.c.Calendar = catalog.Calendar{Name: calendar, Cadence: catalog.Cadence{Baselines: []int{1, 4, 7, 10}, Day: "2TU", Hour: 17}}
	for _, r := range w.rows {
		if r.Available.Before(start.Truncate(24 * time.Hour)) {
			if err := w.publish(r, nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	w.c.Calendar = w.c.Calendar.Plan(start.AddDate(1, 0, 0))
	return w
}

// readCalendar reads testdata/NAME.cal: day, type, article, build.
func readCalendar(t testing.TB, name string) []catalog.Row {
	t.Helper()
	data, err := os.ReadFile("testdata/" + name + ".cal")
	if err != nil {
		t.Fatal(err)
	}
	var rows []catalog.Row
	for line := range strings.Lines(string(data)) {
		f := strings.Fields(line)
		if len(f) == 0 || f[0] == "#" {
			continue
		}
		if len(f) != 4 {
			t.Fatalf("%s.cal: %q", name, line)
		}
		day, err := time.Parse("2006-01-02", f[0])
		if err != nil {
			t.Fatalf("%s.cal: %v", name, err)
		}
		row := catalog.NewRow(catalog.Type(f[1]), day.Add(17*time.Hour))
		row.Article, row.Build = f[2], f[3]
		rows = append(rows, row)
	}
	return rows
}

// idOf names the release of a row: 2025-10-23-c.
func idOf(r catalog.Row) catalog.ReleaseID {
	return catalog.ReleaseID(r.Available.Format("2006-01-02-") + strings.ToLower(string(r.Type)))
}

// baseline is the newest in the catalogue.
func (w *world) baseline() catalog.ReleaseID {
	var id catalog.ReleaseID
	for _, r := range w.c.Releases {
		if r.Kind == catalog.Baseline {
			id = r.ID
		}
	}
	return id
}

// publish makes the release of a row, as a publisher would, and lets it out to
// everybody. without is the explicit "none" of a cold release.
func (w *world) publish(row catalog.Row, without *catalog.Mitigation) error {
	if w.baseline() == "" && row.Type != catalog.TypeBaseline {
		w.c.Calendar.Rows = append(w.c.Calendar.Rows, row) // before the first baseline that the file has
		return nil
	}
	r := w.release(row)
	r.Without = without
	w.c.Releases = append(w.c.Releases, r)
	enrolled := 0
	for _, h := range w.hosts {
		if h.enr.Intent.OnProgram() {
			enrolled++
		}
	}
	if why := w.c.Publishable(r.ID, enrolled); len(why) > 0 {
		w.c.Releases = w.c.Releases[:len(w.c.Releases)-1]
		return fmt.Errorf("%s", strings.Join(why, "; "))
	}
	p := w.c.Release(r.ID)
	p.Life = catalog.Life{State: catalog.Complete}
	k, change, err := w.c.Calendar.Publish(p)
	if err != nil {
		return err
	}
	w.c.Calendar, w.change = k, change
	return nil
}

func (w *world) release(row catalog.Row) catalog.Release {
	r := catalog.Release{ID: idOf(row), Available: row.Available, Version: row.Build, Article: row.Article,
		Life: catalog.Life{State: catalog.Approved}}
	a := catalog.Artifact{Package: "os", Arch: "amd64", Fixed: row.Build}
	images := []catalog.Change{{Path: kernel, Fixed: buildID(r.ID, kernel)}, {Path: service, Fixed: buildID(r.ID, service)}}
	// Every month fixes something of its own; October's cold and companion fix the same.
	cves := []string{"CVE-" + row.Available.Format("2006-") + "1" + row.Available.Format("0102")}
	switch row.Type {
	case catalog.TypeBaseline, catalog.TypeUnplanned:
		r.Kind, r.Unplanned = catalog.Baseline, row.Type == catalog.TypeUnplanned
		r.Deadline, r.Restarts = row.Available.AddDate(0, 0, 21), []string{catalog.HostUnit}
	case catalog.TypeHotpatch:
		r.Kind, r.Baseline = catalog.Hotpatch, w.baseline()
	case catalog.TypeCold:
		r.Kind, r.Baseline, r.OutOfBand, r.Restarts = catalog.Cold, w.baseline(), true, []string{catalog.HostUnit}
		cves = []string{"CVE-2025-59287"}
	case catalog.TypeCompanion:
		r.Kind, r.Baseline, r.OutOfBand, r.Restarts = catalog.Companion, w.baseline(), true, []string{"updates.service"}
		cves = []string{"CVE-2025-59287"}
		for _, o := range w.c.Releases {
			if o.Kind == catalog.Cold {
				r.Fixes = o.ID
			}
		}
	}
	a.CVEs = cves
	if r.Kind != catalog.Hotpatch && r.Kind != catalog.Companion {
		a.Images = images
		r.Artifacts = []catalog.Artifact{a}
		return r
	}
	// One bundle for every file that may be running on this baseline.
	for _, o := range w.c.Releases {
		if o.ID != r.Baseline && (o.Baseline != r.Baseline || o.Kind == catalog.Cold) {
			continue
		}
		b := a
		b.Base, b.Bundle = o.Version, catalog.Digest(content("bundle", r.ID, o.ID))
		b.Images = slices.Clone(images)
		for i := range b.Images {
			b.Images[i].Base = buildID(o.ID, b.Images[i].Path)
		}
		r.Artifacts = append(r.Artifacts, b)
	}
	slices.SortFunc(r.Artifacts, func(a, b catalog.Artifact) int { return strings.Compare(a.Base, b.Base) })
	return r
}

// add makes a machine at the newest baseline.
func (w *world) add(name string, intent catalog.Intent, withService bool, windows ...window.Window) *host {
	h := &host{enr: catalog.Enrolment{Intent: intent}, policy: catalog.Policy{Windows: windows}}
	h.inv = catalog.Inventory{Format: catalog.Format, Host: name, Taken: w.now, Facts: catalog.Facts{Arch: "amd64"},
		Processes: []catalog.Process{{PID: 1, Started: 1, Unit: catalog.HostUnit, Exe: kernel}}}
	if withService {
		h.inv.Processes = append(h.inv.Processes, catalog.Process{PID: 700, Started: 1, Unit: "updates.service", Exe: service})
	}
	w.hosts[name] = h
	w.toDisk(h, w.c.Release(w.baseline()))
	w.restart(h)
	return h
}

func (w *world) toDisk(h *host, r *catalog.Release) {
	h.inv.Packages = []catalog.Package{{Name: "os", Arch: "amd64", Version: r.Version, Images: []catalog.Image{
		{Path: kernel, BuildID: buildID(r.ID, kernel)}, {Path: service, BuildID: buildID(r.ID, service)},
	}}}
}

// restart: every process loads what is on disk.
func (w *world) restart(h *host, units ...string) {
	h.inv.Taken = w.now
	for i := range h.inv.Processes {
		p := &h.inv.Processes[i]
		if len(units) > 0 && !slices.Contains(units, catalog.HostUnit) && !slices.Contains(units, p.Unit) {
			continue
		}
		p.Started++
		p.Patches = nil
		path := kernel
		if p.Unit != catalog.HostUnit {
			path = service
		}
		for _, g := range h.inv.Packages[0].Images {
			if g.Path == path {
				p.Images = []catalog.Loaded{{Path: path, BuildID: g.BuildID, Next: g.BuildID}}
			}
		}
	}
}

// patch: every process that a bundle of r fits gets it.
func (w *world) patch(h *host, r *catalog.Release) {
	for i := range h.inv.Processes {
		p := &h.inv.Processes[i]
		for _, a := range r.Artifacts {
			for _, g := range a.Images {
				if a.Bundle != "" && g.Path == p.Images[0].Path && g.Base == p.Images[0].BuildID {
					p.Patches = []catalog.Digest{a.Bundle}
				}
			}
		}
	}
}

func (w *world) assess(h *host) *catalog.Assessment {
	h.inv.Taken = w.now
	return catalog.Assess(&h.inv, w.c, h.enr, &h.policy, w.now)
}

func (w *world) machines() []catalog.Machine {
	var out []catalog.Machine
	for _, h := range w.hosts {
		out = append(out, catalog.Machine{Inventory: &h.inv, Enrolment: h.enr, Policy: h.policy})
	}
	slices.SortFunc(out, func(a, b catalog.Machine) int { return strings.Compare(a.Inventory.Host, b.Inventory.Host) })
	return out
}

// take does what an agent does: ask, check again at every step, disk, memory,
// restart if that is due, verify.
func (w *world) take(h *host, id catalog.ReleaseID) error {
	a := w.assess(h)
	r := w.c.Release(id)
	if r == nil {
		return fmt.Errorf("no release %s", id)
	}
	for _, step := range []catalog.Step{catalog.AtDownload, catalog.AtStaging, catalog.AtInstall} {
		if err := w.assess(h).Recheck(step, id, r.Content()); err != nil {
			return err
		}
	}
	var due *catalog.Due
	for i := range a.Due {
		if a.Due[i].Release == id && a.Due[i].Action != catalog.DoRestart {
			due = &a.Due[i]
		}
	}
	switch {
	case due == nil && h.enr.Intent.OnProgram():
		return fmt.Errorf("%s is offered, but not due", id)
	case due != nil && !due.Now(w.now):
		return fmt.Errorf("%s is not due now: %s %v", id, due.Blocked, due.At)
	}
	w.toDisk(h, r)
	w.patch(h, r)
	by := "hotpatch agent"
	if o := a.Offer(id).Override; o != "" {
		by = o
	}
	h.inv.Receipts = append(h.inv.Receipts, catalog.Receipt{Release: id, At: w.now, By: by})
	if due == nil || len(due.Restarts) > 0 {
		units := []string{catalog.HostUnit}
		if due != nil {
			units = due.Restarts
		}
		w.restart(h, units...)
	}
	if m, err := w.c.Verify(&h.inv, id, false); err != nil || len(m) > 0 {
		return fmt.Errorf("%s does not verify: %v %v", id, m, err)
	}
	h.enr = h.enr.Advance(w.assess(h))
	return nil
}

// force is somebody with a package file and root.
func (w *world) force(h *host, id catalog.ReleaseID, by string) {
	w.toDisk(h, w.c.Release(id))
	w.restart(h)
	h.inv.Receipts = append(h.inv.Receipts, catalog.Receipt{Release: id, At: w.now, By: by})
	h.enr = h.enr.Advance(w.assess(h))
}

func parseWindow(t testing.TB, text string) window.Window {
	t.Helper()
	v, err := window.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func instant(t testing.TB, s string) time.Time {
	t.Helper()
	for _, form := range []string{"2006-01-02 15:04", "2006-01-02"} {
		if v, err := time.Parse(form, s); err == nil {
			return v
		}
	}
	t.Fatalf("no instant: %q", s)
	return time.Time{}
}
