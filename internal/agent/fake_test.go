package agent_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"hotpatch/internal/agent"
	"hotpatch/internal/catalog"
	"hotpatch/internal/patch"
	"hotpatch/internal/txn"
)

// day is when every story begins: a Tuesday in the middle of a month.
var day = time.Date(2026, 3, 10, 12, 0, 0, 0, time.UTC)

// Build-ids of the three versions of the one program there is.
const (
	id10 = "1010101010101010101010101010101010101010"
	id11 = "1111111111111111111111111111111111111111"
	id20 = "2020202020202020202020202020202020202020"
)

var idOf = map[string]string{"1.0": id10, "1.1": id11, "2.0": id20}

const path = "/usr/sbin/food"

// bundle is a small hotpatch that is applicable: from id10 to id11.
func bundle(t testing.TB) (*patch.Bundle, catalog.Digest) {
	t.Helper()
	pre := sha256.Sum256([]byte("the function as it was"))
	b := &patch.Bundle{
		Manifest: patch.Manifest{
			Format: 1, Package: "food", BaseVersion: "1.0", FixedVersion: "1.1", Arch: "amd64",
			CVEs: []string{"CVE-2026-0001"}, Verdict: patch.Clean, Mode: patch.Strict,
			Images: []patch.Image{{
				Path: path, BuildIDBase: id10, BuildIDFixed: id11, Counts: patch.Counts{Same: 1, Changed: 1},
				Sites: []patch.Site{{Name: "judge", Base: 0x1140, To: 0x2010, Ranges: [][2]uint64{{0x1140, 0x1160}},
					PreImage: hex.EncodeToString(pre[:]), Old: "5589e54883"}},
				Functions: []patch.Function{{Name: "judge", State: "changed", BaseAddr: 0x1140, FixedAddr: 0x2010, Size: 3, Why: "code differs"}},
			}},
		},
		Objects: []*patch.Object{{
			BaseBuildID: id10, Lo: 0x2000, Hi: 0x3000, RWEnd: 0x3000,
			Chunks:  []patch.Chunk{{Kind: patch.Code, Addr: 0x2010, Data: []byte{0x31, 0xc0, 0xc3}}},
			Symbols: []patch.Symbol{{Kind: patch.Internal, Name: "judge", Value: 0x2010, Size: 3, Func: true}},
		}},
		Before: [][]byte{nil},
	}
	id, err := b.ID()
	if err != nil {
		t.Fatal(err)
	}
	return b, catalog.Digest(id)
}

// fake is a host and a repository in memory.
type fake struct {
	t       testing.TB
	now     time.Time
	catalog *catalog.Catalog
	bundle  *patch.Bundle
	staging string

	version   string // of the package on disk
	held      bool
	processes map[int]*process
	booted    time.Time
	health    map[string]agent.Health
	crashes   map[int]time.Time
	gate      string // an unmet condition of eligibility

	fail    map[string]error // by the name of the port
	settled int              // how often an installation was to be settled

	did  []string // what was done to the world, in order
	hook func(command string) error
	upon map[string]func() // called when a port is entered
}

type process struct {
	started uint64
	version string
	patched bool
	unit    string
	busy    bool

	unreadable bool
	dies       bool      // when it is patched
	since      time.Time // zero: for ages
}

func newFake(t testing.TB) *fake {
	b, id := bundle(t)
	f := &fake{
		t: t, now: day, bundle: b, staging: filepath.Join(t.TempDir(), "staging"), version: "1.0", booted: day.AddDate(0, -1, 0),
		processes: map[int]*process{812: {started: 100, version: "1.0", unit: "food.service"}, 813: {started: 101, version: "1.0", unit: "food.service"}},
		health:    map[string]agent.Health{}, fail: map[string]error{}, upon: map[string]func(){},
	}
	f.catalog = &catalog.Catalog{
		Format: catalog.Format, Channel: "stable", Issued: day.AddDate(0, 0, -1), Expires: day.AddDate(0, 0, 7),
		Releases: []catalog.Release{
			release("2026-01-baseline", catalog.Baseline, "", "2026-01-13", artifact("1.0", "", "")),
			release("2026-03-hotpatch", catalog.Hotpatch, "2026-01-baseline", "2026-03-10", artifact("1.1", "1.0", id)),
		},
		Calendar: catalog.Calendar{Name: "test", Cadence: catalog.Cadence{Baselines: []int{1, 4, 7, 10}, Day: "2TU"}},
	}
	return f
}

func release(id catalog.ReleaseID, kind catalog.Kind, on catalog.ReleaseID, available string, arts ...catalog.Artifact) catalog.Release {
	at, err := time.Parse(time.DateOnly, available)
	if err != nil {
		panic(err)
	}
	return catalog.Release{ID: id, Kind: kind, Baseline: on, Available: at, Artifacts: arts,
		Life: catalog.Life{State: catalog.Complete, Since: at, By: "release team"}}
}

func artifact(fixed, base string, bundle catalog.Digest) catalog.Artifact {
	a := catalog.Artifact{Package: "food", Arch: "amd64", Base: base, Fixed: fixed, Bundle: bundle,
		Images: []catalog.Change{{Path: path, Base: idOf[base], Fixed: idOf[fixed]}}}
	if fixed == "1.1" || fixed == "2.0" {
		a.CVEs = []string{"CVE-2026-0001"}
	}
	return a
}

// enter notes that a port was used, and fails it when the test says so.
func (f *fake) enter(port, what string) error {
	if what != "" {
		f.did = append(f.did, what)
	}
	if do := f.upon[port]; do != nil {
		delete(f.upon, port)
		do()
	}
	return f.fail[port]
}

func (f *fake) Now() time.Time  { return f.now }
func (f *fake) Staging() string { return f.staging }
func (f *fake) System() (name, version string, err error) {
	return "Debian GNU/Linux", "12", f.fail["system"]
}

func (f *fake) Catalog(context.Context) (*catalog.Catalog, error) {
	if err := f.enter("catalog", ""); err != nil {
		return nil, err
	}
	data, err := f.catalog.Encode()
	if err != nil {
		f.t.Fatalf("the test's catalogue: %v", err)
	}
	c, err := catalog.Decode(data)
	if err != nil {
		f.t.Fatalf("the test's catalogue: %v", err)
	}
	return c, nil
}

func (f *fake) Bundle(_ context.Context, id catalog.Digest, file string) error {
	if err := f.enter("bundle", ""); err != nil {
		return err
	}
	data, err := f.bundle.Encode()
	if err != nil {
		f.t.Fatal(err)
	}
	return os.WriteFile(file, data, 0o600)
}

func (f *fake) Settle(context.Context) error {
	f.settled++
	return f.enter("settle", "")
}

func (f *fake) Install(_ context.Context, arts []catalog.Artifact) error {
	err := f.enter("install", "install "+arts[0].Package+" "+arts[0].Fixed)
	if err == nil {
		f.version = arts[0].Fixed
	}
	return err
}

func (f *fake) Inventory(context.Context, *catalog.Catalog) (*catalog.Inventory, error) {
	if err := f.enter("inventory", ""); err != nil {
		return nil, err
	}
	inv := &catalog.Inventory{Format: catalog.Format, Host: "web-1", Taken: f.now, Booted: f.booted, Facts: catalog.Facts{Arch: "amd64"},
		Packages: []catalog.Package{{Name: "food", Arch: "amd64", Version: f.version, Held: f.held, Images: []catalog.Image{{Path: path, BuildID: idOf[f.version]}}}}}
	if f.gate != "" {
		inv.Facts.Ptrace = catalog.Probe{Found: []string{f.gate}, Remedy: "allow it"}
	}
	for pid, p := range f.processes {
		q := catalog.Process{PID: pid, Started: p.started, Exe: path, Unit: p.unit,
			Images: []catalog.Loaded{{Path: path, BuildID: idOf[p.version], Next: idOf[f.version], Deleted: p.version != f.version}}}
		if p.unreadable {
			q.Images, q.Unknown = nil, "permission denied"
		}
		if p.patched {
			_, id := bundle(f.t)
			q.Patches = []catalog.Digest{id}
		}
		inv.Processes = append(inv.Processes, q)
	}
	slices.SortFunc(inv.Processes, func(a, b catalog.Process) int { return a.PID - b.PID })
	return inv, nil
}

func (f *fake) Targets(*patch.Bundle) ([]int, error) {
	if err := f.enter("targets", ""); err != nil {
		return nil, err
	}
	var pids []int
	for pid, p := range f.processes {
		if p.version == "1.0" {
			pids = append(pids, pid)
		}
	}
	slices.Sort(pids)
	return pids, nil
}

func (f *fake) Apply(_ context.Context, pid int, _ *patch.Bundle) txn.Result {
	p := f.processes[pid]
	r := txn.Result{PID: pid, Comm: "food", Attempts: 1}
	err := f.enter("apply", fmt.Sprintf("apply %d", pid))
	switch {
	case err != nil:
		r.Outcome, r.Reason = txn.Failed, err.Error()
	case p == nil:
		r.Outcome, r.Attempts = txn.Died, 0
	case p.dies:
		r.Outcome = txn.Died
		delete(f.processes, pid)
	case p.busy:
		r.Outcome, r.Reason = txn.Busy, "judge is on a stack"
	case p.patched:
		r.Outcome = txn.Already
	default:
		p.patched = true
		r.Outcome = txn.Applied
	}
	return r
}

func (f *fake) Carrying(patch.ID) ([]int, error) {
	var pids []int
	for pid, p := range f.processes {
		if p.patched {
			pids = append(pids, pid)
		}
	}
	slices.Sort(pids)
	return pids, nil
}

func (f *fake) Revert(_ context.Context, pid int, _ patch.ID) txn.Result {
	r := txn.Result{PID: pid, Comm: "food", Outcome: txn.Reverted}
	if err := f.enter("revert", fmt.Sprintf("revert %d", pid)); err != nil {
		r.Outcome, r.Reason = txn.Failed, err.Error()
		return r
	}
	f.processes[pid].patched = false
	return r
}

func (f *fake) Restart(_ context.Context, unit string) error {
	if err := f.enter("restart", "restart "+unit); err != nil {
		return err
	}
	for pid, p := range f.processes {
		if p.unit == unit {
			delete(f.processes, pid)
			f.processes[pid+1000] = &process{started: p.started + 5000, version: f.version, unit: unit}
		}
	}
	return nil
}

func (f *fake) Reboot(context.Context) error { return f.enter("reboot", "reboot") }

func (f *fake) Health(_ context.Context, unit string) (agent.Health, error) {
	return f.health[unit], f.enter("health", "")
}

func (f *fake) Process(pid int) (agent.Running, bool, error) {
	p := f.processes[pid]
	if p == nil {
		return agent.Running{}, false, f.fail["process"]
	}
	return agent.Running{Started: p.started, Since: p.since, Unit: p.unit}, true, f.fail["process"]
}

func (f *fake) Crash(pid int, since time.Time) string {
	if at, ok := f.crashes[pid]; ok && !at.Before(since) {
		return "SIGSEGV"
	}
	return ""
}

func (f *fake) Hook(_ context.Context, command string, env []string) error {
	f.did = append(f.did, "hook "+command)
	if !slices.ContainsFunc(env, func(s string) bool { return strings.HasPrefix(s, "HOTPATCH_RELEASE=") }) {
		f.t.Error("a hook is not told which release it is for")
	}
	if f.hook != nil {
		return f.hook(command)
	}
	return nil
}

// host is an agent in its world.
type host struct {
	*fake
	*agent.Agent
	policy string
	file   string
}

const plain = `repository = "/srv/repo"`

// inWindow has one window: the day of the story, 13:00 to 17:00.
const inWindow = plain + `
[[window]]
name = "tuesday"
rule = "FREQ=WEEKLY;BYDAY=TU"
at = "13:00"
for = "4h"
in = "UTC"
`

func newHost(t testing.TB, policy string) *host {
	t.Helper()
	h := &host{fake: newFake(t), policy: policy, file: filepath.Join(t.TempDir(), "journal.db")}
	h.start()
	return h
}

// start is a new life of the agent: as after a restart of it, or a crash.
func (h *host) start() {
	h.t.Helper()
	j, err := agent.OpenJournal(h.file)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { j.Close() })
	h.Agent, err = agent.New(agent.Options{World: h.fake, Journal: j, Log: slog.New(slog.DiscardHandler),
		Policy: func() (*agent.Policy, error) { return agent.ParsePolicy([]byte(h.policy)) }})
	if err != nil {
		h.t.Fatal(err)
	}
}

// step is one round of the agent; what it did to the world is in did.
func (h *host) step() *catalog.Assessment {
	h.t.Helper()
	h.did = nil
	as, err := h.Step(context.Background())
	if err != nil {
		h.t.Fatalf("step: %v (did %q)", err, h.did)
	}
	return as
}

// enrol makes it want to be in the program, and looks once.
func (h *host) enrol() {
	h.t.Helper()
	if _, err := h.Enrol(catalog.Pending, "kim"); err != nil {
		h.t.Fatal(err)
	}
}

func (h *host) wantDid(want ...string) {
	h.t.Helper()
	if !slices.Equal(h.did, want) {
		h.t.Fatalf("did %q, want %q", h.did, want)
	}
}

func (h *host) lastRun() catalog.Run {
	h.t.Helper()
	runs, err := h.Journal().Runs(1)
	if err != nil || len(runs) != 1 {
		h.t.Fatalf("runs: %v, %v", runs, err)
	}
	return runs[0]
}

var errNo = errors.New("it does not work today")
