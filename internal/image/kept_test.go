package image_test

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"os"
	"strings"
	"testing"

	"hotpatch/internal/image"
	"hotpatch/internal/testkit"
)

// atFixedAddress is the program of the other tests, linked to one.
var atFixedAddress = []string{"-O2", "-no-pie", "-fno-pie"}

func TestProgramAtAFixedAddressSaysWhatItDoesNotKnow(t *testing.T) {
	m := open(t, compile(t, program, atFixedAddress...))
	if !errors.Is(m.Unkept(), image.ErrUnkept) || len(m.Kept) > 0 {
		t.Errorf("%v, %d relocations", m.Unkept(), len(m.Kept))
	}
	if m := open(t, compile(t, program, "-O2", "-fPIE", "-pie", "-Wl,--emit-relocs")); m.Unkept() != nil || len(m.Kept) > 0 {
		t.Errorf("of a position-independent one: %v, %d relocations", m.Unkept(), len(m.Kept))
	}
}

func TestKeptRelocationsTellAddresses(t *testing.T) {
	for _, more := range [][]string{nil, {"-static"}, {"-fuse-ld=gold"}, {"-fno-plt"}, {"-fPIE"}, {"-mcmodel=large"}} {
		t.Run(strings.Join(more, " "), func(t *testing.T) {
			if len(more) > 0 && more[0] == "-fuse-ld=gold" {
				testkit.Tool(t, "ld.gold")
			}
			flags := append(append([]string{"-Wl,--emit-relocs"}, atFixedAddress...), more...)
			path := compile(t, program, flags...)
			m := open(t, path)
			if m.Unkept() != nil {
				t.Fatal(m.Unkept())
			}
			table := named(t, m, "table")
			if c := m.ClassAt(table.Addr); c != image.RelRO {
				t.Errorf("the table of pointers has class %d", c)
			}
			for i, want := range []string{"red", "green", "blue"} {
				r := m.RelocAt(table.Addr + image.Addr(8*i))
				if r == nil || r.Type != elf.R_X86_64_RELATIVE {
					t.Fatalf("slot %d: %+v", i, r)
				}
				if got := m.Bytes(image.Addr(r.Add), len(want)+1); string(got) != want+"\x00" {
					t.Errorf("slot %d points to %q", i, got)
				}
			}
			if c := m.ClassAt(named(t, m, "banner").Addr); c != image.ROData {
				t.Errorf("the string has class %d", c)
			}
			setup := named(t, m, "setup").Addr
			found := false
			for _, s := range m.Sections {
				if s.Class == image.Init {
					for _, r := range m.RelocsIn(s.Addr, s.Addr+s.Size) {
						found = found || image.Addr(r.Add) == setup
					}
				}
			}
			if !found {
				t.Error("no pointer to the constructor")
			}
			absolute, banner := 0, named(t, m, "banner")
			for _, k := range m.Kept {
				if k.Absolute() {
					absolute++
				}
				if k.Target == banner.Addr && (k.Lo != banner.Addr || k.Hi != banner.Addr+image.Addr(banner.Size)) {
					t.Errorf("%#x: banner is [%#x, %#x)", uint64(k.At), uint64(k.Lo), uint64(k.Hi))
				}
			}
			if absolute < 3 {
				t.Errorf("%d absolute fields", absolute)
			}
		})
	}
}

// TestSwitchTablesStayWithTheConstants, and only these.
func TestSwitchTablesStayWithTheConstants(t *testing.T) {
	m := open(t, compile(t, program, append([]string{"-Wl,--emit-relocs"}, atFixedAddress...)...))
	pick := named(t, m, "pick")
	n := 0
	for _, r := range m.Relocs {
		if to := image.Addr(r.Add); r.Type == elf.R_X86_64_RELATIVE && to > pick.Addr && to < pick.Addr+image.Addr(pick.Size) {
			n++
			if c := m.ClassAt(r.At); c != image.ROData {
				t.Errorf("%#x has class %d", uint64(r.At), c)
			}
		}
	}
	if n < 5 {
		t.Errorf("a switch of %d cases", n)
	}
}

func TestCanonicalAddressesOfImports(t *testing.T) {
	const source = `
#include <string.h>
#include <stdio.h>
void *volatile p;
int main(void) { p = (void *)strcmp; puts("x"); return 0; }`
	m := open(t, compile(t, source, append([]string{"-Wl,--emit-relocs"}, atFixedAddress...)...))
	a, ok := m.Canonical("strcmp", "")
	if plt, known := m.PLTOf("strcmp", ""); !ok || !known || plt != a {
		t.Errorf("strcmp is at %#x %v, its PLT entry at %#x %v", uint64(a), ok, uint64(plt), known)
	}
	if a, ok := m.Canonical("puts", ""); ok {
		t.Errorf("puts is at %#x", uint64(a))
	}
}

func named(t *testing.T, m *image.Image, name string) image.Symbol {
	t.Helper()
	for _, s := range m.Symbols {
		if s.Name == name {
			return s
		}
	}
	t.Fatalf("no symbol %s", name)
	return image.Symbol{}
}

// section is where a section's header and content are in a file.
func section(t testing.TB, b []byte, name string) (header, off, size uint64) {
	t.Helper()
	f, err := elf.NewFile(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	for i, s := range f.Sections {
		if s.Name == name {
			return binary.LittleEndian.Uint64(b[40:]) + uint64(64*i), s.Offset, s.Size
		}
	}
	t.Fatalf("no section %s", name)
	return 0, 0, 0
}

// Whatever was done to the file after it was linked is noticed, and where.
func TestRelocationsThatDoNotFitAreNoticed(t *testing.T) {
	path := compile(t, program, append([]string{"-Wl,--emit-relocs"}, atFixedAddress...)...)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	le := binary.LittleEndian
	// first is the first relocation of a type in a section.
	first := func(b []byte, name string, typ elf.R_X86_64) []byte {
		_, off, size := section(t, b, name)
		for e := b[off : off+size]; len(e) > 0; e = e[24:] {
			if elf.R_X86_64(uint32(le.Uint64(e[8:]))) == typ {
				return e[:24]
			}
		}
		t.Fatalf("no %v in %s", typ, name)
		return nil
	}
	for name, tc := range map[string]struct {
		change func(b []byte)
		want   []string
	}{
		"another immediate": {func(b []byte) {
			e := first(b, ".rela.text", elf.R_X86_64_32)
			h, off, _ := section(t, b, ".text")
			b[off+le.Uint64(e)-le.Uint64(b[h+16:])]++
		}, []string{".rela.text", ".text at 0x", "offset 0x", "changed after it was linked"}},
		"another distance": {func(b []byte) {
			e := first(b, ".rela.text", elf.R_X86_64_PC32)
			h, off, _ := section(t, b, ".text")
			b[off+le.Uint64(e)-le.Uint64(b[h+16:])]++
		}, []string{".rela.text", "changed after it was linked"}},
		"another pointer": {func(b []byte) {
			e := first(b, ".rela.rodata", elf.R_X86_64_64)
			h, off, _ := section(t, b, ".rodata")
			b[off+le.Uint64(e)-le.Uint64(b[h+16:])]++
		}, []string{".rela.rodata", ".rodata at 0x", "changed after it was linked"}},
		"another addend": {func(b []byte) { first(b, ".rela.text", elf.R_X86_64_32)[16]++ }, []string{".rela.text", "changed after it was linked"}},
		"another place":  {func(b []byte) { le.PutUint64(first(b, ".rela.text", elf.R_X86_64_32), 0x500000) }, []string{".rela.text", "0x500000 is not in .text"}},
		"a symbol that is not there": {func(b []byte) {
			le.PutUint32(first(b, ".rela.text", elf.R_X86_64_32)[12:], 1<<30)
		}, []string{"symbol 1073741824 of"}},
		"a type that nobody knows": {func(b []byte) { first(b, ".rela.text", elf.R_X86_64_32)[8] = 99 }, []string{"not understood"}},
		"half a relocation": {func(b []byte) {
			h, _, size := section(t, b, ".rela.text")
			le.PutUint64(b[h+32:], size-1)
		}, []string{"no multiple of 24"}},
		"no relocations of constants": {func(b []byte) {
			h, _, _ := section(t, b, ".rela.rodata")
			le.PutUint32(b[h+4:], uint32(elf.SHT_PROGBITS))
		}, []string{".rodata", "looks like an address"}},
		"another symbol table": {func(b []byte) {
			h, _, _ := section(t, b, ".rela.text")
			le.PutUint32(b[h+40:], 0)
		}, []string{".rela.text", "link 0"}},
	} {
		t.Run(name, func(t *testing.T) {
			b := bytes.Clone(whole)
			tc.change(b)
			m, err := image.Read(bytes.NewReader(b), int64(len(b)), "changed")
			if err != nil {
				t.Fatal(err)
			}
			if m.Unkept() == nil || len(m.Kept) > 0 {
				t.Fatalf("%v, %d relocations", m.Unkept(), len(m.Kept))
			}
			for _, w := range tc.want {
				if !strings.Contains(m.Unkept().Error(), w) {
					t.Errorf("%q does not say %q", m.Unkept(), w)
				}
			}
			for _, r := range m.Relocs {
				if r.Type == elf.R_X86_64_RELATIVE {
					t.Fatalf("a pointer at %#x is believed", uint64(r.At))
				}
			}
		})
	}
}

// FuzzKept: any bytes as the relocations of code, constants or variables.
func FuzzKept(f *testing.F) {
	whole, err := os.ReadFile(compile(f, program, append([]string{"-Wl,--emit-relocs"}, atFixedAddress...)...))
	if err != nil {
		f.Fatal(err)
	}
	le := binary.LittleEndian
	names := []string{".rela.text", ".rela.rodata", ".rela.init_array"}
	var headers []uint64
	for i, n := range names {
		h, off, size := section(f, whole, n)
		headers = append(headers, h)
		f.Add(byte(i), bytes.Clone(whole[off:off+size]))
	}
	f.Add(byte(0), le.AppendUint64(le.AppendUint64(le.AppendUint64(nil, 0x401000), uint64(elf.R_X86_64_GOTPCREL)), ^uint64(3)))
	f.Fuzz(func(t *testing.T, which byte, rela []byte) {
		h := headers[int(which)%len(headers)]
		b := append(bytes.Clone(whole), rela...)
		le.PutUint64(b[h+24:], uint64(len(whole)))
		le.PutUint64(b[h+32:], uint64(len(rela)))
		m, err := image.Read(bytes.NewReader(b), int64(len(b)), "fuzz")
		if err != nil {
			t.Fatal(err) // what is kept is no part of what must be right
		}
		use(m)
	})
}
