// Package cli is the command line: one file per verb. It turns arguments into
// calls, and what comes back into words, JSON and an exit code. It decides
// nothing about patches or processes.
//
// Results go to stdout, everything else to stderr. Colour and progress appear
// only on a terminal, and colour not when NO_COLOR is set (no-color.org).
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

// The groups of the command list, in the order they are shown.
const (
	groupMake = "make"
	groupHost = "host"
	groupRepo = "repo"
	groupTry  = "try"
)

// app is one run of the command line.
type app struct {
	in       io.Reader
	out, err io.Writer
	outStyle palette // colours for out
	errStyle palette
	progress bool // err is a terminal
	verbose  bool
	started  bool // a verb began: what fails from here on is no usage error
}

// Main runs one command line (without the program's name) and returns the exit
// code. An interrupt or termination signal, or the end of the terminal, cancels the
// context of the verb, which ends as soon as that is safe for the process it works
// on.
func Main(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	ends := []os.Signal{syscall.SIGINT, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) { // nohup
		ends = append(ends, syscall.SIGHUP)
	}
	ctx, stop := signal.NotifyContext(context.Background(), ends...)
	defer stop()

	a := &app{
		in: stdin, out: stdout, err: stderr,
		outStyle: paletteFor(stdout), errStyle: paletteFor(stderr),
		progress: isTerminal(stderr),
	}
	root := a.root()
	root.SetArgs(args)
	if len(args) > 0 && (args[0] == cobra.ShellCompRequestCmd || args[0] == cobra.ShellCompNoDescRequestCmd) {
		plainUsages(root)
	}
	if cmd, err := root.ExecuteContextC(ctx); err != nil {
		return a.fail(cmd, err)
	}
	return exitDone
}

// fail prints the error of a command, if it has words, and maps it to an exit code.
func (a *app) fail(cmd *cobra.Command, err error) int {
	var e *exitError
	if !errors.As(err, &e) {
		e = &exitError{code: exitFailed, err: err}
		if !a.started {
			e.code = exitUsage
		}
	}
	if e.code == exitUsage && e.err != nil && e.hint == "" {
		e.hint = "see " + cmd.CommandPath() + " --help"
	}
	switch {
	case errors.Is(e.err, context.Canceled) && cmd.Context() != nil && cmd.Context().Err() != nil:
		fmt.Fprintf(a.err, "hotpatch: %s: interrupted before it was done\n", cmd.Name())
	case e.err != nil:
		fmt.Fprintf(a.err, "hotpatch: %v\n", e.err)
	}
	a.hint(e.hint)
	return e.code
}

// hint says what to do next.
func (a *app) hint(text string) {
	if text != "" {
		fmt.Fprintf(a.err, "%s %s\n", a.errStyle.dim("hint:"), text)
	}
}

// log is where --verbose writes; nil when it is not given.
func (a *app) log() *slog.Logger {
	if !a.verbose {
		return nil
	}
	return slog.New(slog.NewTextHandler(a.err, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

func (a *app) root() *cobra.Command {
	var showVersion bool
	root := &cobra.Command{
		Use:   "hotpatch",
		Short: "Security updates for running Linux software, with no restart",
		Long: `hotpatch compares the package that is running with the fixed package that the
distribution already shipped, carries over the functions that differ, and
redirects running processes to them. Nothing is restarted and no source,
compiler or vendor help is needed.

Exit codes: 0 done · 1 error · 2 usage · 3 refused, or nothing to do ·
4 partly done (build: written, but needs review).`,
		Example: `  hotpatch build redis_old.deb redis_new.deb -o redis.hotpatch
  hotpatch review redis.hotpatch --accept "layouts compared by hand, see ticket 118"
  hotpatch apply redis.hotpatch
  hotpatch status
  hotpatch revert redis.hotpatch`,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	help := a.helpOnly()
	root.RunE = func(cmd *cobra.Command, args []string) error {
		if showVersion {
			return a.printVersion(false)
		}
		return help(cmd, args)
	}
	root.Flags().BoolVar(&showVersion, "version", false, "print the version")
	root.SetIn(a.in)
	root.SetOut(a.out)
	root.SetErr(a.err)
	root.SetFlagErrorFunc(flagError)
	root.PersistentFlags().BoolVarP(&a.verbose, "verbose", "v", false, "log every step to stderr")

	root.AddGroup(
		&cobra.Group{ID: groupMake, Title: "Make a hotpatch:"},
		&cobra.Group{ID: groupHost, Title: "Use it on this host:"},
		&cobra.Group{ID: groupRepo, Title: "Publish for many hosts:"},
		&cobra.Group{ID: groupTry, Title: "Try and help:"},
	)
	in := func(group string, cmds ...*cobra.Command) {
		for _, c := range cmds {
			c.GroupID = group
			c.DisableFlagsInUseLine = true
			root.AddCommand(c)
		}
	}
	in(groupMake, a.buildCmd(), a.inspectCmd(), a.reviewCmd(), a.parityCmd(), a.debuginfoCmd())
	in(groupHost, a.applyCmd(), a.revertCmd(), a.watchCmd(), a.statusCmd(), a.doctorCmd(), a.hostCmd(), a.agentCmd())
	in(groupRepo, a.repoCmd())
	in(groupTry, a.demoCmd(), a.manCmd(), a.versionCmd())
	root.SetCompletionCommandGroupID(groupTry)
	root.SetHelpCommandGroupID(groupTry)
	a.completion(root)
	return root
}

// helpOnly is the body of a command that only gathers others.
func (a *app) helpOnly() func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 {
			return usage("%s: %q is no command", cmd.Name(), args[0])
		}
		cmd.SetOut(a.err)
		_ = cmd.Help() // to stderr: nothing was asked, so nothing is a result
		return &exitError{code: exitUsage}
	}
}

// needs checks that exactly the named arguments were given.
func needs(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) < len(names):
			return usage("%s: no %s given", cmd.Name(), names[len(args)])
		case len(args) > len(names):
			return usage("%s: %q is one argument too many", cmd.Name(), args[len(names)])
		}
		return nil
	}
}

// verb wraps the body of a command: once it is entered, arguments and flags
// were understood.
func (a *app) verb(body func(ctx context.Context, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		a.started = true
		return body(cmd.Context(), args)
	}
}
