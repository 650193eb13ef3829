package proc

import (
	"bytes"
	"errors"
	"io/fs"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Frozen names the cgroup of version 2 that keeps the process from running, ""
// if none does, or if there is nothing to see it by, or it is not shown to us. Its
// threads look like others that sleep; of version 1 they are in uninterruptible
// sleep (D).
//
// cgroup-v2.rst, "cgroup.freeze".
func Frozen(pid int) (group string, err error) {
	var arr [1024]byte
	b, err := record(unix.AT_FDCWD, path(pid, "cgroup"), arr[:0])
	if unseen(err) {
		return "", nil
	}
	if err != nil {
		return "", explain("read cgroup", pid, err)
	}
	for line := range bytes.Lines(b) {
		group, ok := bytes.CutPrefix(bytes.TrimSuffix(line, []byte("\n")), []byte("0::"))
		if !ok {
			continue
		}
		for _, mount := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
			var arr [256]byte
			events, err := slurp(unix.AT_FDCWD, filepath.Join(mount, string(group), "cgroup.events"), arr[:0])
			switch {
			case unseen(err):
			case err != nil:
				return "", explain("read state of cgroup", pid, err)
			case bytes.Contains(events, []byte("frozen 1\n")):
				return string(group), nil
			}
		}
	}
	return "", nil
}

// unseen says of an error that there is no such file, any more or for us.
func unseen(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) ||
		errors.Is(err, unix.ESRCH) || errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENOTDIR)
}
