package proc

import (
	"bytes"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Frozen names the cgroup of version 2 that keeps the process from running, ""
// if none does, or if that cannot be seen. Its threads look like others that
// sleep; of version 1 they are in uninterruptible sleep (D).
//
// cgroup-v2.rst, "cgroup.freeze".
func Frozen(pid int) string {
	var arr [1024]byte
	b, err := record(unix.AT_FDCWD, path(pid, "cgroup"), arr[:0])
	if err != nil {
		return ""
	}
	for line := range bytes.Lines(b) {
		group, ok := bytes.CutPrefix(bytes.TrimSuffix(line, []byte("\n")), []byte("0::"))
		if !ok {
			continue
		}
		for _, mount := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
			var arr [256]byte
			events, err := slurp(unix.AT_FDCWD, filepath.Join(mount, string(group), "cgroup.events"), arr[:0])
			if err == nil && bytes.Contains(events, []byte("frozen 1\n")) {
				return string(group)
			}
		}
	}
	return ""
}
