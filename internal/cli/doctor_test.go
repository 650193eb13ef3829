package cli_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"hotpatch/internal/cli"
	"hotpatch/internal/proc"
	"hotpatch/internal/ptrace"
	"hotpatch/internal/txn"
)

func goodHost() proc.Host {
	return proc.Host{Release: "6.1.0-18-amd64", Machine: "x86_64", Yama: -1, HidePID: "off",
		FirstUserNS: true, FirstPIDNS: true, MaxMaps: 65530, Available: 1 << 30}
}

func rootRights() proc.Rights { return proc.Rights{Permitted: 1<<41 - 1, Effective: 1<<41 - 1} }

func userRights() proc.Rights { return proc.Rights{UIDs: [4]int{1000, 1000, 1000, 1000}} }

// only says which finding is not ok; "check: level" or "".
func only(fs []cli.Finding) string {
	var out []string
	for _, f := range fs {
		if f.Says == "" || (f.Remedy != "") != (f.Level != "ok") {
			out = append(out, fmt.Sprintf("%+v says nothing, or what to do where there is nothing", f))
		}
		if f.Level != "ok" {
			out = append(out, f.Check+" "+string(f.Level))
		}
	}
	return strings.Join(out, ", ")
}

func TestDoctorNamesWhatIsInTheWay(t *testing.T) {
	for name, c := range map[string]struct {
		host func(*proc.Host)
		who  func(*proc.Rights)
		user bool
		want string
	}{
		"root":                        {want: ""},
		"a user":                      {user: true, want: "privileges warning"},
		"another machine":             {host: func(h *proc.Host) { h.Machine = "aarch64" }, want: "machine problem"},
		"an old kernel":               {host: func(h *proc.Host) { h.Release = "4.16.18" }, want: "kernel problem"},
		"the oldest kernel":           {host: func(h *proc.Host) { h.Release = "4.17.0" }, want: ""},
		"yama off":                    {host: func(h *proc.Host) { h.Yama = 0 }, want: ""},
		"yama, root":                  {host: func(h *proc.Host) { h.Yama = 2 }, want: ""},
		"yama, a user":                {host: func(h *proc.Host) { h.Yama = 1 }, user: true, want: "privileges warning, yama problem"},
		"yama, nobody":                {host: func(h *proc.Host) { h.Yama = 3 }, want: "yama problem"},
		"forced writes":               {host: func(h *proc.Host) { h.ProcMem = "always" }, want: ""},
		"no forced writes":            {host: func(h *proc.Host) { h.ProcMem = "never" }, want: "proc-mem problem"},
		"forced writes while tracing": {host: func(h *proc.Host) { h.ProcMem = "ptrace" }, want: "proc-mem problem"},
		"SELinux":                     {host: func(h *proc.Host) { h.SELinux = true }, want: "selinux warning"},
		"deny_ptrace":                 {host: func(h *proc.Host) { h.SELinux, h.DenyPtrace = true, true }, want: "selinux problem"},
		"AppArmor, not for us":        {host: func(h *proc.Host) { h.AppArmor, h.Label = true, "unconfined" }, want: ""},
		"AppArmor":                    {host: func(h *proc.Host) { h.AppArmor, h.Label = true, "docker-default (enforce)" }, want: "apparmor warning"},
		"a sandbox":                   {who: func(r *proc.Rights) { r.Seccomp = 2 }, want: "seccomp warning"},
		"a container's sandbox": {host: func(h *proc.Host) { h.FirstPIDNS = false }, who: func(r *proc.Rights) { r.Seccomp = 2 },
			want: "seccomp problem, namespaces warning"},
		"a user namespace":      {host: func(h *proc.Host) { h.FirstUserNS = false }, want: "privileges warning, namespaces warning"},
		"hidepid, root":         {host: func(h *proc.Host) { h.HidePID = "invisible" }, want: ""},
		"hidepid, a user":       {host: func(h *proc.Host) { h.HidePID = "invisible" }, user: true, want: "privileges warning, proc-mount warning"},
		"no memory":             {host: func(h *proc.Host) { h.Available = 1 << 20 }, want: "memory warning"},
		"only CAP_SYS_PTRACE":   {user: true, who: func(r *proc.Rights) { r.Effective = 1 << proc.CapSysPtrace }, want: "privileges warning"},
		"without CAP_SYS_ADMIN": {who: func(r *proc.Rights) { r.Effective &^= 1 << proc.CapSysAdmin }, want: "privileges warning"},
	} {
		h, r := goodHost(), rootRights()
		if c.user {
			r = userRights()
		}
		if c.host != nil {
			c.host(&h)
		}
		if c.who != nil {
			c.who(&r)
		}
		if got := only(cli.JudgeHost(h, r)); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

func TestDoctorExplainsWhatFailedInItsTrial(t *testing.T) {
	denied := fmt.Errorf("open memory: %w", ptrace.ErrDenied)
	yama := goodHost()
	yama.Yama = 1
	for _, c := range []struct {
		check  string
		err    error
		host   proc.Host
		rights proc.Rights
		want   string
		remedy string
	}{
		{"try-open", denied, yama, userRights(), "try-open problem", "see yama"},
		{"try-open", denied, goodHost(), userRights(), "try-open problem", "run it as root"},
		{"try-write", unix.EIO, goodHost(), rootRights(), "try-write problem", "proc_mem.force_override=always"},
		{"try-borrow", denied, goodHost(), proc.Rights{Seccomp: 2}, "try-borrow problem", "see seccomp"},
		{"try-borrow", ptrace.ErrSeccomp, goodHost(), proc.Rights{Seccomp: 2}, "try-borrow warning", "see seccomp"},
		{"try-map", unix.EACCES, goodHost(), rootRights(), "try-map problem", "execmem"},
		{"try-stop", errors.New("odd"), goodHost(), rootRights(), "try-stop problem", "report it"},
		{"try-sandbox", ptrace.ErrSeccomp, goodHost(), userRights(), "try-sandbox warning", "CAP_SYS_ADMIN"},
		{"try-files", unix.EPERM, goodHost(), userRights(), "try-files warning", "CAP_CHECKPOINT_RESTORE"},
		{"try-kcmp", unix.ENOSYS, goodHost(), rootRights(), "try-kcmp warning", "CONFIG_KCMP"},
		{"try-after", errors.New("it does not answer"), goodHost(), rootRights(), "try-after problem", "report it"},
		{"try-start", unix.EAGAIN, goodHost(), rootRights(), "try-start problem", "/proc/self/exe"},
	} {
		fs := cli.JudgeTrial(c.host, c.rights, map[string]error{c.check: c.err})
		if got := only(fs); got != c.want {
			t.Errorf("%s, %v: %q, want %q", c.check, c.err, got, c.want)
		} else if !strings.Contains(fs[0].Remedy, c.remedy) {
			t.Errorf("%s, %v: remedy %q, want %q in it", c.check, c.err, fs[0].Remedy, c.remedy)
		}
	}
}

func TestDoctorJudgesProcesses(t *testing.T) {
	image := proc.Module{Path: "/usr/bin/x", BuildID: "00ff"}
	look := func(os ...txn.Objection) *txn.Look {
		return &txn.Look{Modules: []proc.Module{image, {Path: "[vdso]"}}, Objections: os}
	}
	free := proc.Limits{AddressSpace: proc.Unlimited, Locked: proc.Unlimited}
	ordinary := cli.Symptoms{Threads: 3, Limits: free, Mappings: 30}
	with := func(change func(*cli.Symptoms)) cli.Symptoms {
		s := ordinary
		change(&s)
		return s
	}
	enforcing := goodHost()
	enforcing.SELinux = true
	for name, c := range map[string]struct {
		look   *txn.Look
		s      cli.Symptoms
		h      proc.Host
		r      proc.Rights
		want   string
		remedy string
	}{
		"ordinary":                 {look(), ordinary, goodHost(), rootRights(), "", ""},
		"coroutines":               {look(txn.Objection{About: txn.OfStacks, Outcome: txn.Denied, Reason: "swapcontext"}), ordinary, goodHost(), rootRights(), "stacks problem", "restart"},
		"vfork":                    {look(txn.Objection{About: txn.OfSharing, Outcome: txn.Busy, Reason: "vfork?"}), ordinary, goodHost(), rootRights(), "sharing warning", "try again"},
		"no build-id":              {&txn.Look{Modules: []proc.Module{{Path: "/x"}}}, ordinary, goodHost(), rootRights(), "images problem", "--build-id"},
		"interrupted":              {&txn.Look{Modules: []proc.Module{image}, Carried: []txn.State{{ID: "0123456789abcdef", State: txn.Interrupted}}}, ordinary, goodHost(), rootRights(), "carries warning", "again"},
		"a debugger":               {look(), with(func(s *cli.Symptoms) { s.Tracer, s.TracerComm = 77, "gdb" }), goodHost(), rootRights(), "tracer problem", "debugger"},
		"stuck":                    {look(), with(func(s *cli.Symptoms) { s.Stuck = 1 }), goodHost(), rootRights(), "threads warning", "--wait"},
		"sandboxed":                {look(), with(func(s *cli.Symptoms) { s.Sandboxed = 3 }), goodHost(), rootRights(), "", ""},
		"sandboxed, a user":        {look(), with(func(s *cli.Symptoms) { s.Sandboxed = 3 }), goodHost(), userRights(), "sandbox problem", "CAP_SYS_ADMIN"},
		"partly sandboxed, a user": {look(), with(func(s *cli.Symptoms) { s.Sandboxed = 1 }), goodHost(), userRights(), "sandbox warning", "CAP_SYS_ADMIN"},
		"no address space":         {look(), with(func(s *cli.Symptoms) { s.Limits.AddressSpace, s.Rights.Size = 5<<20, 5<<20 }), goodHost(), rootRights(), "limits problem", "prlimit"},
		"little address space":     {look(), with(func(s *cli.Symptoms) { s.Limits.AddressSpace, s.Rights.Size = 9<<20, 5<<20 }), goodHost(), rootRights(), "limits warning", "prlimit"},
		"more than its limit":      {look(), with(func(s *cli.Symptoms) { s.Limits.AddressSpace, s.Rights.Size = 1<<20, 5<<20 }), goodHost(), rootRights(), "limits problem", "prlimit"},
		"locked memory":            {look(), with(func(s *cli.Symptoms) { s.Limits.Locked, s.Rights.Locked = 64<<10, 32<<10 }), goodHost(), rootRights(), "limits warning", "memlock"},
		"full of mappings":         {look(), with(func(s *cli.Symptoms) { s.Mappings = 65530 }), goodHost(), rootRights(), "limits problem", "max_map_count"},
		"confined by SELinux":      {look(), with(func(s *cli.Symptoms) { s.Label = "system_u:system_r:redis_t:s0" }), enforcing, rootRights(), "label warning", "execmem"},
		"not confined by SELinux":  {look(), with(func(s *cli.Symptoms) { s.Label = "unconfined_u:unconfined_r:unconfined_t:s0" }), enforcing, rootRights(), "", ""},
	} {
		fs := cli.JudgeProcess(c.look, c.s, c.h, c.r)
		if got := only(fs); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
		for _, f := range fs {
			if !strings.Contains(f.Remedy, c.remedy) && f.Level != "ok" {
				t.Errorf("%s: remedy %q, want %q in it", name, f.Remedy, c.remedy)
			}
		}
	}
	gone := look(txn.Objection{About: txn.OfAccess, Outcome: txn.Died, Reason: "no such process"})
	for _, f := range cli.JudgeProcess(gone, ordinary, goodHost(), rootRights()) {
		if f.Check == "access" && (f.Level != "problem" || f.Remedy != "") {
			t.Errorf("%+v", f)
		}
	}
}
