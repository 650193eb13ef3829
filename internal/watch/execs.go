package watch

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// execs listens to the kernel's process connector (linux/cn_proc.h). It takes
// CAP_NET_ADMIN in the first network, user and pid namespace: in a container
// nothing arrives.
type execs struct{ file *os.File }

// From linux/connector.h and linux/cn_proc.h.
const (
	connectorProc = 1          // CN_IDX_PROC and CN_VAL_PROC
	listen        = 1          // PROC_CN_MCAST_LISTEN
	eventNone     = 0          // PROC_EVENT_NONE: the answer to listen
	eventExec     = 2          // PROC_EVENT_EXEC
	eventExit     = 0x80000000 // PROC_EVENT_EXIT
	headerSize    = 16 + 20
	processSize   = headerSize + 24
)

// How long the kernel may take to say that we listen.
const listenWait = 250 * time.Millisecond

func listenExecs() (*execs, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_CONNECTOR)
	if err != nil {
		return nil, fmt.Errorf("listen to the process connector: %w", err)
	}
	e := &execs{os.NewFile(uintptr(fd), "process connector")}
	if err := e.subscribe(fd); err != nil {
		e.close()
		return nil, fmt.Errorf("listen to the process connector: %w", err)
	}
	return e, nil
}

func (e *execs) subscribe(fd int) error {
	err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: connectorProc})
	if errors.Is(err, unix.EPERM) {
		return errors.New("not permitted: it takes CAP_NET_ADMIN outside of containers (run as root)")
	}
	if err != nil {
		return err
	}
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 1<<20) // more room; less will do
	le := binary.LittleEndian
	m := make([]byte, headerSize+4)
	le.PutUint32(m, uint32(len(m)))           // nlmsghdr.len
	le.PutUint16(m[4:], unix.NLMSG_DONE)      // .type
	le.PutUint32(m[12:], uint32(os.Getpid())) // .pid
	le.PutUint32(m[16:], connectorProc)       // cn_msg.id.idx
	le.PutUint32(m[20:], connectorProc)       // .id.val
	le.PutUint16(m[32:], 4)                   // .len
	le.PutUint32(m[headerSize:], listen)
	if _, err := e.file.Write(m); err != nil {
		return err
	}
	// Outside of the first namespaces the request is dropped without a word.
	if err := e.file.SetReadDeadline(time.Now().Add(listenWait)); err != nil {
		return err
	}
	buf := make([]byte, 4096)
	for {
		n, err := e.file.Read(buf)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return errors.New("the kernel does not answer: we are in a container, or it was built without CONFIG_PROC_EVENTS")
		}
		if err != nil {
			return err
		}
		if ev, err := parseExec(buf[:n]); err == nil && ev.what == eventNone {
			if ev.status != 0 {
				return unix.Errno(ev.status)
			}
			return e.file.SetReadDeadline(time.Time{})
		}
	}
}

func (e *execs) close() { e.file.Close() }

// read hands on who calls execve, until the socket is closed.
func (e *execs) read(ctx context.Context, notice func(candidate), missed func()) {
	buf := make([]byte, 4096)
	for {
		n, err := e.file.Read(buf)
		if err != nil {
			if errors.Is(err, os.ErrClosed) || ctx.Err() != nil {
				return
			}
			missed() // ENOBUFS: we were too slow
			time.Sleep(time.Millisecond)
			continue
		}
		ev, err := parseExec(buf[:n])
		if err != nil || ev.what != eventExec {
			continue
		}
		notice(candidate{pid: int(ev.pid), via: Exec, at: ago(ev.monotonic)})
	}
}

// ago is the time of an instant of the monotonic clock. What lies in the
// future, or further back than an event can wait, is now.
func ago(monotonic uint64) time.Time {
	var ts unix.Timespec
	now := time.Now()
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		return now
	}
	age := time.Duration(ts.Nano() - int64(monotonic))
	if age < 0 || age > time.Minute {
		return now
	}
	return now.Add(-age)
}

// execEvent is a struct proc_event as far as we need it.
type execEvent struct {
	what      uint32
	status    uint32 // of eventNone: an errno; of eventExit: as wait(2) tells it
	monotonic uint64 // nanoseconds
	tid, pid  int32  // of eventExec and eventExit: thread and process
}

// parseExec decodes one message: nlmsghdr, cn_msg, proc_event.
func parseExec(b []byte) (execEvent, error) {
	le := binary.LittleEndian
	if len(b) < processSize {
		return execEvent{}, fmt.Errorf("read process event: %d bytes, at least %d are needed", len(b), processSize)
	}
	if idx, val := le.Uint32(b[16:]), le.Uint32(b[20:]); idx != connectorProc || val != connectorProc {
		return execEvent{}, fmt.Errorf("read process event: connector %d/%d is not that of processes", idx, val)
	}
	p := b[headerSize:]
	ev := execEvent{what: le.Uint32(p), monotonic: le.Uint64(p[8:])}
	switch ev.what {
	case eventNone:
		ev.status = le.Uint32(p[16:])
	case eventExec, eventExit:
		ev.tid, ev.pid = int32(le.Uint32(p[16:])), int32(le.Uint32(p[20:])) // process_pid, process_tgid
	}
	if ev.what == eventExit && len(p) >= 28 {
		ev.status = le.Uint32(p[24:])
	}
	return ev, nil
}
