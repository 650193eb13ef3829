package txn

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"hotpatch/internal/proc"
)

// facts are what decides whether the kernel lets us trace a process:
// ptrace(2), "Ptrace access mode checking".
type facts struct {
	us, it     proc.Rights
	host       proc.Host
	undumpable bool   // its files in /proc are not its own user's
	elsewhere  bool   // it is in a user namespace that is not ours
	label      string // what a security module calls it
}

// denial says why we may not change a process, and what would help: the
// setting by its name.
func denial(pid int) string {
	var f facts
	var err error
	if f.us, err = proc.ReadRights(os.Getpid(), os.Getpid()); err != nil {
		return unknownDenial
	}
	if f.it, err = proc.ReadRights(pid, pid); err != nil {
		return unknownDenial
	}
	if f.host, err = proc.ReadHost(); err != nil {
		return unknownDenial
	}
	var st unix.Stat_t
	if err := unix.Stat(fmt.Sprintf("/proc/%d/maps", pid), &st); err == nil {
		f.undumpable = int(st.Uid) != f.it.UIDs[1]
	}
	ours, err := proc.Namespace(os.Getpid(), "user")
	its, ierr := proc.Namespace(pid, "user")
	f.elsewhere = err == nil && ierr == nil && ours != its
	f.label, _ = proc.Label(pid) // only to be shown
	return f.explain()
}

const unknownDenial = "not permitted to trace this process: it may belong to another user, be non-dumpable or set-uid, or Yama (kernel.yama.ptrace_scope) or a security module forbids it; run as root; hotpatch doctor --pid tells more"

// explain names the first thing in the order of the kernel's checks that
// stands in the way.
func (f facts) explain() string {
	const not = "not permitted to trace this process: "
	may := f.us.Has(proc.CapSysPtrace)
	same := f.us.UIDs[0] == f.it.UIDs[0] && f.us.UIDs[0] == f.it.UIDs[1] && f.us.UIDs[0] == f.it.UIDs[2]
	switch {
	case may && !f.host.FirstUserNS && !same:
		return not + fmt.Sprintf("it belongs to uid %d, and hotpatch runs in a user namespace, where CAP_SYS_PTRACE means nothing outside; run it outside of the container", f.it.UIDs[1])
	case !may && f.it.UIDs[0] != f.it.UIDs[1]:
		return not + fmt.Sprintf("it is set-uid (uid %d, effective %d); run as root (CAP_SYS_PTRACE)", f.it.UIDs[0], f.it.UIDs[1])
	case !may && !same:
		return not + fmt.Sprintf("it belongs to uid %d and hotpatch runs as uid %d; run as root (CAP_SYS_PTRACE)", f.it.UIDs[1], f.us.UIDs[1])
	case !may && f.undumpable:
		return not + "it is not dumpable (PR_SET_DUMPABLE, or fs.suid_dumpable for a program that only root can read); run as root (CAP_SYS_PTRACE)"
	case !may && f.it.Permitted&^f.us.Permitted != 0:
		return not + "it has capabilities that hotpatch has not; run as root (CAP_SYS_PTRACE)"
	case f.host.Yama == 3:
		return not + "kernel.yama.ptrace_scope is 3: nothing may be traced until the next boot; start the host without it"
	case !may && f.host.Yama == 2:
		return not + "kernel.yama.ptrace_scope is 2: only root may trace; run as root (CAP_SYS_PTRACE)"
	case !may && f.host.Yama == 1:
		return not + "kernel.yama.ptrace_scope is 1: users may trace only their own children; run as root (CAP_SYS_PTRACE), or set it to 0"
	case f.host.DenyPtrace:
		return not + "SELinux's boolean deny_ptrace is on; setsebool deny_ptrace off"
	case f.host.SELinux:
		return not + fmt.Sprintf("SELinux is enforcing (hotpatch is %s, it is %s); look for denied { ptrace } in the audit log", f.host.Label, f.label)
	case f.host.AppArmor:
		return not + fmt.Sprintf("AppArmor is enabled (hotpatch is %s, it is %s): both profiles must allow ptrace; look for apparmor=\"DENIED\" in the kernel log", f.host.Label, f.label)
	case f.elsewhere || !f.host.FirstUserNS:
		return not + "it is in another user namespace, or we are; run hotpatch outside of the container"
	}
	return unknownDenial
}
