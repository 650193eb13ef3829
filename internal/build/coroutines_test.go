package build_test

import (
	"slices"
	"strings"
	"testing"

	"hotpatch/internal/build"
	"hotpatch/internal/patch"
)

// A suspended coroutine holds the number of the point where it goes on, which
// another compilation gives to another point. Its size and members can be as
// they were: nothing else tells.
func TestChangedCoroutineIsRefused(t *testing.T) {
	for _, flags := range [][]string{{"-std=c++20", "-g"}, {"-std=c++20"}} {
		base, fixed := compile(t, "coroutine.cc", style{flags: flags})
		r, b := run(t, base, fixed, build.Options{})
		if b != nil || !slices.Contains(codes(r), "coroutine-changed") {
			t.Fatalf("%v: %s: %v", flags, r.Verdict, r.Reasons)
		}
		for _, x := range r.Reasons {
			if x.Code == "coroutine-changed" && !strings.Contains(x.Function, "numbers") {
				t.Errorf("%v: names %q", flags, x.Function)
			}
		}
	}
	base, fixed := compile(t, "coroutine.cc", style{flags: []string{"-std=c++20", "-g", "-DELSEWHERE"}})
	if r, _ := run(t, base, fixed, build.Options{}); r.Verdict != patch.Clean {
		t.Errorf("a program that has one: %s: %v", r.Verdict, r.Reasons)
	}
	// Without a name there is no telling; nor is the verdict clean then.
	base, fixed = compile(t, "coroutine.cc", style{flags: []string{"-std=c++20"}, strip: true})
	if r, _ := run(t, base, fixed, build.Options{}); r.Verdict == patch.Clean {
		t.Error("stripped: clean")
	}
}
