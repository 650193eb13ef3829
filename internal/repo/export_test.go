package repo

import (
	"bytes"
	"time"

	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/theupdateframework/go-tuf/v2/metadata"
)

// What tests in other packages' clothes need of the inside.

func (r *Repo) SetStep(fn func(name string) error) { r.step = fn }

func (k *Keys) Signer(id string) (signature.Signer, error) { return k.signer(id) }

func CheckShape(role string, data []byte) error { return checkShape(role, data) }

func DecodeTargets(role string, data []byte) error {
	_, err := decode[metadata.TargetsType](role, data)
	return err
}

func DecodeSettings(data []byte) (*Settings, error) { return decodeSettings(data) }
func DecodePublic(data []byte) (*PublicKey, error)  { return decodePublic(data) }

func DecodeJournal(data []byte) error {
	_, err := decodeJournal(data)
	return err
}

func OpenKey(data []byte, pass string) error {
	_, err := openKey(data, pass, minWork)
	return err
}

// PutTarget publishes one target.
func (r *Repo) PutTarget(path string, content []byte, keys *Keys) error {
	c := &change{what: "publish " + path}
	if err := c.put(r, path, content); err != nil {
		return err
	}
	return r.commit(c, keys)
}

// DropTarget takes one back.
func (r *Repo) DropTarget(path string, keys *Keys) error {
	c := &change{what: "drop " + path}
	if err := c.drop(r, path); err != nil {
		return err
	}
	return r.commit(c, keys)
}

func Warnings(es []Expiry, now time.Time, life func(string) time.Duration) []string {
	return warnings(es, now, life)
}

const TempPrefix = tempPrefix

func DecodePreview(data []byte) error {
	_, err := decodePreview(data)
	return err
}

func CheckPath(path string) error { return checkPath(path) }

// Walk feeds a file to the client's workflow in the place of the genuine one,
// after everything that comes before it.
func Walk(root, timestamp, snapshot, targets []byte, role string, data []byte, now time.Time) error {
	t, err := newTrust(root, now)
	if err != nil {
		return err
	}
	if role == Root {
		return t.updateRoot(data)
	}
	if role == Timestamp {
		timestamp = data
	}
	if err := t.updateTimestamp(timestamp, false); err != nil {
		return err
	}
	if role == Timestamp {
		return nil
	}
	if role == Snapshot {
		return t.updateSnapshot(data, true)
	}
	if err := t.updateSnapshot(snapshot, false); err != nil {
		return err
	}
	if role == Targets {
		return t.updateTargets(Targets, data)
	}
	if err := t.updateTargets(Targets, targets); err != nil {
		return err
	}
	return t.updateTargets(role, data)
}

func BuildID(data []byte) (string, error) { return buildID(bytes.NewReader(data)) }
