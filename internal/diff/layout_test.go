package diff_test

import (
	"strings"
	"testing"

	"hotpatch/internal/diff"
)

func TestTypesAreComparedByDWARF(t *testing.T) {
	const before = `
struct conn { char *name; int state; long bytes; unsigned flag : 3, rest : 5; };
typedef struct { int x, y; } point;
union value { long n; double d; };
enum mode { OFF, ON, MODE_MAX };
struct holder { enum mode mode; point at; union value v; };
enum local { LOW, HIGH };
`
	const use = `
struct conn c; struct holder h; enum local l = HIGH;
int main(void) { enum local k = c.state ? LOW : HIGH; return c.state + h.mode + (int)h.v.n + h.at.x + k + l; }
`
	for _, c := range []struct {
		name, from, to string // an edit of before
		want           string // Type and Detail, "" for none
		padding, enum  bool
	}{
		{name: "nothing"},
		{name: "member inserted", from: "long bytes;", to: "long more; long bytes;", want: "struct conn: has 40 bytes instead of 32"},
		{name: "member in padding", from: "int state;", to: "int state; int failed;", want: "struct conn: member failed is new at offset 12", padding: true},
		{name: "members swapped", from: "char *name; int state; long bytes;", to: "long bytes; int state; char *name;", want: "struct conn: member name moved from offset 0 to 16"},
		{name: "bit field moved", from: "flag : 3, rest : 5", to: "flag : 4, rest : 4", want: "struct conn: member flag has another size"},
		{name: "member renamed", from: "long bytes", to: "long octets", want: "struct conn: member octets took the place of bytes", padding: true},
		{name: "kind changed", from: "long bytes", to: "char *bytes", want: "struct conn: member bytes is pointer instead of integer", padding: true},
		{name: "anonymous struct", from: "int x, y;", to: "int y, x;", want: "point: member x moved from offset 0 to 4"},
		{name: "union grew", from: "double d;", to: "double d; char s[16];", want: "union value: has 16 bytes instead of 8"},
		{name: "enumerator inserted", from: "OFF, ON", to: "OFF, AUTO, ON", want: "enum mode: ON is 2 instead of 1"},
		{name: "enumerator appended before the last", from: "ON, MODE_MAX", to: "ON, AUTO, MODE_MAX"},
		{name: "enumeration of no member", from: "LOW, HIGH", to: "NONE, LOW, HIGH", want: "enum local: LOW is 1 instead of 0", enum: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			base := open(t, compile(t, before+use, "-g"))
			fixed := open(t, compile(t, strings.Replace(before, c.from, c.to, 1)+use, "-g"))
			found, known, err := diff.Layouts(base, fixed)
			if err != nil || !known {
				t.Fatalf("known %v, error %v", known, err)
			}
			if c.want == "" {
				if len(found) != 0 {
					t.Errorf("found %v", found)
				}
				return
			}
			for _, l := range found {
				if text := l.Type + ": " + l.Detail; strings.HasPrefix(text, c.want) {
					if l.Padding != c.padding || l.Enum != c.enum {
						t.Errorf("%s: padding %v, enum %v", text, l.Padding, l.Enum)
					}
					return
				}
			}
			t.Errorf("found %v, want %s", found, c.want)
		})
	}
}

func TestWithoutDWARFNothingIsKnown(t *testing.T) {
	path := compile(t, "int main(void) { return 0; }\n")
	if _, known, err := diff.Layouts(open(t, path), open(t, path)); known || err != nil {
		t.Errorf("known %v, error %v", known, err)
	}
}
