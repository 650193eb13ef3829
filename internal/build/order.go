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
	return regexp.MustCompile(`(?i)(^|[^bc])lock|mutex|sem_|sema|acquire|critical|cond_|futex|monitor|gilstate|restorethread|barrier|fcntl`)
})

// gives are names of those that give a lock, or make one.
var gives = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`(?i)unlock|release|leave|signal|broadcast|post|init|destroy|free`)
})

// conditions are names of those that wait, and hold no more afterwards than before.
var conditions = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`(?i)cond_`) })

// givesBack are names of those that give a lock which was taken.
var givesBack = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`(?i)unlock|release|leave|post`) })

// order are the operations of g that may take or give a lock, in the order of its
// code: the compiler seldom changes that, so that another one is a sign. Each is
// named with what it is handed: a variable or, of other objects, the distance of
// a member. ok is false where it takes several locks of which nothing is known, which
// one in a loop may be, another in each round.
func (w *witness) order(g *diff.Func) (out []string, ok bool) {
	unknown := 0
	code := w.c.Text(g)
	for _, h := range w.d.Handed(w.c, g) {
		what := ""
		switch in := h.Inst; {
		case in.IsCall(), in.IsJump() && (h.Ref >= 0 || h.Callee.Known):
			switch {
			case h.Ref < 0:
				what = "indirect by " + w.given(g, &h.Callee)
				if !h.Callee.Known {
					unknown++
				}
			case w.locks(&g.Refs[h.Ref]):
				what, _, _ = w.effect(g, h.Ref)
				known := h.First.Known || h.Second.Number
				switch takes := w.net(&g.Refs[h.Ref]) > 0; {
				case takes && h.Loop && !(h.First.Known && !h.First.Content) && !conditions().MatchString(what):
					unknown += 2 // one in each round
				case takes && !known && g.Refs[h.Ref].Class != image.Text:
					unknown++
				}
			}
		case atomic(in, code[h.At:]):
			what = "atomic"
		}
		if what != "" {
			what += " of " + w.given(g, &h.First)
			if h.Second.Number {
				what += fmt.Sprintf(", number %d", h.Second.Off)
			}
			out = append(out, what)
		}
	}
	return out, unknown < 2
}

// given names what an instruction is handed.
func (w *witness) given(g *diff.Func, h *diff.Given) string {
	what := fmt.Sprintf("member %d of %d", h.Off, h.Loaded)
	if h.Content {
		what += " loaded"
	}
	switch {
	case !h.Known:
		return what
	case h.Number:
		return fmt.Sprintf("number %d", h.Off)
	case h.Argument > 0:
		return fmt.Sprintf("%s of argument %d", what, h.Argument)
	case h.Address == 0:
		return what
	}
	for k := range g.Refs {
		r := &g.Refs[k]
		if r.Leads() != h.Address {
			continue
		}
		at, ok := image.Addr(0), false
		switch {
		case r.Class == image.GOT:
			if key, _, ok := w.effect(g, k); ok {
				return what + " of " + key
			}
		case r.Class.Writable():
			at, ok = w.variable(g, k)
		}
		switch to := int64(at) + int64(r.Off); {
		case ok && h.Content:
			return fmt.Sprintf("%s of variable %x", what, to)
		case ok:
			return fmt.Sprintf("variable %x", to+h.Off)
		}
	}
	return what + " of an address"
}

// locks: what r calls may take or give a lock, or what that calls.
func (w *witness) locks(r *diff.Ref) bool {
	switch r.Class {
	case image.PLT:
		i, _ := w.c.PLTName(r.Target)
		return lockNames().MatchString(i.Name)
	case image.GOT:
		s := w.c.RelocAt(r.Target)
		return s != nil && lockNames().MatchString(s.Sym)
	case image.Text:
		if t := w.c.At(r.Target); t != nil {
			return w.leadsToLock(t)
		}
	}
	return false
}

// net says whether what r calls takes locks that it does not give back (1), gives
// those that others took (-1), or neither.
func (w *witness) net(r *diff.Ref) int {
	name := ""
	switch r.Class {
	case image.PLT:
		i, _ := w.c.PLTName(r.Target)
		name = i.Name
	case image.GOT:
		if s := w.c.RelocAt(r.Target); s != nil {
			name = s.Sym
		}
	case image.Text:
		if t := w.c.At(r.Target); t != nil {
			return w.netOf(t)
		}
	}
	switch {
	case !lockNames().MatchString(name):
	case !gives().MatchString(name):
		return 1
	case givesBack().MatchString(name):
		return -1
	}
	return 0
}

// netOf is net of a function. It may give back what it took in several places.
func (w *witness) netOf(f *diff.Func) int {
	if n, ok := w.nets[f]; ok {
		return n
	}
	if w.nets == nil {
		w.nets = map[*diff.Func]int{}
	}
	w.nets[f] = 0 // for those that lead back here
	takes, given := 0, 0
	for k := range f.Refs {
		r := &f.Refs[k]
		if r.Kind == diff.Lea {
			continue
		}
		switch w.net(r) {
		case 1:
			takes++
		case -1:
			given++
		}
	}
	switch {
	case takes > given:
		w.nets[f] = 1
	case takes == 0 && given > 0:
		w.nets[f] = -1
	}
	return w.nets[f]
}

// leadsToLock: f may take or give a lock, or what it calls. It is asked for each call
// of a function, which may lead to most of an image: what one answer found out goes
// for the others.
func (w *witness) leadsToLock(f *diff.Func) bool {
	if known, ok := w.lock[f]; ok {
		return known
	}
	if w.lock == nil {
		w.lock = map[*diff.Func]bool{}
	}
	seen := map[*diff.Func]bool{f: true}
	work := []*diff.Func{f}
	for len(work) > 0 {
		g := work[len(work)-1]
		work = work[:len(work)-1]
		locks, known := w.lock[g]
		if !known {
			locks = w.locksItself(g)
		}
		if locks {
			w.lock[g], w.lock[f] = true, true
			return true
		}
		if known {
			continue
		}
		for k := range g.Refs {
			r := &g.Refs[k]
			if r.Kind == diff.Lea || r.Class != image.Text {
				continue
			}
			if t := w.c.At(r.Target); t != nil && !seen[t] {
				seen[t] = true
				work = append(work, t)
			}
		}
	}
	for g := range seen { // none of them leads to one
		w.lock[g] = false
	}
	return false
}

// locksItself: f has an instruction, or calls an import or through a pointer, that
// may take or give a lock.
func (w *witness) locksItself(f *diff.Func) bool {
	for k := range f.Refs {
		if r := &f.Refs[k]; r.Kind != diff.Lea && r.Class != image.Text && w.locks(r) {
			return true
		}
	}
	e := effects{}
	return !e.instructions(w.c, f) || e.opaque()
}
