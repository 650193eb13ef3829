package image

import (
	"bytes"
)

// Import names what a PLT entry or GOT slot leads to.
type Import struct{ Name, Version string }

// namePLT finds the entries of the PLT sections and what they jump through.
func (m *Image) namePLT() {
	m.pltNames = map[Addr]Import{}
	m.pltEntries = map[Import]Addr{}
	for _, s := range m.Sections {
		if s.Class != PLT {
			continue
		}
		// Entries have 16 bytes, or 8 where they are but a jump.
		for off := 0; off < len(s.Data); off += 8 {
			slot, ok := pltSlot(s.Data[off:], s.Addr+Addr(off))
			if !ok {
				continue
			}
			r := m.RelocAt(slot)
			if r == nil || r.Sym == "" { // the loader's own slot, or IRELATIVE
				continue
			}
			a := s.Addr + Addr(off)
			m.pltNames[a] = Import{r.Sym, r.Version}
			setImport(m.pltEntries, r.Sym, r.Version, a)
		}
	}
}

// pltSlot is the GOT slot that the PLT entry b at a jumps through: jmp
// *slot(%rip), alone (.plt, .plt.got), behind endbr64 and bnd (.plt.sec), or
// behind mov $n,%r11d (mold).
func pltSlot(b []byte, a Addr) (Addr, bool) {
	at := 0
	if bytes.HasPrefix(b, []byte{0xf3, 0x0f, 0x1e, 0xfa}) {
		at = 4
	}
	if len(b) >= at+6 && b[at] == 0x41 && b[at+1] == 0xbb {
		at += 6
	}
	if len(b) > at && b[at] == 0xf2 {
		at++
	}
	if len(b) < at+6 || b[at] != 0xff || b[at+1] != 0x25 {
		return 0, false
	}
	return a + Addr(at+6) + Addr(int64(int32(le.Uint32(b[at+2:])))), true
}

// PLTName tells which import the PLT entry at a calls.
// ok is false for IFUNC slots without a name and where a starts no entry.
func (m *Image) PLTName(a Addr) (Import, bool) {
	i, ok := m.pltNames[a]
	return i, ok
}

// PLTOf is the PLT entry that calls name (any version when v is "").
func (m *Image) PLTOf(name, v string) (Addr, bool) {
	a, ok := m.pltEntries[Import{name, v}]
	return a, ok
}
