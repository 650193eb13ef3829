package diff

import (
	"slices"

	"hotpatch/internal/image"
)

// A structure that only ever lives on the stack of carried functions may have
// any layout: while one of them runs, a process is busy and not patched, and
// when none runs there is no such structure. (The just-in-time compiler of
// PCRE2 keeps all its state in one.)

// confines proves that for pointers of the fixed image: it follows them from
// where they are used, through arguments, to the frames they lead into.
type confines struct {
	d       *Diff
	traces  map[*Func]*trace
	callers map[*Func][]callSite // of the functions that only calls reach
	known   map[argument]bool    // while in work: taken to be so
}

type argument struct {
	f *Func
	n int
}

type callSite struct {
	f  *Func
	at image.Addr
}

func (d *Diff) confines() *confines {
	c := &confines{d: d, traces: map[*Func]*trace{}, callers: map[*Func][]callSite{}, known: map[argument]bool{}}
	open := map[*Func]bool{}
	for i := range d.Fixed.Relocs {
		if t, ok := Pointee(&d.Fixed.Relocs[i]); ok {
			if g := d.Fixed.At(t); g != nil {
				open[g] = true
			}
		}
	}
	for _, f := range d.Fixed.Funcs {
		if d.exported(f) || f.Source == image.FromGap {
			open[f] = true
		}
		for k := range f.Refs {
			r := &f.Refs[k]
			g := d.Fixed.At(r.Target)
			if r.Class != image.Text || g == nil || g == f {
				continue
			}
			if r.Kind == Lea || r.Kind == Access || r.Target != g.Lo && !slices.Contains(d.parts[f], g) {
				open[g] = true
				continue
			}
			if r.Target == g.Lo {
				c.callers[g] = append(c.callers[g], callSite{f, f.Lo + image.Addr(r.At)})
			}
		}
	}
	for g := range open {
		delete(c.callers, g)
	}
	return c
}

// traceOf is the analysis of f, nil when what is known at its start is not
// certain: it is one piece of code with another function.
func (c *confines) traceOf(f *Func) *trace {
	if t, ok := c.traces[f]; ok {
		return t
	}
	var t *trace
	if !slices.ContainsFunc(c.d.parts[f], func(g *Func) bool { return !g.Fragment }) && !f.Fragment {
		t = traceOf(c.d.Fixed, f, c.d.parts[f], func(*Func, int) int { return -1 })
	}
	c.traces[f] = t
	return t
}

// pointer says whether register r at the instruction at leads into the frame of
// a carried function.
func (c *confines) pointer(f *Func, at image.Addr, r int) bool {
	if f.Fragment {
		i := slices.IndexFunc(c.d.parts[f], func(g *Func) bool { return !g.Fragment })
		if i < 0 {
			return false
		}
		f = c.d.parts[f][i]
	}
	t := c.traceOf(f)
	if t == nil {
		return false
	}
	i, ok := t.index[at]
	return ok && c.all(f, t.before(i, r))
}

// all says whether every place that p allows is such a frame.
func (c *confines) all(f *Func, p provenance) bool {
	if s := c.d.state[f.Index]; p&fromStack != 0 && s != Changed && s != New {
		return false
	}
	if p&^(1<<firstTracked-2) != 0 { // elsewhere, or an address
		return false
	}
	for n := range arguments {
		if p&fromArgument(n) != 0 && !c.argument(f, n) {
			return false
		}
	}
	return true
}

// argument says whether all callers of f hand over such a pointer.
func (c *confines) argument(f *Func, n int) bool {
	key := argument{f, n}
	if ok, done := c.known[key]; done {
		return ok
	}
	c.known[key] = true
	ok := len(c.callers[f]) > 0
	for _, s := range c.callers[f] {
		ok = ok && c.pointer(s.f, s.at, argumentRegisters[n])
	}
	c.known[key] = ok
	return ok
}
