package types_test

import (
	"strings"
	"testing"

	"hotpatch/internal/testkit"
)

func TestClassesAreReadAsWhatTheyAre(t *testing.T) {
	testkit.Tool(t, "g++")
	const source = `
#include <cstddef>
template <class T> struct Box { T *at; T *end() { return at + 1; } };
struct A { long n; int get(int i) { return i; } };
struct B { long n; int get(int i) { return i + 1; } };
struct C { short n[4]; };
namespace one { class Inner { public: int x, y; }; }
struct Left { long l; }; struct Right { long r; };
struct Many : Left, Right { A *a; };
class Forward;
class Kept { public: BOX box; MEMBER; REFERENCE; Forward *forward; one::Inner *inner; std::nullptr_t nothing; virtual ~Kept() {} };
Many many;
int main(int n, char **v) { Kept *k = (Kept *)v; Many *m = (Many *)v; k->box.at = 0; return n + (k->box.end() != 0) + m->r + (m->a != 0); }
`
	build := func(box, member, reference, many string) string {
		r := strings.NewReplacer("BOX", box, "MEMBER", member, "REFERENCE", reference, "A *a;", many)
		return compileFiles(t, map[string]string{"a.cc": r.Replace(source)}, "-g", "-w")
	}
	base := open(t, build("Box<A>", "int (A::*m)(int)", "A &r", "A *a;"))
	for _, c := range []struct {
		box, member, reference, many string
		want                         string
		padding                      bool
	}{
		{"Box<A>", "int (A::*m)(int)", "A &r", "A *a;", "", false},
		{"Box<A>", "int (A::*m)(int)", "A &r", "void *a;", "", false}, // two base classes, which are no change
		{"Box<A>", "int (A::*m)(int)", "A *r; A *q", "A *a;", "class Kept: has", false},
		{"Box<A>", "int (A::*m)(int)", "const A &r", "A *a;", "", false},
		{"Box<A>", "int (A::*m)(int)", "A &r", "C *a;", "struct Many: member a is pointer to struct C", true},
		{"Box<A>", "int (A::*m)(int)", "A &r", "char *a;", "struct Many: member a is pointer to 8-bit integer", false},
		{"Box<C>", "int (A::*m)(int)", "A &r", "A *a;", "class Kept: member box is struct Box<C>", true},
	} {
		found, known, err := compare(base, open(t, build(c.box, c.member, c.reference, c.many)))
		if !known || err != nil {
			t.Fatalf("known %v, error %v", known, err)
		}
		if c.want == "" && len(found) != 0 || c.want != "" && (len(found) != 1 || !strings.HasPrefix(found[0].Type+": "+found[0].Detail, c.want) || found[0].Padding != c.padding) {
			t.Errorf("%v: found %v", c, found)
		}
	}
}
