package build_test

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"hotpatch/internal/build"
	"hotpatch/internal/patch"
	"hotpatch/internal/testkit"
)

var (
	fixedAddress = []string{"-no-pie", "-fno-pie"}
	kept         = style{flags: append([]string{"-Wl,--emit-relocs"}, fixedAddress...)}
)

func TestBuildOfProgramsThatKeepTheirRelocations(t *testing.T) {
	for _, tc := range []struct{ name, function string }{
		{"function.c", ""}, {"switch.c", ""}, {"string.c", ""}, {"table.c", ""}, {"new-import.c", ""}, {"cold.c", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			base, fixed := compile(t, tc.name, kept)
			r, b := run(t, base, fixed, build.Options{})
			if b == nil || r.Verdict == patch.Refused {
				t.Fatalf("%s: %+v", r.Verdict, r.Reasons)
			}
			low := false
			for _, o := range b.Objects {
				for _, x := range o.Relocs {
					low = low || x.Type == patch.Abs32 || x.Type == patch.Abs32S
				}
			}
			t.Logf("%s, addresses of 32 bits: %v", r.Verdict, low)
		})
	}
}

// TestBuildRefusesRelocationsThatDoNotFit: in one of the files something was done
// after it was linked, or half of them are missing. Why and where is said.
func TestBuildRefusesRelocationsThatDoNotFit(t *testing.T) {
	base, fixed := compile(t, "switch.c", kept)
	le := binary.LittleEndian
	// rewrite changes the first relocation that change takes, or all.
	rewrite := func(t *testing.T, path string, all bool, change func(rela []byte) bool) {
		t.Helper()
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		f, err := elf.NewFile(bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		s := f.Section(".rela.text")
		done := false
		for e := b[s.Offset : s.Offset+s.Size]; len(e) >= 24 && (all || !done); e = e[24:] {
			done = change(e[:24]) || done
		}
		if !done {
			t.Fatal("no such relocation")
		}
		if err := os.WriteFile(path, b, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	typ := func(e []byte) elf.R_X86_64 { return elf.R_X86_64(le.Uint32(e[8:])) }
	for name, tc := range map[string]struct {
		change func(t *testing.T, path string)
		want   []string
	}{
		"stripped":            {func(t *testing.T, path string) { tool(t, "strip", path) }, []string{"does not keep the relocations"}},
		"relocations removed": {func(t *testing.T, path string) { tool(t, "objcopy", "--remove-section=.rela.text", path) }, []string{"section .text", "offset 0x", "no relocation"}},
		"distances without one": {func(t *testing.T, path string) {
			rewrite(t, path, true, func(e []byte) bool {
				if typ(e) == elf.R_X86_64_PC32 {
					le.PutUint32(e[8:], uint32(elf.R_X86_64_NONE))
					return true
				}
				return false
			})
		}, []string{"section .text", "offset 0x", "no relocation for that was kept"}},
		"one in the middle of an instruction": {func(t *testing.T, path string) {
			rewrite(t, path, false, func(e []byte) bool {
				if typ(e) != elf.R_X86_64_PLT32 {
					return false
				}
				le.PutUint64(e, le.Uint64(e)-1)
				return true
			})
		}, []string{".text", "offset 0x"}},
		"another immediate": {func(t *testing.T, path string) {
			rewrite(t, path, false, func(e []byte) bool {
				if typ(e) == elf.R_X86_64_32 || typ(e) == elf.R_X86_64_32S {
					e[16]++
					return true
				}
				return false
			})
		}, []string{".rela.text", "offset 0x", "changed after it was linked"}},
	} {
		for side, path := range map[string]string{"base": base, "fixed": fixed} {
			t.Run(name+" of "+side, func(t *testing.T) {
				whole, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				defer os.WriteFile(path, whole, 0o755)
				tc.change(t, path)
				r, _ := run(t, base, fixed, build.Options{})
				if r.Verdict != patch.Refused || !slices.Equal(codes(r), []string{"non-pie"}) {
					t.Fatalf("%s: %+v", r.Verdict, r.Reasons)
				}
				for _, w := range tc.want {
					if !strings.Contains(r.Reasons[0].Detail, w) {
						t.Errorf("%q does not say %q", r.Reasons[0].Detail, w)
					}
				}
			})
		}
	}
}

// TestBuildNeverMixesKindsOfPrograms: what the numbers of one mean could only be
// guessed from the other.
func TestBuildNeverMixesKindsOfPrograms(t *testing.T) {
	low, _ := compile(t, "switch.c", kept)
	_, high := compile(t, "switch.c", plain)
	r, _ := run(t, low, high, build.Options{})
	if r.Verdict != patch.Refused || !slices.Contains(codes(r), "non-pie") {
		t.Errorf("%s: %+v", r.Verdict, r.Reasons)
	}
}

// TestBuildRefusesWhatDoesNotFitInto32Bits: new code would be too far up.
func TestBuildRefusesWhatDoesNotFitInto32Bits(t *testing.T) {
	base, fixed := compile(t, "switch.c", style{flags: append(slices.Clone(kept.flags), "-Wl,-Ttext-segment=0x7ff00000")})
	r, _ := run(t, base, fixed, build.Options{})
	if r.Verdict != patch.Refused || !slices.Contains(codes(r), "link-failed") || !strings.Contains(r.Reasons[0].Detail, "32 bits") {
		t.Errorf("%s: %+v", r.Verdict, r.Reasons)
	}
}

func tool(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(testkit.Tool(t, name), args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
}
