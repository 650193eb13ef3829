package build

import (
	"fmt"
	"slices"
	"strings"

	"hotpatch/internal/diff"
	"hotpatch/internal/image"
	"hotpatch/internal/types"
)

// judge finds what speaks against a pair of images apart from single
// functions.
type judge struct {
	d     *diff.Diff
	c     *carrier
	e     *emitter
	r     *reasons
	types evidence

	versions [2]string // base, fixed
}

func (j *judge) all() {
	j.compiler()
	j.startFiles()
	j.unwindData()
	j.layout()
	j.ownership()
	j.brackets()
	j.newCallbacks()
	j.startup()
	j.once()
	j.resolvers()
	j.exports()
	j.unreached()
	j.gonePointers()
	j.initialValues()
	j.neverReturns()
	j.coroutines()
	j.insides()
	j.renumbered()
	j.offsets()
	j.libraries()
	j.guards()
	j.pairs()
}

// count tells how many functions of the fixed image there are, and how many
// differ. Fragments belong to their functions.
func count(d *diff.Diff) (all, differ int) {
	for _, f := range d.Fixed.Funcs {
		if f.Fragment || f.Source == image.FromGap {
			continue
		}
		all++
		if s, _ := d.State(f); s == diff.Changed || s == diff.New {
			differ++
		}
	}
	return all, differ
}

// Changes of more than a quarter of a program that has some functions are no
// usual fix. Either the fix is a large one, or another compiler (or other
// options) made the fixed image.
const (
	fewFunctions  = 40
	compilerShare = 4
)

// compiler tells these two apart. Where the compiler is another one, hardly a
// function of some length comes out the same (none of 40 in jbig2dec, 17 of
// 178 in lightdm), and often the start-up code differs too; large fixes by the
// same compiler leave every third or second such function as it was.
func (j *judge) compiler() {
	all, differ := count(j.d)
	if all < fewFunctions || differ*compilerShare <= all {
		return
	}
	equal, long := j.longFunctions()
	if j.sameStartFiles() && long >= fewLong && equal*compilerShare >= long {
		j.r.add(muchChanged, "", "%d of %d functions differ; the compiler is the same, for %d of the %d functions of %d instructions and more came out equal",
			differ, all, equal, long, longFunction)
		// Other options of the same compiler look like that, too (-O3).
		j.twofold(fmt.Sprintf("%d of %d functions differ", differ, all), func(function, format string, args ...any) { j.r.add(rebuiltCompiler, function, format, args...) })
		return
	}
	j.recompiled(fmt.Sprintf("%d of %d functions differ, and only %d of the %d functions of %d instructions and more came out equal: another compiler or other options made it",
		differ, all, equal, long, longFunction))
}

// A function of so many instructions does not come out the same by accident;
// and so many of them are needed to say anything.
const (
	longFunction = 60
	fewLong      = 8
)

// longFunctions tells how many long functions there are, and how many of them
// are the same.
func (j *judge) longFunctions() (equal, long int) {
	for _, f := range j.d.Fixed.Funcs {
		if f.Fragment || f.Source == image.FromGap || f.Insts < longFunction {
			continue
		}
		long++
		if s, _ := j.d.State(f); s == diff.Same || s == diff.Noise {
			equal++
		}
	}
	return equal, long
}

// sameStartFiles says whether the code that the compiler's own files bring
// (crtstuff; it has no unwind data) is the same.
func (j *judge) sameStartFiles() bool { return len(j.startCode()) == 0 }

// startCode are the changed functions without unwind data that run only while
// the image is loaded or unloaded: those of the compiler's own files.
func (j *judge) startCode() map[*diff.Func]bool {
	out := map[*diff.Func]bool{}
	for _, f := range j.d.Startup() {
		if f.Source == image.FromGap {
			out[f] = true
		}
	}
	return out
}

// startFiles names another compiler where it shows only in what it brings.
func (j *judge) startFiles() {
	if n := len(j.startCode()); n > 0 && !j.r.has(rebuiltCompiler) && !j.r.has(otherCompiler) {
		j.recompiled(fmt.Sprintf("the start-up code that the compiler itself brings differs (%d functions): it was built by another compiler", n))
	}
}

// unwindData: code that nothing describes can be neither bounded nor unwound,
// so it cannot be replaced. Where a symbol gives its bounds, every word of
// every stack is looked at instead: that misses nothing, but what was left on
// a stack by an earlier call keeps a process busy.
func (j *judge) unwindData() {
	start := j.startCode()
	for _, f := range j.d.Fixed.Funcs {
		s, why := j.d.State(f)
		if s != diff.Changed && s != diff.New || start[f] {
			continue
		}
		switch f.Source {
		case image.FromGap:
			j.r.add(noUnwindData, label(j.d, f), "code without unwind data is %s (%s)", s, why)
		case image.FromSymbol:
			j.r.add(symbolBounds, label(j.d, f), "only its symbol tells where it ends; it has no unwind data")
		}
	}
	for _, f := range j.d.Base.Funcs {
		if g := j.entersReplaced(f); g != nil {
			j.r.add(noUnwindData, g.Name(), "code without unwind data at %s goes on in the middle of it, and would in its old version", hexAddr(f.Lo))
		}
	}
	for _, f := range j.d.Gone() {
		if f.Source == image.FromGap {
			j.r.add(noUnwindData, f.Name(), "code without unwind data is gone")
		}
	}
}

// entersReplaced is a base function that is replaced and into the middle of which
// code leads that nothing describes.
func (j *judge) entersReplaced(f *diff.Func) *diff.Func {
	if f.Source != image.FromGap || f.Bad > 0 {
		return nil
	}
	for k := range f.Refs {
		r := &f.Refs[k]
		if r.Class != image.Text || r.Kind == diff.Access {
			continue
		}
		g := j.d.Base.At(r.Target)
		if g == nil || g == f || r.Target == g.Lo {
			continue
		}
		if h := j.d.FixedOf(g); h != nil && j.c.in[h] {
			return g
		}
	}
	return nil
}

// layout: live objects have the base image's layout.
func (j *judge) layout() {
	for _, l := range j.d.VTables() {
		j.r.add(layoutChanged, "", "%s %s", l.Type, l.Detail)
	}
	found, known, err := j.layouts()
	if err != nil {
		j.r.add(layoutUnverified, "", "not all types could be read: %v", err)
	}
	switch {
	case known:
		for _, l := range found {
			code := layoutChanged
			switch {
			case l.Padding:
				code = layoutPadding
			case l.Local:
				code = enumChanged
			case l.Enum:
				code = enumRenumbered
			}
			j.r.add(code, "", "%s: %s", l.Type, l.Detail)
		}
		if j.verified() {
			j.allocations(found, "")
			return
		}
	case err == nil:
		j.r.add(layoutUnverified, "", "without debug information on both sides nobody has compared the types")
	}
	evidence := j.d.Drift(j.r.has(otherCompiler))
	if evidence != "" {
		j.r.add(layoutChanged, "", "%s", evidence)
	}
	j.allocations(found, evidence)
	if steps := j.d.Steps(); len(steps) > 0 {
		j.r.add(mapStep, "", "variables behind %#x moved by %+d bytes, those before it by %+d (%d such steps): a variable came, went, grew or shrank there",
			uint64(steps[0].Fixed), steps[0].To, steps[0].From, len(steps))
	}
}

// allocations: buffers that live have the size that old code asked for. What is the
// size of a struct that changed is told of the struct, and nothing twice.
func (j *judge) allocations(found []types.Difference, told string) {
	if j.r.has(otherCompiler) || j.r.has(rebuiltCompiler) {
		return // other code hands other constants to others: recompiled looks at sets of them
	}
	for _, a := range j.d.Allocations() {
		if strings.Contains(told, a.String()) {
			continue
		}
		if !slices.ContainsFunc(found, func(l types.Difference) bool { return a.Of(l.Was, l.Is) }) {
			j.r.add(allocChanged, label(j.d, a.Func), "it %s", a.Change())
		}
	}
}

// startup: what has already run cannot be replaced.
func (j *judge) startup() {
	for _, f := range j.d.Startup() {
		s, _ := j.d.State(f)
		if f.Source == image.FromGap {
			continue // startFiles
		}
		j.r.add(startupChanged, label(j.d, f), "it is %s and runs only while the program starts or ends", s)
	}
	if !j.d.SameStarters() {
		j.r.add(startupChanged, "", "the lists of functions to run at start and end differ")
	}
}

// once: what runs once in a process has run in those that live, as a rule.
func (j *judge) once() {
	if j.r.has(otherCompiler) || j.r.has(rebuiltCompiler) {
		return // all of it differs
	}
	for _, o := range j.d.Once() {
		switch {
		case o.Part:
			j.r.add(runsOnce, label(j.d, o.Func), "its code differs that fills a static variable (%s), which happens once", o.Via)
		case o.Via != "":
			j.r.add(runsOnce, label(j.d, o.Func), "%s has it run once (%s)", label(j.d, o.By), o.Via)
		default:
			j.r.add(runsOnce, label(j.d, o.Func), "only %s calls it, outside of loops, and runs once itself", label(j.d, o.By))
		}
	}
}

// unreached: a new function that nothing carried leads to is reached in some
// way that was not understood, and so would be missing; so would the new
// version of a function that is gone but stays in a table.
func (j *judge) unreached() {
	split := map[*diff.Func]bool{}
	for _, s := range j.d.Splits() {
		for _, f := range s.Others {
			split[f] = true
			j.r.add(functionSplit, label(j.d, s.Fixed), "it replaces %s everywhere, but in some tables of the fixed program %s stands in its place", s.Base.Name(), label(j.d, f))
		}
	}
	used := usedByOld(j.d)
	for _, f := range j.d.Fixed.Funcs {
		s, _ := j.d.State(f)
		if s == diff.New && !j.c.in[f] && !split[f] && f.Source == image.FromFDE && used[f] {
			j.r.add(unreachedNew, label(j.d, f), "it is new, and nothing that is carried leads to it")
		}
	}
	inTable := map[*diff.Func]bool{}
	for i := range j.d.Base.Relocs {
		if t, ok := diff.Pointee(&j.d.Base.Relocs[i]); ok {
			if f := j.d.Base.Entry(t); f != nil {
				inTable[f] = true
			}
		}
	}
	for _, f := range j.d.Gone() {
		if inTable[f] && f.Source != image.FromGap {
			j.r.add(unreachedNew, f.Name(), "it has no counterpart, but stays in a table of the running program")
		}
	}
}

// gonePointers: the address of a function may live in objects on the heap.
func (j *judge) gonePointers() {
	taken := map[*diff.Func]bool{}
	for _, f := range j.d.Base.Funcs {
		for k := range f.Refs {
			if r := &f.Refs[k]; r.Kind == diff.Lea && r.Class == image.Text {
				if g := j.d.Base.Entry(r.Target); g != nil && g != f {
					taken[g] = true
				}
			}
		}
	}
	for _, f := range j.d.Gone() {
		if taken[f] && f.Source == image.FromFDE {
			j.r.add(pairingUncertain, f.Name(), "it has no counterpart, but pointers to it may live in memory and would go on calling it")
		}
	}
}

// usedByOld are the fixed functions that a table or a function that is not new
// refers to. New code that only other such code uses is dead: linked in, but
// not for this program. So are new exports that nothing inside uses.
func usedByOld(d *diff.Diff) map[*diff.Func]bool {
	out := map[*diff.Func]bool{}
	for i := range d.Fixed.Relocs {
		if t, ok := diff.Pointee(&d.Fixed.Relocs[i]); ok && d.Fixed.Relocs[i].Sym == "" {
			if f := d.Fixed.Entry(t); f != nil {
				out[f] = true
			}
		}
	}
	for _, f := range d.Fixed.Funcs {
		if s, _ := d.State(f); s == diff.New {
			continue
		}
		for k := range f.Refs {
			if f.Refs[k].Class == image.Text {
				if g := d.Fixed.At(f.Refs[k].Target); g != nil && g != f {
					out[g] = true
				}
			}
		}
	}
	return out
}

func (j *judge) initialValues() {
	for _, v := range j.d.InitialValues(j.bound()...) {
		if v.Section {
			j.r.add(dataInitChanged, "", "the initial content of the section %s (%d bytes) changed; running programs keep the one they have", v.Name, v.Size)
			continue
		}
		j.r.add(dataInitChanged, "", "the initial value of the variable %s (%d bytes) changed; running programs keep the one they have", v.Name, v.Size)
	}
	for _, v := range j.d.ExportedConstants() {
		j.r.add(dataInitChanged, "", "the exported constant %s changed; programs and libraries that use it keep the one they have", v.Name)
	}
}

// bound are the variables and tables of the base image that carried code uses,
// also by way of the GOT.
func (j *judge) bound() (out []diff.Value) {
	add := func(to image.Addr, b diff.Binding) {
		if b.OK() {
			out = append(out, diff.Value{Base: b.Base, Fixed: to})
		}
	}
	uses := func(c image.Class) bool { return c.Writable() || c == image.RelRO }
	for _, f := range j.c.list {
		for k := range f.Refs {
			r := &f.Refs[k]
			switch {
			case uses(r.Class):
				add(r.Target, j.d.Bind(f, k))
			case r.Class == image.GOT:
				if q := j.d.Fixed.RelocAt(r.Target); q != nil {
					if t, ok := diff.Pointee(q); ok && uses(j.d.Fixed.ClassAt(t)) {
						add(t, j.d.Map(t))
					}
				}
			}
		}
	}
	return out
}

// neverReturns: main is on the stack for as long as the program runs, so its
// new version could never be put in place.
func (j *judge) neverReturns() {
	m := j.d.Fixed.Main()
	if m == nil || !j.c.in[m] {
		return
	}
	if state, _ := j.d.State(m); state != diff.Changed {
		return
	}
	j.r.add(neverReturns, label(j.d, m), "it is running for as long as the program is, so it would be busy for ever")
}

// pairs: a changed function that only its place in the order and some
// similarity identify may be another one.
func (j *judge) pairs() {
	for _, f := range j.c.list {
		a := j.d.BaseOf(f)
		if a == nil || f.Fragment {
			continue
		}
		if certain, how := j.d.Paired(f); !certain {
			j.r.add(pairingUncertain, label(j.d, f), "it is taken to replace %s only by %s", a.Name(), how)
		}
	}
}
