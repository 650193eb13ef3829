package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"hotpatch/internal/proc"
	"hotpatch/internal/txn"
)

// symptoms is what is known of one process besides what apply itself looks at.
type symptoms struct {
	threads   int
	stuck     int         // in uninterruptible sleep
	sandboxed int         // under seccomp
	tracers   map[int]int // threads by who traces them
	comms     map[int]string
	rights    proc.Rights // of a thread that lives
	limits    proc.Limits
	label     string
}

// examineProcess judges one process without touching it.
func examineProcess(pid int, h proc.Host, r proc.Rights) (*processFindings, error) {
	look, err := txn.Examine(pid, nil)
	if err != nil && !errors.Is(err, proc.ErrGone) {
		return nil, fmt.Errorf("examine process %d: %w", pid, err)
	}
	if err != nil {
		look = &txn.Look{Objections: []txn.Objection{{About: txn.OfAccess, Outcome: txn.Died, Reason: err.Error()}}}
	}
	for i := range look.Objections {
		if o := &look.Objections[i]; o.Outcome == txn.Died && look.Info.PID == 0 {
			o.Reason = "no such process"
		}
	}
	p := &processFindings{PID: pid, Comm: look.Info.Comm, Images: []mappedImage{}, Hotpatches: nonNil(look.Carried)}
	for _, m := range look.Modules {
		if m.Path != "[vdso]" {
			p.Images = append(p.Images, mappedImage{m.Path, m.BuildID})
		}
	}
	p.Checks = judgeLook(look)
	if len(look.Modules) > 0 {
		s, err := readSymptoms(look.Info)
		switch {
		case errors.Is(err, proc.ErrGone):
			p.Checks = append(p.Checks, problem("access", err.Error(), ""))
		case err != nil:
			return nil, err
		default:
			p.Checks = append(p.Checks, judgeSymptoms(s, look.Mappings, h, r)...)
		}
	}
	p.Patchable = !hasProblem(p.Checks)
	return p, nil
}

func readSymptoms(info proc.Info) (symptoms, error) {
	s := symptoms{tracers: map[int]int{}, comms: map[int]string{}}
	tids, err := proc.Threads(info.PID)
	if err != nil {
		return s, err
	}
	for _, tid := range tids {
		r, err := proc.ReadRights(info.PID, tid)
		if errors.Is(err, proc.ErrGone) {
			continue // it ended
		}
		if err != nil {
			return s, err
		}
		s.threads++
		if r.Seccomp != 0 {
			s.sandboxed++
		}
		if r.TracerPID != 0 {
			s.tracers[r.TracerPID]++
			s.comms[r.TracerPID] = commOf(r.TracerPID)
		}
		if tid == info.Live {
			s.rights = r
		}
		if state, err := proc.ThreadState(info.PID, tid); err == nil && state == 'D' {
			s.stuck++
		}
	}
	if s.limits, err = proc.ReadLimits(info.PID); err != nil {
		return s, err
	}
	if s.label, err = proc.Label(info.PID); errors.Is(err, fs.ErrPermission) {
		s.label, err = "", nil // a policy may keep even that from us
	}
	return s, err
}

// aspect is one thing that apply looks at, in words for when there is nothing
// against it, and what to do when there is.
type aspect struct {
	about          txn.About
	fine, remedy   string
	onlyForAMoment bool
}

// aspects are those that judgeLook reports; who traces it is told by
// judgeTracers, with the tracer's name.
func aspects() []aspect {
	return []aspect{
		{txn.OfAccess, "it may be changed by us", asRoot, false},
		{txn.OfSharing, "it shares its memory with no other process", "try again: it is so between vfork and exec", true},
		{txn.OfLoaded, "its mappings and images can be read", "", false},
		{txn.OfUnfinished, "the hotpatches that it carries can be read", "", false},
		{txn.OfStacks, "it does not switch stacks by itself", "restart it with the fixed package instead", false},
		{txn.OfPadding, "there is room for the loader stub", "restart it with the fixed package instead", false},
		{txn.OfRoom, "there is free address space near its images", "restart it with the fixed package instead", false},
	}
}

// judgeLook turns what apply would say into findings.
func judgeLook(look *txn.Look) []finding {
	against := map[txn.About]txn.Objection{}
	for _, o := range look.Objections {
		if _, seen := against[o.About]; !seen {
			against[o.About] = o
		}
	}
	var fs []finding
	for _, a := range aspects() {
		o, bad := against[a.about]
		switch {
		case !bad:
			fs = append(fs, fine(string(a.about), "%s", a.fine))
			continue
		case a.onlyForAMoment:
			fs = append(fs, warn(string(a.about), o.Reason, a.remedy))
			continue
		}
		remedy := a.remedy
		if a.about == txn.OfAccess && !strings.Contains(o.Reason, "permitted") {
			remedy = "" // no privilege would help
		}
		fs = append(fs, problem(string(a.about), o.Reason, remedy))
		if a.about == txn.OfAccess || a.about == txn.OfLoaded {
			return fs // the rest was not looked at
		}
	}
	return append(fs, judgeImages(look), judgeCarried(look.Carried))
}

func judgeImages(look *txn.Look) finding {
	images, unnamed, replaced := 0, 0, 0
	for _, m := range look.Modules {
		if m.Path == "[vdso]" {
			continue
		}
		images++
		if m.BuildID == "" {
			unnamed++
		}
		if strings.HasSuffix(m.Path, " (deleted)") {
			replaced++
		}
	}
	switch {
	case images == 0:
		return problem("images", "it maps no 64-bit ELF image", "")
	case unnamed == images:
		return problem("images", "none of its images has a build-id: no hotpatch can be for them", "use packages that are built with --build-id, as distributions do")
	case unnamed > 0:
		return warn("images", fmt.Sprintf("%d of its %s have no build-id: no hotpatch can be for those", unnamed, count(images, "image")), "use packages that are built with --build-id, as distributions do")
	case replaced > 0:
		return fine("images", "%s with build-id, %d of them replaced on disk meanwhile", count(images, "image"), replaced)
	}
	return fine("images", "%s with build-id", count(images, "image"))
}

func judgeCarried(carried []txn.State) finding {
	for _, s := range carried {
		switch s.State {
		case txn.Interrupted:
			return warn("carries", "a tool was killed while it worked on hotpatch "+s.ID.Short(), "apply or revert that hotpatch again: it is finished or undone first")
		case txn.Damaged:
			return warn("carries", "something else has changed the entries of hotpatch "+s.ID.Short(), "restart the process with the fixed package")
		}
	}
	if len(carried) == 0 {
		return fine("carries", "no hotpatch yet")
	}
	return fine("carries", "%d applied", len(carried))
}

// judgeSymptoms decides from what it is given alone.
func judgeSymptoms(s symptoms, mappings int, h proc.Host, r proc.Rights) []finding {
	return []finding{judgeTracers(s), judgeThreads(s), judgeSandbox(s, h, r), judgeLimits(s, mappings, h), judgeLabel(s, h)}
}

func judgeLabel(s symptoms, h proc.Host) finding {
	switch {
	case h.SELinux && s.label != "" && !strings.Contains(s.label, ":unconfined_t"):
		return warn("label", fmt.Sprintf("SELinux confines it (%s): its domain may lack execmem", s.label),
			"when apply is refused, look for denied { execmem } in the audit log")
	case confinedByAppArmor(h, s.label):
		return warn("label", fmt.Sprintf("AppArmor confines it (%s): the profile must allow ptrace (tracedby)", s.label),
			"when apply is refused, look for apparmor=\"DENIED\" in the kernel log")
	}
	return fine("label", "no security module confines it")
}

// judgeTracers looks at all threads; apply looks at the first and meets the
// others when it stops them.
func judgeTracers(s symptoms) finding {
	for _, tracer := range slices.Sorted(maps.Keys(s.tracers)) {
		return problem("tracer", fmt.Sprintf("%s (%d) traces %s of it, and a thread has one tracer", orPID(s.comms[tracer]), tracer, count(s.tracers[tracer], "thread")),
			"end that debugger or strace")
	}
	return fine("tracer", "nobody traces it")
}

func judgeThreads(s symptoms) finding {
	if s.stuck > 0 {
		return warn("threads", fmt.Sprintf("%d of %s in uninterruptible sleep: as long as that lasts apply is busy", s.stuck, count(s.threads, "thread")), "use apply --wait")
	}
	return fine("threads", "%s", count(s.threads, "thread"))
}

func judgeSandbox(s symptoms, h proc.Host, r proc.Rights) finding {
	switch {
	case s.sandboxed == 0:
		return fine("sandbox", "no seccomp filter")
	case r.Has(proc.CapSysAdmin) && r.Seccomp == 0 && h.FirstUserNS:
		return fine("sandbox", "%s under a seccomp filter, which may be passed for a moment", count(s.sandboxed, "thread"))
	case s.sandboxed < s.threads:
		return warn("sandbox", fmt.Sprintf("%d of %s under a seccomp filter, which may not be passed: apply is refused when it has to borrow one of them", s.sandboxed, count(s.threads, "thread")),
			"run it as root (CAP_SYS_ADMIN), outside of any sandbox")
	}
	return problem("sandbox", "it runs under a seccomp filter, which may not be passed", "run it as root (CAP_SYS_ADMIN), outside of any sandbox")
}

const (
	tightSpace = 16 << 20 // a large hotpatch
	leastSpace = 16 << 10 // the smallest one
)

func judgeLimits(s symptoms, mappings int, h proc.Host) finding {
	const raise = "raise it with prlimit --pid"
	if l := s.limits.AddressSpace; l != proc.Unlimited {
		left := l - min(l, s.rights.Size)
		text := fmt.Sprintf("its address space may grow by %s more (RLIMIT_AS)", bytesText(int64(min(left, 1<<62))))
		if left < leastSpace {
			return problem("limits", text, raise+" (--as)")
		}
		if left < tightSpace {
			return warn("limits", text, raise+" (--as)")
		}
	}
	if h.MaxMaps > 0 && mappings+8 > h.MaxMaps {
		return problem("limits", fmt.Sprintf("it has %d mappings and vm.max_map_count is %d", mappings, h.MaxMaps), "sysctl -w vm.max_map_count=N with a larger number")
	}
	if l := s.limits.Locked; s.rights.Locked > 0 && l != proc.Unlimited && !s.rights.Has(unix.CAP_IPC_LOCK) {
		if left := l - min(l, s.rights.Locked); left < tightSpace {
			return warn("limits", fmt.Sprintf("it locks its memory and may lock %s more (RLIMIT_MEMLOCK): with mlockall(MCL_FUTURE) new code may not fit", bytesText(int64(left))), raise+" (--memlock)")
		}
	}
	return fine("limits", "address space and mappings leave room")
}
