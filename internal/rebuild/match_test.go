package rebuild_test

import (
	"debug/dwarf"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"hotpatch/internal/image"
	"hotpatch/internal/rebuild"
	"hotpatch/internal/testkit"
)

func tinySource(t testing.TB) string {
	t.Helper()
	text, err := os.ReadFile("testdata/tiny/tiny.c")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// compile builds a program with types, from a directory of its own name so
// that the path in it does not tell two builds apart.
func compile(t testing.TB, text string, flags ...string) string {
	t.Helper()
	dir := t.TempDir()
	src, out := filepath.Join(dir, "tiny.c"), filepath.Join(dir, "tiny")
	if err := os.WriteFile(src, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	args := []string{"-g", "-O2", "-fPIE", "-pie", "-Wl,--build-id", "-ffile-prefix-map=" + dir + "=.", "-o", out, src}
	testkit.Run(t, "gcc", append(args, flags...)...)
	return out
}

// ship strips a copy, as the distribution does.
func ship(t testing.TB, path string) string {
	t.Helper()
	testkit.Tools(t, "strip")
	out := filepath.Join(t.TempDir(), "tiny")
	testkit.Run(t, "strip", "-o", out, path)
	return out
}

func edit(t testing.TB, text, from, to string) string {
	t.Helper()
	if !strings.Contains(text, from) {
		t.Fatalf("no %q in the program", from)
	}
	return strings.Replace(text, from, to, 1)
}

func TestWhatMatchesIsKept(t *testing.T) {
	text := tinySource(t)
	// A pointer and a line more at the end of the data and code of one build.
	for _, c := range []struct {
		name, rebuilt    string
		flags            []string
		sameID, sameSpot bool
		verified         bool
		unmatched        string // "function kind", all of them
	}{
		{"the same again", text, nil, true, true, true, ""},
		{"another place to build in", text, []string{"-DPLACE", "-frecord-gcc-switches"}, false, true, true, ""},
		{"another date", edit(t, text, "Monday by builder-7", "Friday by builder-9"), nil, false, true, true, "show_build strings"},
		{"a longer date", edit(t, text, "Monday by builder-7", "Wednesday the 31st of December, by builder-13"), nil, false, false, true, "show_build strings"},
		{"another constant", edit(t, text, "1000000", "1000001"), nil, false, true, false, "deposit code"},
		{"another type", edit(t, text, "char name[16];", "char name[16]; long more;"), nil, false, false, false, "find code, open_account code"},
		{"a function more", edit(t, text, "int main", "__attribute__((noinline)) int extra(int x) { return x * 17 + used * accounts[1].id; }\nint main"), nil, false, false, false, "extra extra"},
		{"a function less", edit(t, text, "__attribute__((noinline)) void show_build(void) { puts(BUILT); }", "#define show_build() puts(BUILT)"), nil, false, false, false, "main code"},
	} {
		t.Run(c.name, func(t *testing.T) {
			shipped := ship(t, compile(t, text))
			again := compile(t, c.rebuilt, c.flags...)
			dir := t.TempDir()
			e, path, err := rebuild.Match(t.Context(), shipped, again, dir, rebuild.Origin{})
			if err != nil {
				t.Fatal(err)
			}
			if e.SameBuildID != c.sameID || e.SameLayout != c.sameSpot || e.Verified != c.verified {
				t.Errorf("same build-id %v, same layout %v, verified %v; %s", e.SameBuildID, e.SameLayout, e.Verified, e)
			}
			var got []string
			for _, m := range e.Unmatched {
				got = append(got, m.Function+" "+string(m.Kind))
				if m.Why == "" {
					t.Errorf("%s: no reason", m.Function)
				}
			}
			slices.Sort(got)
			if c.unmatched == "main code" { // and show_build, which has no name in a stripped file
				got = slices.DeleteFunc(got, func(s string) bool { return strings.HasSuffix(s, " missing") })
			}
			if s := strings.Join(got, ", "); s != c.unmatched {
				t.Errorf("unmatched: %s, want %s", s, c.unmatched)
			}
			if c.unmatched != "" && !c.verified && !strings.Contains(e.String(), strings.Fields(c.unmatched)[0]) {
				t.Errorf("%q does not name what differs", e)
			}
			checkDebugFile(t, shipped, again, path, e)
		})
	}
}

// checkDebugFile holds the debug file against both programs: it must be sound
// ELF, and every name in it must be at the function that bears it.
func checkDebugFile(t *testing.T, shipped, again, path string, e *rebuild.Evidence) {
	t.Helper()
	if read, err := rebuild.ReadEvidence(path); err != nil || read.String() != e.String() {
		t.Errorf("evidence in the file: %v, %v", read, err)
	}
	m, err := image.Open(shipped)
	if err != nil {
		t.Fatal(err)
	}
	funcs := len(m.Funcs)
	if err := m.AttachDebug(path); err != nil {
		t.Fatal(err)
	}
	if m.Stripped == (e.SameLayout && e.Verified) {
		t.Errorf("the image counts as stripped: %v", m.Stripped)
	}
	if len(m.Funcs) != funcs {
		t.Errorf("%d functions instead of %d", len(m.Funcs), funcs)
	}
	names := functionNames(t, m)
	full, err := image.Open(again)
	if err != nil {
		t.Fatal(err)
	}
	unmatched := map[string]bool{}
	for _, x := range e.Unmatched {
		if x.Kind != rebuild.Strings {
			unmatched[x.Function] = true
		}
	}
	for name, f := range functionNames(t, full) {
		switch g, ok := names[name]; {
		case unmatched[name] && ok && !e.SameLayout:
			t.Errorf("%s does not match and has its name all the same", name)
		case !unmatched[name] && !ok:
			t.Errorf("%s matches and has no name", name)
		case ok && g.Hi-g.Lo != f.Hi-f.Lo:
			t.Errorf("%s has %d bytes, in the rebuilt program %d", name, g.Hi-g.Lo, f.Hi-f.Lo)
		}
	}
	if size := structSize(t, m, "account"); size < 32 {
		t.Errorf("struct account has %d bytes", size)
	}
	testkit.Tools(t, "readelf")
	out, err := exec.Command("readelf", "-aW", path).CombinedOutput()
	if err != nil || strings.Contains(string(out), "arning") || strings.Contains(string(out), "rror:") {
		t.Errorf("readelf: %v\n%s", err, out)
	}
}

func functionNames(t *testing.T, m *image.Image) map[string]*image.Func {
	t.Helper()
	out := map[string]*image.Func{}
	for _, f := range m.Funcs {
		for _, n := range f.Names {
			switch n {
			case "find", "open_account", "deposit", "show_build", "main":
				out[n] = f
			}
		}
	}
	return out
}

func structSize(t *testing.T, m *image.Image, name string) int64 {
	t.Helper()
	d, err := m.DWARF()
	if err != nil {
		t.Fatal(err)
	}
	for r := d.Reader(); ; {
		e, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		if e == nil {
			return 0
		}
		if e.Tag == dwarf.TagStructType && e.Val(dwarf.AttrName) == name {
			size, _ := e.Val(dwarf.AttrByteSize).(int64)
			return size
		}
	}
}

// Two static functions of one name: when one of them does not match, the name
// is given to neither.
func TestNameOfSeveralFunctionsIsKeptOnlyIfAllMatch(t *testing.T) {
	program := func(second string) string {
		dir := t.TempDir()
		for name, text := range map[string]string{
			"a.c": "int used; __attribute__((noinline)) static int twin(int x) { return x * 3 + used; } __attribute__((noinline)) int a(int x) { return twin(x) + 1; }",
			"b.c": "extern int used; __attribute__((noinline)) static int twin(int x) { " + second + " } __attribute__((noinline)) int b(int x) { return twin(x) * 5 + used; }",
			"m.c": "int a(int), b(int); int main(int c, char **v) { return a(c) + b(c); }",
		} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		testkit.Tools(t, "gcc")
		out := filepath.Join(dir, "p")
		testkit.Run(t, "gcc", "-g", "-O2", "-fno-ipa-cp", "-fPIE", "-pie", "-Wl,--build-id", "-o", out, filepath.Join(dir, "a.c"), filepath.Join(dir, "b.c"), filepath.Join(dir, "m.c"))
		return out
	}
	shipped := ship(t, program("return used - x / 7;"))
	again := program("return used - x / 11 + (x & 1);")
	e, path, err := rebuild.Match(t.Context(), shipped, again, t.TempDir(), rebuild.Origin{})
	if err != nil {
		t.Fatal(err)
	}
	if len(e.Unmatched) == 0 || e.Verified {
		t.Fatalf("%s", e)
	}
	m, err := image.Open(shipped)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.AttachDebug(path); err != nil {
		t.Fatal(err)
	}
	a := false
	for _, f := range m.Funcs {
		if slices.Contains(f.Names, "twin") {
			t.Errorf("%#x is called twin", f.Lo)
		}
		a = a || slices.Contains(f.Names, "a")
	}
	if !a {
		t.Error("a has lost its name")
	}
}

func TestRebuildWithoutTypesIsRefused(t *testing.T) {
	again := compile(t, tinySource(t))
	dir := t.TempDir()
	if _, _, err := rebuild.Match(t.Context(), ship(t, again), ship(t, again), dir, rebuild.Origin{}); err == nil || !strings.Contains(err.Error(), "no types") {
		t.Errorf("got %v", err)
	}
	if names, err := os.ReadDir(dir); err != nil || len(names) != 0 {
		t.Errorf("left %v, %v", names, err)
	}
}

// What is kept is one file: types in another would be lost with it.
func TestRebuildWithTypesInAnotherFileIsRefused(t *testing.T) {
	testkit.Tools(t, "objcopy")
	again := compile(t, tinySource(t))
	link := filepath.Join(t.TempDir(), "link")
	if err := os.WriteFile(link, []byte("common.debug\x00\x01\x02\x03"), 0o600); err != nil {
		t.Fatal(err)
	}
	shipped := ship(t, again)
	testkit.Run(t, "objcopy", "--add-section", ".gnu_debugaltlink="+link, again)
	if _, _, err := rebuild.Match(t.Context(), shipped, again, t.TempDir(), rebuild.Origin{}); err == nil || !strings.Contains(err.Error(), "dwz") {
		t.Errorf("got %v", err)
	}
}

func TestDebugFileIsReproducible(t *testing.T) {
	again := compile(t, tinySource(t))
	shipped := ship(t, again)
	var files [2][]byte
	for i := range files {
		_, path, err := rebuild.Match(t.Context(), shipped, again, t.TempDir(), rebuild.Origin{})
		if err != nil {
			t.Fatal(err)
		}
		if files[i], err = os.ReadFile(path); err != nil {
			t.Fatal(err)
		}
	}
	if string(files[0]) != string(files[1]) {
		t.Error("two files of the same input differ")
	}
}
