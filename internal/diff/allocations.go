package diff

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Which buffers are of another size than before? Types say nothing of those:
// malloc(64) became malloc(256), all that writes there goes by the new size, and
// the buffers that live have the old one. Only sizes that are constants tell.

// Allocation is one constant that a changed function hands to an allocator in
// place of another one.
type Allocation struct {
	Func     *Func // fixed
	Name     string
	From, To int64 // bytes; of one element where the count is not constant
	Elements bool  // bytes of each element
	Over     bool  // bytes besides what is computed
}

func (a Allocation) String() string { return a.Name + " " + a.Change() }

// Change is what the function does otherwise.
func (a Allocation) Change() string {
	if a.Over {
		by, more := a.To-a.From, "more"
		if by < 0 {
			by, more = -by, "less"
		}
		return fmt.Sprintf("allocates %d bytes %s than before for the same computed size, and another changed function counts on that", by, more)
	}
	each := ""
	if a.Elements {
		each = " for each element"
	}
	return fmt.Sprintf("allocates %d bytes%s instead of %d", a.To, each, a.From)
}

// Of says that the sizes are those of structs, of which each had was bytes and has is.
func (a Allocation) Of(was, is int64) bool {
	return !a.Over && was > 0 && is > 0 && a.From%was == 0 && a.From/was*is == a.To
}

// Allocations are the sizes that changed, by function. Those that only went from
// one function to another are not among them.
func (d *Diff) Allocations() []Allocation { return d.allocations }

// sized is what one call allocates.
type sized struct {
	bytes    int64
	elements bool
	by       string // what allocates; "" for the C library and C++
	over     string // what the bytes are added to; "" for nothing
}

func compareSized(a, b sized) int {
	e := func(s sized) int {
		if s.elements {
			return 1
		}
		return 0
	}
	return cmp.Or(strings.Compare(a.by, b.by), strings.Compare(a.over, b.over), cmp.Compare(e(a), e(b)), cmp.Compare(a.bytes, b.bytes))
}

func (d *Diff) findAllocations() []Allocation {
	var all []resizedIn
	l := &allocators{d: d, forms: map[*Func]sizing{}}
	var come, gone []sized // of functions without counterpart
	for i, b := range d.Fixed.Funcs {
		a := d.baseOf[i]
		switch {
		case !b.described(), d.state[i] != Changed && d.state[i] != New:
		case a == nil:
			come = append(come, l.of(d.Fixed, b)...)
		case a.Hash != b.Hash && !d.uncertain[i]:
			x, y := l.of(d.Base, a), l.of(d.Fixed, b)
			if r := (resizedIn{b, lackingOf(x, y), lackingOf(y, x)}); len(r.gone)+len(r.come) > 0 {
				all = append(all, r)
			}
		}
	}
	if !slices.ContainsFunc(all, func(r resizedIn) bool { return len(r.gone) > 0 && len(r.come) > 0 }) {
		return nil
	}
	for i, a := range d.Base.Funcs {
		if d.fixedOf[i] == nil && a.described() {
			gone = append(gone, l.of(d.Base, a)...)
		}
	}
	for _, r := range all {
		gone, come = append(gone, r.gone...), append(come, r.come...)
	}
	slices.SortFunc(gone, compareSized)
	slices.SortFunc(come, compareSized)
	stay := [2][]sized{lackingOf(gone, come), lackingOf(come, gone)}
	var out []Allocation
	for _, r := range all {
		for _, from := range r.gone {
			if !slices.Contains(stay[0], from) {
				continue
			}
			k := nearest(r.come, from, stay[1])
			if k < 0 {
				continue
			}
			if from.over == "" || d.relied(r.fn, r.come[k].bytes-from.bytes) {
				out = append(out, Allocation{r.fn, d.name(r.fn), from.bytes, r.come[k].bytes, from.elements, from.over != ""})
			}
			r.come = slices.Delete(r.come, k, k+1)
		}
	}
	return out
}

// nearest is the index of the size that is most likely instead of from: the nearest
// of one allocator, among those that did not come from another function; else -1.
func nearest(come []sized, from sized, stay []sized) int {
	best, least := -1, int64(0)
	for k, to := range come {
		by := max(to.bytes-from.bytes, from.bytes-to.bytes)
		if to.by == from.by && to.over == from.over && to.elements == from.elements && slices.Contains(stay, to) && (best < 0 || by < least) {
			best, least = k, by
		}
	}
	return best
}

// resizedIn are the sizes that a function allocates no more, and those that it
// did not before.
type resizedIn struct {
	fn         *Func
	gone, come []sized
}

// lackingOf are the elements of x that y has less often; both are sorted.
func lackingOf(x, y []sized) []sized {
	var out []sized
	for i, j := 0, 0; i < len(x); {
		switch {
		case j == len(y) || compareSized(x[i], y[j]) < 0:
			out = append(out, x[i])
			i++
		case compareSized(x[i], y[j]) > 0:
			j++
		default:
			i, j = i+1, j+1
		}
	}
	return out
}

// allocators knows which functions allocate, and what they are told.
type allocators struct {
	d     *Diff
	forms map[*Func]sizing // of both images
}

// sizing are the arguments of an allocator that multiplied with times are the size;
// none: it is not known to be one.
type sizing struct {
	args  []int
	times int64
}

// of are the sizes that f allocates, sorted: constants, and what is added to something.
func (l *allocators) of(c *Code, f *Func) []sized {
	var out []sized
	l.d.handed(c, f, func(t *token, regs *holding) {
		if !calls(t) {
			return
		}
		form, by := l.called(c, &f.Refs[t.ref])
		if form.args == nil && by != "" {
			form = sizing{likely(regs), 1}
		}
		s := sized{bytes: form.times, by: by}
		if len(form.args) == 1 && form.times == 1 {
			if h := regs.argument(form.args[0]); h.is != heldNumber {
				if s.bytes, s.over = h.off, l.over(c, h); s.over != "" {
					out = append(out, s)
				}
				return
			}
		}
		numbers := 0
		for _, n := range form.args {
			if h := regs.argument(n); h.is == heldNumber {
				s.bytes *= h.n
				numbers++
			}
		}
		s.elements = numbers < len(form.args)
		// A count of one byte each is none; nor has anything no bytes.
		if numbers > 0 && s.bytes > 0 && !(s.elements && s.bytes == 1) {
			out = append(out, s)
		}
	})
	slices.SortFunc(out, compareSized)
	return out
}

// calls: a call, or a jump, to where a reference says.
func calls(t *token) bool { return t.ref >= 0 && (t.in.IsCall() || t.in.IsJump()) }

// likely is the argument of an allocator of unknown form that may be the size:
// the first but for a pool to take it from.
func likely(regs *holding) []int {
	const least = 16 // less may be flags
	for n := range 2 {
		if h := regs.argument(n); h.is == heldNumber && h.n >= least {
			return []int{n}
		}
	}
	return nil
}

// called says how what a reference calls allocates. by is what is known by its name alone, or
// hands the size on.
func (l *allocators) called(c *Code, r *Ref) (form sizing, by string) {
	name, g := c.called(r)
	if g != nil && sizeOf(name) == nil {
		if form = l.passes(c, g, 0); form.args != nil {
			if name == "" {
				name = l.d.label(c, g)
			}
			return form, name
		}
	}
	if form := sizeOf(name); form != nil {
		return sizing{form, 1}, ""
	}
	if lower := strings.ToLower(name); strings.Contains(lower, "alloc") && !strings.Contains(lower, "dealloc") && !strings.Contains(lower, "free") {
		return sizing{}, name
	}
	return sizing{}, ""
}

// label is what a function without a symbol is called in both images.
func (d *Diff) label(c *Code, f *Func) string {
	if c == d.Fixed && d.baseOf[f.Index] != nil {
		f = d.baseOf[f.Index]
	}
	return fmt.Sprintf("fn_%x", uint64(f.Lo))
}

// passes says which arguments g hands on to an allocator as the size.
func (l *allocators) passes(c *Code, g *Func, depth int) sizing {
	const short, deep = 100, 3
	if form, known := l.forms[g]; known {
		return form
	}
	if g.Insts > short || depth >= deep {
		return sizing{}
	}
	l.forms[g] = sizing{} // while it is looked at: it may call itself
	var out sizing
	l.d.handed(c, g, func(t *token, regs *holding) {
		if out.args != nil || !calls(t) {
			return
		}
		r := &g.Refs[t.ref]
		var form sizing
		if name, h := c.called(r); h == nil {
			form, _ = l.called(c, r)
		} else if form = (sizing{sizeOf(name), 1}); form.args == nil && h != g {
			form = l.passes(c, h, depth+1)
		}
		is := sizing{times: form.times}
		for _, n := range form.args {
			switch h := regs.argument(n); h.is {
			case heldArgument:
				is.args = append(is.args, int(h.n))
			case heldNumber:
				is.times *= h.n
			default:
				return
			}
		}
		out = is
	})
	l.forms[g] = out
	return out
}

// sizeOf are the arguments of an allocator by name that multiplied are the size.
func sizeOf(name string) []int {
	if form, ok := sizeArguments[name]; ok {
		return form
	}
	if isNew(name) {
		return sizeArguments["malloc"]
	}
	return nil
}

// isNew: operator new and new[], also aligned and those that throw nothing.
func isNew(name string) bool {
	return strings.HasPrefix(name, "_Znwm") || strings.HasPrefix(name, "_Znam")
}

// sizeArguments are those of C libraries and a few others.
var sizeArguments = map[string][]int{
	"malloc": {0}, "valloc": {0}, "pvalloc": {0}, "calloc": {0, 1}, "realloc": {1}, "reallocarray": {1, 2},
	"aligned_alloc": {1}, "memalign": {1}, "posix_memalign": {2}, "mmap": {1}, "mmap64": {1}, "mremap": {2},
	"g_malloc": {0}, "g_malloc0": {0}, "g_try_malloc": {0}, "g_try_malloc0": {0}, "g_realloc": {1}, "g_try_realloc": {1},
	"g_malloc_n": {0, 1}, "g_malloc0_n": {0, 1}, "g_realloc_n": {1, 2}, "g_slice_alloc": {0}, "g_slice_alloc0": {0},
	"apr_palloc": {1}, "CRYPTO_malloc": {0}, "CRYPTO_zalloc": {0}, "CRYPTO_realloc": {1}, "CRYPTO_secure_malloc": {0}, "CRYPTO_secure_zalloc": {0},
	"xmlMalloc": {0}, "xmlRealloc": {1}, "Curl_cmalloc": {0}, "Curl_ccalloc": {0, 1}, "Curl_crealloc": {1},
}
