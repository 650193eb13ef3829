package repo

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"
)

// Bounds of metadata. Files whose length signed metadata gives are bounded by
// that length too.
const (
	maxRoot       = 512 << 10
	maxTimestamp  = 64 << 10
	maxSnapshot   = 4 << 20
	maxTargets    = 32 << 20
	maxRoots      = 1024 // versions followed in one refresh
	maxKeys       = 256  // of one role, and in one file
	maxSignatures = 256
	maxChannels   = 64
	maxEntries    = 1 << 17        // targets of one role
	maxTarget     = int64(1) << 30 // bytes of one target
	maxVersion    = int64(1) << 53 // what JSON carries exactly
)

// limitOf bounds the metadata file of a role, in bytes.
func limitOf(role string) int64 {
	switch role {
	case Root:
		return maxRoot
	case Timestamp:
		return maxTimestamp
	case Snapshot:
		return maxSnapshot
	default:
		return maxTargets
	}
}

// signed is metadata of one kind.
type signed[T metadata.Roles] = metadata.Metadata[T]

type (
	rootMeta      = signed[metadata.RootType]
	targetsMeta   = signed[metadata.TargetsType]
	snapshotMeta  = signed[metadata.SnapshotType]
	timestampMeta = signed[metadata.TimestampType]
)

// shape is what go-tuf takes for granted in metadata: that nothing is null,
// keys have their length, versions are positive. It is checked before go-tuf
// sees a byte, because it happens before any signature is verified.
type shape struct {
	Signed struct {
		Type        string                `json:"_type"`
		Spec        string                `json:"spec_version"`
		Version     int64                 `json:"version"`
		Expires     time.Time             `json:"expires"`
		Consistent  bool                  `json:"consistent_snapshot"`
		Keys        map[string]*shapeKey  `json:"keys"`
		Roles       map[string]*shapeRole `json:"roles"`
		Meta        map[string]*shapeFile `json:"meta"`
		Targets     map[string]*shapeFile `json:"targets"`
		Delegations *shapeDelegations     `json:"delegations"`
	} `json:"signed"`
	Signatures []struct {
		KeyID string `json:"keyid"`
		Sig   string `json:"sig"`
	} `json:"signatures"`
}

type shapeDelegations struct {
	Keys  map[string]*shapeKey `json:"keys"`
	Roles []struct {
		Name  string   `json:"name"`
		Paths []string `json:"paths"`
		shapeRole
	} `json:"roles"`
	Succinct json.RawMessage `json:"succinct_roles"`
}

type shapeKey struct {
	Type   string `json:"keytype"`
	Scheme string `json:"scheme"`
	Value  struct {
		Public string `json:"public"`
	} `json:"keyval"`
}

type shapeRole struct {
	KeyIDs    []string `json:"keyids"`
	Threshold int      `json:"threshold"`
}

type shapeFile struct {
	Length  int64             `json:"length"`
	Version int64             `json:"version"`
	Hashes  map[string]string `json:"hashes"`
}

// decode reads the metadata of a role and checks all that can be known without
// a key. Errors are ErrMalformed and name the field.
func decode[T metadata.Roles](role string, data []byte) (*signed[T], error) {
	if err := checkShape(role, data); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	m, err := (&signed[T]{}).FromBytes(data)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return m, nil
}

func checkShape(role string, data []byte) error {
	if int64(len(data)) > limitOf(role) {
		return fmt.Errorf("%d bytes, more than %d", len(data), limitOf(role))
	}
	var s shape
	if err := json.Unmarshal(data, &s); err != nil {
		return err
	}
	kind := role
	switch role {
	case Root, Snapshot, Timestamp:
	default:
		kind = Targets // channels are targets roles
	}
	switch {
	case s.Signed.Type != kind:
		return fmt.Errorf("signed._type: %.40q, not %q", s.Signed.Type, kind)
	case !strings.HasPrefix(s.Signed.Spec, "1."):
		// TUF §4.3: a client must refuse another major version.
		return fmt.Errorf("signed.spec_version: %.40q, not 1.x", s.Signed.Spec)
	case s.Signed.Version < 1 || s.Signed.Version > maxVersion:
		return fmt.Errorf("signed.version: %d", s.Signed.Version)
	case s.Signed.Expires.IsZero():
		return errors.New("signed.expires: missing")
	case len(s.Signatures) > maxSignatures:
		return fmt.Errorf("signatures: %d, more than %d", len(s.Signatures), maxSignatures)
	}
	switch kind {
	case Root:
		return s.checkRoot()
	case Snapshot:
		return s.checkMeta("targets.json", maxChannels+1)
	case Timestamp:
		return s.checkMeta("snapshot.json", 1)
	default:
		return s.checkTargets(role)
	}
}

func (s *shape) checkRoot() error {
	if !s.Signed.Consistent {
		return errors.New("signed.consistent_snapshot: not true")
	}
	if err := checkKeys("signed.keys", s.Signed.Keys); err != nil {
		return err
	}
	for _, name := range metadata.TOP_LEVEL_ROLE_NAMES {
		if s.Signed.Roles[name] == nil {
			return fmt.Errorf("signed.roles.%s: missing", name)
		}
	}
	for name, role := range s.Signed.Roles {
		if role == nil {
			return fmt.Errorf("signed.roles.%.40s: null", name)
		}
		if err := role.check(s.Signed.Keys); err != nil {
			return fmt.Errorf("signed.roles.%.40s.%w", name, err)
		}
	}
	return nil
}

func checkKeys(field string, keys map[string]*shapeKey) error {
	if len(keys) > maxKeys {
		return fmt.Errorf("%s: %d, more than %d", field, len(keys), maxKeys)
	}
	for id, k := range keys {
		if k == nil {
			return fmt.Errorf("%s.%.64s: null", field, id)
		}
		if err := k.check(id); err != nil {
			return fmt.Errorf("%s.%.64s.%w", field, id, err)
		}
	}
	return nil
}

// check wants a key that go-tuf can use, under the id that is its digest: one
// key under two ids would count twice towards a threshold.
func (k *shapeKey) check(id string) error {
	if k.Type == metadata.KeyTypeEd25519 {
		if b, err := hex.DecodeString(k.Value.Public); err != nil || len(b) != 32 {
			return errors.New("keyval.public: not 32 bytes in hex")
		}
	}
	key := metadata.Key{Type: k.Type, Scheme: k.Scheme, Value: metadata.KeyVal{PublicKey: k.Value.Public}}
	if _, err := key.ToPublicKey(); err != nil {
		return fmt.Errorf("keyval.public: %w", err)
	}
	want, err := key.ID()
	if err != nil {
		return fmt.Errorf("keyval.public: %w", err)
	}
	if id != want {
		return fmt.Errorf("keyval.public: the key's id is %s", want)
	}
	return nil
}

func (r *shapeRole) check(keys map[string]*shapeKey) error {
	if len(r.KeyIDs) > maxKeys {
		return fmt.Errorf("keyids: %d, more than %d", len(r.KeyIDs), maxKeys)
	}
	seen := map[string]bool{}
	for i, id := range r.KeyIDs {
		if keys[id] == nil || seen[id] {
			return fmt.Errorf("keyids[%d]: unknown or repeated key %.64q", i, id)
		}
		seen[id] = true
	}
	if r.Threshold < 1 || r.Threshold > len(r.KeyIDs) {
		return fmt.Errorf("threshold: %d of %d keys", r.Threshold, len(r.KeyIDs))
	}
	return nil
}

// checkMeta is for snapshot and timestamp: versions, lengths and digests of
// other metadata. Length and digest are optional in TUF; here they are not, so
// that every download is bounded and verified before it is parsed.
func (s *shape) checkMeta(must string, most int) error {
	if s.Signed.Meta[must] == nil {
		return fmt.Errorf("signed.meta.%s: missing", must)
	}
	if len(s.Signed.Meta) > most {
		return fmt.Errorf("signed.meta: %d, more than %d", len(s.Signed.Meta), most)
	}
	for name, f := range s.Signed.Meta {
		role, ok := strings.CutSuffix(name, ".json")
		if !ok || role != Targets && role != Snapshot && CheckChannel(role) != nil {
			return fmt.Errorf("signed.meta: unexpected name %.60q", name)
		}
		switch {
		case f == nil:
			return fmt.Errorf("signed.meta.%s: null", name)
		case f.Version < 1 || f.Version > maxVersion:
			return fmt.Errorf("signed.meta.%s.version: %d", name, f.Version)
		case f.Length < 1 || f.Length > limitOf(role):
			return fmt.Errorf("signed.meta.%s.length: %d", name, f.Length)
		}
		if err := f.checkHashes(); err != nil {
			return fmt.Errorf("signed.meta.%s.%w", name, err)
		}
	}
	return nil
}

func (f *shapeFile) checkHashes() error {
	for name, h := range f.Hashes {
		size := map[string]int{"sha256": 32, "sha512": 64}[name]
		if b, err := hex.DecodeString(h); err != nil || size == 0 || len(b) != size {
			return fmt.Errorf("hashes.%.20s: %.140q", name, h)
		}
	}
	if _, ok := f.Hashes["sha256"]; !ok {
		return errors.New("hashes.sha256: missing")
	}
	return nil
}

func (s *shape) checkTargets(role string) error {
	if len(s.Signed.Targets) > maxEntries {
		return fmt.Errorf("signed.targets: %d, more than %d", len(s.Signed.Targets), maxEntries)
	}
	for path, f := range s.Signed.Targets {
		if err := checkPath(path); err != nil {
			return fmt.Errorf("signed.targets: %w", err)
		}
		if role != Targets && channelOf(path) != role {
			// TUF would look it up elsewhere and never see this entry; it
			// can only be a mistake or an attempt.
			return fmt.Errorf("signed.targets.%s: not in channel %s", path, role)
		}
		switch {
		case f == nil:
			return fmt.Errorf("signed.targets.%s: null", path)
		case f.Length < 0 || f.Length > maxTarget:
			return fmt.Errorf("signed.targets.%s.length: %d", path, f.Length)
		}
		if err := f.checkHashes(); err != nil {
			return fmt.Errorf("signed.targets.%s.%w", path, err)
		}
	}
	d := s.Signed.Delegations
	if d == nil {
		return nil
	}
	if role != Targets {
		return errors.New("signed.delegations: a channel delegates to nobody")
	}
	return d.check()
}

func (d *shapeDelegations) check() error {
	switch {
	case len(d.Succinct) > 0:
		return errors.New("signed.delegations.succinct_roles: not used here")
	case len(d.Roles) > maxChannels:
		return fmt.Errorf("signed.delegations.roles: %d, more than %d", len(d.Roles), maxChannels)
	}
	if err := checkKeys("signed.delegations.keys", d.Keys); err != nil {
		return err
	}
	seen := map[string]bool{}
	for i := range d.Roles {
		r := &d.Roles[i]
		if err := CheckChannel(r.Name); err != nil {
			return fmt.Errorf("signed.delegations.roles[%d].name: %w", i, err)
		}
		if seen[r.Name] {
			return fmt.Errorf("signed.delegations.roles[%d].name: %s is there twice", i, r.Name)
		}
		seen[r.Name] = true
		for _, p := range r.Paths {
			if channelOf(p) != r.Name {
				return fmt.Errorf("signed.delegations.roles[%d].paths: %.80q is not below %s", i, p, r.Name)
			}
		}
		if err := r.check(d.Keys); err != nil {
			return fmt.Errorf("signed.delegations.roles[%d].%w", i, err)
		}
	}
	return nil
}

// encode is the one way metadata is written.
func encode[T metadata.Roles](m *signed[T]) ([]byte, error) {
	data, err := m.ToBytes(true)
	if err != nil {
		return nil, err
	}
	return append(data, '\n'), nil
}

// readBounded reads all of r, at most limit bytes.
func readBounded(r io.Reader, limit int64) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("%w: more than %d bytes", ErrTooLarge, limit)
	}
	return data, nil
}
