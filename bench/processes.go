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

// processes measures one hotpatch in many processes of one program: applying
// and reverting it everywhere with one command, and what `status` takes.
func (b *bench) processes(ctx context.Context, counts string) error {
	old, bundle, err := b.makePatch(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintf(b.out, "\n| processes | apply p50 / max | revert p50 / max | status, none ever patched p50 / max | status, all patched p50 / max | status, all reverted p50 / max | memory of a patched process p50 / max |\n|---|---|---|---|---|---|---|\n")
	for word := range strings.SplitSeq(counts, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(word))
		if err != nil || n < 1 {
			return fmt.Errorf("process count %q: need a number from 1", word)
		}
		if err := b.crowd(ctx, old, bundle, n); err != nil {
			return fmt.Errorf("%d processes: %w", n, err)
		}
	}
	others, err := os.ReadDir("/proc")
	if err != nil {
		return err
	}
	running := 0
	for _, e := range others {
		if _, err := strconv.Atoi(e.Name()); err == nil {
			running++
		}
	}
	fmt.Fprintf(b.out, "\n%d times each, at normal priority, from the start of the command to its exit; the processes have two threads that wait, and are changed one after the other; "+
		"%d other processes are on the host, which `status` looks at, too. Memory: what is anonymous in smaps_rollup, more than before.\n", crowdRepeat, running)
	return nil
}

const (
	crowdRepeat = 7
	partly      = 4 // the exit code where a process of the host could not be looked at
)

func (b *bench) crowd(ctx context.Context, program, bundle string, n int) (err error) {
	c, err := startCrowd(program, n)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.stop()) }()
	var never, applied, with, reverted, without []time.Duration
	var memory []int64
	before, err := c.anonymous()
	if err != nil {
		return err
	}
	type step struct {
		to   *[]time.Duration
		want int // processes in the answer
		args []string
	}
	steps := slices.Repeat([]step{{&never, 0, []string{"status", "--json"}}}, crowdRepeat)
	for range crowdRepeat {
		steps = append(steps,
			step{&applied, n, []string{"apply", bundle, "--json"}},
			step{&with, n, []string{"status", "--json"}},
			step{&reverted, n, []string{"revert", bundle, "--json"}},
			step{&without, 0, []string{"status", "--json"}})
	}
	for _, step := range steps {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		r, err := b.exec(ctx, nil, []int{0, partly}, step.args...)
		if err != nil {
			return err
		}
		if got := c.count(r.stdout); got != step.want {
			return fmt.Errorf("%s tells of %d processes, not %d", step.args[0], got, step.want)
		}
		*step.to = append(*step.to, r.took)
		if memory == nil && step.args[0] == "apply" {
			after, err := c.anonymous()
			if err != nil {
				return err
			}
			for i := range after {
				memory = append(memory, after[i]-before[i])
			}
		}
	}
	slices.Sort(memory)
	fmt.Fprintf(b.out, "| %d | %s ms | %s ms | %s ms | %s ms | %s ms | %d / %d KiB |\n", n,
		span(applied), span(reverted), span(never), span(with), span(without), percentile(memory, 50), percentile(memory, 100))
	return nil
}

// crowd is many processes of one program, which end when its pipe is closed.
type crowd struct {
	cmds []*exec.Cmd
	hold *os.File
}

func startCrowd(program string, n int) (*crowd, error) {
	in, hold, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer in.Close()
	c := &crowd{hold: hold}
	for range n {
		cmd := exec.Command(program, "2")
		cmd.Stdin = in
		if err := cmd.Start(); err != nil {
			return nil, errors.Join(err, c.stop())
		}
		c.cmds = append(c.cmds, cmd)
	}
	for _, cmd := range c.cmds {
		if err := settled(cmd.Process.Pid, 2); err != nil {
			return nil, errors.Join(err, c.stop())
		}
	}
	return c, nil
}

// settled waits until the process has all of its threads, and they sleep.
func settled(pid, threads int) error {
	for range 5000 {
		tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
		if err != nil {
			return err
		}
		asleep := 0
		for _, t := range tasks {
			b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/stat", pid, t.Name()))
			if err == nil && strings.Contains(string(b), ") S ") {
				asleep++
			}
		}
		if asleep == threads {
			return nil
		}
		time.Sleep(time.Millisecond)
	}
	return fmt.Errorf("process %d does not come to rest", pid)
}

func (c *crowd) stop() error {
	err := c.hold.Close()
	for _, cmd := range c.cmds {
		err = errors.Join(err, cmd.Wait())
	}
	return err
}

// count says how many of the processes a command's answer lists.
func (c *crowd) count(stdout []byte) int {
	mine := map[int]bool{}
	for _, cmd := range c.cmds {
		mine[cmd.Process.Pid] = true
	}
	var listed []struct {
		PID int `json:"pid"`
	}
	if json.Unmarshal(stdout, &listed) != nil {
		return -1
	}
	n := 0
	for _, l := range listed {
		if mine[l.PID] {
			n++
		}
	}
	return n
}

// anonymous is how many KiB of memory each process has for itself.
func (c *crowd) anonymous() ([]int64, error) {
	var out []int64
	for _, cmd := range c.cmds {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", cmd.Process.Pid))
		if err != nil {
			return nil, err
		}
		_, rest, ok := strings.Cut(string(b), "\nAnonymous:")
		var kib int64
		if _, err := fmt.Sscan(rest, &kib); err != nil || !ok {
			return nil, fmt.Errorf("no Anonymous in smaps_rollup of process %d", cmd.Process.Pid)
		}
		out = append(out, kib)
	}
	return out, nil
}
