package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"hotpatch/internal/agent"
)

// agentFlags say where an agent keeps its things and where it is asked.
type agentFlags struct {
	agent.Places
	socket string
}

func (f *agentFlags) add(fl *pflag.FlagSet) {
	fl.StringVar(&f.Config, "config", "/etc/hotpatch", "`DIR` with policy.toml and root.json, the repository's root of trust")
	fl.StringVar(&f.State, "state", "/var/lib/hotpatch", "`DIR` for the journal, staged hotpatches and the repository's metadata")
	fl.StringVar(&f.socket, "socket", agent.Socket, "`PATH` of the socket that the agent answers at")
}

func (a *app) agentCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "agent",
		Short: "Keep this host on its track",
		Long: `The agent keeps this host on its track by itself: it assesses it now and then,
stages what the signed repository offers, applies it when the policy's windows
allow, verifies what is in memory afterwards and watches what it has patched.
It never restarts anything outside a maintenance window, and refuses by itself
what would throw the host off its track.`,
		Example: `  hotpatch agent run`,
		RunE:    a.helpOnly(),
	}
	cmd.AddCommand(a.agentRunCmd())
	return cmd
}

func (a *app) agentRunCmd() *cobra.Command {
	var f agentFlags
	var once bool
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Run the agent in the foreground, as its service does",
		Long: `run is what hotpatch-agent.service starts: it works until it is told to end
(SIGTERM, SIGINT) and then finishes what it is at with the process at hand. It
may be killed at any time: what it left is measured and finished by the next.`,
		Example: `  hotpatch agent run
  hotpatch agent run --once --verbose`,
		Args: needs(),
	}
	f.add(cmd.Flags())
	cmd.Flags().BoolVar(&once, "once", false, "assess, do what is due now, and end")
	cmd.RunE = a.verb(func(ctx context.Context, _ []string) error { return a.agentRun(ctx, f, once) })
	return cmd
}

func (a *app) agentRun(ctx context.Context, f agentFlags, once bool) (err error) {
	level := slog.LevelInfo
	if a.verbose {
		level = slog.LevelDebug
	}
	log := slog.New(slog.NewTextHandler(a.err, &slog.HandlerOptions{Level: level}))
	goOn()
	unlock, err := lockState(f.State)
	if err != nil {
		return err
	}
	defer unlock()
	ag, host, closeJournal, err := openAgent(f.Places, log)
	if err != nil {
		return err
	}
	defer closeJournal()
	if once {
		_, err := ag.Step(ctx)
		return err
	}
	if err := os.MkdirAll(filepath.Dir(f.socket), 0o755); err != nil {
		return fmt.Errorf("agent: %w", err)
	}
	l, err := agent.ListenSocket(f.socket)
	if err != nil {
		return fmt.Errorf("agent: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var running sync.WaitGroup
	defer running.Wait()
	// Whatever ends early ends the agent: a service manager starts it anew.
	failed := make(chan error, 4)
	start := func(what string, do func() error) {
		running.Go(func() {
			defer cancel()
			if err := do(); err != nil && ctx.Err() == nil {
				failed <- fmt.Errorf("agent: %s: %w", what, err)
			}
		})
	}
	start("answer at the socket", func() error { return ag.Serve(ctx, l) })
	start("keep new processes patched", func() error { return ag.Keep(ctx, host.Watch) })
	if err := a.agentMetrics(ctx, ag, start); err != nil {
		return err
	}
	notify(log, daemon.SdNotifyReady)
	start("listen for crashes", func() error { return host.Listen(ctx) })
	start("work", func() error { return ag.Run(ctx) })
	<-ctx.Done()
	notify(log, daemon.SdNotifyStopping)
	select {
	case err = <-failed:
		return err
	default:
		return nil
	}
}

// agentMetrics serves Prometheus where the policy says so.
func (a *app) agentMetrics(ctx context.Context, ag *agent.Agent, start func(string, func() error)) error {
	p := ag.Policy()
	if p.Metrics.Listen == "" {
		return nil
	}
	l, err := net.Listen("tcp", p.Metrics.Listen)
	if err != nil {
		return fmt.Errorf("agent: metrics: %w", err)
	}
	m := http.NewServeMux()
	m.Handle("GET /metrics", ag.Metrics())
	s := &http.Server{Handler: m, ReadHeaderTimeout: 5 * time.Second, MaxHeaderBytes: 16 << 10}
	stop := context.AfterFunc(ctx, func() { s.Close() })
	start("serve metrics", func() error {
		defer stop()
		if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	return nil
}

// notify tells systemd, where it listens.
func notify(log *slog.Logger, state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		log.Warn("could not notify the service manager", "err", err)
	}
}

// errLocked: another process works with the state directory.
var errLocked = errors.New("another one works with it")

// lockState keeps a second agent out.
func lockState(dir string) (unlock func(), err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("agent: %w", err)
	}
	file, err := os.OpenFile(filepath.Join(dir, "agent.lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("agent: %w", err)
	}
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		file.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("agent: %s: %w", dir, errLocked)
		}
		return nil, fmt.Errorf("agent: lock %s: %w", dir, err)
	}
	return func() { file.Close() }, nil
}

// openAgent puts an agent together from its places.
func openAgent(p agent.Places, log *slog.Logger) (*agent.Agent, *agent.Host, func(), error) {
	if err := os.MkdirAll(p.State, 0o700); err != nil {
		return nil, nil, nil, fmt.Errorf("agent: %w", err)
	}
	j, err := agent.OpenJournal(p.Journal())
	if err != nil {
		return nil, nil, nil, err
	}
	host := agent.NewHost(p, ourselves(), log)
	ag, err := agent.New(agent.Options{World: host, Journal: j, Log: log,
		Policy: func() (*agent.Policy, error) { return agent.ReadPolicy(p.Policy()) }})
	if err != nil {
		j.Close()
		return nil, nil, nil, err
	}
	return ag, host, func() { _ = j.Close() }, nil // every write was synced
}

// startAgent starts the service where systemd runs and the unit is installed;
// elsewhere it says what to do.
func (a *app) startAgent(ctx context.Context, f agentFlags) {
	var s agent.Status
	if agent.NewClient(f.socket).Get(ctx, "/v1/status", &s) == nil {
		return // it runs
	}
	_, booted := os.Lstat("/run/systemd/system")
	_, unit := os.Stat("/lib/systemd/system/hotpatch-agent.service")
	if booted == nil && unit == nil {
		out, err := exec.CommandContext(ctx, "systemctl", "enable", "--now", "hotpatch-agent.service").CombinedOutput()
		if err == nil {
			fmt.Fprintln(a.out, "hotpatch-agent.service is enabled and runs")
			return
		}
		fmt.Fprintf(a.err, "%s could not start the service: %v: %s\n", a.errStyle.warn("warning:"), err, plain(string(out)))
	}
	a.hint("the agent does not run yet: hotpatch agent run")
}
