package build

import (
	"errors"

	"hotpatch/internal/image"
	"hotpatch/internal/rebuild"
	"hotpatch/internal/types"
)

// evidence says how far the types of the base and the fixed image can be
// believed. nil: they do not come from a rebuild.
type evidence [2]*rebuild.Evidence

// attach gives an image the debug file at path and returns what the file says
// of itself when it comes from a rebuild.
func attach(m *image.Image, path string) (*rebuild.Evidence, error) {
	if err := m.AttachDebug(path); err != nil {
		return nil, err
	}
	e, err := rebuild.ReadEvidence(path)
	if errors.Is(err, rebuild.ErrNoEvidence) {
		return nil, nil
	}
	return e, err
}

// String is about the types of both images; "" when no rebuild is involved.
func (e evidence) String() string {
	text := ""
	for i, side := range []string{"base", "fixed"} {
		if e[i] == nil {
			continue
		}
		if text != "" {
			text += "; "
		}
		text += side + ": " + e[i].String()
	}
	return text
}

// layouts compares types. A rebuilt image may have its code elsewhere than the
// shipped one; then nothing tells which types the carried code handles, and all
// of them count.
func (j *judge) layouts() ([]types.Difference, bool, error) {
	for _, e := range j.types {
		if e != nil && !e.SameLayout {
			return j.d.LayoutsOf(j.c.list, j.bound()...)
		}
	}
	return j.d.LayoutsFor(j.c.list, j.bound()...)
}

// verified says whether the compared types are those of the two images. Types
// of a rebuild that does not match are hints, no proof.
func (j *judge) verified() bool {
	all := true
	for i, side := range []string{"base", "fixed"} {
		if e := j.types[i]; e != nil && !e.Verified {
			j.r.add(layoutUnverified, "", "types of the %s image: %s", side, e)
			all = false
		}
	}
	return all
}
