package cli

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"hotpatch/internal/catalog"
	"hotpatch/internal/deb"
	"hotpatch/internal/repo"
)

// pinFlags say where a baseline's packages come from.
type pinFlags struct {
	from, root, lists, arch string
	debs, only              []string
}

func (a *app) repoBaselineCmd(f *repoFlags) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "baseline COMMAND",
		Short:   "Make baselines: pinned sets of packages",
		Example: `  hotpatch repo baseline create 2025.10 --from host`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usage("baseline: %q is no command", args[0])
			}
			cmd.SetOut(a.err)
			_ = cmd.Help() // to stderr: nothing was asked
			return &exitError{code: exitUsage}
		},
	}
	create := a.repoBaselineCreateCmd(f)
	create.DisableFlagsInUseLine = true
	cmd.AddCommand(create)
	return cmd
}

func (a *app) repoBaselineCreateCmd(f *repoFlags) *cobra.Command {
	var rf releaseFlags
	var p pinFlags
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "create RELEASE --from SOURCE",
		Short: "Draft a baseline from this host, an apt suite or a list",
		Long: `create drafts a baseline: every package with its version, and where the files can be
read the build-ids of its programs and libraries. The source is

  host          what is installed here, or below --root
  suite:NAME    the newest of what apt's lists have for a suite
  list:FILE     lines NAME=VERSION or NAME:ARCH=VERSION
  debs          nothing but the --deb files

--deb completes a pinned package with the digest and the build-ids of its file.`,
		Example: `  hotpatch repo baseline create 2025.10 --from host
  hotpatch repo baseline create 2025.10 --from suite:bookworm --only nginx,redis-server --deb nginx_1.22.1-9_amd64.deb
  hotpatch repo baseline create 2025.11-u --from list:pins --unplanned --deadline 2025-11-25`,
		Args: needs("RELEASE"),
	}
	fl := cmd.Flags()
	fl.StringVar(&p.from, "from", "", "`SOURCE` of the packages: host, suite:NAME, list:FILE or debs")
	fl.StringVar(&p.root, "root", "", "with host: the system below this `DIR`")
	fl.StringVar(&p.lists, "lists", "", "with suite: keep package lists of our own in `DIR`, and fetch them")
	fl.StringVar(&p.arch, "arch", "amd64", "with suite: for this `ARCH`")
	fl.StringArrayVar(&p.debs, "deb", nil, "take digest and build-ids from this `FILE` (may be repeated)")
	fl.StringSliceVar(&p.only, "only", nil, "pin these `PACKAGES` alone")
	fl.BoolVar(&rf.unplanned, "unplanned", false, "it takes the place of its month's hotpatch; needs --deadline")
	fl.StringVar(&rf.deadline, "deadline", "", "the `DAY` by which machines have to be on it")
	rf.addCommon(cmd)
	fl.BoolVar(&asJSON, "json", false, "print the draft as JSON")
	cmd.RunE = a.verb(func(ctx context.Context, args []string) error {
		rf.kind = string(catalog.Baseline)
		rel, err := rf.release(args[0])
		if err != nil {
			return err
		}
		r, err := f.open()
		if err != nil {
			return err
		}
		defer r.Close()
		pins, err := p.pins(ctx)
		if err != nil {
			return err
		}
		draft, err := r.AddBaseline(rel, pins, author(rf.by))
		if err != nil {
			return a.repoError(err, r, nil)
		}
		if asJSON {
			return writeJSON(a.out, draft)
		}
		images := 0
		for i := range draft.Artifacts {
			images += len(draft.Artifacts[i].Images)
		}
		fmt.Fprintf(a.out, "draft    %s: %s, %s, content %s\n", draft.ID, count(len(draft.Artifacts), "package"), count(images, "image"), draft.Content())
		a.hint("hotpatch repo preview " + string(draft.ID) + " shows what approving it would do")
		return nil
	})
	return cmd
}

// pins gathers the packages.
func (p *pinFlags) pins(ctx context.Context) ([]catalog.Artifact, error) {
	kind, what, _ := strings.Cut(p.from, ":")
	var pins []catalog.Artifact
	var err error
	switch {
	case kind == "host" && what == "":
		pins, err = repo.PinHost(deb.Dpkg{Root: p.root})
	case kind == "suite" && what != "":
		apt := deb.Apt{State: p.lists}
		if p.lists != "" {
			if err := apt.Update(ctx); err != nil {
				return nil, err
			}
		}
		pins, err = repo.PinSuite(ctx, apt, what, p.arch)
	case kind == "list" && what != "":
		pins, err = p.list(what)
	case p.from == "debs" && len(p.debs) > 0:
	default:
		return nil, usage("create: --from %q is none of host, suite:NAME, list:FILE, debs (with --deb)", p.from)
	}
	if err != nil {
		return nil, err
	}
	if p.from != "debs" {
		if pins, err = repo.Only(pins, p.only); err != nil {
			return nil, err
		}
	}
	if len(p.debs) > 0 {
		return repo.PinDebs(pins, p.debs)
	}
	return pins, nil
}

func (p *pinFlags) list(file string) ([]catalog.Artifact, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("read list: %w", err)
	}
	defer f.Close()
	return repo.PinList(f, file)
}
