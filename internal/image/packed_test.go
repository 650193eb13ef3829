package image_test

import (
	"bytes"
	"debug/elf"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"hotpatch/internal/image"
)

// packed.elf and unpacked.elf are one library of a dozen relocations, linked by
// lld 14 with --pack-dyn-relocs=android and none, stripped.
func TestPackedRelocationsAreThoseOfTheSameFileUnpacked(t *testing.T) {
	told := func(path string) (all []string, kinds map[elf.R_X86_64]bool) {
		m := open(t, path)
		place := func(a image.Addr) string {
			for _, s := range m.Sections {
				if a >= s.Addr && a < s.Addr+image.Addr(s.Size) {
					return fmt.Sprintf("%s+%#x", s.Name, a-s.Addr)
				}
			}
			return fmt.Sprintf("%#x", a)
		}
		kinds = map[elf.R_X86_64]bool{}
		for _, r := range m.Relocs {
			all = append(all, fmt.Sprintf("%s: %v %s@%s(%s) %s", place(r.At), r.Type, r.Sym, r.Version, place(r.SymAddr), place(image.Addr(r.Add))))
			kinds[r.Type] = true
		}
		return all, kinds
	}
	got, _ := told("testdata/packed.elf")
	want, kinds := told("testdata/unpacked.elf")
	if !slices.Equal(got, want) || len(want) != 19 || len(kinds) != 4 {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestBadPackedRelocationsAreErrors(t *testing.T) {
	good, err := os.ReadFile("testdata/packed.elf")
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.Index(good, []byte("APS2"))
	if at < 0 {
		t.Fatal("no packed relocations")
	}
	for name, tc := range map[string]struct {
		bytes, says string
	}{
		"another magic":           {"APS1", "APS2"},
		"more than the file has":  {"APS2\xff\xff\x7f\x00", "in a file of"},
		"fewer than none":         {"APS2\x7f\x00", "-1 packed"},
		"a group of more":         {"APS2\x02\x00\x03\x00", "a group of 3"},
		"a group of none":         {"APS2\x02\x00\x00\x00", "a group of 0"},
		"a flag nobody knows":     {"APS2\x02\x00\x02\x10", "flags 0x10"},
		"a symbol it has not":     {"APS2\x01\x00\x01\x00\x08\x80\x80\x80\x80\x80\x80\x04", "symbol"},
		"a number without an end": {"APS2" + strings.Repeat("\xff", 64), "LEB128"},
	} {
		t.Run(name, func(t *testing.T) {
			b := slices.Clone(good)
			copy(b[at:], tc.bytes)
			_, err := image.Read(bytes.NewReader(b), int64(len(b)), "bad")
			if err == nil || !strings.Contains(err.Error(), tc.says) || !strings.Contains(err.Error(), ".rela.dyn") {
				t.Errorf("%v does not say %q", err, tc.says)
			}
		})
	}
}
