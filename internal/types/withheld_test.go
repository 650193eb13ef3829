package types_test

import (
	"strings"
	"testing"
)

// g++ describes a class in the file of its first virtual function. One that is
// inside of it and complete in another file only is then described nowhere.
func TestClassThatIsDescribedNowhereIsNotVerified(t *testing.T) {
	files := map[string]string{
		"a.h": "struct A { struct Impl; Impl *p; int get(); virtual int key(); };\n",
		"key.cc": "#include \"a.h\"\nint A::key() { return get(); }\n" +
			"int main(int n, char **v) { A a; a.p = (A::Impl *)v; return a.key() + n; }\n",
		"impl.cc": "#include \"a.h\"\nstruct A::Impl { long a; int x; };\nint A::get() { return p->x; }\n",
	}
	for _, flags := range debugFlags {
		base := open(t, compileFiles(t, files, flags...))
		if _, known, err := compare(base, base); !known || err == nil || !strings.Contains(err.Error(), "struct A::Impl is described nowhere") {
			t.Errorf("%v: known %v, error %v", flags, known, err)
		}
	}
	files["key.cc"] += "struct A::Impl { long a; int x; };\n"
	files["impl.cc"] = strings.Replace(files["impl.cc"], "int A::get", "int other(A::Impl *p) { return p->x; }\nint A::get", 1)
	for _, flags := range debugFlags {
		base := open(t, compileFiles(t, files, flags...))
		if _, known, err := compare(base, base); !known || err != nil {
			t.Errorf("described: %v: known %v, error %v", flags, known, err)
		}
	}
}
