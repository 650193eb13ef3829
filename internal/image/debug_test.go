package image_test

import (
	"debug/dwarf"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"hotpatch/internal/image"
	"hotpatch/internal/testkit"
)

const typed = `
struct thing { int a; long b; };
static __attribute__((noinline)) long inner(struct thing *t) { return t->a + t->b; }
int main(int argc, char **argv) { struct thing t = {argc, 2}; return (int)inner(&t); }
`

// separate splits off the debug information as dh_strip does.
func separate(t *testing.T, path string, flags ...string) (bare, debug string) {
	t.Helper()
	testkit.Tools(t, "objcopy")
	bare = stripped(t, path)
	debug = filepath.Join(t.TempDir(), "a.debug")
	testkit.Run(t, "objcopy", append(append([]string{"--only-keep-debug"}, flags...), path, debug)...)
	return bare, debug
}

func TestAttachedDebugFileGivesNamesAndTypes(t *testing.T) {
	path := compile(t, typed, "-g", "-O1")
	full := open(t, path)
	for _, flag := range []string{"none", "zlib", "zstd"} {
		t.Run(flag, func(t *testing.T) {
			if flag == "zstd" && !strings.Contains(testkit.Run(t, "objcopy", "--help"), "zstd") {
				testkit.Skip(t, "this objcopy does not know zstd")
			}
			bare, debug := separate(t, path, "--compress-debug-sections="+flag)
			m := open(t, bare)
			inner := symbol(t, path, "inner")
			if m.FuncAt(inner).Name() == "inner" {
				t.Fatal("not stripped")
			}
			if _, err := m.DWARF(); !errors.Is(err, image.ErrNoDWARF) {
				t.Errorf("stripped file has types: %v", err)
			}
			if err := m.AttachDebug(debug); err != nil {
				t.Fatal(err)
			}
			if m.Stripped || len(m.Funcs) != len(full.Funcs) {
				t.Errorf("stripped %v, %d functions, want %d", m.Stripped, len(m.Funcs), len(full.Funcs))
			}
			for i, f := range m.Funcs {
				if g := full.Funcs[i]; f.Lo != g.Lo || f.Hi != g.Hi || f.Source != g.Source || !slices.Equal(f.Names, g.Names) {
					t.Errorf("function %d: %+v, want %+v", i, f, g)
				}
			}
			checkFuncs(t, m)
			checkType(t, m)
		})
	}
	checkType(t, full)
}

func checkType(t *testing.T, m *image.Image) {
	t.Helper()
	d, err := m.DWARF()
	if err != nil {
		t.Fatal(err)
	}
	for r := d.Reader(); ; {
		e, err := r.Next()
		if err != nil || e == nil {
			t.Fatalf("no struct thing: %v", err)
		}
		if e.Tag == dwarf.TagStructType && e.Val(dwarf.AttrName) == "thing" {
			if size := e.Val(dwarf.AttrByteSize); size != int64(16) {
				t.Errorf("struct thing has %v bytes", size)
			}
			return
		}
	}
}

func TestAttachDebugRefusesAnotherBuild(t *testing.T) {
	path := compile(t, typed, "-g", "-O1")
	_, other := separate(t, compile(t, typed+"\nint more;", "-g", "-O1"))
	m := open(t, stripped(t, path))
	names := len(m.Symbols)
	err := m.AttachDebug(other)
	if err == nil || !strings.Contains(err.Error(), other) || !strings.Contains(err.Error(), string(m.BuildID)) {
		t.Errorf("%v", err)
	}
	if len(m.Symbols) != names || !m.Stripped {
		t.Error("the image has changed")
	}
	if err := m.AttachDebug(filepath.Join(t.TempDir(), "absent")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("absent: %v", err)
	}
	text := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(text, []byte(strings.Repeat("no ELF ", 20)), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := m.AttachDebug(text); err == nil || !strings.Contains(err.Error(), "not an ELF file") {
		t.Errorf("text: %v", err)
	}
}

func TestDWARFRefusesAFileThatWasReplaced(t *testing.T) {
	path := compile(t, typed, "-g", "-O1")
	m := open(t, path)
	other := compile(t, typed+"\nint more;", "-g", "-O1")
	if err := os.Rename(other, path); err != nil {
		t.Fatal(err)
	}
	if _, err := m.DWARF(); err == nil || !strings.Contains(err.Error(), "build-id") {
		t.Errorf("%v", err)
	}
}
