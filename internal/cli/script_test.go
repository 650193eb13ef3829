package cli_test

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"hotpatch/internal/patch"
	"hotpatch/internal/testkit"
)

// condition answers [name] in scripts. A missing capability skips, but where
// nothing may be skipped it fails.
func condition(t *testing.T) func(string) (bool, error) {
	missing := func(what string) (bool, error) {
		if testkit.Full() {
			return false, fmt.Errorf("%s: missing, and HOTPATCH_TEST_FULL=1 lets nothing be skipped", what)
		}
		return false, nil
	}
	return func(name string) (bool, error) {
		switch name {
		case "root":
			return os.Geteuid() == 0, nil
		case "gcc":
			if _, err := exec.LookPath("gcc"); err != nil {
				return missing("gcc")
			}
			return true, nil
		case "gdb":
			if _, err := exec.LookPath("gdb"); err != nil {
				return missing("gdb")
			}
			return true, nil
		case "kthread": // pid 2 is a kernel thread, unless this is a container
			stat, err := os.ReadFile("/proc/2/stat")
			return err == nil && strings.Contains(string(stat), "(kthreadd)"), nil
		default:
			return false, fmt.Errorf("unknown condition %q", name)
		}
	}
}

func scriptCommands() map[string]func(*testscript.TestScript, bool, []string) {
	return map[string]func(*testscript.TestScript, bool, []string){
		"exits":    exits,
		"mkbundle": mkbundle,
		"idof":     idOf,
		"mkelf":    mkelf,
		"mkdeb":    mkdeb,
		"flip":     flip,
		"start":    start,
		"ask":      ask,
		"until":    until,
		"tell":     tell,
		"pause": func(ts *testscript.TestScript, _ bool, args []string) {
			d, err := time.ParseDuration(args[0])
			ts.Check(err)
			time.Sleep(d)
		},
	}
}

// exits CODE PROGRAM ARGS... runs a program that must end with this exit code.
func exits(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	got := 0
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// mkbundle FILE VERDICT writes the sample bundle. Instead of a verdict: bare is
// one that does not record the code before, forged one that records other code
// than it replaces.
func mkbundle(ts *testscript.TestScript, _ bool, args []string) {
	var b *patch.Bundle
	switch args[1] {
	case "bare":
		b = sample(patch.Review)
		b.Before = nil
	case "forged":
		b = sample(patch.Review)
		r, err := patch.DecodeBefore(b.Before[0])
		ts.Check(err)
		r.Code[1].Data[11] = 2
		b.Before[0], err = patch.EncodeBefore(r)
		ts.Check(err)
	default:
		b = sample(patch.Verdict(args[1]))
	}
	ts.Check(b.WriteFile(ts.MkAbs(args[0])))
}

// idof FILE NAME puts the first digits of a bundle's id into $NAME.
func idOf(ts *testscript.TestScript, _ bool, args []string) {
	b, err := patch.ReadFile(ts.MkAbs(args[0]))
	ts.Check(err)
	id, err := b.ID()
	ts.Check(err)
	ts.Setenv(args[1], id.Short())
}

// flip FILE PERCENT inverts one bit that far into the file.
func flip(ts *testscript.TestScript, _ bool, args []string) {
	file := ts.MkAbs(args[0])
	data, err := os.ReadFile(file)
	ts.Check(err)
	percent, err := strconv.Atoi(args[1])
	ts.Check(err)
	data[len(data)*percent/100] ^= 0x10
	ts.Check(os.WriteFile(file, data, 0o644))
}

// mkelf FILE KIND writes the head of an ELF file that is no image for us.
func mkelf(ts *testscript.TestScript, _ bool, args []string) {
	h := make([]byte, 4096)
	copy(h, "\x7fELF\x02\x01\x01") // 64 bit, little endian
	le := binary.LittleEndian
	le.PutUint16(h[16:], 3)  // ET_DYN
	le.PutUint16(h[18:], 62) // x86-64
	le.PutUint32(h[20:], 1)
	le.PutUint16(h[52:], 64) // header size
	le.PutUint16(h[54:], 56) // program header size
	le.PutUint16(h[58:], 64) // section header size
	switch args[1] {
	case "32-bit":
		h[4] = 1
		le.PutUint16(h[18:], 3)
		le.PutUint16(h[40:], 52)
		le.PutUint16(h[42:], 32)
		le.PutUint16(h[46:], 40)
	case "arm64":
		le.PutUint16(h[18:], 183)
	case "truncated":
		h = h[:40]
	case "huge-header":
		le.PutUint64(h[32:], 64)            // program headers
		le.PutUint64(h[40:], 1<<62)         // section headers
		le.PutUint16(h[56:], 0xfffe)        // so many
		le.PutUint16(h[60:], 0xfffe)        // so many
		le.PutUint32(h[64:], 1)             // PT_LOAD
		le.PutUint64(h[64+32:], 1<<63-1)    // of this size
		le.PutUint64(h[64+40:], ^uint64(0)) // in memory
	default:
		ts.Fatalf("unknown kind %q", args[1])
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), h, 0o755))
}

// conversation is a program that answers a line for every line.
type conversation struct {
	in  io.WriteCloser
	out *bufio.Reader
}

func (c *conversation) ask(line string) (string, error) {
	if _, err := io.WriteString(c.in, line+"\n"); err != nil {
		return "", err
	}
	type answer struct {
		text string
		err  error
	}
	got := make(chan answer, 1)
	go func() {
		text, err := c.out.ReadString('\n')
		got <- answer{strings.TrimSuffix(text, "\n"), err}
	}()
	select {
	case a := <-got:
		return a.text, a.err
	case <-time.After(10 * time.Second):
		return "", errors.New("no answer within 10 s")
	}
}

type conversationKey string

// victim answers every line with "victim": a process no hotpatch is for. It
// ends when its input does.
func victim() {
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		fmt.Println("victim")
	}
}

// start NAME PROGRAM ARGS... runs a program that lives as long as the script,
// and puts its pid into $NAME.
func start(ts *testscript.TestScript, _ bool, args []string) {
	path := ts.MkAbs(args[1])
	if args[1] == "victim" { // this binary, which testscript.Main put into PATH
		bin, _, _ := strings.Cut(ts.Getenv("PATH"), ":")
		path = filepath.Join(bin, "victim")
	}
	cmd := exec.Command(path, args[2:]...)
	cmd.Dir = ts.MkAbs(".")
	in, err := cmd.StdinPipe()
	ts.Check(err)
	out, err := cmd.StdoutPipe()
	ts.Check(err)
	ts.Check(cmd.Start())
	ts.Defer(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	ts.Setenv(args[0], strconv.Itoa(cmd.Process.Pid))
	conversations(ts)[args[0]] = &conversation{in, bufio.NewReader(out)}
}

// tell NAME LINE sends a line and waits for nothing.
func tell(ts *testscript.TestScript, _ bool, args []string) {
	c := conversations(ts)[args[0]]
	if c == nil {
		ts.Fatalf("no program %s", args[0])
	}
	_, err := io.WriteString(c.in, args[1]+"\n")
	ts.Check(err)
}

// ask NAME LINE WANT sends a line to a started program and compares the answer.
func ask(ts *testscript.TestScript, _ bool, args []string) {
	c := conversations(ts)[args[0]]
	if c == nil {
		ts.Fatalf("no program %s", args[0])
	}
	got, err := c.ask(args[1])
	ts.Check(err)
	if got != args[2] {
		ts.Fatalf("%s answered %q, want %q", args[0], got, args[2])
	}
}

// until NAME LINE WANT asks until the answer is as wanted.
func until(ts *testscript.TestScript, _ bool, args []string) {
	c := conversations(ts)[args[0]]
	if c == nil {
		ts.Fatalf("no program %s", args[0])
	}
	var got string
	for late := time.Now().Add(20 * time.Second); time.Now().Before(late); time.Sleep(5 * time.Millisecond) {
		var err error
		got, err = c.ask(args[1])
		ts.Check(err)
		if got == args[2] {
			return
		}
	}
	ts.Fatalf("%s went on answering %q, want %q", args[0], got, args[2])
}

func conversations(ts *testscript.TestScript) map[string]*conversation {
	return ts.Value(conversationKey("all")).(map[string]*conversation)
}
