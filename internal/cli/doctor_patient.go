package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"
	"unsafe"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
)

// The patient is the process that doctor tries everything on: this very program,
// started so that it is no descendant of ours (Yama makes a difference, and a
// parent's waiting takes the stops of its children). One of its threads waits
// for input, another one under a seccomp filter that allows everything. It ends
// when its input does, which is at the latest when we do.
//
// The room in which its threads make calls for us is a mapping of its own. In a
// program's code there may be no room: what looks like the end of a program
// that nobody runs can be its PLT.
type patient struct {
	process             *os.Process
	pid, tid, sandboxed int    // sandboxed: 0 where there is no seccomp
	room                uint64 // ptrace.StubRoom bytes, executable; 0: it could not be mapped
	in                  io.WriteCloser
	out                 *os.File
	lines               *bufio.Reader
}

const patience = 5 * time.Second

// admit starts a patient.
func admit(ctx context.Context) (_ *patient, err error) {
	stdin, in, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer stdin.Close()
	out, stdout, err := os.Pipe()
	if err != nil {
		in.Close()
		return nil, err
	}
	defer stdout.Close()
	p := &patient{in: in, out: out, lines: bufio.NewReader(out)}
	defer func() {
		if err != nil {
			p.in.Close()
			p.out.Close()
		}
	}()
	cmd := exec.CommandContext(ctx, "/proc/self/exe", "doctor", "patient", "--fork")
	cmd.Args[0] = os.Args[0]
	cmd.Stdin, cmd.Stdout = stdin, stdout
	if err := cmd.Run(); err != nil {
		return nil, err
	}
	line, err := p.line()
	if err != nil {
		return nil, err
	}
	if _, err := fmt.Sscan(line, &p.pid, &p.tid, &p.sandboxed, &p.room); err != nil {
		return nil, fmt.Errorf("it says %q: %w", line, err)
	}
	p.process, err = os.FindProcess(p.pid)
	return p, err
}

func (p *patient) line() (string, error) {
	if err := p.out.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return "", err
	}
	line, err := p.lines.ReadString('\n')
	if err != nil {
		return "", fmt.Errorf("it does not answer: %w", err)
	}
	return line, nil
}

// well asks whether it is still what it was.
func (p *patient) well() error {
	if _, err := io.WriteString(p.in, "?\n"); err != nil {
		return err
	}
	line, err := p.line()
	if err == nil && line != "well\n" {
		err = fmt.Errorf("it answers %q", line)
	}
	return err
}

// dismiss ends the patient: its input ends, and if that is not enough, it does.
func (p *patient) dismiss() {
	p.in.Close()
	if err := p.out.SetReadDeadline(time.Now().Add(patience)); err == nil {
		if _, err := io.Copy(io.Discard, p.lines); errors.Is(err, os.ErrDeadlineExceeded) {
			_ = p.process.Kill()
		}
	}
	p.out.Close()
	_ = p.process.Release()
}

// patientCmd is the patient's side.
func (a *app) patientCmd() *cobra.Command {
	fork := false
	cmd := &cobra.Command{
		Use:    "patient",
		Short:  "Be the process that doctor tries everything on",
		Hidden: true,
		Args:   needs(),
	}
	cmd.Flags().BoolVar(&fork, "fork", false, "start another one and end")
	cmd.RunE = a.verb(func(ctx context.Context, _ []string) error {
		if fork {
			return a.forkPatient()
		}
		return a.bePatient()
	})
	return cmd
}

func (a *app) forkPatient() error {
	cmd := exec.Command("/proc/self/exe", "doctor", "patient")
	cmd.Args[0] = os.Args[0]
	cmd.Stdin, cmd.Stdout = a.in, a.out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	return cmd.Process.Release()
}

// bePatient answers every byte of input that is a newline.
func (a *app) bePatient() error {
	sandboxed := make(chan int)
	go sitInSandbox(sandboxed)
	sandbox := <-sandboxed

	// A system call that blocks the thread itself: the runtime's poller would
	// leave it free for something else.
	runtime.LockOSThread()
	room, err := unix.MmapPtr(-1, 0, nil, uintptr(os.Getpagesize()), unix.PROT_READ|unix.PROT_EXEC, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		room = nil // where executable memory is forbidden, doctor says so
	}
	fmt.Fprintln(a.out, os.Getpid(), unix.Gettid(), sandbox, uintptr(room))
	for {
		var b [1]byte
		switch n, err := unix.Read(0, b[:]); {
		case err == unix.EINTR:
		case err != nil:
			return err
		case n == 0:
			return nil
		case b[0] == '\n':
			fmt.Fprintln(a.out, "well")
		}
	}
}

// sitInSandbox puts a thread under a filter that allows every system call, tells
// its id, 0 where it cannot, and sleeps.
func sitInSandbox(tid chan<- int) {
	runtime.LockOSThread() // the filter is this thread's for good
	allow := unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW}
	program := unix.SockFprog{Len: 1, Filter: &allow}
	err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
	if err == nil {
		err = unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&program)), 0, 0)
	}
	if err != nil {
		tid <- 0
		return
	}
	tid <- unix.Gettid()
	for {
		_ = unix.Pause() // ends with a signal, such as the runtime's own
	}
}
