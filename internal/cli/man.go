package cli

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

// manCmd writes the manual pages from the same texts as --help. Their date is
// fixed: the same commands give the same pages.
func (a *app) manCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "man DIR",
		Short:   "Write the manual pages, one per command, into DIR",
		Example: "  hotpatch man docs/man",
		Args:    needs("DIR"),
		Hidden:  true,
	}
	cmd.RunE = a.verb(func(_ context.Context, args []string) error {
		if err := os.MkdirAll(args[0], 0o755); err != nil {
			return fmt.Errorf("make directory for manual pages: %w", err)
		}
		root := cmd.Root()
		root.DisableAutoGenTag = true
		date := time.Date(2026, time.January, 1, 0, 0, 0, 0, time.UTC)
		header := &doc.GenManHeader{Title: "HOTPATCH", Section: "1", Source: "hotpatch", Manual: "hotpatch manual", Date: &date}
		if err := doc.GenManTree(root, header, args[0]); err != nil {
			return fmt.Errorf("write manual pages: %w", err)
		}
		return nil
	})
	return cmd
}
