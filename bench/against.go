package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"
)

// against compares the binary with an older one, in turn, on the same processes:
// what the host does meanwhile slows down both. A ratio below 1 says that the
// newer one takes less.
func (b *bench) against(ctx context.Context, older, crowds, threads string) error {
	program, bundle, err := b.makePatch(ctx)
	if err != nil {
		return err
	}
	p := &duel{bench: b, before: *b, all: map[string]*turns{}}
	p.before.hotpatch = older
	for _, part := range []struct {
		counts  string
		compare func(program, bundle string, n int) error
	}{
		{crowds, func(program, bundle string, n int) error { return p.crowd(ctx, program, bundle, n) }},
		{threads, func(program, bundle string, n int) error { return p.threads(ctx, program, bundle, n) }},
	} {
		for word := range strings.SplitSeq(part.counts, ",") {
			n, err := strconv.Atoi(strings.TrimSpace(word))
			if err != nil || n < 1 {
				return fmt.Errorf("count %q: need a number from 1", word)
			}
			if err := part.compare(program, bundle, n); err != nil {
				return err
			}
		}
	}
	p.print()
	return nil
}

// duel is what two binaries took, in the order in which it was measured first.
type duel struct {
	*bench
	before bench
	names  []string
	all    map[string]*turns
}

// turns are what they took for the same, each time one after the other.
type turns struct{ took, spent [2][]time.Duration }

// both has the two do something in turn: the older one first every other time.
func (p *duel) both(i int, do func(which int, b *bench) error) error {
	order := []*bench{&p.before, p.bench}
	if err := do(i%2, order[i%2]); err != nil {
		return err
	}
	return do(1-i%2, order[1-i%2])
}

func (p *duel) run(ctx context.Context, name string, which int, b *bench, args ...string) (result, error) {
	fine := []int{0}
	if args[0] == "status" {
		fine = append(fine, partly)
	} else { // on a busy host, too, nothing is to be left undone
		args = append(args, "--wait", "10s")
	}
	r, err := b.exec(ctx, nil, fine, args...)
	if err != nil {
		return r, err
	}
	if p.all[name] == nil {
		p.names, p.all[name] = append(p.names, name), new(turns)
	}
	to := p.all[name]
	to.took[which] = append(to.took[which], r.took)
	to.spent[which] = append(to.spent[which], r.spent)
	return r, nil
}

// crowd compares what is done with many processes of one program.
func (p *duel) crowd(ctx context.Context, program, bundle string, n int) (err error) {
	c, err := startCrowd(program, n)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.stop()) }()
	status := func(i int, name string, want int) error {
		return p.both(i, func(which int, b *bench) error {
			r, err := p.run(ctx, fmt.Sprintf("%d processes: %s", n, name), which, b, "status", "--json")
			if got := c.count(r.stdout); err == nil && got != want {
				err = fmt.Errorf("status tells of %d processes, not %d", got, want)
			}
			return err
		})
	}
	for i := range p.repeat {
		if err := status(i, "status, none ever patched", 0); err != nil {
			return err
		}
	}
	for i := range p.repeat {
		err := p.both(i, func(which int, b *bench) error {
			if _, err := p.run(ctx, fmt.Sprintf("%d processes: apply", n), which, b, "apply", bundle, "--json"); err != nil {
				return err
			}
			if err := status(i, "status, all patched", n); err != nil {
				return err
			}
			_, err := p.run(ctx, fmt.Sprintf("%d processes: revert", n), which, b, "revert", bundle, "--json")
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// threads compares a stop of one process with many threads.
func (p *duel) threads(ctx context.Context, program, bundle string, n int) (err error) {
	in, hold, err := os.Pipe()
	if err != nil {
		return err
	}
	defer in.Close()
	v := exec.Command(program, strconv.Itoa(n))
	v.Stdin = in
	if err := v.Start(); err != nil {
		return errors.Join(err, hold.Close())
	}
	defer func() { err = errors.Join(err, hold.Close(), v.Wait()) }()
	if err := settled(v.Process.Pid, n); err != nil {
		return err
	}
	pid := strconv.Itoa(v.Process.Pid)
	for i := range p.repeat {
		err := p.both(i, func(which int, b *bench) error {
			name := fmt.Sprintf("%d threads: apply --consistency strict, whole command", n)
			r, err := p.run(ctx, name, which, b, "apply", bundle, "--pid", pid, "--consistency", "strict", "--json")
			if err != nil {
				return err
			}
			var out []struct {
				TookUS int64 `json:"took_us"`
			}
			if err := json.Unmarshal(r.stdout, &out); err != nil || len(out) != 1 {
				return fmt.Errorf("read result of apply: %d results: %w", len(out), err)
			}
			p.note(fmt.Sprintf("%d threads: whole apply", n), which, time.Duration(out[0].TookUS)*time.Microsecond)
			_, err = b.exec(ctx, nil, []int{0}, "revert", bundle, "--pid", pid, "--wait", "10s")
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// note takes down a time that the tool tells itself.
func (p *duel) note(name string, which int, took time.Duration) {
	if p.all[name] == nil {
		p.names, p.all[name] = append(p.names, name), new(turns)
	}
	p.all[name].took[which] = append(p.all[name].took[which], took)
}

func (p *duel) print() {
	fmt.Fprintf(p.out, "\n| | before p50 | after p50 | after / before | the same of processor time | pairs |\n|---|---|---|---|---|---|\n")
	for _, name := range p.names {
		x := p.all[name]
		spent := "-"
		if len(x.spent[0]) > 0 {
			spent = ratio(x.spent)
		}
		fmt.Fprintf(p.out, "| %s | %s ms | %s ms | %s | %s | %d |\n", name,
			ms(percentile(sorted(x.took[0]), 50)), ms(percentile(sorted(x.took[1]), 50)), ratio(x.took), spent, len(x.took[0]))
	}
	fmt.Fprintf(p.out, "\nIn turn, at normal priority; ratios are medians over the pairs.\n")
}

// ratio is the median of what each pair says.
func ratio(of [2][]time.Duration) string {
	var all []float64
	for i := range of[0] {
		all = append(all, float64(of[1][i])/float64(max(of[0][i], 1)))
	}
	slices.Sort(all)
	return strconv.FormatFloat(percentile(all, 50), 'f', 2, 64)
}
