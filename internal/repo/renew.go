package repo

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/theupdateframework/go-tuf/v2/metadata"
)

var errNoRoot = errors.New("the repository waits for the signatures of its first root")

// Refresh renews the timestamp, and the snapshot once half of its life is
// over. It is what runs every hour or so, with online keys; a change that
// waits for signatures does not stop it.
func (r *Repo) Refresh(keys *Keys) error {
	if err := r.refresh(keys); err != nil {
		return fmt.Errorf("refresh: %w", err)
	}
	return nil
}

func (r *Repo) refresh(keys *Keys) error {
	if r.t == nil {
		return errNoRoot
	}
	p := &pending{changeJSON: changeJSON{What: "refresh"}}
	snap, stamp, err := r.seal(p, nil, keys)
	if err != nil {
		return err
	}
	tmp := writingDir + newSuffix
	if err := os.RemoveAll(r.path(tmp)); err != nil {
		return err
	}
	j := journal{}
	put := func(role string, m interface{ ToBytes(bool) ([]byte, error) }, to string) error {
		data, err := m.ToBytes(true)
		if err != nil {
			return err
		}
		j.Steps = append(j.Steps, step{role + ".json", to})
		return writeFile(filepath.Join(r.path(tmp), role+".json"), append(data, '\n'), 0o644)
	}
	old := r.t.set.Snapshot.Signed
	if left := old.Expires.Sub(r.now()); left < r.settings.lifetime(Snapshot)/2 {
		if err := put(Snapshot, snap, metadataPath(Snapshot, snap.Signed.Version)); err != nil {
			return err
		}
		j.Remove = outdated(Snapshot, snap.Signed.Version)
	} else if stamp, err = r.restamp(keys); err != nil {
		return err
	}
	if err := put(Timestamp, stamp, metadataPath(Timestamp, 0)); err != nil {
		return err
	}
	return r.final(tmp, j)
}

// restamp is a new timestamp for the snapshot that is published.
func (r *Repo) restamp(keys *Keys) (*timestampMeta, error) {
	stamp := metadata.Timestamp(r.expiry(Timestamp))
	stamp.Signed.Version = r.t.set.Timestamp.Signed.Version + 1
	stamp.Signed.Meta["snapshot.json"] = r.t.want(Snapshot)
	p := &pending{}
	s, err := r.wanted(p, Timestamp)
	if err != nil {
		return nil, err
	}
	if err := sign(stamp, s, keys); err != nil {
		return nil, err
	}
	if miss := missing(stamp, s); miss != nil {
		return nil, &Pending{What: "refresh", Missing: []Missing{*miss}}
	}
	return stamp, nil
}

// Renew gives roles with offline keys a new version that differs in nothing
// but its expiry.
func (r *Repo) Renew(roles []string, keys *Keys) error {
	if r.t == nil {
		return errNoRoot
	}
	c := &change{what: "renew " + strings.Join(roles, ", ")}
	for _, role := range roles {
		switch role {
		case Snapshot, Timestamp: // every change renews them
		case Root:
			root, err := clone(r.t.set.Root)
			if err != nil {
				return err
			}
			c.root = root
		default:
			if _, err := c.edit(r, role); err != nil {
				return fmt.Errorf("%s: %w", c.what, err)
			}
		}
	}
	return r.commit(c, keys)
}

// KeyEdit changes who signs a role.
type KeyEdit struct {
	Role      string // top-level role or channel
	Add       []PublicKey
	Revoke    []string // ids
	Threshold int      // 0: as it was
}

// EditKeys adds and revokes keys: a new root for the top-level roles, new
// top-level targets for a channel. What the role has signed is signed anew.
func (r *Repo) EditKeys(e KeyEdit, keys *Keys) error {
	if r.t == nil {
		return errNoRoot
	}
	c := &change{what: "change the keys of " + e.Role}
	var err error
	switch e.Role {
	case Root, Targets, Snapshot, Timestamp:
		err = r.editRoot(c, e)
	default:
		err = r.editChannel(c, e)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", c.what, err)
	}
	return r.commit(c, keys)
}

func (r *Repo) editRoot(c *change, e KeyEdit) error {
	root, err := clone(r.t.set.Root)
	if err != nil {
		return err
	}
	c.root = root
	for _, k := range e.Add {
		if err := root.Signed.AddKey(cloneKey(k.Key), e.Role); err != nil {
			return err
		}
	}
	for _, id := range e.Revoke {
		if err := root.Signed.RevokeKey(id, e.Role); err != nil {
			return err
		}
	}
	role := root.Signed.Roles[e.Role]
	if e.Threshold > 0 {
		role.Threshold = e.Threshold
	}
	if err := checkThreshold(role.Threshold, len(role.KeyIDs)); err != nil {
		return err
	}
	if e.Role == Targets {
		_, err = c.edit(r, Targets) // to be signed by the new keys
	}
	return err
}

func checkThreshold(threshold, keys int) error {
	if threshold < 1 || threshold > keys {
		return fmt.Errorf("threshold %d with %d keys: nobody could sign", threshold, keys)
	}
	return nil
}

func (r *Repo) editChannel(c *change, e KeyEdit) error {
	top, err := c.edit(r, Targets)
	if err != nil {
		return err
	}
	if _, err := c.edit(r, e.Role); err != nil { // to be signed by the new keys
		return err
	}
	for _, k := range e.Add {
		if err := top.Signed.AddKey(cloneKey(k.Key), e.Role); err != nil {
			return err
		}
	}
	for _, id := range e.Revoke {
		if err := top.Signed.RevokeKey(id, e.Role); err != nil {
			return err
		}
	}
	for i := range top.Signed.Delegations.Roles {
		d := &top.Signed.Delegations.Roles[i]
		if d.Name != e.Role {
			continue
		}
		if e.Threshold > 0 {
			d.Threshold = e.Threshold
		}
		return checkThreshold(d.Threshold, len(d.KeyIDs))
	}
	return fmt.Errorf("channel %s: %w", e.Role, ErrNotTarget)
}

// RoleKeys is who may sign a role.
type RoleKeys struct {
	Role      string      `json:"role"`
	Threshold int         `json:"threshold"`
	Keys      []PublicKey `json:"keys"`
}

// RoleKeys lists the roles, top level first, then the channels in order.
func (r *Repo) RoleKeys() []RoleKeys {
	if r.t == nil {
		return nil
	}
	var out []RoleKeys
	list := func(role string, ids []string, threshold int, keys map[string]*metadata.Key) {
		k := RoleKeys{Role: role, Threshold: threshold, Keys: []PublicKey{}}
		for _, id := range ids {
			k.Keys = append(k.Keys, PublicKey{ID: id, Key: keys[id]})
		}
		out = append(out, k)
	}
	root := r.t.set.Root.Signed
	for _, role := range []string{Root, Targets, Snapshot, Timestamp} {
		list(role, root.Roles[role].KeyIDs, root.Roles[role].Threshold, root.Keys)
	}
	if d := r.t.set.Targets[Targets].Signed.Delegations; d != nil {
		for _, c := range d.Roles {
			list(c.Name, c.KeyIDs, c.Threshold, d.Keys)
		}
	}
	return out
}

// FindKey resolves what people call a key, its name in keys or the beginning
// of its id, to the id of one that signs a role.
func (r *Repo) FindKey(role, name string, keys *Keys) (string, error) {
	found := map[string]bool{}
	for _, rk := range r.RoleKeys() {
		if rk.Role != role {
			continue
		}
		for _, k := range rk.Keys {
			named := keys != nil && keys.byID(k.ID) != nil && keys.byID(k.ID).Name == name
			if named || len(name) >= 6 && strings.HasPrefix(k.ID, name) {
				found[k.ID] = true
			}
		}
	}
	switch ids := slices.Collect(maps.Keys(found)); len(ids) {
	case 1:
		return ids[0], nil
	case 0:
		return "", fmt.Errorf("%s has no key %.80q: %w", role, name, ErrNoKey)
	default:
		return "", fmt.Errorf("%s has several keys %.80q", role, name)
	}
}
