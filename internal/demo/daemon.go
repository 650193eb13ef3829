package demo

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// daemon is a server we started and end.
type daemon struct {
	name   string
	pid    int
	addr   string // of its socket on loopback
	log    string // file
	ended  chan struct{}
	result error // why it ended; read after ended
}

// between starts the server for us, says its pid and waits for it: a process
// cannot be traced by its own parent, whose waiting takes the stops that the
// tracer waits for. When we go, TERM ends both.
const between = `"$@" <&- >"$0" 2>&1 3>&- & pid=$!
trap 'kill "$pid"' TERM
echo "$pid" >&3
exec 3>&-
wait "$pid"`

// launch starts a server and waits until it takes connections on addr.
func launch(ctx context.Context, name, addr, log string, cmd *exec.Cmd) (*daemon, error) {
	sh := exec.Command("/bin/sh", append([]string{"-c", between, log, cmd.Path}, cmd.Args[1:]...)...)
	sh.Dir, sh.Env = cmd.Dir, cmd.Env
	said, say, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer said.Close()
	sh.ExtraFiles = []*os.File{say} // 3
	// The signal is tied to the thread that starts the shell, so that thread
	// has to stay.
	sh.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM, Setpgid: true}
	d := &daemon{name: name, addr: addr, log: log, ended: make(chan struct{})}
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := sh.Start()
		started <- err
		if err == nil {
			d.result = sh.Wait()
			close(d.ended)
		}
	}()
	err = <-started
	say.Close()
	if err != nil {
		return nil, err
	}
	if _, err := fmt.Fscan(said, &d.pid); err != nil {
		return nil, fmt.Errorf("start %s: its pid did not come: %w", name, err)
	}
	if err := d.ready(ctx); err != nil {
		return nil, errors.Join(err, d.stop())
	}
	return d, nil
}

func (d *daemon) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	for {
		c, err := net.DialTimeout("tcp", d.addr, time.Second)
		if err == nil {
			return c.Close()
		}
		if err := d.alive(); err != nil {
			return err
		}
		if sleep(ctx, 20*time.Millisecond) != nil {
			return fmt.Errorf("wait for %s to listen: %w", d.name, err)
		}
	}
}

// alive is an error when the server has ended, with its last words.
func (d *daemon) alive() error {
	select {
	case <-d.ended:
	default:
		return nil
	}
	err := fmt.Errorf("%s (pid %d) ended: %v", d.name, d.pid, d.result)
	if said, e := os.ReadFile(d.log); e == nil {
		lines := strings.Split(strings.TrimSpace(string(said)), "\n")
		err = fmt.Errorf("%w: %s", err, lines[len(lines)-1])
	}
	return err
}

// stop ends the server: politely, then surely. A server that had ended before
// is an error.
func (d *daemon) stop() error {
	if err := d.alive(); err != nil {
		return err
	}
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		if err := syscall.Kill(d.pid, sig); err != nil {
			return fmt.Errorf("stop %s: %w", d.name, err)
		}
		select {
		case <-d.ended:
			return nil
		case <-time.After(3 * time.Second):
		}
	}
	return fmt.Errorf("stop %s: pid %d does not end", d.name, d.pid)
}

// freeAddr is a loopback address that nobody listens on at the moment.
func freeAddr() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}
