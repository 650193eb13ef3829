package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"hotpatch/internal/repo"
)

func (a *app) repoInitCmd(f *repoFlags) *cobra.Command {
	var name string
	var channels, keyFiles, thresholds, lifetimes []string
	var work int
	cmd := &cobra.Command{
		Use:   "init [DIR]",
		Short: "Make a new repository and the keys it lacks",
		Long: `init makes a repository in DIR (or --repo) and publishes it, empty. For every
role it makes as many keys as the role's threshold needs, beside those given
with --key, which are public keys of other holders (NAME.pub, made by
"hotpatch repo key new"). Without the other holders' signatures the repository
waits: see "hotpatch repo sign".

The root file in public/metadata/1.root.json is what hosts have to be given, on
a way that you trust.`,
		Example: `  hotpatch repo init /srv/hotpatch --name acme --channels candidate,stable
  hotpatch repo init /srv/hotpatch --name acme --threshold root=2 --key root=bob.pub --key root=eve.pub`,
		Args: cobra.MaximumNArgs(1),
	}
	fl := cmd.Flags()
	fl.StringVar(&name, "name", "hotpatch", "what it is called: `NAME`")
	fl.StringSliceVar(&channels, "channels", []string{"candidate", "stable"}, "its `CHANNELS`, in the order releases move through them")
	fl.StringArrayVar(&keyFiles, "key", nil, "`ROLE=FILE`: a public key for a role or channel (may be repeated)")
	fl.StringArrayVar(&thresholds, "threshold", nil, "`ROLE=N`: how many keys of a role must sign (default 1)")
	fl.StringArrayVar(&lifetimes, "lifetime", nil, "`ROLE=TIME`: how long its metadata is valid: 365d, 24h; channel is all channels")
	fl.IntVar(&work, "work-factor", repo.DefaultWork, "a guess of a passphrase costs 2^`N` (10 to 20)")
	cmd.RunE = a.verb(func(_ context.Context, args []string) error {
		if len(args) == 1 {
			f.dir = args[0]
		}
		keys, err := f.openKeys(a)
		if err != nil {
			return err
		}
		if err := repo.CheckOutside(f.dir, keys.Dir()); err != nil {
			return err // before a key is made there
		}
		s := repo.Setup{Name: name, Channels: channels, Keys: map[string][]repo.PublicKey{}, Thresholds: map[string]int{}, Lifetime: map[string]string{}}
		for _, ch := range channels {
			if err := repo.CheckChannel(ch); err != nil {
				return usage("init: --channels: %w", err)
			}
		}
		if err := parseSetup(&s, keyFiles, thresholds, lifetimes); err != nil {
			return err
		}
		return a.repoInit(f, s, keys, work)
	})
	return cmd
}

// parseSetup reads the flags that are ROLE=VALUE.
func parseSetup(s *repo.Setup, keyFiles, thresholds, lifetimes []string) error {
	known := append(repoRoles(), s.Channels...)
	each := func(flag string, values []string, roles []string, set func(role, value string) error) error {
		for _, v := range values {
			role, value, ok := strings.Cut(v, "=")
			if !ok || !slices.Contains(roles, role) {
				return usage("init: --%s: %q is not ROLE=VALUE with a role of %s", flag, v, strings.Join(roles, ", "))
			}
			if err := set(role, value); err != nil {
				return usage("init: --%s %s: %w", flag, v, err)
			}
		}
		return nil
	}
	return errors.Join(
		each("key", keyFiles, known, func(role, file string) error {
			k, err := repo.ReadPublicKey(file)
			if err == nil {
				s.Keys[role] = append(s.Keys[role], *k)
			}
			return err
		}),
		each("threshold", thresholds, known, func(role, n string) (err error) {
			if s.Thresholds[role], err = strconv.Atoi(n); err == nil && (s.Thresholds[role] < 1 || s.Thresholds[role] > 32) {
				err = errors.New("not 1 to 32")
			}
			return err
		}),
		each("lifetime", lifetimes, append(repoRoles(), "channel"), func(role, t string) error {
			s.Lifetime[role] = t
			_, err := repo.ParseLifetime(t)
			return err
		}),
	)
}

func repoRoles() []string { return []string{repo.Root, repo.Targets, repo.Snapshot, repo.Timestamp} }

// repoInit makes the missing keys, then the repository.
func (a *app) repoInit(f *repoFlags, s repo.Setup, keys *repo.Keys, work int) error {
	for _, role := range append(repoRoles(), s.Channels...) {
		want := max(1, s.Thresholds[role]) - len(s.Keys[role])
		for n := 1; n <= want; n++ {
			name := role
			if want > 1 {
				name = fmt.Sprintf("%s-%d", role, n)
			}
			k := find(keys, name)
			if k == nil {
				var err error
				if k, err = keys.Generate(name, work); err != nil {
					return a.repoError(err, nil, keys)
				}
				fmt.Fprintf(a.err, "key      %s in %s\n", name, keys.Dir())
			}
			s.Keys[role] = append(s.Keys[role], *k)
		}
	}
	r, err := repo.Create(f.dir, s, keys, time.Now)
	if r == nil {
		return a.repoError(err, nil, keys)
	}
	defer r.Close()
	if err != nil {
		return a.repoError(err, r, keys)
	}
	fmt.Fprintf(a.out, "created  %s with channels %s\n", r.Dir(), strings.Join(r.Channels(), ", "))
	fmt.Fprintf(a.out, "serve    %s\n", r.Public())
	fmt.Fprintf(a.out, "trust    %s\n", r.FirstRoot())
	a.hint("move the keys of root and targets to where only their holders are; hotpatch repo refresh has to run before the timestamp expires")
	return nil
}

// find is a key by its name in the directory.
func find(keys *repo.Keys, name string) *repo.PublicKey {
	for _, k := range keys.Public() {
		if k.Name == name {
			return &k
		}
	}
	return nil
}

func (a *app) repoKeyCmd(f *repoFlags) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "key COMMAND",
		Short: "Make keys, and say who may sign",
		Long: `key makes keys and changes whose keys count. Adding, rotating and revoking makes
a new root (for root, targets, snapshot, timestamp) or new top-level targets (for
a channel), which the holders of those keys have to sign.`,
		Example: `  hotpatch repo key new bob
  hotpatch repo key add root bob.pub --threshold 2
  hotpatch repo key rotate timestamp timestamp timestamp-2026
  hotpatch repo key revoke root 3f5a90c1`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usage("key: %q is no command", args[0])
			}
			cmd.SetOut(a.err)
			_ = cmd.Help() // to stderr: nothing was asked
			return &exitError{code: exitUsage}
		},
	}
	var work, threshold int
	newCmd := &cobra.Command{
		Use: "new NAME", Short: "Make a key pair", Args: needs("NAME"),
		Long: `new makes NAME.key, encrypted with a passphrase, and NAME.pub, which may be given
to anybody, in the directory of the keys.`,
		Example: `  hotpatch repo key new bob --keys ~/hotpatch-keys`,
	}
	newCmd.Flags().IntVar(&work, "work-factor", repo.DefaultWork, "a guess of the passphrase costs 2^`N` (10 to 20)")
	newCmd.RunE = a.verb(func(_ context.Context, args []string) error {
		keys, err := f.openKeys(a)
		if err != nil {
			return err
		}
		k, err := keys.Generate(args[0], work)
		if err != nil {
			return a.repoError(err, nil, keys)
		}
		fmt.Fprintf(a.out, "%s  %s\n", k.ID, k.Name)
		return nil
	})
	var asJSON bool
	list := &cobra.Command{
		Use: "list", Short: "Say who may sign what", Args: cobra.NoArgs, Example: `  hotpatch repo key list`,
		RunE: a.verb(func(context.Context, []string) error { return a.repoKeyList(f, asJSON) }),
	}
	list.Flags().BoolVar(&asJSON, "json", false, "print as JSON")
	edit := func(use, short, example string, args cobra.PositionalArgs, body func(e *repo.KeyEdit, r *repo.Repo, keys *repo.Keys, args []string) error) *cobra.Command {
		c := &cobra.Command{Use: use, Short: short, Example: example, Args: args}
		c.Flags().IntVar(&threshold, "threshold", 0, "from now on `N` keys of the role must sign")
		c.RunE = a.verb(func(_ context.Context, args []string) error {
			return a.signing(f, func(r *repo.Repo, keys *repo.Keys) error {
				e := repo.KeyEdit{Role: args[0], Threshold: threshold}
				if err := body(&e, r, keys, args); err != nil {
					return err
				}
				if err := r.EditKeys(e, keys); err != nil {
					return err
				}
				fmt.Fprintf(a.out, "changed  the keys of %s\n", e.Role)
				return nil
			})
		})
		return c
	}
	for _, c := range []*cobra.Command{
		newCmd, list,
		edit("add ROLE KEY", "Let a key sign for a role", `  hotpatch repo key add root bob.pub --threshold 2`, needs("ROLE", "KEY"),
			func(e *repo.KeyEdit, _ *repo.Repo, keys *repo.Keys, args []string) error {
				return addKey(e, keys, args[1])
			}),
		edit("revoke ROLE KEY", "Let a key sign no longer", `  hotpatch repo key revoke root bob`, needs("ROLE", "KEY"),
			func(e *repo.KeyEdit, r *repo.Repo, keys *repo.Keys, args []string) error {
				return revokeKey(e, r, keys, args[1])
			}),
		edit("rotate ROLE OLD NEW", "Replace a key of a role by another, in one step", `  hotpatch repo key rotate timestamp timestamp timestamp-2026`, needs("ROLE", "OLD", "NEW"),
			func(e *repo.KeyEdit, r *repo.Repo, keys *repo.Keys, args []string) error {
				return errors.Join(revokeKey(e, r, keys, args[1]), addKey(e, keys, args[2]))
			}),
	} {
		c.DisableFlagsInUseLine = true
		cmd.AddCommand(c)
	}
	return cmd
}

// addKey takes a NAME.pub file, or a name in the directory of the keys.
func addKey(e *repo.KeyEdit, keys *repo.Keys, name string) error {
	k := find(keys, name)
	if k == nil {
		var err error
		if k, err = repo.ReadPublicKey(name); err != nil {
			return err
		}
	}
	e.Add = append(e.Add, *k)
	return nil
}

// revokeKey takes a NAME.pub file, a name in the directory of the keys, or the
// beginning of an id.
func revokeKey(e *repo.KeyEdit, r *repo.Repo, keys *repo.Keys, name string) error {
	if strings.HasSuffix(name, ".pub") {
		k, err := repo.ReadPublicKey(name)
		if err != nil {
			return err
		}
		name = k.ID
	}
	id, err := r.FindKey(e.Role, name, keys)
	if err != nil {
		return err
	}
	e.Revoke = append(e.Revoke, id)
	return nil
}

func (a *app) repoKeyList(f *repoFlags, asJSON bool) error {
	r, err := f.open()
	if err != nil {
		return err
	}
	defer r.Close()
	keys, err := f.openKeys(a)
	if err != nil {
		return err
	}
	roles := r.RoleKeys()
	for i := range roles {
		for j := range roles[i].Keys {
			roles[i].Keys[j].Name = keyNames([]string{roles[i].Keys[j].ID}, keys)[0]
		}
	}
	if asJSON {
		return writeJSON(a.out, nonNil(roles))
	}
	for _, role := range roles {
		fmt.Fprintf(a.out, "%-12s %d of %d\n", role.Role, role.Threshold, len(role.Keys))
		for _, k := range role.Keys {
			fmt.Fprintf(a.out, "  %s  %s\n", k.ID[:min(16, len(k.ID))], plain(k.Name))
		}
	}
	return nil
}

func (a *app) repoSignCmd(f *repoFlags) *cobra.Command {
	var from []string
	var discard bool
	cmd := &cobra.Command{
		Use:   "sign [FILE]",
		Short: "Add signatures to a change that waits for them, and publish it",
		Long: `sign adds the signatures of the keys at hand to the change that waits, and
publishes it once every role has enough. Holders who do not have the repository
sign a copy of a file in its pending/ directory (FILE) and hand it back, where
--from takes over its signatures.`,
		Example: `  hotpatch repo sign --keys /media/usb/keys
  hotpatch repo sign root.json --keys ~/keys
  hotpatch repo sign --from root.json
  hotpatch repo sign --discard`,
		Args: cobra.MaximumNArgs(1),
	}
	cmd.Flags().StringArrayVar(&from, "from", nil, "take over the signatures of this copy of a pending `FILE`")
	cmd.Flags().BoolVar(&discard, "discard", false, "give up the change that waits")
	cmd.RunE = a.verb(func(_ context.Context, args []string) error {
		if len(args) == 1 {
			keys, err := f.openKeys(a)
			if err != nil {
				return err
			}
			n, err := repo.SignFile(args[0], keys)
			if err != nil {
				return a.repoError(err, nil, keys)
			}
			if n == 0 {
				return &exitError{code: exitRefused, err: fmt.Errorf("sign %s: no key here that has not signed it", args[0])}
			}
			fmt.Fprintf(a.out, "signed   %s, %s added\n", args[0], count(n, "signature"))
			return nil
		}
		return a.signing(f, func(r *repo.Repo, keys *repo.Keys) error {
			if discard {
				what, err := r.Discard()
				if err == nil {
					fmt.Fprintf(a.out, "discarded %s\n", plain(what))
				}
				return err
			}
			for _, file := range from {
				n, err := r.Import(file)
				if err != nil {
					return err
				}
				fmt.Fprintf(a.err, "took     %s of %s\n", count(n, "signature"), file)
			}
			what, err := r.Sign(keys)
			if err == nil {
				fmt.Fprintf(a.out, "done     %s\n", plain(what))
			}
			return err
		})
	})
	return cmd
}

func (a *app) repoRefreshCmd(f *repoFlags) *cobra.Command {
	var roles []string
	cmd := &cobra.Command{
		Use:   "refresh",
		Short: "Renew the timestamp, before it expires",
		Long: `refresh signs a new timestamp, and a new snapshot once half of its life is over.
Run it from a timer, several times as often as the timestamp lives: hosts take
an expired one for an attack. With --role it renews roles whose keys are
offline.`,
		Example: `  hotpatch repo refresh --repo /srv/hotpatch --passphrase-file /etc/hotpatch/online
  hotpatch repo refresh --role targets,stable`,
		Args: cobra.NoArgs,
	}
	cmd.Flags().StringSliceVar(&roles, "role", nil, "also renew these `ROLES` or channels")
	cmd.RunE = a.verb(func(context.Context, []string) error {
		return a.signing(f, func(r *repo.Repo, keys *repo.Keys) error {
			if err := func() error {
				if len(roles) > 0 {
					return r.Renew(roles, keys)
				}
				return r.Refresh(keys)
			}(); err != nil {
				return err
			}
			for _, e := range r.Expiries() {
				fmt.Fprintf(a.out, "%-12s valid until %s\n", e.Role, e.Expires.UTC().Format(time.DateTime))
			}
			return nil
		})
	})
	return cmd
}
