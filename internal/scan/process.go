package scan

import (
	"errors"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"hotpatch/internal/proc"
)

// process examines one, nil when it is gone or has no memory of its own
// (kernel threads, zombies).
func (p *pass) process(pid int) *Process {
	// It may end and its number be given away while we look: then start anew.
	for range 3 {
		x, err := p.look(pid)
		switch {
		case errors.Is(err, proc.ErrGone):
			return nil
		case errors.Is(err, errChanged):
			continue
		}
		return x
	}
	if ms, err := proc.Maps(pid); errors.Is(err, proc.ErrGone) || err == nil && len(ms) == 0 {
		return nil // it has given up its memory and is about to end
	}
	return &Process{PID: pid, Unknown: "it changes faster than it can be read"}
}

var errChanged = errors.New("another process has this number now, or another program runs in it")

func (p *pass) look(pid int) (*Process, error) {
	i, err := identity(pid)
	if errors.Is(err, proc.ErrGone) {
		return nil, err
	}
	if err != nil {
		return &Process{PID: pid, Unknown: err.Error()}, nil
	}
	if i.Kernel || i.Live == 0 {
		return nil, proc.ErrGone
	}
	x := &Process{PID: pid, Started: i.Start, Comm: i.Comm}
	err = p.examine(x, i.Live)
	if err == nil && slices.ContainsFunc(x.Images, Loaded.Old) {
		var full proc.Info
		if full, err = proc.Read(pid); err == nil {
			x.Access = &Access{full.UID, full.Seccomp, full.TracerPID}
		}
	}
	if err == nil && p.scanner.opt.Applied != nil {
		x.Patches, err = p.scanner.opt.Applied(pid)
	}
	if err == nil {
		return x, nil
	}
	// A failed read of what ended meanwhile says nothing.
	if again, aerr := proc.Read(pid); errors.Is(aerr, proc.ErrGone) || aerr == nil && again.Live == 0 {
		return nil, proc.ErrGone
	} else if aerr == nil && again.Start != i.Start || errors.Is(err, errChanged) {
		return nil, errChanged
	}
	x.Images, x.Patches, x.Unknown = nil, nil, err.Error()
	return x, nil
}

// identity is proc.Read without what only few need: of its two files the second
// costs a fifth of a whole scan.
func identity(pid int) (proc.Info, error) {
	st, err := proc.ReadStat(pid, pid)
	if err != nil || st.State == 'Z' || st.State == 'X' || st.State == 'x' {
		return proc.Read(pid) // the leader may have ended before its threads
	}
	return proc.Info{PID: pid, Comm: st.Comm, Start: st.Start, PPID: st.PPID, Kernel: st.Flags&kernelThread != 0, Live: pid}, nil
}

// kernelThread is PF_KTHREAD of include/linux/sched.h.
const kernelThread = 0x00200000

// examine fills in root, program, unit and images.
func (p *pass) examine(x *Process, tid int) error {
	dir := "/proc/" + strconv.Itoa(tid)
	r, err := p.rootOf(x.PID, dir)
	if err != nil {
		return err
	}
	x.Root = r.name
	x.Exe, err = os.Readlink(dir + "/exe")
	if errors.Is(err, os.ErrNotExist) {
		return errChanged // no memory any more: it ends
	}
	if err != nil {
		return err
	}
	cgroup, err := small(dir + "/cgroup")
	if err != nil {
		return err
	}
	x.Unit = Unit(cgroup)
	if x.PID == 1 && x.Unit == "" {
		x.Unit = "init.scope"
	}
	// A library may be unloaded between two reads: another look.
	for range 3 {
		var ms []proc.Map
		if ms, err = proc.CodeMaps(tid); err != nil {
			return err
		}
		if len(ms) == 0 {
			return errChanged // it ended, or execs at this moment
		}
		var code int
		if x.Images, code, err = p.images(ms, tid, r); err == nil && code > 0 && len(x.Images) == 0 {
			return errors.New("its program is no x86-64 image")
		}
		if err == nil {
			return nil
		}
	}
	return err
}

// small reads a file of /proc in one piece, without the runtime's poller: a
// thousand of them are read for one scan. Longer than 16 KiB none of those
// wanted here is.
func small(name string) (string, error) {
	fd, err := unix.Open(name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", &os.PathError{Op: "open", Path: name, Err: err}
	}
	defer unix.Close(fd)
	var b [16 << 10]byte
	n, err := unix.Read(fd, b[:])
	if err != nil {
		return "", &os.PathError{Op: "read", Path: name, Err: err}
	}
	return string(b[:n]), nil
}

// mapped is a file as maps names it. The name is part of it: on devices without
// a number of their own (overlay, btrfs) different files share an inode, and
// only the name, in one mount namespace, tells them apart.
type mapped struct {
	dev   string
	inode uint64
	path  string
	root  string
}

// found is what a file is. ok: it was looked at.
type found struct {
	buildID string
	elf     bool
}

const deleted = " (deleted)"

// images lists the images among the files that are mapped as code, of which
// there are so many.
func (p *pass) images(ms []proc.Map, tid int, r rootOf) (list []Loaded, code int, err error) {
	var keys []mapped
	var unknown []mapped
	var where []proc.Map // of those
	known := map[mapped]found{}
	p.mu.RLock()
	for i := range ms {
		m := &ms[i]
		if !m.Exec || m.Inode == 0 || !strings.HasPrefix(m.Path, "/") {
			continue
		}
		k := mapped{m.Dev, m.Inode, m.Path, r.name}
		if slices.Contains(keys, k) {
			continue
		}
		keys = append(keys, k)
		if f, ok := p.files[k]; ok {
			known[k] = f
		} else {
			unknown, where = append(unknown, k), append(where, *m)
		}
	}
	p.mu.RUnlock()
	left := unknown[:0]
	for i, k := range unknown {
		if f, ok := p.learn(tid, k, where[i]); ok {
			known[k] = f
		} else {
			left = append(left, k)
		}
	}
	if len(left) > 0 {
		if err := p.identify(tid, r, left, known); err != nil {
			return nil, 0, err
		}
	}
	out := make([]Loaded, 0, len(keys))
	for _, k := range keys {
		if f := known[k]; f.elf {
			out = append(out, p.loaded(k, f, r))
		}
	}
	slices.SortFunc(out, func(a, b Loaded) int { return strings.Compare(a.Path, b.Path) })
	return out, len(keys), nil
}

// learn looks into the file of a mapping, and remembers what it is for all that
// map it. What a process has in its memory instead is not believed of others.
func (p *pass) learn(tid int, k mapped, m proc.Map) (f found, ok bool) {
	id, ok, err := proc.MappedBuildID(tid, m)
	// What is no image here may be one elsewhere: a process that is just
	// writing it says nothing of the others.
	if err != nil || !ok || id == "" {
		return found{}, false
	}
	f = found{id, true}
	// A deleted file on a device that shares inodes is known by nothing.
	if !m.SharesInodes() || !strings.HasSuffix(k.path, deleted) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.files[k] = f
	}
	return f, true
}

// identify reads build-ids from the process's memory, for this process alone.
func (p *pass) identify(tid int, r rootOf, unknown []mapped, known map[mapped]found) error {
	mem, err := proc.OpenMem(tid)
	if err != nil {
		return err
	}
	defer mem.Close()
	ms, err := proc.Maps(tid)
	if err != nil {
		return err
	}
	some := make([]proc.Map, 0, 8*len(unknown))
	there := map[mapped]bool{}
	for _, m := range ms {
		if k := (mapped{m.Dev, m.Inode, m.Path, r.name}); slices.Contains(unknown, k) {
			some = append(some, m)
			there[k] = true
		}
	}
	if len(there) < len(unknown) {
		return errChanged // since they were listed
	}
	mods, err := proc.ModulesIn(some, mem)
	if err != nil {
		return err
	}
	for _, k := range unknown {
		known[k] = found{}
	}
	for _, m := range mods {
		known[mapped{m.Maps[0].Dev, m.Maps[0].Inode, m.Maps[0].Path, r.name}] = found{m.BuildID, true}
	}
	return nil
}

// loaded adds what the next start would load.
func (p *pass) loaded(k mapped, f found, r rootOf) Loaded {
	name, gone := strings.CutSuffix(k.path, deleted)
	if inside, ok := strings.CutPrefix(name, r.prefix); ok && strings.HasPrefix(inside, "/") {
		name = inside
	}
	l := Loaded{Path: name, BuildID: f.buildID, Next: f.buildID}
	if gone {
		l.Deleted = true
		l.Next = p.atName(name, r)
	}
	return l
}

// atName is the build-id of what is at a name in a process's root, "" when
// nothing with one is.
func (p *pass) atName(name string, r rootOf) string {
	key := r.name + "\x00" + name
	p.mu.RLock()
	f, ok := p.next[key]
	p.mu.RUnlock()
	if ok {
		return f.buildID
	}
	// Read in the root, not in the process's mount namespace: what a service
	// hides from itself is no file of a package. What cannot be read will not
	// be loaded either.
	f.buildID, _, _ = p.scanner.onDisk(r.fd, name)
	p.mu.Lock()
	p.next[key] = f
	p.mu.Unlock()
	return f.buildID
}

// Unit is the systemd unit that the text of a cgroup file names: the innermost
// one that is no slice. proc_pid_cgroup(5): "0::/system.slice/nginx.service".
func Unit(text string) string {
	path := ""
	for line := range strings.Lines(text) {
		f := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(f) == 3 && (f[0] == "0" && f[1] == "" || f[1] == "name=systemd") {
			path = f[2]
			if f[1] != "" {
				break // with both, systemd's own tree is the old one
			}
		}
	}
	unit := ""
	for part := range strings.SplitSeq(path, "/") {
		if strings.HasSuffix(part, ".service") || strings.HasSuffix(part, ".scope") && unit == "" {
			unit = part
		}
	}
	return unit
}

func inodeOf(name string) (dev, ino uint64, err error) {
	var st unix.Stat_t
	if err := unix.Stat(name, &st); err != nil {
		return 0, 0, &os.PathError{Op: "stat", Path: name, Err: err}
	}
	return st.Dev, st.Ino, nil
}
