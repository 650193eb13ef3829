package diff

import (
	"debug/elf"
	"slices"

	"hotpatch/internal/image"
	"hotpatch/internal/names"
)

// Is a thread-local variable that symbols name the one that had its place before? One
// that came where another went would start with what that one holds, in every thread.

// threadsReplaced says that one of the fixed image may be such, its size and the
// others' places as they were.
func (d *Diff) threadsReplaced() bool {
	x, y := threadObjects(d.Base.Image, d.sources), threadObjects(d.Fixed.Image, d.sources)
	stem := func(o *object) string { return names.Stem(o.name) }
	bx, by := groups(x, stem), groups(y, stem)
	var users *threadUsers
	for _, o := range y {
		was := slices.IndexFunc(bx[stem(o)], func(p *object) bool {
			return p.addr == o.addr && p.size == o.size && !d.sources.apart(p.file, o.file)
		})
		if was >= 0 && len(bx[stem(o)]) == 1 && len(by[stem(o)]) == 1 {
			continue
		}
		if was < 0 && len(bx[o.name]) == 1 && len(by[o.name]) == 1 && !d.sources.apart(bx[o.name][0].file, o.file) {
			continue // SameTLSNames
		}
		if users == nil {
			users = d.threadUsers()
		}
		// A name that nobody had, or one of several, of which numbers tell only the order.
		if was < 0 && !users.alike(o) || was >= 0 && !users.keep(o) {
			return true
		}
	}
	return false
}

// threadObjects are the thread-local variables that symbols name, by their places in
// the block.
func threadObjects(m *image.Image, files sources) (out []*object) {
	for i := range m.Symbols {
		if s := &m.Symbols[i]; s.Type == elf.STT_TLS && s.Size > 0 {
			out = append(out, &object{name: s.Name, addr: s.Addr, size: image.Addr(s.Size), file: files.of(s.Source)})
		}
	}
	return out
}

// threadUsers are who uses which places of the block. Places are sorted.
type threadUsers struct {
	equal  [2][]image.Addr // by functions of either image that are a pair with equal code
	other  [2][]image.Addr // and by others
	unseen bool            // one of the others uses places that could not be told
	kept   []image.Addr    // places that an instruction and its counterpart use
	left   []image.Addr    // and those that one of the two uses, and the other another one
}

func (d *Diff) threadUsers() *threadUsers {
	u := &threadUsers{}
	note := func(side int, c *Code, f *Func, equal bool) {
		offsets, by := d.threadOffsets(c, f), &u.other[side]
		if equal {
			by = &u.equal[side]
		}
		for _, o := range offsets {
			*by = append(*by, o.at)
		}
		u.unseen = u.unseen || len(offsets) == 0 && !equal
	}
	uses := func(c *Code, f *Func) bool { return f != nil && f.described() && d.usesThreads(c, f) }
	for i, a := range d.baseOf {
		b := d.Fixed.Funcs[i]
		equal := a != nil && a.Hash == b.Hash && d.how[i] == byName
		before, now := uses(d.Base, a), uses(d.Fixed, b)
		if before {
			note(0, d.Base, a, equal)
		}
		if now {
			note(1, d.Fixed, b, equal)
		}
		if before && now {
			d.alignThreads(a, b, u)
		}
	}
	for _, f := range d.Gone() {
		if uses(d.Base, f) {
			note(0, d.Base, f, false)
		}
	}
	for _, places := range []*[]image.Addr{&u.equal[0], &u.equal[1], &u.other[0], &u.other[1], &u.kept, &u.left} {
		slices.Sort(*places)
	}
	return u
}

// alignThreads notes what corresponding instructions of a pair use.
func (d *Diff) alignThreads(a, b *Func, u *threadUsers) {
	x, y := map[int]image.Addr{}, map[int]image.Addr{}
	for _, o := range d.threadOffsets(d.Base, a) {
		x[o.token] = o.at
	}
	for _, o := range d.threadOffsets(d.Fixed, b) {
		y[o.token] = o.at
	}
	for _, p := range d.align(a, b) {
		was, ok := x[p[0]]
		is, too := y[p[1]]
		switch {
		case !ok || !too:
		case was == is:
			u.kept = append(u.kept, is)
		default:
			u.left = append(u.left, was, is)
		}
	}
}

// threadOffset is a place of the block that an instruction uses.
type threadOffset struct {
	token int // index
	at    image.Addr
}

func (d *Diff) threadOffsets(c *Code, f *Func) (out []threadOffset) {
	size := image.Addr(c.TLSSize)
	if n := image.Addr(c.TLSAlign); n > 1 {
		size = (size + n - 1) / n * n // blocks end where they are aligned (psABI §3.7, variant II)
	}
	tokens := d.tokensOf(c, f)
	add := func(token int, off image.Addr) {
		if off < image.Addr(c.TLSSize) {
			out = append(out, threadOffset{token, off})
		}
	}
	block := d.asksForBlock(c, f)
	for i := range tokens {
		switch t := &tokens[i]; {
		case t.in.FS && t.refs == 0 && t.disp < 0, f.TLS && behindBlock(c, t):
			add(i, size+image.Addr(int64(t.disp)))
		case block && inBlock(c, t):
			add(i, image.Addr(t.disp))
		}
	}
	places := len(out) > 0
	for i := range tokens {
		for k := range tokens[i].refs {
			r := &f.Refs[tokens[i].ref+k]
			if r.Class != image.GOT {
				continue
			}
			off, ok := c.ThreadSlot(r.Target)
			if ok && (off != 0 || !block || !places) { // else it asks for the block
				add(i, image.Addr(off))
			}
		}
	}
	return out
}

// alike: all who use the place of o have equal code in both images, and somebody
// does. So it has another name now, or means the same by whatever name.
func (u *threadUsers) alike(o *object) bool {
	return o.within(u.equal[0]) && o.within(u.equal[1]) && !o.within(u.left) && !u.others(o)
}

// keep: somebody uses the place of o as before, or nobody uses it; and nobody uses
// another place instead.
func (u *threadUsers) keep(o *object) bool {
	return !o.within(u.left) && (o.within(u.kept) || !u.others(o))
}

func (u *threadUsers) others(o *object) bool {
	return u.unseen || o.within(u.other[0]) || o.within(u.other[1])
}

// within: one of the places, which are sorted, is in o.
func (o *object) within(places []image.Addr) bool {
	k, _ := slices.BinarySearch(places, o.addr)
	return k < len(places) && places[k] < o.addr+o.size
}
