package catalog

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Gate is one unmet condition of eligibility.
type Gate struct {
	Code   string `json:"code"` // architecture, channel, kernel, ptrace, seccomp, packages, disk, pinned, stale-memory
	What   string `json:"what"`
	Remedy string `json:"remedy"`
}

// Gates lists every unmet condition of eligibility, all at once, each with its
// remedy. "Unsupported" and "switched off" are told apart by the remedy: one
// names another machine, the other a setting.
func (c *Catalog) Gates(inv *Inventory) []Gate { return c.index().gates(inv) }

func (x *index) gates(inv *Inventory) []Gate {
	c := x.c
	gates := []Gate{}
	unmet := func(code, what, remedy string) { gates = append(gates, Gate{code, what, remedy}) }
	f := &inv.Facts
	if f.Arch != "amd64" {
		unmet("architecture", fmt.Sprintf("the machine is %s", cmp.Or(f.Arch, "of unknown architecture")),
			"hotpatches exist for amd64 only; this machine stays with ordinary updating")
	}
	if f.Channel != "" && c.Channel != "" && f.Channel != c.Channel {
		unmet("channel", fmt.Sprintf("the machine follows %s, the catalogue is for %s", f.Channel, c.Channel),
			"configure the repository of the machine's own channel")
	}
	for _, p := range []struct {
		code   string
		probe  Probe
		remedy string
	}{
		{"kernel", f.Features, "boot a kernel that has them; `hotpatch doctor` lists what is missing"},
		{"ptrace", f.Ptrace, "let the agent trace: CAP_SYS_PTRACE, kernel.yama.ptrace_scope below 3, no security module in the way"},
		{"seccomp", f.Seccomp, "run the agent without a system call filter that forbids it"},
		{"packages", f.Packages, "repair dpkg's database: dpkg --configure -a"},
		{"disk", f.Disk, "make room, or mount the file system for writing"},
	} {
		if !p.probe.IsZero() {
			unmet(p.code, cmp.Or(strings.Join(p.probe.Found, "; "), "the check failed"), cmp.Or(p.probe.Remedy, p.remedy))
		}
	}
	pinned := x.pinnedBy(inv)
	if !slices.ContainsFunc(inv.Packages, func(p Package) bool { return p.Root == "" && pinned(p.Name) }) {
		unmet("pinned", "no package of this machine is in the program's baselines",
			"publish a baseline with its packages (hotpatch repo baseline create)")
	}
	return gates
}

// joining are the gates that matter only to a machine that is not on the
// program yet: what runs must be what is on disk, for nobody knows how an
// older file came to run.
func joining(p *Position) []Gate {
	var gates []Gate
	units := map[string]bool{}
	for _, s := range p.Stale {
		if s.Bundle == "" {
			units[s.Unit] = true
		}
	}
	if len(units) > 0 {
		list := strings.Join(sortedKeys(units), ", ")
		gates = append(gates, Gate{"stale-memory", "older files than those on disk are running: " + list, "restart " + list})
	}
	return gates
}
