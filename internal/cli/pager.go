package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
)

// page writes text to stdout; on a terminal through $PAGER, or less when that
// is not set. A pager that cannot be started is no reason not to show the text.
func (a *app) page(text string, plainly bool) error {
	if !plainly && isTerminal(a.out) {
		if cmd := pager(); cmd != nil {
			cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(text), a.out, a.err
			err := cmd.Run()
			exit := (*exec.ExitError)(nil)
			switch {
			case err == nil, errors.Is(err, syscall.EPIPE):
				return nil // left before the end of the text
			case errors.As(err, &exit) && exit.ExitCode() != 127: // the shell found it
				return fmt.Errorf("show with %s: %w", cmd, err)
			}
		}
	}
	_, err := io.WriteString(a.out, text)
	return err
}

// pager is the command to page with; nil when there is none, or PAGER is empty.
func pager() *exec.Cmd {
	name, set := os.LookupEnv("PAGER")
	var cmd *exec.Cmd
	switch {
	case set && strings.TrimSpace(name) == "":
		return nil
	case set:
		cmd = exec.Command("sh", "-c", name) // it may have arguments, as for git and man
	default:
		path, err := exec.LookPath("less")
		if err != nil {
			return nil
		}
		cmd = exec.Command(path, "-R")
	}
	if _, set := os.LookupEnv("LESS"); !set {
		cmd.Env = append(os.Environ(), "LESS=FRX") // colours; a short text stays on the screen
	}
	return cmd
}
