package txn

import (
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"

	"hotpatch/internal/proc"
	"hotpatch/internal/ptrace"
	"hotpatch/internal/unwind"
)

// room is where a stub may lie.
type room struct {
	at uint64   // 0: there is none
	in proc.Map // the mapping that it is in
}

// roomOff is room for a stub on another page than avoid. What was found before is
// used again as long as nothing is in it: a thread that did not come back from a
// call that it makes for us still needs its stub.
func (r *run) roomOff(avoid uint64) (room, error) {
	if r.room.at != 0 && !r.roomGone {
		var now [ptrace.StubRoom]byte
		if _, err := r.mem.ReadAt(now[:], int64(r.room.at)); err != nil || !allZero(now[:]) {
			r.roomGone = true
		}
	}
	if r.roomGone {
		if err := r.refresh(); err != nil {
			return room{}, err
		}
		r.room, r.roomGone = room{}, false
	}
	if r.room.at == 0 || r.room.at&^(pageSize-1) == avoid {
		var err error
		if r.room, err = r.findRoom(avoid); err != nil {
			return room{}, err
		}
	}
	return r.room, nil
}

// inRoom looks at a room once more when a thread stands ready to make a call in
// it, before anything is written: what was mapped there when it was found may
// have been unmapped since, and something else, of the same zeros, mapped. Step
// is the next to see the points of the loan.
//
// Then nothing more can happen to a room in an image that stays, since nobody
// unmaps that. Where there is only one that can be unloaded, its loader would
// have to do so in the few microseconds until the thread runs the stub.
func (r *run) inRoom(room room, step func(point string) error) func(point string) error {
	return func(point string) error {
		if point == "borrowed" {
			m, ok, err := proc.MapAt(r.info.PID, room.at)
			if err != nil {
				return err
			}
			if !ok || !sameFile(m, room.in, room.at) {
				return fmt.Errorf("another mapping is at %#x now: %w", room.at, ptrace.ErrRoom)
			}
		}
		return step(point)
	}
}

// findRoom finds StubRoom bytes of padding behind the code of some module, on
// another page than avoid: the rest of the last page of an executable segment,
// which no address in any table refers to. Best is an image that stays, before
// one that may be unloaded while a thread is in there. A stub that a killed tool
// left may be overwritten when no thread is in it.
func (t *target) findRoom(avoid uint64) (room, error) {
	empty := func(_ uint64, room []byte) bool { return allZero(room) }
	left := func(at uint64, room []byte) bool { return ptrace.IsStub(room) && t.roomIdle(at) }
	staying := func(m proc.Module) bool { return t.stays(m) == nil }
	for _, search := range []struct {
		fits func(at uint64, room []byte) bool
		in   func(proc.Module) bool
	}{{empty, staying}, {empty, anyModule}, {left, staying}, {left, anyModule}} {
		at, err := t.findRoomIn(search.in, func(at uint64, room []byte) bool {
			return at&^(pageSize-1) != avoid && search.fits(at, room)
		})
		if at != 0 || err != nil {
			in, _ := proc.Find(t.maps, at)
			return room{at, in}, err
		}
	}
	return room{}, nil
}

const anyPage = 0 // to roomOff: none is avoided

func anyModule(proc.Module) bool { return true }

// findRoomIn is the first room that fits, in modules that are wanted; which they
// are is asked last, since it takes longer.
func (t *target) findRoomIn(wanted func(proc.Module) bool, fits func(at uint64, room []byte) bool) (uint64, error) {
	page := make([]byte, pageSize)
	for _, m := range t.modules {
		if m.Path == "[vdso]" {
			continue
		}
		end, limit, err := t.codeEnd(m)
		if errors.Is(err, ptrace.ErrGone) {
			return 0, err
		}
		if err != nil {
			continue // another module will do
		}
		at := (end + 15) &^ 15
		if at+ptrace.StubRoom > limit {
			continue
		}
		rest := page[:limit-at] // all of it is on one page
		if _, err := t.mem.ReadAt(rest, int64(at)); err != nil {
			continue
		}
		for ; len(rest) >= ptrace.StubRoom; at, rest = at+ptrace.StubRoom, rest[ptrace.StubRoom:] {
			if fits(at, rest[:ptrace.StubRoom]) && wanted(m) {
				return at, nil
			}
		}
	}
	return 0, nil
}

// noRoom is why no thread can be borrowed where findRoom found nothing.
func noRoom() error {
	return refuse("no loaded image has %d unused bytes behind its code for the stub that maps the new code", ptrace.StubRoom)
}

// codeEnd is where the executable segment of a module really ends, and where
// its last page does.
func (t *target) codeEnd(m proc.Module) (end, limit uint64, err error) {
	ps, err := t.programHeaders(m)
	if err != nil {
		return 0, 0, err
	}
	for _, p := range ps {
		if elf.ProgType(p.Type) != elf.PT_LOAD || elf.ProgFlag(p.Flags)&elf.PF_X == 0 {
			continue
		}
		end = m.Bias + p.Vaddr + p.Memsz
		limit = (end + pageSize - 1) &^ (pageSize - 1)
		if at, ok := proc.Find(t.maps, end-1); !ok || !at.Exec || at.Write || limit > at.End {
			return 0, 0, fmt.Errorf("%s: code is not mapped as its headers say", m.Path)
		}
		return end, limit, nil
	}
	return 0, 0, fmt.Errorf("%s: no executable segment", m.Path)
}

// programHeaders reads those of a module from memory, where they are at its
// beginning, as nearly always.
func (t *target) programHeaders(m proc.Module) ([]elf.Prog64, error) {
	// What is usual fits into this, and is read at once.
	const phSize, usual = 56, 1024
	var h elf.Header64
	head := make([]byte, usual)
	if _, err := t.mem.ReadAt(head, int64(m.Lo())); err != nil {
		return nil, err
	}
	if _, err := binary.Decode(head[:binary.Size(h)], binary.LittleEndian, &h); err != nil {
		return nil, err
	}
	if string(h.Ident[:4]) != elf.ELFMAG || h.Phoff > pageSize || h.Phnum > 64 || h.Phentsize != phSize {
		return nil, fmt.Errorf("%s: unusual program headers", m.Path)
	}
	ps := make([]elf.Prog64, h.Phnum)
	size := uint64(len(ps)) * phSize
	if h.Phoff+size > usual {
		head = make([]byte, h.Phoff+size)
		if _, err := t.mem.ReadAt(head[h.Phoff:], int64(m.Lo()+h.Phoff)); err != nil {
			return nil, err
		}
	}
	_, err := binary.Decode(head[h.Phoff:][:size], binary.LittleEndian, ps)
	return ps, err
}

// roomIdle says that no thread sleeps inside a left-over stub, or in a signal
// handler that may have interrupted it there. A thread that is running, or whose
// state cannot be read, counts as inside.
func (t *target) roomIdle(at uint64) bool {
	tids, err := t.threads()
	if err != nil {
		return false
	}
	for _, tid := range tids {
		s, err := proc.ReadSyscall(t.info.PID, tid)
		if errors.Is(err, proc.ErrGone) || err == nil && (s.Running || s.SP == 0) && surelyWorker(t.info.PID, tid) {
			continue
		}
		if err != nil || s.Running || s.PC >= at && s.PC < at+ptrace.StubRoom {
			return false
		}
		end, ok := stackEnd(t.maps, s.SP)
		if !ok || end-s.SP > maxScan {
			return false
		}
		stack := make([]byte, end-s.SP)
		if _, err := t.mem.ReadAt(stack, int64(s.SP)); err != nil {
			return false
		}
		if hit, _ := unwind.Scan(stack, s.SP, []unwind.Range{{Lo: at, Hi: at + ptrace.StubRoom}}); hit {
			return false
		}
	}
	return true
}

func allZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}
