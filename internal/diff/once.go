package diff

import (
	"slices"
	"strings"

	"hotpatch/internal/image"
)

// Which changed code has had its turn? What main calls before it gets to work, the
// routine of pthread_once, and what fills a static variable of a function run once in
// a process. Where they have run, their new version never does.

// Once is a changed function, or code in one, that runs once in a process.
type Once struct {
	Func *Func  // fixed
	By   *Func  // what calls it, or hands it to Via
	Via  string // what sees to it that it runs once: "pthread_once"; "": By runs once itself
	Part bool   // only the code of Func that Via guards
}

// Once are those that nothing but main, or code that runs once itself, calls, at a
// place that is in no loop; routines handed to pthread_once and its kin, with what
// only they call; and functions of which the code differs that fills a static
// variable. What has still to come, as the end of main, is not told from what has run.
func (d *Diff) Once() []Once { return d.once }

func (d *Diff) findOnce() []Once {
	w := &onceCode{d: d, c: d.Fixed, users: make([]int, len(d.Fixed.Funcs)), found: make([]*Once, len(d.Fixed.Funcs)), loops: map[*Func]bool{},
		flows: map[*Func]*flow{}, forks: map[*Func]bool{}, again: map[*Func]bool{}}
	changed := slices.Contains(d.state, Changed)
	if !changed {
		return nil
	}
	w.countUsers()
	w.handedOver()
	w.guarded()
	for _, f := range d.Fixed.Starters() {
		if w.users[f.Index] == 0 && !f.Fragment {
			w.marks(f, &Once{Func: f}, true)
		}
	}
	if m := d.Fixed.Main(); m != nil && !d.Fixed.Library {
		w.marks(m, &Once{Func: m}, false)
	}
	for len(w.work) > 0 {
		f := w.work[len(w.work)-1]
		w.work = w.work[:len(w.work)-1]
		w.follow(f)
	}
	var out []Once
	for i, f := range d.Fixed.Funcs {
		if o := w.found[i]; o != nil && o.By != nil && d.changedWhole(f) && !d.starting[i] {
			out = append(out, *o)
		}
	}
	return append(out, w.refilled()...)
}

// changedWhole: f differs, or a cold part of it.
func (d *Diff) changedWhole(f *Func) bool {
	return d.state[f.Index] == Changed && d.baseOf[f.Index] != nil
}

// onceCode finds what runs once in the fixed image.
type onceCode struct {
	d     *Diff
	c     *Code
	users []int   // references that are not known to come from what runs once, by function
	found []*Once // by function
	loops map[*Func]bool
	work  []*Func
	flows map[*Func]*flow
	forks map[*Func]bool // may lead to fork
	again map[*Func]bool // may lead to fork time and again
}

// marks says that f runs once; whole: with its loops, while others wait for it.
func (w *onceCode) marks(f *Func, o *Once, whole bool) {
	if w.found[f.Index] != nil {
		return
	}
	w.found[f.Index] = o
	w.loops[f] = whole
	w.work = append(w.work, f)
}

// whole is the function that a cold part is one code with.
func (w *onceCode) whole(f *Func) *Func {
	if !f.Fragment {
		return f
	}
	for _, g := range w.d.parts[f] {
		if !g.Fragment {
			return g
		}
	}
	return f
}

// leads goes through the references of f and its cold parts to other functions.
func (w *onceCode) leads(f *Func, visit func(in *Func, r *Ref, to *Func)) {
	pieces := []*Func{f}
	for _, g := range w.d.parts[f] {
		if g.Fragment {
			pieces = append(pieces, g)
		}
	}
	for _, p := range pieces {
		for k := range p.Refs {
			if p.Refs[k].Class != image.Text {
				continue
			}
			if g := w.c.At(p.Refs[k].Target); g != nil && w.whole(g) != f {
				visit(p, &p.Refs[k], w.whole(g))
			}
		}
	}
}

func (w *onceCode) countUsers() {
	for _, f := range w.c.Funcs {
		if f.Fragment && w.whole(f) != f {
			continue
		}
		w.leads(f, func(_ *Func, _ *Ref, to *Func) { w.users[to.Index]++ })
		if len(f.Names) > 0 && w.d.exported(f) {
			w.users[f.Index]++
		}
	}
	for i := range w.c.Relocs {
		if t, ok := Pointee(&w.c.Relocs[i]); ok && w.c.ClassAt(w.c.Relocs[i].At) != image.Init {
			if g := w.c.At(t); g != nil {
				w.users[w.whole(g).Index]++
			}
		}
	}
}

// used takes one user from f, which runs once, and marks f where that was the last.
func (w *onceCode) used(f *Func, o Once, whole bool) {
	if w.users[f.Index]--; w.users[f.Index] == 0 {
		w.marks(f, &o, whole)
	}
}

// follow looks at what f calls, which runs once.
func (w *onceCode) follow(f *Func) {
	whole := w.loops[f]
	var once func(image.Addr) bool
	w.leads(f, func(in *Func, r *Ref, to *Func) {
		if r.Kind != Call && r.Kind != Jump || r.Target != to.Lo {
			return
		}
		if !whole && w.users[to.Index] > 0 {
			if once == nil {
				once = w.onlyOnce(f)
			}
			if !once(in.Lo + image.Addr(r.At)) {
				return
			}
		}
		w.used(to, Once{Func: to, By: f}, whole)
	})
}

// onceNames: the second argument of these is called once.
func onceName(name string) bool {
	return strings.HasSuffix(name, "_once") || name == "call_once" || name == "g_once_impl"
}

// handedOver finds the routines that are handed to pthread_once and its kin, and to
// nobody else.
func (w *onceCode) handedOver() {
	for _, f := range w.c.Funcs {
		if !w.calls(f, onceName) {
			continue
		}
		w.d.handed(w.c, f, func(t *token, regs *holding) {
			if !calls(t) {
				return
			}
			name, _ := w.c.called(&f.Refs[t.ref])
			h := regs.argument(1)
			if !onceName(name) || h.is != heldAddress {
				return
			}
			if g := w.c.Entry(image.Addr(h.n)); g != nil && !g.Fragment && g != w.whole(f) {
				w.used(g, Once{Func: g, By: w.whole(f), Via: name}, true)
			}
		})
	}
}

// calls: f calls something of such a name.
func (w *onceCode) calls(f *Func, is func(string) bool) bool {
	for k := range f.Refs {
		if r := &f.Refs[k]; r.Kind != Lea {
			if name, _ := w.c.called(r); name != "" && is(name) {
				return true
			}
		}
	}
	return false
}

// What lies between the two runs once: static variables of functions in C++ (Itanium
// C++ ABI §3.3.3), and GLib's form of them.
const (
	guardAcquire = "__cxa_guard_acquire"
	onceEnter    = "g_once_init_enter"
)

func guards(name string) bool { return name == guardAcquire || strings.HasPrefix(name, onceEnter) }
func releases(name string) bool {
	return name == "__cxa_guard_release" || strings.HasPrefix(name, "g_once_init_leave")
}

// guarded finds what is called by such code alone.
func (w *onceCode) guarded() {
	for _, f := range w.c.Funcs {
		if f.Fragment && w.whole(f) != f || !w.calls(f, guards) {
			continue
		}
		in, via := w.flow(w.c, f).between(w.c)
		w.leads(f, func(p *Func, r *Ref, to *Func) {
			if (r.Kind == Call || r.Kind == Jump) && r.Target == to.Lo && in[p.Lo+image.Addr(r.At)] {
				w.used(to, Once{Func: to, By: f, Via: via}, true)
			}
		})
	}
}

// refilled are changed functions of which the code that is guarded so differs.
func (w *onceCode) refilled() (out []Once) {
	for i, f := range w.c.Funcs {
		a := w.d.baseOf[i]
		if a == nil || f.Fragment || w.d.state[i] != Changed || w.found[i] != nil || !w.calls(f, guards) {
			continue
		}
		x, y := w.flow(w.d.Base, a), w.flow(w.c, f)
		was, _ := x.between(w.d.Base)
		is, via := y.between(w.c)
		if len(was) > 0 && len(is) > 0 && !w.d.sameSteps(a, f, x.within(was), y.within(is)) {
			out = append(out, Once{Func: f, By: f, Via: via, Part: true})
		}
	}
	return out
}

// sameSteps: instructions of two versions use the same numbers and refer to the same
// things, one after the other.
func (d *Diff) sameSteps(a, b *Func, x, y []*step) bool {
	tell := func(c *Code, f *Func, steps []*step) (refs []*Ref, numbers []int64) {
		for _, s := range steps {
			g := c.At(s.at)
			k := 0
			if g != nil {
				k, _ = slices.BinarySearchFunc(g.Refs, uint32(s.at-g.Lo), func(r Ref, at uint32) int { return int(int64(r.At) - int64(at)) })
			}
			switch {
			case g != nil && k < len(g.Refs) && g.Refs[k].At == uint32(s.at-g.Lo):
				if r := &g.Refs[k]; r.Class != image.Text || r.Kind == Call || r.Kind == Lea {
					refs = append(refs, r)
				}
				if s.in.ImmLen > 0 && !s.in.Rel {
					numbers = append(numbers, s.in.Imm(s.code))
				}
			case s.in.ImmLen > 0 && !s.in.Rel: // but for the size of the frame
				if _, rm := s.in.Named(s.code); rm != rsp {
					numbers = append(numbers, s.in.Imm(s.code))
				}
			}
		}
		return refs, numbers
	}
	p, m := tell(d.Base, a, x)
	q, n := tell(d.Fixed, b, y)
	owner := [2]*Func{a, b}
	return slices.Equal(m, n) && slices.EqualFunc(p, q, func(p, q *Ref) bool {
		same, _ := d.sameRef(p, q, &owner)
		return same && p.Kind == q.Kind
	})
}
