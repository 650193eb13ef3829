package diff_test

import (
	"fmt"
	"strings"
	"testing"

	"hotpatch/internal/diff"
	"hotpatch/internal/types"
)

// What a member or a variable of the same size is read as: some changes go wrong
// for sure, some have to be looked at, and most mean nothing.
func TestBitsThatAreReadInAnotherWayAreFound(t *testing.T) {
	const header = `
struct node { struct node *next; int v; };
struct point { int x, y; };
struct twin { int left, top; };
struct flipped { int y, x; };
struct little { short n, o; };
struct __attribute__((scalar_storage_order("big-endian"))) big { short n, o; };
struct list { struct list *next; int v; };
struct opaque; struct other;
typedef struct { short a, b; } pair;
typedef struct { int a; } single;
typedef struct node node_t;
typedef unsigned long word;
typedef int number;
typedef int row[8];
struct halves { short a, b, c, d; };
enum color { RED, GREEN };
enum shape { ROUND, FLAT };
union value { long n; double d; };
`
	const nothing, look, wrong = "", "look", "wrong"
	cases := []struct{ was, is, want string }{
		{"int @", "float @", wrong},
		{"long @", "double @", wrong},
		{"char *@", "double @", wrong},
		{"float @[4]", "int @[4]", wrong},
		{"struct node *@", "struct node **@", wrong},
		{"struct node ***@", "struct node **@", wrong},
		{"char *@", "char **@", wrong},
		{"char *@", "struct node *@", wrong},
		{"struct node *@", "unsigned char *@", wrong},
		{"struct node *@[3]", "struct node **@[3]", wrong},
		{"int *@", "float *@", wrong},
		{"unsigned long *@[2]", "double *@[2]", wrong},
		{"struct point @", "struct halves @", wrong},
		{"struct point @[2]", "struct node @", look},
		{"int @[2][8]", "int @[4][4]", look},
		{"row @[2]", "int @[4][4]", look},
		{"int (*@)[8]", "int (*@)[4]", look},
		{"int @[2][8]", "row @[2]", nothing},
		{"int @[8]", "int @[4][2]", look},
		{"unsigned char *@", "float *@", look},
		{"struct node *@", "struct point *@", look},
		{"struct opaque *@", "struct other *@", look},
		{"struct node *@", "unsigned long @", look},
		{"short @[4]", "int @[2]", look},
		{"int *@", "long *@", look},
		{"int @", "single @", look},
		{"struct point @", "pair @[2]", look},
		{"int (*@)(int)", "int (*@)(int, int)", look},
		{"int (*@)(int)", "int (*@)(long)", look},
		{"int (*@)(struct node *)", "int (*@)(struct point *)", look},
		{"int (*@)(struct node *)", "int (*@)(struct node **)", look},
		{"void (*@)(int)", "int (*@)(int)", look},
		{"int (*@)(const char *, ...)", "int (*@)(int, ...)", look},
		{"int (*@)(int)", "struct node *@", look},
		{"int (*@)(long *, long *, long *, long *, long *, long *, long *, long *, long *, long *, long *, long *)",
			"int (*@)(long *, long *, long *, long *, long *, long *, long *, long *, long *, long *, long *, int *)", look},
		{"long @", "unsigned long @", nothing},
		{"word @", "long @", nothing},
		{"int @", "enum color @", nothing},
		{"char *@", "const unsigned char *@", nothing},
		{"char @[8]", "unsigned char @[8]", nothing},
		{"struct node *@", "node_t *@", nothing},
		{"struct node *@", "struct node *const volatile *@", wrong},
		{"struct node *@", "const struct node *@", nothing},
		{"struct node *@", "void *@", nothing},
		{"void *@", "struct opaque *@", nothing},
		{"void *@", "struct node **@", nothing},
		{"struct node *@", "struct list *@", look}, // they are held alike, and both images have both
		{"struct node @", "struct list @", look},
		{"enum color @", "enum shape @", look},
		{"struct point @", "struct twin @", look}, // its members have other names
		{"struct point @", "struct flipped @", wrong},
		{"struct point *@", "struct flipped *@", wrong},
		{"struct point *@", "struct { int x, y; } *@", nothing},
		{"struct point *@", "struct { int y, x; } *@", wrong},
		{"struct { int x, y; } @[2]", "struct { int y, x; } @[2]", wrong},
		{"struct { int x, y; } *@", "struct { int x, z, y; } *@", wrong},
		{"struct { int x, y; } *@", "struct { int x, y; } *@", nothing},
		{"const struct { int x : 3, y : 5; } @", "const struct { int y : 5, x : 3; } @", wrong},
		{"struct { struct { int x, y; } *p; } *@", "struct { struct { int y, x; } *p; } *@", wrong},
		{"unsigned char @", "_Bool @", look},
		{"_Bool @", "char @", nothing},
		{"unsigned char *@", "_Bool *@", look},
		{"unsigned char @:1", "_Bool @:1", nothing},
		{"double @", "float _Complex @", wrong},
		{"double *@", "float _Complex *@", wrong},
		{"double @", "_Decimal64 @", wrong},
		{"long double @", "_Float128 @", wrong},
		{"struct little @", "struct big @", wrong},
		{"struct point (*@)[4]", "struct point *@", nothing},
		{"int (*@)(int)", "number (*@)(number)", nothing},
		{"int (*@)(int)", "int (*@)()", nothing},
		{"int (*@)(void *)", "int (*@)(struct node *)", nothing},
	}
	source := func(fixed bool) string {
		var s strings.Builder
		s.WriteString(header)
		for i, c := range cases {
			d := c.was
			if fixed {
				d = c.is
			}
			fmt.Fprintf(&s, "struct holder%d { %s; } h%d;\n", i, strings.ReplaceAll(d, "@", "m"), i)
			fmt.Fprintf(&s, "%s;\n", strings.ReplaceAll(strings.ReplaceAll(d, "@:1", "@"), "@", fmt.Sprintf("v%d", i)))
		}
		s.WriteString("int main(void) { return 0; }\n")
		return s.String()
	}
	for _, flags := range debugFlags {
		base, fixed := compile(t, source(false), append(flags, "-fno-common", "-std=gnu11")...), compile(t, source(true), append(flags, "-fno-common", "-std=gnu11")...)
		d := compare(t, base, fixed)
		var bound []diff.Value
		for i := range cases {
			v := fmt.Sprintf("v%d", i)
			bound = append(bound, diff.Value{Base: symbolOf(t, base, v), Fixed: symbolOf(t, fixed, v)})
		}
		all, known, err := d.LayoutsOf(nil, bound...)
		if !known || err != nil {
			t.Fatalf("known %v, error %v", known, err)
		}
		found := map[string]types.Difference{}
		for _, l := range all {
			found[l.Type] = l
		}
		for i, c := range cases {
			for _, name := range []string{fmt.Sprintf("struct holder%d", i), fmt.Sprintf("variable v%d", i)} {
				if strings.Contains(c.was, "@:1") && strings.HasPrefix(name, "variable") {
					continue // no bit field
				}
				l, ok := found[name]
				got := nothing
				if ok && l.Padding {
					got = look
				} else if ok {
					got = wrong
				}
				if got != c.want {
					t.Errorf("%v: %s, %s to %s: %q (%s), want %q", flags, name, c.was, c.is, got, l.Detail, c.want)
				}
			}
		}
		if len(all) > 2*len(cases) {
			t.Errorf("found %v", all)
		}
	}
}

// Of thread-local variables, too, and of static ones of functions.
func TestVariablesOfEveryKindAreRead(t *testing.T) {
	const source = `
static __thread T level;
__attribute__((noinline)) void set(int n) { level = n; }
__attribute__((noinline)) int get(int n) { static T count; count += n; return count + level; }
int main(int n, char **v) { set(n); return get(n) + !v; }
`
	base, fixed := compile(t, source, "-g", "-DT=int"), compile(t, source, "-g", "-DT=float")
	d := compare(t, base, fixed)
	found, known, err := d.LayoutsFor([]*diff.Func{funcs(t, fixed, d)["get"]}, diff.Value{Base: symbolOf(t, base, "count.0"), Fixed: symbolOf(t, fixed, "count.0")})
	if !known || err != nil || len(found) != 2 || found[0].Type != "variable count" || found[1].Type != "variable level" || found[0].Padding || found[1].Padding {
		t.Errorf("found %v (known %v, error %v)", found, known, err)
	}
}
