package proc

import "golang.org/x/sys/unix"

// OpenRemote and StackAuxv are what is done where permissions do not open a
// process's own files, for tests.
var (
	OpenRemote = openRemote
	StackAuxv  = stackAuxv
)

// Record reads a file that is one record.
func Record(name string, buf []byte) ([]byte, error) { return record(unix.AT_FDCWD, name, buf) }

// Mounted says whether it is known which directory this is, and where it is mounted.
func Mounted(dir string) bool { return mounted(unix.AT_FDCWD, dir, 0).lasting }
