package demo

import (
	"bufio"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// The stand-in travels inside the binary as source: compiled here, it shows the
// same as a package would, with types on both sides.
//
//go:embed testdata/tally.c
var tallySource []byte

var errNoCompiler = errors.New("no C compiler (gcc or cc) on this machine to build the stand-in server with")

// prepareLocal compiles the stand-in, old and fixed.
func prepareLocal(ctx context.Context, p *page, work string) (*subject, error) {
	var cc string
	for _, name := range []string{"gcc", "cc"} {
		if path, err := exec.LookPath(name); err == nil {
			cc = path
			break
		}
	}
	if cc == "" {
		return nil, errNoCompiler
	}
	began := time.Now()
	source := filepath.Join(work, "tally.c")
	if err := os.WriteFile(source, tallySource, 0o644); err != nil {
		return nil, err
	}
	old, fixed := filepath.Join(work, "tally"), filepath.Join(work, "fixed", "tally")
	if err := os.MkdirAll(filepath.Dir(fixed), 0o755); err != nil {
		return nil, err
	}
	for _, side := range [][]string{{"-o", old}, {"-DFIXED", "-o", fixed}} {
		p.doing("compile", "tally.c")
		args := append([]string{"-std=gnu11", "-O2", "-g", "-pthread", "-Wl,--build-id=sha1", source}, side...)
		if out, err := exec.CommandContext(ctx, cc, args...).CombinedOutput(); err != nil {
			return nil, fmt.Errorf("compile the stand-in server: %w: %s", err, strings.TrimSpace(string(out)))
		}
	}
	p.did("compile", p.bold("tally.c")+", with its bug and without, in "+round(time.Since(began)))
	return &subject{
		about: "A running server gets the fix of a bug like Heartbleed. Nothing is restarted.",
		base:  old, fixed: fixed,
		start:    func(ctx context.Context) (*daemon, error) { return startTally(ctx, old, work) },
		open:     func(d *daemon, _ int) (worker, error) { return dialTally(d.addr) },
		question: "ECHO more bytes than were sent, after another client has sent a password",
		ask:      func(_ context.Context, d *daemon) (string, error) { return overread(d.addr) },
		isOld:    func(a string) bool { return strings.Contains(a, "correct horse") },
		isNew:    func(a string) bool { return strings.HasPrefix(a, "error: longer") },
		meansOld: "another client's secret",
		meansNew: "refused",
	}, nil
}

func startTally(ctx context.Context, exe, work string) (*daemon, error) {
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	return launch(ctx, "tally", addr, filepath.Join(work, "tally.log"), exec.Command(exe, port))
}

// tally is a client of the stand-in, and one connection of its load.
type tally struct {
	c   net.Conn
	r   *bufio.Reader
	sum int
	n   int
}

func dialTally(addr string) (*tally, error) {
	c, err := net.DialTimeout("tcp", addr, patience)
	if err != nil {
		return nil, err
	}
	return &tally{c: c, r: bufio.NewReader(c)}, nil
}

func (t *tally) Close() error { return t.c.Close() }

func (t *tally) send(format string, args ...any) error {
	if err := t.c.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	_, err := fmt.Fprintf(t.c, format+"\n", args...)
	return err
}

func (t *tally) ask(format string, args ...any) (string, error) {
	if err := t.send(format, args...); err != nil {
		return "", err
	}
	line, err := t.r.ReadString('\n')
	return strings.TrimSuffix(line, "\n"), err
}

// Round asks four times; the connection's own sum is known beforehand.
func (t *tally) Round() (int, error) {
	const requests = 4
	for range requests / 2 {
		t.n++
		t.sum += t.n
		text := fmt.Sprintf("round %d", t.n)
		for _, q := range [][2]string{
			{fmt.Sprintf("ADD %d", t.n), fmt.Sprint(t.sum)},
			{fmt.Sprintf("ECHO %d %s", len(text), text), text},
		} {
			got, err := t.ask("%s", q[0])
			if err == nil && got != q[1] {
				err = fmt.Errorf("%w: %q to %q", errWrongAnswer, got, q[0])
			}
			if err != nil {
				return requests, err
			}
		}
	}
	return requests, nil
}

// overread has one client say a password and leave, and another, who gets the
// same buffer, ask for more than it sent.
func overread(addr string) (string, error) {
	first, err := dialTally(addr)
	if err != nil {
		return "", err
	}
	defer first.Close()
	if _, err := first.ask("ECHO 37 the password is correct horse battery"); err != nil {
		return "", err
	}
	if err := first.send("QUIT"); err != nil {
		return "", err
	}
	// The server frees the buffer before it closes the connection.
	if _, err := io.Copy(io.Discard, first.c); err != nil {
		return "", err
	}
	second, err := dialTally(addr)
	if err != nil {
		return "", err
	}
	defer second.Close()
	got, err := second.ask("ECHO 29 hi")
	return strings.ReplaceAll(got, "\x00", "·"), err
}
