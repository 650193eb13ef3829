package txn

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"

	"hotpatch/internal/arch"
	"hotpatch/internal/image"
	"hotpatch/internal/link"
	"hotpatch/internal/patch"
	"hotpatch/internal/proc"
)

// exchangeable decides whether the plan can be put in force by exchanging one
// page, and then makes its sites such that it can. The error says why not.
func (t *target) exchangeable(p *plan, few int) (*exchange, error) {
	switch {
	case p.journal.Mode != patch.Independent:
		return nil, unfitting("it is %s", p.journal.Mode)
	case len(p.parts) != 1 || len(p.journal.Sites) != 1:
		return nil, unfitting("more than one place changes")
	case len(p.hooks) > 0:
		return nil, unfitting("an unwinder has to be told of the new code")
	case !remapsFiles():
		return nil, unfitting("the kernel cannot map a part of a file a second time (Linux 5.13)")
	}
	if t.rests(p.journal.Sites[0].guards(), few) {
		return nil, unfitting("its few threads all sleep")
	}
	if is, err := proc.ReadRights(t.info.PID, t.info.Live); err != nil {
		return nil, err
	} else if is.Locked > 0 {
		return nil, unfitting("the process locks memory, and the page would lose that")
	}
	pt, s := p.parts[0], p.journal.Sites[0]
	x := &exchange{page: s.Addr &^ (pageSize - 1), spare: pt.region.spare()}
	i := slices.IndexFunc(t.maps, func(m proc.Map) bool { return m.End > x.spare })
	if i >= 0 && t.maps[i].Start < x.spare+pageSize {
		return nil, unfitting("the process uses the room for the copy of a page")
	}
	var ok bool
	if x.at, ok = proc.Find(t.maps, x.page); !ok || !x.at.Exec || x.at.Write || !x.at.Read || x.at.Shared || x.at.Inode == 0 {
		return nil, unfitting("the code is not mapped as usual")
	}
	if x.at.Off+x.page == x.at.Start {
		return nil, unfitting("the page begins the file, and its copy would pass for another image")
	}
	if err := t.stays(pt.module); err != nil {
		return nil, err
	}
	if err := t.unaltered(x, pt.module); err != nil {
		return nil, err
	}
	sites, err := t.narrow(x, pt, s)
	if err != nil {
		return nil, err
	}
	p.journal.Sites = sites
	return x, nil
}

// fewSleepers is how many threads that sleep are rather stopped than a page
// exchanged. To stop them takes less time than the second loan of a thread, none
// of them notices, and no old code lingers. More stand longer than a borrowed
// one does.
const fewSleepers = 8

// rests says whether there are few threads, all of which sleep with nothing of
// the guards on their stacks: as far as can be told without a stop, which sees
// for itself.
func (t *target) rests(guards []guard, few int) bool {
	tids, err := t.threads()
	if err != nil || len(tids) > few {
		return false
	}
	trampolines, err := t.trampolines()
	if err != nil {
		return false
	}
	k := newChecker(t, nil, guards, trampolines)
	for _, tid := range tids {
		s, err := proc.ReadStat(t.info.PID, tid)
		if err == nil && ofKernel(s) {
			continue
		}
		if err != nil || s.State != 'S' {
			return false
		}
		if where, sleeps := t.mayBeIn(k, tid); where != "" || !sleeps {
			return false
		}
	}
	return true
}

// remapsFiles says whether the kernel knows MREMAP_DONTUNMAP for files.
func remapsFiles() bool { return kernelSince(5, 13) }

// unaltered reads the page from its file and makes sure that memory is the same:
// the page will come from there again.
func (t *target) unaltered(x *exchange, m proc.Module) error {
	f, _, c, err := proc.Open(t.info.PID, m)
	if err != nil {
		return unfitting("the file cannot be opened: %v", err)
	}
	defer c.Close()
	x.file = make([]byte, pageSize)
	now := make([]byte, pageSize)
	if _, err := f.ReadAt(x.file, int64(x.at.Off+x.page-x.at.Start)); err != nil {
		return unfitting("the page cannot be read from its file: %v", err)
	}
	if _, err := t.mem.ReadAt(now, int64(x.page)); err != nil {
		return err
	}
	if !bytes.Equal(now, x.file) {
		return unfitting("something else has changed the page")
	}
	return nil
}

// stays makes sure that nobody unloads the image meanwhile, with nobody
// stopped: it is the program, its loader, or a library that the loader never
// unloads, because the program was linked with it or it asks for that.
func (t *target) stays(m proc.Module) error {
	if err, known := t.staying[m.Bias]; known {
		return err
	}
	err := t.whyStays(m)
	if t.staying == nil {
		t.staying = map[uint64]error{}
	}
	t.staying[m.Bias] = err
	return err
}

func (t *target) whyStays(m proc.Module) error {
	no := unfitting("%s may be unloaded meanwhile", m.Path)
	aux, err := t.auxv()
	if err != nil {
		return err
	}
	const atPhdr, atBase = 3, 7
	if in := func(a uint64) bool { return a >= m.Lo() && a < m.Hi() }; in(aux[atPhdr]) || in(aux[atBase]) {
		return nil
	}
	order, err := t.loaderOrder()
	if err != nil {
		return no
	}
	libs := make([]library, len(order))
	target, program := -1, -1
	for i, o := range order {
		if o.Bias == m.Bias && o.BuildID == m.BuildID {
			target = i
		}
		if a := aux[atPhdr]; a >= o.Lo() && a < o.Hi() {
			program = i
		}
		f, err := t.fileFacts(o)
		if err != nil || f.unreadable {
			return no
		}
		libs[i] = f.library
	}
	if target >= 0 && libs[target].forever {
		return nil
	}
	if target < 0 || program < 0 {
		return no
	}
	seen := map[int]bool{}
	var visit func(i int)
	visit = func(i int) {
		if seen[i] {
			return
		}
		seen[i] = true
		for _, n := range libs[i].needed {
			if k := slices.IndexFunc(libs, func(l library) bool { return l.name == n }); k >= 0 {
				visit(k)
			}
		}
	}
	visit(program)
	if !seen[target] {
		return no
	}
	return nil
}

// auxv is what the kernel told the program at its start: getauxval(3).
func (t *target) auxv() (map[uint64]uint64, error) {
	if len(t.start) == 0 {
		return nil, errors.New("the auxiliary vector cannot be read")
	}
	v := map[uint64]uint64{}
	for b := t.start; len(b) >= 16; b = b[16:] {
		v[binary.LittleEndian.Uint64(b)] = binary.LittleEndian.Uint64(b[8:])
	}
	return v, nil
}

// noPadding stands for an entry that has none, in Tables.
const noPadding = ^uint64(0)

// narrow makes the sites of an entry such that only bytes of one instruction
// change: the entry itself, or padding and then the entry (link.Narrow).
func (t *target) narrow(x *exchange, pt *part, s site) ([]site, error) {
	at := s.Addr - x.page
	through, direct, err := link.Narrow(x.file[at:min(at+2*arch.MaxLen, pageSize)])
	switch {
	case err != nil:
		return nil, unfitting("%v", err)
	case direct:
		return []site{s}, nil
	}
	base := s.Addr - pt.module.Bias
	pad, err := t.paddingNear(pt.module, base, through)
	if err != nil {
		return nil, unfitting("%v", err)
	}
	if pad == noPadding {
		return nil, unfitting("more than one instruction would change, and no padding is near")
	}
	run := pad + pt.module.Bias
	held := x.file[run-x.page:][:through.Size]
	entries, err := link.Detour(link.Entry{Addr: s.Addr, Old: s.Old, New: s.New}, through, run, held)
	if err != nil {
		return nil, unfitting("%v", err)
	}
	var out []site
	for _, e := range entries[:len(entries)-1] {
		out = append(out, site{
			Addr: e.Addr, Region: s.Region, Orig: e.Old, Old: e.Old, New: e.New, Ranges: [][2]uint64{{e.Addr, e.Addr + link.JumpSize}},
		})
	}
	s.New = entries[len(entries)-1].New
	return append(out, s), nil
}

// paddingNear is the base address of padding for an entry, or noPadding.
func (t *target) paddingNear(m proc.Module, base uint64, through link.Through) (uint64, error) {
	k, err := t.identify(m)
	if err != nil {
		return 0, err
	}
	k.buildID = m.BuildID
	return t.tables.padding.get(paddingKey{k, base, through}, func() (pad uint64, of paddingKey, cost uint64, err error) {
		f, err := proc.OpenFile(t.info.PID, m)
		if err != nil {
			return 0, of, 0, err
		}
		defer f.Close()
		of = paddingKey{base: base, through: through}
		if of.imageKey, err = t.keyOf(f, m); err != nil {
			return 0, of, 0, err
		}
		img, err := readWhole(f, m)
		if err != nil {
			return 0, of, 0, err
		}
		at, err := link.PaddingNear(img, image.Addr(base), through)
		if errors.Is(err, link.ErrWide) {
			return noPadding, of, 0, nil
		}
		return uint64(at), of, 0, err
	})
}
