package cli

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"regexp"
	"sort"
	"strings"
	"sync"

	"golang.org/x/arch/x86/x86asm"

	"hotpatch/internal/arch"
	"hotpatch/internal/patch"
)

// disassemble prints the functions that every object carries. The text comes
// from x86asm, which does not know every vector instruction and takes some of
// them for shorter or longer than they are: lengths are arch's, and where the
// two disagree the bytes are printed instead of a guess.
func (a *app) disassemble(b *patch.Bundle) error {
	w := bufio.NewWriter(a.out)
	for i, o := range b.Objects {
		im := b.Manifest.Images[i]
		fmt.Fprintf(w, "%s (build-id %s)\n", a.outStyle.bold(plain(im.Path)), im.BuildIDBase)
		d := newDisassembler(o, im.Sites)
		for _, f := range d.functions {
			d.function(w, f, a.outStyle)
		}
		if i < len(b.Objects)-1 {
			fmt.Fprintln(w)
		}
	}
	return w.Flush()
}

// disassembler knows one object's names.
type disassembler struct {
	o         *patch.Object
	functions []patch.Symbol // internal functions, by address
	named     []patch.Symbol // all internal symbols, by address
	replaces  map[uint64]patch.Site
}

func newDisassembler(o *patch.Object, sites []patch.Site) *disassembler {
	d := &disassembler{o: o, replaces: map[uint64]patch.Site{}}
	for _, s := range sites {
		d.replaces[s.To] = s
	}
	for _, s := range o.Symbols {
		if s.Kind == patch.Internal {
			d.named = append(d.named, s)
			if s.Func {
				d.functions = append(d.functions, s)
			}
		}
	}
	byAddr := func(s []patch.Symbol) func(i, j int) bool {
		return func(i, j int) bool { return s[i].Value < s[j].Value }
	}
	sort.SliceStable(d.named, byAddr(d.named))
	sort.SliceStable(d.functions, byAddr(d.functions))
	return d
}

// bytes are up to n bytes at an object address, fewer at a chunk's end.
func (d *disassembler) bytes(addr, n uint64) []byte {
	if c := d.o.ChunkAt(addr); c != nil {
		off := addr - c.Addr
		return c.Data[off:min(off+n, uint64(len(c.Data)))]
	}
	return nil
}

func (d *disassembler) function(w io.Writer, f patch.Symbol, style palette) {
	head := ""
	if s, ok := d.replaces[f.Value]; ok {
		head = style.dim(fmt.Sprintf("  # takes over %s at %#x of the base image", plain(s.Name), s.Base))
	}
	fmt.Fprintf(w, "\n%016x <%s>:%s\n", f.Value, style.bold(plain(f.Name)), head)
	instructions(d.bytes(f.Value, f.Size), f.Value, func(addr uint64, raw []byte, in arch.Inst, ok bool) {
		text, comment := byteDirective(raw), ""
		if ok {
			label, quote := d.target(in, raw, addr)
			text, comment = instructionText(in, raw, addr, label)
			comment = strings.TrimSpace(comment + quote)
		}
		if comment != "" {
			comment = "  " + style.dim("# "+comment)
		}
		fmt.Fprintf(w, "%8x:\t%-30s\t%s%s\n", addr, fmt.Sprintf("% x", raw), text, comment)
	})
}

// instructions cuts code into instructions; what is none we know comes byte by
// byte, as from objdump, with ok false.
func instructions(code []byte, addr uint64, each func(addr uint64, raw []byte, in arch.Inst, ok bool)) {
	for pos := 0; pos < len(code); {
		in, err := arch.Decode(code[pos:])
		n := int(in.Len)
		if err != nil {
			n = 1
		}
		each(addr+uint64(pos), code[pos:pos+n], in, err == nil)
		pos += n
	}
}

// ripOperand is how x86asm prints a PC-relative memory operand.
var ripOperand = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`(-?0x[0-9a-f]+)?\(%rip\)`) })

// instructionText is one instruction, with label (unless it is "") in place of
// its PC-relative field, which in an object is only filled in when nothing has
// to be linked.
func instructionText(in arch.Inst, raw []byte, addr uint64, label string) (text, comment string) {
	if bytes.Equal(raw, []byte{0xf3, 0x0f, 0x1e, 0xfa}) { // at every entry, and unknown to x86asm
		return "endbr64", ""
	}
	x, err := x86asm.Decode(raw, 64)
	if err != nil || x.Len != int(in.Len) {
		if label != "" {
			comment = "→ " + label
		}
		return byteDirective(raw), comment
	}
	text = strings.TrimSpace(x86asm.GNUSyntax(x, addr, nil))
	switch {
	case label == "":
	case in.Rel:
		mnemonic, _, _ := strings.Cut(text, " ")
		text = mnemonic + " " + label
	case strings.Contains(text, "(%rip)"):
		text = ripOperand().ReplaceAllLiteralString(text, label+"(%rip)")
	default:
		comment = "→ " + label
	}
	return text, comment
}

// relocation is the one inside the n bytes at addr, nil when there is none.
func (d *disassembler) relocation(addr, n uint64) *patch.Reloc {
	i := sort.Search(len(d.o.Relocs), func(i int) bool { return d.o.Relocs[i].At >= addr })
	if i < len(d.o.Relocs) && d.o.Relocs[i].At-addr < n {
		return &d.o.Relocs[i]
	}
	return nil
}

// target names what the instruction's PC-relative or relocated field refers
// to, and quotes it if it is a string; "" when there is no such field.
func (d *disassembler) target(in arch.Inst, raw []byte, addr uint64) (label, quote string) {
	if r := d.relocation(addr, uint64(in.Len)); r != nil {
		off := r.Add
		if r.Type == patch.PC32 {
			off += int64(addr + uint64(in.Len) - r.At) // the processor counts from the end of the instruction
		}
		if r.Sym < 0 {
			return d.place(uint64(off))
		}
		return plain(withOffset(symbolText(d.o.Symbols[r.Sym]), off)), ""
	}
	if t, ok := in.Target(addr, raw); ok {
		return d.place(t)
	}
	return "", ""
}

// symbolText is the name as readelf shows it.
func symbolText(s patch.Symbol) string {
	switch {
	case s.Kind == patch.Base:
		return "base:" + s.Name
	case s.Kind == patch.Import && s.Version != "":
		return s.Name + "@" + s.Version
	default:
		return s.Name
	}
}

func withOffset(name string, off int64) string {
	if off == 0 {
		return name
	}
	return fmt.Sprintf("%s%+#x", name, off)
}

// symbolOver is the internal symbol that addr lies in, nil when none.
func (d *disassembler) symbolOver(addr uint64) *patch.Symbol {
	i := sort.Search(len(d.named), func(i int) bool { return d.named[i].Value > addr })
	if i > 0 {
		if s := &d.named[i-1]; addr-s.Value < max(s.Size, 1) {
			return s
		}
	}
	return nil
}

// place names an address of the object: the symbol it lies in, else a number.
func (d *disassembler) place(addr uint64) (label, quote string) {
	if s := d.quoted(addr); s != "" {
		quote = "  " + s
	}
	if s := d.symbolOver(addr); s != nil {
		return plain(withOffset(s.Name, int64(addr-s.Value))), quote
	}
	return fmt.Sprintf("%#x", addr), quote
}

// quoted is the string at an address, if there is one: constants are what a
// reviewer looks for.
func (d *disassembler) quoted(addr uint64) string {
	const most = 60
	c := d.o.ChunkAt(addr)
	if c == nil || c.Kind != patch.Const {
		return ""
	}
	s, _ := stringIn(c.Data[addr-c.Addr:])
	if len(s) > most {
		return fmt.Sprintf("%.*q...", most, s)
	} else if s == "" {
		return ""
	}
	return fmt.Sprintf("%q", s)
}

// stringIn is the text of printable ASCII that data starts with, up to a NUL.
func stringIn(data []byte) (string, bool) {
	s, _, ended := bytes.Cut(data, []byte{0})
	if !ended || len(s) == 0 || bytes.ContainsFunc(s, func(r rune) bool { return r < ' ' && r != '\n' && r != '\t' || r > '~' }) {
		return "", false
	}
	return string(s), true
}

func byteDirective(b []byte) string {
	s := make([]string, len(b))
	for i, x := range b {
		s[i] = fmt.Sprintf("%#02x", x)
	}
	return ".byte " + strings.Join(s, ",")
}
