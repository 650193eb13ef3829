package proc

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// Mapping finds the processes that map any image with one of these build-ids
// as code. A process that cannot be examined is returned in denied with the
// reason, never silently left out; one that vanished meanwhile is left out, and
// so is what has no memory (kernel threads, zombies). found is in order.
func Mapping(buildIDs []string) (found []int, denied map[int]error, err error) {
	s := search{want: map[string]bool{}, known: map[string]bool{}}
	for _, id := range buildIDs {
		if id == "" { // what has no build-id is unknown, not equal
			return nil, nil, errors.New("find mappings: empty build-id")
		}
		s.want[strings.ToLower(id)] = true
	}
	return Walk(s.process)
}

// search is one run of Mapping. What a file is, is found out once, from the file
// itself: as long as it is mapped somewhere, its device and inode mean this file.
// Not so where they are shared (SharesInodes): there, and where the kernel opens
// no files of mappings to us, each process is looked at. What a process has in
// its memory is never believed of another.
type search struct {
	want  map[string]bool
	mu    sync.RWMutex
	known map[string]bool // "fe:00 325835", as in maps: is it wanted?
}

// process says whether pid maps something wanted. The buffer is returned for
// reuse.
func (s *search) process(pid int, buf []byte) (hit bool, _ []byte, err error) {
	// As in Modules: a library may be unloaded while we look.
	for range 3 {
		var text []byte
		var tid int
		text, tid, err = mapsText(pid, buf)
		if err != nil {
			return false, buf, err
		}
		buf = text
		var unknown bool
		hit, unknown = s.glance(text)
		if hit || !unknown {
			return hit, buf, nil
		}
		if hit, err = s.examine(tid, text); err == nil || errors.Is(err, ErrGone) || errors.Is(err, fs.ErrPermission) {
			return hit, buf, err
		}
	}
	return false, buf, err
}

// glance goes by the known files alone.
func (s *search) glance(text []byte) (hit, unknown bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for len(text) > 0 {
		line := text
		if i := bytes.IndexByte(text, '\n'); i >= 0 {
			line, text = text[:i], text[i+1:]
		} else {
			text = nil
		}
		key := codeFile(line)
		if key == nil {
			continue
		}
		wanted, seen := s.known[string(key)]
		if wanted {
			return true, false
		}
		unknown = unknown || !seen
	}
	return false, unknown
}

// codeFile cuts "dev inode" out of a line of maps, nil when it is not an
// executable mapping of a file.
func codeFile(line []byte) []byte {
	// start-end r-xp offset dev inode path
	perms := bytes.IndexByte(line, ' ') + 1
	if perms == 0 || len(line) < perms+5 || line[perms+2] != 'x' {
		return nil
	}
	dev := bytes.IndexByte(line[perms+5:], ' ') + perms + 6
	inode := bytes.IndexByte(line[dev:], ' ') + dev + 1
	end := bytes.IndexByte(line[inode:], ' ') + inode
	if dev < perms+6 || inode <= dev || end < inode || line[inode] == '0' {
		return nil
	}
	return line[dev:end]
}

// examine reads the build-ids of the files in text that are not known.
func (s *search) examine(tid int, text []byte) (hit bool, err error) {
	ms, err := ParseMaps(text)
	if err != nil {
		return false, fmt.Errorf("read maps of process %d: %w", tid, err)
	}
	ids := map[fileID]string{}
	asked := map[fileID]bool{}
	for _, m := range ms {
		if !m.Exec || m.Inode == 0 || asked[m.file()] {
			continue
		}
		asked[m.file()] = true
		// Another worker may have found out since glance looked.
		wanted, known := s.knows(m)
		if !known {
			wanted, known = s.learn(tid, m)
		}
		hit = hit || wanted
		if !known {
			ids[m.file()] = ""
		}
	}
	if hit || len(ids) == 0 {
		return hit, nil
	}
	if err := s.identify(tid, ms, ids); err != nil {
		return false, err
	}
	for _, id := range ids {
		hit = hit || s.want[id]
	}
	return hit, nil
}

// learn looks into the file of a mapping, and remembers what it is.
func (s *search) learn(tid int, m Map) (wanted, known bool) {
	if m.SharesInodes() {
		return false, false
	}
	id, ok, err := MappedBuildID(tid, m)
	// What has none here may have one elsewhere: a process that is just writing
	// the file says nothing of the others.
	if err != nil || !ok || id == "" {
		return false, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.known[m.Dev+" "+strconv.FormatUint(m.Inode, 10)] = s.want[id]
	return s.want[id], true
}

func (s *search) knows(m Map) (wanted, known bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	wanted, known = s.known[m.Dev+" "+strconv.FormatUint(m.Inode, 10)]
	return wanted, known
}

// identify fills in the build-ids of files from memory or, where a process may
// be listed but not read (ptrace_scope), from the file itself if it is still
// there under its name.
func (s *search) identify(tid int, ms []Map, ids map[fileID]string) error {
	mem, err := OpenMem(tid)
	if errors.Is(err, fs.ErrPermission) {
		return identifyByName(tid, ms, ids, err)
	}
	if err != nil {
		return err
	}
	defer mem.Close()
	mods, err := modulesIn(ms, mem, func(m Map) bool { _, ok := ids[m.file()]; return ok })
	if err != nil {
		return fmt.Errorf("read modules of process %d: %w", tid, err)
	}
	for _, m := range mods {
		ids[m.Maps[0].file()] = m.BuildID
	}
	return nil
}

// identifyByName is identify without memory; denied is why.
func identifyByName(tid int, ms []Map, ids map[fileID]string, denied error) error {
	for _, m := range ms {
		if id, ok := ids[m.file()]; !ok || id != "" || !m.Exec {
			continue
		}
		fd, err := byRoot(tid, Module{Path: m.Path})
		if err != nil {
			return denied
		}
		f := os.NewFile(uintptr(fd), m.Path)
		var st unix.Stat_t
		if err = unix.Fstat(fd, &st); err == nil && sameFile(st.Dev, st.Ino, m) {
			ids[m.file()], err = fileBuildID(f)
		} else {
			err = denied
		}
		f.Close()
		if err != nil && !errors.Is(err, errNotELF) {
			return denied
		}
	}
	return nil
}
