package diff_test

import (
	"strings"
	"testing"

	"hotpatch/internal/diff"
)

// A file that only asks where a member is, or how large a struct is, does not
// describe the struct.
func TestTypesThatAreOnlyMeasuredAreCompared(t *testing.T) {
	const header = "struct conf { long a; long b; };\n"
	const two = `
#include "types.h"
long first(struct conf *p) { return p->a; }
long at(void *, int); void *make(void);
int main(int n, char **v) { return at(v, n) + first(make()); }
`
	const one = `
#include <stdlib.h>
#include "types.h"
long at(void *p, int n) { return *(long *)((char *)p + PLACE) * 3 + n; }
void *make(void) { return calloc(1, SIZE); }
`
	for _, c := range []struct {
		name, place, size, changed string
		edits                      []string // of the header and of one.c: old and new text
		want                       string
	}{
		{"a place", "__builtin_offsetof(struct conf, b)", "64", "at", []string{"long a;", "long a, x;"}, "struct conf"},
		{"a size", "16", "sizeof(struct conf)", "make", []string{"long a;", "long a, x;"}, "struct conf"},
		{"another place by itself", "8 + 8 * OTHER", "64", "at", []string{"long b;", "long b, x;", "OTHER", "2"}, ""},
		{"the same place", "16 + OTHER", "64", "at", []string{"long a;", "long a, x;", "* 3 + n", "* 3 - n"}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			edit := strings.NewReplacer(c.edits...)
			source := strings.NewReplacer("PLACE", c.place, "SIZE", c.size).Replace(one)
			base := compileFiles(t, map[string]string{"types.h": header, "one.c": strings.ReplaceAll(source, "OTHER", "0"), "two.c": two}, "-g")
			fixed := compileFiles(t, map[string]string{"types.h": edit.Replace(header), "one.c": strings.ReplaceAll(edit.Replace(source), "OTHER", "0"), "two.c": two}, "-g")
			d := compare(t, base, fixed)
			f := funcs(t, fixed, d)[c.changed]
			if s, _ := d.State(f); s != diff.Changed {
				t.Fatalf("%s is %s", c.changed, s)
			}
			found, known, err := d.LayoutsFor([]*diff.Func{f})
			if err != nil || !known {
				t.Fatalf("known %v, error %v", known, err)
			}
			if c.want == "" && len(found) > 0 || c.want != "" && (len(found) != 1 || found[0].Type != c.want) {
				t.Errorf("found %v, want %q", found, c.want)
			}
		})
	}
}
