package image_test

import (
	"bytes"
	"debug/elf"
	"slices"
	"strings"
	"testing"

	"hotpatch/internal/image"
	"hotpatch/internal/testkit"
)

func TestClassesTellWhatAddressesAreFor(t *testing.T) {
	for _, v := range variants {
		t.Run(v.name, func(t *testing.T) {
			path, _ := v.build(t)
			m := open(t, path)
			table := image.RelRO
			if v.name == "fixed address" {
				table = image.ROData // pointers need no relocation there
			}
			for name, want := range map[string]image.Class{
				"counter": image.Data, "zeros": image.BSS, "banner": image.ROData, "table": table,
				"pick": image.Text, "_DYNAMIC": image.Meta,
			} {
				a := symbol(t, path, name)
				if got := m.ClassAt(a); got != want {
					t.Errorf("%s at %#x: class %v, want %v", name, a, got, want)
				}
				if w := want == image.Data || want == image.BSS; want.Writable() != w {
					t.Errorf("%v writable: %v", want, !w)
				}
			}
			if got := m.Bytes(symbol(t, path, "banner"), 13); string(got) != "hello, image\x00" {
				t.Errorf("banner is %q", got)
			}
			if got := m.Bytes(symbol(t, path, "zeros"), 4); got != nil {
				t.Errorf("zeros have content: % x", got)
			}
			checkSections(t, m)
		})
	}
}

func checkSections(t *testing.T, m *image.Image) {
	t.Helper()
	classes := map[string]image.Class{
		".text": image.Text, ".init": image.Text, ".plt": image.PLT, ".plt.got": image.PLT, ".plt.sec": image.PLT,
		".got": image.GOT, ".got.plt": image.GOT, ".init_array": image.Init, ".fini_array": image.Init,
		".tdata": image.TLS, ".tbss": image.TLS, ".eh_frame": image.Meta, ".eh_frame_hdr": image.Meta,
		".dynsym": image.Meta, ".dynamic": image.Meta, ".interp": image.Meta, ".rela.dyn": image.Meta,
		".note.gnu.build-id": image.Meta, ".rodata": image.ROData, ".data": image.Data, ".bss": image.BSS,
		".data.rel.ro": image.RelRO,
	}
	for i, s := range m.Sections {
		if i > 0 && m.Sections[i-1].Addr > s.Addr {
			t.Fatalf("%s is out of order", s.Name)
		}
		if want, ok := classes[s.Name]; ok && s.Class != want {
			t.Errorf("%s: class %v, want %v", s.Name, s.Class, want)
		}
		if s.Size == 0 || s.Name == ".tbss" {
			continue
		}
		if m.SectionAt(s.Addr) != s || m.SectionAt(s.Addr+s.Size-1) != s {
			t.Errorf("SectionAt does not find %s", s.Name)
		}
		end := m.SectionAt(s.Addr + s.Size)
		if end == nil || end != s && end.Addr != s.Addr+s.Size {
			t.Errorf("the end of %s is in %v", s.Name, end)
		}
		if s.Data == nil {
			continue
		}
		last := m.Bytes(s.Addr+s.Size-1, 100)
		if len(last) != 1 || cap(last) != 1 || last[0] != s.Data[s.Size-1] {
			t.Errorf("the last byte of %s is % x", s.Name, last)
		}
	}
	if m.SectionAt(^image.Addr(0)) != nil || m.ClassAt(^image.Addr(0)) != image.None || m.Bytes(^image.Addr(0), 8) != nil {
		t.Error("something is at the highest address")
	}
	if m.Bytes(m.Sections[0].Addr, -1) != nil {
		t.Error("a negative number of bytes")
	}
}

// TestThreadLocalZerosShadowNothing: .tbss has an address, but what follows
// .tdata in memory is another section.
func TestThreadLocalZerosShadowNothing(t *testing.T) {
	path, _ := variants[0].build(t)
	m := open(t, path)
	i := slices.IndexFunc(m.Sections, func(s *image.Section) bool { return s.Name == ".tbss" })
	if i < 0 {
		t.Fatal("no .tbss")
	}
	tbss := m.Sections[i]
	if got := m.SectionAt(tbss.Addr); got == nil || got == tbss || got.Class == image.TLS && got.Addr == tbss.Addr {
		t.Errorf("at the address of .tbss is %+v", got)
	}
	if m.TLSSize != 8 || !bytes.Equal(m.TLSInit, []byte{5, 0, 0, 0}) || m.TLSAlign != 4 {
		t.Errorf("TLS: size %d, align %d, init % x", m.TLSSize, m.TLSAlign, m.TLSInit)
	}
	// The values of TLS symbols are offsets: 0 and 4 here.
	for _, a := range []image.Addr{0, 4} {
		for _, s := range m.SymbolsAt(a) {
			t.Errorf("symbol %+v at address %#x", s, a)
		}
	}
	found := slices.ContainsFunc(m.Symbols, func(s image.Symbol) bool {
		return s.Name == "per_thread_zero" && s.Type == elf.STT_TLS && s.Addr == 4
	})
	if !found {
		t.Error("per_thread_zero is no TLS symbol at offset 4")
	}
}

func TestKindOfImage(t *testing.T) {
	for _, v := range variants {
		t.Run(v.name, func(t *testing.T) {
			path, _ := v.build(t)
			m := open(t, path)
			if want := v.name != "fixed address"; m.PIE != want {
				t.Errorf("PIE: %v", m.PIE)
			}
			if want := v.name == "shared library"; m.Library != want {
				t.Errorf("library: %v", m.Library)
			}
			if want := map[bool]string{true: "libp.so.1"}[m.Library]; m.Soname != want {
				t.Errorf("soname %q", m.Soname)
			}
			if want := v.name != "static PIE"; slices.Contains(m.Needed, "libc.so.6") != want {
				t.Errorf("needed %q", m.Needed)
			}
			testkit.Tools(t, "readelf")
			if notes := testkit.Run(t, "readelf", "-n", path); len(m.BuildID) != 40 || !strings.Contains(notes, "Build ID: "+string(m.BuildID)+"\n") {
				t.Errorf("build-id %s, want that of %s", m.BuildID, notes)
			}
			if m.Path != path {
				t.Errorf("path %s", m.Path)
			}
			if len(m.Loads) < 3 || !slices.IsSortedFunc(m.Loads, func(a, b image.Load) int { return int(a.Addr) - int(b.Addr) }) {
				t.Errorf("loads: %+v", m.Loads)
			}
		})
	}
}
