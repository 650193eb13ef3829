package diff

import (
	"math"
	"slices"

	"hotpatch/internal/arch"
	"hotpatch/internal/image"
)

// Where does the value in a register come from? For two questions the answer
// in one function is enough: whether an address that the code compares is the
// end of an object or the start of one (walks.go), and whether a structure
// lives on the stack only (onstack.go).
//
// The analysis is forward, over all paths at once, until nothing changes. It
// errs to "something else": a value it loses sight of is unknown.

// provenance is a set of places that a value may come from, moved by any distance.
type provenance uint64

const (
	fromElsewhere provenance = 1 << 0
	// Bits 1 to 6: the six arguments in registers (psABI §3.2.3).
	firstArgument = 1
	arguments     = 6
	fromStack     = provenance(1 << 7)
	firstTracked  = 8 // the bit of the first tracked reference
	maxTracked    = 64 - firstTracked
)

func fromArgument(i int) provenance { return 1 << (firstArgument + i) }

// argumentRegisters are rdi, rsi, rdx, rcx, r8, r9.
var argumentRegisters = [arguments]int{7, 6, 2, 1, 8, 9}

const (
	rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi = 0, 1, 2, 3, 4, 5, 6, 7
)

// state is what is known before an instruction. A provenance of 0 means that no
// path has come here.
type state struct {
	regs  [16]provenance
	depth int32 // rsp minus its value at the entry; lostDepth: not known
	seen  bool
}

const lostDepth = math.MinInt32

// step is one instruction of the functions analysed.
type step struct {
	at   image.Addr
	code []byte
	in   arch.Inst
	bit  provenance // of the tracked reference that it takes the address of
	mem  provenance // of the one that it adds a register to, for an operand in memory or with lea
	from image.Addr // and the address that this is; 0: none
	slot provenance // of the one that it loads a pointer from
	next []int      // where control goes
	goes bool       // to a label, of which only the address is known
}

// trace is the analysis of one function with its parts.
type trace struct {
	c       *Code
	steps   []step
	index   map[image.Addr]int
	states  []state
	slots   map[int32]provenance // of the frame, by distance from rsp at the entry
	strays  provenance           // stored to places of the frame that are not known
	guests  provenance           // stored through pointers, which may lead into the frame
	exposed int32                // from here up, somebody holds the address of the frame
	clobber bool                 // imports are taken to change all that the psABI lets them
	inside  bool                 // see traceInside
	arrays  provenance           // then: stored to the frame in other ways
	lost    bool                 // control goes where the analysis cannot follow
	changed bool                 // a slot, in this round
}

// traceOf analyses f of the image c, one piece of code with parts. bit gives the
// references that are to be told apart numbers from 0 to maxTracked-1; the
// others get -1.
func traceOf(c *Code, f *Func, parts []*Func, bit func(*Func, int) int) *trace {
	return traceLoads(c, f, parts, bit, nil)
}

// traceLoads is traceOf that also follows pointers out of slots that are filled
// when the image is linked or loaded: loaded gives these references numbers, -1 to
// the others. What a call of an import leaves in registers that the psABI does not
// preserve is nobody's then.
func traceLoads(c *Code, f *Func, parts []*Func, bit, loaded func(*Func, int) int) *trace {
	w := newTrace(c, loaded != nil)
	all := w.read(f, parts, bit, loaded)
	w.finish(all)
	return w
}

// traceInside is traceLoads for places inside of f: its jumps to where the address of
// a label says lead to labels, and to all that nothing else leads to. What is loaded by
// way of a tracked address is tracked with it.
func traceInside(c *Code, f *Func, parts []*Func, bit, loaded func(*Func, int) int, labels []image.Addr) *trace {
	w := newTrace(c, true)
	w.inside = true
	all := w.read(f, parts, bit, loaded)
	w.label(all, labels)
	w.finish(all)
	return w
}

func newTrace(c *Code, clobber bool) *trace {
	return &trace{c: c, index: map[image.Addr]int{}, slots: map[int32]provenance{}, exposed: math.MaxInt32, clobber: clobber}
}

// read decodes f and its parts and finds where control goes.
func (w *trace) read(f *Func, parts []*Func, bit, loaded func(*Func, int) int) []*Func {
	all := append([]*Func{f}, parts...)
	slices.SortFunc(all, func(a, b *Func) int { return compareAddr(a.Lo, b.Lo) })
	for _, g := range all {
		w.decode(g, bit, loaded)
	}
	w.connect(all)
	for _, g := range all {
		w.land(g)
	}
	return all
}

func (w *trace) finish(all []*Func) {
	w.states = make([]state, len(w.steps))
	for w.changed = true; w.changed; {
		w.changed = false
		w.run(all)
	}
}

// label connects the jumps to labels.
func (w *trace) label(all []*Func, labels []image.Addr) {
	reached := make([]bool, len(w.steps))
	for i := range w.steps {
		for _, j := range w.steps[i].next {
			reached[j] = true
		}
	}
	for _, g := range all {
		if i, ok := w.index[g.Lo]; ok && !g.Fragment {
			reached[i] = true
		}
	}
	for _, a := range labels {
		if i, ok := w.index[a]; ok {
			reached[i] = false
		}
	}
	var to []int
	for i, is := range reached {
		if !is {
			to = append(to, i)
		}
	}
	for i := range w.steps {
		if s := &w.steps[i]; s.in.IsJump() && s.in.IsIndirect() && len(s.next) == 0 {
			s.next, s.goes = to, true
		}
	}
	w.lost = false
	for i := range w.steps {
		w.lost = w.lost || w.steps[i].in.Len == 0
	}
}

func (w *trace) decode(g *Func, bit, loaded func(*Func, int) int) {
	code := w.c.Text(g)
	k := 0
	w.c.scan(g, code, func(at int, in *arch.Inst, refs []Ref) {
		s := step{at: g.Lo + image.Addr(at), code: code[at:], in: *in}
		if in.Len == 0 {
			w.lost = true
		}
		for i := range refs {
			if refs[i].Indexed || refs[i].Form != Relative && refs[i].Kind == Lea && refs[i].Field == uint32(at)+uint32(in.DispOff) {
				s.from = refs[i].Leads()
			}
			if refs[i].Kind == Lea {
				if b := bit(g, k); b >= 0 && b < maxTracked {
					if s.from == 0 || in.ImmLen > 0 && refs[i].Field == uint32(at)+uint32(in.ImmOff) {
						s.bit = 1 << (firstTracked + b)
					} else {
						s.mem = 1 << (firstTracked + b)
					}
				}
			}
			if refs[i].Kind == Access && loaded != nil {
				if b := loaded(g, k); b >= 0 && b < maxTracked {
					s.slot = 1 << (firstTracked + b)
				}
			}
			k++
		}
		w.index[s.at] = len(w.steps)
		w.steps = append(w.steps, s)
	})
}

// connect finds where control goes from every instruction. A switch of which
// the table is not clear goes to every place that any of them leads to.
func (w *trace) connect(all []*Func) {
	tables := map[image.Addr][]int{}
	var cases []int
	for _, g := range all {
		for k := range g.Refs {
			r := &g.Refs[k]
			if r.Kind != Lea || r.Class != image.ROData || tables[r.Target] != nil {
				continue
			}
			inside := func(a image.Addr) bool { _, ok := w.index[a]; return ok }
			for _, t := range w.c.JumpTable(g, r.Target, inside) {
				if i, ok := w.index[t]; ok {
					tables[r.Target] = append(tables[r.Target], i)
				}
			}
			cases = append(cases, tables[r.Target]...)
		}
	}
	slices.Sort(cases)
	cases = slices.Compact(cases)
	for i := range w.steps {
		s := &w.steps[i]
		if j := i + 1; s.in.FallsThrough() && !w.ends(s) && !w.throws(s) && j < len(w.steps) && w.steps[j].at == s.at+image.Addr(s.in.Len) {
			s.next = append(s.next, j)
		}
		switch {
		case s.in.Rel && !s.in.IsCall():
			if t, ok := s.in.Target(uint64(s.at), s.code); ok {
				if j, ok := w.index[image.Addr(t)]; ok {
					s.next = append(s.next, j)
				}
			}
		case s.in.IsJump() && s.in.IsIndirect():
			table, ok := w.switches(i)
			if !ok && len(w.c.Kept) > 0 && len(cases) > 0 {
				ok = true // any of them
			}
			switch {
			case !ok: // a call, the last thing to do
			case len(tables[table]) > 0:
				s.next = append(s.next, tables[table]...)
			default:
				s.next = append(s.next, cases...)
				w.lost = w.lost || len(cases) == 0
			}
		}
	}
}

// switches says whether step i jumps to where a distance from a table leads,
// and to which table, 0 when that is not clear:
//
//	movslq (table,case,4),to; add table,to; jmp *to
//
// At a fixed address there are pointers in the table:
//
//	jmp *table(,case,8)
//	mov table(,case,8),to; jmp *to
func (w *trace) switches(i int) (table image.Addr, ok bool) {
	if t := w.steps[i].from; t != 0 {
		return t, true
	}
	_, to := w.steps[i].in.Named(w.steps[i].code)
	const near = 8
	for j := i - 1; to >= 0 && j >= max(0, i-near); j-- {
		s := &w.steps[j]
		if reg, _ := s.in.Named(s.code); s.from != 0 && s.in.Map == 0 && s.in.Op == 0x8b && reg == to {
			return s.from, true
		}
	}
	add := i - 1
	for ; ; add-- {
		if to < 0 || add < max(0, i-near) {
			return 0, false
		}
		in := &w.steps[add].in
		if reg, rm := in.Named(w.steps[add].code); in.Map == 0 && (in.Op == 0x01 && rm == to || in.Op == 0x03 && reg == to) {
			break
		}
	}
	for j := add - 1; j >= max(0, add-near); j-- {
		if in := &w.steps[j].in; in.Map == 0 && in.Op == 0x63 && in.HasMemory() && in.Base >= 0 && in.Base < 16 {
			return w.loaded(j, int(in.Base)), true
		}
	}
	return 0, true
}

// loaded is the address that the code above step i takes into register r, 0
// when something else is the first to change it.
func (w *trace) loaded(i, r int) image.Addr {
	for i--; i >= 0; i-- {
		s := &w.steps[i]
		reg, rm := s.in.Named(s.code)
		if reg != r && rm != r || s.in.Vector || s.in.Map != 0 {
			continue
		}
		if s.in.Op == 0x8d && s.in.Base == arch.RIP && reg == r {
			t, _ := s.in.Target(uint64(s.at), s.code)
			return image.Addr(t)
		}
		switch {
		case s.in.Op == 0x39 || s.in.Op == 0x3b || s.in.Op == 0x85: // compared only
		case rm == r && (s.in.Op == 0x03 || s.in.Op == 0x8b || s.in.Op == 0x63): // read only
		case reg == r && (s.in.Op == 0x01 || s.in.Op == 0x89):
		default:
			return 0
		}
	}
	return 0
}

// ends: a call of what ends the program.
func (w *trace) ends(s *step) bool {
	switch w.callee(s) {
	case "abort", "exit", "_exit", "__stack_chk_fail", "__assert_fail", "__fortify_fail", "__chk_fail", "_ZSt9terminatev":
		return true
	}
	return false
}

// throws: a call that comes back in a landing pad or not at all.
func (w *trace) throws(s *step) bool {
	switch w.callee(s) {
	case "_Unwind_Resume", "__cxa_throw", "__cxa_rethrow", "longjmp", "__longjmp_chk":
		return true
	}
	return false
}

// callee is the name of the import that is called directly, "" for others.
func (w *trace) callee(s *step) string {
	t, ok := s.in.Target(uint64(s.at), s.code)
	if !s.in.IsCall() || !ok {
		return ""
	}
	return w.c.importName(w.c.ClassAt(image.Addr(t)), image.Addr(t))
}

// land adds the ways from calls to landing pads, which find the registers that
// calls preserve. An exception table that cannot be read loses the way.
func (w *trace) land(g *Func) {
	if g.LSDA == 0 {
		return
	}
	t, err := w.c.LSDA(g.LSDA, image.Range{Lo: g.Lo, Hi: g.Hi})
	if err != nil {
		w.lost = true
		return
	}
	for _, site := range t.Sites {
		j, ok := w.index[site.Pad]
		if site.Pad == 0 || !ok {
			w.lost = w.lost || site.Pad != 0
			continue
		}
		i, _ := slices.BinarySearchFunc(w.steps, g.Lo+image.Addr(site.Start), func(s step, a image.Addr) int { return compareAddr(s.at, a) })
		for ; i < len(w.steps) && w.steps[i].at < g.Lo+image.Addr(site.Start+site.Len); i++ {
			if w.steps[i].in.IsCall() && !w.ends(&w.steps[i]) {
				w.steps[i].next = append(w.steps[i].next, j)
			}
		}
	}
}

// run spreads states from the entries until they are stable.
func (w *trace) run(all []*Func) {
	var work []int
	for _, g := range all {
		i, ok := w.index[g.Lo]
		if !ok || g.Fragment {
			continue
		}
		e := state{seen: true}
		for r := range e.regs {
			e.regs[r] = fromElsewhere
		}
		for n, r := range argumentRegisters {
			e.regs[r] = fromArgument(n)
		}
		e.regs[rsp] = fromStack
		if w.join(i, &e) {
			work = append(work, i)
		}
	}
	if len(w.slots) > 0 { // another round, with more in the slots
		work = work[:0]
		for i := len(w.steps) - 1; i >= 0; i-- {
			if w.states[i].seen {
				work = append(work, i)
			}
		}
	}
	for len(work) > 0 {
		i := work[len(work)-1]
		work = work[:len(work)-1]
		s := w.states[i]
		if w.inside && w.arrays == 0 && w.fills(i) {
			w.arrays, w.changed = placeInside, true
		}
		w.execute(&w.steps[i], &s)
		if w.steps[i].goes {
			s.leave()
		}
		for _, j := range w.steps[i].next {
			if w.join(j, &s) {
				work = append(work, j)
			}
		}
	}
}

// leave: a jump to a label has no more use for the address.
func (s *state) leave() {
	for r, o := range s.regs {
		if o&placeInside != 0 {
			s.regs[r] = o&^placeInside | placeLeft
		}
	}
}

// join merges s into what is known before step i.
func (w *trace) join(i int, s *state) bool {
	t := &w.states[i]
	if !t.seen {
		*t = *s
		return true
	}
	changed := false
	for r := range t.regs {
		if x := t.regs[r] | s.regs[r]; x != t.regs[r] {
			t.regs[r], changed = x, true
		}
	}
	if t.depth != s.depth && t.depth != lostDepth {
		t.depth, changed = lostDepth, true
	}
	return changed
}

// before is the provenance of register r before step i.
func (w *trace) before(i, r int) provenance {
	if o := w.states[i].regs[r]; w.states[i].seen && o != 0 && !w.lost {
		return o
	}
	return fromElsewhere
}
