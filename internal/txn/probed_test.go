package txn_test

import (
	"context"
	"os"
	"runtime"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"hotpatch/internal/patch"
	"hotpatch/internal/proc"
	"hotpatch/internal/testkit"
	"hotpatch/internal/txn"
)

// TestTracedReturnsHideNobody: a uretprobe takes a return address off the stack
// and keeps it in the kernel. What waits behind it is found nonetheless.
func TestTracedReturnsHideNobody(t *testing.T) {
	needRoot(t)
	base, fixed := compile(t, "finishes")
	b := independent(t, byHand(t, base, fixed, "fixed_function"))

	v := start(t, base)
	probeReturn(t, v, base, "wait_here")
	v.want("h", "held")
	for _, mode := range []patch.Mode{patch.Strict, ""} { // the probe keeps the page from being exchanged
		r := txn.Apply(context.Background(), v.pid, b, txn.Options{Wait: 300 * time.Millisecond, Consistency: mode})
		if r.Outcome != txn.Busy {
			t.Errorf("%q: %+v", mode, r)
		}
	}
	v.want("g", "43")
	apply(t, v, b, txn.Applied)
	v.want("q", "1001")
	v.running()
}

// probeReturn sets a uretprobe for the time of the test: perf_event_open(2) with
// the event source uprobe.
func probeReturn(t *testing.T, v *victim, path, name string) {
	t.Helper()
	source, err := os.ReadFile("/sys/bus/event_source/devices/uprobe/type")
	if err != nil {
		testkit.Skip(t, "no uprobes here: "+err.Error())
	}
	modules, err := proc.Modules(v.pid)
	if err != nil {
		t.Fatal(err)
	}
	at := modules[0].Bias + uint64(function(t, openImage(t, path), name).Lo)
	m, ok := proc.Find(modules[0].Maps, at)
	if !ok {
		t.Fatalf("%s is not mapped", name)
	}
	const returns = 1
	file := append([]byte(path), 0)
	attr := unix.PerfEventAttr{
		Type: uint32(number(t, string(source[:len(source)-1]))), Config: returns, Size: uint32(unsafe.Sizeof(unix.PerfEventAttr{})),
		Ext1: uint64(uintptr(unsafe.Pointer(&file[0]))), Ext2: m.Off + at - m.Start,
	}
	for cpu := range runtime.NumCPU() {
		fd, err := unix.PerfEventOpen(&attr, -1, cpu, -1, unix.PERF_FLAG_FD_CLOEXEC)
		if err != nil {
			testkit.Skip(t, "no uprobe can be set: "+err.Error())
		}
		t.Cleanup(func() { unix.Close(fd) })
	}
	runtime.KeepAlive(file)
}
