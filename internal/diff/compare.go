package diff

import (
	"bytes"
	"context"
	"debug/elf"
	"fmt"
	"slices"

	"hotpatch/internal/image"
)

// compare finds the state of every fixed function.
func (d *Diff) compare(ctx context.Context) {
	d.parts, d.baseParts = joinParts(d.Fixed), joinParts(d.Base)
	d.compareCode()
	d.data.crossed = d.data.crossing()
	d.data.confused = d.findConfused()
	d.starting = d.onlyFrom(d.Fixed.Starters())
	for i, b := range d.Fixed.Funcs {
		if ctx.Err() != nil {
			return
		}
		if d.state[i] == Same {
			d.compareRefs(d.baseOf[i], b)
			d.compareHandlers(d.baseOf[i], b)
		}
	}
	d.spreadParts()
	d.findDrift()
}

// compareCode tells apart what has no counterpart and what has other code.
func (d *Diff) compareCode() {
	for i, b := range d.Fixed.Funcs {
		a := d.baseOf[i]
		switch {
		case a == nil:
			d.state[i], d.why[i] = New, "only the fixed image has it"
		case !d.sameCode(a, b):
			d.mark(i, "code differs")
		}
	}
}

func (d *Diff) mark(i int, why string) {
	if d.state[i] == Same {
		d.state[i], d.why[i] = Changed, why
	}
}

// compareRefs marks b changed when a reference leads elsewhere than a's.
func (d *Diff) compareRefs(a, b *Func) {
	owner := [2]*Func{a, b}
	for k := range b.Refs {
		p, q := &a.Refs[k], &b.Refs[k]
		if !b.described() && !d.believed(a, b, p, q) {
			continue
		}
		if same, why := d.sameRef(p, q, &owner); !same {
			d.mark(b.Index, fmt.Sprintf("+%#x: %s", q.At, why))
			return
		}
	}
}

// sameField compares the bytes of a reference as they are.
func (d *Diff) sameField(a, b *Func, r *Ref) bool {
	return bytes.Equal(d.Base.Bytes(a.Lo+image.Addr(r.Field), int(r.Size)), d.Fixed.Bytes(b.Lo+image.Addr(r.Field), int(r.Size)))
}

func (d *Diff) sameRef(p, q *Ref, owner *[2]*Func) (bool, string) {
	if p.Off != q.Off {
		return false, "refers to another place beside an object"
	}
	if d.Aside(p, q) {
		return true, ""
	}
	width := q.Width
	if q.Kind == Lea {
		if same, why := d.sameSets(p.Target, q.Target); !same {
			return false, why
		}
		width = 0
	} else if width == 0 {
		width = 8
	}
	same, why := d.sameTarget(p.Target, q.Target, width, owner, nil)
	if same && q.Indexed {
		return d.sameBehind(p, q)
	}
	return same, why
}

// sameTarget says whether ta means in the base image what tb means in the
// fixed one. width and owner are as in sameObject.
func (d *Diff) sameTarget(ta, tb image.Addr, width uint8, owner *[2]*Func, user *objectNode) (bool, string) {
	ca, cb := d.Base.ClassAt(ta), d.Fixed.ClassAt(tb)
	if ca.Writable() && cb.Writable() {
		return d.sameVariable(ta, tb, width == 0, owner)
	}
	if ca != cb {
		return false, "refers to another kind of section"
	}
	switch ca {
	case image.Text:
		if d.sameCodePlace(ta, tb) {
			if d.Fixed.At(tb) == nil && !bytes.Equal(d.Base.Bytes(ta, int(width)), d.Fixed.Bytes(tb, int(width))) {
				return false, "reads another constant between functions"
			}
			return true, ""
		}
		return false, "refers to " + d.placeName(tb) + " instead of " + baseName(d.Base, ta)
	case image.PLT:
		return d.samePLT(ta, tb)
	case image.GOT:
		return d.sameSlot(ta, tb, user)
	case image.ROData, image.RelRO:
		return d.sameObject(ta, tb, width, owner, user)
	case image.None:
		return ta == tb || d.sameHole(ta, tb), "refers to an address outside the image"
	}
	sa, sb := d.Base.SectionAt(ta), d.Fixed.SectionAt(tb)
	ends := ta == sa.Addr+sa.Size && tb == sb.Addr+sb.Size
	if sa.Name == sb.Name && (ta-sa.Addr == tb-sb.Addr || ends) {
		return true, ""
	}
	return false, "refers to another place of " + sb.Name
}

// sameHole: both addresses are in the filler between the same two sections
// (where __TMC_END__ is).
func (d *Diff) sameHole(ta, tb image.Addr) bool {
	before := func(c *Code, a image.Addr) string {
		name := ""
		for i, s := range c.Sections {
			if s.Addr+s.Size <= a && i+1 < len(c.Sections) && a < c.Sections[i+1].Addr {
				name = s.Name + " " + c.Sections[i+1].Name
			}
		}
		return name
	}
	x := before(d.Base, ta)
	return x != "" && x == before(d.Fixed, tb)
}

func (d *Diff) placeName(a image.Addr) string { return baseName(d.Fixed, a) }

// baseName names a code address for a message.
func baseName(c *Code, a image.Addr) string {
	f := c.At(a)
	switch {
	case f == nil:
		return fmt.Sprintf("%#x", uint64(a))
	case f.Lo == a:
		return f.Name()
	}
	return fmt.Sprintf("%s+%#x", f.Name(), uint64(a-f.Lo))
}

// sameVariable: where the map is certain it decides. Where only this pair has
// an opinion there is nothing to contradict it; that is enough to call a
// function unchanged, though not to bind new code to the variable. taken says
// that the address is only taken: it may be that of an end.
func (d *Diff) sameVariable(ta, tb image.Addr, taken bool, owner *[2]*Func) (bool, string) {
	if want, name, ok := d.data.objects.counterpart(tb); ok && want != ta {
		return false, fmt.Sprintf("refers to %s, base to %#x", name, uint64(ta))
	}
	if d.data.objects.swapped(ta, tb) {
		return false, "refers to " + variableName(d.Fixed, tb) + " instead of " + variableName(d.Base, ta)
	}
	b := d.Map(tb)
	if b.Doubt {
		return false, "refers to a variable without certain counterpart: " + b.Why
	}
	if b.OK() {
		if b.Base == ta {
			return true, ""
		}
		return false, fmt.Sprintf("refers to the variable at %#x, base at %#x", uint64(b.Base), uint64(ta))
	}
	if b.How == NewVariable {
		return false, fmt.Sprintf("refers to a new variable at %#x", uint64(tb))
	}
	if b.Grew {
		return false, b.Why
	}
	p, ok := d.data.placeAt(tb)
	if !ok { // only data refers to it: place by neighbours, without proof
		at, ok := d.slotOf(tb)
		return ok && at == ta, "points to another variable"
	}
	if d.sameByVotes(p, ta, taken, owner) {
		return true, ""
	}
	return false, "refers to a variable without certain counterpart: " + b.Why
}

// sameByVotes: nobody knows where the variable at p was, but for what this pair
// says itself. What others say, or have taken, speaks against that, unless it
// may be an end.
func (d *Diff) sameByVotes(p *place, ta image.Addr, taken bool, owner *[2]*Func) bool {
	firm := owner != nil && d.how[owner[1].Index].firm()
	end := false
	if q := d.data.pointAt(p.fixed); q != nil {
		end = q.end
	}
	for _, v := range p.votes {
		switch {
		case v.base != ta:
		case len(p.votes) == 1 && !end && d.data.isCrossed(p.fixed) && !d.startsOnly(owner):
			return false
		case len(p.votes) == 1:
			return end && taken || !d.data.elsewhere(ta, p.fixed)
		case firm && v.firm > 0:
			return taken && (end || d.data.inReach(ta, p.fixed)) || !p.disputed()
		}
	}
	return false
}

// startsOnly says whether the fixed function runs only while the image is loaded
// or ended, so that nothing carried can call it.
func (d *Diff) startsOnly(owner *[2]*Func) bool {
	return owner != nil && d.starting[owner[1].Index]
}

// sameCodePlace: the same offset in functions that are a pair.
func (d *Diff) sameCodePlace(ta, tb image.Addr) bool {
	a, b := d.Base.At(ta), d.Fixed.At(tb)
	if a == nil || b == nil {
		return a == nil && b == nil // padding, or the start of a section
	}
	return d.baseOf[b.Index] == a && ta-a.Lo == tb-b.Lo
}

func (d *Diff) samePLT(ta, tb image.Addr) (bool, string) {
	p, okA := d.Base.PLTName(ta)
	q, okB := d.Fixed.PLTName(tb)
	switch {
	case okA && okB && SameImport(p, q):
		why := d.ComesFrom(q)
		return why == "", "calls " + q.Name + ", " + why
	case okA || okB:
		return false, fmt.Sprintf("calls %s instead of %s", importName(q, okB), importName(p, okA))
	}
	sa, okA := d.Base.PLTSlot(ta)
	sb, okB := d.Fixed.PLTSlot(tb)
	if !okA || !okB {
		return false, "calls through an unreadable PLT entry"
	}
	return d.sameSlot(sa, sb, nil)
}

func importName(i image.Import, ok bool) string {
	if !ok {
		return "an indirect function"
	}
	if i.Version != "" {
		return i.Name + "@" + i.Version
	}
	return i.Name
}

// PLTSlot is the GOT slot that the PLT entry at a jumps through: the first
// jmp *slot(%rip) in its 16 bytes.
func (c *Code) PLTSlot(a image.Addr) (image.Addr, bool) {
	b := c.Bytes(a, 16)
	k := bytes.Index(b, []byte{0xff, 0x25})
	if k < 0 || k+6 > len(b) {
		return 0, false
	}
	disp := int32(uint32(b[k+2]) | uint32(b[k+3])<<8 | uint32(b[k+4])<<16 | uint32(b[k+5])<<24)
	return a + image.Addr(k+6) + image.Addr(int64(disp)), true
}

// sameSlot compares two GOT slots by what the loader puts there.
func (d *Diff) sameSlot(ta, tb image.Addr, user *objectNode) (bool, string) {
	p, q := d.Base.RelocAt(ta), d.Fixed.RelocAt(tb)
	if p == nil && q == nil {
		return true, "" // the table itself, or a slot fixed when linking
	}
	if p == nil || q == nil || p.Type != q.Type || !sameSymbol(p, q) {
		return false, "uses another GOT slot"
	}
	if p.Sym != "" {
		if p.Add != q.Add {
			return false, "uses another GOT slot"
		}
		return d.sameExport(p, q, user)
	}
	switch p.Type {
	case elf.R_X86_64_RELATIVE, elf.R_X86_64_IRELATIVE:
		if same, why := d.sameSets(image.Addr(p.Add), image.Addr(q.Add)); !same {
			return false, why
		}
		return d.sameTarget(image.Addr(p.Add), image.Addr(q.Add), 0, nil, user)
	}
	was, okA := d.Base.ThreadSlot(ta)
	is, okB := d.Fixed.ThreadSlot(tb)
	return p.Add == q.Add && okA == okB && was == is, "uses another thread-local variable"
}

// sameExport compares what two slots with the address of one symbol lead to, where
// both images define it themselves: a library reaches its own exported variables
// and constants so, and the name says nothing of their content.
func (d *Diff) sameExport(p, q *image.Reloc, user *objectNode) (bool, string) {
	if p.Number != nil || q.Number != nil {
		return sameNumber(p, q), "uses the number " + q.Sym + ", which is another one"
	}
	if why := d.ComesFrom(image.Import{Name: q.Sym, Version: q.Version}); why != "" {
		return false, "uses " + q.Sym + ", " + why
	}
	ta, okA := Pointee(p)
	tb, okB := Pointee(q)
	if !okA || !okB || q.Type != elf.R_X86_64_GLOB_DAT && q.Type != elf.R_X86_64_64 {
		return true, "" // of another library, or thread-local
	}
	if namesSet(q.Sym) {
		if same, why := d.sameSets(ta, tb); !same {
			return false, why
		}
	}
	ca, cb := d.Base.ClassAt(ta), d.Fixed.ClassAt(tb)
	constant := func(c image.Class) bool { return c == image.ROData || c == image.RelRO }
	switch {
	case ca.Writable() && cb.Writable():
		a, _ := d.Base.Exported(image.Import{Name: p.Sym, Version: p.Version})
		b, _ := d.Fixed.Exported(image.Import{Name: q.Sym, Version: q.Version})
		return a.Size == b.Size, fmt.Sprintf("uses %s, which has %d bytes instead of %d", q.Sym, b.Size, a.Size)
	case constant(ca) || constant(cb):
		same, why := d.sameTarget(ta, tb, 0, nil, user)
		return same, "uses " + q.Sym + ": " + why
	}
	return true, ""
}

// sameNumber compares what two slots hold whose symbol is a number (ld --defsym, the
// _size of an embedded file).
func sameNumber(p, q *image.Reloc) bool {
	return p.Number != nil && q.Number != nil && *p.Number == *q.Number
}

// sameNumberAsBefore is sameNumber for the slots of the base image with the symbol.
func (d *Diff) sameNumberAsBefore(q *image.Reloc) bool {
	for i := range d.Base.Relocs {
		if p := &d.Base.Relocs[i]; p.Sym == q.Sym && p.Version == q.Version {
			return sameNumber(p, q)
		}
	}
	return false
}

// SameExport is what sameExport says of the symbol that a relocation of the fixed
// image names, where one of the images defines it.
func (d *Diff) SameExport(q *image.Reloc) (bool, string) {
	if q.Number != nil {
		return d.sameNumberAsBefore(q), "uses the number " + q.Sym + ", which is another one, or new"
	}
	i := image.Import{Name: q.Sym, Version: q.Version}
	if why := d.ComesFrom(i); why != "" {
		return false, "uses " + q.Sym + ", " + why
	}
	s, ok := d.Base.Exported(i)
	if q.Sym == "" || !ok || q.SymAddr == 0 {
		return true, ""
	}
	return d.sameExport(&image.Reloc{Type: q.Type, Sym: q.Sym, Version: s.Version, SymAddr: s.Addr, Add: q.Add}, q, nil)
}

// SameTable says whether the constants at base and fixed are equal, with all
// that they point to.
func (d *Diff) SameTable(base, fixed image.Addr) bool {
	same, _ := d.sameObject(base, fixed, 0, nil, nil)
	return same
}

// joinParts finds the functions of an image that are one piece of code: a jump
// into the middle of another function, a conditional branch out of one, or a
// jump to a fragment. Such an edge cannot be redirected, so they stay together.
func joinParts(c *Code) map[*Func][]*Func {
	group := make([]int, len(c.Funcs))
	for i := range group {
		group[i] = i
	}
	find := func(i int) int {
		for group[i] != i {
			group[i] = group[group[i]]
			i = group[i]
		}
		return i
	}
	join := func(i, k int) {
		x, y := find(i), find(k)
		group[max(x, y)] = min(x, y)
	}
	for i, f := range c.Funcs {
		if f.Source == image.FromGap {
			continue // what looks like a jump there may be constants
		}
		for k := range f.Refs {
			r := &f.Refs[k]
			if r.Class != image.Text {
				continue
			}
			g := c.At(r.Target)
			if g == nil || g == f || g.Source == image.FromGap {
				continue
			}
			if r.Target != g.Lo || r.Kind == Cond || g.Fragment && r.Kind == Jump {
				join(i, g.Index)
			}
		}
		for _, g := range switchParts(c, f) {
			join(i, g.Index)
		}
	}
	members := map[int][]*Func{}
	for i, f := range c.Funcs {
		r := find(i)
		members[r] = append(members[r], f)
	}
	parts := map[*Func][]*Func{}
	for i, f := range c.Funcs {
		if all := members[find(i)]; len(all) > 1 {
			parts[f] = slices.DeleteFunc(slices.Clone(all), func(g *Func) bool { return g == f })
		}
	}
	return parts
}

// switchParts are the cold parts that only a switch table of f leads to.
func switchParts(c *Code, f *Func) []*Func {
	var out []*Func
	for k := range f.Refs {
		r := &f.Refs[k]
		if r.Kind != Lea || r.Class != image.ROData {
			continue
		}
		fragment := func(x image.Addr) bool {
			g := c.At(x)
			return g != nil && g.Fragment
		}
		for _, x := range c.JumpTable(f, r.Target, fragment) {
			if x < f.Lo || x >= f.Hi {
				out = append(out, c.At(x))
			}
		}
	}
	return out
}

// spreadParts changes the parts of a changed function with it.
func (d *Diff) spreadParts() {
	for i, f := range d.Fixed.Funcs {
		if d.state[i] == Same {
			continue
		}
		for _, g := range d.parts[f] {
			if d.state[g.Index] == Same {
				d.mark(g.Index, "one piece of code with "+f.Name())
			}
		}
	}
}
