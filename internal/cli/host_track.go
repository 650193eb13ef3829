package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"hotpatch/internal/agent"
	"hotpatch/internal/catalog"
)

// hostTrackCmds are the verbs that ask the agent of this host, or do its part
// in this process when none runs.
func (a *app) hostTrackCmds() []*cobra.Command {
	return []*cobra.Command{
		a.hostStatusCmd(), a.hostAssessCmd(), a.hostPlanCmd(), a.hostForecastCmd(), a.hostWhyRestartCmd(),
		a.hostHistoryCmd(), a.hostEnrollCmd(), a.hostIntentCmd("suspend", "Apply nothing until it is resumed", catalog.Suspended),
		a.hostIntentCmd("resume", "Go on after a suspension", catalog.Enrolled), a.hostIntentCmd("unenroll", "Go back to ordinary updating", catalog.Cancelled),
		a.hostRebaseCmd(), a.hostAllowCmd(), a.hostVEXCmd(), a.hostOVALCmd(),
	}
}

// hostVerb makes a command that asks the agent.
func (a *app) hostVerb(use, short, long, example string, args cobra.PositionalArgs,
	body func(ctx context.Context, c *agent.Client, args []string, asJSON bool) error) *cobra.Command {
	var f agentFlags
	var asJSON bool
	cmd := &cobra.Command{Use: use, Short: short, Long: long, Example: example, Args: args}
	f.add(cmd.Flags())
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the answer as JSON")
	cmd.RunE = a.verb(func(ctx context.Context, args []string) error {
		return a.asking(ctx, f, func(c *agent.Client) error { return body(ctx, c, args, asJSON) })
	})
	return cmd
}

// asking hands a client to do: of the agent that runs, else of one in this
// process, which answers from the same journal.
func (a *app) asking(ctx context.Context, f agentFlags, do func(*agent.Client) error) error {
	c := agent.NewClient(f.socket)
	var s agent.Status
	err := c.Get(ctx, "/v1/status", &s)
	if err == nil {
		return do(c)
	}
	if !errors.Is(err, agent.ErrNotRunning) {
		return err
	}
	if _, err := os.Stat(f.Policy()); errors.Is(err, fs.ErrNotExist) {
		return &exitError{code: exitFailed, err: fmt.Errorf("host: no policy at %s: this host was never enrolled", f.Policy()),
			hint: "hotpatch host enroll ADDRESS --root FILE"}
	}
	log := a.log()
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	unlock, err := lockState(f.State)
	for end := time.Now().Add(5 * time.Second); errors.Is(err, errLocked) && time.Now().Before(end); {
		time.Sleep(100 * time.Millisecond) // an agent that starts, or ends
		if c.Get(ctx, "/v1/status", &s) == nil {
			return do(c)
		}
		unlock, err = lockState(f.State)
	}
	if err != nil {
		return err
	}
	defer unlock()
	ag, _, done, err := openAgent(f.Places, log)
	if err != nil {
		return err
	}
	defer done()
	return do(agent.Local(ag))
}

func (a *app) hostStatusCmd() *cobra.Command {
	return a.hostVerb("status", "Say where this host stands on its track",
		`status answers from the agent's last assessment: the track, what this host is
exposed to, what is due and what is in the way of it.`,
		"  hotpatch host status\n  hotpatch host status --json", needs(),
		func(ctx context.Context, c *agent.Client, _ []string, asJSON bool) error {
			var s agent.Status
			if err := c.Get(ctx, "/v1/status", &s); err != nil {
				return err
			}
			if asJSON {
				return writeJSON(a.out, s)
			}
			a.printHostStatus(&s)
			return nil
		})
}

func (a *app) printHostStatus(s *agent.Status) {
	st := a.outStyle
	name := plain(s.Host)
	if name == "" {
		name = "this host"
	}
	fmt.Fprintf(a.out, "%s  %s\n", st.bold(name), s.Intent)
	words := plain(s.Words)
	switch s.Track.State {
	case catalog.Current, "":
		words = st.good(words)
	case catalog.Failed, catalog.OffTheTrack, catalog.Ineligible:
		words = st.bad(words)
	default:
		words = st.warn(words)
	}
	rows := [][]string{{"track", words}}
	for _, g := range s.Gates {
		rows = append(rows, []string{"gate", plain(fmt.Sprintf("%s: %s (%s)", g.Code, g.What, g.Remedy))})
	}
	rows = append(rows, []string{"CVEs", fmt.Sprintf("%d exposed, %d fixed in memory, %d fixed on disk, %d not affected, %d undetermined",
		s.Counts[string(catalog.Exposed)], s.Counts[string(catalog.FixedInMemory)], s.Counts[string(catalog.FixedOnDisk)],
		s.Counts[string(catalog.NotAffected)], s.Counts[string(catalog.Undetermined)])})
	for i, x := range s.Exposed {
		if i == shownFunctions {
			rows = append(rows, []string{"", fmt.Sprintf("and %d more", len(s.Exposed)-i)})
			break
		}
		rows = append(rows, []string{"", plain(exposureText(x))})
	}
	for _, d := range s.Due {
		text := dueText(&d)
		if slices.ContainsFunc(s.Bars, func(b agent.Bar) bool { return b.Release == d.Release }) && d.Action == catalog.DoApply {
			text += "; not done: it is barred"
		}
		rows = append(rows, []string{"due", plain(text)})
	}
	for _, b := range s.Bars {
		rows = append(rows, []string{"barred", plain(fmt.Sprintf("%s since %s: %s", b.Release, shortTime(b.At), b.Why))})
	}
	if s.Run != nil {
		rows = append(rows, []string{"working", plain(fmt.Sprintf("%s since %s", s.Run.ID, shortTime(s.Run.Started)))})
	}
	if s.Watched > 0 {
		rows = append(rows, []string{"watched", count(s.Watched, "patched process")})
	}
	rows = append(rows, []string{"catalogue", plain(repositoryText(&s.Repository))})
	if s.Trouble != "" {
		rows = append(rows, []string{"trouble", st.bad(plain(s.Trouble))})
	}
	if s.Policy != "" {
		rows = append(rows, []string{"policy", st.bad(plain(s.Policy))})
	}
	if !s.At.IsZero() {
		rows = append(rows, []string{"assessed", shortTime(s.At)})
	}
	table(a.out, rows)
	if len(s.Bars) > 0 {
		a.hint(fmt.Sprintf("hotpatch host allow %s lets it come back", s.Bars[0].Release))
	}
	if o := s.Track.OffTrack; o != nil {
		a.hint(fmt.Sprintf("hotpatch host rebase takes %s in the next window", o.Rebase.Baseline))
	}
}

func repositoryText(r *agent.RepositoryStatus) string {
	text := fmt.Sprintf("%s, channel %s", r.Address, r.Channel)
	if !r.Issued.IsZero() {
		text += fmt.Sprintf(", issued %s", shortTime(r.Issued))
	}
	if !r.Expires.IsZero() {
		text += fmt.Sprintf(", good until %s", shortTime(r.Expires))
	}
	if r.Error != "" {
		text += "; not reached: " + r.Error
	}
	return text
}

func exposureText(x catalog.Exposure) string {
	text := fmt.Sprintf("%s in %s %s: %s", x.CVE, x.Package, x.Version, x.Status)
	if len(x.Processes) > 0 {
		var pids []int
		for _, p := range x.Processes {
			if p.Status == catalog.Exposed || p.Status == catalog.Undetermined {
				pids = append(pids, p.PID)
			}
		}
		if len(pids) > 0 {
			text += ", " + pidList(pids)
		}
	}
	if x.Release != "" {
		text += fmt.Sprintf("; fixed by %s", x.Release)
	}
	return text
}

func dueText(d *catalog.Due) string {
	text := string(d.Action)
	if d.Release != "" {
		text += " " + string(d.Release)
	}
	switch {
	case d.Blocked != "":
		text += fmt.Sprintf(", not done: %s", d.Blocked)
	case d.Window != nil:
		text += fmt.Sprintf(", in the window of %s", shortTime(d.Window.Start))
	default:
		text += ", as soon as possible"
	}
	if len(d.Restarts) > 0 {
		text += "; restarts " + strings.Join(d.Restarts, ", ")
	}
	if !d.Deadline.IsZero() {
		text += "; until " + shortTime(d.Deadline)
	}
	return text + ": " + d.Why
}

func shortTime(t time.Time) string { return t.Local().Format("2006-01-02 15:04") }

func (a *app) hostAssessCmd() *cobra.Command {
	return a.hostVerb("assess", "Look at this host now and say everything",
		`assess refreshes the catalogue, measures what is on disk and in memory, and says
where this host stands, what it is offered and what not, and why. It changes
nothing.`, "  hotpatch host assess\n  hotpatch host assess --json", needs(),
		func(ctx context.Context, c *agent.Client, _ []string, asJSON bool) error {
			var as catalog.Assessment
			if err := c.Post(ctx, "/v1/assess", struct{}{}, &as); err != nil {
				return err
			}
			if asJSON {
				return writeJSON(a.out, as)
			}
			var s agent.Status
			if err := c.Get(ctx, "/v1/status", &s); err != nil {
				return err
			}
			a.printHostStatus(&s)
			a.printOffers(&as)
			return nil
		})
}

func (a *app) printOffers(as *catalog.Assessment) {
	var rows [][]string
	for _, o := range as.Offers {
		rows = append(rows, []string{"offered", string(o.Release), string(o.Kind), plain(o.Why)})
	}
	for _, w := range as.Withheld {
		why := plain(w.Why)
		if w.Instead != "" {
			why += fmt.Sprintf("; %s has the same fix", w.Instead)
		}
		rows = append(rows, []string{"withheld", string(w.Release), string(w.Kind), why})
	}
	if len(rows) > 0 {
		fmt.Fprintln(a.out)
		table(a.out, rows)
	}
}

func (a *app) hostPlanCmd() *cobra.Command {
	return a.hostVerb("plan", "List what will be done here, when and why",
		`plan lists what is due on this host, in the order in which it will be done: when,
inside which window, which restarts that means, and what keeps it from being
done.`, "  hotpatch host plan", needs(),
		func(ctx context.Context, c *agent.Client, _ []string, asJSON bool) error {
			var as catalog.Assessment
			if err := c.Get(ctx, "/v1/assessment", &as); err != nil {
				return err
			}
			if asJSON {
				return writeJSON(a.out, as.Due)
			}
			if len(as.Due) == 0 {
				fmt.Fprintln(a.out, "nothing is due")
			}
			for i := range as.Due {
				fmt.Fprintln(a.out, plain(dueText(&as.Due[i])))
			}
			return nil
		})
}

func (a *app) hostForecastCmd() *cobra.Command {
	return a.hostVerb("forecast", "List the restarts of the next twelve months, with and without enrolment",
		`forecast lists the restarts that are ahead of this host in the next twelve
months as the calendar has them, when it is enrolled and when it is not.
Unplanned baselines are in it from the day they are published.`, "  hotpatch host forecast", needs(),
		func(ctx context.Context, c *agent.Client, _ []string, asJSON bool) error {
			var o catalog.Outlook
			if err := c.Get(ctx, "/v1/forecast", &o); err != nil {
				return err
			}
			if asJSON {
				return writeJSON(a.out, o)
			}
			fmt.Fprintf(a.out, "%s to %s: %s enrolled, %d when updated the ordinary way\n",
				o.From.Format(time.DateOnly), o.To.Format(time.DateOnly), count(len(o.With), "restart"), len(o.Without))
			for _, part := range []struct {
				title string
				all   []catalog.Restart
			}{{"enrolled", o.With}, {"not enrolled", o.Without}} {
				if len(part.all) == 0 {
					continue
				}
				fmt.Fprintf(a.out, "\n%s\n", a.outStyle.bold(part.title))
				var rows [][]string
				for _, r := range part.all {
					when := shortTime(r.At)
					if r.NoWindow {
						when += " (no window)"
					}
					planned := "published"
					if r.Planned {
						planned = "planned"
					}
					rows = append(rows, []string{"  " + when, planned, plain(r.Why)})
				}
				table(a.out, rows)
			}
			return nil
		})
}

func (a *app) hostWhyRestartCmd() *cobra.Command {
	return a.hostVerb("why-restart", "Say in one sentence why this host will restart, or that it will not",
		`why-restart answers in one sentence why this host, or a service on it, will be
restarted next, or that nothing asks for it.`, "  hotpatch host why-restart", needs(),
		func(ctx context.Context, c *agent.Client, _ []string, asJSON bool) error {
			var why map[string]string
			if err := c.Get(ctx, "/v1/why-restart", &why); err != nil {
				return err
			}
			if asJSON {
				return writeJSON(a.out, why)
			}
			fmt.Fprintln(a.out, plain(why["why"]))
			return nil
		})
}

func (a *app) hostHistoryCmd() *cobra.Command {
	var most int
	var runs bool
	cmd := a.hostVerb("history", "List what happened on this host",
		`history lists what the agent did and saw, oldest first; with --runs the pieces of
work with what became of each package and process. Nothing is ever dropped from
it.`, "  hotpatch host history\n  hotpatch host history --runs --most 5 --json", needs(),
		func(ctx context.Context, c *agent.Client, _ []string, asJSON bool) error {
			if most <= 0 {
				return usage("history: --most %d is no number of lines", most)
			}
			if runs {
				return a.hostRuns(ctx, c, most, asJSON)
			}
			var events []agent.Event
			if err := c.Get(ctx, fmt.Sprintf("/v1/history?most=%d", most), &events); err != nil {
				return err
			}
			if asJSON {
				return writeJSON(a.out, events)
			}
			var rows [][]string
			for _, e := range events {
				rows = append(rows, []string{shortTime(e.At), string(e.Kind), plain(e.Text)})
			}
			table(a.out, rows)
			return nil
		})
	cmd.Flags().IntVar(&most, "most", 100, "list the newest `N` at most")
	cmd.Flags().BoolVar(&runs, "runs", false, "list pieces of work instead of events")
	return cmd
}

func (a *app) hostRuns(ctx context.Context, c *agent.Client, most int, asJSON bool) error {
	var runs []catalog.Run
	if err := c.Get(ctx, fmt.Sprintf("/v1/runs?most=%d", most), &runs); err != nil {
		return err
	}
	if asJSON {
		return writeJSON(a.out, runs)
	}
	for _, r := range runs {
		fmt.Fprintf(a.out, "%s  %s  %s, restart %s\n", shortTime(r.Started), a.outStyle.bold(plain(string(r.Release))), r.State, r.Restart)
		var rows [][]string
		for _, i := range r.Items {
			rows = append(rows, []string{"  " + plain(i.Name), string(i.State), plain(i.Reason)})
		}
		table(a.out, rows)
		for _, w := range append(r.Warnings, r.Reason) {
			if w != "" {
				fmt.Fprintf(a.out, "  %s\n", plain(w))
			}
		}
	}
	return nil
}

func (a *app) hostIntentCmd(verb, short string, to catalog.Intent) *cobra.Command {
	return a.hostVerb(verb, short, short+`. It takes effect at once; what the agent is in the
middle of with one process is finished first.`, "  hotpatch host "+verb, needs(),
		func(ctx context.Context, c *agent.Client, _ []string, asJSON bool) error {
			return a.intend(ctx, c, to, asJSON)
		})
}

func (a *app) intend(ctx context.Context, c *agent.Client, to catalog.Intent, asJSON bool) error {
	var e agent.Wanted
	if err := c.Post(ctx, "/v1/enrolment", agent.EnrolRequest{Intent: to}, &e); err != nil {
		return err
	}
	if asJSON {
		return writeJSON(a.out, e)
	}
	already := ""
	if e.Already {
		already = "already "
	}
	fmt.Fprintf(a.out, "%s%s since %s, by %s\n", already, e.Intent, shortTime(e.Since), plain(e.By))
	return nil
}

func (a *app) hostRebaseCmd() *cobra.Command {
	var to string
	cmd := a.hostVerb("rebase", "Take a baseline in the next window, without waiting for its time",
		`rebase asks for the newest baseline (or --to) to be installed in the next
maintenance window, with the one restart that takes, and the latest hotpatch on
top of it. It is the quick way back for a host that left its track.`, "  hotpatch host rebase", needs(),
		func(ctx context.Context, c *agent.Client, _ []string, asJSON bool) error {
			var q agent.RebaseRequest
			if err := c.Post(ctx, "/v1/rebase", agent.RebaseRequest{Baseline: catalog.ReleaseID(to)}, &q); err != nil {
				return err
			}
			if asJSON {
				return writeJSON(a.out, q)
			}
			fmt.Fprintf(a.out, "rebase to %s in the next window\n", plain(string(q.Baseline)))
			return nil
		})
	cmd.Flags().StringVar(&to, "to", "", "the `BASELINE` (default: the newest)")
	return cmd
}

func (a *app) hostAllowCmd() *cobra.Command {
	return a.hostVerb("allow RELEASE", "Let a release come back that did harm here",
		`allow lifts the bar from a release that the agent took back because a patched
process died or a unit failed. The agent will apply it again.`, "  hotpatch host allow 2026-03-hotpatch", needs("RELEASE"),
		func(ctx context.Context, c *agent.Client, args []string, asJSON bool) error {
			var answer struct{}
			if err := c.Post(ctx, "/v1/lift-bar", agent.LiftRequest{Release: catalog.ReleaseID(args[0])}, &answer); err != nil {
				return err
			}
			if asJSON {
				return writeJSON(a.out, agent.LiftRequest{Release: catalog.ReleaseID(args[0])})
			}
			fmt.Fprintf(a.out, "%s may be applied again\n", plain(args[0]))
			return nil
		})
}

func (a *app) hostVEXCmd() *cobra.Command {
	return a.hostVerb("vex", "Write for scanners what is fixed here, in memory too",
		`vex writes an OpenVEX document: for every vulnerability that the catalogue knows,
whether this host is affected, by what runs in memory and not by a version.`,
		"  hotpatch host vex > host.vex.json", needs(),
		func(ctx context.Context, c *agent.Client, _ []string, _ bool) error {
			var v agent.VEX
			if err := c.Get(ctx, "/v1/vex", &v); err != nil {
				return err
			}
			return writeJSON(a.out, v)
		})
}

func (a *app) hostOVALCmd() *cobra.Command {
	return a.hostVerb("oval", "Write which versions are effective here, for scanners that go by versions",
		`oval writes OVAL system characteristics (5.11.1) with every package of this host.
Its version is the effective one: the lowest that any process runs, where a
hotpatch counts as the fixed version; the version on disk where nothing runs it.`,
		"  hotpatch host oval > host.oval.xml", needs(),
		func(ctx context.Context, c *agent.Client, _ []string, _ bool) error {
			return c.Raw(ctx, "/v1/oval", a.out)
		})
}

func (a *app) hostEnrollCmd() *cobra.Command {
	var f agentFlags
	var root, channel string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "enroll [ADDRESS --root FILE]",
		Short: "Put this host on the track of a repository",
		Long: `enroll makes this host a member of the program: it writes the policy if there is
none, keeps the repository's root of trust, and asks the agent to join. The host
is pending until every condition is met and it matches a baseline; host status
names what is in the way. It restarts nothing. A host that is a member already
stays one: the same command again changes nothing.

The root file says whose signatures count. Get it from those who run the
repository, over another way than the repository itself.`,
		Example: `  hotpatch host enroll https://repo.example/debian --root repo-root.json
  hotpatch host enroll`,
		Args: cobra.MaximumNArgs(1),
	}
	f.add(cmd.Flags())
	cmd.Flags().StringVar(&root, "root", "", "the repository's root `FILE`")
	cmd.Flags().StringVar(&channel, "channel", "", "the `CHANNEL` to follow (default: stable)")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the answer as JSON")
	cmd.RunE = a.verb(func(ctx context.Context, args []string) error {
		if len(args) == 1 {
			if root == "" {
				return usage("enroll: --root FILE is needed: it says whose signatures count")
			}
			if err := settle(f.Places, args[0], root, channel); err != nil {
				return err
			}
		} else if root != "" || channel != "" {
			return usage("enroll: --root and --channel belong to an ADDRESS")
		}
		if err := a.asking(ctx, f, func(c *agent.Client) error { return a.intend(ctx, c, catalog.Pending, asJSON) }); err != nil {
			return err
		}
		a.startAgent(ctx, f)
		return nil
	})
	return cmd
}

// settle writes the policy and the root of trust. What is there is kept: a
// policy belongs to its owner, and a root is not replaced in passing.
func settle(p agent.Places, address, root, channel string) error {
	data, err := os.ReadFile(root)
	if err != nil {
		return fmt.Errorf("enroll: %w", err)
	}
	if have, err := os.ReadFile(p.Root()); err == nil && string(have) != string(data) {
		return &exitError{code: exitRefused, err: fmt.Errorf("enroll: this host trusts another root already (%s); nothing was changed", p.Root()),
			hint: "remove that file if you mean to trust another repository"}
	}
	if filepath.Separator == '/' && !strings.Contains(address, "://") {
		if address, err = filepath.Abs(address); err != nil {
			return fmt.Errorf("enroll: %w", err)
		}
	}
	policy := fmt.Sprintf("# What this host's owner decided; see /usr/share/doc/hotpatch/policy.toml.\nrepository = %q\n", address)
	if channel != "" {
		policy += fmt.Sprintf("channel = %q\n", channel)
	}
	if old, err := agent.ReadPolicy(p.Policy()); err == nil {
		if old.Repository != address || channel != "" && old.Channel != channel {
			return &exitError{code: exitRefused, err: fmt.Errorf("enroll: %s names another repository or channel; nothing was changed", p.Policy()),
				hint: "edit that file, then: hotpatch host enroll"}
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	} else if _, err := agent.ParsePolicy([]byte(policy)); err != nil {
		return usage("enroll: %v", err)
	}
	if err := os.MkdirAll(p.Config, 0o755); err != nil {
		return fmt.Errorf("enroll: %w", err)
	}
	if err := writeNew(p.Root(), data); err != nil {
		return fmt.Errorf("enroll: %w", err)
	}
	if err := writeNew(p.Policy(), []byte(policy)); err != nil {
		return fmt.Errorf("enroll: %w", err)
	}
	return nil
}

// writeNew writes a file whole, or leaves one that is there.
func writeNew(path string, data []byte) error {
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), ".new-")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	if _, err = tmp.Write(data); err == nil {
		err = tmp.Chmod(0o644)
	}
	if err == nil {
		err = tmp.Sync()
	}
	if e := tmp.Close(); err == nil {
		err = e
	}
	if err != nil {
		return err
	}
	return os.Rename(tmp.Name(), path)
}
