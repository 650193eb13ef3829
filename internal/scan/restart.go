package scan

import (
	"cmp"
	"slices"
	"strings"
)

// What a Need is of.
const (
	NeedKernel  = "kernel"          // a newer kernel is installed than runs
	NeedFlag    = "reboot-required" // a package asks for a reboot
	NeedInit    = "init"            // process 1 runs an old image
	NeedDBus    = "dbus"            // the message bus does: a restart of it ends sessions
	NeedUnit    = "unit"            // a systemd unit
	NeedSession = "session"         // what somebody logged in runs
	NeedProcess = "process"         // a process of no unit
)

// Need is something that runs what is no longer on disk, and that no hotpatch
// covers. Reboot says that only that cures it.
type Need struct {
	Kind      string   `json:"kind"`
	Root      string   `json:"root,omitempty"`
	Unit      string   `json:"unit,omitempty"`
	PIDs      []int    `json:"pids,omitempty"`
	Packages  []string `json:"packages,omitempty"`
	Images    []Loaded `json:"images,omitempty"` // those that are old, each once
	Installed string   `json:"installed,omitempty"`
	Running   string   `json:"running,omitempty"`
	Reboot    bool     `json:"reboot,omitempty"`
}

// Needs lists what needs a restart. An image that a hotpatch in force covers
// needs none: its code is the new one's.
func (s *Snapshot) Needs() []Need {
	out := []Need{}
	if k := s.Reboot.Kernel; k.Old {
		out = append(out, Need{Kind: NeedKernel, Running: k.Version, Installed: k.Next, Packages: []string{"linux-image-" + k.Newest}, Reboot: true})
	}
	if s.Reboot.Required {
		out = append(out, Need{Kind: NeedFlag, Packages: s.Reboot.Packages, Reboot: true})
	}
	at := map[[3]string]int{}
	for _, p := range s.Processes {
		old := p.uncovered()
		if len(old) == 0 {
			continue
		}
		n := Need{Kind: p.kind(), Root: p.Root, Unit: p.Unit}
		n.Reboot = n.Kind == NeedInit || n.Kind == NeedDBus
		key := [3]string{n.Kind, n.Root, n.Unit}
		i, ok := at[key]
		if !ok {
			i = len(out)
			at[key] = i
			out = append(out, n)
		}
		out[i].add(p.PID, old)
	}
	for i := range out {
		slices.Sort(out[i].Packages)
		out[i].Packages = slices.Compact(out[i].Packages)
		slices.SortFunc(out[i].Images, func(a, b Loaded) int {
			return cmp.Or(strings.Compare(a.Path, b.Path), strings.Compare(a.BuildID, b.BuildID))
		})
	}
	return out
}

func (n *Need) add(pid int, old []Loaded) {
	n.PIDs = append(n.PIDs, pid)
	for _, l := range old {
		if !slices.ContainsFunc(n.Images, func(x Loaded) bool { return x.Path == l.Path && x.BuildID == l.BuildID }) {
			n.Images = append(n.Images, l)
		}
		if l.Package != "" {
			n.Packages = append(n.Packages, l.Package)
		}
	}
}

// uncovered are the old images of packages that no hotpatch in force is for.
func (p Process) uncovered() []Loaded {
	var out []Loaded
	for _, l := range p.Images {
		covered := slices.ContainsFunc(p.Patches, func(a Applied) bool {
			return a.State == InForce && slices.Contains(a.Images, l.BuildID)
		})
		if l.Old() && l.Package != "" && !covered {
			out = append(out, l)
		}
	}
	return out
}

func (p Process) kind() string {
	switch {
	case p.Root == "" && p.PID == 1:
		return NeedInit
	case p.Root == "" && (p.Unit == "dbus.service" || p.Unit == "dbus-broker.service"):
		return NeedDBus
	case strings.HasPrefix(p.Unit, "session-") || strings.HasPrefix(p.Unit, "user@"):
		return NeedSession
	case p.Unit != "" && p.Unit != "init.scope":
		return NeedUnit
	}
	return NeedProcess
}
