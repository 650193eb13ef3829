package repo

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"
)

// Client reads a repository. It trusts the root file it was given and what
// that root signed, and remembers in its cache directory the newest state it
// has seen, so that an older one is refused.
//
// Every method may be called from several goroutines; refreshes follow one
// another, also across processes that share the cache.
type Client struct {
	// Stall is how long a download may go without progress (DefaultStall).
	// Set it before the first call.
	Stall time.Duration

	where  string
	anchor []byte // the root that was given
	cache  string
	now    func() time.Time

	refreshing sync.Mutex
	mu         sync.Mutex
	src        source
	state      *trust // nil until Refresh or Load
}

// Open prepares to read the repository at where: an http, https or file URL, or
// a directory (a repository or a mirror of one). root is a root.json that is
// trusted because its holder vouched for it. cache is a directory of the
// client's own. now is the clock that expiry is judged by. Nothing is read yet.
func Open(where string, root []byte, cache string, now func() time.Time) (*Client, error) {
	if cache == "" || now == nil {
		return nil, errors.New("open repository: no cache directory or no clock given")
	}
	if _, err := newTrust(root, now()); err != nil {
		return nil, fmt.Errorf("open repository: %w", err)
	}
	c := &Client{Stall: DefaultStall, where: where, anchor: root, cache: cache, now: now}
	if err := os.MkdirAll(c.cachePath(), 0o700); err != nil {
		return nil, fmt.Errorf("open repository: %w", err)
	}
	return c, nil
}

// String is where the repository is.
func (c *Client) String() string { return c.where }

func (c *Client) cachePath(parts ...string) string {
	return filepath.Join(append([]string{c.cache, metadataDir}, parts...)...)
}

// source opens the repository on first use, so that what is cached can be used
// while it is away.
func (c *Client) source() (source, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.src == nil {
		src, err := newSource(c.where, c.Stall)
		if err != nil {
			return nil, err
		}
		c.src = src
	}
	return c.src, nil
}

// Refresh fetches the newest metadata and verifies all of it (TUF §5.3 to
// §5.6): the top-level roles and the named channels, without names all. On an
// error the client keeps the state it had.
func (c *Client) Refresh(ctx context.Context, channels ...string) error {
	c.refreshing.Lock()
	defer c.refreshing.Unlock()
	src, err := c.source()
	if err != nil {
		return err
	}
	unlock, err := waitDir(ctx, c.cache)
	if err != nil {
		return fmt.Errorf("refresh: %w", err)
	}
	defer unlock()
	r := refresh{c: c, ctx: ctx, src: src}
	if err := r.run(channels); err != nil {
		return fmt.Errorf("refresh from %s: %w", src, err)
	}
	c.mu.Lock()
	c.state = r.t
	c.mu.Unlock()
	c.tidy(r.t)
	return nil
}

// tidy removes the documents of earlier states from the cache. It is only
// tidying: what cannot be removed stays.
func (c *Client) tidy(t *trust) {
	keep := map[string]bool{}
	for _, m := range t.set.Targets {
		for _, f := range m.Signed.Targets {
			keep[f.Hashes["sha256"].String()] = true
		}
	}
	entries, err := os.ReadDir(filepath.Join(c.cache, documentsDir))
	if err != nil {
		return
	}
	for _, e := range entries {
		if !keep[e.Name()] && !strings.HasPrefix(e.Name(), tempPrefix) {
			_ = os.Remove(filepath.Join(c.cache, documentsDir, e.Name()))
		}
	}
}

// Load takes the state of the last refresh from the cache, verified and not
// expired, without asking the repository.
func (c *Client) Load(channels ...string) error {
	c.refreshing.Lock()
	defer c.refreshing.Unlock()
	r := refresh{c: c}
	if err := r.run(channels); err != nil {
		return fmt.Errorf("load cached metadata: %w", err)
	}
	c.mu.Lock()
	c.state = r.t
	c.mu.Unlock()
	return nil
}

// current is the verified state, checked again for expiry.
func (c *Client) current(channels ...string) (*trust, error) {
	c.mu.Lock()
	t := c.state
	c.mu.Unlock()
	if t == nil {
		return nil, errors.New("repository was not refreshed yet")
	}
	for _, ch := range channels {
		if t.set.Targets[ch] == nil {
			return nil, fmt.Errorf("channel %s: %w", ch, ErrNotTarget)
		}
	}
	if err := t.checkFresh(c.now(), channels...); err != nil {
		return nil, err
	}
	return t, nil
}

// refresh is one run of the client workflow. Without a source it is confined
// to the cache.
type refresh struct {
	c   *Client
	ctx context.Context //nolint:containedctx // lives as long as the call
	src source
	t   *trust
}

func (r *refresh) run(channels []string) error {
	t, err := newTrust(r.c.anchor, r.c.now()) // §5.2, and §5.3.1: one time for all expiry checks
	if err != nil {
		return err
	}
	r.t = t
	steps := []func() error{r.roots, r.timestamp, r.snapshot, func() error { return r.targets(Targets) }}
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	if len(channels) == 0 {
		channels = t.channels()
	}
	for _, ch := range channels {
		if !slices.Contains(t.channels(), ch) {
			return fmt.Errorf("channel %s: %w (there are: %s)", ch, ErrNotTarget, strings.Join(t.channels(), ", "))
		}
		if err := r.targets(ch); err != nil {
			return err
		}
	}
	return nil
}

// roots is TUF §5.3. The chain that earlier runs saw is kept and gone through
// first: whoever holds back a new root cannot undo one that was seen.
func (r *refresh) roots() error {
	if err := r.cachedRoots(); err != nil {
		return err
	}
	for n := 0; r.src != nil; n++ {
		if n == maxRoots {
			return &RoleError{Root, metadataPath(Root, r.t.rootVersion()+1), fmt.Errorf("%w: more than %d new versions", ErrTooLarge, maxRoots)}
		}
		next := r.t.rootVersion() + 1
		data, err := fetchBytes(r.ctx, r.src, metadataPath(Root, next), maxRoot)
		if errors.Is(err, ErrNotFound) {
			break // §5.3.3: this one is the newest
		}
		if err != nil {
			return &RoleError{Root, metadataPath(Root, next), err}
		}
		timestampKeys, snapshotKeys := r.t.keysOf(Timestamp), r.t.keysOf(Snapshot)
		if err := r.t.updateRoot(data); err != nil {
			return err
		}
		// §5.3.11: recover from a fast-forward by keys that were replaced.
		// Before the root is kept: a run cut short here does it again.
		if !slices.Equal(timestampKeys, r.t.keysOf(Timestamp)) || !slices.Equal(snapshotKeys, r.t.keysOf(Snapshot)) {
			if err := errors.Join(removed(r.c.cachePath("timestamp.json")), removed(r.c.cachePath("snapshot.json"))); err != nil {
				return err
			}
		}
		if err := r.keep(fmt.Sprintf("%d.root.json", next), data); err != nil {
			return err
		}
	}
	return r.t.checkRootExpiry()
}

func (r *refresh) cachedRoots() error {
	for {
		name := fmt.Sprintf("%d.root.json", r.t.rootVersion()+1)
		data, err := r.cached(name)
		if err != nil {
			return err
		}
		if data == nil {
			return nil
		}
		if r.t.updateRoot(data) != nil {
			// Of another repository, or damaged: the repository has it too.
			return removed(r.c.cachePath(name))
		}
	}
}

// cached reads a file of an earlier run; nil when there is none.
func (r *refresh) cached(name string) ([]byte, error) {
	f, err := os.Open(r.c.cachePath(name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read cache: %w", err)
	}
	defer f.Close()
	data, err := readBounded(f, maxTargets)
	if err != nil {
		return nil, fmt.Errorf("read cache %s: %w", f.Name(), err)
	}
	return data, nil
}

func (r *refresh) keep(name string, data []byte) error {
	if err := writeFile(r.c.cachePath(name), data, 0o600); err != nil {
		return fmt.Errorf("write cache: %w", err)
	}
	return nil
}

// timestamp is TUF §5.4.
func (r *refresh) timestamp() error {
	data, err := r.cached("timestamp.json")
	if err != nil {
		return err
	}
	if data != nil {
		// What cannot be verified (its key was replaced, say) protects from
		// nothing and is ignored, unless it is all there is.
		if err := r.t.updateTimestamp(data, r.src != nil); err != nil && r.src == nil {
			return err
		}
	}
	if r.src == nil {
		if data == nil {
			return &RoleError{Timestamp, metadataPath(Timestamp, 0), ErrNotFound}
		}
		return nil
	}
	data, err = fetchBytes(r.ctx, r.src, metadataPath(Timestamp, 0), maxTimestamp)
	if err != nil {
		return &RoleError{Timestamp, metadataPath(Timestamp, 0), err}
	}
	before := r.t.set.Timestamp
	if err := r.t.updateTimestamp(data, false); err != nil {
		return err
	}
	if r.t.set.Timestamp == before {
		return nil
	}
	return r.keep("timestamp.json", data)
}

// snapshot is TUF §5.5.
func (r *refresh) snapshot() error {
	data, err := r.cached("snapshot.json")
	if err != nil {
		return err
	}
	if data != nil && r.t.updateSnapshot(data, true) == nil {
		return nil // the one the timestamp names
	}
	file := metadataPath(Snapshot, r.t.want(Snapshot).Version)
	if r.src == nil {
		return &RoleError{Snapshot, file, ErrNotFound}
	}
	data, err = fetchBytes(r.ctx, r.src, file, r.t.want(Snapshot).Length)
	if err != nil {
		return &RoleError{Snapshot, file, err}
	}
	if err := r.t.updateSnapshot(data, false); err != nil {
		return err
	}
	return r.keep("snapshot.json", data)
}

// targets is TUF §5.6 for the top-level role or a channel.
func (r *refresh) targets(role string) error {
	meta := r.t.want(role)
	if meta == nil {
		return &RoleError{role, metadataPath(role, 0), fmt.Errorf("%w: the snapshot does not list it", ErrNotFound)}
	}
	name, file := role+".json", metadataPath(role, meta.Version)
	data, err := r.cached(name)
	if err != nil {
		return err
	}
	if data != nil {
		err := r.t.updateTargets(role, data)
		if err == nil || r.src == nil {
			return err
		}
	}
	if r.src == nil {
		return &RoleError{role, file, ErrNotFound}
	}
	if data, err = fetchBytes(r.ctx, r.src, file, meta.Length); err != nil {
		return &RoleError{role, file, err}
	}
	if err := r.t.updateTargets(role, data); err != nil {
		return err
	}
	return r.keep(name, data)
}

// Target is a file that a channel offers.
type Target struct {
	Path   string `json:"path"` // CHANNEL/KIND/FILE
	Length int64  `json:"length"`
	SHA256 string `json:"sha256"` // hex
}

// Channels are the repository's channels, first to last in the order releases
// move through them.
func (c *Client) Channels() ([]string, error) {
	t, err := c.current()
	if err != nil {
		return nil, err
	}
	return t.channels(), nil
}

// List is what a channel offers, by path. ErrNotTarget when there is no such
// channel, or it was not refreshed.
func (c *Client) List(channel string) ([]Target, error) {
	t, err := c.current(channel)
	if err != nil {
		return nil, err
	}
	return t.list(channel), nil
}

func (t *trust) list(channel string) []Target {
	var out []Target
	files := t.set.Targets[channel].Signed.Targets
	for _, path := range slices.Sorted(maps.Keys(files)) {
		if t.delegated(channel, path) {
			out = append(out, describe(path, files[path]))
		}
	}
	return out
}

func describe(path string, f *metadata.TargetFiles) Target {
	return Target{path, f.Length, f.Hashes["sha256"].String()}
}

// Expires is when the first of the metadata in use expires, and whose that is.
func (c *Client) Expires() (at time.Time, role string, err error) {
	t, err := c.current()
	if err != nil {
		return time.Time{}, "", err
	}
	for _, e := range t.expiries() {
		if at.IsZero() || e.Expires.Before(at) {
			at, role = e.Expires, e.Role
		}
	}
	return at, role, nil
}

// Root is the newest trusted root file, to be given to other clients.
func (c *Client) Root() ([]byte, error) {
	t, err := c.current()
	if err != nil {
		return nil, err
	}
	return encode(t.set.Root)
}

// errLocked says that another process holds the lock.
var errLocked = errors.New("another hotpatch is at work there")

// lockDir makes processes that share a directory exclude each other: errLocked
// while another holds it.
func lockDir(dir string) (unlock func(), err error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if !errors.Is(err, syscall.EINTR) {
			break
		}
	}
	if err != nil {
		_ = f.Close() // nothing was written
		if errors.Is(err, syscall.EWOULDBLOCK) {
			err = errLocked
		}
		return nil, fmt.Errorf("lock %s: %w", dir, err)
	}
	return func() { _ = f.Close() }, nil // closing unlocks
}

// waitDir is lockDir once the other is done.
func waitDir(ctx context.Context, dir string) (unlock func(), err error) {
	for {
		unlock, err := lockDir(dir)
		if !errors.Is(err, errLocked) {
			return unlock, err
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(50 * time.Millisecond):
		}
	}
}
