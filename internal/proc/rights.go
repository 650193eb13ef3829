package proc

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"strconv"

	"golang.org/x/sys/unix"
)

// Capabilities that matter here: capabilities(7).
const (
	CapDACOverride       = unix.CAP_DAC_OVERRIDE // open the memory file of another user's process
	CapSysPtrace         = unix.CAP_SYS_PTRACE
	CapSysAdmin          = unix.CAP_SYS_ADMIN // suspend a seccomp filter
	CapCheckpointRestore = unix.CAP_CHECKPOINT_RESTORE
)

// Rights are what one thread may do and how it is confined.
type Rights struct {
	UIDs, GIDs [4]int // real, effective, saved, filesystem
	Permitted  uint64 // capabilities, a bit each
	Effective  uint64
	Seccomp    int // 0 none, 1 strict, 2 filter
	TracerPID  int
	Size       uint64 // of the address space, bytes; 0 without memory
	Locked     uint64 // of it locked
}

// Has says whether a capability is effective.
func (r Rights) Has(capability int) bool { return r.Effective>>capability&1 != 0 }

// ReadRights reads those of one thread; tid is pid for the first.
func ReadRights(pid, tid int) (r Rights, err error) {
	var arr [4096]byte
	b, err := record(unix.AT_FDCWD, taskPath(pid, tid, "status"), arr[:0])
	if err == nil {
		r, err = ParseRights(b)
	}
	return r, explainThread("read rights of thread", pid, tid, err)
}

// ParseRights decodes the text of a status file: proc_pid_status(5). The
// kernel escapes newlines in the process's name.
func ParseRights(b []byte) (Rights, error) {
	var r Rights
	seen := map[string]bool{}
	for line := range bytes.Lines(b) {
		name, value, ok := bytes.Cut(line, []byte(":"))
		if !ok {
			continue
		}
		if err := r.field(string(name), bytes.Fields(value)); err != nil {
			return Rights{}, fmt.Errorf("status: %s: %w", name, err)
		}
		seen[string(name)] = true
	}
	for _, must := range []string{"Uid", "Gid", "CapPrm", "CapEff", "TracerPid"} {
		if !seen[must] {
			return Rights{}, fmt.Errorf("status: no %s", must)
		}
	}
	return r, nil
}

func (r *Rights) field(name string, f [][]byte) (err error) {
	want := 1
	switch name {
	case "Uid", "Gid":
		want = 4
	case "VmSize", "VmLck":
		want = 2
	case "CapPrm", "CapEff", "Seccomp", "TracerPid":
	default:
		return nil
	}
	if len(f) != want {
		return fmt.Errorf("%d values, not %d", len(f), want)
	}
	switch name {
	case "Uid":
		return four(&r.UIDs, f)
	case "Gid":
		return four(&r.GIDs, f)
	case "CapPrm":
		r.Permitted, err = strconv.ParseUint(string(f[0]), 16, 64)
	case "CapEff":
		r.Effective, err = strconv.ParseUint(string(f[0]), 16, 64)
	case "Seccomp":
		r.Seccomp, err = strconv.Atoi(string(f[0]))
	case "TracerPid":
		r.TracerPID, err = strconv.Atoi(string(f[0]))
	case "VmSize":
		r.Size, err = kB(f)
	case "VmLck":
		r.Locked, err = kB(f)
	}
	return err
}

func four(to *[4]int, f [][]byte) (err error) {
	for i := range to {
		if to[i], err = strconv.Atoi(string(f[i])); err != nil {
			return err
		}
	}
	return nil
}

func kB(f [][]byte) (uint64, error) {
	if string(f[1]) != "kB" {
		return 0, fmt.Errorf("%q is not kB", f[1])
	}
	n, err := strconv.ParseUint(string(f[0]), 10, 54)
	return n << 10, err
}

// Unlimited is a limit that there is not.
const Unlimited = math.MaxUint64

// Limits are the soft limits of a process that a new mapping can meet.
type Limits struct {
	AddressSpace uint64 // RLIMIT_AS, bytes
	Locked       uint64 // RLIMIT_MEMLOCK, bytes
}

// ReadLimits reads /proc/PID/limits.
func ReadLimits(pid int) (Limits, error) {
	var arr [4096]byte
	b, err := record(unix.AT_FDCWD, path(pid, "limits"), arr[:0])
	if err != nil {
		return Limits{}, explain("read limits", pid, err)
	}
	l, err := ParseLimits(b)
	if err != nil {
		return Limits{}, explain("read limits", pid, err)
	}
	return l, nil
}

// ParseLimits decodes the text of a limits file: columns "Limit", "Soft Limit",
// "Hard Limit", "Units".
func ParseLimits(b []byte) (Limits, error) {
	var l Limits
	seen := 0
	for line := range bytes.Lines(b) {
		for name, to := range map[string]*uint64{"Max address space ": &l.AddressSpace, "Max locked memory ": &l.Locked} {
			v, ok := bytes.CutPrefix(line, []byte(name))
			if !ok {
				continue
			}
			f := bytes.Fields(v)
			if len(f) != 3 || string(f[2]) != "bytes" {
				return Limits{}, fmt.Errorf("limits: %q is not soft, hard, bytes", line)
			}
			seen++
			if string(f[0]) == "unlimited" {
				*to = Unlimited
				continue
			}
			var err error
			if *to, err = strconv.ParseUint(string(f[0]), 10, 64); err != nil {
				return Limits{}, fmt.Errorf("limits: %s: %w", bytes.TrimSpace([]byte(name)), err)
			}
		}
	}
	if seen != 2 {
		return Limits{}, errors.New("limits: no address space or locked memory")
	}
	return l, nil
}
