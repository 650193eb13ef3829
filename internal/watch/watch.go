// Package watch answers one question: which process has just started, or
// loaded, one of these images? It names candidates and checks them by build-id;
// what is done about them is the caller's business.
//
// Three signals, each with what it cannot see:
//
//   - open: fanotify tells who opens the file (fanotify(7)). It is the quickest
//     and knows libraries that are loaded later, but only files it was told of:
//     a copy in a container that nobody has run yet is another inode.
//   - exec: the kernel's process connector tells who has called execve
//     (Documentation/driver-api/connector.rst). It needs no file, so it finds
//     new containers, but says nothing of a library that is loaded later.
//   - rescan: every process is looked at now and then. It misses nothing for
//     long, and it is all there is without privileges.
//
// A signal can lose events under load; the kernel says so, and a rescan follows.
package watch

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"hotpatch/internal/proc"
)

// Signal is how a process came to be looked at.
type Signal string

// The signals, quickest first.
const (
	Open   Signal = "open"   // it opened a file that holds an image
	Exec   Signal = "exec"   // it called execve
	Rescan Signal = "rescan" // it was found in the list of all processes
)

// DefaultRescan is how often all processes are looked at.
const DefaultRescan = time.Minute

// Sighting is a process that maps one of the images now.
type Sighting struct {
	PID   int
	Start uint64    // with PID the process's identity; see proc.Info
	Via   Signal    // what drew attention to it first
	At    time.Time // when it called execve, or opened the image if that is not known; zero for a rescan
	Seen  time.Time // when the image was found mapped
}

// Options are the choices of a watcher; the zero value is the default.
type Options struct {
	Rescan  time.Duration // 0: DefaultRescan
	Log     *slog.Logger  // nil: silent
	Without []Signal      // signals not to use, for hosts where one is unwelcome
	Ready   func()        // called once every process that ran already was looked at; nil: nobody asks
}

// Watcher waits for processes. Run it once.
type Watcher struct {
	want   map[string]bool // build-ids, lower case
	every  time.Duration
	log    *slog.Logger
	ready  func()
	opens  *opens // nil: not available
	execs  *execs // nil: not available
	lacks  map[Signal]error
	own    string // our mount namespace
	queue  queue
	signal chan candidate
	lost   chan struct{} // a signal lost events: rescan
}

// New prepares to watch for images with these build-ids. files are where they
// lie on disk, as far as that is known; files that running processes map are
// found by Run. A signal that is not to be had is no error: see Lacks.
func New(buildIDs, files []string, o Options) (*Watcher, error) {
	w := &Watcher{
		want: map[string]bool{}, every: o.Rescan, log: o.Log, ready: o.Ready, lacks: map[Signal]error{},
		signal: make(chan candidate, 256), lost: make(chan struct{}, 1),
	}
	for _, id := range buildIDs {
		if id == "" { // what has no build-id is unknown, not equal
			return nil, errors.New("watch: empty build-id")
		}
		w.want[strings.ToLower(id)] = true
	}
	if len(w.want) == 0 {
		return nil, errors.New("watch: no build-ids")
	}
	if w.every <= 0 {
		w.every = DefaultRescan
	}
	if w.log == nil {
		w.log = slog.New(slog.DiscardHandler)
	}
	// Where it cannot be read every process counts as one of another namespace.
	w.own, _ = proc.Namespace(os.Getpid(), "mnt")
	for _, s := range []Signal{Open, Exec} {
		if err := w.listen(s, o.Without); err != nil {
			w.lacks[s] = err
		}
	}
	for _, f := range files {
		if w.opens == nil {
			break
		}
		if err := w.opens.add(f); err != nil && !errors.Is(err, os.ErrNotExist) {
			w.log.Warn("cannot watch a file", "file", f, "err", err)
		}
	}
	return w, nil
}

var errUnwanted = errors.New("switched off")

func (w *Watcher) listen(s Signal, without []Signal) (err error) {
	for _, x := range without {
		if x == s {
			return errUnwanted
		}
	}
	if s == Open {
		w.opens, err = listenOpens()
	} else {
		w.execs, err = listenExecs()
	}
	return err
}

// Lacks says which signals could not be had and why. With both lacking, new
// processes are found by the rescan alone.
func (w *Watcher) Lacks() map[Signal]error { return w.lacks }

// Close gives up a watcher that is not run.
func (w *Watcher) Close() {
	if w.opens != nil {
		w.opens.close()
	}
	if w.execs != nil {
		w.execs.close()
	}
}

// Run reports every process that maps one of the images: those that are there,
// then those that come, and all of them again at each rescan (the caller may
// have been unable to deal with one). report is called on a goroutine of its
// own for each sighting, never twice at once for one process. Run returns when
// ctx ends and all reports have returned, or when /proc cannot be read.
func (w *Watcher) Run(ctx context.Context, report func(Sighting)) error {
	var readers sync.WaitGroup
	defer readers.Wait()
	defer w.Close() // ends them
	if w.opens != nil {
		readers.Go(func() { w.opens.read(ctx, w.notice, w.missed) })
	}
	if w.execs != nil {
		readers.Go(func() { w.execs.read(ctx, w.notice, w.missed) })
	}
	reports := &reports{busy: map[int]bool{}, report: report}
	defer reports.wait()
	looking, cancel := context.WithCancel(ctx)
	defer cancel() // nobody takes an answer any more
	looks := w.looks(looking)
	looks.scan()
	ready := w.ready
	tick := time.NewTicker(w.every)
	defer tick.Stop()
	due := time.NewTimer(time.Hour)
	defer due.Stop()
	for {
		wait := w.queue.wait(time.Now())
		if looks.full() {
			wait = time.Hour // an answer comes first
		}
		due.Reset(wait)
		select {
		case <-ctx.Done():
			return nil
		case c := <-w.signal:
			w.take(c)
		case <-due.C:
			for _, c := range w.queue.due(time.Now(), looks.free()) {
				looks.ask(c)
			}
		case a := <-looks.answers:
			w.check(a, looks, reports)
		case s := <-looks.scanned:
			if s.err != nil {
				return s.err
			}
			for _, pid := range s.pids {
				reports.start(Sighting{PID: pid, Via: Rescan, Seen: time.Now()})
			}
			if ready != nil {
				ready()
				ready = nil
			}
			looks.done()
		case <-w.lost:
			w.log.Warn("events were lost; looking at every process")
			looks.scan()
		case <-tick.C:
			looks.scan()
		}
	}
}

// notice hands a signal to Run; when Run is far behind, a rescan will do.
func (w *Watcher) notice(c candidate) {
	select {
	case w.signal <- c:
	default:
		w.missed()
	}
}

func (w *Watcher) missed() {
	select {
	case w.lost <- struct{}{}:
	default: // one is due already
	}
}

// take plans when to look at a candidate. A process of our own mount namespace
// that runs a file we watch shows up by opening it, so that its exec is worth
// one late look only, in case it runs a copy.
func (w *Watcher) take(c candidate) {
	if c.pid <= 0 || c.pid == os.Getpid() {
		return
	}
	plan := soon
	if c.via == Exec && w.opens != nil && w.own != "" {
		if ns, err := proc.Namespace(c.pid, "mnt"); err == nil && ns == w.own {
			plan = once
		}
	}
	if !w.queue.add(c, plan, time.Now()) {
		w.missed()
	}
}

// reports runs the caller's function, once at a time for each process.
type reports struct {
	report func(Sighting)
	mu     sync.Mutex
	busy   map[int]bool
	wg     sync.WaitGroup
}

func (r *reports) start(s Sighting) {
	info, err := proc.Read(s.PID)
	if err != nil {
		return // it ended
	}
	s.Start = info.Start
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.busy[s.PID] {
		return // the caller is at it
	}
	r.busy[s.PID] = true
	r.wg.Go(func() {
		defer func() {
			r.mu.Lock()
			defer r.mu.Unlock()
			delete(r.busy, s.PID)
		}()
		r.report(s)
	})
}

func (r *reports) wait() { r.wg.Wait() }
