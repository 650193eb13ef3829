package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"hotpatch/internal/catalog"
	"hotpatch/internal/repo"
)

// releaseFlags describe a release on the command line.
type releaseFlags struct {
	kind, baseline, fixes, title, article, version string
	available, deadline, by                        string
	replaces, restarts                             []string
	outOfBand, unplanned                           bool
	same                                           []string
}

// parseDay reads a date, from midnight UTC on, or a
// time with its zone.
func parseDay(flag, text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	for _, layout := range []string{time.DateOnly, time.RFC3339} {
		if t, err := time.Parse(layout, text); err == nil {
			return t.UTC(), nil
		}
	}
	return time.Time{}, usage("--%s: %q is neither 2025-10-14 nor 2025-10-14T17:00:00Z", flag, text)
}

func (rf *releaseFlags) release(id string) (catalog.Release, error) {
	available, err := parseDay("available", rf.available)
	if err != nil {
		return catalog.Release{}, err
	}
	deadline, err := parseDay("deadline", rf.deadline)
	if err != nil {
		return catalog.Release{}, err
	}
	rel := catalog.Release{ID: catalog.ReleaseID(id), Kind: catalog.Kind(rf.kind), Baseline: catalog.ReleaseID(rf.baseline),
		Fixes: catalog.ReleaseID(rf.fixes), Title: rf.title, Article: rf.article, Version: rf.version,
		Available: available, Deadline: deadline, Restarts: rf.restarts, OutOfBand: rf.outOfBand, Unplanned: rf.unplanned}
	for _, id := range rf.replaces {
		rel.Replaces = append(rel.Replaces, catalog.ReleaseID(id))
	}
	return rel, nil
}

func (rf *releaseFlags) addCommon(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.StringVar(&rf.title, "title", "", "what it is, for people: `TEXT`")
	fl.StringVar(&rf.article, "article", "", "`WHERE` to read about it: DSA-5971-1")
	fl.StringVar(&rf.version, "version", "", "its build, the `VERSION` for people; nothing is decided by it")
	fl.StringVar(&rf.available, "available", "", "the `DAY` from which it is offered: 2025-10-14 (default: now)")
	fl.StringSliceVar(&rf.replaces, "replaces", nil, "`RELEASES` that it makes unnecessary")
	fl.StringVar(&rf.by, "by", "", "who adds it (default: you, as `NAME`@host)")
}

func (a *app) repoAddCmd(f *repoFlags) *cobra.Command {
	var rf releaseFlags
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "add RELEASE FILE...",
		Short: "Put hotpatches and packages into a draft",
		Long: `add makes the draft RELEASE, or adds to it, from hotpatch files and .deb files. Of
a .deb it takes version, digest and build-ids: what the release becomes on disk.

It refuses a hotpatch that needs review and that nobody accepted, a baseline that
is not there, and a hotpatch that is not for exactly the version and the build-id
that the baseline has.`,
		Example: `  hotpatch repo add 2025.11 redis.hotpatch redis-server_7.0.15-2_amd64.deb
  hotpatch repo add dsa-5971 --kind cold linux-image.deb --restarts host
  hotpatch repo add dsa-5971-n --kind companion --fixes dsa-5971 app.hotpatch`,
		Args: cobra.MinimumNArgs(1),
	}
	fl := cmd.Flags()
	fl.StringVar(&rf.kind, "kind", "", "`KIND`: hotpatch (default), companion, cold or outside")
	fl.StringVar(&rf.baseline, "baseline", "", "the `BASELINE` it goes on top of (default: the newest published)")
	fl.StringVar(&rf.fixes, "fixes", "", "the cold `RELEASE` whose fix this companion or hotpatch has")
	fl.StringSliceVar(&rf.restarts, "restarts", nil, "`UNITS` that have to be restarted where they run: nginx.service, host")
	fl.BoolVar(&rf.outOfBand, "out-of-band", false, "on a day that the calendar did not foresee")
	fl.StringSliceVar(&rf.same, "same", nil, "of these `PACKAGES` hotpatch build said that nothing is to be patched: no restart")
	rf.addCommon(cmd)
	fl.BoolVar(&asJSON, "json", false, "print the draft as JSON")
	cmd.RunE = a.verb(func(_ context.Context, args []string) error {
		rel, err := rf.release(args[0])
		if err != nil {
			return err
		}
		return a.repoAdd(f, rel, args[1:], &rf, asJSON)
	})
	return cmd
}

func (a *app) repoAdd(f *repoFlags, rel catalog.Release, files []string, rf *releaseFlags, asJSON bool) error {
	r, err := f.open()
	if err != nil {
		return err
	}
	defer r.Close()
	if err := defaults(r, &rel); err != nil {
		return err
	}
	add := repo.Addition{Release: rel, Same: rf.same, By: author(rf.by)}
	for _, file := range files {
		switch {
		case strings.HasSuffix(file, ".deb"):
			add.Debs = append(add.Debs, file)
		default:
			add.Bundles = append(add.Bundles, file)
		}
	}
	draft, err := r.Add(add)
	if err != nil {
		return a.repoError(err, r, nil)
	}
	if asJSON {
		return writeJSON(a.out, draft)
	}
	v := releaseView(draft)
	fmt.Fprintf(a.out, "draft    %s: %s on %s, %s, %s\n", v.ID, v.Kind, orNone(v.Baseline), count(v.Packages, "package"), count(v.Bundles, "bundle"))
	a.hint("hotpatch repo preview " + string(draft.ID) + " shows what approving it would do")
	return nil
}

func orNone(id catalog.ReleaseID) string {
	if id == "" {
		return "no baseline"
	}
	return string(id)
}

// defaults completes a new draft: a hotpatch, on the newest baseline.
func defaults(r *repo.Repo, rel *catalog.Release) error {
	old, err := r.Draft(rel.ID)
	if err == nil {
		if rel.Kind == "" {
			rel.Kind = old.Kind
		}
		if rel.Baseline == "" {
			rel.Baseline = old.Baseline
		}
	}
	if rel.Kind == "" {
		rel.Kind = catalog.Hotpatch
	}
	if rel.Baseline != "" || rel.Kind == catalog.Baseline || rel.Kind == catalog.Outside || len(r.Channels()) == 0 {
		return nil
	}
	k, err := r.Catalog(r.Channels()[0])
	if err != nil {
		return err
	}
	if bs := k.Baselines(time.Now()); len(bs) > 0 {
		rel.Baseline = bs[len(bs)-1].ID
	}
	return nil
}

func (a *app) repoDropCmd(f *repoFlags) *cobra.Command {
	cmd := &cobra.Command{Use: "drop RELEASE", Short: "Forget a draft", Args: needs("RELEASE"), Example: `  hotpatch repo drop 2025.11`}
	cmd.RunE = a.verb(func(_ context.Context, args []string) error {
		r, err := f.open()
		if err != nil {
			return err
		}
		defer r.Close()
		if err := r.DropDraft(catalog.ReleaseID(args[0])); err != nil {
			return err
		}
		fmt.Fprintf(a.out, "dropped  %s\n", args[0])
		return nil
	})
	return cmd
}

func (a *app) repoPreviewCmd(f *repoFlags) *cobra.Command {
	var machines, by string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "preview RELEASE",
		Short: "Show what approving a draft would do to which machines",
		Long: `preview says which machines would leave their track, which would restart
something, which stay vulnerable if it waits, and which have no window in time.
Its digest is what an approval has to name.

--machines is a directory with one subdirectory per machine, which has
inventory.json (hotpatch host scan --json) and, where they differ from an enrolled
machine without windows, enrolment.json and policy.json. Without it nothing is
known of any machine.`,
		Example: `  hotpatch repo preview 2025.11 --machines /srv/inventories`,
		Args:    needs("RELEASE"),
	}
	cmd.Flags().StringVar(&machines, "machines", "", "`DIR` with the machines' inventories")
	cmd.Flags().StringVar(&by, "by", "", "who looks (default: you, as `NAME`@host)")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print as JSON")
	cmd.RunE = a.verb(func(_ context.Context, args []string) error {
		ms, err := readMachines(machines)
		if err != nil {
			return err
		}
		r, err := f.open()
		if err != nil {
			return err
		}
		defer r.Close()
		p, err := r.Preview(catalog.ReleaseID(args[0]), ms, author(by))
		if err != nil {
			return a.repoError(err, r, nil)
		}
		if asJSON {
			return writeJSON(a.out, p)
		}
		a.printPreview(args[0], p)
		return nil
	})
	return cmd
}

func (a *app) printPreview(id string, p *repo.Previewed) {
	v := p.Preview
	row := func(name string, hosts []string) {
		if len(hosts) == 0 {
			fmt.Fprintf(a.out, "%-22s nobody\n", name)
			return
		}
		shown := hosts[:min(len(hosts), 8)]
		more := ""
		if n := len(hosts) - len(shown); n > 0 {
			more = fmt.Sprintf(" and %d more", n)
		}
		fmt.Fprintf(a.out, "%-22s %d: %s%s\n", name, len(hosts), plain(strings.Join(shown, ", ")), more)
	}
	fmt.Fprintf(a.out, "%-22s %d\n%-22s %d\n", "machines looked at", p.Machines, "stay on the track", v.OnTrack)
	row("would leave it", v.WouldEject)
	row("restart something", v.RestartNow)
	row("vulnerable meanwhile", v.VulnerableIfDeferred)
	row("no window in time", v.OutsideWindow)
	if v.NeutralAlternative != "" {
		fmt.Fprintf(a.out, "%-22s %s\n", "ejects nobody instead", v.NeutralAlternative)
	}
	fmt.Fprintf(a.out, "%-22s %s\n", "digest", p.Digest)
	a.hint(fmt.Sprintf("hotpatch repo approve %s --by NAME --reason TEXT --preview %s", id, p.Digest))
}

const maxMachineFile = catalog.MaxBytes

// readMachines reads DIR/HOST/{inventory,enrolment,policy}.json.
func readMachines(dir string) ([]catalog.Machine, error) {
	if dir == "" {
		return nil, nil
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("read machines: %w", err)
	}
	var out []catalog.Machine
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		m, err := readMachine(filepath.Join(dir, e.Name()))
		if err != nil {
			return nil, fmt.Errorf("read machine %s: %w", e.Name(), err)
		}
		out = append(out, m)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("read machines: no machine in %s", dir)
	}
	return out, nil
}

func readMachine(dir string) (catalog.Machine, error) {
	// Who says nothing else is taken for enrolled: the one whom most can happen to.
	m := catalog.Machine{Enrolment: catalog.Enrolment{Intent: catalog.Enrolled}}
	inv, err := decodeFile(filepath.Join(dir, "inventory.json"), catalog.DecodeInventory)
	if err != nil {
		return m, err
	}
	m.Inventory = inv
	switch e, err := decodeFile(filepath.Join(dir, "enrolment.json"), catalog.DecodeEnrolment); {
	case err == nil:
		m.Enrolment = *e
	case !errors.Is(err, fs.ErrNotExist):
		return m, err
	}
	switch p, err := decodeFile(filepath.Join(dir, "policy.json"), catalog.DecodePolicy); {
	case err == nil:
		m.Policy = *p
	case !errors.Is(err, fs.ErrNotExist):
		return m, err
	}
	return m, nil
}

func decodeFile[T any](file string, decode func([]byte) (*T, error)) (*T, error) {
	st, err := os.Stat(file)
	if err != nil {
		return nil, err
	}
	if st.Size() > maxMachineFile {
		return nil, fmt.Errorf("read %s: %d bytes, more than %d", file, st.Size(), maxMachineFile)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	v, err := decode(data)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", file, err)
	}
	return v, nil
}

func (a *app) repoApproveCmd(f *repoFlags) *cobra.Command {
	var ap repo.Approval
	var digest string
	cmd := &cobra.Command{
		Use:   "approve RELEASE --by NAME --reason TEXT --preview DIGEST",
		Short: "Answer for a draft",
		Long: `approve records who answers for a draft and why. It needs the digest of the last
preview: what was read is what is approved. When the draft changes, so does the
digest. Where the preview says that machines would leave their track, the
approval is an override for exactly those machines.`,
		Example: `  hotpatch repo approve 2025.11 --by carol --reason "soaked 3 days on staging" --preview 41c0…`,
		Args:    needs("RELEASE"),
	}
	cmd.Flags().StringVar(&ap.By, "by", "", "`NAME` of who answers for it")
	cmd.Flags().StringVar(&ap.Reason, "reason", "", "why, for those who ask later: `TEXT`")
	cmd.Flags().StringVar(&digest, "preview", "", "`DIGEST` of the preview that was read")
	cmd.RunE = a.verb(func(_ context.Context, args []string) error {
		ap.Preview = catalog.Digest(digest)
		r, err := f.open()
		if err != nil {
			return err
		}
		defer r.Close()
		if _, err := r.Approve(catalog.ReleaseID(args[0]), ap); err != nil {
			return a.repoError(err, r, nil)
		}
		fmt.Fprintf(a.out, "approved %s by %s\n", args[0], plain(ap.By))
		a.hint("hotpatch repo publish " + args[0])
		return nil
	})
	return cmd
}

// publishFlags are for publish and promote.
type publishFlags struct {
	o    repo.PublishOptions
	by   string
	json bool
}

func (p *publishFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&p.o.NoneBecause, "none-because", "", "of a cold release that no companion goes with: what to do instead (`TEXT`)")
	cmd.Flags().IntVar(&p.o.Enrolled, "enrolled", 1, "how many (`N`) enrolled machines are on its baseline, if you know; 0: none")
	cmd.Flags().StringVar(&p.by, "by", "", "who does it (default: you, as `NAME`@host)")
	cmd.Flags().BoolVar(&p.json, "json", false, "print as JSON")
}

func releaseIDs(args []string) []catalog.ReleaseID {
	var ids []catalog.ReleaseID
	for _, s := range args {
		ids = append(ids, catalog.ReleaseID(s))
	}
	return ids
}

func (a *app) repoPublishCmd(f *repoFlags) *cobra.Command {
	var p publishFlags
	cmd := &cobra.Command{
		Use:   "publish RELEASE...",
		Short: "Sign approved drafts into the first channel",
		Long: `publish signs approved drafts, all or none, into the first channel. A cold release
is refused while enrolled machines are on its baseline, unless a companion or
hotpatch that has its fix is published with it or before, or --none-because says
what to do instead.`,
		Example: `  hotpatch repo publish 2025.11
  hotpatch repo publish kb5070881 kb5070893
  hotpatch repo publish kb5070881 --none-because "block port 8530 until January"`,
		Args: cobra.MinimumNArgs(1),
	}
	p.add(cmd)
	cmd.RunE = a.verb(func(_ context.Context, args []string) error {
		p.o.By = author(p.by)
		return a.signing(f, func(r *repo.Repo, keys *repo.Keys) error {
			ps, err := r.Publish(releaseIDs(args), p.o, keys)
			return a.published("published", ps, err, p.json)
		})
	})
	return cmd
}

func (a *app) repoPromoteCmd(f *repoFlags) *cobra.Command {
	var p publishFlags
	var from string
	cmd := &cobra.Command{
		Use:   "promote RELEASE...",
		Short: "Take releases to the next channel",
		Long: `promote signs releases, all or none, into the channel after the one they reached.
In the last channel a release is complete: it is for everybody.`,
		Example: `  hotpatch repo promote 2025.11`,
		Args:    cobra.MinimumNArgs(1),
	}
	p.add(cmd)
	cmd.Flags().StringVar(&from, "from", "", "the `CHANNEL` they come from (default: the last that has them)")
	cmd.RunE = a.verb(func(_ context.Context, args []string) error {
		p.o.By = author(p.by)
		return a.signing(f, func(r *repo.Repo, keys *repo.Keys) error {
			ps, err := r.Promote(releaseIDs(args), from, p.o, keys)
			return a.published("promoted", ps, err, p.json)
		})
	})
	return cmd
}

// published says what Publish or Promote did.
func (a *app) published(verb string, ps []*repo.Publication, err error, asJSON bool) error {
	if err != nil {
		return err
	}
	if asJSON {
		return writeJSON(a.out, nonNil(ps))
	}
	for _, p := range ps {
		state := string(p.Life.State)
		if p.Life.State == catalog.InRing {
			state = fmt.Sprintf("ring %d", p.Life.Ring)
		}
		fmt.Fprintf(a.out, "%-9s %s in %s (%s)\n", verb, p.Release, p.Channel, state)
		if p.Calendar.Notice != "" {
			fmt.Fprintf(a.out, "          %s\n", plain(p.Calendar.Notice))
		}
		if len(p.Override) > 0 {
			fmt.Fprintf(a.out, "          may take from their track: %s\n", plain(strings.Join(p.Override, ", ")))
		}
	}
	return nil
}

func (a *app) repoRecallCmd(f *repoFlags) *cobra.Command {
	var by, reason string
	cmd := &cobra.Command{
		Use:   "recall RELEASE --reason TEXT",
		Short: "Take a release back, everywhere",
		Long: `recall takes a release out of every channel: its hotpatches disappear, and a signed
notice stays, on which hosts purge the copies that they staged.`,
		Example: `  hotpatch repo recall 2025.11 --reason "crashes under load, ticket 4711"`,
		Args:    needs("RELEASE"),
	}
	cmd.Flags().StringVar(&by, "by", "", "who recalls it (default: you, as `NAME`@host)")
	cmd.Flags().StringVar(&reason, "reason", "", "why: `TEXT`")
	cmd.RunE = a.verb(func(_ context.Context, args []string) error {
		return a.signing(f, func(r *repo.Repo, keys *repo.Keys) error {
			channels, err := r.Recall(catalog.ReleaseID(args[0]), author(by), reason, keys)
			if err != nil {
				return err
			}
			fmt.Fprintf(a.out, "recalled %s in %s\n", args[0], strings.Join(channels, ", "))
			return nil
		})
	})
	return cmd
}

func (a *app) repoScopeCmd(f *repoFlags) *cobra.Command {
	var labels, hosts, except []string
	var machines, by, reason string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "scope RELEASE --reason TEXT",
		Short: "Change for which machines a release is meant",
		Long: `scope sets for which machines a release is meant: all of these labels, one of these
hosts, none of those; with none of the three, everybody. Of a published release
the machines have to be named (--machines, see preview): for those that fall out
an incident is opened, which lists who installed it, has it staged, or is exposed
without it.`,
		Example: `  hotpatch repo scope 2025.11 --label env=test --reason "test first"
  hotpatch repo scope 2025.11 --except web7 --machines /srv/inventories --reason "crashes there"`,
		Args: needs("RELEASE"),
	}
	fl := cmd.Flags()
	fl.StringArrayVar(&labels, "label", nil, "machines with this label, `NAME=VALUE` (may be repeated: all of them)")
	fl.StringSliceVar(&hosts, "host", nil, "these `MACHINES` only")
	fl.StringSliceVar(&except, "except", nil, "not these `MACHINES`")
	fl.StringVar(&machines, "machines", "", "`DIR` with the machines' inventories")
	fl.StringVar(&by, "by", "", "who does it (default: you, as `NAME`@host)")
	fl.StringVar(&reason, "reason", "", "why: `TEXT`")
	fl.BoolVar(&asJSON, "json", false, "print as JSON")
	cmd.RunE = a.verb(func(_ context.Context, args []string) error {
		to := catalog.Scope{Hosts: hosts, Except: except}
		for _, l := range labels {
			name, value, ok := strings.Cut(l, "=")
			if !ok || name == "" {
				return usage("scope: --label: %q is not NAME=VALUE", l)
			}
			if to.Labels == nil {
				to.Labels = map[string]string{}
			}
			to.Labels[name] = value
		}
		ms, err := readMachines(machines)
		if err != nil {
			return err
		}
		return a.signing(f, func(r *repo.Repo, keys *repo.Keys) error {
			out, err := r.Rescope(catalog.ReleaseID(args[0]), to, ms, author(by), reason, keys)
			if err != nil {
				return err
			}
			if asJSON {
				return writeJSON(a.out, out)
			}
			where := "the draft"
			if len(out.Channels) > 0 {
				where = strings.Join(out.Channels, ", ")
			}
			fmt.Fprintf(a.out, "scope    of %s changed in %s\n", args[0], where)
			if out.Incident != nil {
				fmt.Fprintf(a.out, "incident %s fell out: %s installed it, %s staged, %s exposed; see %s\n", count(len(out.Incident.Machines), "machine"),
					fmt.Sprint(len(out.Incident.Installed)), fmt.Sprint(len(out.Incident.Staged)), fmt.Sprint(len(out.Incident.Exposed)), out.File)
			}
			return nil
		})
	})
	return cmd
}
