package build

import "hotpatch/internal/diff"

// renumbered: what a live object keeps says where a function goes on; to new code it
// may mean another place.
func (j *judge) renumbered() {
	if j.r.has(otherCompiler) || j.r.has(rebuiltCompiler) {
		return
	}
	for _, f := range j.c.list {
		if s, _ := j.d.State(f); s != diff.Changed {
			continue
		}
		if r, ok := j.d.Renumbered(f); ok {
			j.r.add(enumChanged, label(j.d, f), "it keeps other numbers in %s than before, and goes by others there (%d is gone, %d is new); to new code, those that live objects have may mean something else", r.Where(), r.Was, r.Is)
		}
	}
}
