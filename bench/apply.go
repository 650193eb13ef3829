package main

import (
	"bufio"
	"context"
	"debug/elf"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"
)

//go:embed testdata/victim.c
var victimSource []byte

// applies measures applying and the pause at each number of threads.
func (b *bench) applies(ctx context.Context, threads string) error {
	old, bundle, err := b.makePatch(ctx)
	if err != nil {
		return err
	}
	runtime.LockOSThread() // its priority is inherited by what it starts
	priority := "at real-time priority (SCHED_FIFO), the tool on one processor"
	if err := realtime(victimPriority, true, func() error { return nil }); err != nil {
		priority = fmt.Sprintf("at normal priority, so noise of several milliseconds is in them (%v)", err)
	} else {
		b.realtime = true
	}
	for _, w := range ways {
		if err := b.table(ctx, old, bundle, threads, w); err != nil {
			return err
		}
	}
	fmt.Fprintf(b.out, "\n%d times each. Pause: the largest gap that a thread spinning on clock_gettime inside the process saw around one apply; "+
		"without patching: the same thread in a window of the same length with nothing applied. Whole apply: from the tool's first look at the process to its last. Whole command: from its start to its exit. "+
		"Tool and process ran %s.\n", b.repeat, priority)
	return nil
}

// way is one way of applying the same hotpatch.
type way struct {
	how   string // as the tool reports it
	title string
	flags []string
}

// The function that changes could be put in force either way; the revert always
// stops all threads.
var ways = []way{
	{"stopped", "All threads stopped (`apply --consistency strict`):", []string{"--consistency", "strict"}},
	{"exchanged", "A page exchanged, nobody stopped (an independent hotpatch):", nil},
}

func (b *bench) table(ctx context.Context, old, bundle, threads string, w way) error {
	fmt.Fprintf(b.out, "\n%s\n", w.title)
	fmt.Fprintf(b.out, "\n| threads | pause p50 / max | without patching p50 / max | as the tool says p50 / max | whole apply p50 / max | whole command p50 / max | revert: pause p50 / max |\n|---|---|---|---|---|---|---|\n")
	for word := range strings.SplitSeq(threads, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(word))
		if err != nil || n < 2 {
			return fmt.Errorf("thread count %q: need a number from 2", word)
		}
		m, err := b.measure(ctx, old, bundle, n, w)
		if err != nil {
			return fmt.Errorf("%d threads: %w", n, err)
		}
		fmt.Fprintf(b.out, "| %d | %s ms | %s ms | %s ms | %s ms | %s ms | %s ms |\n", n,
			span(m.pause), span(m.idle), span(m.told), span(m.apply), span(m.whole), span(m.revert))
	}
	return nil
}

func span(d []time.Duration) string {
	s := sorted(d)
	return ms(percentile(s, 50)) + " / " + ms(percentile(s, 100))
}

// makePatch compiles the victim twice and builds the hotpatch between them.
func (b *bench) makePatch(ctx context.Context) (old, bundle string, err error) {
	source := filepath.Join(b.dir, "victim.c")
	if err := os.WriteFile(source, victimSource, 0o644); err != nil {
		return "", "", err
	}
	old, bundle = filepath.Join(b.dir, "victim-old"), filepath.Join(b.dir, "victim.hotpatch")
	fixed := filepath.Join(b.dir, "victim-fixed")
	for _, args := range [][]string{{"-o", old}, {"-DFIXED", "-o", fixed}} {
		args = append([]string{"-O2", "-g", "-fPIE", "-pie", "-pthread", "-Wl,--build-id", source}, args...)
		if out, err := exec.CommandContext(ctx, "gcc", args...).CombinedOutput(); err != nil {
			return "", "", fmt.Errorf("compile the victim: %w: %s", err, out)
		}
	}
	_, err = b.exec(ctx, nil, []int{0}, "build", old, fixed, "-o", bundle, "--accept", "benchmark", "--by", "bench")
	return old, bundle, err
}

// measurements are one value per repetition.
type measurements struct{ pause, idle, told, apply, whole, revert []time.Duration }

func (b *bench) measure(ctx context.Context, program, bundle string, threads int, w way) (m measurements, err error) {
	v, err := b.startVictim(program, threads)
	if err != nil {
		return m, err
	}
	defer func() { err = errors.Join(err, v.stop()) }()
	before, err := v.ask("call")
	if err != nil {
		return m, err
	}
	pid := strconv.Itoa(v.cmd.Process.Pid)
	for range b.repeat {
		if ctx.Err() != nil {
			return m, ctx.Err()
		}
		gap, r, err := b.gapDuring(ctx, v, append([]string{"apply", bundle, "--pid", pid, "--json"}, w.flags...)...)
		if err != nil {
			return m, err
		}
		if r.how != w.how {
			return m, fmt.Errorf("it was %q, not %q", r.how, w.how)
		}
		after, err := v.ask("call")
		if err != nil {
			return m, err
		}
		if after == before {
			return m, fmt.Errorf("applied, but the answer is still %s", after)
		}
		m.pause, m.whole, m.told, m.apply = append(m.pause, gap), append(m.whole, r.took), append(m.told, r.told), append(m.apply, r.apply)

		idle, err := v.gap(func() error { time.Sleep(r.took); return nil })
		if err != nil {
			return m, err
		}
		m.idle = append(m.idle, idle)

		if gap, _, err = b.gapDuring(ctx, v, "revert", bundle, "--pid", pid, "--json"); err != nil {
			return m, err
		}
		m.revert = append(m.revert, gap)
		again, err := v.ask("call")
		if err != nil {
			return m, err
		}
		if again != before {
			return m, fmt.Errorf("reverted, but the answer is %s, not %s", again, before)
		}
	}
	return m, nil
}

// timed is one apply or revert: as we saw it and as the tool reports it.
type timed struct {
	took, told, apply time.Duration
	how               string
}

func (b *bench) gapDuring(ctx context.Context, v *victim, args ...string) (time.Duration, timed, error) {
	var t timed
	gap, err := v.gap(func() error {
		r, err := b.exec(ctx, nil, []int{0}, args...)
		if err != nil {
			return err
		}
		var out []struct {
			PausedUS int64 `json:"paused_us"`
			TookUS   int64 `json:"took_us"`
			How      string
		}
		if err := json.Unmarshal(r.stdout, &out); err != nil {
			return fmt.Errorf("read result of %s: %w", args[0], err)
		}
		if len(out) != 1 {
			return fmt.Errorf("%s reports on %d processes, not one: %s", args[0], len(out), r.stdout)
		}
		t = timed{r.took, time.Duration(out[0].PausedUS) * time.Microsecond, time.Duration(out[0].TookUS) * time.Microsecond, out[0].How}
		return nil
	})
	return gap, t, err
}

// victim is a running victim.c.
type victim struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

func (b *bench) startVictim(program string, threads int) (*victim, error) {
	v := &victim{cmd: exec.Command(program, strconv.Itoa(threads))}
	var err error
	if v.in, err = v.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := v.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	v.out = bufio.NewReader(out)
	v.cmd.Stderr = os.Stderr
	if b.realtime {
		return v, realtime(victimPriority, false, v.cmd.Start)
	}
	return v, v.cmd.Start()
}

func (v *victim) ask(line string) (string, error) {
	if _, err := io.WriteString(v.in, line+"\n"); err != nil {
		return "", fmt.Errorf("ask the victim: %w", err)
	}
	text, err := v.out.ReadString('\n')
	if err != nil {
		return "", fmt.Errorf("read the victim's answer: %w", err)
	}
	return strings.TrimSpace(text), nil
}

// gap is the largest gap in the victim's clock while something is done.
func (v *victim) gap(during func() error) (time.Duration, error) {
	if _, err := v.ask("spin"); err != nil {
		return 0, err
	}
	time.Sleep(2 * time.Millisecond)
	if err := during(); err != nil {
		return 0, err
	}
	text, err := v.ask("gap")
	if err != nil {
		return 0, err
	}
	ns, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("read gap: %w", err)
	}
	// Time to let the kernel's limit for real-time work recover.
	time.Sleep(20 * time.Millisecond)
	return time.Duration(ns), nil
}

func (v *victim) stop() error {
	if err := v.in.Close(); err != nil {
		return err
	}
	return v.cmd.Wait()
}

// textSize is the size of .text.
func textSize(file string) (uint64, error) {
	f, err := elf.Open(file)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	if s := f.Section(".text"); s != nil {
		return s.Size, nil
	}
	return 0, fmt.Errorf("%s has no .text", file)
}
