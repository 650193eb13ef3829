package txn

import (
	"errors"
	"maps"
	"sync"

	"hotpatch/internal/proc"
)

// Threads of a process that only ever run kernel code: those of io_uring, and of
// vhost. They are told by the kernel's flags; their names are anybody's to choose.
// Such a thread is neither traced nor stopped. It cannot be in code that changes,
// and what it does for the process would end with an error that nobody expects
// (-ERESTARTSYS), since it has no way back to user code on which the kernel could
// restart it. It starts no thread that would be traced, and may start or end at
// any time.

// kernelWorker says whether a thread of the process only ever runs kernel code. One
// that is gone runs none.
func kernelWorker(pid, tid int) (bool, error) {
	s, err := proc.ReadStat(pid, tid)
	if errors.Is(err, proc.ErrGone) {
		return false, nil
	}
	return err == nil && ofKernel(s), err
}

// surelyWorker is kernelWorker where a thread that may be none is to be reckoned with.
func surelyWorker(pid, tid int) bool {
	is, err := kernelWorker(pid, tid)
	return err == nil && is
}

func ofKernel(s proc.Stat) bool { return s.Flags&workerFlags() != 0 }

// workerFlags are the flags of such threads in stat. Before Linux 5.12 they were
// no threads of the process, and 0x10 was PF_VCPU, which is set while a thread
// runs a virtual machine; before 6.4 0x4000 was PF_USED_ASYNC, which many a thread
// may have.
var workerFlags = sync.OnceValue(func() uint64 { return workerFlagsOf(kernelRelease()) })

func workerFlagsOf(release string) uint64 {
	const ioWorker, userWorker = 0x10, 0x4000 // PF_IO_WORKER, PF_USER_WORKER
	switch {
	case !since(release, 5, 12):
		return 0
	case !since(release, 6, 4):
		return ioWorker
	}
	return ioWorker | userWorker
}

// callsAreFree: nobody waits who reads what call a thread is in. Before Linux 5.7 he
// waits for a process that starts another program, which may wait for the end of
// threads that we trace.
var callsAreFree = sync.OnceValue(func() bool { return kernelSince(5, 7) })

// userThreads lists the threads of a process that may run its code. Each is looked
// at once, since its flags do not change: a listing of threads that were seen
// before takes no longer for it.
type userThreads struct {
	tasks *proc.Tasks
	pid   int
	seen  map[int]bool // whether it is of the kernel
	// delicate are those that were better not interrupted when they were first seen.
	delicate []int
}

func (u *userThreads) list() ([]int, error) {
	tids, err := u.tasks.List(nil)
	if err != nil {
		return nil, err
	}
	if u.seen == nil {
		u.seen = make(map[int]bool, len(tids))
	}
	users := tids[:0]
	for _, tid := range tids {
		worker, seen := u.seen[tid]
		if !seen {
			if worker, err = u.look(tid); err != nil {
				return nil, err
			}
			u.seen[tid] = worker
		}
		if !worker {
			users = append(users, tid)
		}
	}
	return users, nil
}

// look says whether a thread only ever runs kernel code. One that sleeps and has a
// stack is the program's.
func (u *userThreads) look(tid int) (worker bool, err error) {
	if !callsAreFree() {
		return kernelWorker(u.pid, tid)
	}
	s, err := u.tasks.Syscall(tid)
	if err != nil && !noCallSeen(err) {
		return false, err
	}
	if err != nil || s.Running || s.SP == 0 {
		return kernelWorker(u.pid, tid)
	}
	d, err := awaits(u.pid, tid, s)
	if err != nil {
		return false, err
	}
	if transfers(s) || d != none {
		u.delicate = append(u.delicate, tid)
	}
	return false, nil
}

// allTraced is told when all threads in the list are traced. Until then a worker
// may have ended and left its number to somebody else; from now on whoever gets it
// is born of a traced thread, or of the kernel.
func (u *userThreads) allTraced() {
	maps.DeleteFunc(u.seen, func(_ int, worker bool) bool { return worker })
}

// workers are the threads that the last listing left out.
func (u *userThreads) workers() (tids []int) {
	for tid, worker := range u.seen {
		if worker {
			tids = append(tids, tid)
		}
	}
	return tids
}
