// Command bench measures what docs/BENCHMARKS.md reports: how long a hotpatch
// takes to build and with how much memory, how long applying one takes, and
// how long the process is stopped. It uses the hotpatch binary as anybody
// would, and prints Markdown.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

type bench struct {
	hotpatch string
	cache    string // downloaded packages
	dir      string // scratch
	repeat   int
	realtime bool // it is permitted
	out      io.Writer
}

func main() {
	b := bench{out: os.Stdout}
	threads := flag.String("threads", "2,16,64", "thread `COUNTS` to measure applying with")
	crowds := flag.String("processes", "300,1000", "process `COUNTS` to measure applying and status with")
	only := flag.String("only", "", "measure only `WHAT`: build, apply or processes")
	flag.StringVar(&b.hotpatch, "hotpatch", "bin/hotpatch", "the `BINARY` to measure")
	older := flag.String("against", "", "compare with an older `BINARY` in turn, and measure nothing else")
	flag.StringVar(&b.cache, "cache", ".cache/debs", "`DIR` for downloaded packages")
	flag.IntVar(&b.repeat, "repeat", 30, "`TIMES` to apply")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := b.run(ctx, *only, *threads, *crowds, *older); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func (b *bench) run(ctx context.Context, only, threads, crowds, older string) error {
	var err error
	if b.hotpatch, err = filepath.Abs(b.hotpatch); err != nil {
		return err
	}
	if _, err := os.Stat(b.hotpatch); err != nil {
		return fmt.Errorf("find the binary to measure: %w", err)
	}
	if b.dir, err = os.MkdirTemp("", "hotpatch-bench-"); err != nil {
		return err
	}
	defer os.RemoveAll(b.dir)
	b.machine()
	if older != "" {
		if older, err = filepath.Abs(older); err != nil {
			return err
		}
		return b.against(ctx, older, crowds, threads)
	}
	for _, part := range []struct {
		name    string
		measure func() error
	}{
		{"build", func() error { return b.builds(ctx) }},
		{"processes", func() error { return b.processes(ctx, crowds) }},
		{"apply", func() error { return b.applies(ctx, threads) }}, // last: it raises priorities
	} {
		if only != "" && only != part.name {
			continue
		}
		if err := part.measure(); err != nil {
			return fmt.Errorf("measure %s: %w", part.name, err)
		}
	}
	return nil
}

// machine says where the numbers were taken.
func (b *bench) machine() {
	cpu := "unknown processor"
	if info, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		if _, after, ok := strings.Cut(string(info), "model name\t: "); ok {
			cpu, _, _ = strings.Cut(after, "\n")
		}
	}
	kernel, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		kernel = []byte("unknown")
	}
	fmt.Fprintf(b.out, "%d × %s, kernel %s, %s, %s\n", runtime.NumCPU(), strings.TrimSpace(cpu),
		strings.TrimSpace(string(kernel)), runtime.Version(), time.Now().Format(time.DateOnly))
}

// result is a finished command and what it cost.
type result struct {
	stdout []byte
	took   time.Duration
	spent  time.Duration // of processor time
	peak   int64         // bytes of resident memory
	code   int
}

// exec runs the binary; exit codes listed in fine are no error.
func (b *bench) exec(ctx context.Context, env []string, fine []int, args ...string) (result, error) {
	cmd := exec.CommandContext(ctx, b.hotpatch, args...)
	cmd.Env = append(os.Environ(), env...)
	var stdout, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	start := time.Now()
	begin := cmd.Start
	if b.realtime {
		begin = func() error { return realtime(toolPriority, true, cmd.Start) }
	}
	failed := begin()
	if failed == nil {
		failed = cmd.Wait()
	}
	r := result{stdout: []byte(stdout.String()), took: time.Since(start)}
	if cmd.ProcessState == nil {
		return r, failed
	}
	if u, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		r.peak = u.Maxrss * 1024
		r.spent = time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	r.code = cmd.ProcessState.ExitCode()
	if !slices.Contains(fine, r.code) {
		return r, fmt.Errorf("hotpatch %s: exit code %d: %s%s", strings.Join(args, " "), r.code, &stdout, &stderr)
	}
	return r, nil
}

// Real-time priorities. The tool's is higher and it keeps to one processor:
// with equal ones, a thread of the tool can wait behind the spinning thread of
// the victim for ever while another thread of the tool waits for it.
const (
	victimPriority = 10
	toolPriority   = 20
)

// realtime runs start, which starts a process, with this thread at real-time
// priority, on the first processor only if oneCPU; what it starts inherits
// both. At normal priority the noise of the scheduler is larger than what is
// measured. The caller has locked the thread.
func realtime(priority uint32, oneCPU bool, start func() error) (err error) {
	old, err := unix.SchedGetAttr(0, 0)
	if err != nil {
		return fmt.Errorf("read scheduling: %w", err)
	}
	var cpus unix.CPUSet
	if err := unix.SchedGetaffinity(0, &cpus); err != nil {
		return fmt.Errorf("read affinity: %w", err)
	}
	attr := &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_FIFO, Priority: priority}
	if err := unix.SchedSetAttr(0, attr, 0); err != nil {
		return fmt.Errorf("set real-time priority: %w", err)
	}
	defer func() { err = errors.Join(err, unix.SchedSetAttr(0, old, 0)) }()
	if oneCPU {
		if err := unix.SchedSetaffinity(0, firstOf(cpus)); err != nil {
			return fmt.Errorf("set affinity: %w", err)
		}
		defer func() { err = errors.Join(err, unix.SchedSetaffinity(0, &cpus)) }()
	}
	return start()
}

func firstOf(cpus unix.CPUSet) *unix.CPUSet {
	var one unix.CPUSet
	for i := 0; ; i++ {
		if cpus.IsSet(i) {
			one.Set(i)
			return &one
		}
	}
}

// percentile of sorted values, 0..100.
func percentile[T any](sorted []T, p int) T { return sorted[(len(sorted)-1)*p/100] }

func sorted(d []time.Duration) []time.Duration {
	c := slices.Clone(d)
	slices.Sort(c)
	return c
}

func ms(d time.Duration) string {
	return strconv.FormatFloat(float64(d)/float64(time.Millisecond), 'f', 2, 64)
}
