package build

import (
	"slices"
	"strings"

	"hotpatch/internal/diff"
)

// A C++ coroutine that is suspended is an object with a number in it: at which
// of its points the code goes on. The compiler gives these numbers, so in other
// code the same number is another point, with other variables alive; even where
// the object keeps its size and members.

// resumed says whether a symbol is of the code that goes on with a coroutine:
// g++ calls it NAME.actor and NAME.destroy, clang NAME.resume, NAME.destroy and
// NAME.cleanup. No name of a C or C++ function has a dot in it.
func resumed(symbol string) bool {
	parts := strings.Split(symbol, ".")
	return slices.ContainsFunc(parts[1:], func(p string) bool {
		return slices.Contains([]string{"actor", "destroy", "resume", "cleanup"}, p)
	})
}

// coroutines refuses those that changed, where names tell them.
func (j *judge) coroutines() {
	for _, f := range j.d.Fixed.Funcs {
		s, why := j.d.State(f)
		if s != diff.Changed {
			continue
		}
		names := f.Names
		if a := j.d.BaseOf(f); a != nil {
			names = append(slices.Clip(names), a.Names...)
		}
		if slices.ContainsFunc(names, resumed) {
			j.r.add(coroutineChanged, label(j.d, f), "it goes on with a coroutine (%s): those that are suspended when it is replaced hold the number of a point of the old code", why)
		}
	}
}
