package build

import (
	"hotpatch/internal/arch"
	"hotpatch/internal/diff"
	"hotpatch/internal/image"
)

// A call under way that finishes in old code must not enter new code by itself. Who
// calls from outside is the same in both images, so that what the function takes is
// what it took. What it hands to itself it says alone, and the two versions need not
// mean the same by it.

// recursive says whether code of f, a base function with its parts, leads to its own
// entry, or hands out the address of it.
func recursive(c *diff.Code, f *diff.Func, parts []*diff.Func) bool {
	text := c.Text(f)
	entry := arch.EntryOffset(text)
	if _, found, err := arch.BranchInto(text, -1, entry+1); err != nil || found {
		return true
	}
	for _, g := range append([]*diff.Func{f}, parts...) {
		for k := range g.Refs {
			if to, ok := leads(c, &g.Refs[k]); ok && to >= f.Lo && to <= f.Lo+image.Addr(entry) {
				return true
			}
		}
	}
	return false
}

// leads is the code of c itself that r leads to, also by a name that c exports.
func leads(c *diff.Code, r *diff.Ref) (image.Addr, bool) {
	switch r.Class {
	case image.Text:
		return r.Target, true
	case image.PLT:
		i, _ := c.PLTName(r.Target)
		s, ok := c.Exported(i)
		return s.Addr, ok && i.Name != "" && s.Addr != 0
	case image.GOT:
		s := c.RelocAt(r.Target)
		if s == nil {
			return 0, false
		}
		return diff.Pointee(s)
	}
	return 0, false
}
