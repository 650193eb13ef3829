package repo

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"hotpatch/internal/catalog"
	"hotpatch/internal/patch"
)

// What a channel offers: one catalogue, and the bundles that it names.
const (
	catalogName  = "catalog.json"
	bundleKind   = "bundles"
	bundleSuffix = ".hotpatch"
)

// CatalogPath is the target that holds a channel's catalogue: its releases,
// its calendar, and what was recalled.
func CatalogPath(channel string) string { return channel + "/" + catalogName }

// BundlePath is the target that holds a bundle.
func BundlePath(channel string, id catalog.Digest) string {
	return channel + "/" + bundleKind + "/" + string(id) + bundleSuffix
}

// Catalog is the catalogue of a channel, of the state that was refreshed or
// loaded.
func (c *Client) Catalog(ctx context.Context, channel string) (*catalog.Catalog, error) {
	data, err := c.Read(ctx, CatalogPath(channel))
	if err != nil {
		return nil, err
	}
	return decodeCatalog(channel, data)
}

// decodeCatalog reads a catalogue and wants it to be this channel's: signed
// content under another name would still be the wrong content.
func decodeCatalog(channel string, data []byte) (*catalog.Catalog, error) {
	k, err := catalog.Decode(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", CatalogPath(channel), err)
	}
	if k.Channel != channel {
		return nil, fmt.Errorf("%s: %w: channel: it is for %.40q", CatalogPath(channel), ErrMalformed, k.Channel)
	}
	return k, nil
}

// FetchBundle puts a bundle of a channel into file, verified: by the signed
// length and digest of the file, and by reading it, which compares its
// contents with its id. ErrNotTarget: it is not offered, or no more.
func (c *Client) FetchBundle(ctx context.Context, channel string, id catalog.Digest, file string) (*patch.Bundle, error) {
	if err := c.Fetch(ctx, BundlePath(channel, id), file); err != nil {
		return nil, err
	}
	return readBundle(file, id)
}

// CheckBundle verifies a staged bundle again, before its use.
func (c *Client) CheckBundle(channel string, id catalog.Digest, file string) (*patch.Bundle, error) {
	if err := c.Check(BundlePath(channel, id), file); err != nil {
		return nil, err
	}
	return readBundle(file, id)
}

func readBundle(file string, id catalog.Digest) (*patch.Bundle, error) {
	b, err := patch.ReadFile(file)
	if err != nil {
		return nil, err
	}
	got, err := b.ID()
	if err != nil {
		return nil, fmt.Errorf("identify %s: %w", file, err)
	}
	if string(got) != string(id) {
		return nil, fmt.Errorf("%s: %w: bundle %s, not %s", file, ErrMismatch, got.Short(), patch.ID(id).Short())
	}
	if err := b.Applicable(); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return b, nil
}

// Catalog is what is published in a channel; an empty one if nothing is.
func (r *Repo) Catalog(channel string) (*catalog.Catalog, error) {
	if r.t == nil {
		return nil, errNoRoot
	}
	if !slices.Contains(r.Channels(), channel) {
		return nil, fmt.Errorf("channel %.40q: %w (there are: %s)", channel, ErrNotTarget, strings.Join(r.Channels(), ", "))
	}
	path := CatalogPath(channel)
	f, err := r.t.target(path)
	if errors.Is(err, ErrNotTarget) {
		return &catalog.Catalog{Format: catalog.Format, Channel: channel, Releases: []catalog.Release{},
			Calendar: catalog.Calendar{Name: r.settings.Name, Cadence: defaultCadence(), Rows: []catalog.Row{}}}, nil
	}
	if err != nil {
		return nil, err
	}
	data, err := readFileBounded(r.public(targetFile(path, f)), maxDocument)
	if err != nil {
		return nil, err
	}
	if err := f.VerifyLengthHashes(data); err != nil {
		return nil, fmt.Errorf("read %s: %w: %w", path, ErrMismatch, err)
	}
	return decodeCatalog(channel, data)
}

// defaultCadence is the plan that users of the reference system know: a
// baseline in the first month of a quarter, on the second Tuesday.
func defaultCadence() catalog.Cadence {
	return catalog.Cadence{Baselines: []int{1, 4, 7, 10}, Day: "2TU", Hour: 17}
}

// putCatalog makes k the catalogue of its channel.
func (c *change) putCatalog(r *Repo, k *catalog.Catalog) error {
	k.Issued = r.now().UTC().Truncate(1e9)
	k.Sort()
	data, err := k.Encode()
	if err != nil {
		return fmt.Errorf("%s: %w", CatalogPath(k.Channel), err)
	}
	if len(data) > maxDocument {
		return fmt.Errorf("%s: %w: %d bytes, at most %d", CatalogPath(k.Channel), ErrTooLarge, len(data), maxDocument)
	}
	return c.put(r, CatalogPath(k.Channel), data)
}

// bundleFile is where the bytes of a bundle are: among the drafts, or in a
// channel that has it already.
func (r *Repo) bundleFile(id catalog.Digest) (string, error) {
	draft := r.path(draftsDir, bundleKind, string(id)+bundleSuffix)
	if _, err := os.Stat(draft); err == nil {
		return draft, nil
	}
	for _, ch := range r.Channels() {
		if f, err := r.t.target(BundlePath(ch, id)); err == nil {
			return r.public(targetFile(BundlePath(ch, id), f)), nil
		}
	}
	return "", fmt.Errorf("bundle %s: %w, neither among the drafts nor in a channel", patch.ID(id).Short(), ErrNotFound)
}

// putBundles publishes the bundles of a release in a channel.
func (c *change) putBundles(r *Repo, channel string, rel *catalog.Release) error {
	for i := range rel.Artifacts {
		id := rel.Artifacts[i].Bundle
		if id == "" {
			continue
		}
		file, err := r.bundleFile(id)
		if err != nil {
			return err
		}
		if _, err := readBundle(file, id); err != nil {
			return err
		}
		data, err := os.ReadFile(filepath.Clean(file))
		if err != nil {
			return err
		}
		if err := c.put(r, BundlePath(channel, id), data); err != nil {
			return err
		}
	}
	return nil
}
