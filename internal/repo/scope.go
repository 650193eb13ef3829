package repo

import (
	"errors"
	"fmt"
	"slices"

	"hotpatch/internal/catalog"
)

// incidentsDir keeps what narrowing left behind: for those who publish, not
// served.
const incidentsDir = "incidents"

// Rescoped is what a change of scope did.
type Rescoped struct {
	Release  catalog.ReleaseID `json:"release"`
	Scope    catalog.Scope     `json:"scope"`
	Channels []string          `json:"channels"` // none: it is a draft
	Incident *catalog.Incident `json:"incident"` // null: no machine fell out
	File     string            `json:"file"`     // where the incident is kept; "": nowhere
}

// Rescope changes for which machines a release is meant, in every channel that
// has it, or of a draft. Of a published release the machines have to be given:
// for those that fall out an incident is opened, with who installed it, has
// it staged, or is exposed without it.
func (r *Repo) Rescope(id catalog.ReleaseID, to catalog.Scope, machines []catalog.Machine, by, reason string, keys *Keys) (*Rescoped, error) {
	out, err := r.rescope(id, to, machines, by, reason, keys)
	if err != nil {
		return out, fmt.Errorf("change scope of %s: %w", id, err)
	}
	return out, nil
}

func (r *Repo) rescope(id catalog.ReleaseID, to catalog.Scope, machines []catalog.Machine, by, reason string, keys *Keys) (*Rescoped, error) {
	out := &Rescoped{Release: id, Scope: to, Channels: []string{}}
	if _, err := r.reached(id); errors.Is(err, ErrNotFound) {
		if _, err := r.Draft(id); err != nil {
			return nil, err
		}
		rel, err := r.Add(Addition{Release: catalog.Release{ID: id}, By: by}) // voids what was previewed
		if err != nil {
			return nil, err
		}
		rel.Scope = to
		return out, r.saveDraft(rel)
	} else if err != nil {
		return nil, err
	}
	if len(machines) == 0 {
		return nil, refuse("it is published: name the machines, so that those that fall out are known")
	}
	c := &change{what: fmt.Sprintf("change scope of %s", id)}
	for _, ch := range r.Channels() {
		k, err := r.Catalog(ch)
		if err != nil {
			return nil, err
		}
		i := slices.IndexFunc(k.Releases, func(rel catalog.Release) bool { return rel.ID == id })
		if i < 0 {
			continue
		}
		rel, incident, err := k.Narrow(id, to, machines, by, reason, r.stamp())
		if err != nil {
			return nil, refuse("%w", err)
		}
		k.Releases[i] = rel
		if incident != nil {
			out.Incident = incident // the same machines in every channel
		}
		if err := c.putCatalog(r, k); err != nil {
			return nil, err
		}
		out.Channels = append(out.Channels, ch)
	}
	if out.Incident != nil {
		data, err := catalog.EncodeJSON(out.Incident)
		if err != nil {
			return nil, err
		}
		// Before the scope is published: an incident too many is better than
		// one that nobody heard of.
		out.File = r.path(incidentsDir, fmt.Sprintf("%s-%s.json", id, r.stamp().Format("20060102T150405Z")))
		if err := writeFile(out.File, data, 0o644); err != nil {
			return nil, err
		}
	}
	return out, r.commit(c, keys)
}
