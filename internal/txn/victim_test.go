package txn_test

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"hotpatch/internal/arch"
	"hotpatch/internal/image"
	"hotpatch/internal/patch"
	"hotpatch/internal/testkit"
)

// compile builds a victim twice, as it is and with -DFIXED.
func compile(t testing.TB, name string, flags ...string) (base, fixed string) {
	t.Helper()
	return compileAs(t, name, name, flags...), compileAs(t, name, name+".fixed", append([]string{"-DFIXED"}, flags...)...)
}

// compileAs builds a victim once, under a name of its own.
func compileAs(t testing.TB, name, out string, flags ...string) string {
	t.Helper()
	if _, err := exec.LookPath("gcc"); err != nil {
		testkit.Skip(t, "gcc is missing")
	}
	return compileWith(t, "gcc", name, out, flags...)
}

// compileWith is compileAs with another compiler.
func compileWith(t testing.TB, cc, name, out string, flags ...string) string {
	t.Helper()
	kept := filepath.Join(victims.dir(t), strings.Join(append([]string{filepath.Base(cc), name, out}, flags...), " "))
	victims.Lock()
	defer victims.Unlock()
	if _, err := os.Stat(kept); err != nil && !victims.bring(kept) {
		source := filepath.Join("testdata", "victims", name)
		if filepath.Ext(name) == "" {
			source += ".c"
		}
		args := append([]string{"-O2", "-Wall", "-Wno-return-type", "-pthread", "-o", kept, source}, flags...)
		if b, err := exec.Command(cc, args...).CombinedOutput(); err != nil {
			t.Fatalf("compile %s: %v\n%s", name, err, b)
		}
		victims.leave(kept)
	}
	path := filepath.Join(t.TempDir(), out)
	if err := os.Link(kept, path); err != nil {
		t.Fatal(err)
	}
	return path
}

// victims are compiled once in a run of the tests.
var victims compiled

type compiled struct {
	sync.Mutex
	once sync.Once
	path string
	err  error
}

func (c *compiled) dir(t testing.TB) string {
	t.Helper()
	c.once.Do(func() { c.path, c.err = os.MkdirTemp("", "hotpatch-victims-") })
	if c.err != nil {
		t.Fatal(c.err)
	}
	return c.path
}

// Where the tests run again and again, one run leaves its victims to the next, in the
// directory that this names. What differs in them by the clock does not matter.
const victimsVariable = "HOTPATCH_TEST_VICTIMS"

func (c *compiled) bring(path string) bool {
	dir := os.Getenv(victimsVariable)
	return dir != "" && copyFile(filepath.Join(dir, filepath.Base(path)), path) == nil
}

func (c *compiled) leave(path string) {
	if dir := os.Getenv(victimsVariable); dir != "" {
		_ = copyFile(path, filepath.Join(dir, filepath.Base(path))) // the next run compiles it, too, then
	}
}

// copyFile makes to a file of its own, or leaves it alone. This process never has it
// open to write: one that it starts in that moment would, too, and nobody could
// execute the file.
func copyFile(from, to string) error {
	part := fmt.Sprintf("%s.%d", to, os.Getpid())
	if err := exec.Command("cp", from, part).Run(); err != nil {
		return err
	}
	return os.Rename(part, to)
}

// accepted takes a bundle that was changed after it was built.
func accepted(t testing.TB, b *patch.Bundle) *patch.Bundle {
	t.Helper()
	if b.Accepted = nil; b.Manifest.Verdict != patch.Review {
		return b
	}
	if err := b.Accept("test", "a test", time.Unix(0, 0)); err != nil {
		t.Fatal(err)
	}
	return b
}

// byHand makes a bundle that replaces functions without references of their
// own: no builder is needed, so a failure here is the engine's.
func byHand(t testing.TB, base, fixed string, names ...string) *patch.Bundle {
	t.Helper()
	b, f := openImage(t, base), openImage(t, fixed)
	o := &patch.Object{BaseBuildID: string(b.BuildID)}
	img := patch.Image{
		Path: filepath.Base(base), BuildIDBase: string(b.BuildID), BuildIDFixed: string(f.BuildID),
		Counts: patch.Counts{Same: len(b.Funcs) - len(names), Changed: len(names)},
	}
	o.Lo = ^uint64(0)
	for _, n := range names {
		was, is := function(t, b, n), function(t, f, n)
		code := f.Bytes(is.Lo, int(is.Hi-is.Lo))
		o.Chunks = append(o.Chunks, patch.Chunk{Kind: patch.Code, Addr: uint64(is.Lo), Data: code})
		o.Symbols = append(o.Symbols, patch.Symbol{Name: n, Value: uint64(is.Lo), Size: uint64(len(code)), Func: true})
		o.Lo = min(o.Lo, uint64(is.Lo)&^4095)
		o.Hi = max(o.Hi, (uint64(is.Hi)+4095)&^4095)
		old := b.Bytes(was.Lo, int(was.Hi-was.Lo))
		sum := sha256.Sum256(old)
		jump := arch.EntryOffset(old)
		img.Sites = append(img.Sites, patch.Site{
			Name: n, Base: uint64(was.Lo), Jump: uint64(jump), To: uint64(is.Lo),
			Ranges:   [][2]uint64{{uint64(was.Lo), uint64(was.Lo) + uint64(len(old))}},
			PreImage: hex.EncodeToString(sum[:]), Old: hex.EncodeToString(old[jump : jump+5]),
		})
		img.Functions = append(img.Functions, patch.Function{
			Name: n, State: "changed", BaseAddr: uint64(was.Lo), FixedAddr: uint64(is.Lo), Size: uint64(len(code)), Why: "by hand",
		})
	}
	o.RWEnd = o.Hi
	return &patch.Bundle{
		Manifest: patch.Manifest{
			Format: 1, Arch: "amd64", Verdict: patch.Clean, Mode: patch.Strict,
			CVEs: []string{}, Reasons: []patch.Reason{}, Images: []patch.Image{img},
		},
		Objects: []*patch.Object{o},
	}
}

func openImage(t testing.TB, path string) *image.Image {
	t.Helper()
	m, err := image.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func function(t testing.TB, m *image.Image, name string) *image.Func {
	t.Helper()
	for _, f := range m.Funcs {
		for _, n := range f.Names {
			if n == name {
				return f
			}
		}
	}
	t.Fatalf("%s has no function %s", m.Path, name)
	return nil
}

// victim is a running process that answers questions. It is not a child of the
// test: a parent's own wait would take the stops that the tracer waits for.
type victim struct {
	t   testing.TB
	pid int
	fd  int // stands for the process, whatever becomes of its number
	in  io.Writer
	out *bufio.Reader

	pipe os.FileInfo // behind out
}

// start starts a victim and waits until it is ready.
func start(t testing.TB, path string, args ...string) *victim {
	t.Helper()
	v, pid := launch(t, path, args...)
	v.is(pid)
	return v
}

// launch starts a victim and waits until it is ready. pid is what it believes to
// be its own.
func launch(t testing.TB, path string, args ...string) (v *victim, pid int) {
	t.Helper()
	cmd := exec.Command("setsid", append([]string{"--fork", path}, args...)...)
	stdin, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	out, stdout, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	pipe, err := out.Stat()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, stdout, os.Stderr
	err = cmd.Run() // setsid forks and ends
	stdin.Close()
	stdout.Close()
	if err != nil {
		t.Fatal(err)
	}
	v = &victim{t: t, in: in, out: bufio.NewReader(out), pipe: pipe}
	t.Cleanup(func() { in.Close(); out.Close() })
	ready := v.line()
	if ready == "unsupported" {
		testkit.Skip(t, "the kernel does not know what this victim needs")
	}
	if _, err := fmt.Sscanf(ready, "ready %d", &pid); err != nil {
		t.Fatalf("victim says %q", ready)
	}
	return v, pid
}

// is says which process the victim is. It ends with the test.
func (v *victim) is(pid int) {
	v.t.Helper()
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		v.t.Fatalf("victim %d: %v", pid, err)
	}
	v.pid, v.fd = pid, fd
	v.t.Cleanup(func() { v.kill(); unix.Close(fd) })
}

// kill ends the victim and waits until it has ended. One that has already may
// have left its number to somebody else: on a busy host the numbers go round in
// minutes.
func (v *victim) kill() {
	if err := unix.PidfdSendSignal(v.fd, unix.SIGKILL, nil, 0); err != nil {
		return // it has ended
	}
	for begin := time.Now(); time.Since(begin) < time.Minute; {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(v.fd), Events: unix.POLLIN}}, 1000)
		if n > 0 || err != nil && err != unix.EINTR {
			return
		}
	}
	v.t.Errorf("victim %d does not end", v.pid)
}

// ended waits until no thread is alive: a busy host takes its time.
func (v *victim) ended() {
	v.t.Helper()
	for range 5000 {
		tasks, _ := filepath.Glob("/proc/" + itoa(v.pid) + "/task/*/stat")
		alive := false
		for _, path := range tasks {
			b, err := os.ReadFile(path)
			alive = alive || err == nil && b[bytes.LastIndexByte(b, ')')+2] != 'Z'
		}
		if !alive {
			return
		}
		time.Sleep(time.Millisecond)
	}
	v.t.Errorf("victim %d does not end", v.pid)
}

// state is the letter of /proc/PID/stat, 0 when there is no such process.
func (v *victim) state() byte {
	b, err := os.ReadFile("/proc/" + itoa(v.pid) + "/stat")
	if err != nil {
		return 0
	}
	return b[bytes.LastIndexByte(b, ')')+2]
}

func (v *victim) line() string {
	v.t.Helper()
	type answer struct {
		s   string
		err error
	}
	got := make(chan answer, 1)
	go func() {
		s, err := v.out.ReadString('\n')
		got <- answer{strings.TrimSpace(s), err}
	}()
	select {
	case a := <-got:
		if a.err != nil {
			v.t.Fatalf("victim %d does not answer: %v", v.pid, a.err)
		}
		return a.s
	case <-time.After(time.Minute):
		v.t.Fatalf("victim %d does not answer within a minute", v.pid)
		return ""
	}
}

// ask asks a question and returns the answer.
func (v *victim) ask(q string) string {
	v.t.Helper()
	if _, err := io.WriteString(v.in, q+"\n"); err != nil {
		v.t.Fatalf("ask victim %d: %v", v.pid, err)
	}
	return v.line()
}

func (v *victim) want(q, answer string) {
	v.t.Helper()
	if got := v.ask(q); got != answer {
		v.t.Fatalf("victim %d: %q answers %q, not %q", v.pid, q, got, answer)
	}
}

// running fails when a thread is stopped or traced.
func (v *victim) running() {
	v.t.Helper()
	tasks, err := filepath.Glob("/proc/" + itoa(v.pid) + "/task/*/status")
	if err != nil || len(tasks) == 0 {
		v.t.Fatalf("victim %d has no threads: %v", v.pid, err)
	}
	for _, path := range tasks {
		b, err := os.ReadFile(path)
		if err != nil {
			continue // it ended
		}
		for _, l := range strings.Split(string(b), "\n") {
			if f := strings.Fields(l); len(f) > 1 && (f[0] == "TracerPid:" && f[1] != "0" || f[0] == "State:" && (f[1] == "t" || f[1] == "T")) {
				v.t.Fatalf("%s: %s", path, l)
			}
		}
	}
}
