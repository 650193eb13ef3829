package diff

import (
	"encoding/binary"
	"fmt"
	"maps"

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

// findDistances collects the tables of distances that code reads, and makes what
// they lead to known as starts of objects.
func (c *Code) findDistances() {
	c.distances = map[image.Addr]int{}
	fragment := func(a image.Addr) bool {
		g := c.At(a)
		return g != nil && g.Fragment
	}
	for _, f := range c.Funcs {
		if !f.Spreads || !f.described() {
			continue
		}
		for _, t := range c.readDistances(f) {
			if _, ok := c.distances[t]; !ok && len(c.JumpTable(f, t, fragment)) == 0 {
				c.distances[t] = c.countDistances(t)
			}
		}
	}
	maps.DeleteFunc(c.distances, func(_ image.Addr, n int) bool { return n == 0 })
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
		reg, rm := gpr(in, code)
		plain := in.Map == 0
		switch op := in.Op; {
		case in.IsCall():
			for _, r := range []int{0, 1, 2, 6, 7, 8, 9, 10, 11} { // the psABI lets it change these
				forget(r)
			}
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
		case plain && (op == 0x39 || op == 0x3b || op == 0x85 || op >= 0x50 && op <= 0x57): // read only
		case plain && (op == 0x89 || op == 0x88) && rm < 0: // stored
		case plain && (op == 0x81 || op == 0x83 || op == 0x80) && in.Reg() == 7: // compared
		case plain && (op == 0x98 || op == 0x99 || op == 0xf6 || op == 0xf7 || op >= 0xa4 && op <= 0xaf):
			for _, r := range []int{0, 1, 2, 6, 7} {
				forget(r)
			}
			forget(rm)
		default:
			forget(reg)
			forget(rm)
		}
	})
	return out
}

// countDistances is how many entries the table at t has: up to the next address
// that is taken, they lead to functions, or to constants and variables outside of
// the table.
func (c *Code) countDistances(t image.Addr) int {
	end := c.next(c.heads, t)
	if o := c.inNamed(t); o != nil {
		end = o.Addr + image.Addr(o.Size)
	}
	n := 0
	for to := range c.spread(t, end, false) {
		switch c.ClassAt(to) {
		case image.Text:
			if !c.whole(to) {
				return n
			}
		case image.ROData:
			if to >= t && to <= t+image.Addr(4*n) {
				return n
			}
		case image.RelRO, image.Data, image.BSS:
		default:
			return n
		}
		n++
	}
	return n
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
// distances, could be some: these lead to starts of strings or of functions. Two
// alone say nothing, in a large image.
func (c *Code) looksSpread(t, n image.Addr, self bool) image.Addr {
	const fewest = 3
	if t%4 != 0 || n < 4*fewest || c.ClassAt(t) != image.ROData {
		return 0
	}
	k := image.Addr(0)
	for to := range c.spread(t, t+n&^3, self) {
		if to >= t && to < t+n || !c.startsString(to) && !c.whole(to) {
			break
		}
		k++
	}
	if k < fewest {
		return 0
	}
	return 4 * k
}

// Distances are the places that the table of distances at t leads to; none: it is
// no such table. sure: code reads it as one; else it only looks like one.
func (d *Diff) Distances(t image.Addr) (to []image.Addr, sure bool) {
	c := d.Fixed
	n, self := image.Addr(4*c.distances[t]), false
	if sure = n > 0; !sure {
		_, hi := d.TableAt(t)
		if n = c.looksSpread(t, hi-t, false); n == 0 {
			self = true
			n = c.looksSpread(t, hi-t, true)
		}
	}
	for a := range c.spread(t, t+n, self) {
		to = append(to, a)
	}
	return to, sure
}

// spreadDiffers compares the tables of distances at ta and tb. known: code of
// either image reads them as such.
func (d *Diff) spreadDiffers(ta, tb image.Addr, node *objectNode) (why string, known bool) {
	n, m := d.Base.distances[ta], d.Fixed.distances[tb]
	switch {
	case n == 0 && m == 0:
		return "", false
	case n == 0:
		n = m
	case m != 0 && n != m:
		return fmt.Sprintf("the table at %#x has %d distances instead of %d", uint64(tb), m, n), true
	}
	size := image.Addr(4 * n)
	if why := d.placesDiffer(ta, tb, size, false, node); why != "" {
		return why, true
	}
	// Nobody knows whether what follows belongs to it.
	la, lb := d.Base.next(d.Base.heads, ta+size-1)-ta, d.Fixed.next(d.Fixed.heads, tb+size-1)-tb
	if la == lb && string(d.Base.Bytes(ta, int(la))[size:]) != string(d.Fixed.Bytes(tb, int(lb))[size:]) {
		return fmt.Sprintf("what follows the table at %#x", uint64(tb)), true
	}
	return "", true
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
