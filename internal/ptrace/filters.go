package ptrace

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"

	"hotpatch/internal/seccomp"
)

// What the seccomp filters of a stopped thread say to restart_syscall, by which the
// kernel would go on with the call that it stands at.

// answer is what all filters of a thread together say to restart_syscall.
type answer uint8

const (
	unknown answer = iota // there are filters, and what they say cannot be told
	passes                // there are none, or they let it pass
	fails                 // it would not do its work: the thread is killed, or sees an error or a signal
)

// filters asks the filters of a stopped thread, from that number on: the first is the
// oldest, and none ever goes or is changed. r are the registers with which it stands.
// count is how many it has where they pass.
//
// Filters are read from each thread anew. Nothing else tells that two threads have
// the same: neither their number does, nor what the last of them is.
func (t *Tracer) filters(tid int, r *Regs, from int) (says answer, count int) {
	all := seccomp.Allow
	for i := from; ; i++ {
		program, err := t.filter(tid, i)
		switch {
		case errors.Is(err, unix.ENOENT), i == 0 && errors.Is(err, unix.EINVAL) && tellsFilters():
			return told(all), i
		case i == 0 && (errors.Is(err, unix.EACCES) || errors.Is(err, unix.EINVAL)):
			if mode, err := seccompMode(strconv.Itoa(tid)); err == nil && mode == 0 {
				return passes, 0
			}
			return unknown, 0
		case err != nil:
			return unknown, 0
		case i == from && !t.restartsIn64Bit(tid, r):
			return unknown, 0
		}
		if t.asked += readOne + len(program); i >= mostFilters {
			t.asked = readAll + 1 // each takes as long as all of them together
		}
		if t.asked > readAll {
			return unknown, 0
		}
		a, err := judge(program, r)
		if err != nil {
			return unknown, 0
		}
		if all = seccomp.Stricter(all, a); int32(all) < int32(seccomp.Notify) { // what the others say changes nothing
			return fails, 0
		}
	}
}

// told is what a thread sees of an action. What a supervisor says, nobody can tell.
func told(a seccomp.Action) answer {
	switch {
	case a.Passes():
		return passes
	case a == seccomp.Notify:
		return unknown
	}
	return fails
}

const (
	// A filter takes a microsecond to read, and another one for each 8 KB of it. Where
	// a stop of many threads has read this much, which takes some 10 ms, the others'
	// filters are not read: what they say is unknown.
	readOne = 8 << 10
	readAll = 80 << 20

	// mostFilters is how many a thread may have to be asked. A service manager gives a
	// service some 40; the kernel looks for each along the chain of all.
	mostFilters = 128
)

// filter reads one program. ENOENT: the thread has no more; EINVAL: it has none, or the
// kernel tells of nobody (CONFIG_CHECKPOINT_RESTORE); EACCES: we have no CAP_SYS_ADMIN,
// or have a filter ourselves; EMEDIUMTYPE: it is of a newer kind. What is returned is
// overwritten by the next.
func (t *Tracer) filter(tid, i int) ([]byte, error) {
	if t.program == nil {
		if err := request(reqGetFilter, tid, uintptr(i), 0); err != nil {
			return nil, err
		}
		t.program = new([seccomp.MaxSize]byte) // the kernel does not ask how much room there is
	}
	n, err := requestAt(reqGetFilter, tid, uintptr(i), unsafe.Pointer(t.program))
	if err != nil {
		return nil, err
	}
	const instruction = 8
	if n > len(t.program)/instruction {
		return nil, fmt.Errorf("read seccomp filter: %d instructions", n)
	}
	return t.program[:n*instruction], nil
}

// restartsIn64Bit says whether the thread, when it goes on by another call, makes it as
// 64-bit code does. The kernel sets it back by two bytes, onto whatever is there now.
func (t *Tracer) restartsIn64Bit(tid int, r *Regs) bool {
	const x32 = 1 << 30
	if r.Cs != userCode64 || r.Orig_rax&x32 != 0 {
		return false
	}
	b, err := t.word(tid, r.Rip-2)
	return err == nil && b[0] == 0x0f && b[1] == 0x05 // syscall
}

// tellsFilters says whether the kernel says EINVAL of threads without a filter, and
// not of all: it is built with CONFIG_CHECKPOINT_RESTORE, as it shows elsewhere.
var tellsFilters = sync.OnceValue(func() bool {
	_, err := os.Stat("/proc/sys/kernel/ns_last_pid")
	return err == nil
})

// verdict is what is known of one program.
type verdict struct {
	always seccomp.Action  // to every restart_syscall, if no filter is here
	filter *seccomp.Filter // to be asked each time
	err    error           // it cannot be followed
}

// verdicts are kept by the very bytes of the programs, of which a host has few: the
// filters of a container, or of a service, are those of all its threads.
var verdicts = struct {
	sync.Mutex
	of   map[string]verdict
	size int // of all programs
}{of: map[string]verdict{}}

const keptVerdicts = 1 << 20

// judge is what a program says when a thread with these registers goes on by
// restart_syscall: with the arguments of the call that it made first.
func judge(program []byte, r *Regs) (seccomp.Action, error) {
	v := verdictOf(program)
	if v.err != nil || v.filter == nil {
		return v.always, v.err
	}
	return v.filter.Ask(seccomp.Call{
		NR: nrRestartSyscall, Arch: seccomp.ArchX8664, IP: r.Rip,
		Args: [6]uint64{r.Rdi, r.Rsi, r.Rdx, r.R10, r.R8, r.R9},
	})
}

func verdictOf(program []byte) verdict {
	verdicts.Lock()
	v, known := verdicts.of[string(program)]
	verdicts.Unlock()
	if known {
		return v
	}
	if v.filter, v.err = seccomp.Decode(program); v.err == nil {
		if a, always := v.filter.AskOf(nrRestartSyscall, seccomp.ArchX8664); always {
			v.always, v.filter = a, nil
		}
	}
	verdicts.Lock()
	defer verdicts.Unlock()
	if verdicts.size += len(program); verdicts.size > keptVerdicts {
		clear(verdicts.of)
		verdicts.size = len(program)
	}
	verdicts.of[string(program)] = v
	return v
}
