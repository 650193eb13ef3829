package diff

import (
	"slices"

	"hotpatch/internal/image"
)

// flow is where control goes in a function with its cold parts.
type flow struct {
	*trace
	all  []*Func
	ring []bool // by step: it is in a loop; see loops
}

func (w *onceCode) flow(c *Code, f *Func) *flow {
	if known := w.flows[f]; known != nil {
		return known
	}
	parts := w.d.parts
	if c == w.d.Base {
		parts = w.d.baseParts
	}
	all := []*Func{f}
	for _, g := range parts[f] {
		if g.Fragment {
			all = append(all, g)
		}
	}
	slices.SortFunc(all, func(a, b *Func) int { return compareAddr(a.Lo, b.Lo) })
	out := &flow{trace: &trace{c: c, index: map[image.Addr]int{}}, all: all}
	for _, g := range all {
		out.decode(g, func(*Func, int) int { return -1 }, nil)
	}
	out.connect(all)
	for _, g := range all {
		out.land(g)
	}
	w.flows[f] = out
	return out
}

// reach marks what control reaches from the steps given, forward or back; it does
// not go on from where stop says.
func (f *flow) reach(from []int, back bool, stop func(int) bool) []bool {
	before := make([][]int, 0)
	if back {
		before = make([][]int, len(f.steps))
		for i := range f.steps {
			for _, j := range f.steps[i].next {
				before[j] = append(before[j], i)
			}
		}
	}
	next := func(i int) []int {
		if back {
			return before[i]
		}
		return f.steps[i].next
	}
	out := make([]bool, len(f.steps))
	var work []int
	for _, i := range from {
		work = append(work, next(i)...)
	}
	for len(work) > 0 {
		i := work[len(work)-1]
		work = work[:len(work)-1]
		if out[i] {
			continue
		}
		if out[i] = true; !stop(i) {
			work = append(work, next(i)...)
		}
	}
	return out
}

// looped marks the steps that are in a loop: those that lead back to themselves.
// What is reached by several of them, and leads to none, is not (Tarjan 1972).
func (f *flow) looped() []bool {
	if f.ring != nil {
		return f.ring
	}
	n := len(f.steps)
	f.ring = make([]bool, n)
	order, low, on := make([]int, n), make([]int, n), make([]bool, n)
	type frame struct{ i, k int }
	var stack []int
	count := 0
	for root := range n {
		if order[root] != 0 {
			continue
		}
		calls := []frame{{root, 0}}
		for len(calls) > 0 {
			at := &calls[len(calls)-1]
			i := at.i
			if at.k == 0 {
				count++
				order[i], low[i], on[i] = count, count, true
				stack = append(stack, i)
			}
			if at.k < len(f.steps[i].next) {
				j := f.steps[i].next[at.k]
				at.k++
				switch {
				case order[j] == 0:
					calls = append(calls, frame{j, 0})
				case on[j]:
					low[i] = min(low[i], order[j])
				}
				f.ring[i] = f.ring[i] || i == j
				continue
			}
			at.k++
			if low[i] == order[i] {
				first := len(stack) - 1
				for stack[first] != i {
					first--
				}
				for _, j := range stack[first:] {
					on[j] = false
					f.ring[j] = f.ring[j] || len(stack)-first > 1
				}
				stack = stack[:first]
			}
			calls = calls[:len(calls)-1]
			if len(calls) > 0 {
				up := calls[len(calls)-1].i
				low[up] = min(low[up], low[i])
			}
		}
	}
	return f.ring
}

// between are the places from where a guard is taken to where it is given back, and
// by what it is taken.
func (f *flow) between(c *Code) (map[image.Addr]bool, string) {
	var taken, given []int
	via := ""
	is := make([]byte, len(f.steps))
	for i := range f.steps {
		switch name := f.callee(&f.steps[i]); {
		case guards(name):
			taken, via, is[i] = append(taken, i), name, 1
		case releases(name):
			given, is[i] = append(given, i), 2
		}
	}
	after := f.reach(taken, false, func(i int) bool { return is[i] == 2 })
	ahead := f.reach(given, true, func(i int) bool { return is[i] == 1 })
	out := map[image.Addr]bool{}
	for i := range f.steps {
		if after[i] && ahead[i] && is[i] == 0 {
			out[f.steps[i].at] = true
		}
	}
	return out, via
}

// within are the steps at those places, in their order.
func (f *flow) within(at map[image.Addr]bool) (out []*step) {
	for i := range f.steps {
		if at[f.steps[i].at] {
			out = append(out, &f.steps[i])
		}
	}
	return out
}

// onlyOnce says which places of f run once when f does: those in no loop. Nor those
// behind a setjmp, to which control comes back, or behind a fork that is in a loop:
// every child goes on there.
func (w *onceCode) onlyOnce(f *Func) func(image.Addr) bool {
	l := w.flow(w.c, f)
	loops := l.looped()
	var back []int
	for i := range l.steps {
		s := &l.steps[i]
		if !s.in.IsCall() && !s.in.IsJump() {
			continue
		}
		name, g := w.calledAt(s)
		switch {
		case comesBack(name), g != nil && w.forksAgain(g), loops[i] && (forkName(name) || g != nil && w.mayFork(g)):
			back = append(back, i)
		}
	}
	behind := l.reach(back, false, func(int) bool { return false })
	return func(at image.Addr) bool {
		i, ok := l.index[at]
		return ok && !l.lost && !loops[i] && !behind[i]
	}
}

func (w *onceCode) calledAt(s *step) (string, *Func) {
	f := w.c.At(s.at)
	if f == nil {
		return "", nil
	}
	at := uint32(s.at - f.Lo)
	k, ok := slices.BinarySearchFunc(f.Refs, at, func(r Ref, at uint32) int { return int(int64(r.At) - int64(at)) })
	if !ok || f.Refs[k].Kind == Lea {
		return "", nil
	}
	name, g := w.c.called(&f.Refs[k])
	if g != nil {
		g = w.whole(g)
	}
	return name, g
}

// comesBack: control may return from it a second time.
func comesBack(name string) bool {
	switch name {
	case "setjmp", "_setjmp", "__sigsetjmp", "sigsetjmp", "getcontext":
		return true
	}
	return false
}

func forkName(name string) bool {
	switch name {
	case "fork", "vfork", "_Fork", "clone", "forkpty":
		return true
	}
	return false
}

// mayFork: f calls fork, or what does.
func (w *onceCode) mayFork(f *Func) bool {
	known, ok := w.forks[f]
	if ok {
		return known
	}
	seen := map[*Func]bool{f: true}
	work := []*Func{f}
	found := false
	for len(work) > 0 && !found {
		g := work[len(work)-1]
		work = work[:len(work)-1]
		if forks, ok := w.forks[g]; ok {
			found = forks
			continue
		}
		found = w.calls(g, forkName)
		for _, p := range w.d.parts[g] {
			found = found || p.Fragment && w.calls(p, forkName)
		}
		w.leads(g, func(_ *Func, r *Ref, to *Func) {
			if r.Kind != Lea && !seen[to] {
				seen[to] = true
				work = append(work, to)
			}
		})
	}
	if w.forks[f] = found; !found {
		for g := range seen { // none of them does
			w.forks[g] = false
		}
	}
	return found
}

// forksAgain: f calls what forks in a loop, or what does so.
func (w *onceCode) forksAgain(f *Func) bool {
	if known, ok := w.again[f]; ok {
		return known
	}
	w.again[f] = false // while it is looked at
	if !w.mayFork(f) {
		return false
	}
	l := w.flow(w.c, f)
	loops := l.looped()
	for i := range l.steps {
		s := &l.steps[i]
		if !s.in.IsCall() && !s.in.IsJump() {
			continue
		}
		name, g := w.calledAt(s)
		if (loops[i] || l.lost) && (forkName(name) || g != nil && w.mayFork(g)) || g != nil && g != f && w.forksAgain(g) {
			w.again[f] = true
			return true
		}
	}
	return false
}
