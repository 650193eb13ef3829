package cli

import "fmt"

// Exit codes, the same for every command.
const (
	exitDone    = 0
	exitFailed  = 1
	exitUsage   = 2
	exitRefused = 3 // or nothing to do: nothing was changed
	exitPartly  = 4 // build: written, but needs review
)

// exitError ends a command with a code. err is printed unless it is nil (the
// command said everything already); hint is what to do next.
type exitError struct {
	code int
	err  error
	hint string
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit code %d", e.code)
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

// usage is an error in how the command was called. The hint to its help is
// added where the command is known.
func usage(format string, args ...any) error {
	return &exitError{code: exitUsage, err: fmt.Errorf(format, args...)}
}

// done is nil for code 0, else an error without words of its own.
func done(code int) error {
	if code == exitDone {
		return nil
	}
	return &exitError{code: code}
}
