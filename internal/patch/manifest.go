package patch

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"
	"time"
)

// Limits of a manifest: entries per list.
const (
	MaxImages    = (MaxMembers - 3) / 2 // format, manifest and acceptance are members too; two per image
	MaxSites     = 1 << 18              // per image
	MaxFunctions = 1 << 18              // per image
	MaxRanges    = 1 << 8               // per site
	MaxReasons   = 1 << 16
	MaxChanges   = 1 << 14
	MaxCVEs      = 1 << 12
)

const (
	formatNumber = 1
	archAMD64    = "amd64"
	jumpSize     = 5 // jmp rel32
	endbrSize    = 4
)

// sorted is a copy of the manifest in canonical order, which shares no list
// with m that it had to change. Lists that are always present are never null.
func (m *Manifest) sorted() Manifest {
	s := *m
	s.CVEs = slices.Compact(slices.Sorted(slices.Values(m.CVEs)))
	s.Reasons = slices.Compact(slices.SortedFunc(slices.Values(m.Reasons), func(a, b Reason) int {
		return cmp.Or(cmp.Compare(a.Image, b.Image), cmp.Compare(a.Function, b.Function),
			cmp.Compare(a.Code, b.Code), cmp.Compare(a.Detail, b.Detail))
	}))
	s.Images = slices.SortedStableFunc(slices.Values(m.Images), func(a, b Image) int { return cmp.Compare(a.Path, b.Path) })
	s.LeftOut = slices.SortedStableFunc(slices.Values(m.LeftOut), func(a, b LeftOut) int { return cmp.Compare(a.Path, b.Path) })
	s.CVEs, s.Reasons, s.Images = present(s.CVEs), present(s.Reasons), present(s.Images)
	for i := range s.Images {
		g := &s.Images[i]
		g.Sites = present(slices.SortedStableFunc(slices.Values(g.Sites), func(a, b Site) int { return cmp.Compare(a.Base, b.Base) }))
		for k := range g.Sites {
			g.Sites[k].Ranges = present(g.Sites[k].Ranges)
		}
		g.Functions = present(slices.SortedStableFunc(slices.Values(g.Functions), compareFunctions))
	}
	return s
}

func present[E any](list []E) []E {
	if list == nil {
		return []E{}
	}
	return list
}

func compareFunctions(a, b Function) int {
	return cmp.Or(cmp.Compare(a.FixedAddr, b.FixedAddr), cmp.Compare(a.BaseAddr, b.BaseAddr), cmp.Compare(a.Name, b.Name),
		cmp.Compare(a.State, b.State), cmp.Compare(a.Size, b.Size), cmp.Compare(a.Why, b.Why))
}

// encodeJSON is the one way in which v is written: indented by two spaces, in
// the order of the struct, newline at the end.
func encodeJSON(v any) ([]byte, error) {
	var buf bytes.Buffer
	e := json.NewEncoder(&buf)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	if buf.Len() > MaxManifest {
		return nil, fmt.Errorf("%d bytes of JSON, more than %d", buf.Len(), MaxManifest)
	}
	return buf.Bytes(), nil
}

func decodeJSON(data []byte, v any) error {
	if len(data) > MaxManifest {
		return fmt.Errorf("%d bytes, more than %d", len(data), MaxManifest)
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return fmt.Errorf("offset %#x: %w", d.InputOffset(), err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("offset %#x: data behind the value", d.InputOffset())
	}
	return nil
}

// sameJSON wants that v is written as data: no other spacing, order, spelling
// of a key, repeated key or omitted field.
func sameJSON(data []byte, v any) error {
	again, err := encodeJSON(v)
	if err != nil {
		return err
	}
	if off := firstDifference(data, again); off >= 0 {
		return fmt.Errorf("not the canonical encoding at offset %#x", off)
	}
	return nil
}

// check verifies the manifest and that it fits the objects. It does not look
// at the order of lists, and wants checkLengths to have passed. Errors name the field as in the JSON.
func (m *Manifest) check(objects []*Object) error {
	if err := checkTexts(reflect.ValueOf(m).Elem()); err != nil {
		return err
	}
	switch {
	case m.Format != formatNumber:
		return fmt.Errorf("format: %d, not %d", m.Format, formatNumber)
	case m.Arch != archAMD64:
		return fmt.Errorf("arch: %.80q, not %q", m.Arch, archAMD64)
	case m.Mode != Strict && m.Mode != Independent:
		return fmt.Errorf("mode: %.80q unknown", m.Mode)
	case m.Mode == Independent && (len(m.Images) != 1 || len(m.Images[0].Sites) != 1):
		return errors.New("mode: independent is for one function of one image")
	case m.Verdict != Clean && m.Verdict != Review:
		return fmt.Errorf("verdict: %.80q is none that a file can have", m.Verdict)
	case (m.Verdict == Review) != (len(m.Reasons) > 0):
		return fmt.Errorf("reasons: %d with verdict %s", len(m.Reasons), m.Verdict)
	}
	if err := m.checkEntries(); err != nil {
		return err
	}
	for i := range m.Images {
		g := &m.Images[i]
		if err := g.check(memberImage(i), objects[i]); err != nil {
			return fmt.Errorf("images[%d].%w", i, err)
		}
		for k := range i {
			// A process is searched by build-id: two patches for one would both apply.
			if p := &m.Images[k]; p.Path == g.Path || p.BuildIDBase == g.BuildIDBase {
				return fmt.Errorf("images[%d]: same path or base build-id as images[%d]", i, k)
			}
		}
	}
	return m.checkLeftOut()
}

// checkLeftOut wants that what is left out is not patched all the same, and
// that somebody has to agree to it.
func (m *Manifest) checkLeftOut() error {
	if len(m.LeftOut) > 0 && (m.Mode != Strict || m.Verdict != Review) {
		return fmt.Errorf("left_out: %d images with mode %s and verdict %s", len(m.LeftOut), m.Mode, m.Verdict)
	}
	for i, l := range m.LeftOut {
		if l.Path == "" {
			return fmt.Errorf("left_out[%d].path: empty", i)
		}
		for _, f := range []struct{ name, value string }{{"build_id_base", l.BuildIDBase}, {"build_id_fixed", l.BuildIDFixed}} {
			if f.value == "" {
				continue
			}
			if err := checkHex(f.value, 1, MaxBuildID); err != nil {
				return fmt.Errorf("left_out[%d].%s: %w", i, f.name, err)
			}
		}
		for k, g := range m.Images {
			if g.Path == l.Path || g.BuildIDBase == l.BuildIDBase {
				return fmt.Errorf("left_out[%d]: same path or base build-id as images[%d]", i, k)
			}
		}
		for k, o := range m.LeftOut[:i] {
			if o.Path == l.Path {
				return fmt.Errorf("left_out[%d]: same path as left_out[%d]", i, k)
			}
		}
	}
	return nil
}

// checkLengths bounds every list before anything walks them.
func (m *Manifest) checkLengths() error {
	switch {
	case len(m.CVEs) > MaxCVEs:
		return fmt.Errorf("cves: %d, more than %d", len(m.CVEs), MaxCVEs)
	case len(m.Changes) > MaxChanges:
		return fmt.Errorf("changes: %d, more than %d", len(m.Changes), MaxChanges)
	case len(m.Reasons) > MaxReasons:
		return fmt.Errorf("reasons: %d, more than %d", len(m.Reasons), MaxReasons)
	case len(m.Images) == 0 || len(m.Images) > MaxImages:
		return fmt.Errorf("images: %d, not 1 to %d", len(m.Images), MaxImages)
	case len(m.LeftOut) > MaxImages:
		return fmt.Errorf("left_out: %d, more than %d", len(m.LeftOut), MaxImages)
	}
	for i := range m.Images {
		g := &m.Images[i]
		switch {
		case len(g.Sites) == 0 || len(g.Sites) > MaxSites:
			return fmt.Errorf("images[%d].sites: %d, not 1 to %d", i, len(g.Sites), MaxSites)
		case len(g.Functions) > MaxFunctions:
			return fmt.Errorf("images[%d].functions: %d, more than %d", i, len(g.Functions), MaxFunctions)
		}
	}
	return nil
}

// checkEntries verifies the CVEs and the reasons.
func (m *Manifest) checkEntries() error {
	for i, c := range m.CVEs {
		if !isCVE(c) {
			return fmt.Errorf("cves[%d]: %.80q is not CVE-YEAR-NUMBER", i, c)
		}
	}
	for i, r := range m.Reasons {
		if r.Code == "" || r.Detail == "" {
			return fmt.Errorf("reasons[%d]: no code or no detail", i)
		}
	}
	return nil
}

// isCVE: CVE-, four digits, -, four or more digits.
func isCVE(s string) bool {
	if len(s) < len("CVE-0000-0000") || len(s) > 32 || s[:4] != "CVE-" || s[8] != '-' {
		return false
	}
	for _, c := range []byte(s[4:8] + s[9:]) {
		if c < '0' || c > '9' {
			return false
		}
	}
	return true
}

func (g *Image) check(object string, o *Object) error {
	switch {
	case g.Path == "":
		return errors.New("path: empty")
	case g.Object != object:
		return fmt.Errorf("object: %.80q, not %s", g.Object, object)
	case g.BuildIDBase != o.BaseBuildID:
		return fmt.Errorf("build_id_base: %.80q, but the object is for %s", g.BuildIDBase, o.BaseBuildID)
	case min(g.Counts.Same, g.Counts.Changed, g.Counts.New, g.Counts.Gone) < 0:
		return fmt.Errorf("counts: negative")
	}
	for _, f := range []struct{ name, value string }{{"build_id_base", g.BuildIDBase}, {"build_id_fixed", g.BuildIDFixed}} {
		if err := checkHex(f.value, 1, MaxBuildID); err != nil {
			return fmt.Errorf("%s: %w", f.name, err)
		}
	}
	if err := checkHex(g.Digest, 32, 32); err != nil {
		return fmt.Errorf("digest: %w", err)
	}
	if g.Before != "" {
		if err := checkHex(g.Before, 32, 32); err != nil {
			return fmt.Errorf("before: %w", err)
		}
	}
	end := uint64(0)
	for i := range g.Sites {
		s := &g.Sites[i]
		if err := s.check(o); err != nil {
			return fmt.Errorf("sites[%d].%w", i, err)
		}
		if s.Base < end {
			return fmt.Errorf("sites[%d].base: %#x overlaps the site before it", i, s.Base)
		}
		end = s.Base + s.Jump + jumpSize
	}
	for i := range g.Functions {
		if err := g.Functions[i].check(); err != nil {
			return fmt.Errorf("functions[%d].%w", i, err)
		}
	}
	return nil
}

func (f *Function) check() error {
	switch {
	case f.Name == "":
		return errors.New("name: empty")
	case f.State != "changed" && f.State != "new" && f.State != "gone" && f.State != "noise":
		return fmt.Errorf("state: %.80q unknown", f.State)
	case max(f.BaseAddr, f.FixedAddr, f.Size) >= MaxAddr:
		return fmt.Errorf("base_addr, fixed_addr or size: %#x %#x %#x: no address", f.BaseAddr, f.FixedAddr, f.Size)
	}
	return nil
}

func (s *Site) check(o *Object) error {
	switch {
	case s.Name == "":
		return errors.New("name: empty")
	case s.Base >= MaxAddr:
		return fmt.Errorf("base: %#x is no address", s.Base)
	case s.Jump != 0 && s.Jump != endbrSize:
		return fmt.Errorf("jump: %d, neither 0 nor %d", s.Jump, endbrSize)
	case len(s.Ranges) > MaxRanges:
		return fmt.Errorf("ranges: %d, more than %d", len(s.Ranges), MaxRanges)
	}
	if c := o.ChunkAt(s.To); c == nil || c.Kind != Code {
		return fmt.Errorf("to: %#x is not in the object's code", s.To)
	}
	if err := checkHex(s.PreImage, 32, 32); err != nil {
		return fmt.Errorf("preimage: %w", err)
	}
	if err := checkHex(s.Old, jumpSize, jumpSize); err != nil {
		return fmt.Errorf("old: %w", err)
	}
	return s.checkRanges()
}

// checkRanges: each is a range of addresses, no two overlap, and one of them
// holds the entry and the bytes of the jump.
func (s *Site) checkRanges() error {
	covered := false
	for i, r := range s.Ranges {
		if r[0] >= r[1] || r[1] > MaxAddr || r[1]-r[0] > MaxSpan {
			return fmt.Errorf("ranges[%d]: [%#x, %#x)", i, r[0], r[1])
		}
		for k, q := range s.Ranges[:i] {
			if r[0] < q[1] && q[0] < r[1] {
				return fmt.Errorf("ranges[%d]: overlaps ranges[%d]", i, k)
			}
		}
		if r[0] <= s.Base && s.Base+s.Jump+jumpSize <= r[1] {
			covered = true
		}
	}
	if !covered {
		return fmt.Errorf("ranges: none holds the jump at %#x", s.Base+s.Jump)
	}
	return nil
}

// check verifies an acceptance for the bundle with this id.
func (a *Acceptance) check(id ID) error {
	if err := checkTexts(reflect.ValueOf(a).Elem()); err != nil {
		return err
	}
	switch {
	case a.ID != id:
		return fmt.Errorf("id: %.64q, but the bundle is %s", a.ID, id)
	case a.By == "" || a.Reason == "":
		return errors.New("by or reason: empty")
	case a.At.Location() != time.UTC || a.At.Nanosecond() != 0 || a.At.Year() < 1970 || a.At.Year() > 9999:
		return fmt.Errorf("at: %s is not UTC in whole seconds", a.At)
	}
	return nil
}

// checkTexts applies checkText to every string of the struct v and names the
// field at fault as in the JSON. Tabs are allowed in the list "changes".
func checkTexts(v reflect.Value) error {
	if path, err := badText(v, false); err != nil {
		return fmt.Errorf("%s: %w", strings.TrimPrefix(path, "."), err)
	}
	return nil
}

// badText finds the first bad string under v. The path to it is put together
// on the way back, as most manifests have ten thousand good ones.
func badText(v reflect.Value, tab bool) (path string, err error) {
	switch v.Kind() {
	case reflect.String:
		return "", checkText(v.String(), tab)
	case reflect.Slice:
		if k := v.Type().Elem().Kind(); k != reflect.String && k != reflect.Struct {
			return "", nil // numbers
		}
		for i := range v.Len() {
			if path, err := badText(v.Index(i), tab); err != nil {
				return fmt.Sprintf("[%d]%s", i, path), err
			}
		}
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			return "", nil
		}
		for i := range v.NumField() {
			name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
			if path, err := badText(v.Field(i), name == "changes"); err != nil {
				return "." + name + path, err
			}
		}
	}
	return "", nil
}
