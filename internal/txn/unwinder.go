package txn

import (
	"bytes"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"hotpatch/internal/arch"
	"hotpatch/internal/image"
	"hotpatch/internal/link"
	"hotpatch/internal/patch"
	"hotpatch/internal/proc"
)

// Exceptions pass carried code only when the unwinder knows it. A transaction
// therefore leads the entry of the unwinder's _Unwind_Find_FDE to a finder of
// its own (link.NewFinder) in a mapping near the unwinder. Several hotpatches
// form a chain: the entry jumps to the finder of the last one, what a finder
// does not know it passes to the one before, and the first one's to the
// instructions that the jump displaced. All jumps are five bytes that change
// while everything stands still; and after each single change the chain is whole.
//
// What the chain is, memory tells. The journal only names the finders: so a
// transaction that was interrupted needs nothing but to take out those whose
// hotpatch is not in force (tidy).

// hook is the part of one transaction in one unwinder.
type hook struct {
	Entry uint64 // where the jump is
	Orig  []byte // the whole instructions that it displaces, as in the file
	Room  region // holds the finder; Bias, BuildID and Path are the unwinder's
	// Places of the finder, see link.Finder.
	Stub, Miss, Copy uint64
}

const (
	findFDE = "_Unwind_Find_FDE"
	raise   = "_Unwind_RaiseException"
	libgcc  = "libgcc_s.so.1"

	maxHooks  = 16 // of one transaction
	maxWindow = 32 // bytes of Orig: four instructions and the rest of one
)

// hooking is a hook that is being planned.
type hooking struct {
	hook
	module proc.Module
	finder *link.Finder
}

// frames counts the functions that the carried unwind data describes, and
// locates them when the regions have their places.
func (pt *part) frames() ([]link.Frame, error) {
	for _, c := range pt.object.Chunks {
		if c.Kind != patch.Unwind {
			continue
		}
		fs, err := link.Frames(c.Data, c.Addr)
		if err != nil {
			return nil, err
		}
		at := link.Place{Bias: pt.module.Bias, Span: pt.region.Addr + pt.region.Header}
		for i := range fs {
			fs[i] = link.Frame{Lo: at.At(pt.object, fs[i].Lo), FDE: at.At(pt.object, fs[i].FDE)}
		}
		return fs, nil
	}
	return nil, nil
}

// findUnwinders decides which unwinders of the process have to know the carried
// code. Where exceptions may have to pass it, their unwinder must be one that
// can be told; otherwise telling it is a service to those that throw through
// code that knows nothing of exceptions.
//
// It needs no places yet, and plan.arrange what it finds.
func (t *target) findUnwinders(p *plan, im *imports) error {
	count, needed := 0, ""
	for _, pt := range p.parts {
		fs, err := pt.frames()
		if err != nil {
			return refuse("%s: %v", pt.image.Path, err)
		}
		count += len(fs)
		if pt.image.Unwinds {
			needed = pt.module.Path
		}
	}
	if count == 0 && needed == "" {
		return nil
	}
	modules, err := t.unwinders(p, im)
	if err != nil {
		return err
	}
	if len(modules) == 0 && needed != "" {
		return refuse("exceptions may have to pass the new code of %s, and the process has no unwinder that could be told of it (libgcc_s); it may be linked statically", needed)
	}
	for _, m := range modules[:min(len(modules), maxHooks)] {
		h, err := t.hookOf(m, im)
		if slices.ContainsFunc(p.parts, func(pt *part) bool { return pt.module.Bias == m.Bias }) {
			err = fmt.Errorf("%s is replaced itself", m.Path)
		}
		if err != nil {
			if needed != "" {
				return refuse("exceptions may have to pass the new code of %s, and its unwinder cannot be told of it: %v", needed, err)
			}
			p.alone = append(p.alone, err)
			continue
		}
		h.Room.RX = h.Room.Header + pages(link.FinderSize(count, len(h.Orig)))
		p.hooks = append(p.hooks, h)
	}
	return nil
}

// unwinders are the images whose unwinder is used by what is patched, or likely
// to be used by its callers.
func (t *target) unwinders(p *plan, im *imports) ([]proc.Module, error) {
	var out []proc.Module
	add := func(m proc.Module) {
		if !slices.ContainsFunc(out, func(o proc.Module) bool { return o.Bias == m.Bias }) {
			out = append(out, m)
		}
	}
	for _, pt := range p.parts {
		if !pt.image.Unwinds {
			continue
		}
		m, ok, err := im.definer(pt.module, raise)
		if err != nil {
			return nil, refuse("exceptions may have to pass the new code of %s, and its unwinder cannot be found: %v", pt.module.Path, err)
		}
		if ok {
			add(m)
		}
	}
	for _, m := range t.modules {
		if strings.HasPrefix(path.Base(m.Path), "libgcc_s") {
			add(m)
		}
	}
	return out, nil
}

// definer is the image whose definition of a symbol m gets.
func (im *imports) definer(m proc.Module, name string) (proc.Module, bool, error) {
	if im.files == nil {
		if err := im.read(); err != nil {
			return proc.Module{}, false, err
		}
	}
	for _, f := range im.scope(m) {
		for _, s := range f.symbols {
			if s.Name == name && !s.Undefined && s.Value != 0 {
				return f.Module, true, nil
			}
		}
	}
	return proc.Module{}, false, nil
}

// hookOf finds the entry in an unwinder and makes sure that it is, but for
// hotpatches, what its file says.
func (t *target) hookOf(m proc.Module, im *imports) (*hooking, error) {
	img, err := im.image(m)
	if err != nil {
		return nil, err
	}
	if img.Soname != libgcc { // others export the function, too, and do not use it
		return nil, fmt.Errorf("%s is not %s", m.Path, libgcc)
	}
	s, ok := img.Dynamic(findFDE)
	code := img.Bytes(s.Addr, int(min(s.Size, 1<<16)))
	if !ok || len(code) == 0 || img.ClassAt(s.Addr) != image.Text {
		return nil, fmt.Errorf("%s has no function %s", m.Path, findFDE)
	}
	offset, n, err := link.Displaced(code)
	if err != nil {
		return nil, fmt.Errorf("%s of %s: %w", findFDE, m.Path, err)
	}
	h := &hooking{module: m}
	h.Entry = m.Bias + uint64(s.Addr) + uint64(offset)
	h.Orig = slices.Clone(code[offset : offset+n])
	if n > maxWindow || h.Entry%pageSize > pageSize-arch.JumpSize {
		return nil, fmt.Errorf("%s of %s: no room for a jump", findFDE, m.Path)
	}
	h.Room = region{Header: pageSize, Bias: m.Bias, BuildID: m.BuildID, Path: m.Path}
	if _, err := t.chain(h.Entry, h.Orig); err != nil {
		return nil, err
	}
	now := make([]byte, len(code))
	if _, err := t.mem.ReadAt(now, int64(m.Bias)+int64(s.Addr)); err != nil {
		return nil, err
	}
	copy(now[offset:offset+arch.JumpSize], h.Orig)
	if !bytes.Equal(now, code) {
		return nil, fmt.Errorf("%s of %s is not in memory what it is in the file: something else changed it", findFDE, m.Path)
	}
	return h, nil
}

// linkHook makes the finder of a hook whose room has its place.
func (t *target) linkHook(p *plan, h *hooking) error {
	var all []link.Frame
	for _, pt := range p.parts {
		fs, err := pt.frames()
		if err != nil {
			return refuse("%s: %v", pt.image.Path, err)
		}
		all = append(all, fs...)
	}
	chain, err := t.chain(h.Entry, h.Orig)
	if err != nil {
		return err
	}
	next := uint64(0)
	if len(chain) > 0 {
		next = chain[0].Stub
	}
	h.finder, err = link.NewFinder(h.Room.Addr+h.Room.Header, all, h.Entry, h.Orig, next)
	if err != nil {
		return refuse("%s: %v", h.module.Path, err)
	}
	if uint64(len(h.finder.Data)) > h.Room.RX-h.Room.Header {
		return fmt.Errorf("finder of %d bytes does not fit its %d", len(h.finder.Data), h.Room.RX-h.Room.Header)
	}
	h.Stub, h.Miss, h.Copy = h.finder.Stub, h.finder.Miss, h.finder.Copy
	h.Room.EHFrame, h.Room.EHSize = h.finder.EHFrame, h.finder.EHSize
	if slices.ContainsFunc(chain, func(c *hook) bool { return c.Stub == h.Stub }) {
		return errRoomUsed // it is still in use from last time
	}
	return nil
}

// arrangeHooks decides where the finders go, near their unwinders.
func (t *target) arrangeHooks(p *plan, taken [][2]uint64) error {
	for _, h := range p.hooks {
		g := &h.Room
		at, err := place(t.maps, h.module.Lo(), h.module.Hi(), g.RX, taken)
		if errors.Is(err, errNoRoom) {
			return refuse("%v: %s", err, h.module.Path)
		}
		if err != nil {
			return err
		}
		g.Addr = at
		taken = append(taken, [2]uint64{at, at + g.RX})
	}
	return nil
}

// sameHooks says whether the rooms of a reverted transaction's hooks fit those
// that are planned.
func sameHooks(old []hook, now []*hooking) bool {
	return slices.EqualFunc(old, now, func(o hook, n *hooking) bool {
		return o.Entry == n.Entry && bytes.Equal(o.Orig, n.Orig) && o.Room.RX == n.Room.RX && o.Room.Bias == n.Room.Bias && o.Room.BuildID == n.Room.BuildID
	})
}

// rooms are all the mappings of a plan.
func (p *plan) rooms() []region {
	var out []region
	for _, pt := range p.parts {
		out = append(out, pt.region)
	}
	for _, h := range p.hooks {
		out = append(out, h.Room)
	}
	return out
}

// hooksAt are the hooks of all transactions at an entry whose unwinder is still
// loaded, and the journals they are of.
func (t *target) hooksAt(entry uint64) (hs []*hook, of []*journal) {
	for _, j := range t.journals {
		for i := range j.Hooks {
			if h := &j.Hooks[i]; h.Entry == entry && h.Room.loaded(t.modules) {
				hs, of = append(hs, h), append(of, j)
			}
		}
	}
	return hs, of
}

// chain reads the hooks that an entry leads to, in order.
func (t *target) chain(entry uint64, orig []byte) ([]*hook, error) {
	known, _ := t.hooksAt(entry)
	var out []*hook
	for at, end := entry, [arch.JumpSize]byte(orig); ; {
		var now [arch.JumpSize]byte
		if _, err := t.mem.ReadAt(now[:], int64(at)); err != nil {
			return nil, err
		}
		if now == end {
			return out, nil
		}
		i := slices.IndexFunc(known, func(h *hook) bool { return now == jump(at, h.Stub) })
		if i < 0 || slices.Contains(out, known[i]) {
			return nil, refuse("the unwinder's entry at %#x does not lead where hotpatch led it: something else changes this process's code", entry)
		}
		h := known[i]
		out = append(out, h)
		at, end = h.Miss, jump(h.Miss, h.Copy)
	}
}

// jump is arch.Jump where the distance is known to fit; else it is no jump.
func jump(from, to uint64) [arch.JumpSize]byte {
	j, err := arch.Jump(from, to)
	if err != nil {
		return [arch.JumpSize]byte{}
	}
	return j
}

// jumps is what the places of a chain hold: the entry, and the Miss of each hook.
func jumps(entry uint64, orig []byte, chain []*hook) []edit {
	at, end := entry, [arch.JumpSize]byte(orig)
	var out []edit
	for _, h := range chain {
		out = append(out, edit{addr: at, to: jump(at, h.Stub)})
		at, end = h.Miss, jump(h.Miss, h.Copy)
	}
	return append(out, edit{addr: at, to: end})
}

// rechain are the edits that make one chain of another. The Miss of a hook that
// only the second one has must lead on already.
func rechain(entry uint64, orig []byte, from, to []*hook) []edit {
	var out []edit
	old := jumps(entry, orig, from)
	for _, e := range jumps(entry, orig, to) {
		i := slices.IndexFunc(old, func(o edit) bool { return o.addr == e.addr })
		if i >= 0 && old[i].to != e.to {
			out = append(out, edit{e.addr, old[i].to, e.to})
		}
	}
	return out
}

// guards of an unwinder's entry: nobody may be between the displaced
// instructions when the jump is written over them, or taken away.
func (h *hook) guards() []guard {
	return []guard{{h.Entry, h.Entry + uint64(len(h.Orig)), "the entry of " + findFDE}}
}

// tell makes a change lead the unwinders to the plan's finders first, and from
// those of the hotpatches it replaces last: so exceptions pass at any instant.
func (r *run) tell(c *change, p *plan) error {
	for _, h := range p.hooks {
		chain, err := r.chain(h.Entry, h.Orig)
		if err != nil {
			return err
		}
		added := append([]*hook{&h.hook}, chain...)
		kept := slices.DeleteFunc(slices.Clone(added), func(x *hook) bool {
			return slices.ContainsFunc(p.replaced, func(j *journal) bool { return j.owns(x) })
		})
		first := rechain(h.Entry, h.Orig, chain, added)
		last := rechain(h.Entry, h.Orig, added, kept)
		c.hook(&h.hook, first, last)
	}
	return nil
}

// untell takes the finders of hotpatches out of their chains.
func (r *run) untell(c *change, out func(j *journal) bool) (some bool, err error) {
	var done []uint64
	for _, j := range r.journals {
		for i := range j.Hooks {
			h := &j.Hooks[i]
			if slices.Contains(done, h.Entry) || !h.Room.loaded(r.modules) {
				continue
			}
			done = append(done, h.Entry)
			chain, err := r.chain(h.Entry, h.Orig)
			if err != nil {
				return some, err
			}
			known, of := r.hooksAt(h.Entry)
			kept := slices.DeleteFunc(slices.Clone(chain), func(x *hook) bool { return out(of[slices.Index(known, x)]) })
			if edits := rechain(h.Entry, h.Orig, chain, kept); len(edits) > 0 {
				some = true
				c.hook(h, nil, edits)
				c.leave(chain, kept)
			}
		}
	}
	return some, nil
}

// hook adds the edits of one chain around the others of a change.
func (c *change) hook(h *hook, first, last []edit) {
	c.edits = slices.Concat(first, c.edits, last)
	c.guards = append(c.guards, h.guards()...)
	if c.least != nil {
		c.least = append(c.least, h.guards()...)
	}
	if len(c.expect) > 0 { // else every edit is looked at
		for _, e := range slices.Concat(first, last) {
			c.expect = append(c.expect, snapshot{e.addr, e.from[:]})
		}
	}
	c.images = append(c.images, h.Room)
}

// leave guards the finders that are in one chain and not in the other: their
// room may be used again.
func (c *change) leave(from, to []*hook) {
	for _, h := range from {
		if !slices.Contains(to, h) {
			lo, hi := h.Room.code()
			c.guards = append(c.guards, guard{lo, hi, "a finder"})
		}
	}
}

func (j *journal) owns(h *hook) bool {
	return slices.ContainsFunc(j.Hooks, func(x hook) bool { return x.Stub == h.Stub })
}

// untellOnly takes the finders of one hotpatch out, wherever nobody else has put
// something before them: there they stay, and find nothing.
func (r *run) untellOnly(c *change, j *journal) error {
	_, err := r.untell(c, func(x *journal) bool { return x.Addr == j.Addr })
	if no := (*Refusal)(nil); errors.As(err, &no) {
		r.o.Log.Warn("left an unwinder as it is", "pid", r.info.PID, "err", err)
		return nil
	}
	return err
}

// tidy takes out the finders of hotpatches that are not in force: what an
// interrupted transaction left.
func (r *run) tidy() error {
	c := change{}
	some, err := r.untell(&c, func(j *journal) bool { return j.Phase != applied })
	if no := (*Refusal)(nil); errors.As(err, &no) {
		r.o.Log.Warn("left an unwinder as it is", "pid", r.info.PID, "err", err)
		return nil // who needs it will look again
	}
	if err != nil || !some {
		return err
	}
	j := r.journals[0]
	c.journal, c.before, c.after = j.Addr, j.Phase, j.Phase
	return r.swap(c)
}

// hooked says whether any finder of the journal is in a chain, or may be.
func (r *run) hooked(j *journal) bool {
	for i := range j.Hooks {
		h := &j.Hooks[i]
		chain, err := r.chain(h.Entry, h.Orig)
		if err != nil || slices.ContainsFunc(chain, func(x *hook) bool { return x.Stub == h.Stub }) {
			return true
		}
	}
	return false
}

// confirmHooks reads back whether the finders of a journal are in their chains,
// or not.
func (r *run) confirmHooks(j *journal, want bool) error {
	for i := range j.Hooks {
		h := &j.Hooks[i]
		if !h.Room.loaded(r.modules) {
			continue
		}
		chain, err := r.chain(h.Entry, h.Orig)
		if no := (*Refusal)(nil); errors.As(err, &no) && !want {
			continue // see untellOnly
		}
		if err != nil {
			return err
		}
		in := slices.ContainsFunc(chain, func(x *hook) bool { return x.Stub == h.Stub })
		if in != want {
			return errors.New("the unwinder does not hold what was written: something else changes its code")
		}
	}
	return nil
}

// carried are the regions that code of the transaction runs in.
func (j *journal) carried() []region {
	out := slices.Clone(j.Regions)
	for _, h := range j.Hooks {
		out = append(out, h.Room)
	}
	return out
}
