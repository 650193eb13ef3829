package build

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
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"hotpatch/internal/patch"
)

// Fetch gets one of the two versions of a pair. release, when not nil, is
// called once the file is no longer needed.
type Fetch func(ctx context.Context, p Pair, version string) (path string, release func(), err error)

// ParityOptions are the choices of AssessAll.
type ParityOptions struct {
	Jobs  int   // pairs at a time; less than 1 is 1
	Fetch Fetch // for pairs without files; nil: they cannot be fetched
	// MaxSize, when not 0, is the largest .deb in bytes that is looked at. A
	// build's memory grows with its code: 60 MB of chromium took 12 GB.
	MaxSize int64
	// Build has what every build is given, such as DebugDirs and Debuginfod.
	// Types from there count for a result in State; what a server has does not
	// change.
	Build Options
	State string // directory for finished results; "" keeps none
	Tool  string // what tells one version of this program from another; for State
	// Progress, when not nil, is called whenever a pair begins or ends, by one
	// goroutine at a time.
	Progress func(ParityProgress)
}

// ParityProgress is how far AssessAll has come.
type ParityProgress struct {
	Done, Total int
	Kept        int         // of Done: taken from State
	Running     []string    // packages, by start
	Ended       *Assessment // what has just ended; nil: something began
}

// AssessAll assesses all pairs; the results are in their order. With State, it
// goes on where an earlier call ended. When ctx ends the error is its cause,
// and what was finished by then is returned, and kept.
func AssessAll(ctx context.Context, pairs []Pair, o ParityOptions) ([]Assessment, error) {
	r := &parityRun{o: o, total: len(pairs)}
	if o.State != "" {
		r.types = typesKey(&o.Build)
		if err := os.MkdirAll(o.State, 0o755); err != nil {
			return nil, err
		}
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	out := make([]*Assessment, len(pairs))
	next := make(chan int)
	var wg sync.WaitGroup
	for range max(o.Jobs, 1) {
		wg.Go(func() {
			for i := range next {
				a, err := r.one(ctx, pairs[i])
				if err != nil {
					stop(err)
					continue // the others are told by ctx
				}
				out[i] = a
			}
		})
	}
feed:
	for i := range pairs {
		select {
		case next <- i:
		case <-ctx.Done():
			break feed
		}
	}
	close(next)
	wg.Wait()
	done := []Assessment{}
	for _, a := range out {
		if a != nil {
			done = append(done, *a)
		}
	}
	if len(done) < len(pairs) {
		return done, context.Cause(ctx)
	}
	return done, nil
}

// parityRun is one call of AssessAll.
type parityRun struct {
	o     ParityOptions
	types string // where they may come from, for stateFile
	total int

	mu         sync.Mutex // guards what follows, and calls of Progress
	done, kept int
	running    []string
}

func (r *parityRun) begin(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.running = append(r.running, name)
	r.tell(nil)
}

func (r *parityRun) end(name string, a *Assessment, kept bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if i := slices.Index(r.running, name); i >= 0 {
		r.running = slices.Delete(r.running, i, i+1)
	}
	if a == nil {
		return
	}
	r.done++
	if kept {
		r.kept++
	}
	r.tell(a)
}

func (r *parityRun) tell(ended *Assessment) {
	if r.o.Progress != nil {
		r.o.Progress(ParityProgress{Done: r.done, Total: r.total, Kept: r.kept, Running: slices.Clone(r.running), Ended: ended})
	}
}

// one takes a pair's result from the state directory or works it out. The
// error is that of ctx, or of the state directory.
func (r *parityRun) one(ctx context.Context, p Pair) (out *Assessment, err error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	r.begin(p.Package)
	kept := false
	defer func() { r.end(p.Package, out, kept) }()

	large := func(size int64) *Assessment {
		if r.o.MaxSize == 0 || size <= r.o.MaxSize {
			return nil
		}
		p.FixedSize = size
		a := unassessed(p).not(OutcomeNotFetched, fmt.Errorf("its package has %d bytes, more than the limit of %d", size, r.o.MaxSize))
		return &a
	}
	// Whatever is known of the digests by now may tell of an earlier result:
	// before anything is fetched, then with one package, then with both.
	for _, side := range []struct {
		version      string
		file, digest *string
	}{{}, {p.BaseVersion, &p.BaseFile, &p.BaseDigest}, {p.FixedVersion, &p.FixedFile, &p.FixedDigest}} {
		if side.file != nil {
			release, err := r.fetch(ctx, p, side.version, side.file, side.digest)
			if err != nil {
				if ctx.Err() != nil {
					return nil, context.Cause(ctx)
				}
				a := unassessed(p).not(OutcomeNotFetched, err)
				return &a, nil
			}
			defer release()
		}
		if a := r.load(p); a != nil {
			kept = true
			return a, nil
		}
		if a := large(p.FixedSize); a != nil {
			return a, nil
		}
	}
	if st, err := os.Stat(p.FixedFile); err == nil { // if not, Assess says why
		if a := large(st.Size()); a != nil {
			return a, nil
		}
	}
	a, err := Assess(ctx, p, r.o.Build)
	if err != nil {
		return nil, err
	}
	return &a, r.save(a)
}

// fetch makes sure that there is a file, and takes its digest.
func (r *parityRun) fetch(ctx context.Context, p Pair, version string, file, digest *string) (release func(), err error) {
	release = func() {}
	if *file == "" {
		if r.o.Fetch == nil {
			return nil, errors.New("there is no file, and no way to fetch it")
		}
		path, free, err := r.o.Fetch(ctx, p, version)
		if err != nil {
			return nil, err
		}
		*file = path
		if free != nil {
			release = free
		}
	}
	if r.o.State != "" {
		if *digest, _, err = digestOf(*file); err != nil {
			release()
			return nil, err
		}
	}
	return release, nil
}

// parityState is one file of the state directory.
type parityState struct {
	Tool       string     `json:"tool"`
	Assessment Assessment `json:"assessment"`
}

const maxParityState = 64 << 20 // bytes of such a file

// stateFile names a result by what it depends on: both packages, the tool, and
// where types may come from.
func (r *parityRun) stateFile(base, fixed string) string {
	sum := sha256.Sum256([]byte(base + "\n" + fixed + "\n" + r.o.Tool + r.types))
	return filepath.Join(r.o.State, hex.EncodeToString(sum[:])+".json")
}

// typesKey tells one set of debug files from another: all that the directories
// hold, by name and size, and the servers. "" without any.
func typesKey(o *Options) string {
	var b strings.Builder
	for _, dir := range o.DebugDirs {
		// What cannot be read is not used by a build either.
		_ = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
			if err != nil || e.IsDir() {
				return nil
			}
			if info, err := e.Info(); err == nil {
				fmt.Fprintf(&b, "\n%s %d %d", path, info.Size(), info.ModTime().UnixNano())
			}
			return nil
		})
	}
	for _, u := range o.Debuginfod.URLs {
		fmt.Fprintf(&b, "\n%s", u)
	}
	return b.String()
}

// load finds a kept result; nil when there is none that can be believed, which
// only means that the work is done again.
func (r *parityRun) load(p Pair) *Assessment {
	if r.o.State == "" || p.BaseDigest == "" || p.FixedDigest == "" {
		return nil
	}
	f, err := os.Open(r.stateFile(p.BaseDigest, p.FixedDigest))
	if err != nil {
		return nil
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxParityState))
	if err != nil {
		return nil
	}
	var s parityState
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&s); err != nil {
		return nil
	}
	a := &s.Assessment
	if s.Tool != r.o.Tool || a.BaseDigest != p.BaseDigest || a.FixedDigest != p.FixedDigest || !a.final() {
		return nil
	}
	if a.Reasons == nil {
		a.Reasons = []patch.Reason{}
	}
	if a.GoesWith == nil {
		a.GoesWith = []string{}
	}
	if a.CVEs == nil {
		a.CVEs = []string{}
	}
	// What the packages are called is the caller's: a list may know better.
	a.Source, a.Package = p.orSource(a.Source), p.Package
	a.BaseVersion, a.FixedVersion = p.BaseVersion, p.FixedVersion
	return a
}

func (p Pair) orSource(name string) string {
	if p.Source != "" {
		return p.Source
	}
	return name
}

// final: another run would say the same.
func (a *Assessment) final() bool {
	switch a.Outcome {
	case OutcomeClean, OutcomeReview, OutcomePartial, OutcomeNothing, OutcomeRefused, OutcomeNoCode:
		return true
	}
	return false
}

// save keeps a result; the file appears complete or not at all.
func (r *parityRun) save(a Assessment) error {
	if r.o.State == "" || !a.final() {
		return nil
	}
	data, err := json.MarshalIndent(parityState{r.o.Tool, a}, "", "  ")
	if err != nil {
		return err
	}
	name := r.stateFile(a.BaseDigest, a.FixedDigest)
	tmp, err := os.CreateTemp(r.o.State, ".part-")
	if err != nil {
		return fmt.Errorf("keep result: %w", err)
	}
	defer os.Remove(tmp.Name()) // does nothing once it has its name
	_, err = tmp.Write(append(data, '\n'))
	if err := errors.Join(err, tmp.Close()); err != nil {
		return fmt.Errorf("keep result: %w", err)
	}
	if err := os.Rename(tmp.Name(), name); err != nil {
		return fmt.Errorf("keep result: %w", err)
	}
	return nil
}
