package build_test

import (
	"bytes"
	"context"
	"debug/elf"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"hotpatch/internal/build"
	"hotpatch/internal/patch"
)

func run(t testing.TB, base, fixed string, o build.Options) (*build.Report, *patch.Bundle) {
	t.Helper()
	r, b, err := build.Build(t.Context(), base, fixed, o)
	if err != nil {
		t.Fatal(err)
	}
	if (b != nil) != (r.Verdict == patch.Clean || r.Verdict == patch.Review) {
		t.Fatalf("verdict %s, bundle %v", r.Verdict, b != nil)
	}
	return r, b
}

// states are the functions that are not the same, by name.
func states(r *build.Report) map[string]string {
	out := map[string]string{}
	for _, i := range r.Images {
		for _, f := range i.Functions {
			out[f.Name] = f.State
		}
	}
	return out
}

// codes are the reasons without their particulars.
func codes(r *build.Report) []string {
	seen := map[string]bool{}
	for _, x := range r.Reasons {
		seen[x.Code] = true
	}
	return slices.Sorted(maps.Keys(seen))
}

func siteNames(b *patch.Bundle) []string {
	var out []string
	for _, i := range b.Manifest.Images {
		for _, s := range i.Sites {
			out = append(out, s.Name)
		}
	}
	slices.Sort(out)
	return out
}

// With types and symbols on both sides.
func TestBuildJudgesEveryKindOfChange(t *testing.T) {
	for _, c := range []struct {
		file    string
		verdict patch.Verdict
		reasons []string
		states  map[string]string
		sites   []string
	}{
		{"function.c", patch.Clean, nil, map[string]string{"check": "changed"}, []string{"check"}},
		{"string.c", patch.Clean, nil, map[string]string{"greet": "changed"}, []string{"greet"}},
		{"limit.c", patch.Clean, nil, map[string]string{"scan": "changed"}, []string{"scan"}},
		{"version.c", patch.Nothing, nil, map[string]string{"main": "noise"}, nil},
		{"table.c", patch.Clean, nil, map[string]string{"weigh": "changed"}, []string{"weigh"}},
		{"new-function.c", patch.Clean, nil, map[string]string{"check": "changed", "valid": "new"}, []string{"check"}},
		{"new-variable.c", patch.Review, []string{"new-variable"}, map[string]string{"enter": "changed", "blame": "new"}, []string{"enter"}},
		{"twins.c", patch.Review, []string{"new-variable"},
			map[string]string{"get_orange": "new", "paint": "changed", "mix": "changed"}, []string{"mix", "paint"}},
		{"removed.c", patch.Clean, nil, map[string]string{"step": "changed"}, []string{"step"}},
		{"layout.c", patch.Refused, []string{"layout-changed"}, nil, nil},
		{"padding.c", patch.Review, []string{"layout-padding"}, map[string]string{"advance": "changed"}, []string{"advance"}},
		{"enum.c", patch.Refused, []string{"layout-changed"}, nil, nil},
		{"data-init.c", patch.Review, []string{"data-init-changed"}, map[string]string{"allowed": "changed"}, []string{"allowed"}},
		{"only-data.c", patch.Refused, []string{"data-init-changed", "data-only"}, map[string]string{}, nil},
		{"new-import.c", patch.Clean, nil, map[string]string{"same": "changed"}, []string{"same"}},
		{"switch.c", patch.Clean, nil, map[string]string{"dispatch": "changed"}, []string{"dispatch"}},
		{"cold.c", patch.Clean, nil, map[string]string{"work": "changed"}, []string{"work"}},
		{"handlers.c", patch.Clean, nil, map[string]string{"on_put": "changed"}, []string{"on_put"}},
		{"new-handler.c", patch.Review, []string{"table-carried"}, map[string]string{"run": "changed", "on_del": "new"}, []string{"run"}},
		{"line.c", patch.Clean, nil, map[string]string{"check": "changed"}, []string{"check"}},
		{"main.c", patch.Review, []string{"never-returns"}, map[string]string{"main": "changed"}, []string{"main"}},
		{"tls.c", patch.Refused, []string{"new-tls"}, map[string]string{"tick": "changed"}, nil},
		{"startup.c", patch.Refused, []string{"startup-changed"}, map[string]string{"prepare": "changed"}, nil},
		{"throws.cc", patch.Clean, nil, nil, []string{"_Z4leafi", "_Z5checkPKc"}},
		{"short.c", patch.Refused, []string{"entry-too-small"}, map[string]string{"hook": "changed"}, nil},
		{"loop.c", patch.Clean, nil, map[string]string{"spin": "changed"}, []string{"spin"}},
	} {
		t.Run(c.file, func(t *testing.T) {
			t.Parallel()
			base, fixed := compile(t, c.file, debugged)
			r, b := run(t, base, fixed, build.Options{})
			if r.Verdict != c.verdict {
				t.Errorf("verdict %s, want %s: %v", r.Verdict, c.verdict, r.Reasons)
			}
			if got := codes(r); !slices.Equal(got, c.reasons) {
				t.Errorf("reasons %v, want %v: %v", got, c.reasons, r.Reasons)
			}
			if got := states(r); c.states != nil && !maps.Equal(got, c.states) {
				t.Errorf("functions: %s", cmp.Diff(c.states, got))
			}
			if b != nil && !slices.Equal(siteNames(b), c.sites) {
				t.Errorf("sites %v, want %v", siteNames(b), c.sites)
			}
		})
	}
}

// As a distribution ships them: neither symbols nor types.
func TestBuildOfStrippedImagesIsNeverClean(t *testing.T) {
	for _, c := range []struct {
		file    string
		verdict patch.Verdict
		changed int
		reasons []string // that must be among them
	}{
		{"function.c", patch.Review, 1, []string{"layout-unverified"}},
		{"string.c", patch.Review, 1, nil},
		{"table.c", patch.Review, 1, nil},
		{"new-function.c", patch.Review, 1, nil},
		{"switch.c", patch.Review, 1, nil},
		{"cold.c", patch.Review, 1, nil},
		{"handlers.c", patch.Review, 1, nil},
		{"new-import.c", patch.Review, 1, nil},
		{"main.c", patch.Review, 1, []string{"never-returns"}},
		{"layout.c", patch.Refused, 4, []string{"layout-changed"}},
		{"version.c", patch.Nothing, 0, nil},
	} {
		t.Run(c.file, func(t *testing.T) {
			t.Parallel()
			base, fixed := compile(t, c.file, stripped)
			r, _ := run(t, base, fixed, build.Options{})
			if r.Verdict != c.verdict {
				t.Errorf("verdict %s, want %s: %v", r.Verdict, c.verdict, r.Reasons)
			}
			if n := r.Images[0].Counts.Changed; n != c.changed {
				t.Errorf("%d functions changed, want %d: %v", n, c.changed, r.Images[0].Functions)
			}
			for _, want := range c.reasons {
				if !slices.Contains(codes(r), want) {
					t.Errorf("no reason %s: %v", want, r.Reasons)
				}
			}
		})
	}
}

func TestBuildSaysNothingForEqualImages(t *testing.T) {
	base, _ := compile(t, "function.c", plain)
	r, _ := run(t, base, base, build.Options{})
	if r.Verdict != patch.Nothing || r.Bundle != nil || len(r.Reasons) != 0 {
		t.Errorf("verdict %s, reasons %v", r.Verdict, r.Reasons)
	}
}

func TestBuildIsReproducible(t *testing.T) {
	for _, file := range []string{"new-variable.c", "cold.c", "new-handler.c"} {
		base, fixed := compile(t, file, plain)
		var first []byte
		for range 3 {
			_, b := run(t, base, fixed, build.Options{})
			data, err := b.Encode()
			if err != nil {
				t.Fatal(err)
			}
			if first == nil {
				first = data
			} else if !bytes.Equal(first, data) {
				t.Errorf("%s: the bundle differs from run to run", file)
			}
		}
	}
}

func TestBuildRefusesFixedAddresses(t *testing.T) {
	base, fixed := compile(t, "function.c", style{flags: []string{"-no-pie", "-fno-pie"}})
	r, _ := run(t, base, fixed, build.Options{})
	if r.Verdict != patch.Refused || !slices.Equal(codes(r), []string{"non-pie"}) {
		t.Errorf("verdict %s: %v", r.Verdict, r.Reasons)
	}
}

// Names tell which function is which; without them there must be other evidence.
func TestBuildRefusesAnotherCompiler(t *testing.T) {
	for _, strip := range []bool{false, true} {
		base, _ := compile(t, "many.c", style{strip: strip})
		_, fixed := compile(t, "many.c", style{flags: []string{"-O1"}, strip: strip})
		want, code := patch.Review, "other-compiler"
		if strip {
			want, code = patch.Refused, "rebuilt-compiler"
		}
		r, _ := run(t, base, fixed, build.Options{})
		if r.Verdict != want || !slices.Contains(codes(r), code) {
			t.Errorf("stripped %v: verdict %s: %v", strip, r.Verdict, r.Reasons)
		}
	}
}

// A cold part belongs to its function: it is no function of its own, it is
// carried, and the old one is watched together with its parent.
func TestBuildKeepsColdPartsWithTheirFunction(t *testing.T) {
	base, fixed := compile(t, "cold.c", plain)
	_, b := run(t, base, fixed, build.Options{})
	s := b.Manifest.Images[0].Sites[0]
	if s.Name != "work" || len(s.Ranges) != 2 {
		t.Fatalf("site %s with ranges %x, want work with its cold part", s.Name, s.Ranges)
	}
	want := symbol(t, base, "work.cold")
	if !slices.ContainsFunc(s.Ranges, func(r [2]uint64) bool { return r[0] == want.Value && r[1] == want.Value+want.Size }) {
		t.Errorf("ranges %x lack work.cold at %#x", s.Ranges, want.Value)
	}
	cold := symbol(t, fixed, "work.cold")
	if c := b.Objects[0].ChunkAt(cold.Value); c == nil || c.Kind != patch.Code {
		t.Error("work.cold is not carried")
	}
}

func TestBuildCallsNewImportsThroughStubs(t *testing.T) {
	base, fixed := compile(t, "new-import.c", plain)
	_, b := run(t, base, fixed, build.Options{})
	o := b.Objects[0]
	i := slices.IndexFunc(o.Symbols, func(s patch.Symbol) bool { return s.Kind == patch.Import && s.Name == "strcasecmp" })
	if i < 0 || o.Symbols[i].Version == "" {
		t.Fatalf("no versioned import of strcasecmp: %v", o.Symbols)
	}
	k := slices.IndexFunc(o.Relocs, func(r patch.Reloc) bool { return r.Sym == i })
	if k < 0 || o.Relocs[k].Type != patch.Abs64 || o.Relocs[k].At < o.Hi {
		t.Errorf("no slot for strcasecmp in the read-write part: %v", o.Relocs)
	}
}

// New variables come with their initial values and pointers; old ones are
// those of the base image.
func TestBuildBindsVariables(t *testing.T) {
	base, fixed := compile(t, "new-variable.c", plain)
	_, b := run(t, base, fixed, build.Options{})
	o := b.Objects[0]
	if !slices.ContainsFunc(o.Chunks, func(c patch.Chunk) bool { return c.Kind == patch.Var && bytes.Contains(c.Data, []byte{16, 0, 0, 0}) }) {
		t.Error("the initial value of limit is not carried")
	}
	bound := map[string]uint64{}
	for _, r := range o.Relocs {
		if r.Sym >= 0 && o.Symbols[r.Sym].Kind == patch.Base {
			bound[o.Symbols[r.Sym].Name] = o.Symbols[r.Sym].Value
		}
	}
	if got, want := bound["depth"], symbol(t, base, "depth").Value; got != want {
		t.Errorf("depth is bound to %#x, want %#x (of %v)", got, want, bound)
	}
	if !slices.ContainsFunc(o.Relocs, func(r patch.Reloc) bool { return r.Type == patch.Abs64 && r.Sym < 0 && r.At >= o.Hi }) {
		t.Error("the pointer in why is not relocated")
	}
}

func TestBuildBindsTwinsToTheirOwnVariables(t *testing.T) {
	for _, s := range []style{plain, stripped} {
		base, fixed := compile(t, "twins.c", plain)
		names := map[uint64]string{}
		for _, n := range []string{"red", "green", "blue"} {
			names[symbol(t, base, n).Value] = n
		}
		if s.strip {
			base, fixed = strip(t, base), strip(t, fixed)
		}
		r, b := run(t, base, fixed, build.Options{})
		if b == nil {
			if !s.strip {
				t.Fatalf("refused: %v", r.Reasons)
			}
			continue // without symbols, doubt refuses
		}
		got := map[string]bool{}
		for _, x := range b.Objects[0].Symbols {
			if n := names[x.Value]; x.Kind == patch.Base && n != "" {
				got[n] = true
			}
		}
		if len(got) != 3 {
			t.Errorf("stripped %v: bound %v, want red, green and blue", s.strip, got)
		}
	}
}

func TestBuildCarriesUnwindDataForItsCode(t *testing.T) {
	base, fixed := compile(t, "cold.c", plain)
	_, b := run(t, base, fixed, build.Options{})
	o := b.Objects[0]
	c := o.ChunkAt(o.EHFrame)
	if c == nil || c.Kind != patch.Unwind {
		t.Fatal("no unwind data")
	}
	fdes, err := fdesOf(c.Data, c.Addr)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []string{"work", "work.cold"} {
		s := symbol(t, fixed, n)
		f, ok := fdes[s.Value]
		if !ok || f != s.Value+s.Size {
			t.Errorf("%s at %#x has no entry up to %#x: %x", n, s.Value, s.Value+s.Size, fdes)
		}
	}
}

func TestTortureBuildCarriesNearlyEverything(t *testing.T) {
	base, _ := compile(t, "switch.c", plain)
	r, b := run(t, base, base, build.Options{All: true, Skip: []string{"add"}})
	if r.Verdict != patch.Clean {
		t.Fatalf("verdict %s: %v", r.Verdict, r.Reasons)
	}
	got := siteNames(b)
	for _, n := range []string{"dispatch", "untouched", "note", "parse", "show"} {
		if !slices.Contains(got, n) {
			t.Errorf("%s is not redirected: %v", n, got)
		}
	}
	for _, n := range []string{"add", "main"} {
		if slices.Contains(got, n) {
			t.Errorf("%s is redirected", n)
		}
	}
}

func TestBuildPairsFilesOfDirectories(t *testing.T) {
	base, fixed := compile(t, "function.c", plain)
	old, fresh := t.TempDir(), t.TempDir()
	put := func(dir, name, from string) {
		t.Helper()
		data, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, data, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	put(old, "usr/bin/same", base)
	put(fresh, "usr/bin/same", base)
	put(old, "usr/lib/libdemo.so.1.2.3", base)
	put(fresh, "usr/lib/libdemo.so.1.2.4", fixed)
	put(old, "usr/bin/alias", base) // the same program under another name
	put(fresh, "usr/bin/alias", fixed)
	put(old, "usr/share/text", "build_test.go")
	put(fresh, "usr/share/text", "compile_test.go")
	r, b := run(t, old, fresh, build.Options{})
	if r.Verdict != patch.Review || len(b.Manifest.Images) != 1 || b.Manifest.Images[0].Path != "/usr/bin/alias" {
		t.Errorf("verdict %s, images %v", r.Verdict, r.Images)
	}
	if err := os.Remove(filepath.Join(fresh, "usr/bin/alias")); err != nil {
		t.Fatal(err)
	}
	r, b = run(t, old, fresh, build.Options{})
	if !slices.Contains(codes(r), "image-gone") || b.Manifest.Images[0].Path != "/usr/lib/libdemo.so.1.2.3" {
		t.Errorf("verdict %s, reasons %v, images %v", r.Verdict, r.Reasons, r.Images)
	}
}

func TestBuildRejectsInputsOfDifferentKinds(t *testing.T) {
	base, _ := compile(t, "function.c", plain)
	if _, _, err := build.Build(t.Context(), base, t.TempDir(), build.Options{}); err == nil || !strings.Contains(err.Error(), "directory") {
		t.Errorf("error %v", err)
	}
	if _, _, err := build.Build(t.Context(), base, "build_test.go", build.Options{}); err == nil {
		t.Error("a text file was taken for an image")
	}
}

func TestBuildStopsWhenTold(t *testing.T) {
	base, fixed := compile(t, "function.c", plain)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := build.Build(ctx, base, fixed, build.Options{}); err == nil {
		t.Error("a cancelled build went on")
	}
}

func TestBuildTellsItsStepsInOrder(t *testing.T) {
	base, fixed := compile(t, "function.c", plain)
	var steps []string
	run(t, base, fixed, build.Options{Progress: func(e build.Event) { steps = append(steps, e.Step) }})
	want := []string{"reading", "reading", "pairing", "mapping", "emitting", "linking", "done"}
	if !slices.Equal(steps, want) {
		t.Errorf("steps %v, want %v", steps, want)
	}
}

func TestBuildAcceptsAtOnceWhenAsked(t *testing.T) {
	base, fixed := compile(t, "main.c", plain)
	_, b := run(t, base, fixed, build.Options{Accept: "read the source", By: "ada"})
	if b.Accepted == nil || b.Accepted.By != "ada" || b.Applicable() != nil {
		t.Errorf("accepted: %+v, %v", b.Accepted, b.Applicable())
	}
}

// symbol is the one of that name.
func symbol(t testing.TB, path, name string) elf.Symbol {
	t.Helper()
	all := symbols(t, path)
	i := slices.IndexFunc(all, func(s elf.Symbol) bool { return s.Name == name })
	if i < 0 {
		t.Fatalf("%s has no symbol %s", path, name)
	}
	return all[i]
}

// objectsNamed are the variables and constants whose names start so.
func objectsNamed(t testing.TB, path, prefix string) []elf.Symbol {
	t.Helper()
	return slices.DeleteFunc(symbols(t, path), func(s elf.Symbol) bool {
		return elf.ST_TYPE(s.Info) != elf.STT_OBJECT || !strings.HasPrefix(s.Name, prefix)
	})
}

func symbols(t testing.TB, path string) []elf.Symbol {
	t.Helper()
	f, err := elf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	all, err := f.Symbols()
	if err != nil {
		t.Fatal(err)
	}
	return all
}
