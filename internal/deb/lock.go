package deb

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// LockedError says who keeps us from using dpkg.
type LockedError struct {
	Path string `json:"path"`
	PID  int    `json:"pid"` // 0: not known (in another pid namespace)
	Name string `json:"name"`
}

func (e *LockedError) Error() string {
	who := "a process that cannot be seen from here"
	if e.PID > 0 {
		who = fmt.Sprintf("%s (process %d)", e.Name, e.PID)
	}
	return fmt.Sprintf("%s is locked by %s", e.Path, who)
}

// Locked says who uses the system's dpkg at this moment, nil when nobody does.
// It looks at the locks of frontends and of dpkg itself without taking them.
func (s System) Locked() (*LockedError, error) {
	for _, name := range []string{"/var/lib/dpkg/lock-frontend", "/var/lib/dpkg/lock", "/var/cache/apt/archives/lock"} {
		e, err := lockedBy(s.file(name))
		if err != nil {
			return nil, fmt.Errorf("look at lock: %w", err)
		}
		if e != nil {
			return e, nil
		}
	}
	return nil, nil
}

// lockedBy asks for the holder of a lock of fcntl(2), which is what they use.
func lockedBy(name string) (*LockedError, error) {
	f, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	lk := unix.Flock_t{Type: unix.F_WRLCK, Whence: io.SeekStart}
	if err := unix.FcntlFlock(f.Fd(), unix.F_GETLK, &lk); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if lk.Type == unix.F_UNLCK {
		return nil, nil
	}
	e := &LockedError{Path: name, PID: int(lk.Pid)}
	if b, err := os.ReadFile("/proc/" + strconv.Itoa(e.PID) + "/comm"); err == nil {
		e.Name = strings.TrimSpace(string(b))
	}
	if e.Name == "" {
		e.PID = 0 // ended, or a number of another namespace
	}
	return e, nil
}

// lock is our own: one installation at a time. apt-get inherits it, so that it
// is held as long as that works even when we are killed; dpkg and the
// packages' scripts do not, since apt closes what it did not open.
type lock struct{ file *os.File }

// acquire waits for our own lock and then until nobody else uses dpkg.
// Others may still come first before apt locks: it waits once more itself.
func (s System) acquire(ctx context.Context) (*lock, error) {
	if err := s.prepare(); err != nil {
		return nil, err
	}
	wait := s.LockWait
	if wait == 0 {
		wait = defaultLockWait
	}
	deadline := time.Now().Add(wait)
	name := s.file(s.state("lock"))
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		held, err := s.tryLock(f, name)
		if err == nil && held == nil {
			return &lock{f}, nil
		}
		if err == nil && !time.Now().Before(deadline) {
			err = held
		}
		if err != nil {
			return nil, errors.Join(err, f.Close())
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(context.Cause(ctx), f.Close())
		case <-time.After(min(200*time.Millisecond, max(time.Millisecond, time.Until(deadline)))):
		}
	}
}

func (s System) tryLock(f *os.File, name string) (*LockedError, error) {
	// Who else: more telling than our own lock, which a child of a former run
	// may hold.
	if held, err := s.Locked(); err != nil || held != nil {
		return held, err
	}
	err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return &LockedError{Path: name, Name: "another hotpatch", PID: holderOf(f)}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", name, err)
	}
	return nil, nil
}

// holderOf finds the process that holds a lock of flock(2): proc_locks(5).
func holderOf(f *os.File) int {
	var st unix.Stat_t
	b, err := os.ReadFile("/proc/locks")
	if err != nil || unix.Fstat(int(f.Fd()), &st) != nil {
		return 0
	}
	id := fmt.Sprintf("%02x:%02x:%d", unix.Major(st.Dev), unix.Minor(st.Dev), st.Ino)
	for line := range strings.Lines(string(b)) {
		// "1: FLOCK  ADVISORY  WRITE 812 fe:00:325835 0 EOF"
		w := strings.Fields(line)
		if len(w) == 8 && w[1] == "FLOCK" && w[5] == id {
			if pid, err := strconv.Atoi(w[4]); err == nil && pid > 0 {
				return pid
			}
		}
	}
	return 0
}

func (l *lock) release() error {
	if l == nil {
		return nil
	}
	return l.file.Close()
}

// write puts a file in place at once or not at all, and on disk before it
// returns: what it says must be true after a power cut.
func writeFile(name string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(name), ".new-")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	d, err := os.Open(filepath.Dir(name))
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
