package txn

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"hotpatch/internal/patch"
	"hotpatch/internal/proc"
	"hotpatch/internal/ptrace"
)

// WithStep makes step see every point of a transaction at which a kill matters.
func WithStep(o Options, step func(point string)) Options {
	o.step = func(point string) error { step(point); return nil }
	return o
}

// Exchanging makes a transaction exchange a page where it can, also in a process
// that it would rather stop, as all those are whose threads sleep.
func Exchanging(o Options) Options {
	o.few = -1
	return o
}

// Apart is Exchanging with a loan for each call, as in a process whose threads run.
func Apart(o Options) Options {
	o.apart = true
	return Exchanging(o)
}

// WithFail makes each point fail where fail says so.
func WithFail(o Options, fail func(point string) error) Options {
	o.step = fail
	return o
}

// MapRegion maps a region as load does.
func MapRegion(pid int, addr, rx, rw uint64) error {
	t, err := openTarget(pid, &Tables{})
	if err != nil {
		return err
	}
	defer t.close()
	if err := t.refresh(); err != nil {
		return err
	}
	r := &run{target: t, ctx: context.Background(), o: Options{}.filled(), deadline: time.Now().Add(time.Second)}
	defer r.loans.Close()
	return r.mapRegion(region{Addr: addr, RX: rx, RW: rw})
}

// StaleRoom finds room for a stub, has something happen to it, and borrows a
// thread as if nothing had: first in that very room, then as a transaction does,
// which finds another.
func StaleRoom(pid int, happens func(mem *ptrace.Mem, at int64), mapped bool) (there, anew error) {
	t, err := openTarget(pid, &Tables{})
	if err != nil {
		return nil, err
	}
	defer t.close()
	if err := t.refresh(); err != nil {
		return nil, err
	}
	r := &run{target: t, ctx: context.Background(), o: Options{}.filled(), deadline: time.Now().Add(time.Second)}
	defer r.loans.Close()
	room, err := r.roomOff(anyPage)
	if err != nil {
		return nil, err
	}
	if happens != nil {
		happens(t.mem, int64(room.at))
	}
	if mapped {
		r.room.in.Off += pageSize
	}
	call := []ptrace.Call{{NR: unix.SYS_GETPID}}
	for range 50 { // a busy host keeps the thread from stopping in time
		there = r.loans.Run(func(tr *ptrace.Tracer) error {
			_, err := tr.Inject(t.mem, ptrace.Injection{TID: pid, Room: room.at, Calls: call, Step: r.inRoom(r.room, r.o.step)})
			return err
		})
		if !errors.Is(there, ptrace.ErrBorrow) {
			break
		}
	}
	got, anew := r.inject(call)
	if anew == nil && (len(got) != 1 || got[0] != uint64(pid)) {
		anew = fmt.Errorf("the call returned %v", got)
	}
	return there, anew
}

// StuckLoan has a thread make a call that takes longer than a loan may, and then
// borrows a thread again.
func StuckLoan(pid int) (first, second error) {
	t, err := openTarget(pid, &Tables{})
	if err != nil {
		return err, err
	}
	defer t.close()
	if err := t.refresh(); err != nil {
		return err, err
	}
	r := &run{target: t, ctx: context.Background(), o: Options{}.filled(), deadline: time.Now().Add(8 * time.Second)}
	defer r.loans.Close()
	_, first = r.inject([]ptrace.Call{{NR: unix.SYS_POLL, Args: [6]uint64{0, 0, 4000}}})
	_, second = r.inject([]ptrace.Call{{NR: unix.SYS_GETPID}})
	return first, second
}

// TakeSpare maps a page of the process's own where an exchange would put its
// copy: behind the last journal's region.
func TakeSpare(pid int) error {
	t, err := openTarget(pid, &Tables{})
	if err != nil {
		return err
	}
	defer t.close()
	if err := t.refresh(); err != nil {
		return err
	}
	r := &run{target: t, ctx: context.Background(), o: Options{}.filled(), deadline: time.Now().Add(time.Second)}
	defer r.loans.Close()
	at := t.journals[len(t.journals)-1].Regions[0].spare()
	_, err = r.inject([]ptrace.Call{{NR: unix.SYS_MMAP, Args: [6]uint64{at, pageSize, unix.PROT_NONE, mapFlags, noFD, 0}}})
	return err
}

// TakePage unmaps the page with the entry of the last journal's first site, as
// a kernel without memory would in the middle of an exchange.
func TakePage(pid int) error {
	t, err := openTarget(pid, &Tables{})
	if err != nil {
		return err
	}
	defer t.close()
	if err := t.refresh(); err != nil {
		return err
	}
	r := &run{target: t, ctx: context.Background(), o: Options{}.filled(), deadline: time.Now().Add(time.Second)}
	defer r.loans.Close()
	page := t.journals[len(t.journals)-1].Sites[0].Addr &^ (pageSize - 1)
	r.avoid = page
	_, err = r.lend(ptrace.Call{NR: unix.SYS_MUNMAP, Args: [6]uint64{page, pageSize}}, nil)
	return errors.Join(err, r.endLoan())
}

// Place exposes the search for free address space.
func Place(maps []proc.Map, lo, hi, size uint64, avoid [][2]uint64) (uint64, error) {
	return place(maps, lo, hi, size, avoid)
}

// JournalState is what status says of a journal whose entries are all new.
func JournalState(b []byte) (State, error) {
	h, err := decodeHead(b, uint64(len(b)))
	if err != nil {
		return State{}, err
	}
	j, err := decodeBody(b[headerSize:headerSize+h.body], h, h.primary)
	if err != nil {
		return State{}, err
	}
	s, _ := j.state(allNew)
	return s, nil
}

// Listed is what Patched finds in one process.
func Listed(pid int) ([]State, error) {
	nameless, _, err := proc.NamelessCode(pid, nil)
	if err != nil || len(nameless) == 0 {
		return nil, err
	}
	_, ss, err := carried(pid, nameless)
	return ss, err
}

// DecodeJournal decodes a mapping's first bytes as findJournals does.
func DecodeJournal(b []byte) error {
	h, err := decodeHead(b, uint64(len(b)))
	if err != nil {
		return err
	}
	_, err = decodeBody(b[headerSize:headerSize+h.body], h, h.primary)
	return err
}

// SampleJournal is a valid journal of one region and one site.
func SampleJournal() []byte { return encoded(sampleJournal()) }

func sampleJournal() *journal {
	return &journal{
		Addr: 0x7f0000000000, Phase: applied, ID: "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff",
		Seq: 3, Since: time.Unix(1700000000, 0), UID: 7, User: "alice", Tool: "v1.2.3", Mode: patch.Strict, Package: "demo 1.0",
		Regions: []region{{Addr: 0x7f0000000000, Header: 4096, RX: 8192, RW: 4096, BuildID: "abcd", Fixed: "dcba", Path: "/usr/bin/demo"}},
		Sites:   []site{{Addr: 0x1000, Orig: [5]byte{1, 2, 3, 4, 5}, Old: [5]byte{1, 2, 3, 4, 5}, New: [5]byte{0xe9}, Ranges: [][2]uint64{{0x1000, 0x1040}}, Name: "main"}},
		Hooks: []hook{{
			Entry: 0x2004, Orig: []byte{0x41, 0x57, 0x41, 0x56, 0x41, 0x55}, Stub: 0x3040, Miss: 0x30b0, Copy: 0x30c0,
			Room: region{Addr: 0x2000, Header: 4096, RX: 8192, EHFrame: 0x3000, EHSize: 52, BuildID: "ef", Path: "/lib/libgcc_s.so.1"},
		}},
	}
}

func encoded(j *journal) []byte {
	body, err := j.encodeBody()
	if err != nil {
		panic(err)
	}
	b := j.header(j.Regions[0], body)
	return append(b, make([]byte, 8192-len(b))...)
}

// ImpossibleHooks are journals that no release wrote.
func ImpossibleHooks() map[string][]byte {
	out := map[string][]byte{}
	for name, spoil := range map[string]func(h *hook){
		"too few bytes":     func(h *hook) { h.Orig = h.Orig[:4] },
		"too many bytes":    func(h *hook) { h.Orig = make([]byte, maxWindow+1) },
		"header too long":   func(h *hook) { h.Room.Header = h.Room.RX + 1 },
		"unwind data, too":  func(h *hook) { h.Room.EHSize = h.Room.RX + 1 },
		"of more than 4 GB": func(h *hook) { h.Room.RX = 1<<32 + 1 },
	} {
		j := sampleJournal()
		spoil(&j.Hooks[0])
		out[name] = encoded(j)
	}
	return out
}

// Facts are what denial goes by.
type Facts struct {
	Us, It                proc.Rights
	Host                  proc.Host
	Undumpable, Elsewhere bool
	Label                 string
}

// Explain says why tracing was denied.
func (f Facts) Explain() string {
	return facts{us: f.Us, it: f.It, host: f.Host, undumpable: f.Undumpable, elsewhere: f.Elsewhere, label: f.Label}.explain()
}

// Borrowable lists the threads of a process in the order in which they would be
// borrowed.
func Borrowable(pid int) ([]int, error) {
	t, err := openTarget(pid, &Tables{})
	if err != nil {
		return nil, err
	}
	defer t.close()
	threads, err := (&run{target: t}).sleepersFirst(enough)
	var tids []int
	for _, th := range threads {
		tids = append(tids, th.tid)
	}
	return tids, err
}

// UserThreads, Idle, Delicacy, Awaits and NotDumping are what is read of threads
// before one is seized, borrowed or stopped. meanwhile is called when the files are
// open that an attempt has open then.
func UserThreads(pid int, meanwhile func()) ([]int, error) {
	tasks, err := proc.OpenTasks(pid)
	if err != nil {
		return nil, err
	}
	defer tasks.Close()
	meanwhile()
	return (&userThreads{tasks: tasks, pid: pid}).list()
}

func Idle(pid int, meanwhile func()) error {
	tasks, err := proc.OpenTasks(pid)
	if err != nil {
		return err
	}
	defer tasks.Close()
	meanwhile()
	_, _, err = idle(tasks, []int{pid})
	return err
}

func Delicacy(pid int) error {
	_, err := (&target{info: proc.Info{PID: pid}}).delicacy(pid)
	return err
}

func Awaits(pid int) error {
	_, err := awaits(pid, pid, proc.Syscall{Number: unix.SYS_OPENAT})
	return err
}

func NotDumping(pid int) error {
	return (&run{target: &target{info: proc.Info{PID: pid}}}).notDumping()
}

// KernelWorker and WorkerFlagsOf tell threads that only ever run kernel code.
func KernelWorker(pid, tid int) (bool, error) { return kernelWorker(pid, tid) }
func WorkerFlagsOf(release string) uint64     { return workerFlagsOf(release) }

// AgreeOn has the tools agree on the /proc of another process than the first, which
// not every test may look at.
func AgreeOn(pid int) (restore func()) {
	was := procOfAll
	procOfAll = func() string { return procOf(pid) }
	return func() { procOfAll = was }
}
