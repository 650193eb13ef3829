package demo

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"hotpatch/internal/build"
	"hotpatch/internal/patch"
	"hotpatch/internal/txn"
)

const (
	workers = 4
	wait    = 20 * time.Second // for a moment in which no replaced function runs
)

// show is one performance.
type show struct {
	*page
	*subject
	work string

	daemon  *daemon
	load    *load
	bundle  *patch.Bundle
	id      patch.ID
	size    int64
	sites   int
	applied []txn.Result
	tookOff []txn.Result
	quiet   time.Duration // longest wait of a request while nothing was done
	busy    time.Duration // longest wait of a request around an apply or revert
}

func (s *show) play(ctx context.Context) (err error) {
	s.note(s.about)
	s.gap()
	if err := s.begin(ctx); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.end()) }()

	for _, act := range []func(context.Context) error{
		s.askOld, s.build, s.review,
		s.apply, s.askNew,
		s.revert, s.askOld,
		s.apply, s.askNew,
		s.curtain,
	} {
		err := act(ctx)
		if ctx.Err() != nil {
			return context.Cause(ctx) // whatever it broke
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// begin starts the server and the load.
func (s *show) begin(ctx context.Context) error {
	s.doing("start", "the old server")
	d, err := s.start(ctx)
	if err != nil {
		return fmt.Errorf("start the old server: %w", err)
	}
	l, err := startLoad(workers, func(i int) (worker, error) { return s.open(d, i) })
	if err != nil {
		return errors.Join(fmt.Errorf("start the load: %w", err), d.stop())
	}
	s.daemon, s.load = d, l
	if err := sleep(ctx, breath); err != nil {
		return errors.Join(err, s.end())
	}
	t := l.total()
	s.did("start", fmt.Sprintf("%s, pid %d, on %s", s.bold(d.name), d.pid, d.addr),
		fmt.Sprintf("load: %d connections, %s requests a second", workers, thousands(int64(float64(t.Requests)/t.Since.Seconds()))))
	return nil
}

// end stops the load, then the server: a server that goes first would look
// like failed requests.
func (s *show) end() error {
	if s.load != nil {
		s.load.stop()
		s.load = nil
	}
	if s.daemon == nil {
		return nil
	}
	err := s.daemon.stop()
	s.daemon = nil
	return err
}

func (s *show) askOld(ctx context.Context) error { return s.put(ctx, s.isOld, false, s.meansOld) }
func (s *show) askNew(ctx context.Context) error { return s.put(ctx, s.isNew, true, s.meansNew) }

// put asks the question and insists on the answer.
func (s *show) put(ctx context.Context, want func(string) bool, fixed bool, means string) error {
	s.doing("ask", s.question)
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	answer, err := s.ask(ctx, s.daemon)
	if err != nil {
		return fmt.Errorf("ask the server: %w", err)
	}
	if !want(answer) {
		return fmt.Errorf("ask the server: it answered %q, which is not what was expected here", answer)
	}
	answer = strings.TrimLeft(answer, "+-") // redis's marks of a word and of an error
	if fixed {
		s.did("ask", s.question, s.good("✓ "+answer)+"  "+s.dim(means))
	} else {
		s.did("ask", s.question, s.bad("✗ "+answer)+"  "+s.dim(means))
	}
	return nil
}

func (s *show) build(ctx context.Context) error {
	s.doing("build", "comparing the two versions")
	began := time.Now()
	report, b, err := build.Build(ctx, s.base, s.fixed, build.Options{Progress: func(e build.Event) {
		what := e.Step
		if e.Image != "" {
			what += " " + filepath.Base(e.Image)
		}
		if e.Total > 1 {
			what += fmt.Sprintf(" (%d of %d)", e.Done, e.Total)
		}
		s.doing("build", what)
	}})
	if err != nil {
		return fmt.Errorf("build the hotpatch: %w", err)
	}
	if b == nil {
		return fmt.Errorf("build the hotpatch: the verdict is %s: %s", report.Verdict, strings.Join(reasons(report.Reasons), "; "))
	}
	took := time.Since(began)
	data, err := b.Encode()
	if err != nil {
		return fmt.Errorf("build the hotpatch: %w", err)
	}
	// What is applied is what was read back from the file: as on any host.
	file := filepath.Join(s.work, "demo.hotpatch")
	if err := os.WriteFile(file, data, 0o644); err != nil {
		return fmt.Errorf("build the hotpatch: %w", err)
	}
	if s.bundle, err = patch.ReadFile(file); err != nil {
		return fmt.Errorf("build the hotpatch: %w", err)
	}
	if s.id, err = s.bundle.ID(); err != nil {
		return fmt.Errorf("build the hotpatch: %w", err)
	}
	s.size = int64(len(data))
	var n patch.Counts
	for _, im := range s.bundle.Manifest.Images {
		n.Same += im.Counts.Same
		n.Changed += im.Counts.Changed
		n.New += im.Counts.New
		n.Gone += im.Counts.Gone
		s.sites += len(im.Sites)
	}
	lines := []string{
		fmt.Sprintf("%s of %s functions differ, %d of them new; %s, in %s",
			thousands(int64(n.Changed+n.New)), thousands(int64(n.Same+n.Changed+n.New)), n.New, bytesOf(s.size), round(took)),
	}
	if cves := s.bundle.Manifest.CVEs; len(cves) > 0 {
		lines = append(lines, "fixes "+strings.Join(cves, ", ")+", says the changelog")
	}
	s.did("build", "hotpatch "+s.bold(s.id.Short()), lines...)
	return nil
}

// review shows the verdict and, where a person has to answer for it, does that
// in the demo's name.
func (s *show) review(context.Context) error {
	m := &s.bundle.Manifest
	if m.Verdict == patch.Clean {
		s.did("review", "verdict "+s.good("clean"), "the types on both sides agree: nobody has to accept it")
		return nil
	}
	host, err := os.Hostname()
	if err != nil {
		host = "localhost"
	}
	if err := s.bundle.Accept("demo@"+host, "demo", time.Now()); err != nil {
		return fmt.Errorf("accept the hotpatch: %w", err)
	}
	lines := reasons(m.Reasons)
	if slices.ContainsFunc(m.Reasons, func(r patch.Reason) bool { return r.Code == "layout-unverified" }) {
		lines = append(lines, s.dim("stock packages carry no types, so the builder does not call it clean by itself"))
	}
	lines = append(lines, "accepted by demo: without that, nothing would apply it")
	s.did("review", "verdict "+s.warn(string(m.Verdict)), lines...)
	return nil
}

func (s *show) apply(ctx context.Context) error {
	r, err := s.change(ctx, "apply", txn.Applied, func(ctx context.Context) txn.Result {
		return txn.Apply(ctx, s.daemon.pid, s.bundle, txn.Options{Wait: wait})
	})
	if err != nil {
		return err
	}
	s.applied = append(s.applied, r)
	states, err := txn.Status(s.daemon.pid)
	if err != nil {
		return fmt.Errorf("read the status of pid %d: %w", s.daemon.pid, err)
	}
	if !slices.ContainsFunc(states, func(st txn.State) bool { return st.ID == s.id && st.State == "applied" }) {
		return fmt.Errorf("the memory of pid %d does not say that the hotpatch is applied", s.daemon.pid)
	}
	return nil
}

func (s *show) revert(ctx context.Context) error {
	r, err := s.change(ctx, "revert", txn.Reverted, func(ctx context.Context) txn.Result {
		return txn.Revert(ctx, s.daemon.pid, s.id, txn.Options{Wait: wait})
	})
	s.tookOff = append(s.tookOff, r)
	return err
}

// change does one transaction under load and shows what the clients felt of it.
func (s *show) change(ctx context.Context, verb string, want txn.Outcome, do func(context.Context) txn.Result) (txn.Result, error) {
	s.doing(verb, "waiting for a moment in which no replaced function runs")
	s.quiet = max(s.quiet, s.load.mark())
	before := s.load.total()
	r := do(ctx)
	if r.Outcome != want {
		return r, fmt.Errorf("%s in pid %d: %s: %s", verb, s.daemon.pid, r.Outcome, r.Reason)
	}
	if err := sleep(ctx, breath); err != nil {
		return r, err
	}
	longest := s.load.mark()
	s.busy = max(s.busy, longest)
	if err := s.daemon.alive(); err != nil {
		return r, err
	}
	after := s.load.total()
	verbed := "redirected"
	if want == txn.Reverted {
		verbed = "restored"
	}
	asked := thousands(after.Requests-before.Requests) + " requests failed"
	failed := s.good("0 of " + asked)
	if n := after.Failed - before.Failed; n > 0 {
		failed = s.bad(thousands(n) + " of " + asked)
	}
	s.did(verb, fmt.Sprintf("%s, %s paused for %s", s.bold(count(s.sites, "function")+" "+verbed), count(r.Threads, "thread"), s.bold(round(time.Duration(r.PausedUS)*time.Microsecond))),
		fmt.Sprintf("pid %d as before · %s · longest wait %s", s.daemon.pid, failed, round(longest)))
	return r, nil
}

// curtain sums up, and fails if a single request did.
func (s *show) curtain(context.Context) error {
	s.quiet = max(s.quiet, s.load.mark())
	s.load.stop()
	t := s.load.total()
	if err := s.daemon.alive(); err != nil {
		return err
	}
	var pause time.Duration
	for _, r := range append(slices.Clone(s.applied), s.tookOff...) {
		pause = max(pause, time.Duration(r.PausedUS)*time.Microsecond)
	}
	failed := s.good("0")
	if t.Failed > 0 {
		failed = s.bad(thousands(t.Failed))
	}
	s.gap()
	s.table([][2]string{
		{"requests", fmt.Sprintf("%s in %s", s.bold(thousands(t.Requests)), round(t.Since))},
		{"failed", failed},
		{"longest wait of a request", fmt.Sprintf("%s around a change, %s otherwise", s.bold(round(s.busy)), round(s.quiet))},
		{"longest pause", fmt.Sprintf("%s, over %d changes", s.bold(round(pause)), len(s.applied)+len(s.tookOff))},
		{"hotpatch", bytesOf(s.size) + ", " + count(s.sites, "function")},
		{"process", fmt.Sprintf("pid %d from the first request to the last: nothing restarted", s.daemon.pid)},
	})
	s.gap()
	if t.Failed > 0 {
		return fmt.Errorf("%d of %d requests failed; the first: %w", t.Failed, t.Requests, t.First)
	}
	return nil
}

// reasons are the verdict's, one line for each code.
func reasons(rs []patch.Reason) []string {
	var codes []string
	count, detail := map[string]int{}, map[string]string{}
	for _, r := range rs {
		if count[r.Code]++; count[r.Code] == 1 {
			codes = append(codes, r.Code)
			detail[r.Code] = r.Detail
		}
	}
	var out []string
	for _, c := range codes {
		line := c
		if count[c] > 1 {
			line += fmt.Sprintf(" (%d times)", count[c])
		}
		out = append(out, line+": "+detail[c])
	}
	return out
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}
