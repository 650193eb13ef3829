package deb

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// Outcomes of an Item.
const (
	OutcomeInstalled = "installed" // the new version, every file verified
	OutcomeUnchanged = "unchanged" // still the version from before, wholly
	OutcomeModified  = "modified"  // the new version, but files differ from the package's
	OutcomeBroken    = "broken"    // neither: Repair
)

// Item is what happened to one package, read back from dpkg and the files.
type Item struct {
	Change
	Outcome string `json:"outcome"`
	State   string `json:"state"` // dpkg's word
	Check   Check  `json:"check"`
}

// Result is what an installation did.
type Result struct {
	Items    []Item    `json:"items"`
	Withheld []Action  `json:"withheld"` // starts, stops and restarts that did not happen
	Ended    []Process `json:"ended"`    // processes of the changed packages that ended meanwhile all the same
	Log      string    `json:"log"`      // file with all that apt and dpkg said
	Tail     string    `json:"-"`        // its end
}

// Done says that every package has its new version, wholly.
func (r Result) Done() bool {
	return len(r.Items) > 0 && !slices.ContainsFunc(r.Items, func(i Item) bool { return i.Outcome != OutcomeInstalled })
}

// ErrUnfinished says that packages were left in between: see Result and Repair.
var ErrUnfinished = errors.New("packages are not wholly installed")

// ErrLimit says that dpkg was stopped because it took too long.
var ErrLimit = errors.New("dpkg took too long and was stopped")

// job is what is written down before dpkg starts, so that whoever comes after a
// power cut knows what was meant.
type job struct {
	Started time.Time `json:"started"`
	Chosen  []Choice  `json:"chosen"`
	Changes []Change  `json:"changes"`
	Files   []string  `json:"files"` // the .debs, inside the system
	Auto    []string  `json:"auto"`  // packages that nobody asked for by name
}

// Download fetches the packages of a plan and verifies them against the
// digests in the archive's signed lists. What is there already is used again.
func (s System) Download(ctx context.Context, p Plan) error {
	if err := p.Err(); err != nil {
		return err
	}
	if err := s.prepare(); err != nil {
		return fmt.Errorf("download packages: %w", err)
	}
	for _, f := range p.files {
		if _, err := s.fetch(ctx, Choice{f.pkg, f.arch, f.version}, f.sha256); err != nil {
			return err
		}
	}
	return nil
}

// archive is the file name that apt gives a package: in Dir::Cache::archives it
// finds it there again.
func archive(c Choice) string {
	return c.Package + "_" + escape(c.Version) + "_" + c.Arch + ".deb"
}

// escape is apt's way to make a file name of a version.
func escape(version string) string {
	return strings.NewReplacer("%", "%25", "_", "%5f", ":", "%3a").Replace(version)
}

// fetch has a package with this digest in our archives and returns the path as
// we see it. apt verifies what it fetches; what was there before (and may have
// suffered a power cut) is verified here.
func (s System) fetch(ctx context.Context, c Choice, sum string) (string, error) {
	if err := c.check(); err != nil {
		return "", fmt.Errorf("fetch: %w", err)
	}
	if err := s.prepare(); err != nil {
		return "", fmt.Errorf("fetch %s: %w", c, err)
	}
	dir := s.state("archives")
	find := func() string {
		for _, arch := range []string{c.Arch, "all", Arch()} {
			name := s.file(filepath.Join(dir, archive(Choice{c.Package, arch, c.Version})))
			if _, err := os.Stat(name); err == nil {
				return name
			}
		}
		return ""
	}
	if name := find(); name != "" {
		if err := verifySHA256(name, sum); err == nil {
			return name, nil
		}
		if err := os.Remove(name); err != nil {
			return "", fmt.Errorf("fetch %s: %w", c, err)
		}
	}
	tmp, err := os.MkdirTemp(s.file(dir), ".fetch-")
	if err != nil {
		return "", fmt.Errorf("fetch %s: %w", c, err)
	}
	defer os.RemoveAll(tmp)
	cmd := s.command(ctx, "apt-get", append(s.aptArgs(), "download", "--", c.arg())...)
	cmd.Dir = s.seen(filepath.Join(dir, filepath.Base(tmp)))
	if _, err := answer(ctx, cmd); err != nil {
		return "", fmt.Errorf("fetch %s: %w", c, err)
	}
	es, err := filepath.Glob(filepath.Join(tmp, "*.deb"))
	if err != nil || len(es) != 1 {
		return "", fmt.Errorf("fetch %s: apt-get left %d packages", c, len(es))
	}
	p, err := Open(es[0])
	if err != nil {
		return "", fmt.Errorf("fetch %s: %w", c, err)
	}
	if p.Name != c.Package || p.Version != c.Version {
		return "", fmt.Errorf("fetch %s: got %s=%s", c, p.Name, p.Version)
	}
	if err := verifySHA256(es[0], sum); err != nil {
		return "", fmt.Errorf("fetch %s: %w", c, err)
	}
	name := s.file(filepath.Join(dir, archive(Choice{p.Name, p.Arch, p.Version})))
	now := time.Now() // apt gives it the archive's time, and tidy goes by ours
	if err := os.Chtimes(es[0], now, now); err != nil {
		return "", fmt.Errorf("fetch %s: %w", c, err)
	}
	if err := os.Rename(es[0], name); err != nil {
		return "", fmt.Errorf("fetch %s: %w", c, err)
	}
	return name, nil
}

func verifySHA256(name, sum string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return err
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != sum {
		return fmt.Errorf("verify %s: it has digest %s, the archive's lists say %s", name, got, sum)
	}
	return nil
}

// Install brings exactly the chosen versions onto the disk and restarts
// nothing: no service is started, stopped or reloaded; what packages wanted of
// that is in Result.Withheld. Configuration files stay as they are.
//
// It refuses (*RefusedError, nothing changed) what removes a package, touches
// an installed one of another source than those chosen, is held, does not fit on the disk, or
// what dpkg cannot do before Repair. *LockedError when others use dpkg too long.
//
// ctx ends it until dpkg starts; dpkg itself is let finish, since half an
// installation serves nobody, up to the Limit. When we are killed dpkg goes on;
// the next Install or Repair finds out what became of it.
func (s System) Install(ctx context.Context, chosen []Choice, o PlanOptions) (Result, error) {
	l, err := s.acquire(ctx)
	if err != nil {
		return Result{}, fmt.Errorf("install packages: %w", err)
	}
	defer l.release()
	if err := s.settle(); err != nil {
		return Result{}, fmt.Errorf("install packages: %w", err)
	}
	p, err := s.Plan(ctx, chosen, o)
	if err != nil {
		return Result{}, err
	}
	if err := p.Err(); err != nil {
		return Result{}, err
	}
	if len(p.Changes) == 0 {
		return s.verified(p.kept())
	}
	if err := s.Download(ctx, p); err != nil {
		return Result{}, fmt.Errorf("install packages: %w", err)
	}
	j, err := s.newJob(p)
	if err != nil {
		return Result{}, fmt.Errorf("install packages: %w", err)
	}
	return s.carryOut(ctx, l, j, p.Changes, func(g *guard) *exec.Cmd {
		args := []string{"--no-download", "--no-remove", "-o", "DPkg::Path=" + g.path(), "-o", "DPkg::Lock::Timeout=60"}
		for _, a := range s.dpkgArgs() {
			args = append(args, "-o", "DPkg::Options::="+a)
		}
		return g.command(context.WithoutCancel(ctx), nil, "apt-get", append(args, s.installArgs(p.request, o)...)...)
	})
}

// kept are the chosen packages that already have their version.
func (p Plan) kept() []Change {
	var out []Change
	for _, c := range p.Chosen {
		out = append(out, Change{c.Package, c.Arch, c.Version, c.Version})
	}
	return out
}

func (s System) newJob(p Plan) (job, error) {
	j := job{Started: time.Now().UTC().Truncate(time.Second), Chosen: p.Chosen, Changes: p.Changes}
	auto, err := s.auto()
	if err != nil {
		return j, err
	}
	for _, c := range p.request {
		for _, name := range auto {
			if pkg, arch, _ := strings.Cut(name, ":"); pkg == c.Package && (c.Arch == "" || c.Arch == "all" || c.Arch == arch) {
				j.Auto = append(j.Auto, name)
			}
		}
	}
	for _, f := range p.files {
		j.Files = append(j.Files, s.state("archives/"+archive(Choice{f.pkg, f.arch, f.version})))
	}
	return j, nil
}

// auto lists the packages that were installed only because others need them;
// asking apt for one by name would make it wanted for itself.
func (s System) auto() ([]string, error) {
	f, err := os.Open(s.file("/var/lib/apt/extended_states"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var out []string
	err = paragraphs(f, []string{"Package", "Architecture", "Auto-Installed"}, func(f map[string]string) error {
		if f["Auto-Installed"] == "1" && packageName().MatchString(f["Package"]) && packageName().MatchString(f["Architecture"]) {
			out = append(out, f["Package"]+":"+f["Architecture"])
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", f.Name(), err)
	}
	return out, nil
}

// carryOut writes the job down, raises the guard, lets dpkg work and reads back
// what became of it. Precondition: l is held.
func (s System) carryOut(ctx context.Context, l *lock, j job, changes []Change, start func(*guard) *exec.Cmd) (Result, error) {
	before := s.running(changes)
	g, err := s.raise(ctx)
	if err != nil {
		return Result{}, fmt.Errorf("install packages: %w", err)
	}
	b, err := json.MarshalIndent(j, "", "  ")
	if err == nil {
		err = writeFile(s.file(s.state("job.json")), append(b, '\n'))
	}
	if err != nil {
		return Result{}, errors.Join(fmt.Errorf("install packages: %w", err), s.lower())
	}
	name, ran := s.run(start(g), l)
	withheld, err := g.withheld()
	r, verr := s.verified(changes)
	err = errors.Join(err, verr, s.lower())
	r.Log, r.Withheld = name, append(r.Withheld, withheld...)
	r.Ended = ended(before)
	if text, terr := tail(name, maxTail); terr == nil {
		r.Tail = text
	}
	if err == nil {
		err = s.finish(ctx, j)
	}
	switch {
	case err != nil:
		return r, fmt.Errorf("install packages: %w", err)
	case ran != nil && r.broken():
		return r, fmt.Errorf("install packages: %w: %w", ErrUnfinished, ran)
	case ran != nil:
		return r, fmt.Errorf("install packages: %w", ran)
	case r.broken():
		return r, fmt.Errorf("install packages: %w", ErrUnfinished)
	}
	return r, nil
}

func (r Result) broken() bool {
	return slices.ContainsFunc(r.Items, func(i Item) bool { return i.Outcome == OutcomeBroken })
}

// run lets a command finish, its words in a file: a pipe to us would break dpkg
// when we die. Our lock goes with it as descriptor 3.
func (s System) run(cmd *exec.Cmd, l *lock) (string, error) {
	name := s.file(s.state("log/" + time.Now().UTC().Format("20060102T150405.000") + ".log"))
	log, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return name, err
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	cmd.ExtraFiles = []*os.File{l.file}
	if err := cmd.Start(); err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return name, fmt.Errorf("%w: %s", ErrNoApt, cmd.Path)
		}
		return name, err
	}
	limit := s.Limit
	if limit == 0 {
		limit = defaultLimit
	}
	var over atomic.Bool
	timer := time.AfterFunc(limit, func() {
		over.Store(true)
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // the session that command began
	})
	err = cmd.Wait()
	timer.Stop()
	if over.Load() && err != nil {
		return name, ErrLimit
	}
	if err == nil {
		return name, nil
	}
	text, terr := tail(name, maxTail)
	if terr != nil {
		return name, err
	}
	return name, aptError(filepath.Base(cmd.Path), blame(text), err)
}

// blame are the lines of a log that say what went wrong.
func blame(text string) string {
	var out []string
	for line := range strings.SplitSeq(text, "\n") {
		if strings.HasPrefix(line, "E: ") || strings.HasPrefix(line, "dpkg: error") || strings.HasPrefix(line, " cannot ") || strings.Contains(line, "No space left on device") {
			out = append(out, strings.TrimSpace(line))
		}
	}
	return strings.Join(out[:min(len(out), 5)], "; ")
}

// verified reads from dpkg and the files what became of the changes.
func (s System) verified(changes []Change) (Result, error) {
	r := Result{Items: []Item{}, Withheld: []Action{}, Ended: []Process{}}
	have, err := s.Dpkg().Status()
	if err != nil {
		return r, err
	}
	for _, c := range changes {
		item := Item{Change: c}
		i, ok := find(have, Choice{Package: c.Package, Arch: c.Arch})
		item.State = i.State
		switch {
		case !ok && c.From == "":
			item.Outcome, item.State = OutcomeUnchanged, "not-installed"
		case ok && i.Version == c.To && (i.Ready() || strings.HasPrefix(i.State, "triggers-")):
			item.Outcome = OutcomeInstalled
			if item.Check, err = s.Dpkg().Verify(i.Package, i.Arch); err != nil {
				return r, err
			}
			if !item.Check.OK() {
				item.Outcome = OutcomeModified
			}
		case ok && i.Version == c.From && i.Ready():
			item.Outcome = OutcomeUnchanged
		default:
			item.Outcome = OutcomeBroken
		}
		r.Items = append(r.Items, item)
	}
	return r, nil
}

// finish puts back what an installation by name changes in apt's notes, and
// takes the job off the table unless there is something to repair.
func (s System) finish(ctx context.Context, j job) error {
	cond, err := s.Dpkg().Condition()
	if err != nil || !cond.Clean() {
		return err
	}
	if len(j.Auto) > 0 {
		auto, err := s.auto()
		if err != nil {
			return err
		}
		if slices.ContainsFunc(j.Auto, func(name string) bool { return !slices.Contains(auto, name) }) {
			args := []string{"-q"}
			for _, o := range s.aptArgs() {
				if o != "-q" {
					args = append(args, o)
				}
			}
			if _, err := s.ask(context.WithoutCancel(ctx), "apt-mark", append(append(args, "auto"), j.Auto...)...); err != nil {
				return fmt.Errorf("mark as automatically installed: %w", err)
			}
		}
	}
	for _, name := range append(slices.Clone(j.Files), s.state("job.json")) {
		if dir := filepath.Dir(name); dir != s.state("archives") && dir != s.state("") {
			return fmt.Errorf("%s is none of our files", name)
		}
		if err := os.Remove(s.file(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return s.tidy()
}

// staleAfter is how long a package is kept that was fetched and not installed.
const staleAfter = 14 * 24 * time.Hour

// tidy keeps the last twenty logs, and no package that nobody came for.
func (s System) tidy() error {
	debs, err := filepath.Glob(s.file(s.state("archives/*.deb")))
	if err != nil {
		return err
	}
	for _, name := range debs {
		if st, err := os.Lstat(name); err == nil && time.Since(st.ModTime()) > staleAfter {
			if err := os.Remove(name); err != nil {
				return err
			}
		}
	}
	names, err := filepath.Glob(s.file(s.state("log/*.log")))
	if err != nil {
		return err
	}
	slices.Sort(names) // by time
	for _, name := range names[:max(0, len(names)-20)] {
		if err := os.Remove(name); err != nil {
			return err
		}
	}
	return nil
}

// settle clears what a run that was killed left: its guard, and its job when
// that was done or never begun. A job that needs Repair stays. Precondition:
// our lock is held, so that nothing of that run is alive.
func (s System) settle() error {
	if err := s.lower(); err != nil {
		return err
	}
	old, err := filepath.Glob(s.file(s.state("archives/.fetch-*")))
	if err != nil {
		return err
	}
	for _, name := range old {
		if err := os.RemoveAll(name); err != nil {
			return err
		}
	}
	j, err := s.readJob()
	if err != nil || j == nil {
		return err
	}
	return s.finish(context.Background(), *j)
}

// readJob is nil when there is none; one that cannot be read is no plan of ours
// (it is written at once or not at all).
func (s System) readJob() (*job, error) {
	b, err := os.ReadFile(s.file(s.state("job.json")))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	j, err := parseJob(b)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", s.file(s.state("job.json")), err)
	}
	return &j, nil
}

func parseJob(b []byte) (job, error) {
	var j job
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&j); err != nil {
		return j, err
	}
	for _, c := range j.Chosen {
		if err := c.check(); err != nil {
			return j, err
		}
	}
	for _, name := range j.Auto {
		pkg, arch, ok := strings.Cut(name, ":")
		if !ok || !packageName().MatchString(pkg) || !packageName().MatchString(arch) {
			return j, fmt.Errorf("bad package name %.80q", name)
		}
	}
	for _, name := range j.Files {
		if !filepath.IsAbs(name) || filepath.Clean(name) != name {
			return j, fmt.Errorf("bad file name %.80q", name)
		}
	}
	return j, nil
}
