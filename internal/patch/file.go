package patch

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Members of the archive, in this order; image-N.o once per image, and behind
// them before-N.json of those that have it.
const (
	memberFormat   = "hotpatch-1"
	memberManifest = "manifest.json"
	memberAccepted = "accepted.json"
)

func memberImage(i int) string { return fmt.Sprintf("image-%d.o", i) }

// formatText is the content of memberFormat: the format number, then the
// digests of manifest and acceptance in the notation of sha256sum. They protect no
// one from an attacker (who would compute them anew), but damage to the file
// is found before anything in it is believed. The first one is the ID.
func formatText(manifest, accepted []byte) []byte {
	text := fmt.Sprintf("%d\n%s  %s\n", formatNumber, digest(manifest), memberManifest)
	if accepted != nil {
		text += fmt.Sprintf("%s  %s\n", digest(accepted), memberAccepted)
	}
	return []byte(text)
}

// ErrNotAccepted says that a bundle needs review and nobody took
// responsibility for it yet.
var ErrNotAccepted = errors.New("needs review and was not accepted")

// What ReadFile says of a file that it cannot read, when that is plain to see.
var (
	ErrOther   = errors.New("not a hotpatch file")
	ErrPackage = errors.New("a Debian package, not a hotpatch; hotpatch build makes one of two packages")
	ErrDamaged = errors.New("cut off or damaged: copy it again")
)

// sealed is a bundle made ready for the file: everything in canonical order,
// encoded and digested. The bundle it comes from is not changed.
type sealed struct {
	id       ID
	manifest Manifest
	text     []byte // the manifest as written
	objects  []*Object
	members  [][]byte // the objects as written
	before   [][]byte // nil, or one per image
}

func (b *Bundle) seal() (*sealed, error) {
	if len(b.Manifest.Images) != len(b.Objects) {
		return nil, fmt.Errorf("%d images, but %d objects", len(b.Manifest.Images), len(b.Objects))
	}
	if len(b.Before) != 0 && len(b.Before) != len(b.Objects) {
		return nil, fmt.Errorf("%d images, but code before of %d", len(b.Objects), len(b.Before))
	}
	if err := b.Manifest.checkLengths(); err != nil {
		return nil, err
	}
	s := &sealed{manifest: b.Manifest.sorted()}
	order := make([]int, len(b.Objects))
	for i := range order {
		order[i] = i
	}
	images := b.Manifest.Images
	slices.SortStableFunc(order, func(x, y int) int { return strings.Compare(images[x].Path, images[y].Path) })
	for to, from := range order {
		o := b.Objects[from]
		if o == nil {
			return nil, fmt.Errorf("%s: no object", images[from].Path)
		}
		data, err := o.Encode()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", images[from].Path, err)
		}
		s.manifest.Images[to].Object = memberImage(to)
		s.manifest.Images[to].Digest = digest(data)
		s.objects = append(s.objects, o)
		s.members = append(s.members, data)
		s.manifest.Images[to].Before = ""
		if len(b.Before) > 0 {
			s.before = append(s.before, b.Before[from])
			if len(b.Before[from]) > 0 {
				s.manifest.Images[to].Before = digest(b.Before[from])
			}
		}
	}
	if err := s.manifest.check(s.objects); err != nil {
		return nil, err
	}
	text, err := encodeJSON(&s.manifest)
	if err != nil {
		return nil, err
	}
	s.text, s.id = text, ID(digest(text))
	return s, nil
}

func digest(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// ID computes the identity.
func (b *Bundle) ID() (ID, error) {
	s, err := b.seal()
	if err != nil {
		return "", fmt.Errorf("identify bundle: %w", err)
	}
	return s.id, nil
}

// Accept records who takes responsibility for the bundle, and why.
func (b *Bundle) Accept(by, reason string, at time.Time) error {
	id, err := b.ID()
	if err != nil {
		return err
	}
	a := &Acceptance{By: by, Reason: reason, At: at.UTC().Truncate(time.Second), ID: id}
	if err := a.check(id); err != nil {
		return fmt.Errorf("accept bundle: %w", err)
	}
	b.Accepted = a
	return nil
}

// Applicable is nil when the bundle may be applied: clean, or accepted.
// ErrNotAccepted is the error for a bundle that only lacks an acceptance.
func (b *Bundle) Applicable() error {
	id, err := b.ID()
	if err != nil {
		return err
	}
	switch {
	case b.Accepted != nil:
		if err := b.Accepted.check(id); err != nil {
			return fmt.Errorf("bundle %s: accepted: %w", id.Short(), err)
		}
	case b.Manifest.Verdict == Review:
		return fmt.Errorf("bundle %s: %w", id.Short(), ErrNotAccepted)
	}
	return nil // check lets no other verdict than clean pass
}

// Encode writes the file: same bundle, same bytes. It puts the manifest into
// canonical order, Objects with it, and fills in Digest and Object of every
// image.
func (b *Bundle) Encode() ([]byte, error) {
	data, err := b.encode()
	if err != nil {
		return nil, fmt.Errorf("encode bundle: %w", err)
	}
	return data, nil
}

func (b *Bundle) encode() ([]byte, error) {
	s, err := b.seal()
	if err != nil {
		return nil, err
	}
	var accepted []byte
	if b.Accepted != nil {
		if err := b.Accepted.check(s.id); err != nil {
			return nil, fmt.Errorf("accepted: %w", err)
		}
		if accepted, err = encodeJSON(b.Accepted); err != nil {
			return nil, err
		}
	}
	members := []member{{memberFormat, formatText(s.text, accepted)}, {memberManifest, s.text}}
	for i, data := range s.members {
		members = append(members, member{memberImage(i), data})
	}
	for i, data := range s.before {
		if len(data) > 0 {
			members = append(members, member{memberBefore(i), data})
		}
	}
	if accepted != nil {
		members = append(members, member{memberAccepted, accepted})
	}
	data, err := writeArchive(members)
	if err != nil {
		return nil, err
	}
	b.Manifest, b.Objects, b.Before = s.manifest, s.objects, s.before
	return data, nil
}

// Decode reads a file, verifies every digest and all structure (bounds, sites
// inside the object's code, sorted, no overlap), and names the member or field
// at fault. It accepts only what Encode writes, so that Encode of the result is
// data again. The objects refer to data, which must not change while they are
// in use.
func Decode(data []byte) (*Bundle, error) {
	b, err := decode(data)
	if err != nil {
		return nil, fmt.Errorf("decode bundle: %w", err)
	}
	return b, nil
}

func decode(data []byte) (*Bundle, error) {
	members, err := readArchive(data)
	if err != nil {
		return nil, err
	}
	text, images, accepted, err := splitMembers(members)
	if err != nil {
		return nil, err
	}
	b := &Bundle{}
	if err := decodeJSON(text, &b.Manifest); err != nil {
		return nil, fmt.Errorf("%s: %w", memberManifest, err)
	}
	if err := b.Manifest.checkLengths(); err != nil {
		return nil, fmt.Errorf("%s: %w", memberManifest, err)
	}
	if images, b.Before, err = splitBefore(b.Manifest.Images, images); err != nil {
		return nil, err
	}
	if b.Objects, err = decodeObjects(b.Manifest.Images, images); err != nil {
		return nil, err
	}
	if err := b.Manifest.check(b.Objects); err != nil {
		return nil, fmt.Errorf("%s: %w", memberManifest, err)
	}
	// Sorting and re-encoding what was read must change nothing: one bundle has
	// one manifest, hence one identity.
	again := b.Manifest.sorted()
	if err := sameJSON(text, &again); err != nil {
		return nil, fmt.Errorf("%s: %w", memberManifest, err)
	}
	if accepted != nil {
		if b.Accepted, err = decodeAccepted(accepted, ID(digest(text))); err != nil {
			return nil, fmt.Errorf("%s: %w", memberAccepted, err)
		}
	}
	return b, nil
}

// splitMembers tells the members apart and verifies the digests of the JSON
// ones. It looks at the first member alone before any other, so that a later
// format is recognised whatever else has changed.
func splitMembers(members []member) (manifest []byte, images []member, accepted []byte, err error) {
	if len(members) == 0 {
		return nil, nil, nil, ErrOther
	}
	format := members[0]
	if format.name != memberFormat {
		return nil, nil, nil, fmt.Errorf("format %.20q is not supported; this program reads %s", format.name, memberFormat)
	}
	if len(members) < 2 || members[1].name != memberManifest {
		return nil, nil, nil, damaged("member 1 is not %s", memberManifest)
	}
	manifest, images = members[1].data, members[2:]
	if n := len(images); n > 0 && images[n-1].name == memberAccepted {
		images, accepted = images[:n-1], images[n-1].data
	}
	if !bytes.Equal(format.data, formatText(manifest, accepted)) {
		return nil, nil, nil, damaged("%s: digest of %s or %s differs", memberFormat, memberManifest, memberAccepted)
	}
	return manifest, images, accepted, nil
}

// splitBefore takes the members with the code before from behind the objects
// and verifies their digests. What is in them is read by who wants to see it.
func splitBefore(images []Image, members []member) (objects []member, before [][]byte, err error) {
	if len(members) < len(images) {
		return members, nil, nil // decodeObjects says what is missing
	}
	n := len(images)
	objects, members = members[:n], members[n:]
	for i := range images {
		if images[i].Before == "" {
			continue
		}
		if before == nil {
			before = make([][]byte, len(images))
		}
		if len(members) == 0 || members[0].name != memberBefore(i) {
			return nil, nil, damaged("%s: the manifest has it, the file not", memberBefore(i))
		}
		if got := digest(members[0].data); got != images[i].Before {
			return nil, nil, damaged("%s: digest is %s, the manifest says %.64q", memberBefore(i), got, images[i].Before)
		}
		before[i], members = members[0].data, members[1:]
	}
	return append(objects[:n:n], members...), before, nil // the rest is too many
}

func decodeObjects(images []Image, members []member) ([]*Object, error) {
	if len(images) != len(members) {
		return nil, damaged("%s: %d images, but the file has %d image members", memberManifest, len(images), len(members))
	}
	var objects []*Object
	for i := range images {
		m := members[i]
		if m.name != memberImage(i) {
			return nil, fmt.Errorf("member %d is %.20q, not %s", i+2, m.name, memberImage(i))
		}
		if got := digest(m.data); got != images[i].Digest {
			return nil, damaged("%s: digest is %s, the manifest says %.64q", m.name, got, images[i].Digest)
		}
		o, err := DecodeObject(m.data)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", m.name, err)
		}
		objects = append(objects, o)
	}
	return objects, nil
}

func decodeAccepted(data []byte, id ID) (*Acceptance, error) {
	a := &Acceptance{}
	if err := decodeJSON(data, a); err != nil {
		return nil, err
	}
	if err := a.check(id); err != nil {
		return nil, err
	}
	return a, sameJSON(data, a)
}

// ReadFile is Decode of a file, with its size bounded.
func ReadFile(path string) (*Bundle, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read hotpatch: %w", err)
	}
	defer f.Close()
	// One byte more than allowed is enough for Decode to refuse.
	data, err := io.ReadAll(io.LimitReader(f, MaxFile+1))
	if err != nil {
		return nil, fmt.Errorf("read hotpatch: %w", err)
	}
	b, err := decode(data)
	switch {
	case errors.Is(err, ErrOther):
		return nil, fmt.Errorf("%s: %w", path, err)
	case errors.Is(err, ErrPackage), errors.Is(err, ErrDamaged):
		return nil, fmt.Errorf("%s is %w", path, err)
	case err != nil:
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return b, nil
}

// WriteFile encodes to path through a temporary file and rename: path holds
// the old or the new file, never a part of one.
func (b *Bundle) WriteFile(path string) error {
	data, err := b.Encode()
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".hotpatch-*")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", path, errors.Join(err, os.Remove(f.Name())))
	}
	return nil
}
