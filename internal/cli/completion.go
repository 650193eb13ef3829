package cli

import (
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// completion adds the command that prints completion scripts, for the shells
// that Linux has.
func (a *app) completion(root *cobra.Command) {
	root.InitDefaultCompletionCmd()
	for _, cmd := range root.Commands() {
		if cmd.Name() != "completion" {
			continue
		}
		for _, shell := range cmd.Commands() {
			if shell.Name() == "powershell" {
				cmd.RemoveCommand(shell)
			}
		}
		help := a.helpOnly()
		cmd.Args = nil // helpOnly judges them
		cmd.RunE = func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usage("completion: %q is not a shell it knows: bash, zsh or fish", args[0])
			}
			return help(cmd, args)
		}
	}
}

// plainUsages takes the marks around placeholders out of the flags' texts:
// completion shows them as they are.
func plainUsages(cmd *cobra.Command) {
	strip := func(f *pflag.Flag) { f.Usage = strings.ReplaceAll(f.Usage, "`", "") }
	cmd.PersistentFlags().VisitAll(strip)
	cmd.Flags().VisitAll(strip)
	for _, sub := range cmd.Commands() {
		plainUsages(sub)
	}
}
