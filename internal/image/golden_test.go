package image_test

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"hotpatch/internal/image"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// TestGolden pins down what is read from a file that does not depend on the
// tools at hand (testdata/small.s says how it was made).
func TestGolden(t *testing.T) {
	got := describe(open(t, "testdata/small.elf"))
	if *update {
		if err := os.WriteFile("testdata/small.golden", []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile("testdata/small.golden")
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func describe(m *image.Image) string {
	var b strings.Builder
	p := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	classes := []string{"none", "text", "plt", "rodata", "relro", "got", "data", "bss", "init", "tls", "meta"}
	sources := []string{"fde", "symbol", "gap"}
	p("%s %s PIE %v library %v soname %q needed %q stripped %v", m.Path, m.BuildID, m.PIE, m.Library, m.Soname, m.Needed, m.Stripped)
	p("TLS %d bytes, align %d, init % x", m.TLSSize, m.TLSAlign, m.TLSInit)
	for _, l := range m.Loads {
		p("load %#x off %#x file %#x mem %#x %v", uint64(l.Addr), l.Off, l.File, l.Mem, l.Flags)
	}
	for _, s := range m.Sections {
		p("section %#x %#x %s %s align %d, %d bytes", uint64(s.Addr), uint64(s.Size), classes[s.Class], s.Name, s.Align, len(s.Data))
	}
	for _, f := range m.Funcs {
		p("function %d %#x-%#x %q from %s, LSDA %#x, fragment %v", f.Index, uint64(f.Lo), uint64(f.Hi), f.Names, sources[f.Source], uint64(f.LSDA), f.Fragment)
	}
	for _, g := range m.Gaps() {
		p("gap %#x-%#x", uint64(g.Lo), uint64(g.Hi))
	}
	for _, r := range m.Relocs {
		p("relocation %#x %v %q %q at %#x + %#x", uint64(r.At), r.Type, r.Sym, r.Version, uint64(r.SymAddr), r.Add)
	}
	for _, s := range m.Symbols {
		p("symbol %#x %d %v %q %q dynamic %v local %v", uint64(s.Addr), s.Size, s.Type, s.Name, s.Version, s.Dynamic, s.Local)
	}
	for _, s := range m.Sections {
		for a := s.Addr; s.Class == image.PLT && a < s.Addr+s.Size; a++ {
			if i, ok := m.PLTName(a); ok {
				p("plt %#x %s %s", uint64(a), i.Name, i.Version)
			}
		}
	}
	return b.String()
}
