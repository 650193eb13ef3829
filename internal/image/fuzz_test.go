package image_test

import (
	"bytes"
	"os"
	"os/exec"
	"runtime"
	"testing"

	"hotpatch/internal/image"
)

// FuzzRead: any bytes give an image that keeps its promises or an error, in
// memory that the input bounds.
func FuzzRead(f *testing.F) {
	small := []string{"-O2", "-nostdlib", "-nostartfiles", "-Wl,-z,noseparate-code", "-Wl,-e,main"}
	const source = `
__thread int t = 3; int v = 1, *p = &v; const char s[] = "x";
extern int foreign(int) __attribute__((weak));
__attribute__((noinline)) int f(int x) { return foreign ? foreign(x) + *p : t; }
int main(void) { return f(2) + s[0]; }`
	for _, flags := range [][]string{
		{"-shared", "-fPIC"}, {"-pie", "-fPIE", "-Wl,-z,pack-relative-relocs"}, {"-no-pie", "-g"}, {"-no-pie", "-fno-pie", "-Wl,--emit-relocs"}, {"-shared", "-fPIC", "-s"},
	} {
		b, err := os.ReadFile(compile(f, source, append(flags, small...)...))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
		f.Add(b[:len(b)/2])
	}
	if _, err := exec.LookPath("objcopy"); err == nil {
		for name, content := range map[string]string{".gnu_debugaltlink": "../x.debug\x00\x01\x02\x03", ".debug_sup": "\x05\x00\x00x.debug\x00\x03abc"} {
			b, err := os.ReadFile(withSection(f, compile(f, source, append([]string{"-shared", "-fPIC", "-g"}, small...)...), name, content))
			if err != nil {
				f.Fatal(err)
			}
			f.Add(b)
		}
	}
	packed, err := os.ReadFile("testdata/packed.elf")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(packed)
	golden, err := os.ReadFile("testdata/small.elf")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(golden)
	if _, err := exec.LookPath("xz"); err == nil {
		b, err := os.ReadFile(withMiniDebug(f, compile(f, source, append([]string{"-shared", "-fPIC"}, small...)...)))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		m, err := image.Read(bytes.NewReader(b), int64(len(b)), "fuzz")
		runtime.ReadMemStats(&after)
		most := 40*uint64(len(b)) + 1<<18
		if bytes.Contains(b, []byte(".gnu_debugdata")) {
			most = 1000*uint64(len(b)) + 40<<20
		}
		if n := after.TotalAlloc - before.TotalAlloc; n > most {
			t.Errorf("%d bytes of memory for %d of input", n, len(b))
		}
		if err != nil {
			return
		}
		use(m)
	})
}

// use calls everything that looks at an image.
func use(m *image.Image) {
	for i, f := range m.Funcs {
		if f.Lo >= f.Hi || i > 0 && m.Funcs[i-1].Hi > f.Lo || m.FuncAt(f.Lo) != f || m.ClassAt(f.Lo) != image.Text {
			panic(f.Name())
		}
		m.Bytes(f.Lo, int(f.Hi-f.Lo))
	}
	for _, s := range m.Sections {
		m.SectionAt(s.Addr + s.Size)
		m.Bytes(s.Addr, 16)
		m.PLTName(s.Addr)
	}
	for _, s := range m.Symbols {
		m.SymbolsAt(s.Addr)
		m.Dynamic(s.Name)
	}
	for _, r := range m.Relocs {
		if m.RelocAt(r.At) == nil {
			panic(r.At)
		}
		m.RelocsIn(r.At, r.At+64)
		m.PLTOf(r.Sym, r.Version)
		m.GOTOf(r.Sym, "")
	}
	for _, k := range m.Kept {
		if len(m.KeptIn(k.At, k.At+1)) != 1 || k.Absolute() && m.ClassAt(k.At) != image.Text {
			panic(k.At)
		}
	}
	if m.Unkept() != nil && (m.PIE || len(m.Kept) > 0) {
		panic(m.Unkept())
	}
	m.Canonical("puts", "")
	m.Gaps()
	m.DWARF()
	if link, err := m.SharedLink(); err == nil && link != nil && (link.Path == "" || link.BuildID == "") {
		panic("a link to nothing")
	}
}

func FuzzFDEs(f *testing.F) {
	var s frames
	c := s.cie("zRL", pcrel4, pcrel4)
	s.fde(c, 0x1000, 0x20, 0x41, 0x0e, 16)
	s.u32(0)
	s.fde(c, 0x900, 0x20)
	f.Add(s.b, uint64(frameAddr))
	var w frames
	c = w.cie("")
	w.entry(true, func(idAt int) { w.u32(uint32(idAt - c)); w.u64(0x10); w.u64(0x20) })
	f.Add(w.b, ^uint64(0)-8)
	f.Fuzz(func(t *testing.T, b []byte, addr uint64) {
		fdes, err := image.FDEs(b, image.Addr(addr))
		if err != nil && fdes != nil {
			t.Fatalf("%v with %d entries", err, len(fdes))
		}
		for i, e := range fdes {
			if e.Lo >= e.Hi || e.CIE == nil || i > 0 && fdes[i-1].Hi > e.Lo {
				t.Fatalf("entry %d of %s", i, ranges(fdes))
			}
		}
	})
}
