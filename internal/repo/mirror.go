package repo

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"
)

// mirrorState is the part of a mirror that is nobody's but the mirror's own:
// the root it started from and what it has seen. Serving it does no harm.
const mirrorState = ".mirror"

// Mirrored is what a run of Mirror did.
type Mirrored struct {
	Channels []string  `json:"channels"`
	Targets  int       `json:"targets"` // that the mirror has
	Fetched  int       `json:"fetched"` // of those, new in this run
	Bytes    int64     `json:"bytes"`   // of the new ones
	Removed  int       `json:"removed"`
	Expires  time.Time `json:"expires"` // until then the mirror is believed
	Role     string    `json:"role"`    // whose expiry that is
}

// Mirror copies a repository into dir, verified, so that it serves clients
// there as here: by any web server, or as a directory on a disk that is carried
// somewhere. Only what dir lacks is fetched. root may be nil once dir is a
// mirror. A run that is cut short leaves the old state, and the next goes on.
func Mirror(ctx context.Context, from, dir string, root []byte, channels []string, stall time.Duration, now func() time.Time) (*Mirrored, error) {
	m, err := mirror(ctx, from, dir, root, channels, stall, now)
	if err != nil {
		return nil, fmt.Errorf("mirror %s: %w", from, err)
	}
	return m, nil
}

func mirror(ctx context.Context, from, dir string, root []byte, channels []string, stall time.Duration, now func() time.Time) (*Mirrored, error) {
	state := filepath.Join(dir, mirrorState)
	if err := os.MkdirAll(state, 0o755); err != nil {
		return nil, err
	}
	anchor := filepath.Join(state, "root.json")
	switch have, err := readFileBounded(anchor, maxRoot); {
	case err == nil && root == nil:
		root = have
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return nil, err
	case root == nil:
		return nil, errors.New("no trusted root given, and the directory is no mirror yet")
	}
	c, err := Open(from, root, state, now)
	if err != nil {
		return nil, err
	}
	if stall > 0 {
		c.Stall = stall
	}
	if err := c.Refresh(ctx, channels...); err != nil {
		return nil, err
	}
	if err := writeFile(anchor, root, 0o644); err != nil {
		return nil, err
	}
	w := mirroring{ctx: ctx, c: c, dir: dir, t: c.state, keep: map[string]bool{}}
	if err := w.run(); err != nil {
		return nil, err
	}
	w.out.Channels = slices.Sorted(maps.Keys(c.state.set.Targets))
	w.out.Channels = slices.DeleteFunc(w.out.Channels, func(s string) bool { return s == Targets })
	w.out.Expires, w.out.Role, err = c.Expires()
	return &w.out, err
}

// mirroring is one run.
type mirroring struct {
	ctx  context.Context //nolint:containedctx // lives as long as the call
	c    *Client
	t    *trust
	dir  string
	keep map[string]bool // names that belong to the new state
	out  Mirrored
}

// run writes in the order that a publisher does: targets, metadata from the
// bottom up, timestamp.json last; then it removes what no longer belongs.
func (w *mirroring) run() error {
	if err := w.targets(); err != nil {
		return err
	}
	if err := w.metadata(); err != nil {
		return err
	}
	return w.prune()
}

func (w *mirroring) targets() error {
	src, err := w.c.source()
	if err != nil {
		return err
	}
	for _, role := range slices.Sorted(maps.Keys(w.t.set.Targets)) {
		files := w.t.set.Targets[role].Signed.Targets
		for _, p := range slices.Sorted(maps.Keys(files)) {
			f, err := w.t.target(p)
			if err != nil {
				continue // of no channel: no client would take it
			}
			name := targetFile(p, f)
			w.keep[name] = true
			w.out.Targets++
			file := filepath.Join(w.dir, filepath.FromSlash(name))
			if verifyFile(file, f) == nil {
				continue
			}
			if err := download(w.ctx, src, p, f, file, 0o644); err != nil {
				return fmt.Errorf("fetch %s: %w", p, err)
			}
			w.out.Fetched++
			w.out.Bytes += f.Length
		}
	}
	return nil
}

// metadata copies every root from the first on, so that clients with any
// trusted root can follow, and then the state that was verified, from the
// client's cache.
func (w *mirroring) metadata() error {
	src, err := w.c.source()
	if err != nil {
		return err
	}
	for n := int64(1); n <= w.t.rootVersion(); n++ {
		data, err := fetchBytes(w.ctx, src, metadataPath(Root, n), maxRoot)
		if errors.Is(err, ErrNotFound) && n < w.t.rootVersion() {
			continue // before the root that the source's mirror began with
		}
		if err != nil {
			return err
		}
		if _, err := decode[metadata.RootType](Root, data); err != nil {
			return &RoleError{Root, metadataPath(Root, n), err}
		}
		if err := w.put(metadataPath(Root, n), data); err != nil {
			return err
		}
	}
	for _, role := range slices.Sorted(maps.Keys(w.t.set.Targets)) {
		if err := w.copyCached(role, w.t.want(role).Version); err != nil {
			return err
		}
	}
	if err := w.copyCached(Snapshot, w.t.want(Snapshot).Version); err != nil {
		return err
	}
	return w.copyCached(Timestamp, 0)
}

func (w *mirroring) copyCached(role string, version int64) error {
	data, err := readFileBounded(w.c.cachePath(role+".json"), limitOf(role))
	if err != nil {
		return err
	}
	return w.put(metadataPath(role, version), data)
}

func (w *mirroring) put(name string, data []byte) error {
	w.keep[name] = true
	file := filepath.Join(w.dir, filepath.FromSlash(name))
	if have, err := os.ReadFile(file); err == nil && string(have) == string(data) {
		return nil
	}
	return writeFile(file, data, 0o644)
}

// prune removes files below metadata/ and targets/ that the new state does not
// have: what was recalled goes from here too. Whatever else is in dir is not
// ours.
func (w *mirroring) prune() error {
	for _, top := range []string{metadataDir, targetsDir} {
		err := filepath.WalkDir(filepath.Join(w.dir, top), func(file string, d fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			if err != nil || d.IsDir() {
				return err
			}
			rel, err := filepath.Rel(w.dir, file)
			if err != nil {
				return err
			}
			name := filepath.ToSlash(rel)
			if w.keep[name] || strings.HasPrefix(path.Base(name), tempPrefix) || isRoot(name) {
				return nil
			}
			w.out.Removed++
			return os.Remove(file)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// isRoot: a root file is never removed; some client may start from it.
func isRoot(name string) bool {
	return strings.HasPrefix(name, metadataDir+"/") && strings.HasSuffix(name, "."+Root+".json")
}
