package image_test

import (
	"debug/elf"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"hotpatch/internal/image"
	"hotpatch/internal/testkit"
)

const relocIRelative = elf.R_X86_64_IRELATIVE

// TestRelocationsAgreeWithReadelf compares places, types, names, versions and
// addends, those of RELR included.
func TestRelocationsAgreeWithReadelf(t *testing.T) {
	testkit.Tools(t, "readelf")
	for _, v := range variants {
		t.Run(v.name, func(t *testing.T) {
			path, _ := v.build(t)
			m := open(t, path)
			want := relocTruth(t, m, path)
			var got []string
			for _, r := range m.Relocs {
				got = append(got, relocLine(r))
			}
			slices.Sort(want)
			slices.Sort(got)
			if !slices.Equal(got, want) {
				t.Errorf("got  %s\nwant %s", strings.Join(got, "\n     "), strings.Join(want, "\n     "))
			}
			if v.name == "RELR" && !slices.ContainsFunc(m.Sections, func(s *image.Section) bool { return s.Name == ".relr.dyn" }) {
				t.Error("the linker packed no relocations")
			}
			checkRelocs(t, m)
		})
	}
}

func relocLine(r image.Reloc) string {
	sym := r.Sym
	if r.Version != "" {
		sym += "@" + r.Version
	}
	return fmt.Sprintf("%x %s %s %x", uint64(r.At), strings.TrimPrefix(r.Type.String(), "R_X86_64_"), sym, uint64(r.Add))
}

var (
	relaRow = regexp.MustCompile(`^([0-9a-f]{16})\s+[0-9a-f]{16}\s+R_X86_64_(\w+)\s*(.*)$`)
	relrRow = regexp.MustCompile(`^([0-9a-f]{16})$`)
)

// relocTruth reads readelf -rW. Columns after the type: "value sym@VER + add",
// or the addend alone.
func relocTruth(t *testing.T, m *image.Image, path string) []string {
	t.Helper()
	var out []string
	for _, l := range strings.Split(testkit.Run(t, "readelf", "-rW", path), "\n") {
		l = strings.TrimSpace(l)
		if r := relrRow.FindStringSubmatch(l); r != nil {
			at := hex(t, r[1])
			var add image.Addr
			for i, b := range m.Bytes(at, 8) {
				add |= image.Addr(b) << (8 * i)
			}
			out = append(out, fmt.Sprintf("%x RELATIVE  %x", uint64(at), uint64(add)))
			continue
		}
		r := relaRow.FindStringSubmatch(l)
		if r == nil {
			continue
		}
		at, typ, rest := hex(t, r[1]), r[2], strings.Fields(r[3])
		if typ == "JUMP_SLO" || typ == "JUMP_SLOT" {
			typ = "JMP_SLOT"
		}
		sym, add := "", "0"
		switch len(rest) {
		case 1:
			add = rest[0]
		case 4:
			sym, add = rest[1], rest[3]
			sym = strings.Replace(sym, "@@", "@", 1)
			if rest[2] == "-" {
				t.Fatalf("negative addend: %s", l)
			}
		}
		out = append(out, fmt.Sprintf("%x %s %s %s", uint64(at), typ, sym, add))
	}
	if len(out) == 0 {
		t.Fatalf("readelf finds no relocation in %s", path)
	}
	return out
}

func checkRelocs(t *testing.T, m *image.Image) {
	t.Helper()
	for i, r := range m.Relocs {
		if i > 0 && m.Relocs[i-1].At > r.At {
			t.Fatalf("relocation %d is out of order", i)
		}
		if f := m.RelocAt(r.At); f == nil || f.At != r.At {
			t.Fatalf("RelocAt(%#x) is %v", r.At, f)
		}
		if m.RelocAt(r.At+1) != nil {
			t.Fatalf("RelocAt inside %#x", r.At)
		}
		if in := m.RelocsIn(r.At, r.At+1); len(in) == 0 || in[0].At != r.At {
			t.Fatalf("RelocsIn(%#x) is %v", r.At, in)
		}
	}
	if n := len(m.RelocsIn(0, ^image.Addr(0))); n != len(m.Relocs) {
		t.Errorf("RelocsIn finds %d of %d", n, len(m.Relocs))
	}
	if len(m.Relocs) > 1 {
		lo, hi := m.Relocs[0].At, m.Relocs[len(m.Relocs)-1].At
		if n := len(m.RelocsIn(lo, hi)); n != len(m.Relocs)-1 {
			t.Errorf("RelocsIn leaves out %d, want the last one", len(m.Relocs)-n)
		}
		if len(m.RelocsIn(hi, lo)) != 0 {
			t.Error("RelocsIn of an empty range")
		}
	}
}

type pltEntry struct {
	addr image.Addr
	name string
}

var pltRow = regexp.MustCompile(`^([0-9a-f]+) <(.*)@plt>:$`)

// pltTruth are the synthetic symbols of objdump.
func pltTruth(t *testing.T, path string) []pltEntry {
	t.Helper()
	testkit.Tools(t, "objdump")
	var out []pltEntry
	for _, l := range strings.Split(testkit.Run(t, "objdump", "-d", path), "\n") {
		if r := pltRow.FindStringSubmatch(l); r != nil {
			out = append(out, pltEntry{hex(t, r[1]), r[2]})
		}
	}
	return out
}

func TestPLTAgreesWithObjdump(t *testing.T) {
	for _, v := range variants {
		t.Run(v.name, func(t *testing.T) {
			path, bare := v.build(t)
			m := open(t, bare)
			truth := pltTruth(t, path)
			names := 0
			for _, e := range truth {
				if strings.HasPrefix(e.name, "*ABS*") { // IFUNCs of a static program
					continue
				}
				names++
				name, _, _ := strings.Cut(e.name, "@")
				got, ok := m.PLTName(e.addr)
				if !ok || got.Name != name {
					t.Errorf("%#x: %+v %v, want %s", e.addr, got, ok, name)
					continue
				}
				for _, version := range []string{"", got.Version} {
					if a, ok := m.PLTOf(name, version); !ok || a != e.addr {
						t.Errorf("PLTOf(%s, %q) is %#x %v, want %#x", name, version, a, ok, e.addr)
					}
				}
				if _, ok := m.PLTName(e.addr + 1); ok {
					t.Errorf("an entry starts inside %#x", e.addr)
				}
				slot, ok := m.GOTOf(name, "")
				if r := m.RelocAt(slot); !ok || r == nil || r.Sym != name {
					t.Errorf("GOTOf(%s) is %#x: %v", name, slot, r)
				}
			}
			if v.name != "static PIE" && names < 4 {
				t.Errorf("objdump names %d PLT entries only", names)
			}
			if _, ok := m.PLTOf("no_such_import", ""); ok {
				t.Error("PLTOf finds what is not there")
			}
			if _, ok := m.PLTOf("malloc", "GLIBC_9.9"); ok {
				t.Error("PLTOf finds another version")
			}
		})
	}
}
