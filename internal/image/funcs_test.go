package image_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"hotpatch/internal/image"
)

// TestFunctionsAgreeWithSymbols: whether bounds come from unwind data or from
// symbols, they are those that the compiler wrote into .symtab; and taking the
// symbols away takes only names.
func TestFunctionsAgreeWithSymbols(t *testing.T) {
	for _, v := range variants {
		t.Run(v.name, func(t *testing.T) {
			path, barePath := v.build(t)
			m, bare := open(t, path), open(t, barePath)
			if m.Stripped || !bare.Stripped {
				t.Errorf("stripped: %v, %v", m.Stripped, bare.Stripped)
			}
			ours := 0
			for _, s := range nm(t, path) {
				if !strings.ContainsAny(s.kind, "Tt") || !oneOf(s.name, "main", "pick", "slow", "hidden", "complain", "setup", "slow.cold") {
					continue
				}
				ours++
				f := m.FuncAt(s.addr)
				if f == nil || f.Lo != s.addr || f.Hi != s.addr+s.size || !slices.Contains(f.Names, s.name) {
					t.Errorf("%s: %+v, want %#x-%#x", s.name, f, s.addr, s.addr+s.size)
					continue
				}
				if want := s.name == "slow.cold"; f.Fragment != want {
					t.Errorf("%s: fragment %v", s.name, f.Fragment)
				}
				if v.name == "no unwind data" {
					if f.Source != image.FromSymbol {
						t.Errorf("%s: source %v", s.name, f.Source)
					}
					continue
				}
				g := bare.FuncAt(s.addr)
				if g == nil || g.Lo != f.Lo || g.Hi != f.Hi || g.Fragment != f.Fragment || g.Source != image.FromFDE {
					t.Errorf("%s without symbols: %+v, with: %+v", s.name, g, f)
				}
			}
			if ours < 6 {
				t.Errorf("only %d functions of the program seen", ours)
			}
			checkFuncs(t, m)
			checkFuncs(t, bare)
		})
	}
}

func oneOf(s string, of ...string) bool { return slices.Contains(of, s) }

// checkFuncs checks what must hold for every image: order, indices, lookups,
// and that functions and gaps together are the executable sections.
func checkFuncs(t *testing.T, m *image.Image) {
	t.Helper()
	covered := image.Addr(0)
	for i, f := range m.Funcs {
		if f.Index != i || f.Lo >= f.Hi || i > 0 && m.Funcs[i-1].Hi > f.Lo {
			t.Fatalf("function %d is %+v", i, f)
		}
		if m.FuncAt(f.Lo) != f || m.FuncAt(f.Hi-1) != f {
			t.Fatalf("FuncAt does not find %s", f.Name())
		}
		if g := m.FuncAt(f.Hi); g != nil && g.Lo != f.Hi {
			t.Fatalf("%s holds its end", f.Name())
		}
		if m.ClassAt(f.Lo) != image.Text {
			t.Fatalf("%s is in class %v", f.Name(), m.ClassAt(f.Lo))
		}
		covered += f.Hi - f.Lo
	}
	for _, g := range m.Gaps() {
		if f := m.FuncAt(g.Lo); g.Lo >= g.Hi || f != nil {
			t.Fatalf("gap %#x-%#x with function %v", g.Lo, g.Hi, f)
		}
		covered += g.Hi - g.Lo
	}
	code := image.Addr(0)
	for _, s := range m.Sections {
		if s.Class == image.Text {
			code += s.Size
		}
	}
	if code == 0 || covered != code {
		t.Errorf("functions and gaps are %#x bytes, code is %#x", covered, code)
	}
	if m.FuncAt(0) != nil || m.FuncAt(^image.Addr(0)) != nil {
		t.Error("a function at an address outside")
	}
}

func TestUnnamedFunctionIsNamedByItsAddress(t *testing.T) {
	path, bare := variants[0].build(t)
	f := open(t, bare).FuncAt(symbol(t, path, "pick"))
	if want := fmt.Sprintf("fn_%x", uint64(symbol(t, path, "pick"))); f.Name() != want {
		t.Errorf("%s, want %s", f.Name(), want)
	}
}

// TestAssemblyFunctions: symbols without size or type name only what unwind
// data bounds; overlapping sizes are cut at what is known better.
func TestAssemblyFunctions(t *testing.T) {
	path := compile(t, `
__asm__(".text\n"
	".globl with_fde\nwith_fde:\n.cfi_startproc\nnop\n.Lx: local_label: ret\n.cfi_endproc\n"
	".globl outer\n.type outer,@function\nouter: nop\nnop\n"
	".globl inner\n.type inner,@function\ninner: nop\nret\n.size inner,.-inner\n.size outer,.-outer+100\n"
	".globl alias\n.type alias,@function\n.set alias,outer\n.size alias,2\n"
	".globl bounded\n.type bounded,@function\nbounded:\n.cfi_startproc\nnop\n ret\n.cfi_endproc\n.size bounded,1\n"
	".globl parts\n.type parts,@function\nparts:\n.cfi_startproc\nnop\n.cfi_endproc\n.cfi_startproc\n.Lpart: nop\nret\n.cfi_endproc\n.size parts,.-parts\n"
	".globl nosize\n.type nosize,@function\nnosize: ret\n");
int main(void) { return 0; }`, "-O2")
	m := open(t, path)
	at := func(name string) *image.Func { return m.FuncAt(symbol(t, path, name)) }
	if f := at("with_fde"); f == nil || f.Hi-f.Lo != 2 || !slices.Equal(f.Names, []string{"with_fde"}) {
		t.Errorf("with_fde: %+v", f)
	}
	if f := at("outer"); f == nil || f.Source != image.FromSymbol || f.Hi != at("bounded").Lo || !slices.Equal(f.Names, []string{"alias", "outer"}) {
		t.Errorf("outer: %+v", f)
	}
	if f := at("inner"); f != at("outer") {
		t.Errorf("inner is inside outer, but: %+v", f)
	}
	if f := at("bounded"); f == nil || f.Source != image.FromFDE || f.Hi-f.Lo != 2 {
		t.Errorf("bounded: %+v", f)
	}
	f := at("parts")
	if f == nil || f.Hi-f.Lo != 1 || f.Fragment {
		t.Fatalf("parts: %+v", f)
	}
	if g := m.FuncAt(f.Hi); g == nil || g.Source != image.FromFDE || !g.Fragment || len(g.Names) != 0 {
		t.Errorf("second part: %+v", g)
	}
	if f := at("nosize"); f != nil {
		t.Errorf("nosize has no bounds, but: %+v", f)
	}
	checkFuncs(t, m)
}

func TestFunctionWithHandlersHasLSDA(t *testing.T) {
	path := compile(t, `
void done(int *p); void may_throw(void);
void done(int *p) { (void)p; }
__attribute__((weak)) void may_throw(void) {}
int with_cleanup(void) { int x __attribute__((cleanup(done))) = 1; may_throw(); return x; }
int without(void) { return 1; }
int main(void) { return with_cleanup(); }`, "-O0", "-fexceptions")
	for _, p := range []string{path, stripped(t, path)} {
		m := open(t, p)
		f := m.FuncAt(symbol(t, path, "with_cleanup"))
		if s := m.SectionAt(f.LSDA); f.LSDA == 0 || s == nil || s.Name != ".gcc_except_table" {
			t.Errorf("LSDA %#x in %v", f.LSDA, s)
		}
		if f := m.FuncAt(symbol(t, path, "without")); f.LSDA != 0 {
			t.Errorf("without has LSDA %#x", f.LSDA)
		}
	}
}

func TestIFuncResolverIsAFunctionAndItsSlotHasNoName(t *testing.T) {
	path := compile(t, `
static int one(void) { return 1; }
static void *choose(void) { return one; }
int chosen(void) __attribute__((ifunc("choose"), visibility("hidden")));
int main(void) { return chosen(); }`, "-O2", "-fno-inline")
	m := open(t, path)
	f := m.FuncAt(symbol(t, path, "chosen"))
	if f == nil || !slices.Contains(f.Names, "chosen") || !slices.Contains(f.Names, "choose") {
		t.Errorf("resolver: %+v", f)
	}
	irelative := 0
	for _, r := range m.Relocs {
		if r.Type == relocIRelative {
			irelative++
			if r.Sym != "" || image.Addr(r.Add) != f.Lo {
				t.Errorf("IRELATIVE: %+v", r)
			}
		}
	}
	if irelative != 1 {
		t.Errorf("%d IRELATIVE relocations", irelative)
	}
	for _, e := range pltTruth(t, path) {
		if i, ok := m.PLTName(e.addr); ok && strings.Contains(e.name, "ABS") {
			t.Errorf("IFUNC slot at %#x is named %v", e.addr, i)
		}
	}
}
