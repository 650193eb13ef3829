package repo

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"hotpatch/internal/catalog"
)

// previewJSON is drafts/RELEASE.preview.json: what somebody was shown.
type previewJSON struct {
	Release  catalog.ReleaseID `json:"release"`
	Content  catalog.Digest    `json:"content"`
	Digest   catalog.Digest    `json:"digest"`
	At       time.Time         `json:"at"`
	Machines int               `json:"machines"` // that were looked at
	Preview  catalog.Preview   `json:"preview"`
}

// Previewed is what approving a release would do, with the digest that an
// approval has to name.
type Previewed struct {
	Preview  catalog.Preview `json:"preview"`
	Digest   catalog.Digest  `json:"digest"`
	Machines int             `json:"machines"`
}

// Preview says what approving a draft would do to these machines, and notes
// that it was asked.
func (r *Repo) Preview(id catalog.ReleaseID, machines []catalog.Machine, by string) (*Previewed, error) {
	rel, err := r.Draft(id)
	if err != nil {
		return nil, fmt.Errorf("preview: %w", err)
	}
	p, err := r.preview(rel, machines)
	if err != nil {
		return nil, fmt.Errorf("preview %s: %w", id, err)
	}
	// An approval was of the preview before: who looks again decides again.
	if s := rel.Life.State; s == catalog.Validated || s == catalog.Approved {
		rel.Life.State = catalog.Validated
		if rel.Life, err = rel.Life.To(catalog.Previewed, by, r.stamp()); err != nil {
			return nil, fmt.Errorf("preview %s: %w", id, err)
		}
	}
	data, err := json.MarshalIndent(previewJSON{id, rel.Content(), p.Digest, r.stamp(), len(machines), p.Preview}, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("preview %s: %w", id, err)
	}
	if err := writeFile(r.path(draftsDir, string(id)+previewSuffix), append(data, '\n'), 0o644); err != nil {
		return nil, fmt.Errorf("preview %s: %w", id, err)
	}
	return p, r.saveDraft(rel)
}

// preview is against the channel that the release would go to first.
func (r *Repo) preview(rel *catalog.Release, machines []catalog.Machine) (*Previewed, error) {
	k, err := r.Catalog(r.Channels()[0])
	if err != nil {
		return nil, err
	}
	k.Releases = append(k.Releases, *rel)
	k.Sort()
	p, err := k.Preview(rel.ID, machines, r.now())
	if err != nil {
		return nil, err
	}
	return &Previewed{p, p.Digest(rel.ID, rel.Content()), len(machines)}, nil
}

// stamp is now as it is written: UTC, whole seconds.
func (r *Repo) stamp() time.Time { return r.now().UTC().Truncate(time.Second) }

func decodePreview(data []byte) (*previewJSON, error) {
	var p previewJSON
	if err := json.Unmarshal(data, &p); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if p.Digest != p.Preview.Digest(p.Release, p.Content) {
		return nil, fmt.Errorf("%w: digest: it is not that of the preview", ErrMalformed)
	}
	return &p, nil
}

// Approval is who answers for a release, and why.
type Approval struct {
	By      string
	Reason  string
	Preview catalog.Digest // of the preview that was read
}

// Approve accepts a draft. It needs a name, a reason, and the digest of the
// last preview; a draft that changed since wants a new preview. When machines
// would be ejected, the approval is an override for exactly those.
func (r *Repo) Approve(id catalog.ReleaseID, a Approval) (*catalog.Release, error) {
	rel, err := r.approve(id, a)
	if err != nil {
		return nil, fmt.Errorf("approve %s: %w", id, err)
	}
	return rel, nil
}

func (r *Repo) approve(id catalog.ReleaseID, a Approval) (*catalog.Release, error) {
	rel, err := r.Draft(id)
	if err != nil {
		return nil, err
	}
	switch {
	case strings.TrimSpace(a.By) == "":
		return nil, refuse("no approver named")
	case strings.TrimSpace(a.Reason) == "":
		return nil, refuse("no reason given")
	}
	p, err := r.lastPreview(rel)
	if err != nil {
		return nil, err
	}
	if p.Digest != a.Preview {
		return nil, refuse("the last preview has digest %s, not %.64q", p.Digest, a.Preview)
	}
	if rel.Life, err = rel.Life.To(catalog.Approved, a.By, r.stamp()); err != nil {
		return nil, refuse("%w", err)
	}
	rel.Life.Reason = a.Reason
	return rel, r.saveDraft(rel)
}

// lastPreview is the preview of exactly this content.
func (r *Repo) lastPreview(rel *catalog.Release) (*previewJSON, error) {
	data, err := readFileBounded(r.path(draftsDir, string(rel.ID)+previewSuffix), maxDraft)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, refuse("it was not previewed")
	}
	if err != nil {
		return nil, err
	}
	p, err := decodePreview(data)
	if err != nil {
		return nil, fmt.Errorf("%s/%s%s: %w", draftsDir, rel.ID, previewSuffix, err)
	}
	if p.Release != rel.ID || p.Content != rel.Content() {
		return nil, refuse("the preview was of other content: preview it again")
	}
	return p, nil
}

// Publication is what Publish and Promote did.
type Publication struct {
	Release  catalog.ReleaseID      `json:"release"`
	Channel  string                 `json:"channel"`
	Life     catalog.Life           `json:"life"`
	Calendar catalog.CalendarChange `json:"calendar"`
	Override []string               `json:"override"` // machines that may be ejected
}

// PublishOptions go with a publication.
type PublishOptions struct {
	// Enrolled is how many enrolled machines are on the release's baseline.
	// Who does not know says 1: a cold release then needs an alternative.
	Enrolled int
	// NoneBecause is the explicit "there is no companion": what to do instead.
	NoneBecause string
	By          string
}

// Publish signs approved drafts into the first channel, all or none: a cold
// release and its companion belong together. On a *Pending it is waiting for
// signatures; the drafts stay until it is published.
func (r *Repo) Publish(ids []catalog.ReleaseID, o PublishOptions, keys *Keys) ([]*Publication, error) {
	ps, err := r.publishDrafts(ids, o, keys)
	if err != nil {
		return ps, fmt.Errorf("publish %s: %w", idsText(ids), err)
	}
	return ps, nil
}

func idsText(ids []catalog.ReleaseID) string {
	var parts []string
	for _, id := range ids {
		parts = append(parts, string(id))
	}
	return strings.Join(parts, ", ")
}

func (r *Repo) publishDrafts(ids []catalog.ReleaseID, o PublishOptions, keys *Keys) ([]*Publication, error) {
	if r.t == nil {
		return nil, errNoRoot
	}
	k, err := r.Catalog(r.Channels()[0])
	if err != nil {
		return nil, err
	}
	var in []entry
	for _, id := range ids {
		rel, err := r.Draft(id)
		if err != nil {
			return nil, err
		}
		if rel.Kind == catalog.Cold && o.NoneBecause != "" {
			rel.Without = &catalog.Mitigation{Text: o.NoneBecause, By: o.By}
		}
		p, err := r.lastPreview(rel)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", id, err)
		}
		e := entry{rel: *rel}
		if len(p.Preview.WouldEject) > 0 {
			alone := catalog.Catalog{Releases: []catalog.Release{*rel}}
			v, err := alone.Approve(id, p.Preview, p.Digest, p.Preview.WouldEject, rel.Life.By, rel.Life.Reason, r.stamp())
			if err != nil {
				return nil, refuse("%w", err)
			}
			e.override = &v
		}
		in = append(in, e)
	}
	if o.NoneBecause != "" && !slices.ContainsFunc(in, func(e entry) bool { return e.rel.Kind == catalog.Cold }) {
		return nil, refuse("only a cold release needs to say why it has no companion")
	}
	c := &change{what: fmt.Sprintf("publish %s in %s", idsText(ids), k.Channel)}
	ps, err := r.enter(c, k, in, o)
	if err != nil {
		return nil, err
	}
	if err := r.commit(c, keys); err != nil {
		return ps, err
	}
	return ps, r.tidyDrafts()
}

// entry is a release on its way into a channel.
type entry struct {
	rel      catalog.Release // approved
	override *catalog.Override
}

// enter puts approved releases into a channel's catalogue and calendar.
func (r *Repo) enter(c *change, k *catalog.Catalog, in []entry, o PublishOptions) ([]*Publication, error) {
	for i := range in {
		rel := &in[i].rel
		if k.Release(rel.ID) != nil {
			return nil, refuse("channel %s has %s already", k.Channel, rel.ID)
		}
		k.Releases = append(k.Releases, *rel)
	}
	k.Sort()
	for i := range in {
		if why := k.Publishable(in[i].rel.ID, o.Enrolled); len(why) > 0 {
			return nil, refuse("%s: %s", in[i].rel.ID, strings.Join(why, "; "))
		}
	}
	var ps []*Publication
	for i := range in {
		p := &Publication{Release: in[i].rel.ID, Channel: k.Channel, Override: []string{}}
		rel := k.Release(in[i].rel.ID)
		var err error
		if rel.Life, err = r.entered(rel.Life, k.Channel, o.By); err != nil {
			return nil, err
		}
		p.Life = rel.Life
		if k.Calendar, p.Calendar, err = k.Calendar.Publish(rel); err != nil {
			return nil, refuse("%w", err)
		}
		if v := in[i].override; v != nil {
			k.Overrides = append(k.Overrides, *v)
			p.Override = v.Machines
		}
		if err := c.putBundles(r, k.Channel, rel); err != nil {
			return nil, err
		}
		ps = append(ps, p)
	}
	return ps, c.putCatalog(r, k)
}

// entered is the life of an approved release in a channel: the channels before
// the last are its rings, the last is everybody.
func (r *Repo) entered(l catalog.Life, channel, by string) (catalog.Life, error) {
	n := slices.Index(r.Channels(), channel)
	l, err := l.To(catalog.InRing, by, r.stamp())
	if err != nil {
		return l, err
	}
	for range n {
		if l, err = l.NextRing(by, r.stamp()); err != nil {
			return l, err
		}
	}
	if n == len(r.Channels())-1 {
		return l.To(catalog.Complete, by, r.stamp())
	}
	return l, nil
}

// Promote takes releases, all or none, from the channel they reached to the
// next. from is that channel; "" finds it.
func (r *Repo) Promote(ids []catalog.ReleaseID, from string, o PublishOptions, keys *Keys) ([]*Publication, error) {
	ps, err := r.promote(ids, from, o, keys)
	if err != nil {
		return ps, fmt.Errorf("promote %s: %w", idsText(ids), err)
	}
	return ps, nil
}

func (r *Repo) promote(ids []catalog.ReleaseID, from string, o PublishOptions, keys *Keys) ([]*Publication, error) {
	if r.t == nil {
		return nil, errNoRoot
	}
	channels := r.Channels()
	if from == "" && len(ids) > 0 {
		var err error
		if from, err = r.reached(ids[0]); err != nil {
			return nil, err
		}
	}
	n := slices.Index(channels, from)
	switch {
	case n < 0:
		return nil, fmt.Errorf("channel %.40q: %w", from, ErrNotFound)
	case n == len(channels)-1:
		return nil, refuse("%s is the last channel", from)
	}
	source, err := r.Catalog(from)
	if err != nil {
		return nil, err
	}
	k, err := r.Catalog(channels[n+1])
	if err != nil {
		return nil, err
	}
	var in []entry
	for _, id := range ids {
		rel := source.Release(id)
		if rel == nil {
			return nil, fmt.Errorf("%s: %w in channel %s", id, ErrNotFound, from)
		}
		if s := rel.Life.State; s != catalog.InRing && s != catalog.Complete {
			return nil, refuse("%s is %s in %s", id, s, from)
		}
		e := entry{rel: *rel}
		// Approved once, it stays approved: the same content goes on.
		e.rel.Life = catalog.Life{State: catalog.Approved, Since: rel.Life.Since, By: rel.Life.By}
		for i := range source.Overrides {
			if v := &source.Overrides[i]; v.Release == id && v.Void == "" {
				e.override = v
			}
		}
		in = append(in, e)
	}
	c := &change{what: fmt.Sprintf("promote %s to %s", idsText(ids), k.Channel)}
	ps, err := r.enter(c, k, in, o)
	if err != nil {
		return nil, err
	}
	return ps, r.commit(c, keys)
}

// reached is the last channel that has a release.
func (r *Repo) reached(id catalog.ReleaseID) (string, error) {
	for _, ch := range slices.Backward(r.Channels()) {
		k, err := r.Catalog(ch)
		if err != nil {
			return "", err
		}
		if k.Release(id) != nil {
			return ch, nil
		}
	}
	return "", fmt.Errorf("%s: %w in any channel", id, ErrNotFound)
}

// Recall takes a release back in every channel: its bundles disappear, and the
// catalogue says that it was recalled, by whom and why, which is the signed
// notice on which hosts purge what they staged.
func (r *Repo) Recall(id catalog.ReleaseID, by, reason string, keys *Keys) (channels []string, err error) {
	channels, err = r.recall(id, by, reason, keys)
	if err != nil {
		return channels, fmt.Errorf("recall %s: %w", id, err)
	}
	return channels, nil
}

func (r *Repo) recall(id catalog.ReleaseID, by, reason string, keys *Keys) (channels []string, err error) {
	if strings.TrimSpace(by) == "" || strings.TrimSpace(reason) == "" {
		return nil, refuse("a recall names who and why")
	}
	c := &change{what: fmt.Sprintf("recall %s", id)}
	for _, ch := range r.Channels() {
		k, err := r.Catalog(ch)
		if err != nil {
			return nil, err
		}
		rel := k.Release(id)
		if rel == nil || rel.Life.State == catalog.Recalled {
			continue
		}
		if rel.Life, err = rel.Life.Recall(by, reason, r.stamp()); err != nil {
			return nil, err
		}
		if err := c.dropUnused(r, k, rel); err != nil {
			return nil, err
		}
		if err := c.putCatalog(r, k); err != nil {
			return nil, err
		}
		channels = append(channels, ch)
	}
	if len(channels) == 0 {
		return nil, fmt.Errorf("%w among what is published and not recalled yet", ErrNotFound)
	}
	return channels, r.commit(c, keys)
}

// dropUnused removes the bundles that only recalled releases of a channel have.
func (c *change) dropUnused(r *Repo, k *catalog.Catalog, rel *catalog.Release) error {
	for i := range rel.Artifacts {
		id := rel.Artifacts[i].Bundle
		if id == "" || slices.ContainsFunc(k.Releases, func(o catalog.Release) bool {
			return o.Life.State != catalog.Recalled && slices.ContainsFunc(o.Artifacts, func(a catalog.Artifact) bool { return a.Bundle == id })
		}) {
			continue
		}
		if err := c.drop(r, BundlePath(k.Channel, id)); err != nil {
			return err
		}
	}
	return nil
}
