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

// opens is a fanotify group: who opens the files it was told of. It takes
// CAP_SYS_ADMIN, and reports processes by their number in our pid namespace.
type opens struct{ file *os.File }

func listenOpens() (*opens, error) {
	fd, err := unix.FanotifyInit(unix.FAN_CLASS_NOTIF|unix.FAN_CLOEXEC|unix.FAN_NONBLOCK, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_LARGEFILE)
	switch {
	case errors.Is(err, unix.EPERM):
		return nil, errors.New("not permitted to watch files: it takes CAP_SYS_ADMIN (run as root)")
	case errors.Is(err, unix.ENOSYS):
		return nil, errors.New("this kernel cannot watch files (CONFIG_FANOTIFY)")
	case err != nil:
		return nil, fmt.Errorf("watch files: %w", err)
	}
	return &opens{os.NewFile(uintptr(fd), "fanotify")}, nil
}

// add watches one more file, by its inode; twice is once.
func (o *opens) add(path string) error {
	c, err := o.file.SyscallConn()
	if err != nil {
		return err
	}
	var marked error
	if err := c.Control(func(fd uintptr) {
		marked = unix.FanotifyMark(int(fd), unix.FAN_MARK_ADD, unix.FAN_OPEN, unix.AT_FDCWD, path)
	}); err != nil {
		return err
	}
	if marked != nil {
		return fmt.Errorf("watch %s: %w", path, marked)
	}
	return nil
}

// close ends read. It does not wait for an add whose filesystem does not answer, which
// keeps the group open that long.
func (o *opens) close() { go o.file.Close() }

// read hands on who opens, until the group is closed.
func (o *opens) read(ctx context.Context, notice func(candidate), missed func()) {
	buf := make([]byte, 64<<10)
	for {
		n, err := o.file.Read(buf)
		if err != nil {
			if ctx.Err() == nil {
				missed()
			}
			if errors.Is(err, os.ErrClosed) || ctx.Err() != nil {
				return
			}
			time.Sleep(10 * time.Millisecond) // an fd for the event could not be had; the event is lost
			continue
		}
		now := time.Now()
		events, err := parseOpens(buf[:n])
		for _, e := range events {
			if e.fd >= 0 {
				unix.Close(int(e.fd))
			}
			if e.overflow {
				missed()
				continue
			}
			notice(candidate{pid: int(e.pid), via: Open, at: now})
		}
		if err != nil {
			missed()
		}
	}
}

// openEvent is one struct fanotify_event_metadata.
type openEvent struct {
	fd, pid  int32
	overflow bool
}

const eventSize = 24 // FAN_EVENT_METADATA_LEN

// parseOpens decodes what the kernel wrote; what was read before an error holds.
func parseOpens(b []byte) ([]openEvent, error) {
	le := binary.LittleEndian
	var out []openEvent
	for len(b) > 0 {
		if len(b) < eventSize {
			return out, fmt.Errorf("read file events: %d bytes left, an event has %d", len(b), eventSize)
		}
		size := le.Uint32(b)
		if version := b[4]; version != unix.FANOTIFY_METADATA_VERSION {
			return out, fmt.Errorf("read file events: version %d, we know %d", version, unix.FANOTIFY_METADATA_VERSION)
		}
		if size < eventSize || uint64(size) > uint64(len(b)) {
			return out, fmt.Errorf("read file events: event of %d bytes in %d", size, len(b))
		}
		out = append(out, openEvent{
			overflow: le.Uint64(b[8:])&unix.FAN_Q_OVERFLOW != 0,
			fd:       int32(le.Uint32(b[16:])),
			pid:      int32(le.Uint32(b[20:])),
		})
		b = b[size:]
	}
	return out, nil
}
