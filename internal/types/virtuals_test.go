package types_test

import (
	"strings"
	"testing"

	"hotpatch/internal/testkit"
)

// Virtual functions of one name are told apart by what they take: a live object has the
// old table, whatever a slot is called.
func TestVirtualFunctionsOfOneNameAreToldApart(t *testing.T) {
	testkit.Tool(t, "g++")
	const source = `
struct Arg { int n; };
struct B {
	virtual int f(int a) { return a; } virtual int f(unsigned a) { return a * 7; }
	virtual int g() { return 1; } virtual int g() const { return 2; }
	virtual int h(Arg *a) { return a->n; } virtual int h(int a) { return a; }
	virtual ~B() {} int x = 0;
};
struct D : B { int f(int a) override { return a + 1; } int f(unsigned a) override { return a * 2; } };
int main(int n, char **v) { D d; B *b = (B *)v; Arg a{n}; return b->f(n) + d.f(unsigned(n)) + b->g() + b->h(&a) + b->h(n); }
`
	for _, c := range []struct {
		name  string
		edits []string
		want  []string
	}{
		{"nothing", nil, nil},
		{"other parameters", []string{
			"virtual int f(int a) { return a; } virtual int f(unsigned a) { return a * 7; }",
			"virtual int f(unsigned a) { return a * 7; } virtual int f(int a) { return a; }"},
			[]string{"struct B: its virtual functions differ: those of the name f changed places", "struct D: its virtual functions differ"}},
		{"constant objects", []string{
			"virtual int g() { return 1; } virtual int g() const { return 2; }",
			"virtual int g() const { return 2; } virtual int g() { return 1; }"},
			[]string{"struct B: its virtual functions differ: those of the name g changed places"}},
		{"in a class with a new name", []string{"struct B", "struct Base", "~B", "~Base", "D : B", "D : Base", "B *b = (B *)", "Base *b = (Base *)",
			"virtual int g() { return 1; } virtual int g() const { return 2; }",
			"virtual int g() const { return 2; } virtual int g() { return 1; }"},
			[]string{"struct Base: is struct Base instead of struct B: its virtual functions differ", "struct D: base class Base is struct Base instead of struct B: its virtual functions differ"}},
		{"parameter with a new name", []string{"Arg", "Option"}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			isFound(t, changedTypes(t, "a.cc", source, strings.NewReplacer(c.edits...).Replace(source), "-g"), c.want...)
		})
	}
}
