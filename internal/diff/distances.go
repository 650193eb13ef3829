package diff

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"

	"hotpatch/internal/arch"
	"hotpatch/internal/image"
)

// Tables of distances. Where clang and rustc make a table of the strings that a
// switch returns, they store in .rodata how far each string is from the table,
// in 32 bits, so that the loader has nothing to do:
//
//	lea table(%rip),%rcx; movslq (%rcx,%rax,4),%rax; add %rcx,%rax
//
// So do people who write tables of functions by hand. A switch table has the same
// form, but leads into the function that uses it (JumpTable). What such a table
// says is where it leads to: its bytes may be equal when that is not, and differ
// when it is.

// mostDistances is how many distances of one image are looked at.
const mostDistances = 1 << 20

// spreadTable is a table of distances that code reads.
type spreadTable struct {
	n       int     // so many are certain
	open    bool    // what follows may be more of them
	beyond  bool    // it was not looked at: there are too many
	readers []*Func // by address
}

// findDistances collects the tables of distances that code reads. It wants all
// other starts to be known.
func (c *Code) findDistances() {
	c.distances = map[image.Addr]*spreadTable{}
	fragment := func(a image.Addr) bool {
		g := c.At(a)
		return g != nil && g.Fragment
	}
	total := 0
	for _, f := range c.Funcs {
		if !f.Spreads || !f.described() {
			continue
		}
		for _, t := range c.readDistances(f) {
			s := c.distances[t]
			if s == nil {
				if len(c.JumpTable(f, t, fragment)) > 0 {
					continue
				}
				s = &spreadTable{beyond: total >= mostDistances}
				if !s.beyond {
					s.n, s.open = c.countDistances(t, mostDistances-total)
				}
				total += s.n
				c.distances[t] = s
			}
			if k := len(s.readers); k == 0 || s.readers[k-1] != f {
				s.readers = append(s.readers, f)
			}
		}
	}
	maps.DeleteFunc(c.distances, func(_ image.Addr, s *spreadTable) bool { return s.n == 0 && !s.open && !s.beyond })
}

// spreadStrings are the strings that tables of distances lead to. Nothing else
// that they seem to lead to ends what is in front of it.
func (c *Code) spreadStrings() []image.Addr {
	var out []image.Addr
	for t, s := range c.distances {
		for to := range c.spread(t, t+image.Addr(4*s.n), false) {
			if c.ClassAt(to) == image.ROData && c.startsString(to) && c.inNamed(to) == nil {
				out = append(out, to)
			}
		}
	}
	return out
}

// closeTables notes which tables of distances end where one of the strings
// starts that such tables lead to.
func (c *Code) closeTables(strings []image.Addr) {
	ends := make(map[image.Addr]bool, len(strings))
	for _, a := range strings {
		ends[a] = true
	}
	for t, s := range c.distances {
		if s.open && s.n > 0 && c.inNamed(t) == nil && ends[t+image.Addr(4*s.n)] {
			s.open = false
		}
	}
}

// whole says whether a function starts at a that is no cold part of another:
// switch tables lead to those.
func (c *Code) whole(a image.Addr) bool {
	f := c.Entry(a)
	return f != nil && !f.Fragment
}

// readDistances are the tables to whose addresses f adds what it reads from them.
func (c *Code) readDistances(f *Func) []image.Addr {
	var out []image.Addr
	var table, entry [16]image.Addr // by register: the address of a table, and what is read from it
	forget := func(r int) {
		if r >= 0 {
			table[r], entry[r] = 0, 0
		}
	}
	lose := func(which arch.Registers) {
		for r := range table {
			if which.Has(r) {
				forget(r)
			}
		}
	}
	sum := func(x, y int) {
		switch {
		case table[x] != 0 && table[x] == entry[y]:
			out = append(out, table[x])
		case table[y] != 0 && table[y] == entry[x]:
			out = append(out, table[y])
		}
	}
	text := c.Text(f)
	c.scan(f, text, func(at int, in *arch.Inst, refs []Ref) {
		code := text[at:]
		if in.Len == 0 || in.Vector {
			return
		}
		reg, rm := in.Named(code)
		plain := in.Map == 0
		switch op := in.Op; {
		case in.IsCall():
			lose(arch.CallClobbered)
		case plain && op == 0x8d && len(refs) == 1 && refs[0].Kind == Lea:
			forget(reg)
			if r := &refs[0]; r.Form == Relative && r.Class == image.ROData && r.Target%4 == 0 {
				table[reg] = r.Target
			}
		case plain && op == 0x8d:
			if in.Base >= 0 && in.Base < 16 && in.Index >= 0 && in.DispLen == 0 {
				sum(int(in.Base), int(in.Index))
			}
			forget(reg)
		case plain && op == 0x63 && in.Wide && in.HasMemory():
			t := image.Addr(0)
			if in.Base >= 0 && in.Base < 16 {
				t = table[in.Base]
			}
			forget(reg)
			entry[reg] = t
		case plain && (op == 0x01 || op == 0x03) && in.Wide && rm >= 0:
			sum(reg, rm)
			if op == 0x01 {
				forget(rm)
			} else {
				forget(reg)
			}
		case plain && op == 0x89 && rm >= 0:
			table[rm], entry[rm] = table[reg], entry[reg]
		case plain && op == 0x8b && rm >= 0:
			table[reg], entry[reg] = table[rm], entry[rm]
		default:
			lose(in.Writes(code))
		}
	})
	return out
}

// countDistances is how many entries the table at t has, no more than most: up to
// the next known start, they lead to functions, or to known starts of constants
// and variables outside of the table, or to strings. open: there may be more.
func (c *Code) countDistances(t image.Addr, most int) (n int, open bool) {
	end, named := c.next(c.starts, t), image.Addr(0)
	if o := c.inNamed(t); o != nil {
		named = o.Addr + image.Addr(o.Size)
		end = min(end, named)
	}
	for to := range c.spread(t, end, false) {
		if n == most {
			return n, true
		}
		if sure, maybe := c.distant(t, to, n); !sure {
			return n, maybe
		}
		n++
	}
	if named != 0 {
		return n, end < named
	}
	if _, taken := slices.BinarySearch(c.heads, end); taken || end%4 != 0 {
		return n, false
	}
	for to := range c.spread(t, end+4, false) { // it is accessed, and may be an entry all the same
		if n--; n < 0 {
			sure, _ := c.distant(t, to, int(end-t)/4)
			return int(end-t) / 4, sure
		}
	}
	return int(end-t) / 4, false
}

// distant says whether entry n of the table at t leads to something, or may do so.
func (c *Code) distant(t, to image.Addr, n int) (sure, maybe bool) {
	switch c.ClassAt(to) {
	case image.Text:
		return c.whole(to), false
	case image.ROData:
		if to >= t && to < t+image.Addr(4*n+4) {
			return false, false
		}
	case image.RelRO, image.Data, image.BSS:
	default:
		return false, false
	}
	_, known := slices.BinarySearch(c.starts, to)
	return known || c.startsString(to) || c.endsString(to), true
}

// endsString: a lies within a string or at its NUL, as strings do that the link
// editor merged into the end of others.
func (c *Code) endsString(a image.Addr) bool {
	const most = 4096
	if c.CString(a) == 0 {
		return false
	}
	s := c.SectionAt(a)
	before := s.Data[:a-s.Addr]
	if len(before) > most {
		before = before[len(before)-most:]
	}
	k := bytes.LastIndexByte(before, 0) // what follows it must be text
	if k < 0 && len(before) < int(a-s.Addr) || k == len(before)-1 {
		return false
	}
	return c.CString(a-image.Addr(len(before)-k-1)) > 1
}

// spread are the places to which the 32-bit distances at [t, hi) lead, from t or
// each from where it is itself.
func (c *Code) spread(t, hi image.Addr, self bool) func(func(image.Addr) bool) {
	return func(yield func(image.Addr) bool) {
		from := t
		for b := c.Bytes(t, int(hi-t)); len(b) >= 4; b = b[4:] {
			if !yield(from + image.Addr(int64(int32(binary.LittleEndian.Uint32(b))))) {
				return
			}
			if self {
				from += 4
			}
		}
	}
}

// looksSpread is how many of the n bytes at t, which no code is seen to read as
// distances, could be some: these lead to starts of strings or of functions, some
// to strings that are the end of others. Two alone say nothing, in a large image.
func (c *Code) looksSpread(t, n image.Addr, self bool) image.Addr {
	const fewest = 3
	if t%4 != 0 || n < 4*fewest || c.ClassAt(t) != image.ROData {
		return 0
	}
	k, starts := image.Addr(0), 0
	for to := range c.spread(t, t+n&^3, self) {
		start := c.startsString(to) || c.whole(to)
		if to >= t && to < t+n || !start && (c.ClassAt(to) != image.ROData || !c.endsString(to)) {
			break
		}
		k++
		if start {
			starts++
		}
	}
	if starts < fewest {
		return 0
	}
	return 4 * k
}

// Distances are the places that the table of distances at t leads to; none: it is
// no such table. sure: code reads it as one; else it only looks like one. why not
// empty: nobody knows how many there are.
func (d *Diff) Distances(t image.Addr) (to []image.Addr, sure bool, why string) {
	c := d.Fixed
	s, self := c.distances[t], false
	n := image.Addr(0)
	if sure = s != nil; sure {
		n, why = image.Addr(4*s.n), d.spreadUncertain(t, s)
	} else {
		_, hi := d.TableAt(t)
		if n = c.looksSpread(t, hi-t, false); n == 0 {
			self = true
			n = c.looksSpread(t, hi-t, true)
		}
	}
	for a := range c.spread(t, t+n, self) {
		to = append(to, a)
	}
	return to, sure, why
}

// FarDistances says that the constant at t, which carried code uses, looks like a
// table of distances to functions in a form that is not followed: of 64 bits, or
// from one of the functions whose address f takes and not from the table. What may
// be one by accident is too short to say so.
func (d *Diff) FarDistances(f *Func, t image.Addr) bool {
	const most, long, short = 64, 2, 3 // entries
	c := d.Fixed
	if c.ClassAt(t) != image.ROData || t%4 != 0 {
		return false
	}
	_, hi := d.TableAt(t)
	b := c.Bytes(t, int(min(hi-t, 8*most)))
	lead := func(from image.Addr, size int) int {
		n, last := 0, image.Addr(0)
		for at := 0; at+size <= len(b); at += size {
			w := int64(int32(binary.LittleEndian.Uint32(b[at:])))
			if size == 8 {
				w = int64(binary.LittleEndian.Uint64(b[at:]))
			}
			to := from + image.Addr(w)
			if !c.whole(to) {
				break
			}
			if to != last {
				n++
			}
			last = to
		}
		return n
	}
	if lead(t, 8) >= long {
		return true
	}
	if f == nil {
		return false
	}
	for k := range f.Refs {
		if r := &f.Refs[k]; r.Kind == Lea && r.Class == image.Text && (lead(r.Target, 4) >= short || lead(r.Target, 8) >= short) {
			return true
		}
	}
	return false
}

// spreadUncertain says why nobody knows how many distances are in the fixed image's
// table at t: among others, code that did not change reads more or fewer than before,
// or code reads what is within it as something else.
func (d *Diff) spreadUncertain(t image.Addr, s *spreadTable) string {
	if s.open || s.beyond {
		return "nobody knows where it ends"
	}
	for _, f := range s.readers {
		g := d.BaseOf(f)
		if g == nil || !d.sameCode(g, f) {
			continue
		}
		for k := range f.Refs {
			if f.Refs[k].Kind != Lea || f.Refs[k].Target != t {
				continue
			}
			if was := d.Base.distances[g.Refs[k].Target]; was != nil && (was.n != s.n || was.open || was.beyond) {
				return fmt.Sprintf("it has %d entries instead of %d, and the code that reads it did not change", s.n, was.n)
			}
		}
	}
	for _, f := range d.Fixed.Funcs {
		for k := range f.Refs {
			r := &f.Refs[k]
			if r.Kind == Access && !r.Indexed && r.Target < t+image.Addr(4*s.n) && r.Target+image.Addr(max(r.Width, 1)) > t {
				return fmt.Sprintf("%s reads it in another way, too", f.Name())
			}
		}
	}
	return ""
}

// spreadDiffers compares the tables of distances at ta and tb. known: code of
// either image reads them as such.
func (d *Diff) spreadDiffers(ta, tb image.Addr, node *objectNode) (why string, known bool) {
	a, b := d.Base.distances[ta], d.Fixed.distances[tb]
	switch {
	case a == nil && b == nil:
		return "", false
	case a == nil:
		a = b
	case b == nil:
		b = a
	}
	if a.beyond || b.beyond {
		return fmt.Sprintf("the table at %#x has more distances than can be compared", uint64(tb)), true
	}
	if a.n != b.n {
		return fmt.Sprintf("the table at %#x has %d distances instead of %d", uint64(tb), b.n, a.n), true
	}
	size := image.Addr(4 * a.n)
	if why := d.placesDiffer(ta, tb, size, false, node); why != "" {
		return why, true
	}
	if (a.open || b.open) && d.behindDiffers(ta, tb, size, node) {
		return fmt.Sprintf("what follows the table at %#x", uint64(tb)), true
	}
	return "", true
}

// behindDiffers compares what lies behind n bytes of distances: nobody knows
// whether it belongs to them. What starts within a named table makes them differ.
func (d *Diff) behindDiffers(ta, tb, n image.Addr, node *objectNode) bool {
	end := func(c *Code, t image.Addr) image.Addr {
		to := t
		if n > 0 {
			to += n - 1
		}
		to = c.next(c.heads, to)
		if o := c.inNamed(t); o != nil && to < o.Addr+image.Addr(o.Size) {
			return 0
		}
		return to - t
	}
	la, lb := end(d.Base, ta), end(d.Fixed, tb)
	if la == 0 || la != lb || la-n > 4*mostDistances {
		return true
	}
	x, y := d.Base.Bytes(ta, int(la)), d.Fixed.Bytes(tb, int(lb))
	if len(x) != len(y) || image.Addr(len(x)) != la {
		return true
	}
	x, y = x[n:], y[n:]
	for at := n; len(x) >= 4; at, x, y = at+4, x[4:], y[4:] {
		p := ta + image.Addr(int64(int32(binary.LittleEndian.Uint32(x))))
		q := tb + image.Addr(int64(int32(binary.LittleEndian.Uint32(y))))
		_, leadsA := d.Base.distant(ta, p, int(at/4))
		_, leadsB := d.Fixed.distant(tb, q, int(at/4))
		if leadsA && leadsB {
			if same, _ := d.sameTarget(p, q, 0, nil, node); !same {
				return true
			}
		} else if !bytes.Equal(x[:4], y[:4]) {
			return true
		}
	}
	return !bytes.Equal(x, y)
}

// placesDiffer compares where n bytes of distances lead to.
func (d *Diff) placesDiffer(ta, tb, n image.Addr, self bool, node *objectNode) string {
	var was []image.Addr
	for to := range d.Base.spread(ta, ta+n, self) {
		was = append(was, to)
	}
	i := 0
	for to := range d.Fixed.spread(tb, tb+n, self) {
		if i == len(was) {
			break
		}
		if same, why := d.sameTarget(was[i], to, 0, nil, node); !same {
			return fmt.Sprintf("table at %#x, distance %d: %s", uint64(tb), i, why)
		}
		i++
	}
	if i < len(was) || i < int(n/4) {
		return fmt.Sprintf("table at %#x ends early", uint64(tb))
	}
	return ""
}

// hiddenDiffers: n bytes are equal in both images, but may be distances to what is
// not.
func (d *Diff) hiddenDiffers(ta, tb, n image.Addr, node *objectNode) string {
	for _, self := range []bool{false, true} {
		if k := max(d.Base.looksSpread(ta, n, self), d.Fixed.looksSpread(tb, n, self)); k > 0 {
			if why := d.placesDiffer(ta, tb, k, self, node); why != "" {
				return why
			}
		}
	}
	return ""
}
