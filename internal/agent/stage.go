package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"hotpatch/internal/catalog"
	"hotpatch/internal/patch"
)

// The staging directory holds verified hotpatches, each named by its digest.
// That one lies there allows nothing: it is checked again before it is used,
// and a recall takes it away.

func (a *Agent) copyFile(id catalog.Digest) string {
	return filepath.Join(a.world.Staging(), string(id)+".hotpatch")
}

// stage downloads and reads the hotpatches of a release for packages that this
// host has in memory or on disk.
func (a *Agent) stage(ctx context.Context, j *job) error {
	if err := os.MkdirAll(a.world.Staging(), 0o700); err != nil {
		return fmt.Errorf("stage: %w", err)
	}
	for _, art := range j.release.Artifacts {
		if art.Bundle == "" || !a.concerns(&art) {
			continue
		}
		file := a.copyFile(art.Bundle)
		if err := a.world.Bundle(ctx, art.Bundle, file); err != nil {
			return fmt.Errorf("download the hotpatch of %s: %w", art.Package, err)
		}
		b, err := readCopy(file, art.Bundle)
		if err != nil {
			return errors.Join(err, os.Remove(file))
		}
		j.bundles[art.Bundle] = b
		c := Copy{Bundle: art.Bundle, Release: j.release.ID, Content: j.due.Content, At: a.world.Now()}
		if err := a.journal.PutCopy(c); err != nil {
			return err
		}
	}
	if len(j.bundles) > 0 {
		a.note(Event{Kind: ReleaseStaged, Release: j.release.ID, Text: fmt.Sprintf("staged %s: %d hotpatches", j.release.ID, len(j.bundles))})
	}
	return nil
}

// fetchAhead stages what waits for its window, so that the window is for work.
func (a *Agent) fetchAhead(ctx context.Context, as *catalog.Assessment, barred map[catalog.ReleaseID]bool) error {
	if as == nil || a.wanted() != nil {
		return nil
	}
	a.mu.Lock()
	c := a.view.catalog
	a.mu.Unlock()
	var errs []error
	for _, d := range as.Due {
		r := c.Release(d.Release)
		what := "stage " + string(d.Release)
		if d.Action != catalog.DoApply || d.Blocked != "" || d.Now(a.world.Now()) || r == nil || barred[d.Release] || a.waiting(what) != nil {
			continue
		}
		there, err := a.staged(r)
		if err != nil || there {
			errs = append(errs, err)
			continue
		}
		j := &job{due: d, release: r, bundles: map[catalog.Digest]*patch.Bundle{}}
		if err = a.stage(ctx, j); err == nil && len(j.bundles) > 0 {
			err = a.working(j, catalog.Staged)
		}
		if err != nil {
			err = fmt.Errorf("stage %s: %w", d.Release, err)
		}
		a.tried(what, err)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// staged says whether all hotpatches of a release that this host needs are here.
func (a *Agent) staged(r *catalog.Release) (bool, error) {
	copies, err := a.journal.Copies()
	if err != nil {
		return false, err
	}
	for _, art := range r.Artifacts {
		if art.Bundle == "" || !a.concerns(&art) {
			continue
		}
		if !slices.ContainsFunc(copies, func(x Copy) bool { return x.Bundle == art.Bundle && x.Release == r.ID && x.Content == r.Content() }) {
			return false, nil
		}
		if _, err := os.Stat(a.copyFile(art.Bundle)); err != nil {
			return false, nil
		}
	}
	return true, nil
}

// concerns says whether the host has the package, or runs one of its files.
func (a *Agent) concerns(art *catalog.Artifact) bool {
	a.mu.Lock()
	inv := a.view.inventory
	a.mu.Unlock()
	for i := range inv.Packages {
		if inv.Packages[i].Name == art.Package {
			return true
		}
	}
	base := map[string]bool{}
	for _, g := range art.Images {
		if g.Base != "" {
			base[g.Base] = true
		}
	}
	for i := range inv.Processes {
		for _, g := range inv.Processes[i].Images {
			if base[g.BuildID] {
				return true
			}
		}
	}
	return false
}

// readCopy reads a hotpatch and checks that it is the one that was named, and
// that somebody took responsibility for it where that is needed.
func readCopy(file string, id catalog.Digest) (*patch.Bundle, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read staged hotpatch: %w", err)
	}
	b, err := patch.Decode(data)
	if err != nil {
		return nil, fmt.Errorf("read staged hotpatch %.12s: %w", id, err)
	}
	got, err := b.ID()
	if err != nil {
		return nil, fmt.Errorf("identify staged hotpatch %.12s: %w", id, err)
	}
	if catalog.Digest(got) != id {
		return nil, fmt.Errorf("staged hotpatch %.12s: its content is %.12s", id, got)
	}
	if err := b.Applicable(); err != nil {
		return nil, fmt.Errorf("staged hotpatch %.12s: %w", id, err)
	}
	return b, nil
}

// purge takes away staged copies whose release was recalled, is gone from the
// catalogue, has other content, or is superseded (invariant 4), and files that
// nobody staged.
func (a *Agent) purge(c *catalog.Catalog) error {
	copies, err := a.journal.Copies()
	if err != nil {
		return err
	}
	wanted := map[string]bool{}
	for _, x := range copies {
		why := unwanted(c, x)
		if why == "" && a.outdated(c, x) {
			why = "a later release is in its place"
		}
		if why == "" {
			wanted[filepath.Base(a.copyFile(x.Bundle))] = true
			continue
		}
		if err := a.journal.DropCopy(x); err != nil {
			return err
		}
		a.note(Event{Kind: CopyPurged, Release: x.Release, Text: fmt.Sprintf("dropped the staged hotpatch %.12s: %s", x.Bundle, why)})
		if err := a.notStaged(x.Release); err != nil {
			return err
		}
	}
	files, err := os.ReadDir(a.world.Staging())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look into the staging directory: %w", err)
	}
	for _, f := range files {
		if wanted[f.Name()] {
			continue
		}
		if err := os.Remove(filepath.Join(a.world.Staging(), f.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("purge: %w", err)
		}
	}
	return nil
}

// purgeRelease takes away what was staged for one release.
func (a *Agent) purgeRelease(id catalog.ReleaseID, why string) error {
	copies, err := a.journal.Copies()
	if err != nil {
		return err
	}
	for _, x := range copies {
		if x.Release != id {
			continue
		}
		if err := a.journal.DropCopy(x); err != nil {
			return err
		}
		if err := os.Remove(a.copyFile(x.Bundle)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("purge: %w", err)
		}
		a.note(Event{Kind: CopyPurged, Release: id, Text: fmt.Sprintf("dropped the staged hotpatch %.12s: %s", x.Bundle, why)})
	}
	return nil
}

// notStaged: the copies of a release are gone.
func (a *Agent) notStaged(id catalog.ReleaseID) error {
	_, err := a.change(func(e *catalog.Enrolment) error {
		if w := e.Work; w != nil && w.Release == id && w.State == catalog.Staged {
			e.Work = nil
		}
		return nil
	})
	return err
}

// outdated: the release of a staged copy is superseded, and not in force here.
func (a *Agent) outdated(c *catalog.Catalog, x Copy) bool {
	a.mu.Lock()
	as := a.view.assessment
	a.mu.Unlock()
	r := c.Release(x.Release)
	return as != nil && r != nil && c.SupersededBy(r, a.world.Now()) != nil &&
		as.Position.Hotpatch != x.Release && !slices.Contains(as.Position.Companions, x.Release)
}

// unwanted says why a staged copy may not stay; "": it may.
func unwanted(c *catalog.Catalog, x Copy) string {
	r := c.Release(x.Release)
	switch {
	case r == nil:
		return "its release is not in the catalogue any more"
	case r.Life.State == catalog.Recalled:
		return "its release was recalled"
	case r.Content() != x.Content:
		return "its release has other content now"
	}
	return ""
}
