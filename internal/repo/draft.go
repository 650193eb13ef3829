package repo

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"hotpatch/internal/catalog"
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
	Same    []string        // packages whose programs run the same code as the baseline's: the builder found nothing to patch
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
	if err := relate(&rel, base, a.Same); err != nil {
		return nil, err
	}
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
