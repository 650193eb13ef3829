package cli

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"strings"

	"golang.org/x/arch/x86/x86asm"

	"hotpatch/internal/arch"
	"hotpatch/internal/patch"
)

// listingLine is one instruction in a form that two builds can be compared by:
// nothing in text or note depends on where the linker put things.
type listingLine struct {
	addr   uint64
	raw    []byte
	text   string // "%s" in place of the label of a branch inside the listing
	note   string // the string or constant it uses
	form   string // the bytes but for the field that note or text speak of; "" of a direct branch, whose length says nothing
	branch int    // index of the line that such a branch leads to; -1: none
	label  string // of this line, once something leads to it
}

// withLabel is the text with the label of its branch filled in.
func (l *listingLine) withLabel(label string) string { return strings.Replace(l.text, "%s", label, 1) }

// side is one of the two images, as the reviewed code sees it.
type side interface {
	// code are n bytes at an address.
	code(addr, n uint64) []byte
	// target is what the field of an instruction leads to.
	target(in arch.Inst, raw []byte, addr uint64) operand
}

// operand is what an instruction refers to: a name, or a constant.
type operand struct {
	addr uint64 // on this side; only then it may be a branch inside the listing
	name string
	data []byte // what a constant starts with
	ok   bool   // there is such a field
}

// block is a stretch of code.
type block struct{ lo, hi uint64 }

// listing is the code of one function: its blocks in the order given, the
// function itself first. Nops that align what follows are left out.
func listing(s side, blocks []block) []listingLine {
	var lines []listingLine
	at := map[uint64]int{}
	var to []uint64 // of lines: where their branch leads; 0: nowhere inside
	for i, b := range blocks {
		if i > 0 {
			lines, to = append(lines, listingLine{text: "(a part of it that lies elsewhere)"}), append(to, 0)
		}
		start := len(lines)
		instructions(s.code(b.lo, b.hi-b.lo), b.lo, func(addr uint64, raw []byte, in arch.Inst, ok bool) {
			at[addr] = len(lines)
			if isNop(raw) {
				return
			}
			l, inside := lineOf(s, blocks, addr, raw, in, ok)
			lines, to = append(lines, l), append(to, inside)
		})
		lines = trimPadding(lines, start)
		to = to[:len(lines)]
	}
	for i := range lines {
		lines[i].branch = -1
		if to[i] == 0 {
			continue
		}
		if k, ok := at[to[i]]; ok && k < len(lines) {
			lines[i].branch = k
		} else { // into the middle of an instruction: only in code that is none
			lines[i].text = lines[i].withLabel(fmt.Sprintf("%#x", to[i]))
		}
	}
	return lines
}

func isNop(raw []byte) bool {
	return arch.Padding(raw) == len(raw) && raw[0] != 0 && raw[0] != 0xcc
}

// trimPadding takes the filler behind the code away: the pre-image of a base
// function holds it, a function's size does not.
func trimPadding(lines []listingLine, start int) []listingLine {
	n := len(lines)
	for n > start+1 && arch.Padding(lines[n-1].raw) == len(lines[n-1].raw) {
		n--
	}
	return lines[:n]
}

func lineOf(s side, blocks []block, addr uint64, raw []byte, in arch.Inst, ok bool) (l listingLine, inside uint64) {
	l.addr, l.raw = addr, raw
	if !in.Rel {
		l.form = maskedBytes(in, raw)
	}
	if !ok {
		l.text = byteDirective(raw)
		return l, 0
	}
	t := s.target(in, raw, addr)
	if t.ok && in.Rel && t.addr != 0 && !in.IsCall() {
		for _, b := range blocks {
			if t.addr >= b.lo && t.addr < b.hi {
				text, _ := instructionText(in, raw, addr, "%s")
				if strings.HasPrefix(text, ".byte") { // loop and jrcxz, which x86asm does not print
					text = ".byte " + strings.Trim(fmt.Sprintf("% x", raw[:in.ImmOff]), " ") + " → %s"
				}
				l.text = text
				return l, t.addr
			}
		}
	}
	label := t.name
	if t.data != nil {
		label, l.note = constantText(t.data, in, raw)
	}
	text, comment := instructionText(in, raw, addr, label)
	if comment != "" || strings.HasPrefix(text, ".byte") {
		text = maskedBytes(in, raw)
		if label != "" {
			text += " → " + label
		}
	}
	l.text = text
	return l, 0
}

// maskedBytes are the bytes of an instruction that x86asm cannot print, without
// its PC-relative field.
func maskedBytes(in arch.Inst, raw []byte) string {
	var w strings.Builder
	w.WriteString(".byte")
	for i, b := range raw {
		switch {
		case in.Base == arch.RIP && i >= int(in.DispOff) && i < int(in.DispOff)+int(in.DispLen),
			in.Rel && i >= int(in.ImmOff) && i < int(in.ImmOff)+int(in.ImmLen):
			w.WriteString(" ..")
		default:
			fmt.Fprintf(&w, " %02x", b)
		}
	}
	return w.String()
}

// constantText names a constant by its content, and shows it: what is read
// where it is read, and where only its address is taken the string, or what
// else starts there.
func constantText(data []byte, in arch.Inst, raw []byte) (label, note string) {
	const most = 200
	if !takesAddress(in) {
		n := 16
		if x, err := x86asm.Decode(raw, 64); err == nil && x.MemBytes > 0 {
			n = x.MemBytes
		}
		return "const", "0x" + littleEndianHex(data[:min(n, len(data))])
	}
	if s, ok := stringIn(data); ok {
		if len(s) > most { // the digest tells strings apart that are cut alike
			return "string", fmt.Sprintf("%.*q… (%d bytes, sha256 %s…)", most, s, len(s), shortDigest([]byte(s)))
		}
		return "string", fmt.Sprintf("%q", s)
	}
	return "constants", fmt.Sprintf("% x… (sha256 %s…)", data[:min(len(data), 12)], shortDigest(data))
}

func takesAddress(in arch.Inst) bool { return in.Map == 0 && in.Op == 0x8d } // lea

func shortDigest(b []byte) string {
	sum := sha256.Sum256(b)
	return fmt.Sprintf("%x", sum[:4])
}

func littleEndianHex(b []byte) string {
	r := make([]byte, len(b))
	for i := range b {
		r[len(b)-1-i] = b[i]
	}
	s := strings.TrimLeft(fmt.Sprintf("%x", r), "0")
	if s == "" {
		return "0"
	}
	return s
}

// baseSide is the code that is replaced, as the file records it.
type baseSide struct{ b *patch.Before }

func (s baseSide) code(addr, n uint64) []byte { return s.b.CodeAt(addr, n) }

func (s baseSide) target(in arch.Inst, raw []byte, addr uint64) operand {
	t, ok := in.Target(addr, raw)
	if !ok {
		return operand{}
	}
	return s.at(t)
}

// dataName is what is at an address that has no name.
func dataName(a uint64) string { return fmt.Sprintf("data_%x", a) }

// at is what is at a base address.
func (s baseSide) at(t uint64) operand {
	o := operand{addr: t, ok: true, name: dataName(t)}
	switch p := s.b.PlaceAt(t); {
	case p == nil:
	case p.Name != "":
		o.name = plain(p.Name)
	case s.isJumpTable(t, p.Data):
		o.name = jumpTable
	default:
		o.data = p.Data
	}
	return o
}

const jumpTable = "jump table"

func (s baseSide) isJumpTable(t uint64, data []byte) bool {
	return leadsInto(t, data, func(a uint64) bool { return s.b.CodeAt(a, 1) != nil })
}

// leadsInto: data at t starts like the table of a switch, 32-bit distances from
// the table to code.
func leadsInto(t uint64, data []byte, isCode func(uint64) bool) bool {
	const enough = 3
	for i := range enough {
		if len(data) < 4*(i+1) || !isCode(t+uint64(int64(int32(binary.LittleEndian.Uint32(data[4*i:]))))) {
			return false
		}
	}
	return true
}

// fixedSide is the code that the file brings. What leads to the base image has
// the names of the base side.
type fixedSide struct {
	d    *disassembler
	base baseSide
}

func (s fixedSide) code(addr, n uint64) []byte { return s.d.bytes(addr, n) }

func (s fixedSide) target(in arch.Inst, raw []byte, addr uint64) operand {
	r := s.d.relocation(addr, uint64(in.Len))
	if r == nil {
		t, ok := in.Target(addr, raw)
		if !ok {
			return operand{}
		}
		return s.at(t, takesAddress(in))
	}
	off := r.Add
	if r.Type == patch.PC32 {
		off += int64(addr + uint64(in.Len) - r.At)
	}
	if r.Sym < 0 {
		return s.at(uint64(off), takesAddress(in))
	}
	sym := s.d.o.Symbols[r.Sym]
	o := operand{ok: true, name: plain(withOffset(sym.Name, off))}
	if sym.Kind == patch.Base {
		if sym.Name == fmt.Sprintf("%#x", sym.Value) { // the builder had no name
			o.name = dataName(sym.Value + uint64(off))
		}
		if p := s.base.b.PlaceAt(sym.Value + uint64(off)); p != nil {
			o = s.base.at(sym.Value + uint64(off))
			o.addr = 0 // not on this side
		}
	}
	return o
}

// at is what is at an object address, whose content is read or whose address
// is taken.
func (s fixedSide) at(t uint64, address bool) operand {
	o := operand{addr: t, ok: true, name: dataName(t)}
	c := s.d.o.ChunkAt(t)
	switch {
	case c == nil:
	case c.Kind == patch.Const:
		s.constant(&o, c.Data[t-c.Addr:], address)
	case c.Kind == patch.Var && s.d.relocation(t, 8) != nil:
		if r := s.d.relocation(t, 8); r.At == t && r.Sym >= 0 {
			o.name = plain(s.d.o.Symbols[r.Sym].Name) + "@got"
		}
	default:
		if sym := s.d.symbolOver(t); sym != nil {
			o.name = plain(withOffset(sym.Name, int64(t-sym.Value)))
		}
	}
	return o
}

// constant: the object does not say how long a constant is, so it is compared
// with the constants of the base code.
func (s fixedSide) constant(o *operand, data []byte, address bool) {
	if !address {
		o.data = data[:min(len(data), 64)]
		return
	}
	if leadsInto(o.addr, data, func(a uint64) bool { c := s.d.o.ChunkAt(a); return c != nil && c.Kind == patch.Code }) {
		o.name = jumpTable
		return
	}
	const shown = 64
	o.data = data[:min(len(data), shown)]
	if str, ok := stringIn(data); ok {
		o.data = data[:len(str)+1]
		return
	}
	best := 16
	for i := range s.base.b.Places {
		if p := s.base.b.Places[i].Data; len(p) > best && bytes.HasPrefix(data, p) {
			best, o.data = len(p), data[:len(p)]
		}
	}
}
