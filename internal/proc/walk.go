package proc

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Walk puts a question about every process of the host, as many at a time as
// there are processors. A process of which ask fails is in denied with the
// reason, never silently left out; one that vanished meanwhile (ErrGone) is left
// out. found is in order.
//
// ask may use the buffer for what it reads, and returns it, perhaps grown, for
// the next. A process that cannot be read in seconds is in denied (ErrStuck); then
// ask may go on after the walk has ended.
func Walk(ask func(pid int, buf []byte) (yes bool, _ []byte, err error)) (found []int, denied map[int]error, err error) {
	pids, err := PIDs()
	if err != nil {
		return nil, nil, err
	}
	denied = map[int]error{}
	type reply struct {
		yes bool
		err error
	}
	Each(pids, func(pid int, buf []byte) (r reply, _ []byte) {
		r.yes, buf, r.err = ask(pid, buf)
		return r, buf
	}, func(k int, r reply, stuck error) {
		switch err := cmp.Or(stuck, r.err); {
		case errors.Is(err, ErrGone):
		case err != nil:
			denied[pids[k]] = err
		case r.yes:
			found = append(found, pids[k])
		}
	})
	slices.Sort(found)
	return found, denied, nil
}

// NamelessCode lists the mappings of a process with code that is no file's:
// private, anonymous, readable and executable, not writable. Few processes have
// any. The buffer is used and returned, as for Walk.
func NamelessCode(pid int, buf []byte) (ms []Map, _ []byte, err error) {
	if a := procmap(); !a.denied.Load() {
		ms, err := a.namelessCode(pid)
		if err == nil {
			return ms, buf, nil
		}
		if errors.Is(err, unix.ENOTTY) {
			a.denied.Store(true)
		}
		// The long way says best what is wrong, and finds a live thread.
	}
	text, _, err := mapsText(pid, buf)
	if err != nil {
		return nil, buf, err
	}
	n := 0
	for line := range bytes.Lines(text) {
		n++
		// start-end r-xp 00000000 00:00 0 \n
		_, rest, _ := bytes.Cut(line, []byte(" "))
		if !bytes.HasPrefix(rest, []byte("r-xp ")) || !bytes.HasSuffix(bytes.TrimRight(rest, " \n"), []byte(" 00:00 0")) {
			continue
		}
		m, bad := parseMap(string(bytes.TrimSuffix(line, []byte("\n"))))
		if bad != "" {
			return nil, text, fmt.Errorf("maps of process %d, line %d: %s", pid, n, bad)
		}
		ms = append(ms, m)
	}
	return ms, text, nil
}

// view is the directory that a process calls "/", and where it is mounted: who
// has the same finds the same files under a name. The descriptor is that of the
// directory; what is looked up through it is looked up there, wherever the
// process goes meanwhile.
func view(tid int) (root int, _ FileID, err error) {
	if root, err = open(path(tid, "root"), unix.O_PATH|unix.O_DIRECTORY); err != nil {
		return 0, FileID{}, explain("open root", tid, err)
	}
	return root, mounted(root, "", unix.AT_EMPTY_PATH), nil
}

// mounted is a directory and where it is mounted. Not lasting: nothing is known. None
// of it ever changes, so the filesystem is not asked, which may not answer.
func mounted(dir int, name string, flags int) FileID {
	const mask = unix.STATX_INO | unix.STATX_MNT_ID | unix.STATX_MNT_ID_UNIQUE
	var st unix.Statx_t
	if err := unix.Statx(dir, name, flags|unix.AT_STATX_DONT_SYNC, mask, &st); err != nil || st.Mask&(unix.STATX_MNT_ID|unix.STATX_MNT_ID_UNIQUE) == 0 {
		return FileID{} // Linux before 5.8, or an error, which opening it explains
	}
	return FileID{dev: unix.Mkdev(st.Dev_major, st.Dev_minor), inode: st.Ino, mount: st.Mnt_id, lasting: true}
}

// Disk remembers what it found on disk, for a caller that asks the same of many
// processes in a moment. The zero value is ready; several may ask at once.
type Disk struct {
	mu    sync.Mutex
	seen  map[viewed]answer
	asked map[viewed]time.Time // since when the first asks for it
}

// viewed is a name in a root.
type viewed struct {
	root FileID
	name string
}

type answer struct {
	id  string
	err error
}

// BuildID is OnDisk, asked once for all processes that see the same files. What was
// found already takes one system call for each further process.
func (d *Disk) BuildID(pid int, name string) (string, error) {
	// Where the first thread has ended this fails, and the long way finds another.
	if f, ok := d.known(mounted(unix.AT_FDCWD, path(pid, "root"), 0), name); ok {
		return f.id, f.err
	}
	i, err := Read(pid)
	if err != nil {
		return "", err
	}
	if i.Live == 0 {
		return "", explain("open "+name, pid, ErrGone)
	}
	root, where, err := view(i.Live)
	if err != nil {
		return "", err
	}
	defer unix.Close(root)
	if !where.lasting {
		return onDisk(i.Live, root, name)
	}
	// The filesystem may be one that does not answer (FUSE): who asks for something
	// else is not kept waiting, nor for long who asks for the same.
	key := viewed{where, name}
	d.mu.Lock()
	f, ok := d.seen[key]
	since, asked := d.asked[key]
	if !ok && !asked {
		if d.seen == nil {
			d.seen, d.asked = map[viewed]answer{}, map[viewed]time.Time{}
		}
		d.asked[key] = time.Now()
	}
	d.mu.Unlock()
	switch {
	case ok:
		return f.id, f.err
	case asked && time.Since(since) >= longest:
		return "", fmt.Errorf("open %s of process %d: %w", name, pid, ErrStuck)
	}
	f.id, f.err = onDisk(i.Live, root, name)
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.asked, key)
	if !errors.Is(f.err, ErrGone) { // that says nothing of the others
		d.seen[key] = f
	}
	return f.id, f.err
}

func (d *Disk) known(where FileID, name string) (f answer, ok bool) {
	if !where.lasting {
		return f, false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	f, ok = d.seen[viewed{where, name}]
	return f, ok
}
