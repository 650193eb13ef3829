package deb

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// reserve is left free: dpkg's own files, logs, and what packages' scripts make.
const reserve = 16 << 20

// checkSpace compares what a plan needs with what is free. dpkg unpacks a whole
// package next to the old one before it takes the old one away, so for a moment
// the largest one is there twice. Packages do not say where their files go:
// what has no file system of its own is counted to that of /usr.
func (s System) checkSpace(p *Plan, largest int64) error {
	need := map[uint64]int64{}
	where := map[uint64]string{}
	free := map[uint64]int64{}
	add := func(name string, n int64) error {
		var st unix.Stat_t
		var fs unix.Statfs_t
		path := s.file(name)
		if err := unix.Stat(path, &st); err != nil {
			if name == "/" {
				return fmt.Errorf("stat %s: %w", path, err)
			}
			return nil // not there: it is made in the directory above
		}
		if err := unix.Statfs(path, &fs); err != nil {
			return fmt.Errorf("read free space of %s: %w", path, err)
		}
		if _, ok := where[st.Dev]; !ok {
			where[st.Dev], free[st.Dev] = path, int64(fs.Bavail)*fs.Bsize
		}
		need[st.Dev] += n
		return nil
	}
	usr := "/usr"
	if err := unix.Access(s.file(usr), unix.F_OK); err != nil {
		usr = "/"
	}
	for _, x := range []struct {
		name string
		n    int64
	}{
		{"/", 0},
		{usr, max(0, p.Grow) + largest},
		{"/var/lib/dpkg", reserve},
		{s.state("archives"), p.Download},
	} {
		if err := add(x.name, x.n); err != nil {
			return err
		}
	}
	for dev, n := range need {
		if n > free[dev] {
			p.refuse(ReasonSpace, "", "the file system of %s has %d MiB free, %d are needed", where[dev], free[dev]>>20, (n+1<<20-1)>>20)
		}
	}
	return nil
}
