package unwind_test

import (
	"bytes"
	"debug/elf"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"hotpatch/internal/image"
	"hotpatch/internal/testkit"
	"hotpatch/internal/unwind"
)

func compile(t testing.TB, flags ...string) string {
	t.Helper()
	return testkit.Compile(t, filepath.Join(t.TempDir(), "stack"), append([]string{"-O2", "-fomit-frame-pointer", "testdata/stack.c", "-pthread"}, flags...)...)
}

// victim stands still at a place it has told.
type victim struct {
	space *unwind.Space
	mem   *os.File
	regs  unwind.Regs
	truth []uint64 // libgcc's list
	file  string
	bias  uint64
}

func start(t testing.TB, file, mode string) victim {
	t.Helper()
	c := exec.Command(file, mode)
	_, out := testkit.Start(t, c)
	v := victim{file: file}
	for {
		line, err := out.ReadString('\n')
		if err != nil {
			t.Fatalf("victim did not get ready: %v", err)
		}
		f := strings.Fields(line)
		switch f[0] {
		case "regs":
			copy(v.regs[:], hex(t, f[1:]))
		case "bt":
			v.truth = hex(t, f[1:])
		}
		if f[0] == "ready" {
			break
		}
	}
	var err error
	if v.mem, err = os.Open(fmt.Sprintf("/proc/%d/mem", c.Process.Pid)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { v.mem.Close() })
	v.load(t, c.Process.Pid)
	return v
}

func hex(t testing.TB, words []string) (out []uint64) {
	t.Helper()
	for _, w := range words {
		v, err := strconv.ParseUint(w, 16, 64)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, v)
	}
	return out
}

// load makes the space of the process from its maps.
func (v *victim) load(t testing.TB, pid int) {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		t.Fatal(err)
	}
	first := map[string]uint64{}
	var ms []unwind.Module
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) < 6 || f[5][0] != '/' && f[5] != "[vdso]" {
			continue
		}
		at := strings.Split(f[0], "-")
		span := hex(t, at)
		if _, ok := first[f[5]]; !ok {
			first[f[5]] = span[0]
		}
		if f[1][2] != 'x' {
			continue
		}
		im := v.image(t, f[5], span)
		m := unwind.Module{Name: filepath.Base(f[5]), Lo: span[0], Hi: span[1], Bias: first[f[5]] - uint64(im.Loads[0].Addr)&^4095}
		if m.Table, err = unwind.NewTable(im); err != nil {
			t.Fatal(err)
		}
		if f[5] == v.file {
			v.bias = m.Bias
		}
		ms = append(ms, m)
	}
	if v.space, err = unwind.NewSpace(ms); err != nil {
		t.Fatal(err)
	}
}

func (v *victim) image(t testing.TB, path string, span []uint64) *image.Image {
	t.Helper()
	if path != "[vdso]" {
		im, err := image.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		return im
	}
	b := make([]byte, span[1]-span[0])
	if _, err := v.mem.ReadAt(b, int64(span[0])); err != nil {
		t.Fatal(err)
	}
	im, err := image.Read(bytes.NewReader(b), int64(len(b)), path)
	if err != nil {
		t.Fatal(err)
	}
	return im
}

// names are the victim's own functions on the stack, runs of one as one.
func (v *victim) names(t testing.TB, frames []unwind.Frame) (out []string) {
	t.Helper()
	f, err := elf.Open(v.file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	syms, err := f.Symbols()
	if err != nil {
		t.Fatal(err)
	}
	for _, fr := range frames {
		for _, s := range syms {
			if a := fr.Code() - v.bias; elf.ST_TYPE(s.Info) == elf.STT_FUNC && s.Value <= a && a < s.Value+s.Size {
				if len(out) == 0 || out[len(out)-1] != s.Name {
					out = append(out, s.Name)
				}
			}
		}
	}
	return out
}

func TestLiveStacks(t *testing.T) {
	builds := map[string][]string{
		"pie":            nil,
		"static":         {"-static"},
		"not pie, lazy":  {"-no-pie", "-Wl,-z,lazy"},
		"frame pointers": {"-fno-omit-frame-pointer"},
		"O0":             {"-O0"},
		"Os":             {"-Os"},
	}
	for name, flags := range builds {
		t.Run(name, func(t *testing.T) {
			file := compile(t, flags...)
			for mode, want := range map[string]string{
				"plain":     "here busy main _start",
				"deep":      "here busy main _start",
				"alloca":    "here busy with_alloca main _start",
				"realigned": "here busy with_alloca realigned main _start",
				"signal":    "here busy handler main _start",
				"altstack":  "here busy handler main _start",
				"fault":     "here busy handler leaf_fault main _start",
				"altfault":  "here busy handler leaf_fault main _start",
				"noreturn":  "here busy never ends_in_a_call main _start",
				"thread":    "here busy with_alloca realigned thread",
				"qsort":     "here busy compare main _start",
			} {
				t.Run(mode, func(t *testing.T) { testStack(t, file, mode, want) })
			}
		})
	}
}

// testStack compares a victim's stack with what its source says, and with what
// libgcc's unwinder found in the process itself.
func testStack(t *testing.T, file, mode, want string) {
	v := start(t, file, mode)
	frames, err := v.space.Frames(nil, &v.regs, v.mem)
	if err != nil {
		t.Fatalf("after %d frames: %v", len(frames), err)
	}
	got := v.names(t, frames)
	// A static binary has the whole of libc as its own functions.
	for _, w := range strings.Fields(want) {
		i := slices.Index(got, w)
		if i < 0 {
			t.Fatalf("%s is not on the stack, or not in order: %v, want %s", w, v.names(t, frames), want)
		}
		got = got[i+1:]
	}
	if len(v.truth) < 2 {
		t.Fatalf("libgcc found %#x", v.truth)
	}
	var pcs []uint64
	for _, f := range frames[1:] {
		pcs = append(pcs, f.PC)
	}
	if !slices.Equal(pcs, v.truth[1:]) {
		t.Errorf("got %#x\nlibgcc %#x", pcs, v.truth[1:])
	}
}

// PLT stubs have one expression for both sides of their push.
func TestPLTStubs(t *testing.T) {
	file := compile(t, "-no-pie", "-Wl,-z,lazy")
	v := start(t, file, "plain")
	f, err := elf.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	plt := f.Section(".plt")
	if plt == nil || plt.Size < 48 {
		t.Skip("needs a linker that makes a .plt")
	}
	// Into main, which is not looked at any more: one step is enough.
	const ra = 0x1234
	for _, c := range []struct {
		at    uint64
		words []uint64
	}{
		{0, []uint64{7, 1, ra}},    // PLT0: number and link map are on the stack
		{6, []uint64{7, 1, ra}},    // PLT0, after its push
		{16, []uint64{ra}},         // first stub
		{16 + 6, []uint64{ra}},     // before its push
		{16 + 11, []uint64{7, ra}}, // after it
		{32, []uint64{ra}},
		{32 + 11, []uint64{7, ra}},
	} {
		if c.at == 0 {
			c.words = c.words[1:]
		}
		got, _, err := unwind.Step(v.space, unwind.Regs{rsp: stackAt, 16: plt.Addr + c.at}, words(c.words...))
		if err != nil || got[16] != ra || got[rsp] != stackAt+8*uint64(len(c.words)) {
			t.Errorf("at .plt+%d: return address %#x, rsp %#x, %v", c.at, got[16], got[rsp], err)
		}
	}
}

// Every row of a program and of its C library is what binutils makes of it.
func TestRowsAgreeWithReadelf(t *testing.T) {
	readelf := testkit.Tool(t, "readelf")
	libc, err := exec.Command(testkit.Tool(t, "gcc"), "-print-file-name=libc.so.6").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{compile(t), compile(t, "-static"), strings.TrimSpace(string(libc))} {
		im, err := image.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		table, err := unwind.NewTable(im)
		if err != nil {
			t.Fatal(err)
		}
		// It says 1 where something else in the file is odd to it.
		out, err := exec.Command(readelf, "--wide", "--debug-dump=frames-interp", file).Output()
		if err != nil && len(out) == 0 {
			t.Fatal(err)
		}
		rows := table.Rows()
		starts := slices.Sorted(maps.Keys(rows))
		n, wrong := 0, 0
		for addr, want := range readelfRows(t, string(out)) {
			n++
			// Where a row repeats the one before it, that one goes on.
			i, ok := slices.BinarySearch(starts, addr)
			if !ok {
				i--
			}
			got := rows[starts[max(i, 0)]]
			if d := differ(got, want); d != "" {
				if wrong++; wrong < 10 {
					t.Errorf("%s %#x: %s: got %v, readelf says %v", filepath.Base(file), addr, d, got, want)
				}
			}
		}
		if n < 50 || len(rows) < n/2 {
			t.Errorf("%s: %d rows, readelf has %d", file, len(rows), n)
		}
	}
}

// differ names the first column that is not the same.
func differ(got, want map[string]string) string {
	if got["ra"] == "u" && want["ra"] == "u" {
		return "" // the end: nothing else is kept
	}
	for col, w := range want {
		if g := got[col]; g != w && !(g == "" && w == "u") && !strings.HasPrefix(col, "xmm") {
			return col
		}
	}
	return ""
}

// readelfRows reads the tables: a line of names and lines of rules per entry.
func readelfRows(t testing.TB, text string) map[uint64]map[string]string {
	t.Helper()
	out := map[uint64]map[string]string{}
	var cols []string
	fde := false
	registers := regexp.MustCompile(`r\d+ \((\w+)\)`) // "r3 (rbx)"
	for line := range strings.Lines(text) {
		f := strings.Fields(registers.ReplaceAllString(line, "$1"))
		switch {
		case len(f) > 3 && (f[3] == "CIE" || f[3] == "FDE"):
			fde, cols = f[3] == "FDE", nil
		case len(f) > 1 && f[0] == "LOC":
			cols = f[1:]
		case fde && cols != nil && len(f) == len(cols)+1:
			addr := hex(t, f[:1])[0]
			row := map[string]string{}
			for i, c := range cols {
				row[c] = f[i+1]
			}
			if _, ok := out[addr]; !ok { // of overlapping entries the first
				out[addr] = row
			}
		}
	}
	return out
}

func BenchmarkFrames(b *testing.B) {
	v := start(b, compile(b), "deep")
	stack := &unwind.Window{Base: v.regs[rsp], Bytes: make([]byte, 0, 1<<20)}
	// Up to where the stack ends.
	for p := make([]byte, 4096); ; {
		n, err := v.mem.ReadAt(p, int64(stack.Base)+int64(len(stack.Bytes)))
		stack.Bytes = append(stack.Bytes, p[:n]...)
		if err != nil {
			break
		}
	}
	for _, c := range []struct {
		name string
		mem  interface {
			ReadAt([]byte, int64) (int, error)
		}
	}{{"window", stack}, {"proc mem", v.mem}} {
		b.Run(c.name, func(b *testing.B) {
			var frames []unwind.Frame
			var err error
			b.ReportAllocs()
			for b.Loop() {
				if frames, err = v.space.Frames(frames[:0], &v.regs, c.mem); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(frames)), "ns/frame")
		})
	}
	b.Run("scan", func(b *testing.B) {
		ranges := []unwind.Range{{1 << 40, 1<<40 + 64}, {1 << 41, 1<<41 + 64}}
		b.SetBytes(int64(len(stack.Bytes)))
		for b.Loop() {
			if hit, _ := unwind.Scan(stack.Bytes, stack.Base, ranges); hit {
				b.Fatal("hit")
			}
		}
	})
}

func BenchmarkTable(b *testing.B) {
	out, err := exec.Command(testkit.Tool(b, "gcc"), "-print-file-name=libc.so.6").Output()
	if err != nil {
		b.Fatal(err)
	}
	im, err := image.Open(strings.TrimSpace(string(out)))
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := unwind.NewTable(im); err != nil {
			b.Fatal(err)
		}
	}
}
