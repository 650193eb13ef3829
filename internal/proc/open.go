package proc

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// File is the content of a module's file, to be closed after use.
type File struct {
	io.ReaderAt
	io.Closer
	Size int64
	ID   FileID // of what was opened; zero, and not lasting, for what is only in memory
}

// Open is OpenFile in parts.
func Open(pid int, m Module) (io.ReaderAt, int64, io.Closer, error) {
	f, err := OpenFile(pid, m)
	if err != nil {
		return nil, 0, nil, err
	}
	return f, f.Size, f, nil
}

// OpenFile opens the file behind a module even if it was deleted or lives in
// another mount namespace (through /proc/PID/map_files, else /proc/PID/root
// with the build-id verified). The content of [vdso] comes from memory.
//
// The file is the process's choice: treat what is in it as hostile, and what
// follows from it as true of this file only (File.ID).
func OpenFile(pid int, m Module) (*File, error) {
	if len(m.Maps) == 0 {
		return nil, errors.New("open module: it has no mappings")
	}
	if m.Maps[0].Inode != 0 {
		// The common case first, without asking which thread is alive.
		if f, err := openAs(byMapping, pid, m); err == nil {
			return f, nil
		}
	}
	i, err := Read(pid)
	if err != nil {
		return nil, err
	}
	if i.Live == 0 {
		return nil, explain("open "+m.Path, pid, ErrGone)
	}
	if m.Maps[0].Inode == 0 {
		return openMemory(i.Live, m)
	}
	var reasons []error
	for _, try := range []func(int, Module) (int, error){byMapping, byRoot, byPath} {
		f, err := openAs(try, i.Live, m)
		if err == nil {
			return f, nil
		}
		reasons = append(reasons, err)
	}
	return nil, fmt.Errorf("open %s of process %d: %w", m.Path, pid, errors.Join(reasons...))
}

// openAs opens a module's file in one way, and makes sure that it is this file.
func openAs(try func(int, Module) (int, error), tid int, m Module) (*File, error) {
	fd, err := try(tid, m)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), m.Path)
	var regular bool
	id, err := stateOf(fd, "", &regular)
	if err == nil && !regular {
		err = errNotRegular
	}
	var size int64
	if err == nil {
		size, err = verify(f, id, m)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return &File{f, f, size, id}, nil
}

// byMapping opens what is mapped, whatever became of its name. The kernel wants
// CAP_CHECKPOINT_RESTORE or CAP_SYS_ADMIN for it.
func byMapping(tid int, m Module) (int, error) {
	fd, err := openRegular(func(flags int) (int, error) { return open(path(tid, mapFile(m.Maps[0])), flags) })
	if err != nil {
		return 0, fmt.Errorf("through map_files (needs privilege): %w", err)
	}
	return fd, nil
}

// byRoot opens the name as the process sees it.
func byRoot(tid int, m Module) (int, error) {
	root, err := open(path(tid, "root"), unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return 0, fmt.Errorf("through its root: %w", err)
	}
	defer unix.Close(root)
	return below(root, m.Path)
}

// below opens a name in a root. Links must not lead out of it into ours.
func below(root int, name string) (int, error) {
	fd, err := openRegular(func(flags int) (int, error) {
		how := unix.OpenHow{Flags: uint64(flags) | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS}
		return eitherName(name, func(name string) (int, error) { return unix.Openat2(root, name, &how) })
	})
	if err != nil {
		return 0, fmt.Errorf("through its root: %w", err)
	}
	return fd, nil
}

// byPath opens the name as we see it: for a process in a chroot, maps has the
// path from our root, not from its own. In another mount namespace a name means
// something else.
func byPath(tid int, m Module) (int, error) {
	if err := sameMounts(tid); err != nil {
		return 0, fmt.Errorf("by its name: %w", err)
	}
	fd, err := openRegular(func(flags int) (int, error) {
		return eitherName(m.Path, func(name string) (int, error) { return open(name, flags) })
	})
	if err != nil {
		return 0, fmt.Errorf("by its name: %w", err)
	}
	return fd, nil
}

// sameMounts says why names of a process are not ours.
func sameMounts(tid int) error {
	its, err := Namespace(tid, "mnt")
	if err != nil {
		return err
	}
	ours, err := Namespace(os.Getpid(), "mnt")
	if err == nil && its != ours {
		err = errors.New("it is in another mount namespace")
	}
	return err
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
func verify(f *os.File, is FileID, m Module) (size int64, err error) {
	id, err := fileBuildID(f)
	if err != nil {
		return 0, err
	}
	if id != m.BuildID {
		return 0, fmt.Errorf("the file has build-id %q, the process runs %q", id, m.BuildID)
	}
	if id == "" && !sameFile(is.dev, is.inode, m.Maps[0]) {
		return 0, errors.New("neither has a build-id and they are not the same inode")
	}
	return int64(is.size), nil
}

// sameFile compares a file with what maps says. On btrfs the two device numbers
// differ for one file; this errs on the safe side.
func sameFile(dev, inode uint64, m Map) bool {
	return inode == m.Inode && device(unix.Major(dev), unix.Minor(dev)) == m.Dev
}

// maxVDSO bounds what is read of a module without a file: the vdso has two pages.
const maxVDSO = 1 << 20

// openMemory reads a module that has no file.
func openMemory(tid int, m Module) (*File, error) {
	size := m.Hi() - m.Lo()
	if size > maxVDSO {
		return nil, fmt.Errorf("open %s: %d bytes without a file", m.Path, size)
	}
	mem, err := OpenMem(tid)
	if err != nil {
		return nil, err
	}
	defer mem.Close()
	b := make([]byte, size)
	if _, err := mem.ReadAt(b, int64(m.Lo())); err != nil {
		return nil, fmt.Errorf("open %s: %w", m.Path, err)
	}
	return &File{ReaderAt: bytes.NewReader(b), Closer: io.NopCloser(nil), Size: int64(size)}, nil
}

// OnDisk is the build-id of the file that is now under the name of a module, as
// the process sees it: what a new process would load. fs.ErrNotExist: there is
// none any more. "": it has no build-id, or is no program at all. The name may be
// a hostile process's word: nothing but a regular file is opened.
func OnDisk(pid int, name string) (buildID string, err error) {
	i, err := Read(pid)
	if err != nil {
		return "", err
	}
	if i.Live == 0 {
		return "", explain("open "+name, pid, ErrGone)
	}
	root, err := open(path(i.Live, "root"), unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return "", explain("open root", pid, err)
	}
	defer unix.Close(root)
	return onDisk(i.Live, root, name)
}

// onDisk is OnDisk in the root that a thread has.
func onDisk(tid, root int, name string) (buildID string, err error) {
	fd, err := below(root, name)
	if errors.Is(err, unix.ENOENT) && sameMounts(tid) == nil { // a process in a chroot: the name is from our root
		fd, err = byPath(tid, Module{Path: name})
	}
	switch {
	case errors.Is(err, errNotRegular):
		return "", nil
	case errors.Is(err, unix.ENOENT):
		return "", fmt.Errorf("open %s of process %d: %w", name, tid, fs.ErrNotExist)
	case err != nil:
		return "", fmt.Errorf("open %s of process %d: %w", name, tid, err)
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	id, err := fileBuildID(f)
	if errors.Is(err, errNotELF) || errors.Is(err, io.EOF) {
		return "", nil
	}
	return id, err
}
