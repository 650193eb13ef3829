package proc

import (
	"errors"
	"fmt"
	"sort"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// Map is one line of /proc/PID/maps.
type Map struct {
	Start, End, Off           uint64
	Read, Write, Exec, Shared bool
	Dev                       string
	Inode                     uint64
	Path                      string // "" for anonymous; "[heap]", "[vdso]", "... (deleted)"
}

// Size is the length in bytes.
func (m Map) Size() uint64 { return m.End - m.Start }

// String is the line without device and inode, for messages.
func (m Map) String() string {
	b := []byte("---p")
	for i, set := range []bool{m.Read, m.Write, m.Exec, m.Shared} {
		if set {
			b[i] = "rwxs"[i]
		}
	}
	return strings.TrimRight(fmt.Sprintf("%x-%x %s %x %s", m.Start, m.End, b, m.Off, m.Path), " ")
}

// Maps lists the mappings of a process, by address; pid may be a thread id. The
// leader of a process can be a zombie while its threads run: then a live thread
// is asked. The list is empty for what has no memory: kernel threads, zombies.
func Maps(pid int) ([]Map, error) {
	ms, _, err := liveMaps(pid)
	return ms, err
}

// liveMaps is Maps, and the thread that has the memory.
func liveMaps(pid int) ([]Map, int, error) {
	spare := texts()
	buf, _ := spare.Get().(*[]byte)
	if buf == nil {
		buf = new([]byte)
	}
	defer spare.Put(buf)
	for try := 1; ; try++ {
		b, tid, err := mapsText(pid, *buf)
		if err != nil {
			return nil, 0, err
		}
		if cap(b) <= mostSpare {
			*buf = b
		}
		ms, err := ParseMaps(b)
		switch {
		case err == nil:
			return ms, tid, nil
		case !errors.Is(err, errTorn) || try == tornTries:
			return nil, 0, fmt.Errorf("read maps of process %d: %w", pid, err)
		}
	}
}

// texts are buffers for the text of mappings, which a stop reads again and again.
var texts = sync.OnceValue(func() *sync.Pool { return new(sync.Pool) })

const mostSpare = 1 << 20 // bytes of a buffer that is kept

// errTorn: Linux 6.17 and later list mappings without holding up the process,
// and one that grew meanwhile can begin before the end of the one listed before.
var errTorn = errors.New("is below the mapping before it")

// tornTries is how often mappings are listed to get a list in order.
const tornTries = 20

// mapsText reads /proc/PID/maps, through another thread when the leader has
// already given up its memory. The text is in buf or in its replacement.
func mapsText(pid int, buf []byte) (text []byte, tid int, err error) {
	b, err := slurp(unix.AT_FDCWD, path(pid, "maps"), buf)
	if err == nil {
		if len(b) > 0 {
			return b, pid, nil
		}
		buf = b
	}
	if err != nil && !errors.Is(err, unix.ESRCH) {
		return nil, 0, explain("read maps", pid, err)
	}
	// No memory: an empty file, or ESRCH (which some kernels say here, and all
	// of them for a process that is gone).
	tids, err := Threads(pid)
	if err != nil {
		return nil, 0, err
	}
	for _, tid := range tids {
		if tid == pid {
			continue
		}
		b, err := slurp(unix.AT_FDCWD, taskPath(pid, tid, "maps"), buf)
		switch {
		case err == nil && len(b) > 0:
			return b, tid, nil
		case err != nil && !errors.Is(err, unix.ESRCH) && !errors.Is(err, unix.ENOENT):
			return nil, 0, explain("read maps", pid, err)
		}
	}
	return buf[:0], pid, nil
}

// ParseMaps decodes the text of a maps file. Mappings are listed by address and
// do not overlap; text in which they do is an error. Errors name the line.
func ParseMaps(b []byte) ([]Map, error) {
	// One string for the whole text: the names are slices of it.
	s := string(b)
	out := make([]Map, 0, strings.Count(s, "\n"))
	var last uint64
	for n := 1; s != ""; n++ {
		line, rest, ok := strings.Cut(s, "\n")
		if !ok {
			return nil, fmt.Errorf("maps line %d: cut off", n)
		}
		s = rest
		m, bad := parseMap(line)
		if bad != "" {
			return nil, fmt.Errorf("maps line %d: bad %s in %.200q", n, bad, line)
		}
		if m.Start < last {
			return nil, fmt.Errorf("maps line %d: %x %w", n, m.Start, errTorn)
		}
		last = m.End
		out = append(out, m)
	}
	return out, nil
}

// parseMap reads "start-end rwxp offset dev inode   path"; bad names the field
// at fault.
func parseMap(s string) (m Map, bad string) {
	var ok bool
	if m.Start, s, ok = number(s, 16, '-'); !ok {
		return m, "start"
	}
	if m.End, s, ok = number(s, 16, ' '); !ok || m.End <= m.Start {
		return m, "end"
	}
	if len(s) < 5 || s[4] != ' ' {
		return m, "permissions"
	}
	m.Read, m.Write, m.Exec, m.Shared = s[0] == 'r', s[1] == 'w', s[2] == 'x', s[3] == 's'
	if m.Off, s, ok = number(s[5:], 16, ' '); !ok {
		return m, "offset"
	}
	i := strings.IndexByte(s, ' ')
	if i < 3 {
		return m, "device"
	}
	m.Dev, s = s[:i], s[i+1:]
	if m.Inode, s, ok = number(s, 10, ' '); !ok {
		return m, "inode"
	}
	m.Path = unescape(strings.TrimLeft(s, " "))
	return m, ""
}

// number cuts digits of the base (at least one, no overflow) and the separator
// after them, which may be missing at the end of the line.
func number(s string, base uint64, sep byte) (v uint64, rest string, ok bool) {
	for i := 0; i < len(s); i++ {
		var d uint64
		switch c := s[i]; {
		case c == sep && i > 0:
			return v, s[i+1:], true
		case '0' <= c && c <= '9':
			d = uint64(c - '0')
		case 'a' <= c && c <= 'f' && base == 16:
			d = uint64(c-'a') + 10
		default:
			return 0, "", false
		}
		if v > (1<<64-1-d)/base {
			return 0, "", false
		}
		v = v*base + d
	}
	return v, "", s != ""
}

// unescape undoes the one escape of maps: a newline is written \012 (a
// backslash is not escaped, so a name that holds these four characters cannot
// be told from one with a newline).
func unescape(s string) string {
	if !strings.Contains(s, `\012`) {
		return s
	}
	return strings.ReplaceAll(s, `\012`, "\n")
}

// Find is the mapping that holds addr, in a list by address.
func Find(ms []Map, addr uint64) (Map, bool) {
	i := sort.Search(len(ms), func(i int) bool { return ms[i].End > addr })
	if i == len(ms) || ms[i].Start > addr {
		return Map{}, false
	}
	return ms[i], true
}
