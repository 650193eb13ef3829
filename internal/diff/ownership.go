package diff

import (
	"cmp"
	"regexp"
	"slices"
	"strings"
	"sync"

	"hotpatch/internal/image"
)

// Handover says that the changed code seems to give a pointer another owner:
// objects that old code filled would be freed wrongly by new code.
type Handover struct {
	Frees  *Func  // changed; frees the member
	Stores *Func  // changed; what it stores there has another source. May be Frees
	Freed  *Func  // instead of Stores: it freed the member before, and no longer does
	Place  Held   // what holds the pointer
	Callee string // what frees
	Was    string // where the pointer came from: functions, "elsewhere"
	Is     string
}

// Held is what holds a pointer: a variable, or a member of some object.
type Held struct {
	Variable image.Addr // of the base image; 0: a member
	Offset   int64      // of the member in its object, bytes
}

// Handovers looks through the changed code for pointers that change hands:
//
//   - one changed function frees a member (free(p->m)), and a changed function
//     stores into a member of that offset what it got from another function
//     than before: its own copy in place of a borrowed pointer, or the reverse;
//     so with a variable (free(path)) that both name;
//   - so where another function frees the member than before, and what is stored
//     there comes from another allocator: a header before the block, or a pool;
//   - one function no longer frees a member, and another one now does. (A variable
//     that functions share out otherwise is no sign: code moves between them.)
//
// Seen in libpng (CVE-2026-33416: png_struct got palettes of its own instead of
// those of png_info) and libxml2 (CVE-2022-40304: an entity's content was no
// longer of the dictionary). No comparison of layouts shows it. Registers are
// followed in straight lines only, and the type of an object is not known: a
// sign, no proof, in either direction.
func (d *Diff) Handovers() []Handover { return d.handovers }

func (d *Diff) findHandovers() []Handover {
	pairs := d.changedCustody()
	stores, frees := map[Held][]*custodyPair{}, map[Held][]*custodyPair{}
	for _, f := range pairs {
		for _, at := range f.freed() {
			frees[at] = append(frees[at], f)
		}
		for at := range f.base.store {
			if len(f.fixed.store[at]) > 0 {
				stores[at] = append(stores[at], f)
			}
		}
	}
	var out []Handover
	type told struct {
		frees *Func
		at    Held
	}
	seen := map[told]bool{}
	add := func(h Handover) {
		if t := (told{h.Frees, h.Place}); !seen[t] {
			seen[t] = true
			out = append(out, h)
		}
	}
	for _, f := range pairs {
		for _, at := range f.freed() {
			for _, g := range stores[at] {
				was, is, differs := g.origins(at, f.freesOtherwise(at))
				if differs {
					add(Handover{Frees: f.fn, Stores: g.fn, Place: at, Callee: f.frees(at), Was: was, Is: is})
				}
			}
		}
	}
	for _, f := range pairs {
		for _, at := range f.freed() {
			// Who frees a variable says little: code moves from function to function.
			if at.Variable != 0 || len(f.base.free[at]) == 0 || len(f.fixed.free[at]) != 0 {
				continue
			}
			for _, g := range frees[at] {
				if g != f && !destroys(g.frees(at)) && len(g.base.free[at]) == 0 && len(g.fixed.free[at]) != 0 {
					add(Handover{Frees: g.fn, Freed: f.fn, Place: at, Callee: g.frees(at)})
				}
			}
		}
	}
	return out
}

// custodyPair is what both versions of a function do with members.
type custodyPair struct {
	fn          *Func // fixed
	base, fixed *custody
}

// custody is what a function frees and stores, by place.
type custody struct {
	free  map[Held][]string
	store map[Held][]string // origins
}

// changedCustody are those of all functions that differ; a cold part
// counts as its parent.
func (d *Diff) changedCustody() []*custodyPair {
	var out []*custodyPair
	for i, b := range d.Fixed.Funcs {
		a := d.baseOf[i]
		if !b.described() || d.state[i] != Changed && d.state[i] != New {
			continue
		}
		p := &custodyPair{fn: b, base: newCustody(), fixed: newCustody()}
		d.followOwners(d.Fixed, b, p.fixed)
		if a != nil {
			d.followOwners(d.Base, a, p.base)
		}
		if b.Fragment {
			if k := slices.IndexFunc(out, func(o *custodyPair) bool { return slices.Contains(d.parts[b], o.fn) }); k >= 0 {
				out[k].base.merge(p.base)
				out[k].fixed.merge(p.fixed)
				continue
			}
		}
		out = append(out, p)
	}
	return out
}

func newCustody() *custody { return &custody{map[Held][]string{}, map[Held][]string{}} }

func (f *custody) merge(g *custody) {
	for at, v := range g.free {
		f.free[at] = append(f.free[at], v...)
	}
	for at, v := range g.store {
		f.store[at] = append(f.store[at], v...)
	}
}

// freed are the members and variables that either version frees.
func (p *custodyPair) freed() []Held {
	var out []Held
	for _, f := range []*custody{p.base, p.fixed} {
		for at := range f.free {
			out = append(out, at)
		}
	}
	slices.SortFunc(out, func(a, b Held) int {
		return cmp.Or(compareAddr(a.Variable, b.Variable), cmp.Compare(a.Offset, b.Offset))
	})
	return slices.Compact(out)
}

func (p *custodyPair) frees(at Held) string {
	for _, f := range []*custody{p.fixed, p.base} {
		if len(f.free[at]) > 0 {
			return f.free[at][0]
		}
	}
	return ""
}

// freesOtherwise: a place is freed by another function than before.
func (p *custodyPair) freesOtherwise(at Held) bool {
	x, y := p.base.free[at], p.fixed.free[at]
	other := func(x, y []string) bool {
		return slices.ContainsFunc(x, func(s string) bool { return !slices.Contains(y, s) && !byWay(s) && !destroys(s) })
	}
	return other(x, y) && other(y, x)
}

// origins compares where the pointers stored in a place come from. It tells
// of a difference only if an allocator's result is stored in one version and
// what somebody else owns in the other; and, where it is freed otherwise, if
// that is another allocator's.
func (p *custodyPair) origins(at Held, otherwise bool) (was, is string, differs bool) {
	x, y := unique(p.base.store[at]), unique(p.fixed.store[at])
	if len(x) == 0 || len(y) == 0 || slices.Equal(x, y) {
		return "", "", false
	}
	lost := slices.DeleteFunc(slices.Clone(x), func(s string) bool { return slices.Contains(y, s) })
	won := slices.DeleteFunc(slices.Clone(y), func(s string) bool { return slices.Contains(x, s) })
	changes := slices.ContainsFunc(lost, borrowed) && slices.ContainsFunc(y, allocated) ||
		slices.ContainsFunc(won, borrowed) && slices.ContainsFunc(x, allocated)
	if otherwise {
		own := func(s string) bool { return allocated(s) && !byWay(s) }
		changes = changes || slices.ContainsFunc(lost, own) && slices.ContainsFunc(won, own)
	}
	return strings.Join(x, ", "), strings.Join(y, ", "), changes
}

// destroys: C++ frees members in destructors, which compilers put into whatever
// function an object ends in.
func destroys(callee string) bool { return strings.HasPrefix(callee, "_Zd") }

func unique(s []string) []string {
	s = slices.Clone(s)
	slices.Sort(s)
	return slices.Compact(s)
}

const elsewhere = "elsewhere"

var (
	freeNames  = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`(?i)free|dealloc|^_Zd[la]Pv`) })
	allocNames = sync.OnceValue(func() *regexp.Regexp {
		return regexp.MustCompile(`(?i)alloc|dup|copy|clone|create|_new|new_|asprintf|^_Zn[wa]m`)
	})
)

func allocated(source string) bool {
	return source != elsewhere && allocNames().MatchString(source) && !freeNames().MatchString(source)
}

// byWay: it is known of a function without a name that it frees or allocates, but not how.
func byWay(name string) bool { return strings.HasSuffix(name, byWayOf) }

const byWayOf = " by way of a function"

func borrowed(source string) bool { return !allocated(source) }
