package diff

import (
	"debug/elf"
	"encoding/binary"
	"slices"

	"hotpatch/internal/arch"
	"hotpatch/internal/image"
)

// Thread-local variables have places in a block that each thread has, and code
// knows these as numbers: in instructions (%fs:-8), or in slots of the GOT. Nobody
// translates such a number for carried code, so all must be where they were.

// threadPlace is such a number, and in which form: 0 for instructions.
type threadPlace struct {
	form elf.R_X86_64
	off  int64
}

// ThreadSlot is the place that a GOT slot without a name holds; of a pair for
// __tls_get_addr, which is filled with the module, the second word. ok: it is one.
func (c *Code) ThreadSlot(a image.Addr) (off int64, ok bool) {
	r := c.RelocAt(a)
	if r == nil || r.Sym != "" {
		return 0, false
	}
	switch r.Type {
	case elf.R_X86_64_TPOFF64, elf.R_X86_64_TLSDESC:
		return r.Add, true
	case elf.R_X86_64_DTPMOD64:
		if b := c.Bytes(a+8, 8); len(b) == 8 {
			return int64(binary.LittleEndian.Uint64(b)), true
		}
	}
	return 0, false
}

// ThreadsMoved says that functions use thread-local variables at other places of
// their block than before, so that these may have changed places; or, where symbols
// name them all, that one may have come in the place of another. That those of one
// name stayed, SameTLSNames knows.
func (d *Diff) ThreadsMoved() bool { return d.threadsMoved }

// findThreadMoves holds the places of pairs of functions against each other. One
// that functions with equal code use in both images has not moved, though a fix may
// use it in place of another.
func (d *Diff) findThreadMoves() bool {
	if d.Base.TLSSize+d.Fixed.TLSSize == 0 {
		return false
	}
	if d.data.objects.complete {
		return d.threadsReplaced()
	}
	stayed, came := map[threadPlace]bool{}, map[threadPlace]bool{}
	for i, a := range d.baseOf {
		b := d.Fixed.Funcs[i]
		if a == nil || !a.described() || !b.described() || !d.usesThreads(d.Base, a) && !d.usesThreads(d.Fixed, b) {
			continue
		}
		x, y := d.tokensOf(d.Base, a), d.tokensOf(d.Fixed, b)
		equal := a.Hash == b.Hash && len(x) == len(y)
		pairs := d.align(a, b)
		block := d.asksForBlock(d.Base, a) && d.asksForBlock(d.Fixed, b)
		for _, p := range pairs {
			s, t := &x[p[0]], &y[p[1]]
			if s.in.FS && t.in.FS && s.disp < 0 && t.disp < 0 {
				to := threadPlace{0, int64(t.disp)}
				stayed[to] = stayed[to] || equal && s.disp == t.disp
				came[to] = came[to] || s.disp != t.disp
			}
			if a.TLS && b.TLS && behindBlock(d.Base, s) && behindBlock(d.Fixed, t) {
				to := threadPlace{0, int64(t.disp)}
				stayed[to] = stayed[to] || equal && s.disp == t.disp
				came[to] = came[to] || s.disp != t.disp
			}
			if block && inBlock(d.Base, s) && inBlock(d.Fixed, t) {
				to := threadPlace{elf.R_X86_64_DTPOFF32, int64(t.disp)}
				stayed[to] = stayed[to] || equal && s.disp == t.disp
				came[to] = came[to] || s.disp != t.disp
			}
			for k, l := range pairedRefs(s, t) {
				q := d.Fixed.RelocAt(b.Refs[l].Target)
				was, ok := d.Base.ThreadSlot(a.Refs[k].Target)
				is, too := d.Fixed.ThreadSlot(b.Refs[l].Target)
				if !ok || !too || q.Type != d.Base.RelocAt(a.Refs[k].Target).Type {
					continue
				}
				to := threadPlace{q.Type, is}
				stayed[to] = stayed[to] || equal && d.how[i].firm() && was == is
				came[to] = came[to] || was != is
			}
		}
	}
	for to, moved := range came {
		if moved && !stayed[to] {
			return true
		}
	}
	return false
}

// asksForBlock: f gets the address of the image's own block, to which it adds the
// places of variables (the local-dynamic model).
func (d *Diff) asksForBlock(c *Code, f *Func) bool {
	return slices.ContainsFunc(f.Refs, func(r Ref) bool {
		if r.Class != image.GOT {
			return false
		}
		off, ok := c.ThreadSlot(r.Target)
		return ok && off == 0 && c.RelocAt(r.Target).Type == elf.R_X86_64_DTPMOD64
	})
}

// inBlock: the instruction may add such a place to a register: four bytes, where
// one would be enough for most members of structures.
func inBlock(c *Code, t *token) bool {
	return t.refs == 0 && t.in.DispLen == 4 && t.in.Base != arch.NoReg && t.in.Base != arch.RIP && !t.in.FS && t.disp >= 0 && uint64(t.disp) < uint64(c.TLSSize)
}

// behindBlock: the instruction may add such a place to the address where the blocks
// of all images end (mov %fs:0,%rax; lea -8(%rax)).
func behindBlock(c *Code, t *token) bool {
	return t.refs == 0 && t.in.DispLen == 4 && !t.in.FS && t.in.Base != arch.NoReg && t.in.Base != arch.RIP && t.in.Base != rsp && t.in.Base != rbp &&
		t.disp < 0 && uint64(-int64(t.disp)) <= uint64(c.TLSSize)+uint64(c.TLSAlign)
}

func (d *Diff) usesThreads(c *Code, f *Func) bool {
	if f.TLS {
		return true
	}
	for k := range f.Refs {
		if r := &f.Refs[k]; r.Class == image.GOT {
			if _, ok := c.ThreadSlot(r.Target); ok {
				return true
			}
		}
	}
	return false
}
