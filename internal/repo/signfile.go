package repo

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/theupdateframework/go-tuf/v2/metadata"
)

// SignFile adds the signatures of the keys at hand to a metadata file that was
// carried here: pending/root.json, say. It returns how many were added.
func SignFile(file string, keys *Keys) (added int, err error) {
	data, err := readFileBounded(file, maxTargets)
	if err != nil {
		return 0, fmt.Errorf("sign: %w", err)
	}
	role, _, _ := strings.Cut(filepath.Base(file), ".json")
	if i := strings.LastIndexByte(role, '.'); i >= 0 {
		role = role[i+1:] // 3.root.json
	}
	switch role {
	case Snapshot, Timestamp:
		return 0, fmt.Errorf("sign %s: the repository makes it itself", file)
	case Root:
		m, err := decode[metadata.RootType](role, data)
		if err != nil {
			return 0, fmt.Errorf("sign %s: %w", file, err)
		}
		return signFile(file, m, keys)
	default:
		m, err := decode[metadata.TargetsType](role, data)
		if err != nil {
			return 0, fmt.Errorf("sign %s: %w", file, err)
		}
		return signFile(file, m, keys)
	}
}

// signFile signs with every key at hand: whose signature counts is for the
// repository and its clients to decide.
func signFile[T metadata.Roles](file string, m *signed[T], keys *Keys) (int, error) {
	s := signers{role: filepath.Base(file)}
	for _, k := range keys.Public() {
		s.may = append(s.may, k.ID)
	}
	before := len(m.Signatures)
	if err := sign(m, s, keys); err != nil {
		return 0, fmt.Errorf("sign %s: %w", file, err)
	}
	data, err := encode(m)
	if err != nil {
		return 0, fmt.Errorf("sign %s: %w", file, err)
	}
	if err := writeFile(file, data, 0o644); err != nil {
		return 0, fmt.Errorf("sign %s: %w", file, err)
	}
	return len(m.Signatures) - before, nil
}

// Import takes over the signatures of a copy of a pending file that another
// holder signed.
func (r *Repo) Import(file string) (added int, err error) {
	p, err := r.readPending()
	if err != nil {
		return 0, fmt.Errorf("import %s: nothing waits for signatures: %w", file, err)
	}
	data, err := readFileBounded(file, maxTargets)
	if err != nil {
		return 0, fmt.Errorf("import: %w", err)
	}
	err = p.each(func(role string, m any) error {
		if checkShape(role, data) != nil {
			return nil
		}
		s, err := r.wanted(p, role)
		if err != nil {
			return err
		}
		var n int
		switch m := m.(type) {
		case *rootMeta:
			n, err = takeSignatures(m, s, data)
		case *targetsMeta:
			n, err = takeSignatures(m, s, data)
		}
		if err != nil || n == 0 {
			return err
		}
		added += n
		return r.savePending(role, m.(interface{ ToBytes(bool) ([]byte, error) }))
	})
	if err != nil {
		return 0, fmt.Errorf("import %s: %w", file, err)
	}
	return added, nil
}

// takeSignatures adds the good signatures in data that m lacks, if data signs
// the same content.
func takeSignatures[T metadata.Roles](m *signed[T], s signers, data []byte) (int, error) {
	other, err := decode[T](s.role, data)
	if err != nil {
		return 0, nil //nolint:nilerr // of another role; the caller goes on
	}
	a, errA := json.Marshal(m.Signed)
	b, errB := json.Marshal(other.Signed)
	if err := errors.Join(errA, errB); err != nil {
		return 0, err
	}
	if string(a) != string(b) {
		return 0, nil
	}
	n := 0
	for _, g := range other.Signatures {
		known := slices.ContainsFunc(m.Signatures, func(h metadata.Signature) bool { return h.KeyID == g.KeyID })
		if !known && verifies(other, g.KeyID, s.keys[g.KeyID]) {
			m.Signatures = append(m.Signatures, g)
			n++
		}
	}
	return n, nil
}
