package cli

import (
	"context"

	"github.com/spf13/cobra"

	"hotpatch/internal/demo"
)

func (a *app) demoCmd() *cobra.Command {
	o := demo.Options{}
	cmd := &cobra.Command{
		Use:   "demo [--local] [--dir DIR]",
		Short: "Patch a stock redis-server under load, and show what happens",
		Long: `demo fetches Debian's redis-server and its pending security update, starts the
old one under a steady load, builds the hotpatch, applies it, shows that the
behaviour has changed and the process has not, reverts it and applies it again.
Nothing is installed and nothing is left running. It takes under two minutes.

Without Debian's packages a small server compiled on the spot takes its place.`,
		Example: `  hotpatch demo
  hotpatch demo --local`,
		Args: needs(),
	}
	cmd.Flags().BoolVar(&o.Local, "local", false, "use the compiled server, without looking for packages")
	cmd.Flags().StringVar(&o.Dir, "dir", "", "keep packages and work in this `DIR` (default: your cache directory)")
	cmd.RunE = a.verb(func(ctx context.Context, _ []string) error {
		o.Out, o.Color = a.out, a.outStyle.on
		return demo.Run(ctx, o)
	})
	return cmd
}
