package txn_test

import (
	"strings"
	"testing"

	"hotpatch/internal/proc"
	"hotpatch/internal/txn"
)

func TestDenialNamesTheSettingAndTheRemedy(t *testing.T) {
	user := func(uid int) proc.Rights { return proc.Rights{UIDs: [4]int{uid, uid, uid, uid}} }
	with := func(r proc.Rights, caps ...int) proc.Rights {
		for _, c := range caps {
			r.Effective |= 1 << c
			r.Permitted |= 1 << c
		}
		return r
	}
	host := proc.Host{Yama: -1, FirstUserNS: true, FirstPIDNS: true}
	on := func(change func(h *proc.Host)) proc.Host { h := host; change(&h); return h }
	suid := user(1000)
	suid.UIDs[1], suid.UIDs[2], suid.UIDs[3] = 0, 0, 0
	for name, tc := range map[string]struct {
		facts txn.Facts
		want  []string
	}{
		"another user":       {txn.Facts{Us: user(1000), It: user(33), Host: host}, []string{"uid 33", "uid 1000", "CAP_SYS_PTRACE"}},
		"set-uid":            {txn.Facts{Us: user(1000), It: suid, Host: host}, []string{"set-uid", "CAP_SYS_PTRACE"}},
		"not dumpable":       {txn.Facts{Us: user(1000), It: user(1000), Host: host, Undumpable: true}, []string{"not dumpable", "PR_SET_DUMPABLE"}},
		"more capable":       {txn.Facts{Us: user(1000), It: with(user(1000), 10), Host: host}, []string{"capabilities"}},
		"in a container":     {txn.Facts{Us: with(user(0), proc.CapSysPtrace, proc.CapDACOverride), It: user(33), Host: on(func(h *proc.Host) { h.FirstUserNS = false })}, []string{"user namespace", "outside of the container"}},
		"Yama 1":             {txn.Facts{Us: user(1000), It: user(1000), Host: on(func(h *proc.Host) { h.Yama = 1 })}, []string{"kernel.yama.ptrace_scope is 1", "set it to 0"}},
		"Yama 2":             {txn.Facts{Us: user(1000), It: user(1000), Host: on(func(h *proc.Host) { h.Yama = 2 })}, []string{"kernel.yama.ptrace_scope is 2", "run as root"}},
		"Yama 3, even root":  {txn.Facts{Us: with(user(0), proc.CapSysPtrace, proc.CapDACOverride), It: user(33), Host: on(func(h *proc.Host) { h.Yama = 3 })}, []string{"kernel.yama.ptrace_scope is 3"}},
		"deny_ptrace":        {txn.Facts{Us: with(user(0), proc.CapSysPtrace, proc.CapDACOverride), It: user(33), Host: on(func(h *proc.Host) { h.SELinux, h.DenyPtrace = true, true })}, []string{"deny_ptrace", "setsebool"}},
		"SELinux":            {txn.Facts{Us: with(user(0), proc.CapSysPtrace, proc.CapDACOverride), It: user(33), Label: "redis_t", Host: on(func(h *proc.Host) { h.SELinux, h.Label = true, "hotpatch_t" })}, []string{"hotpatch_t", "redis_t", "audit log"}},
		"AppArmor":           {txn.Facts{Us: with(user(0), proc.CapSysPtrace, proc.CapDACOverride), It: user(33), Label: "redis (enforce)", Host: on(func(h *proc.Host) { h.AppArmor = true })}, []string{"AppArmor", "redis (enforce)", "kernel log"}},
		"nested user":        {txn.Facts{Us: user(1000), It: user(1000), Host: host, Elsewhere: true}, []string{"user namespace"}},
		"nothing that shows": {txn.Facts{Us: user(1000), It: user(1000), Host: host}, []string{"hotpatch doctor"}},
	} {
		got := tc.facts.Explain()
		for _, w := range tc.want {
			if !strings.Contains(got, w) {
				t.Errorf("%s: %q does not say %q", name, got, w)
			}
		}
	}
}
