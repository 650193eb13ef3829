package proc

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Open opens the file behind a module even if it was deleted or lives in
// another mount namespace (through /proc/PID/map_files, else /proc/PID/root
// with the build-id verified). It returns the content, its size and what
// releases it. The content of [vdso] comes from memory.
//
// The file is the process's choice: treat what is in it as hostile.
func Open(pid int, m Module) (io.ReaderAt, int64, io.Closer, error) {
	if len(m.Maps) == 0 {
		return nil, 0, nil, errors.New("open module: it has no mappings")
	}
	if m.Maps[0].Inode != 0 {
		// The common case first, without asking which thread is alive.
		if f, size, err := openAs(byMapping, pid, m); err == nil {
			return f, size, f, nil
		}
	}
	i, err := Read(pid)
	if err != nil {
		return nil, 0, nil, err
	}
	if i.Live == 0 {
		return nil, 0, nil, explain("open "+m.Path, pid, ErrGone)
	}
	if m.Maps[0].Inode == 0 {
		return openMemory(i.Live, m)
	}
	var reasons []error
	for _, try := range []func(int, Module) (int, error){byMapping, byRoot, byPath} {
		f, size, err := openAs(try, i.Live, m)
		if err == nil {
			return f, size, f, nil
		}
		reasons = append(reasons, err)
	}
	return nil, 0, nil, fmt.Errorf("open %s of process %d: %w", m.Path, pid, errors.Join(reasons...))
}

// openAs opens a module's file in one way, and makes sure that it is this file.
func openAs(try func(int, Module) (int, error), tid int, m Module) (*os.File, int64, error) {
	fd, err := try(tid, m)
	if err != nil {
		return nil, 0, err
	}
	f := os.NewFile(uintptr(fd), m.Path)
	size, err := verify(f, m)
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	return f, size, nil
}

// byMapping opens what is mapped, whatever became of its name. The kernel wants
// CAP_CHECKPOINT_RESTORE or CAP_SYS_ADMIN for it.
func byMapping(tid int, m Module) (int, error) {
	name := "map_files/" + strconv.FormatUint(m.Maps[0].Start, 16) + "-" + strconv.FormatUint(m.Maps[0].End, 16)
	fd, err := open(path(tid, name), unix.O_RDONLY|unix.O_NONBLOCK)
	if err != nil {
		return 0, fmt.Errorf("through map_files (needs privilege): %w", err)
	}
	return fd, nil
}

// byRoot opens the name as the process sees it. Links must not lead out of its
// root into ours.
func byRoot(tid int, m Module) (int, error) {
	root, err := open(path(tid, "root"), unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return 0, fmt.Errorf("through its root: %w", err)
	}
	defer unix.Close(root)
	how := unix.OpenHow{Flags: unix.O_RDONLY | unix.O_NONBLOCK | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS}
	fd, err := eitherName(m.Path, func(name string) (int, error) { return unix.Openat2(root, name, &how) })
	if err != nil {
		return 0, fmt.Errorf("through its root: %w", err)
	}
	return fd, nil
}

// byPath opens the name as we see it: for a process in a chroot, maps has the
// path from our root, not from its own.
func byPath(_ int, m Module) (int, error) {
	fd, err := eitherName(m.Path, func(name string) (int, error) { return open(name, unix.O_RDONLY|unix.O_NONBLOCK) })
	if err != nil {
		return 0, fmt.Errorf("by its name: %w", err)
	}
	return fd, nil
}

// eitherName tries the path as it is, and without " (deleted)": the file may
// have been replaced by an equal one, or its name may end like that.
func eitherName(name string, open func(string) (int, error)) (int, error) {
	if !strings.HasPrefix(name, "/") {
		return 0, unix.ENOENT
	}
	fd, err := open(name)
	if short, ok := strings.CutSuffix(name, " (deleted)"); err == unix.ENOENT && ok {
		fd, err = open(short)
	}
	return fd, err
}

// verify says why f is not the file that module m was loaded from. Equal
// build-ids are the proof; without one, the same device and inode.
func verify(f *os.File, m Module) (size int64, err error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return 0, fmt.Errorf("stat: %w", err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return 0, errors.New("not a regular file")
	}
	id, err := fileBuildID(f)
	if err != nil {
		return 0, err
	}
	if id != m.BuildID {
		return 0, fmt.Errorf("the file has build-id %q, the process runs %q", id, m.BuildID)
	}
	if id == "" && !sameFile(st, m.Maps[0]) {
		return 0, errors.New("neither has a build-id and they are not the same inode")
	}
	return st.Size, nil
}

// sameFile compares a file with what maps says. On btrfs the two device numbers
// differ for one file; this errs on the safe side.
func sameFile(st unix.Stat_t, m Map) bool {
	return st.Ino == m.Inode && fmt.Sprintf("%02x:%02x", unix.Major(st.Dev), unix.Minor(st.Dev)) == m.Dev
}

// maxVDSO bounds what is read of a module without a file: the vdso has two pages.
const maxVDSO = 1 << 20

// openMemory reads a module that has no file.
func openMemory(tid int, m Module) (io.ReaderAt, int64, io.Closer, error) {
	size := m.Hi() - m.Lo()
	if size > maxVDSO {
		return nil, 0, nil, fmt.Errorf("open %s: %d bytes without a file", m.Path, size)
	}
	mem, err := OpenMem(tid)
	if err != nil {
		return nil, 0, nil, err
	}
	defer mem.Close()
	b := make([]byte, size)
	if _, err := mem.ReadAt(b, int64(m.Lo())); err != nil {
		return nil, 0, nil, fmt.Errorf("open %s: %w", m.Path, err)
	}
	return bytes.NewReader(b), int64(size), io.NopCloser(nil), nil
}

// OnDisk is the build-id of the file that is now under the name of a module, as
// the process sees it: what a new process would load. fs.ErrNotExist: there is
// none any more. "": it has no build-id, or is no program at all.
func OnDisk(pid int, name string) (buildID string, err error) {
	i, err := Read(pid)
	if err != nil {
		return "", err
	}
	if i.Live == 0 {
		return "", explain("open "+name, pid, ErrGone)
	}
	m := Module{Path: name}
	fd, err := byRoot(i.Live, m)
	if errors.Is(err, unix.ENOENT) { // a process in a chroot: the name is from our root
		fd, err = byPath(i.Live, m)
	}
	if errors.Is(err, unix.ENOENT) {
		return "", fmt.Errorf("open %s of process %d: %w", name, pid, fs.ErrNotExist)
	}
	if err != nil {
		return "", fmt.Errorf("open %s of process %d: %w", name, pid, err)
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() {
		return "", err
	}
	id, err := fileBuildID(f)
	if errors.Is(err, errNotELF) || errors.Is(err, io.EOF) {
		return "", nil
	}
	return id, err
}
