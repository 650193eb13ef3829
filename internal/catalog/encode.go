package catalog

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
)

// MaxBytes is the longest JSON that is read: 64 MiB.
const MaxBytes = 64 << 20

// EncodeJSON is how everything of this package is written: indented by two
// spaces, in the order of the struct, newline at the end, lists never null.
func EncodeJSON(v any) ([]byte, error) {
	var buf bytes.Buffer
	e := json.NewEncoder(&buf)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, fmt.Errorf("encode %T: %w", v, err)
	}
	return buf.Bytes(), nil
}

// Encode writes the one encoding that a catalogue has: sorted, and checked.
func (c *Catalog) Encode() ([]byte, error) {
	s := *c
	s.Releases = append([]Release{}, c.Releases...)
	s.Calendar.Rows = append([]Row{}, c.Calendar.Rows...)
	s.Calendar.Cadence.Baselines = append([]int{}, c.Calendar.Cadence.Baselines...)
	s.Sort()
	for i := range s.Releases {
		s.Releases[i].Artifacts = append([]Artifact{}, s.Releases[i].Artifacts...)
	}
	if err := s.check(); err != nil {
		return nil, fmt.Errorf("encode catalogue: %w", err)
	}
	return EncodeJSON(&s)
}

// Decode reads a catalogue that Encode wrote: in bounds, with no unknown or
// repeated field and no other order, every value checked and every reference
// leading somewhere.
func Decode(data []byte) (*Catalog, error) {
	var c Catalog
	if err := decodeJSON(data, &c); err != nil {
		return nil, fmt.Errorf("decode catalogue: %w", err)
	}
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("decode catalogue: %w", err)
	}
	again, err := c.Encode()
	if err != nil {
		return nil, fmt.Errorf("decode catalogue: %w", err)
	}
	if i := difference(data, again); i >= 0 {
		return nil, fmt.Errorf("decode catalogue: not the canonical encoding at offset %d", i)
	}
	return &c, nil
}

func difference(a, b []byte) int {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return i
		}
	}
	if len(a) != len(b) {
		return min(len(a), len(b))
	}
	return -1
}

// DecodeRelease, DecodeInventory, DecodeEnrolment, DecodePolicy,
// DecodeAssessment, DecodeOverride and DecodeRun read one thing each: in
// bounds, no unknown field, nothing behind it, every value checked. Spacing is
// free: policies are written by hand.
func DecodeRelease(data []byte) (*Release, error) { return decodeChecked[Release](data, "release") }

// DecodeInventory reads what scan wrote.
func DecodeInventory(data []byte) (*Inventory, error) {
	return decodeChecked[Inventory](data, "inventory")
}

// DecodeEnrolment reads the agent's record.
func DecodeEnrolment(data []byte) (*Enrolment, error) {
	return decodeChecked[Enrolment](data, "enrolment")
}

// DecodePolicy reads what a machine's owner decided.
func DecodePolicy(data []byte) (*Policy, error) { return decodeChecked[Policy](data, "policy") }

// DecodeAssessment reads what an agent reported.
func DecodeAssessment(data []byte) (*Assessment, error) {
	return decodeChecked[Assessment](data, "assessment")
}

// DecodeOverride reads an approval.
func DecodeOverride(data []byte) (*Override, error) { return decodeChecked[Override](data, "override") }

// DecodeRun reads what came of a run.
func DecodeRun(data []byte) (*Run, error) { return decodeChecked[Run](data, "run") }

// checked is a pointer to something that can say what is wrong with it.
type checked[T any] interface {
	*T
	check() error
}

func decodeChecked[T any, P checked[T]](data []byte, what string) (*T, error) {
	v := new(T)
	if err := decodeJSON(data, v); err != nil {
		return nil, fmt.Errorf("decode %s: %w", what, err)
	}
	if err := bounds(reflect.ValueOf(v), 0); err != nil {
		return nil, fmt.Errorf("decode %s%w", what, err)
	}
	if err := P(v).check(); err != nil {
		return nil, fmt.Errorf("decode %s: %w", what, err)
	}
	return v, nil
}

func decodeJSON(data []byte, v any) error {
	if len(data) > MaxBytes {
		return fmt.Errorf("%d bytes, more than %d", len(data), MaxBytes)
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return fmt.Errorf("offset %d: %w", d.InputOffset(), err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("offset %d: data behind the value", d.InputOffset())
	}
	return nil
}
