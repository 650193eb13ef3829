// Package demo is the show: a stock server under steady load is given its
// security update while it runs, loses it again, and gets it back. Everything
// happens in a directory of its own with processes of its own; nothing is
// installed, and nothing is left running.
//
// The subject is Debian's redis-server with its pending security update,
// fetched by apt. Where that is not to be had, a small server compiled on the
// spot takes its place.
package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"hotpatch/internal/deb"
)

// Options are the choices of one show. The zero value shows redis on nothing.
type Options struct {
	Out   io.Writer
	Color bool   // a terminal: colours and lines that change
	Local bool   // the compiled server, without looking for packages
	Dir   string // where packages are kept and the work is done; "" is the user's cache
}

// Run plays the show, and returns an error unless every step did what it shows:
// each answer, the same process throughout, and not one failed request.
func Run(ctx context.Context, o Options) error {
	if o.Out == nil {
		o.Out = io.Discard
	}
	cache, work, err := directories(o.Dir)
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)

	p := newPage(o.Out, o.Color)
	defer p.clear() // an error is printed below, not behind, a step in progress
	p.title("hotpatch demo")
	s, err := choose(ctx, p, o, cache, work)
	if err != nil {
		return err
	}
	return (&show{page: p, subject: s, work: work}).play(ctx)
}

// choose prepares redis or, when its packages are out of reach, says why in one
// line and prepares the compiled server.
func choose(ctx context.Context, p *page, o Options, cache, work string) (*subject, error) {
	if o.Local {
		return prepareLocal(ctx, p, work)
	}
	// A network that swallows packets must not keep the audience waiting.
	fetch, cancel := context.WithTimeoutCause(ctx, time.Minute, deb.ErrNoNetwork)
	defer cancel()
	s, err := prepareRedis(fetch, p, cache, work)
	if err == nil {
		return s, nil
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	p.note("without Debian's packages: " + missing(err))
	p.note("a small server, compiled here, takes the part of redis-server")
	return prepareLocal(ctx, p, work)
}

// missing says in one line what keeps the real packages from us.
func missing(err error) string {
	switch {
	case errors.Is(err, deb.ErrNoApt):
		return "this machine has no apt"
	case errors.Is(err, deb.ErrNoNetwork):
		return "the package archive cannot be reached"
	case errors.Is(err, deb.ErrNotListed):
		return "apt's sources do not have redis-tools (is this Debian 12?)"
	case errors.Is(err, deb.ErrGone):
		return "the archive no longer has the version that apt's lists name (apt-get update)"
	}
	return err.Error()
}

// directories returns the directory for packages, which stays, and one for
// this run, which the caller removes. Without a home of our own (a service
// account, a bare container) packages are kept for this run only: what others
// could have put into a shared directory is not to be executed.
func directories(dir string) (cache, work string, err error) {
	if dir == "" {
		base, err := os.UserCacheDir()
		if err == nil {
			dir = filepath.Join(base, "hotpatch", "demo")
			err = os.MkdirAll(dir, 0o755)
		}
		if err != nil {
			if work, err = os.MkdirTemp("", "hotpatch-demo-"); err != nil {
				return "", "", fmt.Errorf("make a place to work: %w", err)
			}
			return filepath.Join(work, "packages"), work, nil
		}
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return "", "", err
	}
	cache = filepath.Join(dir, "packages")
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", "", fmt.Errorf("make a place to work: %w", err)
	}
	sweep(dir)
	if work, err = os.MkdirTemp(dir, fmt.Sprintf("run-%d-", os.Getpid())); err != nil {
		return "", "", fmt.Errorf("make a place to work: %w", err)
	}
	return cache, work, nil
}

// sweep removes what runs that were killed left in dir.
func sweep(dir string) {
	left, err := filepath.Glob(filepath.Join(dir, "run-*"))
	if err != nil {
		return
	}
	for _, name := range left {
		var pid int
		if _, err := fmt.Sscanf(filepath.Base(name), "run-%d-", &pid); err == nil && errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
			os.RemoveAll(name)
		}
	}
}

// subject is who plays the server.
type subject struct {
	about       string // one sentence: what is updated, and with what
	base, fixed string // what build compares: packages or ELF files
	start       func(ctx context.Context) (*daemon, error)
	open        func(d *daemon, i int) (worker, error)               // one connection of the load
	question    string                                               // what ask does, in a phrase
	ask         func(ctx context.Context, d *daemon) (string, error) // on a connection of its own
	isOld       func(answer string) bool
	isNew       func(answer string) bool
	meansOld    string // what the answers tell
	meansNew    string
}

// How long the load runs undisturbed before and between the steps: long enough
// for thousands of requests, short enough to watch.
const breath = 1200 * time.Millisecond
