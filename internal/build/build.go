// Package build makes a hotpatch from two packages, directories or ELF files:
// it reads both sides, has them compared, decides what to carry, emits the
// objects, links them once for trial and gives the verdict.
package build

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"hotpatch/internal/deb"
	"hotpatch/internal/image"
	"hotpatch/internal/patch"
)

// Options are the choices of one build. The zero value is the default.
type Options struct {
	Accept     string // reason: accept a bundle that needs review at once
	By         string // who accepts
	DebugBase  string // debug file of the base, a directory of such by build-id, or a -dbgsym package
	DebugFixed string
	// DebugDirs are looked in, by build-id, for debug files that the above do
	// not give. They need not exist.
	DebugDirs []string
	// Debuginfod is asked last, for images that bring no types.
	Debuginfod Debuginfod
	// Partial leaves out the images that are refused, and those that need
	// them, where others remain.
	Partial bool
	// Downgrade allows a fixed package that is older than the base.
	Downgrade bool
	All       bool     // carry every function that can be carried, changed or not (a torture test)
	Skip      []string // with All: leave these functions in place, by name or fn_<hex>
	// Progress, when not nil, is told what happens: from one goroutine, in order.
	Progress func(Event)
}

// Event is one step of a build: reading, pairing, mapping, emitting, linking, done.
type Event struct {
	Image       string // "" for the package as a whole
	Step        string // one word
	Done, Total int    // images
}

// Report is what a build found; its JSON is the documented output of
// `hotpatch build --json`.
type Report struct {
	Verdict patch.Verdict  `json:"verdict"`
	Reasons []patch.Reason `json:"reasons"`
	Images  []ImageReport  `json:"images"`
	Bundle  *BundleInfo    `json:"bundle"` // null when nothing was written
	// LeftOut are the images that the bundle leaves out; with a refusal, those
	// that Partial would leave out: none, when nothing would remain.
	LeftOut []string `json:"left_out"`
	// GoesWith are the packages of the same source, with their versions, that
	// the fixed package goes with only.
	GoesWith []string `json:"goes_with"`
}

// ImageReport is one ELF image of the package that differs.
type ImageReport struct {
	Path         string           `json:"path"`
	BuildIDBase  string           `json:"build_id_base"`
	BuildIDFixed string           `json:"build_id_fixed"`
	Counts       patch.Counts     `json:"counts"`
	Functions    []patch.Function `json:"functions"`
	// Types says how far types can be believed that come from a rebuild.
	Types string `json:"types,omitempty"`
	// TypesBase and TypesFixed say where types came from, null: nowhere.
	TypesBase  *TypesSource `json:"types_base"`
	TypesFixed *TypesSource `json:"types_fixed"`
}

// BundleInfo identifies the bundle.
type BundleInfo struct {
	ID   patch.ID `json:"id"`
	Size int64    `json:"size"` // bytes of the encoded file
}

// atOnce is how many images are built at a time: memory is bounded by the
// largest of them.
const atOnce = 2

// Build compares base with fixed. The bundle is nil when the verdict is
// refused or nothing; a refusal is not an error. Input that cannot be read is
// one, except for a single image of a package: that refuses the package. So are
// debug files and servers that were given and fail.
func Build(ctx context.Context, base, fixed string, o Options) (*Report, *patch.Bundle, error) {
	tell := newTeller(o.Progress)
	defer tell.stop()
	tell.event(Event{Step: "reading"})
	in, err := readInputs(ctx, base, fixed, o.All)
	if err != nil {
		return nil, nil, err
	}
	if err := in.forward(o.Downgrade); err != nil {
		return nil, nil, err
	}
	var debug unpacked
	defer debug.remove()
	for _, path := range []*string{&o.DebugBase, &o.DebugFixed} {
		if *path, err = debug.open(*path); err != nil {
			return nil, nil, err
		}
	}
	results, err := buildAll(ctx, in, o, tell)
	if err != nil {
		return nil, nil, err
	}
	for _, r := range results {
		debug.rename(r)
	}
	report, bundle := assemble(results, together(in, results), o.Partial)
	if bundle != nil {
		if err := describePackages(&bundle.Manifest, in); err != nil {
			return nil, nil, err
		}
		if o.Accept != "" && bundle.Manifest.Verdict == patch.Review {
			if err := bundle.Accept(o.By, o.Accept, time.Now().UTC()); err != nil {
				return nil, nil, err
			}
		}
		if report.Bundle, err = measure(bundle); err != nil {
			return nil, nil, err
		}
	}
	tell.event(Event{Step: "done", Done: len(in.jobs), Total: len(in.jobs)})
	return report, bundle, nil
}

// buildAll builds every pair, at most atOnce at a time; results are in the
// order of the jobs.
func buildAll(ctx context.Context, in *inputs, o Options, tell *teller) ([]*result, error) {
	results := make([]*result, len(in.jobs))
	errs := make([]error, len(in.jobs))
	tokens := make(chan struct{}, atOnce)
	var wg sync.WaitGroup
	for i := range in.jobs {
		tokens <- struct{}{}
		wg.Go(func() {
			defer func() { <-tokens }()
			j := &in.jobs[i]
			step := func(s string) { tell.event(Event{Image: j.path, Step: s, Done: i, Total: len(in.jobs)}) }
			results[i], errs[i] = buildJob(ctx, in, j, o, step)
		})
	}
	wg.Wait()
	return results, errors.Join(errs...)
}

func buildJob(ctx context.Context, in *inputs, j *job, o Options, step func(string)) (*result, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if j.missing {
		r := &reasons{image: j.path}
		r.add(imageGone, "", "the fixed package does not have this file (or not under a name that can be told)")
		return &result{reasons: r.list, report: ImageReport{Path: j.path, Functions: []patch.Function{}}, differs: true}, nil
	}
	step("reading")
	base, fixed, types, err := openPair(ctx, j, o)
	if err != nil {
		var debug *debugError
		if in.packages[0] == nil && len(in.jobs) == 1 || errors.As(err, &debug) || ctx.Err() != nil {
			return nil, err
		}
		r := &reasons{image: j.path}
		r.add(unsupportedImage, "", "%v", err)
		return &result{reasons: r.list, report: ImageReport{Path: j.path, Functions: []patch.Function{}}, differs: true, alien: j.alien != nil && j.alien()}, nil
	}
	po := pairOptions{all: o.All, skip: o.Skip, step: step, types: types}
	if in.packages[0] != nil {
		po.versions = [2]string{in.packages[0].Version, in.packages[1].Version}
	}
	return buildPair(ctx, base, fixed, j.path, po)
}

// openPair reads both images and their debug files.
func openPair(ctx context.Context, j *job, o Options) (base, fixed *image.Image, types evidence, err error) {
	if base, err = j.base(); err != nil {
		return nil, nil, types, err
	}
	if fixed, err = j.fixed(); err != nil {
		return nil, nil, types, err
	}
	for i, x := range []struct {
		m    *image.Image
		path string
	}{{base, o.DebugBase}, {fixed, o.DebugFixed}} {
		path := ""
		if x.path != "" {
			path, err = debugFile(x.path, x.m)
		}
		if path == "" && err == nil {
			path, err = debugFileIn(o.DebugDirs, x.m)
		}
		if path == "" && err == nil && !x.m.HasDWARF() {
			path, err = o.Debuginfod.find(ctx, x.m.BuildID)
		}
		if path != "" && err == nil {
			types[i], err = attach(x.m, path)
		}
		if err == nil {
			err = attachShared(ctx, x.m, given(x.path, o.DebugDirs), &o.Debuginfod)
		}
		if err != nil {
			return nil, nil, types, &debugError{err}
		}
	}
	return base, fixed, types, nil
}

// debugError is one of what was asked for types. It says nothing of the image.
type debugError struct{ error }

func (e *debugError) Unwrap() error { return e.error }

// given are the directories to look for debug files in: that of a given path
// first.
func given(path string, dirs []string) []string {
	if path == "" {
		return dirs
	}
	if st, err := os.Stat(path); err == nil && !st.IsDir() {
		path = filepath.Dir(path)
	}
	return append([]string{path}, dirs...)
}

// assemble gives the verdict over all images; others are the packages that
// this one goes with.
func assemble(results []*result, others []string, partial bool) (*Report, *patch.Bundle) {
	rep := &Report{Verdict: patch.Nothing, Reasons: []patch.Reason{}, Images: []ImageReport{}, LeftOut: []string{}, GoesWith: append([]string{}, others...)}
	b := &patch.Bundle{Manifest: patch.Manifest{Format: 1, Arch: "amd64", Mode: patch.Strict}}
	left := leftOut(results)
	for _, l := range left {
		rep.LeftOut = append(rep.LeftOut, l.Path)
	}
	if partial {
		results = without(results, left)
		b.Manifest.LeftOut = left
	}
	var all []patch.Reason
	refused := false
	for _, r := range results {
		rep.Images = append(rep.Images, r.report)
		if !r.differs {
			continue
		}
		all = append(all, r.reasons...)
		if r.object != nil {
			b.Manifest.Images = append(b.Manifest.Images, r.image)
			b.Objects = append(b.Objects, r.object)
			b.Before = append(b.Before, r.before)
		}
		refused = refused || slices.ContainsFunc(r.reasons, func(x patch.Reason) bool { return !reviewable(x.Code) })
	}
	if len(b.Objects) > 0 && !refused {
		all = append(all, togetherReasons(others)...)
	}
	rep.Reasons = bounded(all)
	switch {
	case refused:
		rep.Verdict = patch.Refused
		return rep, nil
	case len(b.Objects) == 0:
		// Only files that went away differ: nothing can be applied.
		if len(all) > 0 {
			rep.Verdict = patch.Refused
		}
		return rep, nil
	case len(all) > 0:
		rep.Verdict = patch.Review
	default:
		rep.Verdict = patch.Clean
	}
	if len(b.Objects) == 1 && len(b.Manifest.LeftOut)+len(others) == 0 && !slices.ContainsFunc(results, func(r *result) bool { return r.object != nil && !r.independent }) {
		b.Manifest.Mode = patch.Independent
	}
	b.Manifest.Verdict, b.Manifest.Reasons = rep.Verdict, rep.Reasons
	return rep, b
}

// ErrDowngrade: the two packages were given the wrong way round, as it seems.
var ErrDowngrade = errors.New("the fixed package is older than the base")

// forward makes sure that the way leads from an older package to a newer one.
func (in *inputs) forward(back bool) error {
	base, fixed := in.packages[0], in.packages[1]
	if base == nil || back {
		return nil
	}
	order, err := deb.Compare(base.Version, fixed.Version)
	if err != nil {
		return fmt.Errorf("compare versions: %w", err)
	}
	if order > 0 {
		return fmt.Errorf("%w: %s is %s, %s is %s", ErrDowngrade, base.Path, base.Version, fixed.Path, fixed.Version)
	}
	return nil
}

// Refuses says whether a reason of this code keeps a hotpatch from being
// written; others ask for a review.
func Refuses(code string) bool { return !reviewable(code) }

// describePackages fills in what the .debs say of themselves.
func describePackages(m *patch.Manifest, in *inputs) error {
	m.CVEs = []string{}
	base, fixed := in.packages[0], in.packages[1]
	if base == nil {
		return nil
	}
	m.Package, m.Source = fixed.Name, fixed.Source
	m.BaseVersion, m.FixedVersion = base.Version, fixed.Version
	log, err := fixed.Changelog()
	if errors.Is(err, deb.ErrNoChangelog) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read changelog of %s: %w", fixed.Path, err)
	}
	between := deb.Between(log, base.Version, fixed.Version)
	m.CVEs = deb.CVEs(between)
	for _, e := range between {
		m.Changes = append(m.Changes, e.Version)
		for _, line := range e.Changes {
			m.Changes = append(m.Changes, "  "+line)
		}
	}
	m.Changes = m.Changes[:min(len(m.Changes), patch.MaxChanges)]
	return nil
}

func measure(b *patch.Bundle) (*BundleInfo, error) {
	data, err := b.Encode()
	if err != nil {
		return nil, err
	}
	id, err := b.ID()
	if err != nil {
		return nil, err
	}
	return &BundleInfo{ID: id, Size: int64(len(data))}, nil
}

// teller hands events to Progress from one goroutine.
type teller struct {
	events chan Event
	done   chan struct{}
}

func newTeller(progress func(Event)) *teller {
	if progress == nil {
		return &teller{}
	}
	t := &teller{events: make(chan Event), done: make(chan struct{})}
	go func() {
		defer close(t.done)
		for e := range t.events {
			progress(e)
		}
	}()
	return t
}

func (t *teller) event(e Event) {
	if t.events != nil {
		t.events <- e
	}
}

// stop returns when everything was told.
func (t *teller) stop() {
	if t.events != nil {
		close(t.events)
		<-t.done
	}
}
