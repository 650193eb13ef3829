package diff_test

import (
	"debug/elf"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"hotpatch/internal/diff"
	"hotpatch/internal/image"
)

// program is C source with many static variables and with functions that use
// some of them; near twins abound.
type program struct {
	vars  []variable
	funcs []function
}

type variable struct {
	name string
	size int // elements
	init int
}

type function struct {
	name string
	uses []string // variables
	call int      // index of a function called, -1 for none
	bias int      // makes the code of a function its own; 0: a plain getter
}

func (p *program) source() string {
	var b strings.Builder
	b.WriteString("#define KEEP __attribute__((noinline, noclone, used))\n")
	for _, v := range p.vars {
		if v.init != 0 {
			fmt.Fprintf(&b, "static int %s[%d] = {%d};\n", v.name, v.size, v.init)
		} else {
			fmt.Fprintf(&b, "static int %s[%d];\n", v.name, v.size)
		}
	}
	for i, f := range p.funcs {
		fmt.Fprintf(&b, "KEEP int %s(int n) {\n", f.name)
		for k, v := range f.uses {
			if f.bias == 0 {
				fmt.Fprintf(&b, "\treturn %s[0];\n", v)
			} else {
				fmt.Fprintf(&b, "\tn += %s[0] * %d;\n\t%s[0] = n ^ %d;\n", v, f.bias+k, v, f.bias*3)
			}
		}
		if f.bias != 0 {
			if f.call >= 0 && f.call < i {
				fmt.Fprintf(&b, "\tif (n > %d)\n\t\tn -= %s(n);\n", f.bias, p.funcs[f.call].name)
			}
			b.WriteString("\treturn n;\n")
		}
		b.WriteString("}\n")
	}
	b.WriteString("int main(int argc, char **argv) {\n\t(void)argv;\n\tint n = argc;\n")
	for _, f := range p.funcs {
		fmt.Fprintf(&b, "\tn += %s(n);\n", f.name)
	}
	b.WriteString("\treturn n;\n}\n")
	return b.String()
}

func random(r *rand.Rand) *program {
	p := &program{}
	for i := range 24 {
		v := variable{name: fmt.Sprintf("v%d", i), size: 1 + r.IntN(4)}
		if r.IntN(2) == 0 {
			v.init = 1 + r.IntN(99)
		}
		p.vars = append(p.vars, v)
	}
	for i := range 40 {
		f := function{name: fmt.Sprintf("f%d", i), call: r.IntN(40) - 5}
		if i%3 != 0 {
			f.bias = 7 + i*11
		}
		for range 1 + r.IntN(3) {
			f.uses = append(f.uses, p.vars[r.IntN(len(p.vars))].name)
		}
		p.funcs = append(p.funcs, f)
	}
	return p
}

// change edits a copy as a security fix would: a few functions, a variable or
// function that comes or goes.
func change(r *rand.Rand, p *program) *program {
	q := &program{vars: append([]variable(nil), p.vars...), funcs: append([]function(nil), p.funcs...)}
	for range 1 + r.IntN(3) {
		switch r.IntN(4) {
		case 0: // a new variable, and a function that uses it
			at := r.IntN(len(q.vars))
			v := variable{name: fmt.Sprintf("fresh%d", at), size: 1 + r.IntN(3), init: r.IntN(2)}
			q.vars = append(q.vars[:at], append([]variable{v}, q.vars[at:]...)...)
			i := r.IntN(len(q.funcs))
			q.funcs[i].uses = append([]string{v.name}, q.funcs[i].uses...)
		case 1: // another computation
			q.funcs[r.IntN(len(q.funcs))].bias += 1000
		case 2: // an old variable is used in one more place
			i := r.IntN(len(q.funcs))
			q.funcs[i].uses = append(append([]string(nil), q.funcs[i].uses...), p.vars[r.IntN(len(p.vars))].name)
		case 3: // a function grows
			i := r.IntN(len(q.funcs))
			q.funcs[i].uses = append(append([]string(nil), q.funcs[i].uses...), q.funcs[i].uses...)
			q.funcs[i].bias += 5
		}
	}
	return q
}

// place is an address as the symbols of an image tell it: variable and offset.
func place(m *image.Image, a image.Addr) string {
	for _, s := range m.Symbols {
		if s.Type == elf.STT_OBJECT && a >= s.Addr && a < s.Addr+image.Addr(s.Size) {
			return fmt.Sprintf("%s+%d", s.Name, a-s.Addr)
		}
	}
	return ""
}

func has(m *image.Image, variable string) bool {
	for _, s := range m.Symbols {
		if s.Name == variable {
			return true
		}
	}
	return false
}

// Whatever is bound without symbols is what symbols call the same, and every
// function whose code changed is seen. Nothing may be bound in error; to be
// unmapped is allowed.
func TestStrippedImagesAgreeWithTheirSymbols(t *testing.T) {
	mapped, seen := 0, 0
	for seed := range uint64(12) {
		r := rand.New(rand.NewPCG(seed, 1))
		p := random(r)
		q := change(r, p)
		base, fixed := compile(t, p.source()), compile(t, q.source())
		x, y := open(t, base), open(t, fixed)
		d := compare(t, strip(t, base), strip(t, fixed))
		names := func(m *image.Image) map[image.Addr]string {
			out := map[image.Addr]string{}
			for _, s := range m.Symbols {
				if s.Type == elf.STT_FUNC {
					out[s.Addr] = s.Name
				}
			}
			return out
		}
		nx, ny := names(x), names(y)
		for _, f := range d.Fixed.Funcs {
			state, _ := d.State(f)
			a := d.BaseOf(f)
			if a != nil && nx[a.Lo] != ny[f.Lo] && state != diff.Same {
				t.Errorf("seed %d: %s is paired with %s (%s)", seed, ny[f.Lo], nx[a.Lo], state)
			}
			if state != diff.Changed && state != diff.New {
				continue
			}
			for k := range f.Refs {
				if !f.Refs[k].Class.Writable() {
					continue
				}
				want := place(y, f.Refs[k].Target)
				if want == "" {
					continue
				}
				seen++
				b := d.Bind(f, k)
				if b.OK() {
					mapped++
					if got := place(x, b.Base); got != want {
						t.Errorf("seed %d: %s uses %s, bound to %s by %s (%s)", seed, ny[f.Lo], want, got, b.How, b.Why)
					}
				}
				name, _, _ := strings.Cut(want, "+")
				if b.How == diff.NewVariable && has(x, name) {
					t.Errorf("seed %d: %s is taken to be new: %s", seed, want, b.Why)
				}
			}
		}
		// The symbols' own verdict: what differs with names must differ without.
		u := compare(t, base, fixed)
		for _, f := range u.Fixed.Funcs {
			state, why := u.State(f)
			g := d.Fixed.Entry(f.Lo)
			if state != diff.Changed || g == nil {
				continue
			}
			if got, _ := d.State(g); got == diff.Same {
				t.Errorf("seed %d: %s changed (%s), but not in the stripped images", seed, f.Name(), why)
			}
		}
	}
	if mapped*2 < seen {
		t.Errorf("only %d of %d references were bound", mapped, seen)
	}
	t.Logf("%d of %d references bound", mapped, seen)
}

// With symbols everything is bound, and rightly.
func TestSymbolsBindEverything(t *testing.T) {
	for seed := range uint64(4) {
		r := rand.New(rand.NewPCG(seed, 2))
		p := random(r)
		q := change(r, p)
		base, fixed := compile(t, p.source()), compile(t, q.source())
		d := compare(t, base, fixed)
		for _, f := range d.Fixed.Funcs {
			for k := range f.Refs {
				want := place(d.Fixed.Image, f.Refs[k].Target)
				if !f.Refs[k].Class.Writable() || want == "" || strings.HasPrefix(want, "completed") {
					continue
				}
				b := d.Bind(f, k)
				switch {
				case !has(d.Base.Image, strings.Split(want, "+")[0]): // the compiler drops what is not used
					if b.How != diff.NewVariable {
						t.Errorf("seed %d: %s is %s (%s)", seed, want, b.How, b.Why)
					}
				case !b.OK() || place(d.Base.Image, b.Base) != want:
					t.Errorf("seed %d: %s in %s is %s at %#x: %s", seed, want, f.Name(), b.How, uint64(b.Base), b.Why)
				}
			}
		}
	}
}
