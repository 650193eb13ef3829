package property_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"hotpatch/test/property"
)

// victim is a running program that answers questions. It is not a child of the
// test: a parent's own wait would take the stops that the tracer waits for.
type victim struct {
	pid int
	tp  uint64 // thread pointer of its only thread
	// Of a library, whose thread-local variable is at tp.
	library bool
	in      *os.File
	out     *os.File
	buf     *bufio.Reader
}

func start(path string) (*victim, error) {
	cmd := exec.Command("setsid", "--fork", path)
	stdin, in, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	out, stdout, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	cmd.Stdin, cmd.Stdout = stdin, stdout
	err = cmd.Run() // setsid forks and ends
	if errors.Is(err, syscall.ECHILD) {
		err = nil // a tracer of this test, which waits for any process, has taken its end
	}
	stdin.Close()
	stdout.Close()
	v := &victim{in: in, out: out, buf: bufio.NewReader(out)}
	if err == nil {
		var ready string
		if ready, err = v.line(); err == nil {
			_, err = fmt.Sscanf(ready, "ready %d %v", &v.pid, &v.tp)
		}
	}
	if err != nil {
		v.end()
		return nil, fmt.Errorf("start %s: %w", path, err)
	}
	return v, nil
}

// end ends the victim and waits until it is gone or a zombie.
func (v *victim) end() {
	v.in.Close()
	v.out.Close()
	if v.pid == 0 {
		return
	}
	_ = syscall.Kill(v.pid, syscall.SIGKILL)
	for range 500 {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", v.pid))
		if err != nil || b[bytes.LastIndexByte(b, ')')+2] == 'Z' {
			return
		}
		time.Sleep(2 * time.Millisecond)
	}
}

func (v *victim) line() (string, error) {
	if err := v.out.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		return "", err
	}
	s, err := v.buf.ReadString('\n')
	return strings.TrimSuffix(s, "\n"), err
}

// ask returns the answer; a dead or hanging process answers so.
func (v *victim) ask(q string) string {
	if _, err := io.WriteString(v.in, q+"\n"); err != nil {
		return fmt.Sprintf("no answer: %v", err)
	}
	s, err := v.line()
	if err != nil {
		return fmt.Sprintf("no answer: %v", err)
	}
	return s
}

// compileLibrary makes a library of a source text, and the program beside it
// that uses it.
func compileLibrary(dir, source, cc string, flags []string) (string, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	for name, text := range map[string]string{"library.c": source, "host.c": property.Host,
		"versions": "PROGRAM_1 { global: dispatch; program_*; local: *; };\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return "", err
		}
	}
	for _, args := range [][]string{
		append(slices.Clone(flags), "-w", "-shared", "-Wl,-soname,"+library, "-o", library, "library.c"),
		{"-O1", "-w", "-o", host, "host.c", library, "-Wl,-rpath,$ORIGIN"},
	} {
		cmd := exec.Command(cc, args...)
		cmd.Dir = dir
		if b, err := cmd.CombinedOutput(); err != nil {
			return "", uncompiled(cc, args, err, b)
		}
	}
	return filepath.Join(dir, library), nil
}

const (
	library = "libprogram.so"
	host    = "host"
)

// compile makes an executable of a source text.
func compile(dir, source, cc string, flags []string) (string, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	if err := os.WriteFile(filepath.Join(dir, "program.c"), []byte(source), 0o644); err != nil {
		return "", err
	}
	cmd := exec.Command(cc, append(flags, "-w", "-o", "program", "program.c")...)
	cmd.Dir = dir
	if b, err := cmd.CombinedOutput(); err != nil {
		return "", uncompiled(cc, flags, err, b)
	}
	return filepath.Join(dir, "program"), nil
}

// errCompiler is a fault of the compiler: it leaves out a function, and keeps a static
// table of labels of it (gcc with -fno-toplevel-reorder).
var errCompiler = errors.New("the compiler made references to labels that it left out")

func uncompiled(cc string, flags []string, err error, said []byte) error {
	if bytes.Contains(said, []byte("undefined reference to `.L")) {
		err = errCompiler
	}
	return fmt.Errorf("%s %v: %w\n%s", cc, flags, err, said)
}
