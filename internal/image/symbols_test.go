package image_test

import (
	"debug/elf"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"hotpatch/internal/image"
)

// versioned builds a library with two versions of f and a program that uses
// the old one of f and the only one of g.
func versioned(t *testing.T) (library, program string) {
	t.Helper()
	script := filepath.Join(t.TempDir(), "map")
	if err := os.WriteFile(script, []byte("V1 { global: f; g; data; local: *; };\nV2 { global: f; } V1;\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	library = compile(t, `
int data = 3;
int f_old(void) { return 1; }
int f_new(void) { return 2; }
int g(void) { return 3; }
__asm__(".symver f_old,f@V1\n.symver f_new,f@@V2\n");
`, "-O2", "-shared", "-fPIC", "-Wl,--version-script="+script, "-Wl,-soname,libv.so")
	program = compile(t, `
extern int f(void), g(void), data;
__asm__(".symver f,f@V1\n");
int main(void) { return f() + g() + data; }
`, "-O2", library)
	return library, program
}

func TestSymbolVersions(t *testing.T) {
	lib, prog := versioned(t)
	m := open(t, lib)
	f, ok := m.Dynamic("f")
	if !ok || f.Version != "V2" || f.Hidden || !f.Dynamic || f.Local || f.Type != elf.STT_FUNC {
		t.Errorf("default f: %+v %v", f, ok)
	}
	if got := m.FuncAt(f.Addr); !slices.Contains(got.Names, "f") {
		t.Errorf("default f is named %q", got.Names)
	}
	i := slices.IndexFunc(m.Symbols, func(s image.Symbol) bool { return s.Name == "f" && s.Version == "V1" && s.Dynamic })
	if i < 0 || !m.Symbols[i].Hidden || m.Symbols[i].Addr == f.Addr {
		t.Fatalf("old f: %d", i)
	}
	if got := m.FuncAt(m.Symbols[i].Addr); !slices.Contains(got.Names, "f@V1") || slices.Contains(got.Names, "f") {
		t.Errorf("old f is named %q", got.Names)
	}
	if d, ok := m.Dynamic("data"); !ok || d.Version != "V1" || d.Size != 4 || m.ClassAt(d.Addr) != image.Data {
		t.Errorf("data: %+v %v", d, ok)
	}
	for _, none := range []string{"V1", "V2", "f_old", "malloc", ""} {
		if s, ok := m.Dynamic(none); ok {
			t.Errorf("%q is exported: %+v", none, s)
		}
	}

	m = open(t, prog)
	for name, version := range map[string]string{"f": "V1", "g": "V1"} {
		a, ok := m.PLTOf(name, version)
		if got, _ := m.PLTName(a); !ok || got != (image.Import{Name: name, Version: version}) {
			t.Errorf("PLT entry of %s: %+v", name, got)
		}
		if s, ok := m.Dynamic(name); ok {
			t.Errorf("imported %s is exported: %+v", name, s)
		}
	}
}

// TestCopyRelocationDefinesTheVariableHere: a program at a fixed address has
// its own copy of a library's variable.
func TestCopyRelocationDefinesTheVariableHere(t *testing.T) {
	lib, _ := versioned(t)
	prog := compile(t, `extern int data; int main(void) { return data; }`, "-O2", "-no-pie", "-fno-pie", lib)
	m := open(t, prog)
	i := slices.IndexFunc(m.Relocs, func(r image.Reloc) bool { return r.Type == elf.R_X86_64_COPY })
	if i < 0 {
		t.Fatal("no COPY relocation")
	}
	if r := m.Relocs[i]; r.Sym != "data" || r.Version != "V1" || r.SymAddr != r.At || m.ClassAt(r.At) != image.BSS {
		t.Errorf("%+v", r)
	}
}

func TestRelocationAgainstOwnSymbolHasItsAddress(t *testing.T) {
	lib := compile(t, `
int own = 1;
extern int foreign;
int *table[] = {&own, &foreign};
`, "-O2", "-shared", "-fPIC", "-Wl,-soname,libo.so")
	m := open(t, lib)
	table := symbol(t, lib, "table")
	rs := m.RelocsIn(table, table+16)
	if len(rs) != 2 || rs[0].Sym != "own" || rs[0].SymAddr != symbol(t, lib, "own") || rs[1].Sym != "foreign" || rs[1].SymAddr != 0 {
		t.Errorf("%+v", rs)
	}
}

func TestSymbolsAgreeWithNM(t *testing.T) {
	path, bare := variants[0].build(t)
	m := open(t, path)
	for _, s := range nm(t, path) {
		if strings.ContainsAny(s.kind, "BbDd") && (strings.HasPrefix(s.name, "per_thread")) {
			continue
		}
		if !slices.ContainsFunc(m.SymbolsAt(s.addr), func(g image.Symbol) bool {
			return strings.HasPrefix(s.name, g.Name) && g.Size == uint64(s.size) && g.Local == (s.kind == strings.ToLower(s.kind))
		}) {
			t.Errorf("%+v is not in %+v", s, m.SymbolsAt(s.addr))
		}
	}
	for i, s := range m.Symbols {
		if s.Name == "" || strings.Contains(s.Name, "@") || i > 0 && s.Type != elf.STT_TLS && m.Symbols[i-1].Addr > s.Addr {
			t.Errorf("symbol %d: %+v", i, s)
		}
	}
	if all := open(t, bare).Symbols; len(all) >= len(m.Symbols) || slices.ContainsFunc(all, func(s image.Symbol) bool { return !s.Dynamic }) {
		t.Errorf("stripped: %+v", all)
	}
	if s := m.SymbolsAt(1); len(s) != 0 {
		t.Errorf("symbols at 1: %+v", s)
	}
}
