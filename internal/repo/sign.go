package repo

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"

	"github.com/theupdateframework/go-tuf/v2/metadata"
)

// signers is whose signatures a piece of metadata wants.
type signers struct {
	role      string
	must      [][]string // one list of key ids for each threshold it must meet
	threshold []int
	may       []string // keys whose signature helps clients that have not seen the new root yet
	keys      map[string]*metadata.Key
}

// sign adds the signatures of all keys at hand that are wanted and missing.
func sign[T metadata.Roles](m *signed[T], s signers, keys *Keys) error {
	for _, id := range slices.Concat(append(slices.Clone(s.must), s.may)...) {
		if !keys.has(id) || slices.ContainsFunc(m.Signatures, func(g metadata.Signature) bool { return g.KeyID == id }) {
			continue
		}
		signer, err := keys.signer(id)
		if err != nil {
			return err
		}
		if _, err := m.Sign(signer); err != nil {
			return fmt.Errorf("sign %s: %w", s.role, err)
		}
	}
	return nil
}

// missing says what m still wants; nil: nothing.
func missing[T metadata.Roles](m *signed[T], s signers) *Missing {
	for i, ids := range s.must {
		have, absent := 0, []string{}
		for _, id := range ids {
			if verifies(m, id, s.keys[id]) {
				have++
			} else {
				absent = append(absent, id)
			}
		}
		if have < s.threshold[i] {
			return &Missing{Role: s.role, Have: have, Want: s.threshold[i], Keys: absent}
		}
	}
	return nil
}

// verifies says whether m has a good signature by one key.
func verifies[T metadata.Roles](m *signed[T], id string, key *metadata.Key) bool {
	if key == nil {
		return false
	}
	const role = Targets // any will do
	judge := metadata.Root()
	judge.Signed.Keys[id] = key
	judge.Signed.Roles[role] = &metadata.Role{KeyIDs: []string{id}, Threshold: 1}
	return judge.VerifyDelegate(role, m) == nil
}

// wanted finds the signers of a role of the pending change.
func (r *Repo) wanted(p *pending, role string) (signers, error) {
	s := signers{role: role, keys: map[string]*metadata.Key{}}
	add := func(ids []string, threshold int, keys map[string]*metadata.Key) {
		s.must, s.threshold = append(s.must, ids), append(s.threshold, threshold)
		maps.Copy(s.keys, keys)
	}
	var old *rootMeta
	if r.t != nil {
		old = r.t.set.Root
	}
	root := old
	if p.root != nil {
		root = p.root
	}
	if root == nil {
		return s, errors.New("no root")
	}
	switch role {
	case Root: // TUF §5.3.4: by the old threshold and by the new
		if old != nil {
			add(old.Signed.Roles[Root].KeyIDs, old.Signed.Roles[Root].Threshold, old.Signed.Keys)
		}
		add(root.Signed.Roles[Root].KeyIDs, root.Signed.Roles[Root].Threshold, root.Signed.Keys)
	case Targets, Snapshot, Timestamp:
		add(root.Signed.Roles[role].KeyIDs, root.Signed.Roles[role].Threshold, root.Signed.Keys)
		if old != nil && old != root {
			s.may = old.Signed.Roles[role].KeyIDs
		}
	default:
		top := p.targets[Targets]
		if top == nil && r.t != nil {
			top = r.t.set.Targets[Targets]
		}
		if top == nil || top.Signed.Delegations == nil {
			return s, fmt.Errorf("channel %s: %w", role, ErrNotTarget)
		}
		for _, d := range top.Signed.Delegations.Roles {
			if d.Name == role {
				add(d.KeyIDs, d.Threshold, top.Signed.Delegations.Keys)
				return s, nil
			}
		}
		return s, fmt.Errorf("channel %s: %w", role, ErrNotTarget)
	}
	return s, nil
}

// Sign adds the signatures of the keys at hand to the pending change, and
// publishes it once nothing is missing. It returns what the change does; a
// *Pending as error says that more signatures are wanted.
func (r *Repo) Sign(keys *Keys) (what string, err error) {
	p, err := r.readPending()
	if errors.Is(err, fs.ErrNotExist) {
		return "", errors.New("sign: nothing waits for signatures")
	}
	if err != nil {
		return "", fmt.Errorf("sign: %w", err)
	}
	return p.What, r.advance(keys)
}

// Waiting is the pending change; nil: there is none.
func (r *Repo) Waiting() (*Pending, error) {
	p, err := r.readPending()
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	out := &Pending{What: p.What}
	err = p.each(func(role string, m any) error {
		s, err := r.wanted(p, role)
		if err != nil {
			return err
		}
		if miss := missingAny(m, s); miss != nil {
			out.Missing = append(out.Missing, *miss)
		}
		return nil
	})
	return out, err
}

// each goes through the roles of a pending change, root first.
func (p *pending) each(fn func(role string, m any) error) error {
	if p.root != nil {
		if err := fn(Root, p.root); err != nil {
			return err
		}
	}
	for _, role := range slices.Sorted(maps.Keys(p.targets)) {
		if err := fn(role, p.targets[role]); err != nil {
			return err
		}
	}
	return nil
}

func missingAny(m any, s signers) *Missing {
	switch m := m.(type) {
	case *rootMeta:
		return missing(m, s)
	case *targetsMeta:
		return missing(m, s)
	default:
		return &Missing{Role: s.role, Want: 1}
	}
}

// Discard drops the change that waits for signatures.
func (r *Repo) Discard() (what string, err error) {
	p, err := r.readPending()
	if errors.Is(err, fs.ErrNotExist) {
		return "", errors.New("discard: nothing waits for signatures")
	}
	if err == nil {
		what = p.What
	}
	return what, os.RemoveAll(r.path(pendingDir)) // also one that cannot be read
}

// advance signs what is pending with the keys at hand and publishes it if that
// completes it.
func (r *Repo) advance(keys *Keys) error {
	p, err := r.readPending()
	if err != nil {
		return err
	}
	wait := &Pending{What: p.What}
	err = p.each(func(role string, m any) error {
		s, err := r.wanted(p, role)
		if err != nil {
			return err
		}
		switch m := m.(type) {
		case *rootMeta:
			err = errors.Join(sign(m, s, keys), r.savePending(role, m))
		case *targetsMeta:
			err = errors.Join(sign(m, s, keys), r.savePending(role, m))
		}
		if miss := missingAny(m, s); miss != nil {
			wait.Missing = append(wait.Missing, *miss)
		}
		return err
	})
	if err != nil {
		return err
	}
	if len(wait.Missing) > 0 {
		return wait
	}
	return r.publish(p, keys)
}

func (r *Repo) savePending(role string, m interface{ ToBytes(bool) ([]byte, error) }) error {
	data, err := m.ToBytes(true)
	if err != nil {
		return err
	}
	return writeFile(r.path(pendingDir, role+".json"), append(data, '\n'), 0o644)
}

// publish adds the snapshot and timestamp to a change whose other signatures
// are complete, and writes all of it.
func (r *Repo) publish(p *pending, keys *Keys) error {
	files := map[string][]byte{} // by role
	err := p.each(func(role string, m any) error {
		data, err := readFileBounded(r.path(pendingDir, role+".json"), limitOf(role))
		files[role] = data
		return err
	})
	if err != nil {
		return err
	}
	snap, stamp, err := r.seal(p, files, keys)
	if err != nil {
		return err
	}
	for role, m := range map[string]interface{ ToBytes(bool) ([]byte, error) }{Snapshot: snap, Timestamp: stamp} {
		if err := r.savePending(role, m); err != nil {
			return err
		}
	}
	j := journal{Remove: append(r.unused(p), outdated(Snapshot, snap.Signed.Version)...)}
	for role, m := range p.targets {
		j.Remove = append(j.Remove, outdated(role, m.Signed.Version)...)
	}
	for _, name := range p.Files {
		j.Steps = append(j.Steps, step{name, name})
	}
	for _, role := range slices.Sorted(maps.Keys(p.targets)) {
		j.Steps = append(j.Steps, step{role + ".json", metadataPath(role, p.targets[role].Signed.Version)})
	}
	j.Steps = append(j.Steps,
		step{"snapshot.json", metadataPath(Snapshot, snap.Signed.Version)},
		step{"timestamp.json", metadataPath(Timestamp, 0)})
	if p.root != nil {
		root := step{"root.json", metadataPath(Root, p.root.Signed.Version)}
		if r.oldRootAccepts(p, snap, stamp) {
			// Clients that see the new timestamp before the new root, and
			// those that see both, find everything signed.
			j.Steps = append(j.Steps, root)
		} else {
			// The old key is gone: for a moment clients that have the new
			// root refuse the old timestamp, and keep what they have.
			j.Steps = slices.Insert(j.Steps, len(j.Steps)-1, root)
		}
	}
	return r.final(pendingDir, j)
}

// keptVersions is how many versions of a role's metadata stay: for clients in
// the middle of a refresh, and for caches.
const keptVersions = 16

// outdated is the file that leaves when this version comes.
func outdated(role string, version int64) []string {
	if version <= keptVersions {
		return nil
	}
	return []string{metadataPath(role, version-keptVersions)}
}

// final makes the directory, whose files are complete, the one that is being
// written, and writes it. A crash before the rename leaves the old state, after
// it the new one is finished by whoever comes next.
func (r *Repo) final(dir string, j journal) error {
	data, err := json.MarshalIndent(j, "", "  ")
	if err != nil {
		return err
	}
	if err := r.before(journalFile); err != nil {
		return err
	}
	if err := writeFile(r.path(dir, journalFile), append(data, '\n'), 0o644); err != nil {
		return err
	}
	if err := r.before(writingDir); err != nil {
		return err
	}
	if err := rename(r.path(dir), r.path(writingDir)); err != nil {
		return err
	}
	if err := r.write(); err != nil {
		return err
	}
	return r.reload()
}

// oldRootAccepts says whether clients that have not seen the new root can
// verify what is about to be published.
func (r *Repo) oldRootAccepts(p *pending, snap *snapshotMeta, stamp *timestampMeta) bool {
	if r.t == nil {
		return true // there are no clients yet
	}
	old := r.t.set.Root
	top := p.targets[Targets]
	if top == nil {
		top = r.t.set.Targets[Targets]
	}
	return old.VerifyDelegate(Timestamp, stamp) == nil && old.VerifyDelegate(Snapshot, snap) == nil &&
		old.VerifyDelegate(Targets, top) == nil
}

// unused are the files to be removed that no other target shares.
func (r *Repo) unused(p *pending) []string {
	keep := map[string]bool{}
	for _, name := range p.Files {
		keep[name] = true
	}
	mark := func(m *targetsMeta) {
		for path, f := range m.Signed.Targets {
			keep[targetFile(path, f)] = true
		}
	}
	for _, m := range p.targets {
		mark(m)
	}
	if r.t != nil {
		for role, m := range r.t.set.Targets {
			if p.targets[role] == nil {
				mark(m)
			}
		}
	}
	var out []string
	for _, name := range p.Remove {
		if !keep[name] {
			out = append(out, name)
		}
	}
	return out
}

// seal makes and signs the snapshot and the timestamp of the next state. files
// is the metadata that changed, by role.
func (r *Repo) seal(p *pending, files map[string][]byte, keys *Keys) (*snapshotMeta, *timestampMeta, error) {
	snap, stamp := metadata.Snapshot(r.expiry(Snapshot)), metadata.Timestamp(r.expiry(Timestamp))
	if r.t != nil {
		for name, f := range r.t.set.Snapshot.Signed.Meta {
			snap.Signed.Meta[name] = f
		}
		snap.Signed.Version = r.t.set.Snapshot.Signed.Version + 1
		stamp.Signed.Version = r.t.set.Timestamp.Signed.Version + 1
	}
	for role, m := range p.targets {
		snap.Signed.Meta[role+".json"] = metaFile(m.Signed.Version, files[role])
	}
	wait := &Pending{What: p.What}
	s, err := r.wanted(p, Snapshot)
	if err != nil {
		return nil, nil, err
	}
	if err := sign(snap, s, keys); err != nil {
		return nil, nil, err
	}
	if miss := missing(snap, s); miss != nil {
		wait.Missing = append(wait.Missing, *miss)
	}
	data, err := encode(snap)
	if err != nil {
		return nil, nil, err
	}
	stamp.Signed.Meta["snapshot.json"] = metaFile(snap.Signed.Version, data)
	if s, err = r.wanted(p, Timestamp); err != nil {
		return nil, nil, err
	}
	if err := sign(stamp, s, keys); err != nil {
		return nil, nil, err
	}
	if miss := missing(stamp, s); miss != nil {
		wait.Missing = append(wait.Missing, *miss)
	}
	if len(wait.Missing) > 0 {
		return nil, nil, wait
	}
	return snap, stamp, nil
}

func metaFile(version int64, data []byte) *metadata.MetaFiles {
	f := metadata.MetaFile(version)
	f.Length = int64(len(data))
	f.Hashes = hashesOf(data)
	return f
}
