package build_test

import (
	"slices"
	"testing"

	"hotpatch/internal/build"
	"hotpatch/internal/image"
	"hotpatch/internal/patch"
)

var library = []string{"-g", "-fPIC", "-shared", "-Wl,-soname,libvictim.so"}

// A function that is known by two names cannot become two in a running program,
// and one that became another name of a function would go on as it was.
func TestExportedNameThatMeansAnotherFunctionIsRefused(t *testing.T) {
	for _, c := range []struct {
		flags   []string
		verdict patch.Verdict
	}{
		{[]string{"-DPARTS"}, patch.Refused},
		{[]string{"-DMENDED"}, patch.Refused},
		{[]string{"-DFIRST=before"}, patch.Clean},
		{nil, patch.Clean}, // first is as it was, and check is led to it
		{[]string{"-DPARTS", "-DTWIN"}, patch.Clean},
		{[]string{"-DTWIN"}, patch.Clean},
	} {
		for _, strip := range []bool{false, true} {
			base, fixed := compile(t, "aliases.c", style{flags: slices.Concat(library, c.flags, []string{"-fno-ipa-icf"}), strip: strip})
			r, b := run(t, base, fixed, build.Options{})
			want := c.verdict
			if strip && want == patch.Clean {
				want = patch.Review // for want of types
			}
			if b != nil && !slices.Contains(c.flags, "-DTWIN") && !slices.ContainsFunc(b.Manifest.Images[0].Sites, func(s patch.Site) bool { return s.Base == uint64(export(t, base, "check")) }) {
				t.Errorf("%v, stripped %v: check stays as it was: %v", c.flags, strip, b.Manifest.Images[0].Sites)
			}
			if r.Verdict != want || slices.Contains(codes(r), "export-moved") != (want == patch.Refused) {
				t.Errorf("%v, stripped %v: %s: %v", c.flags, strip, r.Verdict, r.Reasons)
			}
		}
	}
}

func export(t *testing.T, path, name string) image.Addr {
	t.Helper()
	m, err := image.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	s, ok := m.Dynamic(name)
	if !ok {
		t.Fatalf("%s does not export %s", path, name)
	}
	return s.Addr
}

// The fix of check@V1 is not the new check@@V2, though that has its name.
func TestVersionsOfAFunctionAreToldApart(t *testing.T) {
	for _, strip := range []bool{false, true} {
		base, fixed := compile(t, "versions.c", style{flags: append([]string{"-Wl,--version-script=testdata/versions.map"}, library...), strip: strip})
		r, b := run(t, base, fixed, build.Options{})
		if b == nil {
			t.Fatalf("stripped %v: %s: %v", strip, r.Verdict, r.Reasons)
		}
		if s := b.Manifest.Images[0].Sites; len(s) != 1 || s[0].Name != "check@V1" {
			t.Errorf("stripped %v: sites %v", strip, s)
		}
		if s := states(r); s["check@V1"] != "changed" || s["check"] != "new" {
			t.Errorf("stripped %v: %v", strip, s)
		}
	}
}

func TestVersionOfAnImportIsPartOfItsName(t *testing.T) {
	for _, strip := range []bool{false, true} {
		base, fixed := compile(t, "import-version.c", style{strip: strip})
		r, b := run(t, base, fixed, build.Options{})
		if b == nil {
			t.Fatalf("stripped %v: %s: %v", strip, r.Verdict, r.Reasons)
		}
		if r.Images[0].Counts.Changed != 2 {
			t.Errorf("stripped %v: %v", strip, states(r))
		}
		if !slices.ContainsFunc(b.Objects[0].Symbols, func(s patch.Symbol) bool {
			return s.Kind == patch.Import && s.Name == "realpath" && s.Version == "GLIBC_2.3"
		}) {
			t.Errorf("stripped %v: the version is not asked for: %v", strip, b.Objects[0].Symbols)
		}
	}
}

// What tells the loader which function to call has been asked already, and is not
// that function itself.
func TestFunctionThatIsChosenAtTheStartIsRefused(t *testing.T) {
	for _, c := range []struct{ flag, code string }{{"-DWHICH", "startup-changed"}, {"-DMAKE", "export-moved"}} {
		for _, more := range [][]string{{"-g", "-rdynamic"}, {"-s", "-rdynamic"}} {
			base, fixed := compile(t, "resolver.c", style{flags: append([]string{c.flag}, more...)})
			r, b := run(t, base, fixed, build.Options{})
			if b != nil || r.Verdict != patch.Refused || !slices.Contains(codes(r), c.code) {
				t.Errorf("%s %v: %s: %v", c.flag, more, r.Verdict, r.Reasons)
			}
		}
	}
}
