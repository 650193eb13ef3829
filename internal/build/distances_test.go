package build_test

import (
	"encoding/binary"
	"slices"
	"strings"
	"testing"

	"hotpatch/internal/build"
	"hotpatch/internal/image"
	"hotpatch/internal/patch"
)

// A table of distances is carried with what it leads to: each distance leads to
// what is carried, or to its counterpart in the base image.
func TestTablesOfDistancesLeadToWhatTheyShould(t *testing.T) {
	for _, bare := range []bool{false, true} {
		base, fixed := compile(t, "distances.c", plain)
		want := map[string][]string{
			"names": {"alpha", "be", "gamma fix"},
			"calls": {"base one", "base two", "added"},
		}
		at := map[uint64]string{}
		for _, n := range []string{"one", "two"} {
			at[symbol(t, base, n).Value] = "base " + n
		}
		added := symbol(t, fixed, "added").Value
		tables := map[string]uint64{}
		for n := range want {
			tables[n] = symbol(t, fixed, n).Value
		}
		shipped := open(t, base)
		if bare {
			base, fixed = strip(t, base), strip(t, fixed)
		}
		r, b := run(t, base, fixed, build.Options{})
		if b == nil {
			t.Fatalf("stripped %v: %s: %v", bare, r.Verdict, r.Reasons)
		}
		o := b.Objects[0]
		for name, all := range want {
			table := tables[name]
			c := o.ChunkAt(table)
			if c == nil {
				t.Errorf("stripped %v: %s is not carried", bare, name)
				continue
			}
			var got []string
			for slot := table; slot < table+12; slot += 4 {
				to := table + uint64(int64(int32(binary.LittleEndian.Uint32(c.Data[slot-c.Addr:]))))
				k := slices.IndexFunc(o.Relocs, func(r patch.Reloc) bool { return r.At == slot })
				switch {
				case k >= 0:
					q := o.Relocs[k]
					to = o.Symbols[q.Sym].Value
					switch {
					case q.Type != patch.PC32 || uint64(q.Add) != slot-table:
						got = append(got, "a wrong relocation")
					case at[to] != "":
						got = append(got, at[to])
					default:
						got = append(got, text(shipped.Bytes(image.Addr(to), 64)))
					}
				case to == added:
					got = append(got, "added")
				case o.ChunkAt(to) != nil:
					s := o.ChunkAt(to)
					got = append(got, text(s.Data[to-s.Addr:]))
				default:
					got = append(got, "nothing")
				}
			}
			if !slices.Equal(got, all) {
				t.Errorf("stripped %v: %s leads to %q, want %q", bare, name, got, all)
			}
		}
		if c := o.ChunkAt(added); c == nil || c.Kind != patch.Code {
			t.Errorf("stripped %v: the new function is not carried", bare)
		}
	}
}

// What only looks like distances to functions cannot be carried.
func TestTableThatMayLeadToFunctionsIsRefused(t *testing.T) {
	for _, s := range []style{{flags: []string{"-DPASSED"}}, {flags: []string{"-DPASSED"}, strip: true}} {
		base, fixed := compile(t, "distances.c", s)
		r, _ := run(t, base, fixed, build.Options{})
		if r.Verdict != patch.Refused || !slices.Contains(codes(r), "reference-unbound") {
			t.Errorf("%v: %s: %v", s, r.Verdict, r.Reasons)
		}
	}
}

// Distances of 64 bits, and those from another place than the table, are not
// followed: what leads to functions by them is refused.
func TestFarDistancesToFunctionsAreRefused(t *testing.T) {
	for _, flags := range [][]string{nil, {"-DFROM"}} {
		for _, bare := range []bool{false, true} {
			base, fixed := compile(t, "far-distances.c", style{flags: flags, strip: bare})
			r, _ := run(t, base, fixed, build.Options{})
			refused(t, r, "reference-unbound", "looks like distances to functions, of 64 bits or not from itself")
		}
	}
}

func text(b []byte) string {
	s, _, _ := strings.Cut(string(b), "\x00")
	return s
}

func open(t *testing.T, path string) *image.Image {
	t.Helper()
	m, err := image.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// A switch table belongs to the carried code: nothing in it leads back to the base
// image, not even to cold parts, which are functions of their own without symbols.
func TestSwitchTableStaysWithItsCode(t *testing.T) {
	for _, bare := range []bool{false, true} {
		base, fixed := compile(t, "switch-cold.c", style{flags: []string{"-freorder-blocks-and-partition"}})
		cold := symbol(t, fixed, "dispatch.cold").Value
		if bare {
			base, fixed = strip(t, base), strip(t, fixed)
		}
		r, b := run(t, base, fixed, build.Options{})
		if b == nil {
			t.Fatalf("stripped %v: %s: %v", bare, r.Verdict, r.Reasons)
		}
		o, leads := b.Objects[0], 0
		for _, c := range o.Chunks {
			if c.Kind != patch.Const {
				continue
			}
			for _, q := range o.Relocs {
				if q.At >= c.Addr && q.At < c.Addr+uint64(len(c.Data)) {
					t.Errorf("stripped %v: %#x among the constants leads to %s", bare, q.At, o.Symbols[q.Sym].Name)
				}
			}
			for at := 0; at+4 <= len(c.Data); at += 4 {
				for start := max(0, at-20); start <= at; start += 4 { // of six cases
					if c.Addr+uint64(start)+uint64(int64(int32(binary.LittleEndian.Uint32(c.Data[at:])))) == cold {
						leads++
					}
				}
			}
		}
		if leads == 0 || o.ChunkAt(cold) == nil {
			t.Errorf("stripped %v: no switch table leads to the cold part: nothing to test", bare)
		}
	}
}

// A number behind a table of distances stays what it is, though it would lead
// somewhere as a distance. Where nobody is seen to read it, it may be one.
func TestNumberBehindDistancesIsNotOverwritten(t *testing.T) {
	base, fixed := compile(t, "distances-behind.c", style{flags: []string{"-DACCESSED"}})
	table := symbol(t, fixed, "names").Value
	r, b := run(t, strip(t, base), strip(t, fixed), build.Options{})
	if b == nil {
		t.Fatalf("%s: %v", r.Verdict, r.Reasons)
	}
	if b.Objects[0].ChunkAt(table) == nil {
		t.Error("the table is not carried")
	}
	for _, q := range b.Objects[0].Relocs {
		if q.At >= table+12 && q.At < table+16 {
			t.Errorf("the number at %#x is overwritten", q.At)
		}
	}
	base, fixed = compile(t, "distances-behind.c", plain)
	r, _ = run(t, strip(t, base), strip(t, fixed), build.Options{})
	if r.Verdict != patch.Refused || !slices.Contains(codes(r), "reference-unbound") {
		t.Errorf("nobody reads the number: %s: %v", r.Verdict, r.Reasons)
	}
}
