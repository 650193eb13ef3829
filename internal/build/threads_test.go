package build_test

import (
	"debug/elf"
	"encoding/binary"
	"slices"
	"testing"

	"hotpatch/internal/build"
	"hotpatch/internal/patch"
)

// Slots of the GOT for the thread-local variables of a library differ only in the
// word behind them.
func TestThreadLocalVariablesAreToldApart(t *testing.T) {
	base, fixed := compile(t, "threads.c", style{flags: []string{"-g", "-fPIC", "-shared", "-Wl,--version-script=testdata/threads.map", "-Wl,-soname,libvictim.so"}})
	r, b := run(t, base, fixed, build.Options{})
	if b == nil || states(r)["either"] != "changed" {
		t.Fatalf("%s: %v, %v", r.Verdict, r.Reasons, states(r))
	}
	for function, variable := range map[string]string{"twos": "two", "either": "one"} {
		f, v := symbol(t, fixed, function), symbol(t, base, variable)
		got := taken(t, b.Objects[0], f.Value, f.Size)
		if len(got) != 1 || got[0].carried {
			t.Fatalf("%s takes %v: nothing to test", function, got)
		}
		if off := word(t, base, got[0].addr+8); off != v.Value {
			t.Errorf("%s uses the variable at %d of the block, want %s at %d", function, off, variable, v.Value)
		}
	}
}

func TestThreadLocalVariablesThatChangePlacesAreRefused(t *testing.T) {
	for _, model := range [][]string{
		nil, {"-DPASSED"}, {"-fPIC", "-shared"}, {"-fPIC", "-shared", "-mtls-dialect=gnu2"}, {"-fPIC", "-shared", "-ftls-model=initial-exec"},
	} {
		for _, s := range []bool{false, true} {
			base, fixed := compile(t, "threads.c", style{flags: append([]string{"-DPLACES", "-fno-toplevel-reorder"}, model...), strip: s})
			if r, _ := run(t, base, fixed, build.Options{}); r.Verdict != patch.Refused || !slices.Contains(codes(r), "new-tls") {
				t.Errorf("%v, stripped %v: %s: %v", model, s, r.Verdict, r.Reasons)
			}
		}
	}
}

// Symbols tell that a thread-local variable is another one, though it is where the
// other was.
func TestThreadLocalVariableInThePlaceOfAnotherIsRefused(t *testing.T) {
	for _, model := range [][]string{
		nil, {"-fPIC", "-shared"}, {"-fPIC", "-shared", "-mtls-dialect=gnu2"}, {"-fPIC", "-shared", "-ftls-model=initial-exec"},
	} {
		for which, refused := range map[string]bool{"-DPLAIN": true, "-DNUMBERED": true, "-DRENAMED": false} {
			base, fixed := compile(t, "threads_replaced.c", style{flags: append([]string{"-g", which}, model...)})
			r, b := run(t, base, fixed, build.Options{})
			if got := slices.Contains(codes(r), "new-tls"); got != refused || (b == nil) != refused {
				t.Errorf("%s %v: %s: %v", which, model, r.Verdict, r.Reasons)
			}
		}
	}
}

// word is what a file has at an address.
func word(t *testing.T, path string, addr uint64) uint64 {
	t.Helper()
	f, err := elf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, s := range f.Sections {
		if s.Type == elf.SHT_PROGBITS && addr >= s.Addr && addr+8 <= s.Addr+s.Size {
			var b [8]byte
			if _, err := s.ReadAt(b[:], int64(addr-s.Addr)); err != nil {
				t.Fatal(err)
			}
			return binary.LittleEndian.Uint64(b[:])
		}
	}
	t.Fatalf("%s has nothing at %#x", path, addr)
	return 0
}
