package image_test

import (
	"os"
	"slices"
	"strings"
	"testing"

	"hotpatch/internal/image"
	"hotpatch/internal/testkit"
)

// withMiniDebug strips the file at path and gives it a .gnu_debugdata.
func withMiniDebug(t testing.TB, path string) string {
	t.Helper()
	testkit.Tools(t, "xz")
	testkit.Tools(t, "objcopy")
	bare, packed, out := path+".bare", path+".mini", path+".out"
	testkit.Run(t, "strip", "-o", bare, path)
	testkit.Run(t, "cp", path, packed)
	testkit.Run(t, "xz", "-f", packed)
	testkit.Run(t, "objcopy", "--add-section", ".gnu_debugdata="+packed+".xz", bare, out)
	return out
}

func TestMiniDebugInfoNamesFunctions(t *testing.T) {
	path := compile(t, program)
	full := open(t, path)
	mini := open(t, withMiniDebug(t, path))
	if !mini.Stripped {
		t.Error("an image without names of variables counts as not stripped")
	}
	for _, f := range full.Funcs {
		g := mini.FuncAt(f.Lo)
		if g == nil || g.Lo != f.Lo || g.Hi != f.Hi || f.Source == image.FromFDE && len(f.Names) > 0 && len(g.Names) == 0 {
			t.Errorf("%s: %+v", f.Name(), g)
		}
	}
	if f := mini.Funcs[slices.IndexFunc(mini.Funcs, func(f *image.Func) bool { return slices.Contains(f.Names, "hidden") })]; f.Source != image.FromFDE {
		t.Errorf("hidden: %+v", f)
	}
	for _, s := range mini.Symbols {
		if s.Name == "counter" && !s.Dynamic {
			t.Error("a variable is named")
		}
	}
}

func TestDamagedMiniDebugInfoIsRefused(t *testing.T) {
	path := withMiniDebug(t, compile(t, program))
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	at := strings.Index(string(b), "\xfd7zXZ")
	for i := range 64 {
		b[at+200+i] ^= 0x55
	}
	damaged := path + ".damaged"
	if err := os.WriteFile(damaged, b, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := image.Open(damaged); err == nil || !strings.Contains(err.Error(), ".gnu_debugdata") {
		t.Errorf("error %v", err)
	}
}
