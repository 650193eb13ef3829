package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"hotpatch/internal/catalog"
	"hotpatch/internal/repo"
)

// repoFlags are what the verbs of repo share.
type repoFlags struct {
	dir, keys, passFile string
	json                bool
}

func (a *app) repoCmd() *cobra.Command {
	f := &repoFlags{}
	cmd := &cobra.Command{
		Use:   "repo [COMMAND]",
		Short: "Publish baselines, hotpatches and the calendar in a signed repository",
		Long: `repo keeps a signed repository (TUF, The Update Framework) in a directory of
plain files. Its subdirectory public/ is what any web server, object store or
CDN serves; hosts verify everything they fetch from it by themselves.

A release goes: add (a draft) → preview → approve → publish (into the first
channel) → promote (to the next) – or recall. Without a command, repo lists
drafts and channels.

Private keys are files encrypted with a passphrase, in a directory of their own
(--keys), which may be on another machine: what a command cannot sign waits for
"hotpatch repo sign". The passphrase comes from --passphrase-file, from the
variable HOTPATCH_PASSPHRASE, or from the terminal.

Exit code 3 says that the rules of publishing forbid it and nothing was
changed, 4 that it waits for signatures.`,
		Example: `  hotpatch repo init --repo /srv/hotpatch --name acme --channels candidate,stable
  hotpatch repo baseline create 2025.10 --from host
  hotpatch repo add 2025.11 redis.hotpatch
  hotpatch repo preview 2025.11
  hotpatch repo approve 2025.11 --by carol --reason "soaked 3 days" --preview 41c0…
  hotpatch repo publish 2025.11
  hotpatch repo promote 2025.11`,
	}
	p := cmd.PersistentFlags()
	p.StringVar(&f.dir, "repo", "", "`DIR` of the repository (default: HOTPATCH_REPO, else the working directory)")
	p.StringVar(&f.keys, "keys", "", "`DIR` of the private keys (default: HOTPATCH_KEYS, else hotpatch/keys in the user's configuration)")
	// Not as defaults of the flags: these are printed in manual pages.
	cmd.PersistentPreRun = func(*cobra.Command, []string) {
		f.dir = cmp.Or(f.dir, os.Getenv("HOTPATCH_REPO"), ".")
		f.keys = cmp.Or(f.keys, os.Getenv("HOTPATCH_KEYS"))
	}
	p.StringVar(&f.passFile, "passphrase-file", "", "read the keys' passphrase from the first line of `FILE`")
	cmd.Flags().BoolVar(&f.json, "json", false, "print the list as JSON")
	cmd.RunE = func(c *cobra.Command, args []string) error {
		if len(args) > 0 {
			return usage("repo: %q is no command", args[0])
		}
		return a.verb(func(context.Context, []string) error { return a.repoList(f) })(c, args)
	}
	for _, c := range []*cobra.Command{
		a.repoInitCmd(f), a.repoBaselineCmd(f), a.repoAddCmd(f), a.repoPreviewCmd(f), a.repoApproveCmd(f), a.repoPublishCmd(f),
		a.repoPromoteCmd(f), a.repoRecallCmd(f), a.repoScopeCmd(f), a.repoDropCmd(f), a.repoCalendarCmd(f), a.repoVerifyCmd(f), a.repoMirrorCmd(f),
		a.repoRefreshCmd(f), a.repoKeyCmd(f), a.repoSignCmd(f),
	} {
		c.DisableFlagsInUseLine = true
		cmd.AddCommand(c)
	}
	return cmd
}

// keysDir is where private keys are kept.
func (f *repoFlags) keysDir() (string, error) {
	if f.keys != "" {
		return f.keys, nil
	}
	dir, err := os.UserConfigDir()
	if err != nil {
		return "", fmt.Errorf("find the keys' directory: %w (or name it with --keys)", err)
	}
	return filepath.Join(dir, "hotpatch", "keys"), nil
}

func (f *repoFlags) openKeys(a *app) (*repo.Keys, error) {
	dir, err := f.keysDir()
	if err != nil {
		return nil, err
	}
	if repo.Is(f.dir) {
		if err := repo.CheckOutside(f.dir, dir); err != nil {
			return nil, err
		}
	}
	return repo.OpenKeys(dir, a.passphrase(f))
}

// open opens the repository for a command that changes it.
func (f *repoFlags) open() (*repo.Repo, error) {
	r, err := repo.Load(f.dir, time.Now)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &exitError{code: exitFailed, err: err, hint: "hotpatch repo init makes a repository; --repo says where one is"}
	}
	return r, err
}

// signing opens repository and keys, does something, and says afterwards what
// expires soon.
func (a *app) signing(f *repoFlags, do func(r *repo.Repo, keys *repo.Keys) error) error {
	r, err := f.open()
	if err != nil {
		return err
	}
	defer r.Close()
	keys, err := f.openKeys(a)
	if err != nil {
		return err
	}
	err = do(r, keys)
	for _, w := range r.Warnings() {
		fmt.Fprintf(a.err, "%s %s\n", a.errStyle.warn("warning:"), plain(w))
	}
	return a.repoError(err, r, keys)
}

// repoError gives an error of repo its exit code and its next step.
func (a *app) repoError(err error, r *repo.Repo, keys *repo.Keys) error {
	var waits *repo.Pending
	switch {
	case err == nil:
		return nil
	case errors.As(err, &waits):
		fmt.Fprintf(a.err, "waits    %s\n", plain(waits.What))
		for _, m := range waits.Missing {
			fmt.Fprintf(a.err, "         %s has %d of %s; any of these can sign: %s\n",
				m.Role, m.Have, count(m.Want, "signature"), strings.Join(keyNames(m.Keys, keys), ", "))
		}
		dir := "DIR"
		if r != nil {
			dir = r.Dir()
		}
		return &exitError{code: exitPartly, hint: fmt.Sprintf("hotpatch repo sign --repo %s with those keys publishes it; --discard gives it up", dir)}
	case errors.Is(err, repo.ErrRefused):
		return &exitError{code: exitRefused, err: err}
	case errors.Is(err, repo.ErrPassphrase):
		return &exitError{code: exitFailed, err: err, hint: "the passphrase comes from --passphrase-file, HOTPATCH_PASSPHRASE or the terminal"}
	default:
		return err
	}
}

// keyNames are keys as their holder calls them, else the beginning of the id.
func keyNames(ids []string, keys *repo.Keys) []string {
	var out []string
	for _, id := range ids {
		name := id
		if len(name) > 12 {
			name = name[:12]
		}
		if keys != nil {
			for _, k := range keys.Public() {
				if k.ID == id {
					name = k.Name
				}
			}
		}
		out = append(out, name)
	}
	return out
}

// passphrase asks where the user said, and remembers the last answer: on the
// terminal an empty line means it again.
func (a *app) passphrase(f *repoFlags) repo.Passphrase {
	last := ""
	return func(key string, confirm bool) (string, error) {
		if f.passFile != "" {
			return firstLine(f.passFile)
		}
		if p := os.Getenv("HOTPATCH_PASSPHRASE"); p != "" {
			return p, nil
		}
		in, ok := a.in.(*os.File)
		if !ok || !term.IsTerminal(int(in.Fd())) {
			return "", errors.New("no passphrase: give --passphrase-file, set HOTPATCH_PASSPHRASE, or use a terminal")
		}
		again := ""
		if last != "" {
			again = " (empty: the same again)"
		}
		p, err := a.ask(in, fmt.Sprintf("passphrase of key %s%s: ", key, again))
		if err != nil {
			return "", err
		}
		if p == "" {
			p = last
		} else if confirm {
			if q, err := a.ask(in, "once more: "); err != nil || q != p {
				return "", errors.Join(err, errors.New("the two differ"))
			}
		}
		last = p
		return p, nil
	}
}

func (a *app) ask(in *os.File, prompt string) (string, error) {
	fmt.Fprint(a.err, prompt)
	p, err := term.ReadPassword(int(in.Fd()))
	fmt.Fprintln(a.err)
	if err != nil {
		return "", fmt.Errorf("read passphrase: %w", err)
	}
	return string(p), nil
}

func firstLine(file string) (string, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("read passphrase: %w", err)
	}
	line, _, _ := strings.Cut(string(data), "\n")
	if line = strings.TrimSuffix(line, "\r"); line == "" {
		return "", fmt.Errorf("read passphrase: %s begins with an empty line", file)
	}
	return line, nil
}

// repoListJSON is the documented shape of `repo --json`.
type repoListJSON struct {
	Name     string            `json:"name"`
	Drafts   []repoRelease     `json:"drafts"`
	Channels []repoChannelJSON `json:"channels"`
	Waiting  string            `json:"waiting"` // what waits for signatures; "": nothing
	Warnings []string          `json:"warnings"`
}

type repoChannelJSON struct {
	Channel  string        `json:"channel"`
	Releases []repoRelease `json:"releases"`
}

type repoRelease struct {
	ID        catalog.ReleaseID `json:"id"`
	Kind      catalog.Kind      `json:"kind"`
	Baseline  catalog.ReleaseID `json:"baseline"`
	State     catalog.LifeState `json:"state"`
	Ring      int               `json:"ring"`
	Available time.Time         `json:"available"`
	Packages  int               `json:"packages"`
	Bundles   int               `json:"bundles"`
	CVEs      []string          `json:"cves"`
	Title     string            `json:"title"`
	By        string            `json:"by"`
	Reason    string            `json:"reason"`
}

func releaseView(r *catalog.Release) repoRelease {
	v := repoRelease{ID: r.ID, Kind: r.Kind, Baseline: r.Baseline, State: r.Life.State, Ring: r.Life.Ring, Available: r.Available,
		Packages: len(r.Artifacts), CVEs: nonNil(r.CVEs()), Title: r.Title, By: r.Life.By, Reason: r.Life.Reason}
	for i := range r.Artifacts {
		if r.Artifacts[i].Bundle != "" {
			v.Bundles++
		}
	}
	return v
}

func (a *app) repoList(f *repoFlags) error {
	r, err := f.open()
	if err != nil {
		return err
	}
	defer r.Close()
	v := repoListJSON{Name: r.Name(), Drafts: []repoRelease{}, Channels: []repoChannelJSON{}, Warnings: nonNil(r.Warnings())}
	drafts, err := r.Drafts()
	if err != nil {
		return err
	}
	for _, d := range drafts {
		v.Drafts = append(v.Drafts, releaseView(d))
	}
	for _, ch := range r.Channels() {
		k, err := r.Catalog(ch)
		if err != nil {
			return err
		}
		c := repoChannelJSON{Channel: ch, Releases: []repoRelease{}}
		for i := range k.Releases {
			c.Releases = append(c.Releases, releaseView(&k.Releases[i]))
		}
		v.Channels = append(v.Channels, c)
	}
	w, err := r.Waiting()
	if err != nil {
		return err
	}
	if w != nil {
		v.Waiting = w.What
	}
	if f.json {
		return writeJSON(a.out, v)
	}
	a.printRepoList(v)
	return nil
}

func (a *app) printRepoList(v repoListJSON) {
	list := func(title string, rs []repoRelease) {
		fmt.Fprintf(a.out, "%s\n", a.outStyle.bold(plain(title)))
		if len(rs) == 0 {
			fmt.Fprintf(a.out, "  %s\n", a.outStyle.dim("nothing"))
		}
		for _, r := range rs {
			state := string(r.State)
			if r.State == catalog.InRing {
				state = fmt.Sprintf("ring %d", r.Ring)
			}
			fmt.Fprintf(a.out, "  %-20s %-9s %-10s %s  %s, %s\n", r.ID, r.Kind, state,
				r.Available.Format(time.DateOnly), count(r.Packages, "package"), count(r.Bundles, "bundle"))
			if r.State == catalog.Recalled {
				fmt.Fprintf(a.out, "  %20s recalled by %s: %s\n", "", plain(r.By), plain(r.Reason))
			}
		}
	}
	list("drafts", v.Drafts)
	for _, c := range v.Channels {
		list("channel "+c.Channel, c.Releases)
	}
	if v.Waiting != "" {
		fmt.Fprintf(a.out, "waits for signatures: %s\n", plain(v.Waiting))
	}
	for _, w := range v.Warnings {
		fmt.Fprintf(a.err, "%s %s\n", a.errStyle.warn("warning:"), plain(w))
	}
}
