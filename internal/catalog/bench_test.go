package catalog_test

import (
	"fmt"
	"testing"
	"time"

	"hotpatch/internal/catalog"
)

// large is a channel of 3,000 packages and a host that has 400 of them, with
// 300 processes of 20 images each.
func large() (*catalog.Catalog, *catalog.Inventory) {
	start := time.Date(2026, 1, 13, 17, 0, 0, 0, time.UTC)
	c := &catalog.Catalog{Format: catalog.Format, Channel: "large", Issued: start}
	path := func(i int) string { return fmt.Sprintf("/usr/lib/lib%04d.so", i) }
	release := func(n int, kind catalog.Kind, base catalog.ReleaseID, every int) {
		r := catalog.Release{ID: catalog.ReleaseID(fmt.Sprintf("r%d", n)), Kind: kind, Baseline: base,
			Available: start.AddDate(0, n, 0), Life: catalog.Life{State: catalog.Complete}}
		for i := 0; i < 3000; i += every {
			a := catalog.Artifact{Package: fmt.Sprintf("lib%04d", i), Fixed: fmt.Sprintf("1.%d", n),
				Images: []catalog.Change{{Path: path(i), Fixed: content(n, i)[:40]}}}
			if kind == catalog.Hotpatch {
				a.Base, a.Bundle, a.Images[0].Base = "1.0", catalog.Digest(content("b", n, i)), content(0, i)[:40]
				a.CVEs = []string{fmt.Sprintf("CVE-2026-%04d", i)}
			}
			r.Artifacts = append(r.Artifacts, a)
		}
		c.Releases = append(c.Releases, r)
	}
	release(0, catalog.Baseline, "", 1)
	release(1, catalog.Hotpatch, "r0", 30)
	release(2, catalog.Hotpatch, "r0", 20)
	inv := &catalog.Inventory{Format: catalog.Format, Host: "h", Taken: start, Facts: catalog.Facts{Arch: "amd64"}}
	for i := 0; i < 400; i++ {
		inv.Packages = append(inv.Packages, catalog.Package{Name: fmt.Sprintf("lib%04d", i), Version: "1.0",
			Images: []catalog.Image{{Path: path(i), BuildID: content(0, i)[:40]}}})
	}
	for p := range 300 {
		q := catalog.Process{PID: p + 1, Started: 1, Unit: fmt.Sprintf("u%d.service", p)}
		for k := range 20 {
			i := (p*7 + k*13) % 400
			q.Images = append(q.Images, catalog.Loaded{Path: path(i), BuildID: content(0, i)[:40]})
		}
		inv.Processes = append(inv.Processes, q)
	}
	return c, inv
}

func BenchmarkAssess(b *testing.B) {
	c, inv := large()
	now := c.Releases[2].Available.Add(time.Hour)
	e := catalog.Enrolment{Intent: catalog.Enrolled}
	for b.Loop() {
		if a := catalog.Assess(inv, c, e, nil, now); a.Track.State != catalog.HotpatchAvailable {
			b.Fatalf("%+v", a.Track)
		}
	}
}

func BenchmarkPreviewPerMachine(b *testing.B) {
	c, inv := large()
	now := c.Releases[2].Available.Add(time.Hour)
	machines := make([]catalog.Machine, 100)
	for i := range machines {
		machines[i] = catalog.Machine{Inventory: inv, Enrolment: catalog.Enrolment{Intent: catalog.Enrolled}}
	}
	for b.Loop() {
		if p, err := c.Preview("r2", machines, now); err != nil || p.OnTrack != 100 {
			b.Fatal(p, err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/100, "µs/machine")
}
