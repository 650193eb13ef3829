package build_test

import (
	"debug/elf"
	"encoding/binary"
	"slices"
	"testing"

	"hotpatch/internal/arch"
	"hotpatch/internal/build"
	"hotpatch/internal/patch"
)

// The last table of a section ends where a section without objects starts
// (.dynamic, .eh_frame_hdr). The end of a walk is where the walk began and the
// table's size further, in the base image or in the copy of the table that is
// carried, and not the start of the base image's section.
func TestEndOfTheLastTableIsNotTheStartOfTheNextSection(t *testing.T) {
	const size = 64
	for _, c := range []struct {
		name    string
		flags   []string
		next    string
		carried bool // with symbols; without, a copy may be carried of what is the same
	}{
		{"the table lies elsewhere", nil, ".dynamic", false},
		{"a row changes", []string{"-DROW"}, ".dynamic", true},
		{"constants lie elsewhere", []string{"-DNUMBERS"}, ".eh_frame_hdr", false},
		{"a constant changes", []string{"-DNUMBERS", "-DROW"}, ".eh_frame_hdr", true},
	} {
		for _, bare := range []bool{false, true} {
			flags := append([]string{"-fno-toplevel-reorder"}, c.flags...)
			base, fixed := compile(t, "section-end.c", style{flags: flags})
			table, all, before := symbol(t, fixed, "ops"), symbol(t, fixed, "all"), symbol(t, base, "ops")
			if next := sectionStart(t, fixed, c.next); table.Size != size || table.Value+size != next {
				t.Fatalf("%s: the table ends at %#x and %s starts at %#x: nothing to test", c.name, table.Value+table.Size, c.next, next)
			}
			if bare {
				base, fixed = strip(t, base), strip(t, fixed)
			}
			r, b := run(t, base, fixed, build.Options{})
			if b == nil {
				t.Errorf("%s, stripped %v: %s: %v", c.name, bare, r.Verdict, r.Reasons)
				continue
			}
			got := taken(t, b.Objects[0], all.Value, all.Size)
			start := place{c.carried, before.Value}
			if bare && len(got) > 0 {
				start.carried = got[0].carried
			}
			if start.carried {
				start.addr = table.Value
			}
			if want := []place{start, {start.carried, start.addr + size}}; !slices.Equal(got, want) {
				t.Errorf("%s, stripped %v: the walk takes %v, want %v", c.name, bare, got, want)
			}
		}
	}
}

// Old code that walks to such an end must not get a start in a copy.
func TestCopyOfTheLastTableIsNotHandedToOldCode(t *testing.T) {
	for _, more := range [][]string{{"-DROW"}, {"-DROW", "-DNUMBERS"}} {
		flags := append([]string{"-fno-toplevel-reorder", "-DPASSED"}, more...)
		base, fixed := compile(t, "section-end.c", style{flags: flags, strip: true})
		r, b := run(t, base, fixed, build.Options{})
		if b == nil && slices.Contains(codes(r), "end-pointer") {
			continue
		}
		if b == nil || len(b.Manifest.Images[0].Sites) < 2 { // the walk must come along
			t.Errorf("%v: %s: %v, %v", more, r.Verdict, r.Reasons, states(r))
		}
	}
}

func sectionStart(t *testing.T, path, name string) uint64 {
	t.Helper()
	f, err := elf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	s := f.Section(name)
	if s == nil {
		t.Fatalf("%s has no %s", path, name)
	}
	return s.Addr
}

// place is an address of the object or of the base image.
type place struct {
	carried bool
	addr    uint64
}

// taken are the addresses that carried code at [lo, lo+size) takes of data, in
// rising order.
func taken(t *testing.T, o *patch.Object, lo, size uint64) (out []place) {
	t.Helper()
	c := o.ChunkAt(lo)
	if c == nil || c.Kind != patch.Code {
		t.Fatalf("no code at %#x", lo)
	}
	for at := lo; at < lo+size; {
		code := c.Data[at-c.Addr:]
		in, err := arch.Decode(code)
		if err != nil {
			t.Fatalf("%#x: %v", at, err)
		}
		if in.Map == 0 && in.Op == 0x8d && in.Base == arch.RIP {
			field := at + uint64(in.DispOff)
			to := place{true, at + uint64(in.Len) + uint64(int64(int32(binary.LittleEndian.Uint32(code[in.DispOff:]))))}
			for _, r := range o.Relocs {
				if r.At == field {
					to = place{false, o.Symbols[r.Sym].Value}
				}
			}
			out = append(out, to)
		}
		at += uint64(in.Len)
	}
	slices.SortFunc(out, func(a, b place) int { return int(int64(a.addr) - int64(b.addr)) })
	return out
}
