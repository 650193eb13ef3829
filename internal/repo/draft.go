package repo

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"hotpatch/internal/catalog"
	"hotpatch/internal/deb"
	"hotpatch/internal/patch"
	"hotpatch/internal/proc"
)

// Drafts are releases that are not published: one file each, below drafts/,
// with their bundles beside them. Nothing of them is served or signed.

const (
	draftSuffix   = ".json"
	previewSuffix = ".preview.json"
	maxDraft      = maxDocument
)

// ErrRefused says that the rules of publishing forbid it; nothing was changed.
var ErrRefused = errors.New("refused")

func refuse(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrRefused}, args...)...)
}

// CheckReleaseID wants what is a file name, part of a URL and a word at once.
func CheckReleaseID(id catalog.ReleaseID) error {
	ok := len(id) > 0 && len(id) <= 80 && id[0] != '.' && id[0] != '-' && !strings.Contains(string(id), "..")
	for _, c := range []byte(id) {
		ok = ok && ('a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '.' || c == '-')
	}
	if !ok || strings.HasSuffix(string(id), ".preview") {
		return fmt.Errorf("release id %.90q: not 1 to 80 lower-case letters, digits, dots and hyphens", id)
	}
	return nil
}

func (r *Repo) draftFile(id catalog.ReleaseID) string {
	return r.path(draftsDir, string(id)+draftSuffix)
}

// Drafts lists the releases that are not published, by id.
func (r *Repo) Drafts() ([]*catalog.Release, error) {
	entries, err := os.ReadDir(r.path(draftsDir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list drafts: %w", err)
	}
	var out []*catalog.Release
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), draftSuffix)
		if !ok || strings.HasPrefix(name, ".") || strings.HasSuffix(e.Name(), previewSuffix) {
			continue
		}
		rel, err := r.Draft(catalog.ReleaseID(name))
		if err != nil {
			return nil, err
		}
		out = append(out, rel)
	}
	return out, nil
}

// Draft reads one; ErrNotFound when there is none.
func (r *Repo) Draft(id catalog.ReleaseID) (*catalog.Release, error) {
	if err := CheckReleaseID(id); err != nil {
		return nil, err
	}
	data, err := readFileBounded(r.draftFile(id), maxDraft)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("draft %s: %w", id, ErrNotFound)
	}
	if err != nil {
		return nil, err
	}
	rel, err := catalog.DecodeRelease(data)
	if err != nil {
		return nil, fmt.Errorf("%s/%s%s: %w", draftsDir, id, draftSuffix, err)
	}
	if rel.ID != id {
		return nil, fmt.Errorf("%s/%s%s: %w: id: %q", draftsDir, id, draftSuffix, ErrMalformed, rel.ID)
	}
	return rel, nil
}

func (r *Repo) saveDraft(rel *catalog.Release) error {
	data, err := catalog.EncodeJSON(rel)
	if err != nil {
		return fmt.Errorf("write draft %s: %w", rel.ID, err)
	}
	if _, err := catalog.DecodeRelease(data); err != nil {
		return fmt.Errorf("write draft %s: %w", rel.ID, err)
	}
	if err := writeFile(r.draftFile(rel.ID), data, 0o644); err != nil {
		return fmt.Errorf("write draft %s: %w", rel.ID, err)
	}
	return nil
}

// DropDraft forgets a draft.
func (r *Repo) DropDraft(id catalog.ReleaseID) error {
	if _, err := r.Draft(id); err != nil {
		return err
	}
	return r.clearDraft(id)
}

// tidyDrafts removes the drafts that were published meanwhile.
func (r *Repo) tidyDrafts() error {
	drafts, err := r.Drafts()
	if err != nil {
		return err
	}
	for _, d := range drafts {
		if _, err := r.reached(d.ID); errors.Is(err, ErrNotFound) {
			continue
		} else if err != nil {
			return err
		}
		if err := r.clearDraft(d.ID); err != nil {
			return err
		}
	}
	return nil
}

// clearDraft removes a draft and the bundles that no other draft has.
func (r *Repo) clearDraft(id catalog.ReleaseID) error {
	err := errors.Join(removed(r.draftFile(id)), removed(r.path(draftsDir, string(id)+previewSuffix)))
	if err != nil {
		return err
	}
	drafts, err := r.Drafts()
	if err != nil {
		return err
	}
	used := map[string]bool{}
	for _, d := range drafts {
		for i := range d.Artifacts {
			used[string(d.Artifacts[i].Bundle)+bundleSuffix] = true
		}
	}
	entries, err := os.ReadDir(r.path(draftsDir, bundleKind))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	err = nil
	for _, e := range entries {
		if !used[e.Name()] {
			err = errors.Join(err, removed(r.path(draftsDir, bundleKind, e.Name())))
		}
	}
	return err
}

// find looks for a release everywhere: in the channels, then the drafts.
func (r *Repo) find(id catalog.ReleaseID) (*catalog.Release, error) {
	for _, ch := range slices.Backward(r.Channels()) {
		k, err := r.Catalog(ch)
		if err != nil {
			return nil, err
		}
		if rel := k.Release(id); rel != nil {
			return rel, nil
		}
	}
	return r.Draft(id)
}

// Addition is what becomes of a draft: a new one, or more of one.
type Addition struct {
	Release catalog.Release // without Life and Artifacts
	Bundles []string        // .hotpatch files
	Debs    []string        // .deb files of what it becomes on disk
	By      string
}

// Add makes or extends a draft. It refuses (ErrRefused) bundles that nobody
// accepted, an unknown baseline, and versions or build-ids that are not those
// of the baseline.
func (r *Repo) Add(a Addition) (*catalog.Release, error) {
	rel, err := r.add(a)
	if err != nil {
		return nil, fmt.Errorf("add to %s: %w", a.Release.ID, err)
	}
	return rel, nil
}

func (r *Repo) add(a Addition) (*catalog.Release, error) {
	if r.t == nil {
		return nil, errNoRoot
	}
	if err := CheckReleaseID(a.Release.ID); err != nil {
		return nil, err
	}
	rel := a.Release
	switch old, err := r.find(rel.ID); {
	case err == nil && old.Life.State != catalog.Draft && old.Life.State != catalog.Validated &&
		old.Life.State != catalog.Previewed && old.Life.State != catalog.Approved:
		return nil, refuse("it is published (%s)", old.Life.State)
	case err == nil:
		rel = merge(*old, rel)
	case !errors.Is(err, ErrNotFound):
		return nil, err
	}
	rel.Available = rel.Available.UTC()
	if rel.Available.IsZero() {
		rel.Available = r.now().UTC().Truncate(1e9)
	}
	base, err := r.baselineOf(&rel)
	if err != nil {
		return nil, err
	}
	for _, file := range a.Bundles {
		if err := r.addBundle(&rel, base, file); err != nil {
			return nil, err
		}
	}
	for _, file := range a.Debs {
		if err := addDeb(&rel, file); err != nil {
			return nil, err
		}
	}
	relate(&rel, base)
	sortArtifacts(&rel)
	if err := checkArtifacts(&rel, base); err != nil {
		return nil, err
	}
	// Whatever was previewed or approved was another content.
	life, err := catalog.Life{State: catalog.Draft}.To(catalog.Validated, a.By, r.now().UTC().Truncate(1e9))
	if err != nil {
		return nil, err
	}
	rel.Life = life
	if err := errors.Join(removed(r.path(draftsDir, string(rel.ID)+previewSuffix)), r.saveDraft(&rel)); err != nil {
		return nil, err
	}
	return &rel, nil
}

// merge gives an existing draft what is new in b.
func merge(old, b catalog.Release) catalog.Release {
	if b.Kind != "" {
		old.Kind = b.Kind
	}
	if b.Baseline != "" {
		old.Baseline = b.Baseline
	}
	if !b.Available.IsZero() {
		old.Available = b.Available
	}
	if !b.Deadline.IsZero() {
		old.Deadline = b.Deadline
	}
	for _, s := range []struct{ to, from *string }{{&old.Version, &b.Version}, {&old.Article, &b.Article}, {&old.Title, &b.Title}} {
		if *s.from != "" {
			*s.to = *s.from
		}
	}
	if b.Fixes != "" {
		old.Fixes = b.Fixes
	}
	if b.Without != nil {
		old.Without = b.Without
	}
	if len(b.Replaces) > 0 {
		old.Replaces = b.Replaces
	}
	if len(b.Restarts) > 0 {
		old.Restarts = b.Restarts
	}
	if !b.Scope.IsZero() {
		old.Scope = b.Scope
	}
	old.Unplanned = old.Unplanned || b.Unplanned
	old.OutOfBand = old.OutOfBand || b.OutOfBand
	return old
}

// baselineOf finds the release that rel goes on top of; nil for kinds that go
// on none.
func (r *Repo) baselineOf(rel *catalog.Release) (*catalog.Release, error) {
	switch rel.Kind {
	case catalog.Baseline, catalog.Outside:
		if rel.Baseline != "" {
			return nil, refuse("a release of kind %s goes on no baseline", rel.Kind)
		}
		return nil, nil
	case catalog.Hotpatch, catalog.Companion, catalog.Cold:
	default:
		return nil, refuse("unknown kind %.40q", rel.Kind)
	}
	if rel.Baseline == "" {
		return nil, refuse("no baseline named")
	}
	b, err := r.find(rel.Baseline)
	switch {
	case errors.Is(err, ErrNotFound):
		return nil, refuse("unknown baseline %s", rel.Baseline)
	case err != nil:
		return nil, err
	case b.Kind != catalog.Baseline:
		return nil, refuse("%s is of kind %s, not a baseline", rel.Baseline, b.Kind)
	case b.Life.State == catalog.Recalled:
		return nil, refuse("baseline %s was recalled", rel.Baseline)
	}
	return b, nil
}

// addBundle takes a bundle into a draft.
func (r *Repo) addBundle(rel, base *catalog.Release, file string) error {
	b, err := patch.ReadFile(file)
	if err != nil {
		return err
	}
	if err := b.Applicable(); err != nil {
		return refuse("%s: %w", file, err)
	}
	id, err := b.ID()
	if err != nil {
		return fmt.Errorf("identify %s: %w", file, err)
	}
	m := &b.Manifest
	if m.Package == "" || m.FixedVersion == "" || m.BaseVersion == "" {
		return refuse("%s: it names no package and versions: it was not built from packages", file)
	}
	if base != nil {
		if err := fits(m, base); err != nil {
			return refuse("%s: %w", file, err)
		}
	}
	a := catalog.Artifact{Package: m.Package, Source: m.Source, Arch: m.Arch, Base: m.BaseVersion, Fixed: m.FixedVersion,
		Bundle: catalog.Digest(id), CVEs: slices.Clone(m.CVEs)}
	for _, g := range m.Images {
		a.Images = append(a.Images, catalog.Change{Path: onDisk(g.Path), Base: g.BuildIDBase, Fixed: g.BuildIDFixed})
	}
	data, err := b.Encode()
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	if err := writeFile(r.path(draftsDir, bundleKind, string(id)+bundleSuffix), data, 0o644); err != nil {
		return err
	}
	putArtifact(rel, a)
	return nil
}

// fits wants that a bundle is made for exactly what the baseline has.
func fits(m *patch.Manifest, base *catalog.Release) error {
	var pin *catalog.Artifact
	for i := range base.Artifacts {
		if p := &base.Artifacts[i]; p.Package == m.Package && (p.Arch == "" || p.Arch == m.Arch) {
			pin = p
		}
	}
	if pin == nil {
		return fmt.Errorf("baseline %s has no package %s", base.ID, m.Package)
	}
	if pin.Fixed != m.BaseVersion {
		return fmt.Errorf("it is for %s %s, but baseline %s has %s", m.Package, m.BaseVersion, base.ID, pin.Fixed)
	}
	for _, g := range m.Images {
		for _, p := range pin.Images {
			if p.Path == onDisk(g.Path) && p.Fixed != g.BuildIDBase {
				return fmt.Errorf("it is for %s with build-id %s, but baseline %s has %s", g.Path, g.BuildIDBase, base.ID, p.Fixed)
			}
		}
	}
	return nil
}

// putArtifact adds an artifact or completes the one of the same package.
func putArtifact(rel *catalog.Release, a catalog.Artifact) {
	for i := range rel.Artifacts {
		old := &rel.Artifacts[i]
		if old.Package != a.Package || old.Arch != a.Arch {
			continue
		}
		if old.Fixed != a.Fixed {
			*old = a // another version takes its place
			return
		}
		if a.Bundle != "" {
			old.Bundle, old.Base, old.Images, old.CVEs = a.Bundle, a.Base, completed(a.Images, old.Images), a.CVEs
		}
		if a.Deb != "" {
			old.Deb, old.Size, old.Source = a.Deb, a.Size, a.Source
			old.Images = completed(old.Images, a.Images)
		}
		return
	}
	rel.Artifacts = append(rel.Artifacts, a)
}

// completed adds to a list of images those it lacks.
func completed(have, more []catalog.Change) []catalog.Change {
	for _, m := range more {
		if !slices.ContainsFunc(have, func(h catalog.Change) bool { return h.Path == m.Path }) {
			have = append(have, m)
		}
	}
	return have
}

// addDeb takes the facts of a .deb into a draft; the file itself stays with
// the distribution.
func addDeb(rel *catalog.Release, file string) error {
	a, err := debArtifact(file)
	if err != nil {
		return err
	}
	for i := range rel.Artifacts {
		old := &rel.Artifacts[i]
		if old.Package != a.Package || old.Arch != a.Arch || old.Bundle == "" {
			continue
		}
		if old.Fixed != a.Fixed {
			return refuse("%s: %s %s, but the bundle makes it %s", file, a.Package, a.Fixed, old.Fixed)
		}
		for _, g := range old.Images {
			for _, h := range a.Images {
				if h.Path == g.Path && h.Fixed != g.Fixed {
					return refuse("%s: %s has build-id %s, but the bundle was built from %s", file, h.Path, h.Fixed, g.Fixed)
				}
			}
		}
	}
	putArtifact(rel, a)
	return nil
}

// debArtifact reads name, version, digest and build-ids of a .deb.
func debArtifact(file string) (catalog.Artifact, error) {
	p, err := deb.Open(file)
	if err != nil {
		return catalog.Artifact{}, err
	}
	a := catalog.Artifact{Package: p.Name, Source: p.Source, Arch: p.Arch, Fixed: p.Version}
	f, err := os.Open(filepath.Clean(file))
	if err != nil {
		return a, err
	}
	sum := sha256.New()
	a.Size, err = io.Copy(sum, f)
	if err = errors.Join(err, f.Close()); err != nil {
		return a, err
	}
	a.Deb = catalog.Digest(hex.EncodeToString(sum.Sum(nil)))
	isELF := func(_ string, head []byte) bool { return strings.HasPrefix(string(head), "\x7fELF") }
	err = p.Walk(isELF, func(f deb.File) error {
		id, ok, err := proc.FileBuildID(strings.NewReader(string(f.Data)))
		if err != nil {
			return fmt.Errorf("%s: %s: %w", file, f.Name, err)
		}
		if ok && id != "" {
			a.Images = append(a.Images, catalog.Change{Path: onDisk(f.Name), Fixed: id})
		}
		return nil
	})
	return a, err
}

// relate says of images that no bundle patches which of them run the same code
// as the baseline's: files that did not change, and those of a package with a
// bundle, which has all images of the package that differ.
func relate(rel, base *catalog.Release) {
	if base == nil {
		return
	}
	for i := range rel.Artifacts {
		a := &rel.Artifacts[i]
		for j := range base.Artifacts {
			pin := &base.Artifacts[j]
			if pin.Package != a.Package || pin.Arch != a.Arch && pin.Arch != "" && a.Arch != "" {
				continue
			}
			if a.Base == "" {
				a.Base = pin.Fixed
			}
			for n := range a.Images {
				g := &a.Images[n]
				k := slices.IndexFunc(pin.Images, func(p catalog.Change) bool { return p.Path == g.Path })
				if k >= 0 && g.Base == "" && (a.Bundle != "" || g.Fixed == pin.Images[k].Fixed) {
					g.Base, g.Same = pin.Images[k].Fixed, true
				}
			}
		}
	}
}

// onDisk is where a packaged file is on a system whose /bin and /lib are links
// into /usr: there processes map it from, whatever the package says.
func onDisk(name string) string {
	for _, dir := range []string{"/bin/", "/sbin/", "/lib/", "/lib32/", "/lib64/", "/libx32/"} {
		if strings.HasPrefix(name, dir) {
			return "/usr" + name
		}
	}
	return name
}

func sortArtifacts(rel *catalog.Release) {
	slices.SortStableFunc(rel.Artifacts, func(a, b catalog.Artifact) int {
		return slices.Compare([]string{a.Package, a.Arch, a.Base, string(a.Bundle)}, []string{b.Package, b.Arch, b.Base, string(b.Bundle)})
	})
	for i := range rel.Artifacts {
		a := &rel.Artifacts[i]
		slices.SortFunc(a.Images, func(x, y catalog.Change) int { return strings.Compare(x.Path, y.Path) })
		slices.Sort(a.CVEs)
		a.CVEs = slices.Compact(a.CVEs)
	}
}

// checkArtifacts wants that a release on a baseline takes every package
// forward, and that what is called a hotpatch is one.
func checkArtifacts(rel, base *catalog.Release) error {
	if base == nil {
		return nil
	}
	patches := 0
	for i := range rel.Artifacts {
		a := &rel.Artifacts[i]
		if a.Bundle != "" {
			patches++
		}
		if a.Base == "" {
			continue
		}
		n, err := deb.Compare(a.Base, a.Fixed)
		if err != nil {
			return refuse("%s: %w", a.Package, err)
		}
		if n >= 0 {
			return refuse("%s: %s is no newer than the baseline's %s", a.Package, a.Fixed, a.Base)
		}
	}
	if rel.Kind == catalog.Hotpatch && patches == 0 {
		return refuse("a hotpatch without a bundle would need restarts: make it cold, or a companion")
	}
	return nil
}
