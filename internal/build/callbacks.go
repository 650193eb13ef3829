package build

import (
	"strings"

	"hotpatch/internal/diff"
	"hotpatch/internal/image"
)

// newCallbacks: a changed function hands out the address of a function that is
// new. Objects that live already were made without it: a script that nginx
// compiled when it read its configuration lacks the instruction that a fix
// (CVE-2026-42533) has put into it.
func (j *judge) newCallbacks() {
	for _, f := range j.c.list {
		for k := range f.Refs {
			r := &f.Refs[k]
			if r.Kind != diff.Lea || r.Class != image.Text {
				continue
			}
			g := j.d.Fixed.Entry(r.Target)
			if g == nil || g == f {
				continue
			}
			if s, _ := j.d.State(g); s == diff.New {
				j.r.add(newCallback, label(j.d, f), "it hands out the address of %s, which is new: what it made before does not hold it", label(j.d, g))
			}
		}
		for _, s := range j.d.Restored(f) {
			j.r.add(newCallback, label(j.d, f), "it stores the address of %s where it stored that of %s: what it made before holds that", strings.Join(s.Is, ", "), strings.Join(s.Was, ", "))
		}
	}
}
