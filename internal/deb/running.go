package deb

import (
	"bytes"
	"os"
	"strconv"
	"strings"
)

// Process is one whose program belongs to a package that changes. Start tells it
// from another with the same number later: clock ticks since boot.
type Process struct {
	PID   int    `json:"pid"`
	Start uint64 `json:"start"`
	Name  string `json:"name"`
	Exe   string `json:"exe"`
}

// running are the processes whose program is a file of these packages, so that
// afterwards it can be said that they were left alone. Only as far as we may
// look: this is a check on our own doing, not an inventory.
func (s System) running(changes []Change) []Process {
	owned := map[string]bool{}
	for _, c := range changes {
		files, err := s.Dpkg().files(c.Package, c.Arch)
		if err != nil {
			continue // not installed yet, or without files
		}
		for _, f := range files {
			if strings.Contains(f.name, "bin/") || strings.Contains(f.name, "/lib") {
				owned[merged(f.name)] = true
			}
		}
	}
	es, err := os.ReadDir("/proc")
	if err != nil || len(owned) == 0 {
		return nil
	}
	root := strings.TrimSuffix(s.file("/"), "/")
	var out []Process
	for _, e := range es {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		exe, err := os.Readlink("/proc/" + e.Name() + "/exe")
		if err != nil {
			continue
		}
		name, ok := strings.CutPrefix(exe, root)
		if !ok || !owned[merged(strings.TrimSuffix(name, " (deleted)"))] {
			continue
		}
		if p, ok := identify(pid); ok {
			p.Exe = exe
			out = append(out, p)
		}
	}
	return out
}

// merged is a name after /bin, /lib and /sbin became links into /usr.
func merged(name string) string {
	for _, dir := range []string{"/bin/", "/sbin/", "/lib/", "/lib32/", "/lib64/", "/libx32/"} {
		if strings.HasPrefix(name, dir) {
			return "/usr" + name
		}
	}
	return name
}

// identify reads name and start time: proc_pid_stat(5), field 22.
func identify(pid int) (Process, bool) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	lo, hi := bytes.IndexByte(b, '('), bytes.LastIndexByte(b, ')')
	if err != nil || lo < 0 || hi < lo {
		return Process{}, false
	}
	f := bytes.Fields(b[hi+1:])
	if len(f) < 20 || f[0][0] == 'Z' {
		return Process{}, false
	}
	start, err := strconv.ParseUint(string(f[19]), 10, 64)
	return Process{PID: pid, Start: start, Name: string(b[lo+1 : hi])}, err == nil
}

// ended are those of before that are no longer there.
func ended(before []Process) []Process {
	out := []Process{}
	for _, p := range before {
		if now, ok := identify(p.PID); !ok || now.Start != p.Start {
			out = append(out, p)
		}
	}
	return out
}
