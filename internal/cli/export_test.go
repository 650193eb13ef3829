package cli

import (
	"io"
	"strings"

	"github.com/spf13/cobra"
)

// For the tests in cli_test: decisions that need no process.
var (
	OutcomeCode = outcomeCode
	MeaningOf   = func(code string) (means, todo string) { m := meaningOf(code); return m.means, m.todo }
	Known       = func(code string) bool { _, ok := meanings()[code]; return ok }
	Plain       = plain
	Align       = align
	ManPage     = manPage
	Share       = share
)

// Ended is what a command prints that ended with err.
func Ended(cmd *cobra.Command, err error) (string, int) {
	var out strings.Builder
	code := (&app{out: io.Discard, err: &out, started: true}).fail(cmd, err)
	return out.String(), code
}

// Root builds the whole command tree.
func Root() *cobra.Command { return (&app{out: io.Discard, err: io.Discard}).root() }
