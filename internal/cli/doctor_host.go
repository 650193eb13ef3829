package cli

import (
	"fmt"

	"hotpatch/internal/proc"
)

// Linux 4.17 has MAP_FIXED_NOREPLACE.
const (
	oldestMajor = 4
	oldestMinor = 17
)

const enoughMemory = 32 << 20

// judgeHost says what the settings of the host mean for patching with these
// rights. It decides from what it is given alone.
func judgeHost(h proc.Host, r proc.Rights) []finding {
	return []finding{judgeMachine(h), judgeKernel(h), judgeRights(h, r), judgeYama(h, r), judgeProcMem(h),
		judgeSELinux(h), judgeAppArmor(h), judgeOwnSeccomp(h, r), judgeNamespaces(h), judgeHidePID(h, r), judgeMemory(h)}
}

// The findings: nothing in the way; some processes; every process.
func fine(check, format string, args ...any) finding {
	return finding{check, levelOK, fmt.Sprintf(format, args...), ""}
}

func warn(check, says, remedy string) finding { return finding{check, levelWarning, says, remedy} }

func problem(check, says, remedy string) finding { return finding{check, levelProblem, says, remedy} }

func judgeMachine(h proc.Host) finding {
	if h.Machine != "x86_64" {
		return problem("machine", "this is "+h.Machine+": hotpatch writes x86-64 code", "there is none; use the ordinary update")
	}
	return fine("machine", "x86_64")
}

func judgeKernel(h proc.Host) finding {
	major, minor, err := proc.ParseKernel(h.Release)
	if err != nil {
		return warn("kernel", err.Error(), "")
	}
	if major < oldestMajor || major == oldestMajor && minor < oldestMinor {
		return problem("kernel", fmt.Sprintf("Linux %s is too old: it does not know MAP_FIXED_NOREPLACE, without which a mapping could overwrite another", h.Release),
			fmt.Sprintf("use Linux %d.%d or later", oldestMajor, oldestMinor))
	}
	return fine("kernel", "Linux %s", h.Release)
}

const asRoot = "run it as root, or give it CAP_SYS_PTRACE (and CAP_SYS_ADMIN for sandboxed processes)"

func judgeRights(h proc.Host, r proc.Rights) finding {
	who := fmt.Sprintf("user %d", r.UIDs[1])
	switch {
	case !r.Has(proc.CapSysPtrace):
		return warn("privileges", who+" without CAP_SYS_PTRACE: only processes of the same user, with no more capabilities, can be patched", asRoot)
	case !r.Has(proc.CapDACOverride):
		return warn("privileges", who+" without CAP_DAC_OVERRIDE: another user's process has to open its memory (/proc/PID/mem) for hotpatch itself, which one that is not dumpable cannot", "give it CAP_DAC_OVERRIDE")
	case !r.Has(proc.CapSysAdmin):
		return warn("privileges", who+" without CAP_SYS_ADMIN: processes under a seccomp filter (systemd's SystemCallFilter=, containers) are refused", "give it CAP_SYS_ADMIN")
	case !h.FirstUserNS:
		return warn("privileges", who+" with all capabilities, but only within its user namespace: processes outside cannot be patched", "run it in the host's user namespace")
	}
	return fine("privileges", "%s with CAP_SYS_PTRACE, CAP_DAC_OVERRIDE and CAP_SYS_ADMIN", who)
}

func judgeYama(h proc.Host, r proc.Rights) finding {
	setting := fmt.Sprintf("kernel.yama.ptrace_scope is %d", h.Yama)
	privileged := r.Has(proc.CapSysPtrace)
	lower := "run it as root; or sysctl -w kernel.yama.ptrace_scope=0"
	switch {
	case h.Yama < 0:
		return fine("yama", "the kernel has no Yama")
	case h.Yama == 0:
		return fine("yama", "%s", setting)
	case h.Yama >= 3:
		return problem("yama", setting+": nobody may trace a process", "remove the setting from /etc/sysctl.d and reboot: it cannot be lowered while the host runs")
	case privileged:
		return fine("yama", "%s, which CAP_SYS_PTRACE overrides", setting)
	case h.Yama == 1:
		return problem("yama", setting+": without CAP_SYS_PTRACE only descendants, and processes that permit it (PR_SET_PTRACER), can be traced", lower)
	default:
		return problem("yama", setting+": tracing takes CAP_SYS_PTRACE", lower)
	}
}

// judgeProcMem tells what the command line says. Whether writing works is tried
// (see operate): the kernel's own default cannot be read.
func judgeProcMem(h proc.Host) finding {
	switch h.ProcMem {
	case "":
		return fine("proc-mem", "proc_mem.force_override is not set; tried below")
	case "always":
		return fine("proc-mem", "proc_mem.force_override=always")
	}
	return problem("proc-mem", "proc_mem.force_override="+h.ProcMem+" on the kernel's command line: writing through /proc/PID/mem does not reach code",
		"boot with proc_mem.force_override=always")
}

func judgeSELinux(h proc.Host) finding {
	switch {
	case h.DenyPtrace:
		return problem("selinux", "the SELinux boolean deny_ptrace is on: nobody may trace a process", "setsebool deny_ptrace off")
	case h.SELinux:
		return warn("selinux", fmt.Sprintf("SELinux is enforcing and calls us %q: it may forbid tracing, and confined services executable memory (execmem)", h.Label),
			"when apply is refused, look for denied { ptrace } or { execmem } in the audit log, and allow it for that domain for as long as it takes (semanage permissive -a DOMAIN)")
	}
	return fine("selinux", "SELinux is not enforcing")
}

func judgeAppArmor(h proc.Host) finding {
	if confinedByAppArmor(h, h.Label) {
		return warn("apparmor", fmt.Sprintf("AppArmor confines hotpatch itself (profile %q): the profile must allow ptrace (trace) of what is to be patched", h.Label),
			"run it unconfined: in a container with --security-opt apparmor=unconfined")
	}
	return fine("apparmor", "AppArmor does not confine hotpatch")
}

func confinedByAppArmor(h proc.Host, label string) bool {
	return h.AppArmor && label != "" && label != "unconfined"
}

func judgeOwnSeccomp(h proc.Host, r proc.Rights) finding {
	const outside = "run it outside the sandbox: in a container with --security-opt seccomp=unconfined, in a service without SystemCallFilter="
	switch {
	case r.Seccomp == 0:
		return fine("seccomp", "hotpatch runs under no seccomp filter")
	case !h.FirstPIDNS:
		return problem("seccomp", "hotpatch runs under its container's seccomp filter, and so do the processes in there: it may not pass their filters", outside+", or on the host")
	}
	return warn("seccomp", "hotpatch itself runs under a seccomp filter: it may not pass the filters of others, so sandboxed processes are refused", outside)
}

func judgeNamespaces(h proc.Host) finding {
	switch {
	case !h.FirstUserNS && !h.FirstPIDNS:
		return warn("namespaces", "hotpatch is in a container (its own user and pid namespace): it sees only the processes in there, and its privileges end there", "run it on the host: it patches containers from there")
	case !h.FirstUserNS:
		return warn("namespaces", "hotpatch is in a user namespace of its own: its privileges end there", "run it in the host's user namespace")
	case !h.FirstPIDNS:
		return warn("namespaces", "hotpatch is in a pid namespace of its own (a container): it sees only the processes in there", "run it on the host, or with the host's pid namespace (--pid=host)")
	}
	return fine("namespaces", "hotpatch is in the host's user and pid namespaces")
}

func judgeHidePID(h proc.Host, r proc.Rights) finding {
	switch {
	case h.HidePID == "off":
		return fine("proc-mount", "/proc shows all processes")
	case r.Has(proc.CapSysPtrace):
		return fine("proc-mount", "/proc is mounted with hidepid=%s, which CAP_SYS_PTRACE overrides", h.HidePID)
	}
	return warn("proc-mount", fmt.Sprintf("/proc is mounted with hidepid=%s: other users' processes are not seen", h.HidePID),
		"run it as root, or as a member of the group that /proc is mounted with (gid=)")
}

func judgeMemory(h proc.Host) finding {
	text := bytesText(int64(min(h.Available, 1<<62)))
	if h.Available < enoughMemory {
		return warn("memory", "only "+text+" of memory are available: reading images and new code may not fit", "free some memory first")
	}
	return fine("memory", "%s available", text)
}

// deniedBy guesses what denied us, from most to least likely, and what to do.
func deniedBy(h proc.Host, r proc.Rights) string {
	switch {
	case h.Yama > 0 && !r.Has(proc.CapSysPtrace), h.Yama >= 3:
		return "see yama above"
	case h.DenyPtrace, h.SELinux:
		return "see selinux above"
	case confinedByAppArmor(h, h.Label):
		return "see apparmor above"
	case r.Seccomp != 0:
		return "see seccomp above: the filter may forbid ptrace(2)"
	}
	return asRoot
}
