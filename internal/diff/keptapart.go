package diff

import (
	"cmp"
	"slices"

	"hotpatch/internal/image"
	"hotpatch/internal/names"
)

// A variable of the fixed image is never bound to what cannot be it, whatever
// says so: to something that the base image keeps where nobody may write, as a
// table does that was constant before; or to a place of which the names of
// variables say that two of them share it in the one image only. Then one
// binding stands for two variables, or what one of them holds is lost.

// believable is b, what v is bound to, or why that cannot be.
func (d *Diff) believable(v image.Addr, b Binding) Binding {
	if !b.OK() || !d.Fixed.ClassAt(v).Writable() {
		return b
	}
	if s := d.Base.SectionAt(b.Base); s != nil && !s.Class.Writable() && b.Base != s.Addr+s.Size {
		return unmapped("it can be written, and what it was in the base image (at %#x in %s) cannot", uint64(b.Base), s.Name)
	}
	if o := d.data.objects.covering(v); o != nil {
		if why, ok := d.data.shared[o]; ok {
			return unmapped("%s", why)
		}
		if d.data.confused[o] {
			return unmapped("several variables are named %s, and no code tells which of them %s was", names.Family(o.name), o.name)
		}
	}
	return b
}

// sharedObjects are the variables that share their place with others in one
// image and not, or otherwise, in the other one, with words that say so: one was
// another name of the other, and is a variable of its own now, or the reverse.
func sharedObjects(n *namedObjects) map[*object]string {
	out := map[*object]string{}
	find := func(at func(*object) *object, other func(*object) *object, words string) {
		var all []*object
		for _, o := range n.fixed {
			if o.base != nil && !o.read {
				all = append(all, o)
			}
		}
		slices.SortStableFunc(all, func(a, b *object) int { return cmp.Compare(at(a).addr, at(b).addr) })
		for i := 0; i < len(all); {
			first := at(all[i])
			end, k, apart := first.addr+first.size, i+1, i
			for ; k < len(all) && at(all[k]).addr < end; k++ {
				end = max(end, at(all[k]).addr+at(all[k]).size)
				if at(all[k]).addr-first.addr != other(all[k]).addr-other(all[i]).addr {
					apart = k
				}
			}
			for _, o := range all[i:k] {
				if apart > i {
					out[o] = "the variables " + all[i].name + " and " + all[apart].name + words
				}
			}
			i = k
		}
	}
	fixed := func(o *object) *object { return o }
	base := func(o *object) *object { return o.base }
	find(base, fixed, " were one, and are two now")
	find(fixed, base, " were two, and are one now")
	return out
}
