package cli

import "github.com/spf13/cobra"

// hostCmd gathers the verbs about this host as a whole.
func (a *app) hostCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "host",
		Short: "Say where this host stands",
		Long: `host gathers what concerns this host as a whole: what is on disk, what is in
memory, and what the next start would load.`,
		Example: `  hotpatch host scan`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usage("host: %q is no command", args[0])
			}
			cmd.SetOut(a.err)
			_ = cmd.Help() // to stderr: nothing was asked
			return &exitError{code: exitUsage}
		},
	}
	for _, c := range []*cobra.Command{a.hostScanCmd()} {
		c.DisableFlagsInUseLine = true
		cmd.AddCommand(c)
	}
	return cmd
}
