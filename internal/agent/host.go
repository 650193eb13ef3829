package agent

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"hotpatch/internal/catalog"
	"hotpatch/internal/deb"
	"hotpatch/internal/patch"
	"hotpatch/internal/proc"
	"hotpatch/internal/repo"
	"hotpatch/internal/scan"
	"hotpatch/internal/txn"
	"hotpatch/internal/watch"
)

// Places are where a host's agent keeps its things.
type Places struct {
	Config string // directory: policy.toml, root.json
	State  string // directory: journal.db, staged/, metadata/
}

// Policy is the policy file.
func (p Places) Policy() string { return filepath.Join(p.Config, "policy.toml") }

// Root is the trusted root of the repository.
func (p Places) Root() string { return filepath.Join(p.Config, "root.json") }

// Journal is the journal's file.
func (p Places) Journal() string { return filepath.Join(p.State, "journal.db") }

func (p Places) staging() string { return filepath.Join(p.State, "staged") }

// cache is where the newest state of a repository is remembered. What was seen
// of a repository with another root says nothing about this one.
func (p Places) cache(root []byte) string {
	sum := sha256.Sum256(root)
	return filepath.Join(p.State, "repository", hex.EncodeToString(sum[:8]))
}

// Host is the real world: this machine, its apt, its service manager, and the
// repository of its policy.
type Host struct {
	places Places
	log    *slog.Logger
	tables *txn.Tables
	wait   time.Duration // for busy processes
	system deb.System
	by     txn.By // noted in processes

	mu      sync.Mutex
	policy  *Policy // the repository is opened by it
	client  *repo.Client
	root    []byte // that it trusts
	scanner *scan.Scanner
	managed []string // what the scanner was made for
	known   map[string]scan.Origin
	crashes map[int]crash
}

// NewHost prepares this machine; by is who its processes are told has patched
// them. The policy says where the repository is; it is
// read again with each refresh.
func NewHost(places Places, by txn.By, log *slog.Logger) *Host {
	return &Host{places: places, by: by, log: log, tables: &txn.Tables{}, crashes: map[int]crash{}, system: deb.System{State: filepath.Join(places.State, "deb")}}
}

var _ World = (*Host)(nil)

// Now is the clock.
func (h *Host) Now() time.Time { return time.Now() }

// Staging is where hotpatches wait.
func (h *Host) Staging() string { return h.places.staging() }

// System reads os-release(5).
func (h *Host) System() (name, version string, err error) {
	b, err := os.ReadFile("/etc/os-release")
	if err != nil {
		return "", "", fmt.Errorf("read which system this is: %w", err)
	}
	f := map[string]string{}
	for line := range strings.Lines(string(b)) {
		if k, v, ok := strings.Cut(strings.TrimSpace(line), "="); ok {
			f[k] = strings.Trim(v, `"'`)
		}
	}
	return f["NAME"], f["VERSION_ID"], nil
}

// open opens the repository that the policy names, anew when it changed.
func (h *Host) open() (*repo.Client, *Policy, error) {
	p, err := ReadPolicy(h.places.Policy())
	h.mu.Lock()
	defer h.mu.Unlock()
	if err != nil {
		if h.client == nil {
			return nil, nil, err
		}
		return h.client, h.policy, nil // the agent has said that the policy is bad
	}
	h.wait = time.Duration(p.Wait)
	root, err := os.ReadFile(h.places.Root())
	if err != nil {
		return nil, nil, fmt.Errorf("read the repository's root of trust: %w", err)
	}
	if h.client != nil && h.policy.Repository == p.Repository && bytes.Equal(h.root, root) {
		h.policy = p
		return h.client, p, nil
	}
	c, err := repo.Open(p.Repository, root, h.places.cache(root), h.Now)
	if err != nil {
		return nil, nil, err
	}
	h.client, h.policy, h.root = c, p, root
	return c, p, nil
}

// Catalog fetches the channel's newest catalogue, verified.
func (h *Host) Catalog(ctx context.Context) (*catalog.Catalog, error) {
	c, p, err := h.open()
	if err != nil {
		return nil, err
	}
	if err := c.Refresh(ctx, p.Channel); err != nil {
		return nil, err
	}
	return c.Catalog(ctx, p.Channel)
}

// Bundle fetches one hotpatch.
func (h *Host) Bundle(ctx context.Context, id catalog.Digest, file string) error {
	c, p, err := h.open()
	if err != nil {
		return err
	}
	return c.Fetch(ctx, repo.BundlePath(p.Channel, id), file)
}

// Settle repairs an interrupted dpkg, whoever ran it. Somebody else's that still
// works is left to it.
func (h *Host) Settle(ctx context.Context) error {
	s, err := h.system.Situation()
	if err != nil || s.Clean() && len(s.Job) == 0 && !s.Guarded {
		return err
	}
	if s.Locked != nil && len(s.Job) == 0 {
		return nil
	}
	h.log.Warn("finishing an interrupted installation")
	_, err = h.system.Repair(ctx)
	return err
}

// Install puts packages on disk and restarts nothing.
func (h *Host) Install(ctx context.Context, artifacts []catalog.Artifact) error {
	if err := h.system.Update(ctx); err != nil {
		// What is known of the archive may do.
		h.log.Warn("could not refresh the package lists", "err", err)
	}
	var chosen []deb.Choice
	for _, a := range artifacts {
		chosen = append(chosen, deb.Choice{Package: a.Package, Arch: a.Arch, Version: a.Fixed})
	}
	r, err := h.system.Install(ctx, chosen, deb.PlanOptions{})
	for _, w := range r.Withheld {
		h.log.Info("kept a package from restarting something", "package", w.Package, "tool", w.Tool, "args", strings.Join(w.Args, " "))
	}
	for _, p := range r.Ended {
		h.log.Warn("a process of a package ended while it was installed", "pid", p.PID, "name", p.Name)
	}
	return err
}

// Inventory scans the host.
func (h *Host) Inventory(ctx context.Context, c *catalog.Catalog) (*catalog.Inventory, error) {
	managed, known := namesOf(c)
	h.mu.Lock()
	h.known = known
	if h.scanner == nil || !slices.Equal(managed, h.managed) {
		h.managed = managed
		h.scanner = scan.New(scan.Options{Managed: managed, Known: h.origin, Applied: applied})
	}
	s := h.scanner
	h.mu.Unlock()
	snap, err := s.Scan(ctx)
	if err != nil {
		return nil, err
	}
	inv := snap.Inventory()
	// The policy chose the channel, whose name is its publisher's business. That
	// its packages are not this host's shows in the packages.
	inv.Facts.Channel = ""
	return inv, nil
}

func (h *Host) origin(buildID string) (scan.Origin, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	o, ok := h.known[buildID]
	return o, ok
}

// namesOf are the packages that the catalogue manages, and which version each
// build-id is of.
func namesOf(c *catalog.Catalog) ([]string, map[string]scan.Origin) {
	names, known := map[string]bool{}, map[string]scan.Origin{}
	for i := range c.Releases {
		for _, a := range c.Releases[i].Artifacts {
			names[a.Package] = true
			for _, g := range a.Images {
				known[g.Fixed] = scan.Origin{Package: a.Package, Version: a.Fixed, Path: g.Path}
				if g.Base != "" && a.Base != "" {
					known[g.Base] = scan.Origin{Package: a.Package, Version: a.Base, Path: g.Path}
				}
			}
		}
	}
	list := make([]string, 0, len(names))
	for n := range names {
		list = append(list, n)
	}
	slices.Sort(list)
	return list, known
}

// applied reads what a process carries.
func applied(pid int) ([]scan.Applied, error) {
	states, err := txn.Status(pid)
	if err != nil {
		return nil, err
	}
	var out []scan.Applied
	for _, s := range states {
		a := scan.Applied{ID: string(s.ID), State: s.State}
		for _, im := range s.Images {
			a.Images = append(a.Images, im.BuildID)
		}
		out = append(out, a)
	}
	return out, nil
}

// Targets are the processes that map a base image.
func (h *Host) Targets(b *patch.Bundle) ([]int, error) {
	pids, denied, err := txn.Targets(b)
	for pid, err := range denied {
		h.log.Warn("a process could not be examined", "pid", pid, "err", err)
	}
	return pids, err
}

func (h *Host) options() txn.Options {
	h.mu.Lock()
	defer h.mu.Unlock()
	return txn.Options{Wait: h.wait, Log: h.log, Tables: h.tables, By: h.by}
}

// Apply patches one process.
func (h *Host) Apply(ctx context.Context, pid int, b *patch.Bundle) txn.Result {
	return txn.Apply(ctx, pid, b, h.options())
}

// Carrying are the processes that carry a hotpatch.
func (h *Host) Carrying(id patch.ID) ([]int, error) {
	cs, _, err := txn.Patched(id)
	var pids []int
	for _, c := range cs {
		pids = append(pids, c.PID)
	}
	return pids, err
}

// Revert takes a hotpatch out of one process.
func (h *Host) Revert(ctx context.Context, pid int, id patch.ID) txn.Result {
	return txn.Revert(ctx, pid, id, h.options())
}

// Watch reports processes that come to map what the bundles are for.
func (h *Host) Watch(ctx context.Context, bundles []*patch.Bundle, sighted func(pid int)) error {
	var ids, files []string
	for _, b := range bundles {
		for _, im := range b.Manifest.Images {
			ids, files = append(ids, im.BuildIDBase), append(files, im.Path)
		}
	}
	w, err := watch.New(ids, files, watch.Options{Log: h.log})
	if err != nil {
		return err
	}
	for s, err := range w.Lacks() {
		h.log.Warn("new processes are found later than they could be", "signal", s, "err", err)
	}
	return w.Run(ctx, func(s watch.Sighting) { sighted(s.PID) })
}

// systemd says whether it manages this host (sd_booted(3)).
func systemd() bool {
	_, err := os.Lstat("/run/systemd/system")
	return err == nil
}

// restartTime bounds the restart of one unit.
const restartTime = 15 * time.Minute

// Restart restarts a unit through the service manager. Once begun it is waited
// for, also when we are told to end: half a restart is none.
func (h *Host) Restart(ctx context.Context, unit string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), restartTime)
	defer cancel()
	if systemd() {
		_, err := output(ctx, "systemctl", "restart", "--", unit)
		return err
	}
	_, err := output(ctx, "service", strings.TrimSuffix(unit, ".service"), "restart")
	return err
}

// Reboot restarts the host.
func (h *Host) Reboot(ctx context.Context) error {
	if systemd() {
		_, err := output(ctx, "systemctl", "reboot")
		return err
	}
	_, err := output(ctx, "shutdown", "-r", "now")
	return err
}

// Health asks the service manager. Without one nothing is known to be wrong.
func (h *Host) Health(ctx context.Context, unit string) (Health, error) {
	if !systemd() {
		return Health{}, nil
	}
	text, err := output(ctx, "systemctl", "show", "-p", "ActiveState,Result,NRestarts,LoadState", "--", unit)
	if err != nil {
		return Health{}, err
	}
	return parseHealth(text)
}

// parseHealth reads "ActiveState=active\nResult=success\nNRestarts=0\n".
func parseHealth(text string) (Health, error) {
	f := map[string]string{}
	for line := range strings.Lines(text) {
		if k, v, ok := strings.Cut(strings.TrimSpace(line), "="); ok {
			f[k] = v
		}
	}
	if f["LoadState"] == "not-found" {
		return Health{}, nil // a transient unit that ended
	}
	n := 0
	if s := f["NRestarts"]; s != "" { // only services have it
		var err error
		if n, err = strconv.Atoi(s); err != nil || n < 0 {
			return Health{}, fmt.Errorf("read a unit's state: NRestarts=%.20q is no count", s)
		}
	}
	if f["ActiveState"] == "" {
		return Health{}, errors.New("read a unit's state: no ActiveState")
	}
	h := Health{Failed: f["ActiveState"] == "failed", Restarts: n}
	if h.Failed {
		h.Why = "result " + f["Result"]
	}
	return h, nil
}

// crash is how a process ended.
type crash struct {
	at time.Time
	by string
}

// maxCrashes bounds what is remembered of a host on which everything crashes.
const maxCrashes = 4096

// Listen hears of crashes until ctx ends. Where that is not possible (in a
// container) units alone say how their processes are, and it says so.
func (h *Host) Listen(ctx context.Context) error {
	err := watch.Crashes(ctx, func(pid int, by syscall.Signal) {
		h.mu.Lock()
		defer h.mu.Unlock()
		if len(h.crashes) >= maxCrashes {
			clear(h.crashes)
		}
		h.crashes[pid] = crash{h.Now(), unix.SignalName(by)}
	}, func() { h.log.Warn("the kernel dropped events; a crash may be missed") })
	if err != nil && ctx.Err() == nil {
		h.log.Warn("crashes of worker processes are not seen", "err", err)
		<-ctx.Done()
	}
	return nil
}

// Crash says what ended a process.
func (h *Host) Crash(pid int, since time.Time) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	if c, ok := h.crashes[pid]; ok && !c.at.Before(since) {
		return c.by
	}
	return ""
}

// Process looks at a process.
func (h *Host) Process(pid int) (p Running, alive bool, err error) {
	info, err := proc.Read(pid)
	if errors.Is(err, proc.ErrGone) || err == nil && info.Live == 0 {
		return p, false, nil
	}
	if err != nil {
		return p, false, err
	}
	cgroup, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ESRCH) {
		return p, false, nil
	}
	var up unix.Timespec
	if err == nil {
		err = unix.ClockGettime(unix.CLOCK_BOOTTIME, &up)
	}
	if err != nil {
		return p, false, fmt.Errorf("look at process %d: %w", pid, err)
	}
	// The kernel counts 100 ticks a second for us, whatever its own are (USER_HZ).
	age := time.Duration(up.Nano()) - time.Duration(info.Start)*(time.Second/100)
	return Running{Started: info.Start, Since: h.Now().Add(-age), Unit: scan.Unit(string(cgroup)), Name: info.Comm}, true, nil
}

// Hook runs a command of the administrator's.
func (h *Host) Hook(ctx context.Context, command string, env []string) error {
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", command)
	cmd.Env = append(os.Environ(), env...)
	return run(cmd)
}

func output(ctx context.Context, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	var out bytes.Buffer
	cmd.Stdout = &out
	err := run(cmd)
	return out.String(), err
}

// maxSaid is how much of what a command said goes into an error, in bytes.
const maxSaid = 2000

// run runs a command; its error says what it said last.
func run(cmd *exec.Cmd) error {
	var said tail
	cmd.Stderr = &said
	if cmd.Stdout == nil {
		cmd.Stdout = &said
	}
	cmd.WaitDelay = 5 * time.Second // for what it left behind with our pipes
	if err := cmd.Run(); err != nil {
		text := strings.TrimSpace(string(said.b))
		if text != "" {
			return fmt.Errorf("%s: %w: %s", filepath.Base(cmd.Path), err, text)
		}
		return fmt.Errorf("%s: %w", filepath.Base(cmd.Path), err)
	}
	return nil
}

// tail keeps the last of what is written to it.
type tail struct{ b []byte }

func (t *tail) Write(p []byte) (int, error) {
	t.b = append(t.b, p...)
	if len(t.b) > maxSaid {
		t.b = slices.Clone(t.b[len(t.b)-maxSaid:])
	}
	return len(p), nil
}
