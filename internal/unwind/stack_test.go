package unwind_test

import (
	"errors"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"hotpatch/internal/image"
	"hotpatch/internal/testkit"
	"hotpatch/internal/unwind"
)

// Three functions: inner has pushed two words, middle one, outer is the end.
func three(t testing.TB) *unwind.Space {
	return space(t,
		fn(0x1000, 0x1100, &gcc, 0x41, 0x0e, 24),
		fn(0x1100, 0x1200, &gcc, 0x41, 0x0e, 16),
		fn(0x1200, 0x1300, &gcc, 0x07, 16))
}

func TestStackListsEveryReturnAddress(t *testing.T) {
	s := three(t)
	mem := words(0, 0, bias+0x1150, 0, bias+0x1250)
	got, err := s.Stack(unwind.Regs{rsp: stackAt, 16: bias + 0x1010}, mem)
	if want := []uint64{bias + 0x1010, bias + 0x1150, bias + 0x1250}; err != nil || !slices.Equal(got, want) {
		t.Fatalf("got %#x, %v, want %#x", got, err, want)
	}
	frames, err := s.Frames(nil, &unwind.Regs{rsp: stackAt, 16: bias + 0x1010}, mem)
	want := []unwind.Frame{
		{PC: bias + 0x1010, SP: stackAt, Exact: true},
		{PC: bias + 0x1150, SP: stackAt + 24},
		{PC: bias + 0x1250, SP: stackAt + 40},
	}
	if err != nil || !slices.Equal(frames, want) {
		t.Errorf("got %+v, %v", frames, err)
	}
}

// The call is the last instruction of middle: the return address is outer's
// first byte, and outer's rules would end the stack.
func TestReturnAddressAfterItsFunction(t *testing.T) {
	mem := words(0, 0, bias+0x1200, 0, bias+0x1250)
	frames, err := three(t).Frames(nil, &unwind.Regs{rsp: stackAt, 16: bias + 0x1010}, mem)
	if err != nil || len(frames) != 3 || frames[1].Code() != bias+0x11ff {
		t.Errorf("got %+v, %v", frames, err)
	}
}

func TestZeroReturnAddressEndsTheStack(t *testing.T) {
	got, err := three(t).Stack(unwind.Regs{rsp: stackAt, 16: bias + 0x1010}, words(0, 0, 0))
	if err != nil || len(got) != 1 {
		t.Errorf("got %#x, %v", got, err)
	}
}

// trampoline restores the registers from words: rip at rsp+0, rsp at rsp+8.
func trampoline(lo image.Addr) image.FDE {
	return fn(lo, lo+0x10, &signal,
		0x0f, 3, 0x77, 8, 0x06, // CFA = *(rsp+8)
		0x10, 16, 2, 0x77, 0, // rip at rsp+0
		0x10, rax, 2, 0x77, 16) // rax at rsp+16
}

// The interrupted function uses rax for its frame: only the trampoline knows it.
func interrupted(t testing.TB) *unwind.Space {
	return space(t,
		fn(0x1000, 0x1100, &gcc),
		trampoline(0x1100),
		fn(0x1200, 0x1300, &gcc, 0x0d, rax),
		fn(0x1300, 0x1400, &gcc, 0x07, 16))
}

func TestSignalFrameRestoresTheInterruptedPlace(t *testing.T) {
	mem := words(
		bias+0x1100,                         // the handler returns to the trampoline's first byte
		bias+0x1200, stackAt+32, stackAt+40, // interrupted at the first byte of a function
		0xdead, bias+0x1350)
	frames, err := interrupted(t).Frames(nil, &unwind.Regs{rsp: stackAt, 16: bias + 0x1000}, mem)
	want := []unwind.Frame{
		{PC: bias + 0x1000, SP: stackAt, Exact: true},
		{PC: bias + 0x1100, SP: stackAt + 8},
		{PC: bias + 0x1200, SP: stackAt + 32, Exact: true},
		{PC: bias + 0x1350, SP: stackAt + 48},
	}
	if err != nil || !slices.Equal(frames, want) {
		t.Errorf("got %+v, %v", frames, err)
	}
}

func TestSignalFrameMayLeadToALowerStack(t *testing.T) {
	// The handler runs at the upper end, the interrupted frame is below it.
	mem := words(0, bias+0x1350, 0, 0, bias+0x1100, bias+0x1200, stackAt, stackAt+8)
	frames, err := interrupted(t).Frames(nil, &unwind.Regs{rsp: stackAt + 32, 16: bias + 0x1000}, mem)
	if err != nil || len(frames) != 4 || frames[2].SP != stackAt {
		t.Errorf("got %+v, %v", frames, err)
	}
}

func TestSignalFrameThatInterruptsItselfIsBounded(t *testing.T) {
	mem := words(bias+0x1100, bias+0x1000, stackAt, 0)
	frames, err := interrupted(t).Frames(nil, &unwind.Regs{rsp: stackAt, 16: bias + 0x1000}, mem)
	if err == nil || !strings.Contains(err.Error(), "signal frames") || len(frames) > 200 {
		t.Errorf("%d frames, %v", len(frames), err)
	}
}

func TestUnwindErrors(t *testing.T) {
	jit := uint64(0x500000000000)
	for _, c := range []struct {
		name string
		regs unwind.Regs
		mem  *unwind.Window
		want string
	}{
		{"pc in no module", unwind.Regs{rsp: stackAt, 16: jit}, words(), "frame 0 at 0x500000000000: in no module"},
		{"return address in no module", unwind.Regs{rsp: stackAt, 16: bias + 0x1000}, words(jit), "frame 1 at 0x500000000000: in no module"},
		{"pc 0", unwind.Regs{rsp: stackAt}, words(), "frame 0 at 0x0: in no module"},
		{"gap in the module", unwind.Regs{rsp: stackAt, 16: bias + 0x2000}, words(), "victim+0x2000: nothing describes this code"},
		{"before the first function", unwind.Regs{rsp: stackAt, 16: bias + 0x500}, words(), "nothing describes this code"},
		{"unreadable stack", unwind.Regs{rsp: stackAt, 16: bias + 0x1000}, words(), "rip of the caller: read at 0x10000"},
		{"stack that ends early", unwind.Regs{rsp: stackAt, 16: bias + 0x1000}, words(bias+0x1150, 0), "frame 1 at 0x7f0000001150: rip of the caller: read at 0x10010"},
		{"stack pointer in the kernel", unwind.Regs{rsp: 1 << 63, 16: bias + 0x1000}, words(), "no user address"},
		{"stack pointer at the end", unwind.Regs{rsp: ^uint64(0) - 3, 16: bias + 0x1000}, words(), "no user address"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got, err := three(t).Stack(c.regs, c.mem); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %#x, %v, want an error with %q", got, err, c.want)
			}
		})
	}
	_, err := three(t).Stack(unwind.Regs{rsp: stackAt, 16: bias + 0x1000}, broken{})
	if !errors.Is(err, errBroken) {
		t.Errorf("the reader's error is lost: %v", err)
	}
}

func TestFramesMustGoUp(t *testing.T) {
	// The frame address is in rbx, which the frame does not change.
	s := space(t, fn(0x1000, 0x1100, &gcc, 0x0d, rbx))
	mem := words(bias+0x1050, bias+0x1050, bias+0x1050)
	for _, at := range []uint64{stackAt, stackAt + 8} {
		got, err := s.Stack(unwind.Regs{rbx: at, rsp: stackAt + 8, 16: bias + 0x1000}, mem)
		if err == nil || !strings.Contains(err.Error(), "is not above") {
			t.Errorf("frame address %#x: got %#x, %v", at+8, got, err)
		}
	}
	// A popped return address must not make a loop either.
	s = space(t, fn(0x1000, 0x1100, &gcc, 0x0e, 0, 0x09, 16, rbx))
	got, err := s.Stack(unwind.Regs{rbx: bias + 0x1050, rsp: stackAt, 16: bias + 0x1000}, mem)
	if err == nil || len(got) > 10_001 {
		t.Errorf("got %d addresses, %v", len(got), err)
	}
}

func TestDeepRecursionIsBounded(t *testing.T) {
	ws := make([]uint64, 12_000)
	for i := range ws {
		ws[i] = bias + 0x1000
	}
	got, err := space(t, fn(0xf00, 0x1100, &gcc)).Stack(unwind.Regs{rsp: stackAt, 16: bias + 0x1000}, words(ws...))
	if err == nil || !strings.Contains(err.Error(), "more than 10000 frames") || len(got) != 10_000 {
		t.Errorf("%d addresses, %v", len(got), err)
	}
	ws[9_990] = 0
	if got, err := space(t, fn(0xf00, 0x1100, &gcc)).Stack(unwind.Regs{rsp: stackAt, 16: bias + 0x1000}, words(ws...)); err != nil || len(got) != 9_991 {
		t.Errorf("%d addresses, %v", len(got), err)
	}
}

func TestExpressionsOfAWholeStackAreBounded(t *testing.T) {
	// 47 times: one more, one less.
	work := []byte{0x0f, 0xbe, 1, 0x77, 8}
	work = append(work, slices.Repeat([]byte{0x23, 1, 0x31, 0x1c}, 47)...)
	ws := make([]uint64, 12_000)
	for i := range ws {
		ws[i] = bias + 0x1000
	}
	got, err := space(t, fn(0xf00, 0x1100, &gcc, work...)).Stack(unwind.Regs{rsp: stackAt, 16: bias + 0x1000}, words(ws...))
	if err == nil || !strings.Contains(err.Error(), "more than 100000 steps on one stack") {
		t.Errorf("%d addresses, %v", len(got), err)
	}
}

// A frame address in a register that the callee may have changed is a guess.
func TestClobberedRegistersAreNotTrusted(t *testing.T) {
	s := space(t, fn(0x1000, 0x1100, &gcc), fn(0x1100, 0x1200, &gcc, 0x0d, r10))
	got, err := s.Stack(unwind.Regs{r10: stackAt + 16, rsp: stackAt, 16: bias + 0x1000}, words(bias+0x1150, 0, 0, 0))
	if err == nil || !strings.Contains(err.Error(), "frame 1") || !strings.Contains(err.Error(), "r10 is not known here") {
		t.Errorf("got %#x, %v", got, err)
	}
	// In the innermost frame it is known: the prologue of a function that
	// realigns its stack.
	if _, _, err := unwind.Step(s, unwind.Regs{r10: stackAt + 8, rsp: stackAt, 16: bias + 0x1150}, plain()); err != nil {
		t.Error(err)
	}
}

func TestNewSpaceRefusesWhatCannotBe(t *testing.T) {
	table := func(f ...image.FDE) *unwind.Table { return &unwind.Table{FDEs: f} }
	for _, c := range []struct {
		want string
		ms   []unwind.Module
	}{
		{"modules a and b overlap at 0x1800", []unwind.Module{{Name: "b", Lo: 0x1800, Hi: 0x3000}, {Name: "a", Lo: 0x1000, Hi: 0x2000}}},
		{"module a: empty range", []unwind.Module{{Name: "a", Lo: 0x1000, Hi: 0x1000}}},
		{"unwind data of a: FDE 0 at 0x1000: no CIE", []unwind.Module{{Name: "a", Lo: 0x1000, Hi: 0x2000, Table: table(fn(0x1000, 0x1100, nil))}}},
		{"FDE 0 at 0x1000: it ends at 0x1000", []unwind.Module{{Name: "a", Lo: 0x1000, Hi: 0x2000, Table: table(fn(0x1000, 0x1000, &gcc))}}},
		{"FDE 1 at 0x1080: the one before it ends at 0x1100", []unwind.Module{{Name: "a", Lo: 0x1000, Hi: 0x2000, Table: table(fn(0x1000, 0x1100, &gcc), fn(0x1080, 0x1200, &gcc))}}},
		{"more than 4 GiB", []unwind.Module{{Name: "a", Lo: 0x1000, Hi: 0x2000, Table: table(fn(0x1000, 1<<40, &gcc))}}},
	} {
		if _, err := unwind.NewSpace(c.ms); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("got %v, want %q", err, c.want)
		}
	}
}

func TestFindKnowsTheEdges(t *testing.T) {
	s, err := unwind.NewSpace([]unwind.Module{{Name: "b", Lo: 0x2000, Hi: 0x3000}, {Name: "a", Lo: 0x1000, Hi: 0x2000}})
	if err != nil {
		t.Fatal(err)
	}
	for pc, want := range map[uint64]string{0xfff: "", 0x1000: "a", 0x1fff: "a", 0x2000: "b", 0x2fff: "b", 0x3000: ""} {
		if m, ok := s.Find(pc); m.Name != want || ok != (want != "") {
			t.Errorf("%#x: got %q", pc, m.Name)
		}
	}
	if _, err := s.Stack(unwind.Regs{16: 0x1000}, words()); err == nil || !strings.Contains(err.Error(), "a: no unwind data") {
		t.Errorf("without a table: %v", err)
	}
}

func TestFramesAllocatesNothing(t *testing.T) {
	s := three(t)
	mem := words(0, 0, bias+0x1150, 0, bias+0x1250)
	regs := unwind.Regs{rsp: stackAt, 16: bias + 0x1010}
	frames := make([]unwind.Frame, 0, 16)
	if n := testing.AllocsPerRun(100, func() {
		var err error
		if frames, err = s.Frames(frames[:0], &regs, mem); err != nil {
			t.Fatal(err)
		}
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestScan(t *testing.T) {
	ranges := []unwind.Range{{0x1000, 0x1100}, {0x2000, 0x2100}, {0x2100, 0x2200}}
	for _, c := range []struct {
		word uint64
		hit  bool
	}{
		{0, false}, {0xfff, false}, {0x1000, true}, {0x10ff, true}, {0x1100, true}, {0x1101, false},
		{0x1fff, false}, {0x2000, true}, {0x2100, true}, {0x2200, true}, {0x2201, false}, {1<<64 - 1, false},
	} {
		mem := words(1, 2, c.word, 3)
		hit, at := unwind.Scan(mem.Bytes, stackAt, ranges)
		if hit != c.hit || hit && at != stackAt+16 {
			t.Errorf("%#x: got %v at %#x", c.word, hit, at)
		}
		// A stack pointer that is not aligned, and half a word at the end.
		hit, at = unwind.Scan(mem.Bytes[3:30], stackAt+3, ranges)
		if hit != c.hit || hit && at != stackAt+16 {
			t.Errorf("%#x, not aligned: got %v at %#x", c.word, hit, at)
		}
	}
	if hit, _ := unwind.Scan(words(0x1000).Bytes, stackAt, nil); hit {
		t.Error("hit without ranges")
	}
	if hit, _ := unwind.Scan(words(0x1000).Bytes[:7], stackAt, ranges); hit {
		t.Error("hit in 7 bytes")
	}
	if hit, _ := unwind.Scan([]byte{1}, stackAt+1, ranges); hit {
		t.Error("hit in 1 byte")
	}
}

func TestTrampolinesAreFoundByTheirSystemCall(t *testing.T) {
	code := make([]byte, 200)
	copy(code[40:], []byte{0xb8, 0x0f, 0, 0, 0, 0x0f, 0x05})              // mov $15,%eax; syscall
	copy(code[100:], []byte{0x48, 0xc7, 0xc0, 0x0f, 0, 0, 0, 0x0f, 0x05}) // mov $15,%rax; syscall
	copy(code[150:], []byte{0xb9, 0x0f, 0, 0, 0, 0x0f, 0x05})             // mov $15,%ecx; syscall
	copy(code[180:], []byte{0xb8, 0x10, 0, 0, 0, 0x0f, 0x05})             // mov $16,%eax; syscall
	got := unwind.Trampolines(code, 0x1000)
	if len(got) != 2 || got[0].Lo > 0x1000+40 || got[0].Hi != 0x1000+47 || got[1].Lo > 0x1000+100 || got[1].Hi != 0x1000+109 {
		t.Errorf("got %#x", got)
	}
	if got := unwind.Trampolines(code[194:], 0); got != nil {
		t.Errorf("got %#x", got)
	}
}

// Unwind data and instructions agree on where the C library's trampoline is.
func TestTrampolineOfTheCLibrary(t *testing.T) {
	out, err := exec.Command(testkit.Tool(t, "gcc"), "-print-file-name=libc.so.6").Output()
	if err != nil {
		t.Fatal(err)
	}
	im, err := image.Open(strings.TrimSpace(string(out)))
	if err != nil {
		t.Fatal(err)
	}
	table, err := unwind.NewTable(im)
	if err != nil {
		t.Fatal(err)
	}
	var found []unwind.Range
	for _, s := range im.Sections {
		if s.Class == image.Text {
			found = append(found, unwind.Trampolines(s.Data, uint64(s.Addr))...)
		}
	}
	n := 0
	for _, f := range table.FDEs {
		if f.CIE.SignalFrame {
			n++
			// The unwind data begins one byte early.
			if entry := uint64(f.Lo) + 1; !slices.ContainsFunc(found, func(r unwind.Range) bool { return r.Lo <= entry && entry < r.Hi }) {
				t.Errorf("%#x is not in %#x", entry, found)
			}
		}
	}
	if n == 0 {
		t.Error("no signal frame in the unwind data")
	}
}

func TestWindowReadsItsPieceAndElse(t *testing.T) {
	mem := words(1, 2)
	b := make([]byte, 8)
	if n, err := mem.ReadAt(b, stackAt+8); n != 8 || err != nil || b[0] != 2 {
		t.Errorf("got %d, %v, %v", n, err, b)
	}
	for _, at := range []int64{stackAt - 1, stackAt + 9, stackAt + 16, 0, -8} {
		if n, err := mem.ReadAt(b, at); n != 0 || err == nil {
			t.Errorf("%#x: got %d, %v", at, n, err)
		}
	}
	mem.Else = broken{}
	if _, err := mem.ReadAt(b, stackAt+9); !errors.Is(err, errBroken) {
		t.Errorf("got %v", err)
	}
}
