package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"hotpatch/internal/repo"
)

func (a *app) repoVerifyCmd(f *repoFlags) *cobra.Command {
	var rootFile string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "verify [WHERE]",
		Short: "Read a whole repository as a host would, and say what is wrong",
		Long: `verify fetches all metadata, every catalogue and every hotpatch of WHERE (a
directory or an http, https or file URL; default --repo), as a host would that
knows nothing but the trusted root file, and says what would be refused and what
expires soon. Exit code 1 when something is wrong.

Of a directory the first root in it is trusted unless --root names another: that
finds damage, but says nothing about who made it.`,
		Example: `  hotpatch repo verify
  hotpatch repo verify https://hotpatch.example.org/ --root root.json`,
		Args: cobra.MaximumNArgs(1),
	}
	cmd.Flags().StringVar(&rootFile, "root", "", "the trusted root `FILE`")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print as JSON")
	cmd.RunE = a.verb(func(ctx context.Context, args []string) error {
		where := f.dir
		if len(args) == 1 {
			where = args[0]
		}
		root, err := trustedRoot(where, rootFile)
		if err != nil {
			return err
		}
		rep, err := repo.Verify(ctx, where, root, repo.DefaultStall, time.Now)
		if err != nil {
			return err
		}
		if asJSON {
			err = writeJSON(a.out, rep)
		} else {
			a.printReport(rep)
		}
		if err == nil && len(rep.Problems) > 0 {
			return done(exitFailed)
		}
		return err
	})
	return cmd
}

// trustedRoot is the file that was named, or of a directory its own first root.
func trustedRoot(where, file string) ([]byte, error) {
	if file == "" {
		dir := strings.TrimPrefix(where, "file://")
		if strings.Contains(dir, "://") {
			return nil, usage("--root: which root file is trusted? (1.root.json of the repository, on a way that you trust)")
		}
		for _, sub := range []string{"public/metadata/1.root.json", "metadata/1.root.json"} {
			if _, err := os.Stat(filepath.Join(dir, sub)); err == nil {
				file = filepath.Join(dir, sub)
				break
			}
		}
		if file == "" {
			return nil, fmt.Errorf("%s: no repository there, and no --root given", where)
		}
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read trusted root: %w", err)
	}
	return data, nil
}

func (a *app) printReport(r *repo.Report) {
	for _, e := range r.Roles {
		fmt.Fprintf(a.out, "%-12s version %-5d valid until %s\n", e.Role, e.Version, e.Expires.UTC().Format(time.DateTime))
	}
	for _, c := range r.Channels {
		fmt.Fprintf(a.out, "%-12s %s (%s), %s, %d recalled\n", c.Channel, count(c.Targets, "target"), bytesText(c.Bytes), count(c.Releases, "release"), c.Recalled)
	}
	for _, w := range r.Warnings {
		fmt.Fprintf(a.out, "%s %s\n", a.outStyle.warn("warning "), plain(w))
	}
	for _, p := range r.Problems {
		fmt.Fprintf(a.out, "%s %s\n", a.outStyle.bad("problem "), plain(p))
	}
	if len(r.Problems) == 0 {
		fmt.Fprintf(a.out, "%s all of %s\n", a.outStyle.good("verified"), plain(r.Where))
	}
}

func (a *app) repoMirrorCmd(*repoFlags) *cobra.Command {
	var rootFile string
	var channels []string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "mirror WHERE DIR",
		Short: "Copy a repository, verified, for use without it",
		Long: `mirror copies the repository at WHERE into DIR, where it works as the original
does: served by any web server, or as a directory on a disk that is carried
somewhere. Everything is verified; a second run fetches what is new and removes
what was recalled. A mirror needs no keys and cannot change anything; hosts that
use it believe it until the timestamp expires.`,
		Example: `  hotpatch repo mirror https://hotpatch.example.org/ /srv/mirror --root root.json
  hotpatch repo mirror https://hotpatch.example.org/ /srv/mirror`,
		Args: needs("WHERE", "DIR"),
	}
	cmd.Flags().StringVar(&rootFile, "root", "", "the trusted root `FILE`; needed the first time only")
	cmd.Flags().StringSliceVar(&channels, "channel", nil, "only these `CHANNELS`")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print as JSON")
	cmd.RunE = a.verb(func(ctx context.Context, args []string) error {
		var root []byte
		if rootFile != "" {
			var err error
			if root, err = trustedRoot(args[0], rootFile); err != nil {
				return err
			}
		}
		m, err := repo.Mirror(ctx, args[0], args[1], root, channels, repo.DefaultStall, time.Now)
		if err != nil {
			if r := (*repo.RoleError)(nil); errors.As(err, &r) {
				return &exitError{code: exitRefused, err: err, hint: args[1] + " is as it was"}
			}
			return err
		}
		if asJSON {
			return writeJSON(a.out, m)
		}
		fmt.Fprintf(a.out, "mirrored %s: %s, %d new (%s), %d removed\n", strings.Join(m.Channels, ", "), count(m.Targets, "target"), m.Fetched, bytesText(m.Bytes), m.Removed)
		fmt.Fprintf(a.out, "         valid until %s (%s)\n", m.Expires.UTC().Format(time.DateTime), m.Role)
		return nil
	})
	return cmd
}
