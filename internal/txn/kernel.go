package txn

import (
	"golang.org/x/sys/unix"

	"hotpatch/internal/proc"
)

// kernelRelease is that of the kernel that runs, "" if it does not tell.
func kernelRelease() string {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return ""
	}
	return unix.ByteSliceToString(u.Release[:])
}

// kernelSince says whether the kernel that runs has this version or a later one.
func kernelSince(major, minor int) bool { return since(kernelRelease(), major, minor) }

// since says it of a release. One that cannot be read has none.
func since(release string, major, minor int) bool {
	a, b, err := proc.ParseKernel(release)
	return err == nil && (a > major || a == major && b >= minor)
}
