package build

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"hotpatch/internal/diff"
	"hotpatch/internal/image"
	"hotpatch/internal/link"
	"hotpatch/internal/patch"
)

// result is what became of one pair of images.
type result struct {
	report  ImageReport
	reasons []patch.Reason
	image   patch.Image
	object  *patch.Object // nil: nothing to carry, or refused
	before  []byte        // for reviewers: patch.Before, encoded
	differs bool          // something that is no noise differs

	independent bool // old calls of the one function may finish in old code
	links       linkage
	alien       bool // no program or library for x86-64
}

// pairOptions are Options as one pair sees them.
type pairOptions struct {
	all      bool
	skip     []string
	versions [2]string
	types    evidence
	step     func(string)
}

// buildPair compares two images and emits the object of the fixed one.
func buildPair(ctx context.Context, base, fixed *image.Image, path string, o pairOptions) (*result, error) {
	r := &reasons{image: path}
	res := &result{report: ImageReport{
		Path: path, BuildIDBase: string(base.BuildID), BuildIDFixed: string(fixed.BuildID), Functions: []patch.Function{}, Types: o.types.String(),
		TypesBase: typesSource(base), TypesFixed: typesSource(fixed),
	}, links: linkageOf(base, fixed)}
	if err := fixedAddress(base, fixed); err != nil {
		r.add(nonPIE, "", "it is not position independent: %v", err)
		res.reasons, res.differs = r.list, true
		return res, nil
	}
	o.step("pairing")
	d, err := diff.Compare(ctx, base, fixed, diff.Options{BaseVersion: o.versions[0], FixedVersion: o.versions[1], GiveUp: !sameUpstream(o.versions)})
	if err != nil {
		return nil, err
	}
	if err := checkKept(d); err != nil {
		r.add(nonPIE, "", "it is not position independent, and the relocations that it keeps do not fit: %v", err)
		res.reasons, res.differs = r.list, true
		return res, nil
	}
	res.report.Counts, res.report.Functions = describe(d)
	if name := cmp.Or(runtimeOf(base), runtimeOf(fixed)); name != "" && res.report.Counts.Changed+res.report.Counts.New > 0 {
		r.add(unsupportedImage, "", "it is compiled from %s, whose runtime knows the code on its stacks by tables that new code is not in", name)
		res.reasons, res.differs = r.list, true
		return res, nil
	}
	if n := d.Foreign(); n != nil {
		r.add(rebuiltCompiler, "", "at least %d of %d functions differ, and at most %d of the %d functions of %d instructions and more came out equal: another compiler, other options or a new upstream version made it",
			n.Differ, n.Functions, n.Equal, n.Long, diff.LongFunction)
		res.report.Functions = []patch.Function{} // all of them: nobody wants to read that
		res.reasons, res.differs = r.list, true
		return res, nil
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	o.step("mapping")
	c, e, s, err := emit(ctx, d, r, o)
	if err != nil {
		return nil, err
	}
	if len(e.vars) > 0 && collects(fixed) {
		r.add(referenceUnbound, "", "it brings a variable of its own, and the program's garbage collector (libgc) looks for pointers in the variables of files only")
	}
	if !o.all {
		j := &judge{d, c, e, r, o.types, o.versions}
		j.all()
	}
	res.differs = len(c.list) > 0 || slices.ContainsFunc(r.list, func(x patch.Reason) bool {
		return x.Code != layoutUnverified && x.Code != mapStep && x.Code != layoutPadding
	})
	if !res.differs {
		return res, nil
	}
	if len(s) == 0 && !r.refused() {
		what := "what differs"
		if k := slices.IndexFunc(r.list, func(x patch.Reason) bool { return x.Code == startOnly }); k >= 0 {
			what += " (" + r.list[k].Detail + ")"
		}
		r.add(dataOnly, "", "no function is to be replaced: %s takes effect only at the next start", what)
	}
	res.reasons = r.list
	if r.refused() {
		return res, nil
	}
	o.step("emitting")
	obj, err := e.layout()
	if err != nil {
		return nil, fmt.Errorf("emit %s: %w", path, err)
	}
	res.object = obj
	res.image = patch.Image{
		Path: path, BuildIDBase: string(base.BuildID), BuildIDFixed: string(fixed.BuildID),
		Unwinds: e.h.unwind,
		Counts:  res.report.Counts, Sites: s, Functions: res.report.Functions,
	}
	if res.before, err = before(d, s); err != nil {
		return nil, fmt.Errorf("record code of %s: %w", path, err)
	}
	o.step("linking")
	if err := trial(base, &res.image, obj); err != nil {
		r.add(linkFailed, "", "%v", err)
		res.reasons, res.object = r.list, nil
	}
	res.independent = !o.all && !e.loops && res.object != nil && independent(d, c, obj, s, r.list)
	return res, nil
}

// emit chooses and carries functions. In a torture build, what cannot be
// carried is left out and the rest tried again.
func emit(ctx context.Context, d *diff.Diff, r *reasons, o pairOptions) (*carrier, *emitter, []patch.Site, error) {
	left := map[*diff.Func]bool{}
	if o.all {
		leaveOut(d, o.skip, left)
	}
	for {
		if err := ctx.Err(); err != nil {
			return nil, nil, nil, err
		}
		c := &carrier{d: d, all: o.all, skip: func(f *diff.Func) bool { return left[f] }}
		try := &reasons{image: r.image}
		e := newEmitter(d, c, try)
		c.choose()
		e.carryAll()
		if !o.all {
			e.passedOn()
		}
		sites := e.sites()
		e.exceptions()
		if !o.all {
			r.list = append(r.list, try.list...)
			return c, e, sites, nil
		}
		if len(e.failed) == 0 {
			return c, e, sites, nil
		}
		for f := range e.failed {
			left[f] = true
			for _, p := range d.Parts(f) {
				left[p] = true
			}
		}
	}
}

// leaveOut keeps from a torture build what must stay: main, what starts the
// program, and the functions named.
func leaveOut(d *diff.Diff, names []string, left map[*diff.Func]bool) {
	add := func(f *diff.Func) {
		left[f] = true
		for _, p := range d.Parts(f) {
			left[p] = true
		}
	}
	if m := d.Fixed.Main(); m != nil {
		add(m)
	}
	for _, f := range d.Fixed.Starters() {
		add(f)
	}
	for _, f := range d.Fixed.Funcs {
		if f.Bad > 0 || slices.Contains(names, label(d, f)) || slices.ContainsFunc(f.Names, func(n string) bool { return slices.Contains(names, n) }) {
			add(f)
		}
	}
}

// describe counts the functions and lists those that are not the same. Fragments
// belong to their functions; those of functions that are gone are listed, since a
// process waits for what is gone by this list.
func describe(d *diff.Diff) (patch.Counts, []patch.Function) {
	var n patch.Counts
	out := []patch.Function{}
	for _, f := range d.Fixed.Funcs {
		if f.Fragment {
			continue
		}
		state, why := d.State(f)
		if f.Source == image.FromGap && state == diff.Same {
			continue
		}
		switch state {
		case diff.Same:
			n.Same++
			continue
		case diff.Noise:
			n.Same++
		case diff.Changed:
			n.Changed++
		case diff.New:
			n.New++
		}
		g := patch.Function{Name: label(d, f), State: state.String(), FixedAddr: uint64(f.Lo), Size: f.Size(), Why: why}
		if a := d.BaseOf(f); a != nil {
			g.BaseAddr = uint64(a.Lo)
		}
		out = append(out, g)
	}
	for _, f := range d.Base.Funcs {
		if !lost(d, f) {
			continue
		}
		if !f.Fragment {
			n.Gone++
		}
		out = append(out, patch.Function{Name: f.Name(), State: diff.Gone.String(), BaseAddr: uint64(f.Lo), Size: f.Size(), Why: "only the base image has it"})
	}
	return n, out
}

// lost says whether the base function f is gone, or a fragment of one that is. The
// fragments of others are waited for with these.
func lost(d *diff.Diff, f *diff.Func) bool {
	if !f.Fragment {
		return d.FixedOf(f) == nil
	}
	owner := false
	for _, p := range d.BaseParts(f) {
		if !p.Fragment {
			if d.FixedOf(p) != nil {
				return false
			}
			owner = true
		}
	}
	return owner || d.FixedOf(f) == nil
}

// fixedAddress says why a pair cannot be compared of which an image is linked to
// a fixed address: both have to be, and to keep the relocations that tell what
// in them are addresses. One alone would not do: what the numbers of the other
// mean could only be guessed from it.
func fixedAddress(base, fixed *image.Image) error {
	switch {
	case base.PIE && fixed.PIE:
		return nil
	case base.PIE != fixed.PIE:
		return errors.New("only one of the two files is linked to a fixed address")
	case base.Unkept() != nil:
		return base.Unkept()
	}
	return fixed.Unkept()
}

func checkKept(d *diff.Diff) error {
	if d.Base.PIE {
		return nil
	}
	if err := d.Base.CheckKept(); err != nil {
		return fmt.Errorf("base: %w", err)
	}
	if err := d.Fixed.CheckKept(); err != nil {
		return fmt.Errorf("fixed: %w", err)
	}
	return nil
}

// trial links the object at a made-up place to prove that every field can be
// filled and every entry be reached.
func trial(base *image.Image, img *patch.Image, o *patch.Object) error {
	bias := uint64(0x5555_5555_4000)
	if !base.PIE {
		bias = 0
	}
	end := uint64(0)
	for _, l := range base.Loads {
		end = max(end, uint64(l.Addr)+l.Mem)
	}
	p := link.Place{Bias: bias, Span: (bias + end + 1<<21) &^ (pageSize - 1)}
	anywhere := func(string, string) (uint64, error) { return 0x7fff_f000_0000, nil }
	if _, err := link.Link(o, p, anywhere); err != nil {
		return err
	}
	_, err := link.Entries(img, o, p)
	return err
}
