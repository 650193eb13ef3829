package build

import (
	"debug/elf"

	"hotpatch/internal/diff"
	"hotpatch/internal/image"
)

// withdrawn: a program that is bound to a name goes on calling it, whatever the fixed
// image exports. Behind the name is old code then, which may call new functions by
// the conventions of the old ones; or new code that nobody calls from outside any
// more, and that need not be what the name promised.
func (j *judge) withdrawn() {
	names := map[string][]string{} // of the fixed image, with their versions
	for i := range j.d.Fixed.Symbols {
		if s := &j.d.Fixed.Symbols[i]; exported(s) {
			names[s.Name] = append(names[s.Name], s.Version)
		}
	}
	public := j.public()
	told := map[*diff.Func]bool{}
	for i := range j.d.Base.Symbols {
		s := &j.d.Base.Symbols[i]
		f := j.d.Base.Entry(s.Addr)
		if !exported(s) || f == nil || told[f] {
			continue
		}
		g := j.d.FixedOf(f)
		versions, known := names[s.Name]
		for _, v := range versions {
			if g == nil && s.Version != "" && v != "" && v != s.Version {
				known = false
				continue
			}
			known = true
			break
		}
		if known {
			continue // what becomes of it, exports asks
		}
		if g != nil {
			if state, _ := j.d.State(g); state == diff.Changed && !public[f] {
				told[f] = true
				j.r.add(exportGone, s.Name, "others may call it by this name, and the fixed image, which changes it, does not export it")
			}
			continue
		}
		told[f] = true
		switch to := callsReplaced(j.d, f, public); {
		case to != nil:
			j.r.add(exportMoved, s.Name, "others may go on calling it by name, the fixed image has none, and its old code calls %s, which is replaced", to.Name())
		case !s.Weak: // of others each has its own, mostly
			j.r.add(exportGone, s.Name, "others may go on calling it by name, and the fixed image has none")
		}
	}
}

func exported(s *image.Symbol) bool {
	return s.Dynamic && !s.Local && (s.Type == elf.STT_FUNC || s.Type == elf.STT_GNU_IFUNC || s.Type == elf.STT_NOTYPE)
}

// public are the base functions that both images export under one name: they are
// what that name promises to anybody.
func (j *judge) public() map[*diff.Func]bool {
	out := map[*diff.Func]bool{}
	for i := range j.d.Base.Symbols {
		s := &j.d.Base.Symbols[i]
		if !exported(s) {
			continue
		}
		if _, ok := j.d.Fixed.Exported(image.Import{Name: s.Name, Version: s.Version}); ok {
			out[j.d.Base.Entry(s.Addr)] = true
		}
	}
	return out
}

// callsReplaced is a base function that is replaced, and not public, to which f leads,
// which is gone, by way of others that are gone.
func callsReplaced(d *diff.Diff, f *diff.Func, public map[*diff.Func]bool) *diff.Func {
	seen := map[*diff.Func]bool{f: true}
	for work := []*diff.Func{f}; len(work) > 0; work = work[1:] {
		for k := range work[0].Refs {
			to, ok := leads(d.Base, &work[0].Refs[k])
			t := d.Base.At(to)
			if !ok || t == nil || seen[t] {
				continue
			}
			seen[t] = true
			g := d.FixedOf(t)
			if g == nil || t.Fragment {
				work = append(work, t)
				continue
			}
			if state, _ := d.State(g); state == diff.Changed && !public[t] {
				return t
			}
		}
	}
	return nil
}
