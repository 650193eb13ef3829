package cli

import (
	"context"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// versionJSON is the documented shape of `version --json`.
type versionJSON struct {
	Version  string `json:"version"`
	Revision string `json:"revision"` // "" when it was not built from a repository
	Modified bool   `json:"modified"` // the tree had changes that were not committed
	Go       string `json:"go"`
	OS       string `json:"os"`
	Arch     string `json:"arch"`
}

func (a *app) versionCmd() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "version",
		Short:   "Print the version",
		Example: "  hotpatch version --json",
		Args:    needs(),
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print it as JSON")
	cmd.RunE = a.verb(func(context.Context, []string) error { return a.printVersion(asJSON) })
	return cmd
}

func (a *app) printVersion(asJSON bool) error {
	v := version()
	if asJSON {
		return writeJSON(a.out, v)
	}
	rev := v.Revision
	if len(rev) > 12 {
		rev = rev[:12]
	}
	if rev != "" {
		rev = " " + rev
	}
	if v.Modified {
		rev += " (modified)"
	}
	_, err := fmt.Fprintf(a.out, "hotpatch %s%s, %s, %s/%s\n", v.Version, rev, v.Go, v.OS, v.Arch)
	return err
}

// version is what the Go linker recorded in the binary.
func version() versionJSON {
	v := versionJSON{Version: "unknown", Go: runtime.Version(), OS: runtime.GOOS, Arch: runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return v
	}
	if info.Main.Version != "" {
		v.Version = info.Main.Version
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			v.Revision = s.Value
		case "vcs.modified":
			v.Modified = s.Value == "true"
		}
	}
	return v
}
