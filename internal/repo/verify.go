package repo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"hotpatch/internal/catalog"
	"hotpatch/internal/patch"
)

// Report is what Verify found.
type Report struct {
	Where    string          `json:"where"`
	Root     int64           `json:"root"` // version
	Roles    []Expiry        `json:"roles"`
	Channels []ChannelReport `json:"channels"`
	Problems []string        `json:"problems"` // what clients would refuse, or publishing forbids
	Warnings []string        `json:"warnings"`
}

// ChannelReport is one channel.
type ChannelReport struct {
	Channel  string `json:"channel"`
	Targets  int    `json:"targets"`
	Bytes    int64  `json:"bytes"`
	Releases int    `json:"releases"`
	Recalled int    `json:"recalled"`
}

// Verify reads a whole repository as a client with an empty cache would, and
// more: every target, every catalogue, every bundle. Metadata that is refused
// is a problem, not an error; an error is that the looking itself failed.
func Verify(ctx context.Context, where string, root []byte, stall time.Duration, now func() time.Time) (*Report, error) {
	cache, err := os.MkdirTemp("", "hotpatch-verify-")
	if err != nil {
		return nil, fmt.Errorf("verify: %w", err)
	}
	defer os.RemoveAll(cache)
	c, err := Open(where, root, cache, now)
	if err != nil {
		return nil, err
	}
	if stall > 0 {
		c.Stall = stall
	}
	rep := &Report{Where: c.String(), Roles: []Expiry{}, Channels: []ChannelReport{}, Problems: []string{}, Warnings: []string{}}
	if err := c.Refresh(ctx); err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		var refused *RoleError
		if !errors.As(err, &refused) {
			return nil, err
		}
		rep.Problems = append(rep.Problems, err.Error())
		return rep, nil
	}
	t := c.state
	rep.Root, rep.Roles = t.rootVersion(), t.expiries()
	rep.Warnings = append(rep.Warnings, warnings(rep.Roles, now(), func(string) time.Duration { return 0 })...)
	rep.Warnings = append(rep.Warnings, t.thin()...)
	for _, ch := range t.channels() {
		cr, err := c.verifyChannel(ctx, ch, rep)
		if err != nil {
			return nil, fmt.Errorf("verify %s: %w", ch, err)
		}
		rep.Channels = append(rep.Channels, cr)
	}
	return rep, nil
}

// thin warns of roles whose loss or theft one key suffices for.
func (t *trust) thin() []string {
	var out []string
	for _, role := range []string{Root, Targets} {
		if r := t.set.Root.Signed.Roles[role]; r.Threshold == 1 {
			out = append(out, fmt.Sprintf("%s needs one signature only: whoever steals that key has everything below it", role))
		}
	}
	if r := t.set.Root.Signed.Roles[Root]; len(r.KeyIDs) == r.Threshold {
		out = append(out, "root needs all of its keys: when one is lost, no key can ever be replaced")
	}
	return out
}

func (c *Client) verifyChannel(ctx context.Context, channel string, rep *Report) (ChannelReport, error) {
	cr := ChannelReport{Channel: channel}
	src, err := c.source()
	if err != nil {
		return cr, err
	}
	problem := func(format string, args ...any) { rep.Problems = append(rep.Problems, fmt.Sprintf(format, args...)) }
	bundles := map[catalog.Digest]bool{}
	for _, target := range c.state.list(channel) {
		if ctx.Err() != nil {
			return cr, ctx.Err()
		}
		cr.Targets++
		cr.Bytes += target.Length
		name := strings.TrimPrefix(target.Path, channel+"/"+bundleKind+"/")
		id, isBundle := strings.CutSuffix(name, bundleSuffix)
		if isBundle {
			bundles[catalog.Digest(id)] = true
		}
		f, err := c.state.target(target.Path)
		if err != nil {
			return cr, err
		}
		body, _, err := src.open(ctx, targetFile(target.Path, f))
		if err == nil {
			err = errors.Join(copyVerified(io.Discard, body, f), body.Close())
		}
		if err != nil {
			problem("%s: %v", target.Path, err)
			continue
		}
		if isBundle {
			if err := c.verifyBundle(ctx, target.Path, catalog.Digest(id)); err != nil {
				problem("%s: %v", target.Path, err)
			}
		}
	}
	k, err := c.Catalog(ctx, channel)
	switch {
	case errors.Is(err, ErrNotTarget):
		return cr, nil // nothing was published yet
	case err != nil:
		problem("%v", err)
		return cr, nil
	}
	for i := range k.Releases {
		rel := &k.Releases[i]
		cr.Releases++
		if rel.Life.State == catalog.Recalled {
			cr.Recalled++
			continue
		}
		for j := range rel.Artifacts {
			if id := rel.Artifacts[j].Bundle; id != "" && !bundles[id] {
				problem("%s: release %s names bundle %s, which is not there", CatalogPath(channel), rel.ID, patch.ID(id).Short())
			}
		}
	}
	named := func(id catalog.Digest) bool {
		return slices.ContainsFunc(k.Releases, func(rel catalog.Release) bool {
			return rel.Life.State != catalog.Recalled && slices.ContainsFunc(rel.Artifacts, func(a catalog.Artifact) bool { return a.Bundle == id })
		})
	}
	for id := range bundles {
		if !named(id) {
			problem("%s: no release names it", BundlePath(channel, id))
		}
	}
	return cr, nil
}

func (c *Client) verifyBundle(ctx context.Context, path string, id catalog.Digest) error {
	dir, err := os.MkdirTemp(c.cache, "bundle-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	_, err = c.FetchBundle(ctx, channelOf(path), id, dir+"/bundle")
	return err
}
