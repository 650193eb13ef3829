package build_test

import (
	"slices"
	"strings"
	"testing"

	"hotpatch/internal/build"
	"hotpatch/internal/patch"
)

// A linker set is gone over from its start to its end in one place: in the base
// image when it is the same, or in a copy that is carried whole. One that the
// program may have written to and that grew is refused.
func TestLinkerSetsAreOneTable(t *testing.T) {
	for _, c := range []struct {
		flags   []string
		carried bool
		refused bool
	}{
		{nil, false, false},
		{[]string{"-DCHANGED"}, false, false},
		{[]string{"-DGROWN"}, false, true},
		{[]string{"-DNUMBERS"}, false, false},
		{[]string{"-DNUMBERS", "-DCHANGED"}, true, false},
		{[]string{"-DNUMBERS", "-DGROWN"}, true, false},
		{[]string{"-DGROWN", "-DALONE"}, false, true},
		{[]string{"-DNUMBERS", "-DCHANGED", "-DALONE"}, true, false},
		{[]string{"-DNUMBERS", "-DGROWN", "-DALONE"}, true, false},
		{[]string{"-DNUMBERS", "-DGROWN", "-DALONE", "-O0"}, true, false},
	} {
		for _, bare := range []bool{false, true} {
			base, fixed := compile(t, "set.c", style{flags: c.flags})
			scan := symbol(t, fixed, "scan")
			was, is := place{false, sectionStart(t, base, "entries")}, place{true, sectionStart(t, fixed, "entries")}
			size := symbol(t, fixed, "__stop_entries").Value - is.addr
			if bare {
				base, fixed = strip(t, base), strip(t, fixed)
			}
			r, b := run(t, base, fixed, build.Options{})
			if c.refused {
				if r.Verdict != patch.Refused || !slices.Contains(codes(r), "end-pointer") {
					t.Errorf("%v, stripped %v: %s: %v", c.flags, bare, r.Verdict, r.Reasons)
				}
				continue
			}
			if b == nil {
				t.Errorf("%v, stripped %v: %s: %v", c.flags, bare, r.Verdict, r.Reasons)
				continue
			}
			want := []place{was, {false, was.addr + size}}
			if c.carried {
				want = []place{is, {true, is.addr + size}}
			}
			if got := taken(t, b.Objects[0], scan.Value, scan.Size); !slices.Equal(got, want) {
				t.Errorf("%v, stripped %v: it goes over %v, want %v", c.flags, bare, got, want)
			}
		}
	}
}

// Where one set ends and another starts, the one is taken that the function goes
// over, and what may mean either when these do not stay together is refused.
func TestSetsThatMeetAreToldApart(t *testing.T) {
	for _, c := range []struct {
		flags   []string
		want    string // what is taken, by address: a and b start, A and B end, + in the copy
		refused bool
	}{
		{[]string{"-DONE"}, "Ab B", false},
		{[]string{"-DONE", "-DLATER"}, "b+ B+", false},
		{[]string{"-DBOTH"}, "a+ Ab A+ B", false},
		{[]string{"-DBOTH", "-DLATER"}, "a Ab b+ B+", false},
		{[]string{"-DBOTH", "-DLATER", "-O0"}, "", true},
		{[]string{"-DHANDED"}, "", true},
	} {
		for _, bare := range []bool{false, true} {
			base, fixed := compile(t, "two-sets.c", style{flags: append([]string{"-fno-toplevel-reorder"}, c.flags...)})
			alpha, beta := symbol(t, fixed, "__start_alpha").Value, symbol(t, fixed, "__start_beta").Value
			if end := symbol(t, fixed, "__stop_alpha").Value; end != beta {
				t.Fatalf("alpha ends at %#x, beta starts at %#x: nothing to test", end, beta)
			}
			names := map[place]string{}
			for _, x := range [][2]string{{"a", "__start_alpha"}, {"A", "__stop_alpha"}, {"b", "__start_beta"}, {"B", "__stop_beta"}} {
				names[place{false, symbol(t, base, x[1]).Value}] += x[0]
			}
			scan := symbol(t, fixed, "scan")
			names[place{true, alpha}], names[place{true, symbol(t, fixed, "__stop_beta").Value}] = "a+", "B+"
			names[place{true, beta}] = "b+"
			if !slices.Contains(c.flags, "-DLATER") {
				names[place{true, beta}] = "A+"
			}
			if bare {
				base, fixed = strip(t, base), strip(t, fixed)
			}
			r, b := run(t, base, fixed, build.Options{})
			if c.refused {
				if r.Verdict != patch.Refused || !slices.Contains(codes(r), "end-pointer") {
					t.Errorf("%v, stripped %v: %s: %v", c.flags, bare, r.Verdict, r.Reasons)
				}
				continue
			}
			if b == nil {
				t.Errorf("%v, stripped %v: %s: %v", c.flags, bare, r.Verdict, r.Reasons)
				continue
			}
			var got []string
			for _, p := range taken(t, b.Objects[0], scan.Value, scan.Size) {
				got = append(got, names[p])
			}
			if got := strings.Join(got, " "); got != c.want {
				t.Errorf("%v, stripped %v: it goes over %s, want %s", c.flags, bare, got, c.want)
			}
		}
	}
}

// What finds a set by way of the GOT, as code for a library does, goes over it as
// much as what takes its address.
func TestSetsBehindTheGOTAreCompared(t *testing.T) {
	for _, how := range [][]string{
		{"-fPIC", "-Wl,--no-relax"},                   // slots with an address
		{"-fPIC", "-shared", "-fuse-ld=gold"},         // slots with the name of a symbol
		{"-fPIC", "-shared", "-Wl,--no-relax", "-O0"}, // as the last but one
	} {
		for _, change := range []string{"-DGROWN", "-DNUMBERS -DCHANGED", "-DNUMBERS -DGROWN"} {
			for _, bare := range []bool{false, true} {
				flags := append(strings.Fields(change+" -DALONE"), how...)
				base, fixed := compile(t, "set.c", style{flags: flags, strip: bare})
				r, b := run(t, base, fixed, build.Options{})
				if b != nil || r.Verdict != patch.Refused || !slices.Contains(codes(r), "end-pointer") {
					t.Errorf("%v, stripped %v: %s: %v", flags, bare, r.Verdict, r.Reasons)
				}
			}
		}
		for _, kind := range []string{"-DPOINTERS", "-DNUMBERS"} {
			base, fixed := compile(t, "set.c", style{flags: append(how, kind)})
			r, b := run(t, base, fixed, build.Options{})
			if b == nil {
				t.Errorf("%v, the same set: %s: %v", how, r.Verdict, r.Reasons)
				continue
			}
			start, stop := symbol(t, fixed, "__start_entries").Value, symbol(t, fixed, "__stop_entries").Value
			for _, c := range b.Objects[0].Chunks {
				if (c.Kind == patch.Const || c.Kind == patch.Table) && c.Addr < stop && c.Addr+uint64(len(c.Data)) > start {
					t.Errorf("%v %s, the same set: a part of it is carried, from %#x on", how, kind, c.Addr)
				}
			}
		}
	}
}
