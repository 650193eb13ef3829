// Package rebuild is a source of types and names where no archive of debug
// files can be reached: it builds a Debian source package again, unstripped and
// with Debian's own flags, holds what comes out against the shipped files
// function by function, and keeps the types and names of what matches as debug
// files, each under the build-id of the shipped image. It says what did not
// match, and in every debug file how far its types can be believed (Evidence).
//
// It installs nothing unless told to, and never edits /etc/apt. What a source
// package runs is run as an ordinary user: as the caller, or as nobody when the
// caller is root.
//
// Debian Policy 4.9.1 (DEB_BUILD_OPTIONS); deb-src-control(5), dsc(5),
// dpkg-buildpackage(1); SOURCE_DATE_EPOCH of reproducible-builds.org, which
// dpkg-buildpackage sets from the changelog.
package rebuild

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"hotpatch/internal/deb"
	"hotpatch/internal/image"
)

// Options are the choices of a run. Work and Output have to be given.
type Options struct {
	Output string // debug files go below it, by build-id
	Work   string // scratch: sources, packages, logs; a directory per source
	// Chroot is a Debian root to build in instead of this host; needs root.
	Chroot  string
	Debs    []string // directories with shipped packages to look in first
	Install bool     // install missing build dependencies, in the room
	Again   bool     // also what was done before
	Keep    bool     // leave sources and packages in Work
	Jobs    int      // parallel compilations; 0: 1
	Timeout time.Duration
	// Progress, when not nil, is told of every step.
	Progress func(pkg, step string)
}

// Report is the result of a run; its JSON is what `hotpatch debuginfo --json`
// prints.
type Report struct {
	Packages []Package `json:"packages"`
}

// Package is one source package in one version.
type Package struct {
	Target  string  `json:"target"` // as it was asked for
	Source  string  `json:"source"`
	Version string  `json:"version"`
	Cached  bool    `json:"cached"` // done before; nothing was built
	Seconds float64 `json:"seconds"`
	Images  []Image `json:"images"`
	// Absent are packages that hold machine code and could not be had as
	// shipped, each with the reason.
	Absent []string `json:"absent"`
	Error  string   `json:"error"` // "" when it was rebuilt and compared
	Log    string   `json:"log"`   // "" when nothing was run

	err error
}

// Err is why the package could not be rebuilt; a *StepError where a step failed.
func (p *Package) Err() error { return p.err }

// Image is one shipped ELF file.
type Image struct {
	Evidence
	Also      []string `json:"also"`       // other names of the same file
	DebugFile string   `json:"debug_file"` // "" when there is none
	Error     string   `json:"error"`      // why there is none
}

// Run rebuilds every target (NAME=VERSION of a source or binary package, or the
// path of a .dsc) and keeps what matches. A package that fails is in the report
// with its error; the error returned is about the run as a whole. When ctx ends,
// the report has what was done until then.
func Run(ctx context.Context, targets []string, o Options) (*Report, error) {
	parsed := make([]target, len(targets))
	for i, t := range targets {
		var err error
		if parsed[i], err = parseTarget(t); err != nil {
			return nil, err
		}
	}
	if o.Chroot != "" {
		if err := checkChroot(o.Chroot); err != nil {
			return nil, err
		}
	}
	if err := os.MkdirAll(o.Work, 0o755); err != nil {
		return nil, err
	}
	rep := &Report{Packages: []Package{}}
	for _, t := range parsed {
		p := run(ctx, t, o)
		if ctx.Err() != nil {
			return rep, context.Cause(ctx)
		}
		if p.err != nil {
			p.Error = p.err.Error()
		}
		rep.Packages = append(rep.Packages, p)
	}
	return rep, nil
}

func checkChroot(dir string) error {
	if os.Geteuid() != 0 {
		return fmt.Errorf("use %s: building in another root needs root", dir)
	}
	if st, err := os.Stat(filepath.Join(dir, "usr/bin/dpkg")); err != nil || !st.Mode().IsRegular() {
		return fmt.Errorf("use %s: not the root of a Debian system (it has no usr/bin/dpkg)", dir)
	}
	return nil
}

// checkReach: when root builds on this host, nobody does, and has to get there.
func checkReach(o Options) error {
	if os.Geteuid() != 0 || o.Chroot != "" {
		return nil
	}
	for dir := filepath.Clean(o.Work); ; dir = filepath.Dir(dir) {
		st, err := os.Stat(dir)
		if err != nil {
			return err
		}
		if st.Mode()&0o001 == 0 {
			return fmt.Errorf("work in %s: root lets the user nobody build, who may not enter %s", o.Work, dir)
		}
		if dir == filepath.Dir(dir) {
			return nil
		}
	}
}

// CheckTarget says whether s is something to rebuild: NAME=VERSION, or the path
// of a .dsc file.
func CheckTarget(s string) error {
	_, err := parseTarget(s)
	return err
}

// target is what to rebuild: a package by name, or a .dsc.
type target struct{ name, version, dsc string }

func (t target) String() string {
	if t.dsc != "" {
		return t.dsc
	}
	return t.name + "=" + t.version
}

func parseTarget(s string) (target, error) {
	if strings.HasSuffix(s, ".dsc") {
		path, err := filepath.Abs(s)
		return target{dsc: path}, err
	}
	name, version, ok := strings.Cut(s, "=")
	if !ok {
		return target{}, fmt.Errorf("%.80q is neither PACKAGE=VERSION nor a .dsc file", s)
	}
	if !deb.IsPackageName(name) {
		return target{}, fmt.Errorf("%.80q: bad package name", s)
	}
	if _, err := deb.Compare(version, version); err != nil {
		return target{}, fmt.Errorf("%.80q: %w", s, err)
	}
	return target{name: name, version: version}, nil
}

// worker is the run of one package.
type worker struct {
	o     Options
	t     target
	p     Package
	dir   string // of this package, below Options.Work
	room  room
	dsc   *deb.Dsc
	start time.Time
}

func (w *worker) name() string {
	if w.p.Source == "" {
		return w.t.String()
	}
	return w.p.Source + "=" + w.p.Version
}

func (w *worker) tell(step string) {
	if w.o.Progress != nil {
		w.o.Progress(w.name(), step)
	}
}

// run is one package from its source to its debug files.
func run(ctx context.Context, t target, o Options) Package {
	w := &worker{o: o, t: t, start: time.Now(), p: Package{Target: t.String(), Images: []Image{}, Absent: []string{}}}
	fail := func(step string, err error) Package {
		var known *StepError
		if !errors.As(err, &known) {
			err = &StepError{Package: w.name(), Step: step, Err: err}
		}
		w.p.err = err
		return w.p
	}
	if t.dsc == "" {
		w.p.Source, w.p.Version = t.name, t.version
		if w.done() {
			return w.p
		}
	}
	if err := w.source(ctx); err != nil {
		return fail("rebuild", err)
	}
	if w.done() {
		return w.p
	}
	unlock, err := w.lock()
	if err != nil {
		return fail("prepare", err)
	}
	defer unlock()
	if err := checkReach(o); err != nil {
		return fail("prepare", err)
	}
	shipped, err := w.shipped(ctx)
	if err != nil {
		return fail("rebuild", err)
	}
	rebuilt, err := w.build(ctx)
	if err != nil {
		return fail("build", err)
	}
	w.tell("comparing")
	if err := w.match(ctx, shipped, rebuilt); err != nil {
		return fail("compare", err)
	}
	if err := w.record(); err != nil {
		return fail("record", err)
	}
	if !o.Keep {
		err = w.clean()
	}
	if err != nil {
		return fail("clean up after", err)
	}
	return w.p
}

// clean removes everything but the log.
func (w *worker) clean() error {
	var errs []error
	for _, sub := range []string{"source", "shipped", "shipped.files", "rebuilt", "rebuilt.files", "build"} {
		errs = append(errs, os.RemoveAll(filepath.Join(w.dir, sub)))
	}
	return errors.Join(errs...)
}

// lock keeps a second run away from the directories that this one writes to.
func (w *worker) lock() (unlock func(), err error) {
	var held []*os.File
	unlock = func() {
		for _, f := range held {
			f.Close()
		}
	}
	dirs := []string{w.dir}
	if w.o.Chroot != "" { // builds there share a directory
		dirs = append(dirs, w.o.Chroot)
	}
	for _, dir := range dirs {
		f, err := os.Open(dir)
		if err != nil {
			unlock()
			return nil, err
		}
		held = append(held, f)
		if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
			unlock()
			return nil, fmt.Errorf("%s: another run is at it", dir)
		}
	}
	return unlock, nil
}

// match compares every shipped image with its rebuilt counterpart and writes
// the debug files.
func (w *worker) match(ctx context.Context, shipped, rebuilt map[string]string) error {
	seen := map[image.BuildID]int{}
	for _, pkg := range sortedKeys(shipped) {
		files, err := images(shipped[pkg])
		if err != nil {
			return err
		}
		for _, name := range files {
			w.matchOne(ctx, pkg, name, filepath.Join(shipped[pkg], name), rebuilt[pkg], seen)
			if err := ctx.Err(); err != nil {
				return err // and not what became of that one image
			}
		}
	}
	if len(w.p.Images) == 0 {
		return errors.New("its packages have no programs or libraries")
	}
	return nil
}

func (w *worker) matchOne(ctx context.Context, pkg, name, path, rebuilt string, seen map[image.BuildID]int) {
	img := Image{Also: []string{}, Evidence: Evidence{Format: 1, Unmatched: []Mismatch{}}}
	img.Source, img.Version, img.Package, img.Path = w.p.Source, w.p.Version, pkg, name
	other := filepath.Join(rebuilt, name)
	err := func() error {
		s, err := image.Open(path)
		if err != nil {
			return err
		}
		img.BuildID = s.BuildID
		if _, again := seen[s.BuildID]; again {
			return nil
		}
		if rebuilt == "" {
			return errors.New("the rebuild has no such package")
		}
		if _, err := os.Stat(other); errors.Is(err, fs.ErrNotExist) {
			return errors.New("the rebuild has no such file")
		}
		e, kept, err := Match(ctx, path, other, w.o.Output, Origin{img.Source, img.Version, pkg, name})
		if e != nil {
			img.Evidence = *e
		}
		img.DebugFile = kept
		return err
	}()
	if at, again := seen[img.BuildID]; again && img.BuildID != "" {
		w.p.Images[at].Also = append(w.p.Images[at].Also, name)
		return
	}
	if err != nil {
		img.Error = strings.ReplaceAll(err.Error(), w.dir+"/", "")
	}
	if img.BuildID != "" {
		seen[img.BuildID] = len(w.p.Images)
	}
	w.p.Images = append(w.p.Images, img)
}

// images lists the programs and libraries below a directory, as paths in it.
func images(dir string) ([]string, error) {
	var out []string
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		name = "/" + filepath.ToSlash(name)
		ok, err := isImage(path)
		if ok && !strings.HasPrefix(name, "/usr/lib/debug/") {
			switch filepath.Ext(name) {
			case ".ko", ".o", ".debug":
			default:
				out = append(out, name)
			}
		}
		return err
	})
	return out, err
}

// isImage: a program or shared library for amd64. Others (lib32z1 has some for
// i386) nobody patches.
func isImage(path string) (bool, error) {
	f, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer f.Close()
	var head [20]byte
	if _, err := io.ReadFull(f, head[:]); err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return false, nil
		}
		return false, err
	}
	const class64, exec, dyn, x86_64 = 2, 2, 3, 62
	t := le.Uint16(head[16:])
	return string(head[:4]) == "\x7fELF" && head[4] == class64 && (t == exec || t == dyn) && le.Uint16(head[18:]) == x86_64, nil
}

// manifest is where the result of a package is kept, next to its debug files.
func (w *worker) manifest() string {
	return filepath.Join(w.o.Output, "rebuilt", w.p.Source+"_"+fileVersion(w.p.Version)+".json")
}

// fileVersion is a version as part of a file name, as apt writes it.
func fileVersion(v string) string { return strings.ReplaceAll(v, ":", "%3a") }

// record writes the manifest of the package and one next to every debug file.
func (w *worker) record() error {
	w.p.Seconds = time.Since(w.start).Round(time.Millisecond).Seconds()
	write := func(path string, v any) error {
		return replaceFile(path, func(out io.Writer) error {
			e := json.NewEncoder(out)
			e.SetIndent("", "  ")
			return e.Encode(v)
		})
	}
	for i := range w.p.Images {
		if im := &w.p.Images[i]; im.DebugFile != "" {
			if err := write(strings.TrimSuffix(im.DebugFile, ".debug")+".json", im); err != nil {
				return err
			}
		}
	}
	return write(w.manifest(), &w.p)
}

const maxManifest = 256 << 20

// done says whether this source was rebuilt before and its debug files are
// there still; it then has the result.
func (w *worker) done() bool {
	if w.o.Again {
		return false
	}
	f, err := os.Open(w.manifest())
	if err != nil {
		return false
	}
	defer f.Close()
	var p Package
	if err := json.NewDecoder(io.LimitReader(f, maxManifest)).Decode(&p); err != nil {
		return false
	}
	if p.Source != w.p.Source || p.Version != w.p.Version || p.Error != "" {
		return false
	}
	for _, im := range p.Images {
		if im.DebugFile == "" {
			continue
		}
		e, err := ReadEvidence(im.DebugFile)
		if err != nil || e.BuildID != im.BuildID {
			return false
		}
	}
	p.Target, p.Cached, p.Seconds = w.p.Target, true, 0
	w.p = p
	return true
}
