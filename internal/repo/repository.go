package repo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"
)

// Settings are what those who publish agreed on. They are not signed and not
// served: what binds clients is in the metadata.
type Settings struct {
	Format   int               `json:"format"` // 1
	Name     string            `json:"name"`
	Lifetime map[string]string `json:"lifetime"` // of new metadata by role, "channel" for all channels: "365d", "24h"
}

const (
	settingsFile   = "repo.json"
	settingsFormat = 1
	maxSettings    = 64 << 10
	channelKey     = "channel" // in Settings.Lifetime
)

// defaultLifetime is long where keys are offline and short where they are not.
// The timestamp's bounds how long a freeze can go unnoticed.
func defaultLifetime(role string) time.Duration {
	const day = 24 * time.Hour
	switch role {
	case Root:
		return 365 * day
	case Targets:
		return 180 * day
	case Snapshot:
		return 14 * day
	case Timestamp:
		return day
	default:
		return 90 * day
	}
}

// ParseLifetime reads a duration that may be in days: "90d", "36h".
func ParseLifetime(text string) (time.Duration, error) {
	var d time.Duration
	var err error
	if days, ok := strings.CutSuffix(text, "d"); ok {
		var n int
		if _, err = fmt.Sscanf(days+"\n", "%d\n", &n); err == nil && n < 10000 {
			d = time.Duration(n) * 24 * time.Hour
		}
	} else {
		d, err = time.ParseDuration(text)
	}
	if err != nil || d < time.Minute || d > 10*366*24*time.Hour {
		return 0, fmt.Errorf("lifetime %.40q: not like 24h or 90d, from a minute to ten years", text)
	}
	return d, nil
}

func (s *Settings) lifetime(role string) time.Duration {
	key := role
	switch role {
	case Root, Targets, Snapshot, Timestamp:
	default:
		key = channelKey
	}
	if d, err := ParseLifetime(s.Lifetime[key]); err == nil {
		return d
	}
	return defaultLifetime(role)
}

func decodeSettings(data []byte) (*Settings, error) {
	var s Settings
	if err := json.Unmarshal(data, &s); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if s.Format != settingsFormat {
		return nil, fmt.Errorf("%w: format: %d, not %d", ErrMalformed, s.Format, settingsFormat)
	}
	if !isPart(s.Name) {
		return nil, fmt.Errorf("%w: name: %.40q", ErrMalformed, s.Name)
	}
	for role, text := range s.Lifetime {
		if !slices.Contains([]string{Root, Targets, Snapshot, Timestamp, channelKey}, role) {
			return nil, fmt.Errorf("%w: lifetime.%.40s: no such role", ErrMalformed, role)
		}
		if _, err := ParseLifetime(text); err != nil {
			return nil, fmt.Errorf("%w: lifetime.%s: %w", ErrMalformed, role, err)
		}
	}
	return &s, nil
}

// Repo is a repository as those who publish have it. It holds the directory's
// lock until Close.
type Repo struct {
	dir      string
	now      func() time.Time
	settings Settings
	t        *trust // nil: not even the first root has all its signatures
	unlock   func()

	// step is called before each file appears under its final name. Tests
	// crash there.
	step func(name string) error
}

// Setup is how a repository begins.
type Setup struct {
	Name       string
	Channels   []string               // in the order releases move through them
	Keys       map[string][]PublicKey // by role or channel
	Thresholds map[string]int         // by role or channel; 1 when absent
	Lifetime   map[string]string      // see Settings
}

// Create makes a repository in a directory that has none, and publishes it
// empty if the keys suffice; otherwise it returns a *Pending.
func Create(dir string, s Setup, keys *Keys, now func() time.Time) (*Repo, error) {
	r, err := create(dir, s, keys, now)
	if p := (*Pending)(nil); err != nil && !errors.As(err, &p) {
		return nil, fmt.Errorf("create repository: %w", err)
	}
	return r, err
}

func create(dir string, s Setup, keys *Keys, now func() time.Time) (*Repo, error) {
	if len(s.Channels) == 0 || len(s.Channels) > maxChannels {
		return nil, fmt.Errorf("%d channels, not 1 to %d", len(s.Channels), maxChannels)
	}
	if err := CheckOutside(dir, keys.Dir()); err != nil {
		return nil, err
	}
	set := Settings{Format: settingsFormat, Name: s.Name, Lifetime: map[string]string{}}
	for _, role := range []string{Root, Targets, channelKey, Snapshot, Timestamp} {
		set.Lifetime[role] = lifetimeText(defaultLifetime(role))
	}
	for role, text := range s.Lifetime {
		set.Lifetime[role] = text
	}
	data, err := json.MarshalIndent(set, "", "  ")
	if err != nil {
		return nil, err
	}
	if _, err := decodeSettings(data); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	unlock, err := lockDir(dir)
	if err != nil {
		return nil, err
	}
	r := &Repo{dir: dir, now: now, settings: set, unlock: unlock}
	if err := r.create(s, append(data, '\n'), keys); err != nil {
		if p := (*Pending)(nil); errors.As(err, &p) {
			return r, err
		}
		r.Close()
		return nil, err
	}
	return r, nil
}

func lifetimeText(d time.Duration) string {
	if d >= 48*time.Hour && d%(24*time.Hour) == 0 {
		return fmt.Sprintf("%dd", d/(24*time.Hour))
	}
	return strings.TrimSuffix(strings.TrimSuffix(d.String(), "0s"), "0m")
}

func (r *Repo) create(s Setup, settings []byte, keys *Keys) error {
	for _, name := range []string{settingsFile, publicDir, pendingDir} {
		if _, err := os.Lstat(r.path(name)); !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%s is there already", r.path(name))
		}
	}
	root := metadata.Root()
	root.Signed.Version = 0 // stage makes it 1
	for _, role := range metadata.TOP_LEVEL_ROLE_NAMES {
		for _, k := range s.Keys[role] {
			if err := root.Signed.AddKey(cloneKey(k.Key), role); err != nil {
				return err
			}
		}
		root.Signed.Roles[role].Threshold = max(1, s.Thresholds[role])
	}
	top := metadata.Targets()
	top.Signed.Version = 0
	top.Signed.Delegations = &metadata.Delegations{Keys: map[string]*metadata.Key{}}
	c := &change{what: "create the repository", root: root, targets: map[string]*targetsMeta{Targets: top}}
	for _, ch := range s.Channels {
		if err := CheckChannel(ch); err != nil {
			return err
		}
		d := metadata.DelegatedRole{Name: ch, KeyIDs: []string{}, Threshold: max(1, s.Thresholds[ch]), Terminating: true, Paths: delegatedPaths(ch)}
		top.Signed.Delegations.Roles = append(top.Signed.Delegations.Roles, d)
		for _, k := range s.Keys[ch] {
			if err := top.Signed.AddKey(cloneKey(k.Key), ch); err != nil {
				return err
			}
		}
		m := metadata.Targets()
		m.Signed.Version = 0
		c.targets[ch] = m
	}
	if err := writeFile(r.path(settingsFile), settings, 0o644); err != nil {
		return err
	}
	err := r.commit(c, keys)
	if p := (*Pending)(nil); err != nil && !errors.As(err, &p) {
		return errors.Join(err, removed(r.path(settingsFile)))
	}
	return err
}

// cloneKey is a copy without the id that go-tuf keeps inside.
func cloneKey(k *metadata.Key) *metadata.Key {
	return &metadata.Key{Type: k.Type, Scheme: k.Scheme, Value: metadata.KeyVal{PublicKey: k.Value.PublicKey}}
}

// Is says whether there is a repository in dir.
func Is(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, settingsFile))
	return err == nil
}

// CheckOutside wants that keys is not inside dir: one upload of the wrong
// directory would publish them.
func CheckOutside(dir, keys string) error {
	d, err := resolved(dir)
	if err != nil {
		return err
	}
	k, err := resolved(keys)
	if err != nil {
		return err
	}
	if rel, err := filepath.Rel(d, k); err == nil && rel != ".." && !strings.HasPrefix(rel, "../") {
		return fmt.Errorf("keys in %s: that is inside the repository %s", keys, dir)
	}
	return nil
}

// resolved is an absolute path without links, as far as it exists.
func resolved(path string) (string, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	rest := ""
	for at := abs; ; at = filepath.Dir(at) {
		real, err := filepath.EvalSymlinks(at)
		if err == nil {
			return filepath.Join(real, rest), nil
		}
		if !errors.Is(err, fs.ErrNotExist) || at == "/" {
			return "", err
		}
		rest = filepath.Join(filepath.Base(at), rest)
	}
}

// Load opens a repository for publishing. What a command that was killed left
// behind is finished or cleared away first. Everything that is there is
// verified as clients do, but may have expired: this is where it is renewed.
func Load(dir string, now func() time.Time) (*Repo, error) {
	r, err := load(dir, now)
	if err != nil {
		return nil, fmt.Errorf("open repository %s: %w", dir, err)
	}
	return r, nil
}

func load(dir string, now func() time.Time) (_ *Repo, err error) {
	f, err := os.Open(filepath.Join(dir, settingsFile))
	if err != nil {
		return nil, err
	}
	data, err := readBounded(f, maxSettings)
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	set, err := decodeSettings(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", settingsFile, err)
	}
	unlock, err := lockDir(dir)
	if err != nil {
		return nil, err
	}
	r := &Repo{dir: dir, now: now, settings: *set, unlock: unlock}
	if err := r.recover(); err != nil {
		r.Close()
		return nil, err
	}
	if err := r.reload(); err != nil {
		r.Close()
		return nil, err
	}
	return r, nil
}

// Close releases the repository.
func (r *Repo) Close() {
	if r.unlock != nil {
		r.unlock()
		r.unlock = nil
	}
}

// Dir is the repository's directory, Public the one to be served.
func (r *Repo) Dir() string    { return r.dir }
func (r *Repo) Public() string { return r.path(publicDir) }

// Name is what the repository is called.
func (r *Repo) Name() string { return r.settings.Name }

func (r *Repo) path(parts ...string) string {
	return filepath.Join(append([]string{r.dir}, parts...)...)
}

func (r *Repo) public(name string) string { return r.path(publicDir, filepath.FromSlash(name)) }

// reload verifies what is published. Time zero: nothing is expired.
func (r *Repo) reload() error {
	r.t = nil
	first, err := os.ReadFile(r.public(metadataPath(Root, 1)))
	if errors.Is(err, fs.ErrNotExist) {
		return nil // waits for the signatures of its first root
	}
	if err != nil {
		return err
	}
	src, err := newDirSource(r.path(publicDir))
	if err != nil {
		return err
	}
	t, err := readTrust(context.Background(), src, first, time.Time{})
	if err != nil {
		return err
	}
	r.t = t
	return nil
}

// readTrust verifies a whole repository from one root on, without a cache.
func readTrust(ctx context.Context, src source, root []byte, now time.Time) (*trust, error) {
	t, err := newTrust(root, now)
	if err != nil {
		return nil, err
	}
	get := func(role, file string, limit int64, update func([]byte) error) error {
		data, err := fetchBytes(ctx, src, file, limit)
		if err != nil {
			return &RoleError{role, file, err}
		}
		return update(data)
	}
	for range maxRoots {
		err := get(Root, metadataPath(Root, t.rootVersion()+1), maxRoot, t.updateRoot)
		if errors.Is(err, ErrNotFound) {
			break
		}
		if err != nil {
			return nil, err
		}
	}
	err = get(Timestamp, metadataPath(Timestamp, 0), maxTimestamp, func(b []byte) error { return t.updateTimestamp(b, false) })
	if err != nil {
		return nil, err
	}
	want := t.want(Snapshot)
	err = get(Snapshot, metadataPath(Snapshot, want.Version), want.Length, func(b []byte) error { return t.updateSnapshot(b, false) })
	if err != nil {
		return nil, err
	}
	targets := func(role string) error {
		want := t.want(role)
		if want == nil {
			return &RoleError{role, metadataPath(role, 0), fmt.Errorf("%w: the snapshot does not list it", ErrNotFound)}
		}
		return get(role, metadataPath(role, want.Version), want.Length, func(b []byte) error { return t.updateTargets(role, b) })
	}
	if err := targets(Targets); err != nil {
		return nil, err
	}
	for _, ch := range t.channels() {
		if err := targets(ch); err != nil {
			return nil, err
		}
	}
	return t, nil
}

// Channels are in the order releases move through them.
func (r *Repo) Channels() []string {
	if r.t == nil {
		return nil
	}
	return r.t.channels()
}

// Warnings says which metadata expired or soon will.
func (r *Repo) Warnings() []string {
	if r.t == nil {
		return nil
	}
	return warnings(r.t.expiries(), r.now(), r.settings.lifetime)
}

// Expiries is when each role's metadata expires, the soonest first.
func (r *Repo) Expiries() []Expiry {
	if r.t == nil {
		return nil
	}
	return r.t.expiries()
}

// FirstRoot is the root file that clients can start from: every later one is
// reached from it.
func (r *Repo) FirstRoot() string { return r.public(metadataPath(Root, 1)) }
