package build

import (
	"fmt"
	"regexp"
	"sync"

	"hotpatch/internal/diff"
	"hotpatch/internal/image"
)

// In which order does a function take locks? Two versions that take the same two
// the other way round wait for each other for ever, when a call in the old code and
// one in the new meet.

// lockNames are those of imports that may hold something when they return.
var lockNames = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`(?i)(^|[^bc])lock|mutex|sem_|sema|acquire|critical|cond_|futex`)
})

// order are the operations of g that may take or give a lock, in the order of its
// code: the compiler seldom changes that, so that another one is a sign. Each is
// named with what it is handed: a variable or, of other objects, the distance of
// a member.
func (w *witness) order(g *diff.Func) []string {
	var out []string
	code := w.c.Text(g)
	for _, h := range w.d.Handed(w.c, g) {
		what := ""
		switch in := h.Inst; {
		case in.IsCall(), in.IsJump() && h.Ref >= 0:
			switch {
			case h.Ref < 0:
				what = "indirect"
			case w.locks(&g.Refs[h.Ref]):
				what, _, _ = w.effect(g, h.Ref)
			}
		case atomic(in, code[h.At:]):
			what = "atomic"
		}
		if what != "" {
			out = append(out, what+" of "+w.handed(g, &h))
		}
	}
	return out
}

// handed names what an instruction is handed.
func (w *witness) handed(g *diff.Func, h *diff.Handed) string {
	if h.Address == 0 {
		return fmt.Sprintf("member %d of %d", h.Off, h.Loaded)
	}
	for k := range g.Refs {
		if r := &g.Refs[k]; r.Leads() == h.Address && r.Class.Writable() {
			if at, ok := w.variable(g, k); ok {
				return fmt.Sprintf("variable %x", int64(at)+int64(r.Off)+h.Off)
			}
		}
	}
	return "an address"
}

// locks: what r calls may take or give a lock, or what that calls.
func (w *witness) locks(r *diff.Ref) bool {
	seen := map[*diff.Func]bool{}
	var work []*diff.Func
	reaches := func(r *diff.Ref) bool {
		switch r.Class {
		case image.PLT:
			i, _ := w.c.PLTName(r.Target)
			return lockNames().MatchString(i.Name)
		case image.GOT:
			s := w.c.RelocAt(r.Target)
			return s != nil && lockNames().MatchString(s.Sym)
		case image.Text:
			if t := w.c.At(r.Target); t != nil && !seen[t] {
				seen[t] = true
				work = append(work, t)
			}
		}
		return false
	}
	if reaches(r) {
		return true
	}
	for len(work) > 0 {
		f := work[len(work)-1]
		work = work[:len(work)-1]
		for k := range f.Refs {
			if q := &f.Refs[k]; q.Kind != diff.Lea && reaches(q) {
				return true
			}
		}
		e := effects{}
		if !e.instructions(w.c, f) || e.atomic() {
			return true
		}
	}
	return false
}
