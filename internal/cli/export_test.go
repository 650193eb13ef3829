package cli

import (
	"io"

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

// Root builds the whole command tree.
func Root() *cobra.Command { return (&app{out: io.Discard, err: io.Discard}).root() }
