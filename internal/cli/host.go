package cli

import "github.com/spf13/cobra"

// hostCmd gathers the verbs about this host as a whole.
func (a *app) hostCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "host",
		Short: "Say where this host stands",
		Long: `host gathers what concerns this host as a whole: where it stands on its track,
what is due and why, and what is on disk, in memory and at the next start. The
agent answers; where none runs its part is done in this process.`,
		Example: `  hotpatch host enroll https://repo.example/debian --root repo-root.json
  hotpatch host status
  hotpatch host why-restart`,
		RunE: a.helpOnly(),
	}
	for _, c := range append([]*cobra.Command{a.hostScanCmd()}, a.hostTrackCmds()...) {
		c.DisableFlagsInUseLine = true
		cmd.AddCommand(c)
	}
	return cmd
}
