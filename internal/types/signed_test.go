package types_test

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"hotpatch/internal/image"
	"hotpatch/internal/types"
)

// typeUnits are those of debugFlags that put types into units of their own.
var typeUnits = debugFlags[1:]

// Each unit has the types that it has without the option.
func TestTypesInTypeUnitsAreThoseOfTheirFiles(t *testing.T) {
	for lang, source := range map[string]map[string]string{"C": dwzC, "C++": dwzCC} {
		for _, flags := range typeUnits {
			t.Run(lang+" "+flags[0], func(t *testing.T) {
				t.Parallel()
				want, err := types.UnitTypes(open(t, compileFiles(t, source, flags[0])))
				if err != nil {
					t.Fatal(err)
				}
				got, err := types.UnitTypes(open(t, compileFiles(t, source, flags...)))
				if err != nil {
					t.Fatal(err)
				}
				if len(want) < 3 {
					t.Fatalf("only units %q", slices.Collect(maps.Keys(want)))
				}
				if !strings.HasPrefix(got[""], want[""]) {
					t.Errorf("uses are %q, not %q", got[""], want[""])
				}
				delete(want, "")
				all := map[string]bool{}
				for _, text := range got {
					maps.Copy(all, linesOf(text))
				}
				for name, w := range want {
					lines, found := linesOf(strings.ReplaceAll(w, "whole true", "whole false")), linesOf(got[name])
					for line := range found {
						if !lines[line] {
							t.Errorf("unit %q has %s", name, line)
						}
					}
					for line := range lines {
						if found[line] {
							continue
						}
						// gcc does not refer to what only a cast mentions.
						if !all[line] || !castOnly[strings.Fields(line)[1]] {
							t.Errorf("unit %q lacks %s", name, line)
						}
					}
				}
			})
		}
	}
}

// castOnly are those of dwzC, by their second word.
var castOnly = map[string]bool{"option": true, "used": true, "of": true}

func linesOf(text string) map[string]bool {
	out := map[string]bool{}
	for line := range strings.Lines(text) {
		out[strings.TrimSpace(line)] = true
	}
	return out
}

// A file goes from one type of a name to another that was there before. No unit
// says that it is this file, so nothing may be said to be known.
func TestSeveralTypesOfOneNameInTypeUnitsAreNotVerified(t *testing.T) {
	const a, b = "struct s { long a; int b; };\n", "struct s { int b; };\n"
	files := map[string]string{
		"one.c":   a + "int one(void *p) { return ((struct s *)p)->b; }\n",
		"two.c":   a + "int two(struct s *p) { return p->b; }\n",
		"three.c": b + "int one(void *); int two(void *); int main(int n, char **v) { return n + one(v) + two(v) + ((struct s *)v)->b; }\n",
	}
	for _, flags := range typeUnits {
		base := compileFiles(t, files, flags...)
		edited := maps.Clone(files)
		edited["one.c"] = strings.Replace(files["one.c"], a, b, 1)
		found, known, err := compare(open(t, base), open(t, compileFiles(t, edited, flags...)))
		if !known || err == nil || !strings.Contains(err.Error(), "several of struct s") {
			t.Errorf("found %v (known %v, error %v)", found, known, err)
		}
	}
}

// The types of one image come from a separate file.
func TestTypeUnitsOfASeparateFileAreRead(t *testing.T) {
	const source = "struct s { long a; int b; } s;\nint main(int n, char **v) { (void)v; return s.b + n; }\n"
	for _, flags := range typeUnits {
		var images []*image.Image
		for _, text := range []string{source, strings.Replace(source, "long a;", "long a, x;", 1)} {
			path := compile(t, text, flags...)
			debug := path + ".debug"
			run(t, "objcopy", "--only-keep-debug", "--compress-debug-sections", path, debug)
			m := open(t, strip(t, path))
			if err := m.AttachDebug(debug); err != nil {
				t.Fatal(err)
			}
			images = append(images, m)
		}
		if found, known, err := compare(images[0], images[1]); !known || err != nil || len(found) != 1 {
			t.Errorf("found %v (known %v, error %v)", found, known, err)
		}
		if found, known, err := compare(images[0], images[0]); !known || err != nil || len(found) != 0 {
			t.Errorf("of the same: found %v (known %v, error %v)", found, known, err)
		}
	}
}

// What the signatures do not lead to is told.
func TestSignaturesThatLeadNowhereAreTold(t *testing.T) {
	const source = "struct s { long a; int b; } s;\nstruct t { int b; } u;\nint main(int n, char **v) { (void)v; return s.b + u.b + n; }\n"
	for _, flags := range typeUnits {
		for _, c := range []struct {
			name, want string
			edit       func(units []image.TypeUnit) []image.TypeUnit
		}{
			{"nothing", "", func(u []image.TypeUnit) []image.TypeUnit { return u }},
			{"gone", "no type unit has the signature", func(u []image.TypeUnit) []image.TypeUnit { return u[1:] }},
			{"twice", "two type units have the signature", func(u []image.TypeUnit) []image.TypeUnit { return append(u, u[0]) }},
			{"elsewhere", "no type is at", func(u []image.TypeUnit) []image.TypeUnit { u[0].Type++; return u }},
		} {
			d, err := open(t, compile(t, source, flags...)).DWARF()
			if err != nil {
				t.Fatal(err)
			}
			if len(d.TypeUnits) != 2 {
				t.Fatalf("%d type units", len(d.TypeUnits))
			}
			d.TypeUnits = c.edit(d.TypeUnits)
			if got, err := types.Unread(d); err != nil || c.want == "" && got != "" || !strings.Contains(got, c.want) {
				t.Errorf("%v, %s: %q (%v), want %q", flags, c.name, got, err, c.want)
			}
		}
	}
}
