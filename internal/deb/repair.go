package deb

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"time"
)

// Situation is where package management stands.
type Situation struct {
	Condition
	Locked  *LockedError `json:"locked,omitempty"`  // somebody works at this moment
	Job     []Change     `json:"job,omitempty"`     // of ours, begun and not finished
	Started time.Time    `json:"started,omitzero"`  // when it began
	Guarded bool         `json:"guarded,omitempty"` // a guard of a killed run is still there
	Held    []Installed  `json:"held,omitempty"`
}

// Situation looks, and changes nothing.
func (s System) Situation() (Situation, error) {
	var x Situation
	var err error
	if x.Locked, err = s.Locked(); err != nil {
		return x, err
	}
	if x.Condition, err = s.Dpkg().Condition(); err != nil {
		return x, fmt.Errorf("read state of packages: %w", err)
	}
	all, err := s.Dpkg().Status()
	if err != nil {
		return x, fmt.Errorf("read state of packages: %w", err)
	}
	for _, i := range all {
		if i.Held {
			x.Held = append(x.Held, i)
		}
	}
	j, err := s.readJob()
	if err != nil {
		return x, err
	}
	if j != nil {
		x.Job, x.Started = j.Changes, j.Started
	}
	if x.Guarded, err = isOurs(s.file(policyPath)); err != nil {
		return x, err
	}
	x.Guarded = x.Guarded && x.Locked == nil
	return x, nil
}

// Repair brings packages that an interrupted dpkg left in between to a whole
// state, again without restarting anything: dpkg --configure -a; and those that
// were killed while being unpacked are unpacked anew, from our own job's files
// where they are known. Result.Items are the packages that were in between and
// those of the job.
func (s System) Repair(ctx context.Context) (Result, error) {
	l, err := s.acquire(ctx)
	if err != nil {
		return Result{}, fmt.Errorf("repair packages: %w", err)
	}
	defer l.release()
	if err := s.lower(); err != nil {
		return Result{}, fmt.Errorf("repair packages: %w", err)
	}
	known, err := s.readJob()
	if err != nil {
		return Result{}, fmt.Errorf("repair packages: %w", err)
	}
	j := job{Started: time.Now().UTC().Truncate(time.Second)}
	if known != nil {
		j = *known
	}
	cond, err := s.Dpkg().Condition()
	if err != nil {
		return Result{}, fmt.Errorf("repair packages: %w", err)
	}
	if cond.Clean() {
		r, err := s.verified(j.Changes)
		if err == nil {
			err = s.finish(ctx, j)
		}
		if err != nil {
			return r, fmt.Errorf("repair packages: %w", err)
		}
		return r, nil
	}
	changes := j.Changes
	for _, i := range cond.Unfinished {
		if _, ok := findChange(changes, i); !ok {
			changes = append(changes, Change{i.Package, i.Arch, i.Version, i.Version})
		}
	}
	// First unpack, then configure: a package that waits for its own
	// dependency's files would fail the other way round.
	var r Result
	if again := s.unpackAgain(cond, j); len(again) > 0 {
		if r, err = s.repairStep(ctx, l, j, changes, append([]string{"--unpack"}, again...)); r.Log == "" {
			return r, err
		}
	}
	withheld, log := r.Withheld, r.Log
	r, err = s.repairStep(ctx, l, j, changes, []string{"--configure", "-a"})
	r.Withheld = append(withheld, r.Withheld...)
	if r.Log == "" {
		r.Log = log
	}
	if err != nil {
		return r, err
	}
	if cond, err = s.Dpkg().Condition(); err == nil && !cond.Clean() {
		err = fmt.Errorf("repair packages: %w: %w", ErrUnfinished, &RefusedError{unclean(cond)})
	}
	return r, err
}

func findChange(cs []Change, i Installed) (Change, bool) {
	for _, c := range cs {
		if c.Package == i.Package && (c.Arch == "" || c.Arch == i.Arch || i.Arch == "") {
			return c, true
		}
	}
	return Change{}, false
}

func (s System) repairStep(ctx context.Context, l *lock, j job, changes []Change, args []string) (Result, error) {
	return s.carryOut(ctx, l, j, changes, func(g *guard) *exec.Cmd {
		return g.command(context.WithoutCancel(ctx), nil, "dpkg", append(s.dpkgArgs(), args...)...)
	})
}

// unpackAgain are the files of packages that were killed while being unpacked;
// dpkg --configure -a passes over those. All of a job's files are taken: dpkg
// had not come to the later ones, which the first may need.
func (s System) unpackAgain(c Condition, j job) []string {
	half := false
	for _, i := range c.Unfinished {
		half = half || i.State == "half-installed" || i.Broken
	}
	if !half {
		return nil
	}
	var out []string
	for _, name := range j.Files {
		if _, err := os.Stat(s.file(name)); err == nil {
			out = append(out, s.seen(name))
		} else if !errors.Is(err, fs.ErrNotExist) {
			return nil
		}
	}
	return out
}

// Reinstall unpacks and configures packages anew in the version they have, for
// those that Repair cannot help because their files are unknown here (an
// installation by someone else was interrupted). Without restarting anything.
func (s System) Reinstall(ctx context.Context, pkgs []Installed) (Result, error) {
	l, err := s.acquire(ctx)
	if err != nil {
		return Result{}, fmt.Errorf("install anew: %w", err)
	}
	defer l.release()
	var changes []Change
	j := job{Started: time.Now().UTC().Truncate(time.Second)}
	args := append(s.dpkgArgs(), "--install")
	for _, i := range pkgs {
		c := Choice{i.Package, i.Arch, i.Version}
		rs, err := s.records(ctx, []Choice{c})
		if err != nil {
			return Result{}, fmt.Errorf("install anew: %w", err)
		}
		if len(rs) != 1 || rs[0].sha256 == "" {
			return Result{}, fmt.Errorf("install anew: %s: %w", c, ErrNotListed)
		}
		name, err := s.fetch(ctx, c, rs[0].sha256)
		if err != nil {
			return Result{}, fmt.Errorf("install anew: %w", err)
		}
		inside := s.state("archives/" + archive(Choice{rs[0].pkg, rs[0].arch, rs[0].version}))
		if s.file(inside) != name {
			return Result{}, fmt.Errorf("install anew: %s is not where it should be", name)
		}
		j.Files, j.Chosen = append(j.Files, inside), append(j.Chosen, c)
		changes = append(changes, Change{i.Package, i.Arch, i.Version, i.Version})
		args = append(args, s.seen(inside))
	}
	if len(changes) == 0 {
		return Result{}, errors.New("install anew: no package given")
	}
	j.Changes = changes
	return s.carryOut(ctx, l, j, changes, func(g *guard) *exec.Cmd {
		return g.command(context.WithoutCancel(ctx), nil, "dpkg", args...)
	})
}
