package image_test

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"hotpatch/internal/image"
	"hotpatch/internal/testkit"
)

var le = binary.LittleEndian

// damage changes a copy of a good file. sh returns the section header of that
// name.
type damage func(b []byte, sh func(name string) []byte) []byte

func put16(at int, v uint16) damage {
	return func(b []byte, _ func(string) []byte) []byte { le.PutUint16(b[at:], v); return b }
}

func put64(at int, v uint64) damage {
	return func(b []byte, _ func(string) []byte) []byte { le.PutUint64(b[at:], v); return b }
}

// section64 changes a field of a section header: 16 address, 24 offset, 32 size.
func section64(name string, field int, v uint64) damage {
	return func(b []byte, sh func(string) []byte) []byte { le.PutUint64(sh(name)[field:], v); return b }
}

func section32(name string, field int, v uint32) damage {
	return func(b []byte, sh func(string) []byte) []byte { le.PutUint32(sh(name)[field:], v); return b }
}

func TestBadFilesAreRefusedByName(t *testing.T) {
	path, _ := variants[0].build(t)
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		damage damage
		want   string
	}{
		{"empty", func(b []byte, _ func(string) []byte) []byte { return nil }, "not an ELF file: only 0 bytes"},
		{"text", func(b []byte, _ func(string) []byte) []byte { return []byte(strings.Repeat("#!/bin/sh\n", 10)) }, "not an ELF file: starts with 23 21 2f 62"},
		{"header only", func(b []byte, _ func(string) []byte) []byte { return b[:64] }, "truncated"},
		{"half", func(b []byte, _ func(string) []byte) []byte { return b[:len(b)/2] }, "section headers"},
		{"last byte", func(b []byte, _ func(string) []byte) []byte { return b[:len(b)-1] }, "section headers"},
		{"32 bits", func(b []byte, _ func(string) []byte) []byte { b[4] = 1; return b }, "is a 32-bit ELF file; hotpatch patches x86-64"},
		{"class", func(b []byte, _ func(string) []byte) []byte { b[4] = 9; return b }, "unknown class 9"},
		{"byte order", func(b []byte, _ func(string) []byte) []byte { b[5] = 2; return b }, "big-endian"},
		{"arm64", put16(18, uint16(elf.EM_AARCH64)), "for arm64; hotpatch patches x86-64"},
		{"riscv", put16(18, uint16(elf.EM_RISCV)), "for riscv64"},
		{"object", put16(16, uint16(elf.ET_REL)), "relocatable object"},
		{"core", put16(16, uint16(elf.ET_CORE)), "core dump"},
		{"type", put16(16, 0x1234), "type"},
		{"no sections", put64(40, 0), "no section headers"},
		{"section headers far away", put64(40, 1<<60), "beyond the end of the file"},
		{"section header size", put16(58, 40), "section headers of 40 bytes"},
		{"too many sections", put16(60, 0xfff0), "section headers"},
		{"name section", put16(62, 0xfff0), "section of their names"},
		{"huge extended count", func(b []byte, sh func(string) []byte) []byte {
			le.PutUint64(sh("")[32:], 1<<50)
			le.PutUint16(b[60:], 0)
			return b
		}, "not believed"},
		{"program header size", put16(54, 32), "program headers of 32 bytes"},
		{"too many program headers", put16(56, 0xfffe), "program headers"},
		{"program headers far away", put64(32, 1<<62), "program headers"},
		{"section beyond the end", section64(".text", 24, 1<<40), ".text: offset 0x10000000000"},
		{"huge section", section64(".rodata", 32, 1<<40), "section"},
		{"address overflow", section64(".bss", 32, ^uint64(0)), ".bss: address"},
		{"same addresses", section64(".rodata", 32, 0x800), "overlap"},
		{"same bytes", section64(".bss", 32, 0x10), ""},
		{"compressed code", section64(".text", 8, uint64(elf.SHF_ALLOC|elf.SHF_EXECINSTR|elf.SHF_COMPRESSED)), ".text: allocated"},
		{"symbol table size", section64(".dynsym", 32, 25), ".dynsym: size"},
		{"symbol names", section32(".dynsym", 40, 0), ".dynsym: link 0"},
		{"version table", section64(".gnu.version", 32, 2), ".gnu.version: 2 bytes for"},
		{"version names", section32(".gnu.version_r", 40, 9999), ".gnu.version_r: link 9999"},
		{"version chain through itself", func(b []byte, sh func(string) []byte) []byte {
			at := le.Uint64(sh(".gnu.version_r")[24:])
			le.PutUint32(b[at+12:], 1)
			return b
		}, ".gnu.version_r: entry at offset 0x0: entries overlap"},
		{"version names in a circle", func(b []byte, sh func(string) []byte) []byte {
			h := sh(".gnu.version_r")
			for at, i := le.Uint64(h[24:]), uint64(0); i < le.Uint64(h[32:]); i += 16 {
				copy(b[at+i:], []byte{1, 0, 255, 255, 0, 0, 0, 0, 0, 0, 0, 0, 1})
			}
			return b
		}, ".gnu.version_r"},
		{"relocation table", section64(".rela.dyn", 32, 25), ".rela.dyn: size"},
		{"short symbol table", section64(".dynsym", 32, 24), "symbol"},
		{"Go", func(b []byte, _ func(string) []byte) []byte {
			return bytes.Replace(b, []byte(".gnu.version_r\x00"), []byte(".gopclntab\x00\x00\x00\x00\x00"), 1)
		}, "Go program"},
		{"no build-id", section32(".note.gnu.build-id", 4, uint32(elf.SHT_PROGBITS)), "no build-id"},
		{"unwind data", func(b []byte, sh func(string) []byte) []byte {
			le.PutUint32(b[le.Uint64(sh(".eh_frame")[24:]):], 0x7fffffff)
			return b
		}, ".eh_frame offset 0x0: entry of 2147483647 bytes"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := bytes.Clone(good)
			b = c.damage(b, func(name string) []byte { return sectionHeader(t, b, name) })
			m, err := image.Read(bytes.NewReader(b), int64(len(b)), "the/file")
			if c.want == "" {
				if err != nil {
					t.Errorf("harmless change: %v", err)
				}
				return
			}
			if err == nil || m != nil {
				t.Fatal("no error")
			}
			if !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "read the/file: ") {
				t.Errorf("%v\nwant: %s", err, c.want)
			}
		})
	}
}

// sectionHeader finds the header of a section in a good file.
func sectionHeader(t *testing.T, b []byte, name string) []byte {
	t.Helper()
	f, err := elf.NewFile(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	for i, s := range f.Sections {
		if s.Name == name {
			return b[le.Uint64(b[40:])+uint64(i)*64:][:64]
		}
	}
	t.Fatalf("no section %q", name)
	return nil
}

func TestErrorsThatCallersAskFor(t *testing.T) {
	noID := compile(t, "int main(void) { return 0; }", "-Wl,--build-id=none")
	if _, err := image.Open(noID); !errors.Is(err, image.ErrNoBuildID) {
		t.Errorf("no build-id: %v", err)
	}
	// The test binary itself is a Go program.
	if self, err := os.Executable(); err != nil {
		t.Error(err)
	} else if _, err := image.Open(self); !errors.Is(err, image.ErrGoBinary) || !strings.Contains(err.Error(), "Go program") {
		t.Errorf("Go: %v", err)
	}
	if _, err := image.Open(filepath.Join(t.TempDir(), "absent")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("absent: %v", err)
	}
	if _, err := image.Open(t.TempDir()); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("directory: %v", err)
	}
	obj := filepath.Join(t.TempDir(), "a.o")
	src := filepath.Join(t.TempDir(), "a.c")
	if err := os.WriteFile(src, []byte("int x;"), 0o600); err != nil {
		t.Fatal(err)
	}
	testkit.Run(t, "gcc", "-c", "-o", obj, src)
	if _, err := image.Open(obj); err == nil || !strings.Contains(err.Error(), "relocatable object") {
		t.Errorf("object: %v", err)
	}
}

// failing reads like a disk that loses a sector, or a package that ends early.
type failing struct {
	io.ReaderAt
	from int64
	err  error
}

func (f failing) ReadAt(p []byte, off int64) (int, error) {
	if off+int64(len(p)) > f.from {
		return 0, f.err
	}
	return f.ReaderAt.ReadAt(p, off)
}

func TestFailedReadIsAnError(t *testing.T) {
	path, _ := variants[0].build(t)
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	broken := errors.New("bad sector")
	for _, from := range []int64{0, 64, 4096, int64(len(good)) - 1} {
		_, err := image.Read(failing{bytes.NewReader(good), from, broken}, int64(len(good)), "x")
		if !errors.Is(err, broken) {
			t.Errorf("from %d: %v", from, err)
		}
	}
	// A size that promises more than there is.
	if _, err := image.Read(bytes.NewReader(good[:100]), int64(len(good)), "x"); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("short reader: %v", err)
	}
	if _, err := image.Read(bytes.NewReader(good), -1, "x"); err == nil {
		t.Error("negative size")
	}
}

// sparse is a file that reads as zeros behind its content.
type sparse struct{ content []byte }

func (s sparse) ReadAt(p []byte, off int64) (int, error) {
	clear(p)
	if off < int64(len(s.content)) {
		copy(p, s.content[off:])
	}
	return len(p), nil
}

// TestHugeClaimsTakeNoMemory: a sparse file really has the sizes that its
// headers claim.
func TestHugeClaimsTakeNoMemory(t *testing.T) {
	path, _ := variants[0].build(t)
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	const size = 1 << 50
	for name, c := range map[string]struct {
		damage damage
		want   string
	}{
		"section": {section64(".rodata", 32, 1<<40), ".rodata"},
		"strings": {section64(".shstrtab", 32, 1<<40), ": 1099511627776 bytes are too many"},
		"sections": {func(b []byte, sh func(string) []byte) []byte {
			le.PutUint64(sh("")[32:], 1<<40)
			le.PutUint16(b[60:], 0)
			return b
		}, "not believed"},
		"segments": {func(b []byte, sh func(string) []byte) []byte {
			le.PutUint32(sh("")[44:], 1<<31)
			le.PutUint16(b[56:], 0xffff)
			return b
		}, "program headers: 2147483648"},
		"thread-local data": {func(b []byte, _ func(string) []byte) []byte {
			for p := b[le.Uint64(b[32:]):]; ; p = p[56:] {
				if elf.ProgType(le.Uint32(p)) == elf.PT_TLS {
					le.PutUint64(p[32:], 1<<40)
					le.PutUint64(p[40:], 1<<40)
					return b
				}
			}
		}, "PT_TLS"},
	} {
		t.Run(name, func(t *testing.T) {
			b := bytes.Clone(good)
			b = c.damage(b, func(name string) []byte { return sectionHeader(t, b, name) })
			if _, err := image.Read(sparse{b}, size, "x"); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %s", err, c.want)
			}
		})
	}
}
