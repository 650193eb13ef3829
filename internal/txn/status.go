package txn

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"sync"
	"time"

	"hotpatch/internal/patch"
	"hotpatch/internal/proc"
)

// State is one hotpatch found in a process, read from its tagged mapping and
// checked against the entries in memory.
type State struct {
	ID      patch.ID     `json:"id"`
	Package string       `json:"package"` // "redis-tools 5:7.0.15-1~deb12u10"
	Since   time.Time    `json:"since"`
	UID     uint32       `json:"uid"`   // who applied it
	User    string       `json:"user"`  // the name of uid then; "" in journals of version 1
	Tool    string       `json:"tool"`  // version of the tool; "" likewise
	Mode    patch.Mode   `json:"mode"`  // how it was applied
	Seq     uint64       `json:"seq"`   // order of application in this process
	State   string       `json:"state"` // see the constants
	Images  []StateImage `json:"images"`
	Names   []string     `json:"functions"` // redirected functions
}

// What State.State can be. Only InForce means that the new code runs.
const (
	InForce     = "applied"     // every entry leads to the new code
	Interrupted = "interrupted" // a tool was killed half way: apply or revert again
	Damaged     = "damaged"     // entries hold something else than was written
)

// StateImage is one patched image.
type StateImage struct {
	BuildID   string `json:"build_id"`
	Fixed     string `json:"build_id_fixed"` // "" in journals of version 1
	Path      string `json:"path"`
	Functions int    `json:"functions"`
	Addr      uint64 `json:"addr"` // of the tagged mapping
	Size      uint64 `json:"size"`
	Code      uint64 `json:"code"` // where the object's Lo is
	Disk      string `json:"disk"` // see the constants; "" until Disks has looked
}

// What StateImage.Disk can be: what the next start of the program would load.
const (
	DiskBase    = "base"    // the file with the flaw
	DiskFixed   = "fixed"   // the file that the hotpatch was made from
	DiskOther   = "other"   // another one, as after a later update
	DiskGone    = "gone"    // none: it was removed
	DiskUnknown = "unknown" // it cannot be read
)

// Disks compares what processes have in memory with what is on disk under the same
// names; of is what Status says of each of them. It opens the files; Status does not.
// Of a file that does not let itself be read for seconds nothing is known.
func Disks(pids []int, of [][]State) {
	var disk proc.Disk
	at := make(map[int]int, len(pids))
	for k, pid := range pids {
		at[pid] = k
	}
	proc.Each(pids, func(pid int, buf []byte) (found []string, _ []byte) {
		for _, s := range of[at[pid]] {
			for i := range s.Images {
				found = append(found, onDisk(&disk, pid, &s.Images[i]))
			}
		}
		return found, buf
	}, func(k int, found []string, stuck error) {
		for _, s := range of[k] {
			for i := range s.Images {
				s.Images[i].Disk = DiskUnknown
				if stuck == nil {
					s.Images[i].Disk, found = found[0], found[1:]
				}
			}
		}
	})
}

// onDisk only reads g: who asks may go on when nobody waits any more.
func onDisk(disk *proc.Disk, pid int, g *StateImage) string {
	id, err := disk.BuildID(pid, g.Path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return DiskGone
	case err != nil:
		return DiskUnknown
	case id == g.BuildID:
		return DiskBase
	case id == g.Fixed && id != "":
		return DiskFixed
	}
	return DiskOther
}

// Status reads which hotpatches a process carries. It does not stop it: no
// ptrace, only reads. Reverted ones are not listed. A process that does not let itself
// be read for seconds is an error (proc.ErrStuck).
func Status(pid int) (ss []State, err error) {
	type answer struct {
		ss  []State
		err error
	}
	proc.Each([]int{pid}, func(pid int, buf []byte) (answer, []byte) {
		_, ss, err := status(pid)
		return answer{ss, err}, buf
	}, func(_ int, a answer, stuck error) { ss, err = a.ss, cmp.Or(stuck, a.err) })
	return ss, err
}

func status(pid int) (proc.Info, []State, error) {
	info, err := proc.Read(pid)
	if err != nil || info.Kernel {
		return info, nil, err
	}
	if info.Live == 0 {
		return info, nil, fmt.Errorf("process %d is a zombie: %w", pid, proc.ErrGone)
	}
	ss, err := statesOf(info)
	return info, ss, err
}

func statesOf(info proc.Info) ([]State, error) {
	mem, err := proc.OpenMem(info.Live)
	if err != nil {
		return nil, err
	}
	defer mem.Close()
	var out []State
	for range 5 { // mappings may come and go while they are read
		maps, merr := proc.Maps(info.PID)
		if merr != nil {
			return nil, merr
		}
		modules := sync.OnceValues(func() ([]proc.Module, error) { return proc.ModulesIn(maps, mem) })
		loaded := func(r region) (bool, error) {
			ms, err := modules()
			if err != nil {
				return false, fmt.Errorf("read loaded images: %w", err)
			}
			return r.loaded(ms), nil
		}
		if out, err = states(maps, loaded, mem); err == nil || errors.Is(err, errUnbelieved) {
			return out, err
		}
		if _, rerr := proc.Read(info.PID); rerr != nil {
			return nil, rerr // it ended meanwhile
		}
	}
	return nil, err
}

// states needs of maps those that may hold a journal.
func states(maps []proc.Map, loaded func(region) (bool, error), mem io.ReaderAt) ([]State, error) {
	js, err := findJournals(maps, loaded, mem)
	if err != nil {
		return nil, err
	}
	var out []State
	for _, j := range js {
		st, err := j.stands(mem)
		if err != nil {
			return nil, err
		}
		if s, listed := j.state(st); listed {
			out = append(out, s)
		}
	}
	return out, nil
}

func (j *journal) state(st standing) (State, bool) {
	s := State{ID: j.ID, Package: j.Package, Since: j.Since, UID: j.UID, User: j.User, Tool: j.Tool, Mode: j.Mode, Seq: j.Seq}
	switch {
	case j.Phase == reverted, st == allOld && j.Phase != applied:
		return s, false // nothing of it is in force
	case st == allNew && (j.Phase == applied || j.Phase == prepared):
		s.State = InForce
	case st == mixed || st == allNew:
		s.State = Interrupted
	default:
		s.State = Damaged
	}
	for i, r := range j.Regions {
		if !r.Void {
			s.Images = append(s.Images, StateImage{
				BuildID: r.BuildID, Fixed: r.Fixed, Path: r.Path, Functions: named(j.sitesOf(i)), Addr: r.Addr, Size: r.RX + r.RW, Code: r.Addr + r.Header,
			})
		}
	}
	for _, e := range j.Sites {
		if e.redirects() && !e.pads() {
			s.Names = append(s.Names, e.Name)
		}
	}
	return s, true
}

// Targets finds the processes on the host that map a base image of b, also one
// that b leaves out.
func Targets(b *patch.Bundle) (pids []int, denied map[int]error, err error) {
	var ids []string
	for _, img := range b.Manifest.Images {
		ids = append(ids, img.BuildIDBase)
	}
	for _, l := range b.Manifest.LeftOut {
		if l.BuildIDBase != "" {
			ids = append(ids, l.BuildIDBase)
		}
	}
	return proc.Mapping(ids)
}

// Carrier is a process with the hotpatches it carries.
type Carrier struct {
	PID    int
	Comm   string
	States []State
}

// Patched finds all processes that carry a hotpatch (id "" for any), or may in
// part. They are in order. A process that cannot be examined is in denied with
// the reason; one that ended meanwhile is left out.
func Patched(id patch.ID) (cs []Carrier, denied map[int]error, err error) {
	var mu sync.Mutex
	var all []Carrier // may still grow after the walk
	_, denied, err = proc.Walk(func(pid int, buf []byte) (bool, []byte, error) {
		// Most processes have nothing that could be a journal.
		nameless, buf, err := proc.NamelessCode(pid, buf)
		if err != nil || len(nameless) == 0 {
			return false, buf, err
		}
		comm, ss, err := carried(pid, nameless)
		if err != nil || !slices.ContainsFunc(ss, func(s State) bool { return id == "" || s.ID == id }) {
			return false, buf, err
		}
		mu.Lock()
		defer mu.Unlock()
		all = append(all, Carrier{pid, comm, ss})
		return true, buf, nil
	})
	mu.Lock()
	cs = slices.Clone(all)
	mu.Unlock()
	slices.SortFunc(cs, func(a, b Carrier) int { return a.PID - b.PID })
	return cs, denied, err
}

// errDoubt says that not all is as a whole hotpatch in a whole image would be.
var errDoubt = errors.New("needs a closer look")

// carried is Status of a process of which only the mappings that may hold a
// journal were read; one that carries nothing has no name here. What it takes for
// true are images that show themselves where the journal has them, and entries
// that are as the journal says. Where anything is otherwise, Status looks at all.
func carried(pid int, nameless []proc.Map) (comm string, _ []State, err error) {
	mem, err := proc.OpenMem(pid)
	if err == nil {
		defer mem.Close()
		ss, serr := states(nameless, func(r region) (bool, error) {
			if id, err := proc.BuildIDAt(mem, r.Bias); err != nil || id != r.BuildID {
				return false, errDoubt
			}
			return true, nil
		}, mem)
		if serr == nil && len(ss) == 0 {
			return "", nil, nil
		}
		comm, cerr := proc.Comm(pid)
		if serr == nil && cerr == nil && !slices.ContainsFunc(ss, func(s State) bool { return s.State != InForce }) {
			return comm, ss, nil
		}
	}
	info, ss, err := status(pid)
	return info.Comm, ss, err
}
