package repo

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"
	"github.com/theupdateframework/go-tuf/v2/metadata/trustedmetadata"
)

// trust is what has been verified so far, step by step in the order of TUF
// §5.3 to §5.6: root, timestamp, snapshot, targets, channels. It reads no
// file. The checks of signatures, versions and expiry are go-tuf's; before
// each the shape of the data is checked, after each the error gets the name of
// the role, of the file and one of this package's reasons.
type trust struct {
	set *trustedmetadata.TrustedMetadata
}

// newTrust starts from a root that is trusted because someone said so.
func newTrust(root []byte, now time.Time) (*trust, error) {
	file := "trusted root"
	if err := checkShape(Root, root); err != nil {
		return nil, &RoleError{Root, file, fmt.Errorf("%w: %w", ErrMalformed, err)}
	}
	set, err := trustedmetadata.New(root)
	if err != nil {
		return nil, &RoleError{Root, file, reason(err)}
	}
	set.RefTime = now
	return &trust{set}, nil
}

// reason turns go-tuf's errors into ours.
func reason(err error) error {
	switch {
	case errors.Is(err, &metadata.ErrExpiredMetadata{}):
		return ErrExpired
	case errors.Is(err, &metadata.ErrBadVersionNumber{}):
		return fmt.Errorf("%w: %w", ErrRollback, err)
	case errors.Is(err, &metadata.ErrLengthOrHashMismatch{}):
		return fmt.Errorf("%w: %w", ErrMismatch, err)
	case errors.Is(err, &metadata.ErrUnsignedMetadata{}), errors.Is(err, &metadata.ErrValue{}):
		return fmt.Errorf("%w: %w", ErrSignature, err)
	default:
		return err
	}
}

// updateRoot is TUF §5.3.4 to §5.3.8: the next root, signed by the keys of the
// one before and by its own.
func (t *trust) updateRoot(data []byte) error {
	file := metadataPath(Root, t.rootVersion()+1)
	if err := checkShape(Root, data); err != nil {
		return &RoleError{Root, file, fmt.Errorf("%w: %w", ErrMalformed, err)}
	}
	if _, err := t.set.UpdateRoot(data); err != nil {
		return &RoleError{Root, file, reason(err)}
	}
	return nil
}

func (t *trust) rootVersion() int64 { return t.set.Root.Signed.Version }

// checkRootExpiry is TUF §5.3.10.
func (t *trust) checkRootExpiry() error {
	return t.fresh(Root, t.rootVersion(), t.set.Root.Signed.Expires, t.set.RefTime)
}

func (t *trust) fresh(role string, version int64, expires, now time.Time) error {
	if now.Before(expires) {
		return nil
	}
	return &RoleError{role, metadataPath(role, version), expired(role, expires)}
}

func expired(role string, at time.Time) error {
	what := "ask its publisher for a new one"
	if role == Timestamp {
		what = "its publisher stopped refreshing it, or someone keeps the newer one back"
	}
	return fmt.Errorf("%w on %s: %s", ErrExpired, at.UTC().Format(time.RFC3339), what)
}

// updateTimestamp is TUF §5.4. seen loads one that was verified in an earlier
// run: it may be expired, and serves to notice a rollback.
func (t *trust) updateTimestamp(data []byte, seen bool) error {
	file := metadataPath(Timestamp, 0)
	if err := checkShape(Timestamp, data); err != nil {
		return &RoleError{Timestamp, file, fmt.Errorf("%w: %w", ErrMalformed, err)}
	}
	if err := t.checkRootExpiry(); err != nil {
		return err
	}
	_, err := t.set.UpdateTimestamp(data)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, &metadata.ErrEqualVersionNumber{}):
		// §5.4.3: nothing new; the one we have is kept, and is current unless
		// it expired.
	case errors.Is(err, &metadata.ErrExpiredMetadata{}) && seen:
		return nil
	case !errors.Is(err, &metadata.ErrExpiredMetadata{}):
		return &RoleError{Timestamp, file, reason(err)}
	}
	if seen {
		return nil
	}
	ts := t.set.Timestamp.Signed
	return t.fresh(Timestamp, 0, ts.Expires, t.set.RefTime)
}

// updateSnapshot is TUF §5.5. seen loads the one of an earlier run and says
// whether it is the one the timestamp names.
func (t *trust) updateSnapshot(data []byte, seen bool) error {
	file := metadataPath(Snapshot, t.want(Snapshot).Version)
	// §5.5.2: against the timestamp's digest before anything is parsed.
	if err := t.want(Snapshot).VerifyLengthHashes(data); err != nil && !seen {
		return &RoleError{Snapshot, file, reason(err)}
	}
	if err := checkShape(Snapshot, data); err != nil {
		return &RoleError{Snapshot, file, fmt.Errorf("%w: %w", ErrMalformed, err)}
	}
	if _, err := t.set.UpdateSnapshot(data, seen); err != nil {
		return &RoleError{Snapshot, file, t.dated(reason(err), Snapshot)}
	}
	if seen {
		// The same version with other content would be a mix of two states.
		if err := t.want(Snapshot).VerifyLengthHashes(data); err != nil {
			return &RoleError{Snapshot, file, reason(err)}
		}
	}
	return nil
}

// dated adds the date to an expiry.
func (t *trust) dated(err error, role string) error {
	if err != ErrExpired { //nolint:errorlint // reason returned it bare
		return err
	}
	switch {
	case role == Snapshot && t.set.Snapshot != nil:
		return expired(role, t.set.Snapshot.Signed.Expires)
	case role == Timestamp && t.set.Timestamp != nil:
		return expired(role, t.set.Timestamp.Signed.Expires)
	default:
		return err
	}
}

// updateTargets is TUF §5.6, for the top-level role and for a channel.
func (t *trust) updateTargets(role string, data []byte) error {
	meta := t.want(role)
	if meta == nil {
		return &RoleError{role, metadataPath(role, 0), fmt.Errorf("%w: the snapshot does not list it", ErrNotFound)}
	}
	file := metadataPath(role, meta.Version)
	if err := meta.VerifyLengthHashes(data); err != nil {
		return &RoleError{role, file, reason(err)}
	}
	m, err := decode[metadata.TargetsType](role, data)
	if err != nil {
		return &RoleError{role, file, err}
	}
	parent := Root
	if role != Targets {
		parent = Targets
	}
	if _, err := t.set.UpdateDelegatedTargets(data, role, parent); err != nil {
		err = reason(err)
		if err == ErrExpired { //nolint:errorlint // reason returned it bare
			err = expired(role, m.Signed.Expires)
		}
		return &RoleError{role, file, err}
	}
	return nil
}

// want is what the level above says of a role's file; nil when it is not known.
func (t *trust) want(role string) *metadata.MetaFiles {
	switch {
	case role == Snapshot && t.set.Timestamp != nil:
		return t.set.Timestamp.Signed.Meta["snapshot.json"]
	case role != Snapshot && t.set.Snapshot != nil:
		return t.set.Snapshot.Signed.Meta[role+".json"]
	default:
		return nil
	}
}

// channels lists the channels that targets delegates to and that were
// published at least once, in the order of promotion.
func (t *trust) channels() []string {
	top := t.set.Targets[Targets]
	if top == nil || top.Signed.Delegations == nil {
		return nil
	}
	var names []string
	for _, d := range top.Signed.Delegations.Roles {
		if t.want(d.Name) != nil {
			names = append(names, d.Name)
		}
	}
	return names
}

// keysOf are the ids of the keys of a top-level role, sorted.
func (t *trust) keysOf(role string) []string {
	return slices.Sorted(slices.Values(t.set.Root.Signed.Roles[role].KeyIDs))
}

// target is the signed description of a target; ErrNotTarget when there is
// none. It is looked up in the role of the path's channel, and only if the
// channel may sign such paths.
func (t *trust) target(path string) (*metadata.TargetFiles, error) {
	if err := checkPath(path); err != nil {
		return nil, err
	}
	channel := channelOf(path)
	m := t.set.Targets[channel]
	if m == nil || !t.delegated(channel, path) {
		return nil, fmt.Errorf("%s: %w (no channel %s)", path, ErrNotTarget, channel)
	}
	f := m.Signed.Targets[path]
	if f == nil {
		return nil, fmt.Errorf("%s: %w", path, ErrNotTarget)
	}
	return f, nil
}

func (t *trust) delegated(channel, path string) bool {
	top := t.set.Targets[Targets]
	if top == nil || top.Signed.Delegations == nil {
		return false
	}
	for _, d := range top.Signed.Delegations.Roles {
		if d.Name == channel {
			ok, err := d.IsDelegatedPath(path)
			return ok && err == nil
		}
	}
	return false
}

// checkFresh verifies again, at the moment of use, that nothing expired.
func (t *trust) checkFresh(now time.Time, channels ...string) error {
	err := errors.Join(
		t.fresh(Root, t.rootVersion(), t.set.Root.Signed.Expires, now),
		t.fresh(Timestamp, 0, t.set.Timestamp.Signed.Expires, now),
		t.fresh(Snapshot, t.set.Snapshot.Signed.Version, t.set.Snapshot.Signed.Expires, now),
	)
	for _, role := range append([]string{Targets}, channels...) {
		if m := t.set.Targets[role]; m != nil {
			err = errors.Join(err, t.fresh(role, m.Signed.Version, m.Signed.Expires, now))
		}
	}
	return err
}

// metadataPath is where a role's metadata is. Version 0 is the one file
// without a version in its name: timestamp.json.
func metadataPath(role string, version int64) string {
	if version == 0 {
		return metadataDir + "/" + role + ".json"
	}
	return fmt.Sprintf("%s/%d.%s.json", metadataDir, version, role)
}

// targetFile is where a target is, by consistent snapshot rules (TUF §6.2).
func targetFile(path string, f *metadata.TargetFiles) string {
	dir, name := "", path
	if i := lastSlash(path); i >= 0 {
		dir, name = path[:i+1], path[i+1:]
	}
	return targetsDir + "/" + dir + f.Hashes["sha256"].String() + "." + name
}

func lastSlash(s string) int {
	for i := len(s) - 1; i >= 0; i-- {
		if s[i] == '/' {
			return i
		}
	}
	return -1
}
