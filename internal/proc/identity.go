package proc

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// FileID is a file in one state of its content, by the kernel's word and not by
// that of a process: device, inode, size, and when it was changed last. Whoever
// changes the file changes this. It is comparable.
//
// The numbers of devices without one of their own (major 0: overlay, btrfs,
// tmpfs, FUSE) are given to others when they are unmounted; there the mount is
// part of it, by a number that no other ever has (Linux 6.8).
type FileID struct {
	dev, inode, mount uint64
	size              uint64
	mtime, ctime      int64 // ns
	lasting           bool
}

// Lasting says that no other file can ever have this identity. Of one that is
// not lasting nothing may be remembered for other processes.
func (f FileID) Lasting() bool { return f.lasting }

// stateOf asks the kernel about name, relative to dir, or about dir itself when
// it is "".
func stateOf(dir int, name string, regular *bool) (FileID, error) {
	const mask = unix.STATX_BASIC_STATS | unix.STATX_MNT_ID_UNIQUE
	flags := 0
	if name == "" {
		flags = unix.AT_EMPTY_PATH
	}
	var st unix.Statx_t
	for {
		err := unix.Statx(dir, name, flags, mask, &st)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return FileID{}, err
		}
		break
	}
	*regular = st.Mode&unix.S_IFMT == unix.S_IFREG
	f := FileID{
		dev: unix.Mkdev(st.Dev_major, st.Dev_minor), inode: st.Ino, size: st.Size,
		mtime: st.Mtime.Sec*1e9 + int64(st.Mtime.Nsec), ctime: st.Ctime.Sec*1e9 + int64(st.Ctime.Nsec),
		lasting: true,
	}
	if st.Dev_major == 0 {
		f.mount, f.lasting = st.Mnt_id, st.Mask&unix.STATX_MNT_ID_UNIQUE != 0
	}
	return f, nil
}

var errNotRegular = errors.New("not a regular file")

// Identify tells which file a module was loaded from, without opening it where
// the kernel lets us. What is read of it later counts for this identity only if
// File.ID is the same.
func Identify(pid int, m Module) (FileID, error) {
	if len(m.Maps) == 0 || m.Maps[0].Inode == 0 {
		return FileID{}, fmt.Errorf("identify %s: it has no file", m.Path)
	}
	var regular bool
	if id, err := stateOf(unix.AT_FDCWD, path(pid, mapFile(m.Maps[0])), &regular); err == nil && regular {
		return id, nil
	}
	f, err := OpenFile(pid, m)
	if err != nil {
		return FileID{}, err
	}
	defer f.Close()
	return f.ID, nil
}

// mapFile is the name of a mapping's file below /proc/PID.
func mapFile(m Map) string {
	return "map_files/" + strconv.FormatUint(m.Start, 16) + "-" + strconv.FormatUint(m.End, 16)
}

// reopen opens for reading what a path descriptor stands for, if that is a
// regular file. Others are not even opened: that alone lets the writer of a pipe
// go on, starts a watchdog, or takes a terminal. Where somebody holds a lease the
// file is refused, rather than waited for.
func reopen(fd int) (int, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return 0, fmt.Errorf("stat: %w", err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return 0, errNotRegular
	}
	return open("/proc/self/fd/"+strconv.Itoa(fd), unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY)
}

// openRegular opens what find finds when it is asked for a path descriptor.
func openRegular(find func(flags int) (int, error)) (int, error) {
	at, err := find(unix.O_PATH)
	if err != nil {
		return 0, err
	}
	defer unix.Close(at)
	return reopen(at)
}

// MappedBuildID is the build-id of the file behind a mapping, "" when it has none,
// read from the file: what a process has in its memory instead is its own affair,
// and says nothing of others that map the file. ok is false, with no error, for
// what is no x86-64 image, or no file that the kernel opens to us.
//
// It holds for the device and inode of the mapping; where those mean several files
// (SharesInodes), for its name in this mount namespace. tid as in Info.Live.
func MappedBuildID(tid int, m Map) (id string, ok bool, err error) {
	fd, err := openRegular(func(flags int) (int, error) { return open(path(tid, mapFile(m)), flags) })
	if err != nil {
		return "", false, nil // not permitted, no file, or unmapped meanwhile
	}
	f := os.NewFile(uintptr(fd), m.Path)
	defer f.Close()
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return "", false, err
	}
	same := sameFile(st.Dev, st.Ino, m)
	if m.SharesInodes() {
		var name [unix.PathMax]byte
		n, err := unix.Readlink("/proc/self/fd/"+strconv.Itoa(fd), name[:])
		same = err == nil && string(name[:n]) == m.Path
	}
	if !same {
		return "", false, nil // another one is mapped there by now
	}
	return FileBuildID(f)
}

// SharesInodes says that the device and inode of the mapping may mean several
// files: the subvolumes of one btrfs and the layers of one overlay share a device
// (of major number 0) and use the same inodes for different files.
func (m Map) SharesInodes() bool { return strings.HasPrefix(m.Dev, "00:") }
