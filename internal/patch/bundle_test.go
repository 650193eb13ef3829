package patch_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"hotpatch/internal/patch"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func TestBundleIsTheGoldenFile(t *testing.T) {
	const golden = "testdata/hello.hotpatch"
	got := encode(t, acceptedBundle(t))
	if *update {
		if err := os.WriteFile(golden, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("encoding changed: %d bytes, golden has %d; other bytes mean another format number", len(got), len(want))
	}
}

func TestDecodeReturnsWhatWasEncoded(t *testing.T) {
	b := acceptedBundle(t)
	data := encode(t, b)
	got, err := patch.Decode(data)
	if err != nil {
		t.Fatal(err)
	}
	b.Objects[0] = b.Objects[0].Canonical()
	if d := cmp.Diff(b, got, cmpopts.EquateEmpty()); d != "" {
		t.Errorf("-encoded +decoded:\n%s", d)
	}
	if !bytes.Equal(encode(t, got), data) {
		t.Error("encoding what was decoded gives other bytes")
	}
}

func TestOrderOfTheInputDoesNotMatter(t *testing.T) {
	a, b := sampleBundle(), sampleBundle()
	m := &b.Manifest
	m.CVEs = []string{"CVE-2024-1234", "CVE-2025-20001", "CVE-2024-1234"}
	s := m.Images[0].Sites
	s[0], s[1] = s[1], s[0]
	f := m.Images[0].Functions
	f[0], f[2] = f[2], f[0]
	if !bytes.Equal(encode(t, a), encode(t, b)) {
		t.Error("the same content in another order gives another file")
	}
}

func TestImagesAreSortedWithTheirObjects(t *testing.T) {
	b := twoImages()
	data := encode(t, b)
	if b.Manifest.Images[0].Path != "/lib/first.so" || b.Objects[0].BaseBuildID != b.Manifest.Images[0].BuildIDBase {
		t.Errorf("first image is %s with the object for %s", b.Manifest.Images[0].Path, b.Objects[0].BaseBuildID)
	}
	if _, err := patch.Decode(data); err != nil {
		t.Error(err)
	}
}

func twoImages() *patch.Bundle {
	b := sampleBundle()
	second := b.Manifest.Images[0]
	second.Path, second.BuildIDBase = "/lib/first.so", sampleFixed
	o := sampleObject()
	o.BaseBuildID = sampleFixed
	b.Manifest.Images = append(b.Manifest.Images, second)
	b.Objects = append(b.Objects, o)
	b.Before = append(b.Before, nil)
	return b
}

func TestIDIsTheDigestOfTheManifest(t *testing.T) {
	b := sampleBundle()
	before, err := b.ID()
	if err != nil {
		t.Fatal(err)
	}
	data := encode(t, b)
	sum := sha256.Sum256(split(t, data)[1].data)
	if got := hex.EncodeToString(sum[:]); string(before) != got {
		t.Errorf("ID %s, manifest has %s", before, got)
	}
	if err := b.Accept("Kim", "why not", time.Now()); err != nil {
		t.Fatal(err)
	}
	if after, _ := b.ID(); after != before {
		t.Errorf("accepting changed the ID from %s to %s", before, after)
	}
	if before.Short() != string(before[:12]) {
		t.Errorf("short form %q", before.Short())
	}
	b.Objects[0].Chunks[0].Data[0] ^= 1
	if after, _ := b.ID(); after == before {
		t.Error("another object, but the same ID")
	}
}

func TestReviewIsNotApplicableUntilAccepted(t *testing.T) {
	b := sampleBundle()
	if err := b.Applicable(); !errors.Is(err, patch.ErrNotAccepted) {
		t.Errorf("before: %v", err)
	}
	if err := b.Accept("Kim", "", time.Now()); err == nil {
		t.Error("accepted without a reason")
	}
	if err := b.Accept("Kim", "compared", time.Now()); err != nil {
		t.Fatal(err)
	}
	if err := b.Applicable(); err != nil {
		t.Errorf("after: %v", err)
	}
	b.Manifest.Package = "other"
	if err := b.Applicable(); err == nil || errors.Is(err, patch.ErrNotAccepted) {
		t.Errorf("acceptance of another bundle: %v", err)
	}
	if _, err := b.Encode(); err == nil {
		t.Error("wrote a bundle with the acceptance of another one")
	}
}

func TestCleanIsApplicable(t *testing.T) {
	b := sampleBundle()
	b.Manifest.Verdict, b.Manifest.Reasons = patch.Clean, nil
	if err := b.Applicable(); err != nil {
		t.Error(err)
	}
	for _, v := range []patch.Verdict{patch.Refused, patch.Nothing, "", "CLEAN"} {
		b.Manifest.Verdict = v
		if err := b.Applicable(); err == nil {
			t.Errorf("%q is applicable", v)
		}
	}
}

func TestFileIsReplacedAndReadBack(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "x.hotpatch")
	if err := os.WriteFile(path, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	b := acceptedBundle(t)
	if err := b.WriteFile(path); err != nil {
		t.Fatal(err)
	}
	got, err := patch.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got.Accepted == nil || got.Accepted.By != "Kim" || got.Accepted.At != time.Date(2025, 11, 3, 11, 0, 0, 0, time.UTC) {
		t.Errorf("accepted: %+v", got.Accepted)
	}
	if err := b.WriteFile(filepath.Join(dir, "no/such/dir")); err == nil {
		t.Error("wrote into a directory that does not exist")
	}
	b.Manifest.Arch = "arm64"
	if err := b.WriteFile(path); err == nil {
		t.Error("wrote a bundle that is wrong")
	}
	if names, _ := filepath.Glob(filepath.Join(dir, "*")); len(names) != 1 {
		t.Errorf("left behind: %v", names)
	}
	if names, _ := filepath.Glob(filepath.Join(dir, ".*")); len(names) != 0 {
		t.Errorf("left behind: %v", names)
	}
	if _, err := patch.ReadFile(filepath.Join(dir, "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no such file: %v", err)
	}
}

// Every bit of the file is under a digest or has only one legal value.
func TestEveryFlippedBitIsNoticed(t *testing.T) {
	b := smallBundle()
	if err := b.Accept("Kim", "compared by hand", time.Unix(0, 0)); err != nil {
		t.Fatal(err)
	}
	good := encode(t, b)
	data := bytes.Clone(good)
	for i := range 8 * len(data) {
		data[i/8] ^= 1 << (i % 8)
		if _, err := patch.Decode(data); err == nil {
			t.Errorf("offset %#x: decoded with %#x instead of %#x", i/8, data[i/8], good[i/8])
		}
		data[i/8] ^= 1 << (i % 8)
	}
}

func TestEveryTruncationIsNoticed(t *testing.T) {
	good := encode(t, acceptedBundle(t))
	for n := range good {
		want := patch.ErrDamaged
		if n < len("!<arch>\nhotpatch-") {
			want = patch.ErrOther
		}
		if _, err := patch.Decode(good[:n:n]); !errors.Is(err, want) {
			t.Errorf("the first %d of %d bytes: %v", n, len(good), err)
		}
	}
	for _, tail := range []string{"\n", "\x00", string(good[8:])} {
		if _, err := patch.Decode([]byte(string(good) + tail)); err == nil {
			t.Errorf("decoded with %.10q behind it", tail)
		}
	}
}

// arMember is a member as a test wants to write it.
type arMember struct {
	name string
	data []byte
}

// split takes a bundle's archive apart without the package under test.
func split(t testing.TB, data []byte) []arMember {
	t.Helper()
	var out []arMember
	for rest := data[8:]; len(rest) > 0; {
		var size int
		if _, err := fmt.Sscan(string(rest[48:58]), &size); err != nil {
			t.Fatal(err)
		}
		out = append(out, arMember{strings.TrimRight(string(rest[:16]), " "), rest[60 : 60+size : 60+size]})
		rest = rest[60+size+size%2:]
	}
	return out
}

func join(members []arMember) []byte {
	out := []byte("!<arch>\n")
	for _, m := range members {
		out = fmt.Appendf(out, "%-16s%-12d%-6d%-6d%-8s%-10d`\n", m.name, 0, 0, 0, "100644", len(m.data))
		out = append(out, m.data...)
		if len(out)%2 == 1 {
			out = append(out, '\n')
		}
	}
	return out
}

// seal computes the digests of the first member anew: of manifest and acceptance.
func seal(members []arMember) []byte {
	text := "1\n"
	for _, m := range members {
		if m.name == "manifest.json" || m.name == "accepted.json" {
			text += fmt.Sprintf("%x  %s\n", sha256.Sum256(m.data), m.name)
		}
	}
	if len(members) > 0 {
		members[0].data = []byte(text)
	}
	return join(members)
}

func TestMembersAreStrict(t *testing.T) {
	good := encode(t, acceptedBundle(t))
	if !bytes.Equal(seal(split(t, good)), good) {
		t.Fatal("the test's archive writer differs")
	}
	for name, c := range map[string]struct {
		change func(m []arMember) []byte
		want   string
	}{
		"no members":       {func(m []arMember) []byte { return join(nil) }, "not a hotpatch"},
		"a .deb":           {func(m []arMember) []byte { m[0].name = "debian-binary"; return join(m) }, "not a hotpatch"},
		"a later format":   {func(m []arMember) []byte { m[0].name = "hotpatch-2"; return join(m) }, "not supported"},
		"no manifest":      {func(m []arMember) []byte { return join(m[:1]) }, "manifest.json"},
		"another order":    {func(m []arMember) []byte { m[1], m[2] = m[2], m[1]; return seal(m) }, "manifest.json"},
		"no object":        {func(m []arMember) []byte { return seal(m[:2]) }, "1 images"},
		"an extra member":  {func(m []arMember) []byte { return seal(append(m[:4], arMember{"x", nil})) }, "image members"},
		"an object twice":  {func(m []arMember) []byte { return seal([]arMember{m[0], m[1], m[2], m[3], m[2], m[4]}) }, "image members"},
		"a renamed object": {func(m []arMember) []byte { m[2].name = "image-00.o"; return seal(m) }, "image-0.o"},
		"two acceptances":  {func(m []arMember) []byte { return seal(append(m, m[4])) }, "damaged"},
		"a damaged manifest": {func(m []arMember) []byte {
			m[1].data = bytes.Replace(m[1].data, []byte(`"hello"`), []byte(`"hallo"`), 1)
			return join(m)
		}, "damaged"},
		"an acceptance for another": {func(m []arMember) []byte {
			m[1].data = bytes.Replace(m[1].data, []byte(`"hello"`), []byte(`"hallo"`), 1)
			return seal(m)
		}, "accepted.json: id"},
		"no code before":      {func(m []arMember) []byte { return seal(append(m[:3], m[4])) }, "before-0.json: the manifest has it"},
		"code before it":      {func(m []arMember) []byte { m[2], m[3] = m[3], m[2]; return seal(m) }, "before-0.json: the manifest has it"},
		"damaged code before": {func(m []arMember) []byte { m[3].data = m[3].data[1:]; return seal(m) }, "before-0.json: digest"},
		"a damaged object": {func(m []arMember) []byte {
			m[2].data = bytes.Clone(m[2].data)
			m[2].data[0x1010] ^= 1
			return seal(m)
		}, "image-0.o: digest"},
		"too many members": {func(m []arMember) []byte {
			for range patch.MaxMembers {
				m = append(m, arMember{"x", nil})
			}
			return join(m)
		}, "more than 1024 members"},
	} {
		_, err := patch.Decode(c.change(split(t, good)))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestArchiveHeadersAreStrict(t *testing.T) {
	good := encode(t, sampleBundle())
	for name, c := range map[string]struct{ old, new, want string }{
		"magic":         {"!<arch>\n", "!<thin>\n", "not a hotpatch file"},
		"GNU name":      {"hotpatch-1      ", "hotpatch-1/     ", "not supported"},
		"time":          {"hotpatch-1      0 ", "hotpatch-1      1 ", "not the canonical one"},
		"mode":          {"100644  82", "100600  82", "not the canonical one"},
		"size":          {"100644  82", "100644  8x", "size is not a number"},
		"leading zero":  {"100644  82 ", "100644  082", "not the canonical one"},
		"negative size": {"100644  82", "100644  -8", "size is not a number"},
		"huge size":     {"100644  82        `", "100644  4294967295`", "but the file has only"},
		"terminator":    {"`\n1\n", "`\r1\n", "not the canonical one"},
	} {
		if !bytes.Contains(good, []byte(c.old)) {
			t.Errorf("%s: %q is not in the file", name, c.old)
			continue
		}
		_, err := patch.Decode(bytes.Replace(good, []byte(c.old), []byte(c.new), 1))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestPaddingIsStrict(t *testing.T) {
	b := acceptedBundle(t)
	m := split(t, encode(t, b))
	odd := []arMember{m[0], m[1], m[2], {m[3].name, append(m[3].data, ' ')}}
	if len(odd[3].data)%2 == 0 {
		odd[3].data = odd[3].data[:len(odd[3].data)-1]
	}
	data := seal(odd)
	for _, bad := range [][]byte{data[:len(data)-1], append(data[:len(data)-1:len(data)-1], 0)} {
		if _, err := patch.Decode(bad); err == nil || !strings.Contains(err.Error(), "padding") {
			t.Error(err)
		}
	}
}

func TestManifestTextIsStrict(t *testing.T) {
	good := encode(t, sampleBundle())
	for name, c := range map[string]struct{ old, new, want string }{
		"unknown field":   {`"format": 1,`, `"format": 1, "x": 1,`, "unknown field"},
		"field twice":     {`"format": 1,`, `"format": 1, "format": 1,`, "not the canonical encoding"},
		"other case":      {`"format"`, `"Format"`, "not the canonical encoding"},
		"other spacing":   {`"format": 1`, `"format":1`, "not the canonical encoding"},
		"other escape":    {`"hello"`, `"h\u0065llo"`, "not the canonical encoding"},
		"bad UTF-8":       {`"hello"`, "\"h\xffllo\"", "not the canonical encoding"},
		"control":         {`"hello"`, `"hel\u001blo"`, "package"},
		"null list":       {"\"cves\": [\n    \"CVE-2024-1234\",\n    \"CVE-2025-20001\"\n  ]", `"cves": null`, "not the canonical encoding"},
		"list order":      {"\"CVE-2024-1234\",\n    \"CVE-2025-20001\"", "\"CVE-2025-20001\",\n    \"CVE-2024-1234\"", "not the canonical encoding"},
		"missing field":   {"\"mode\": \"strict\",", "", "mode"},
		"string for int":  {`"format": 1`, `"format": "1"`, "manifest.json: offset"},
		"fraction":        {`"format": 1`, `"format": 1.5`, "manifest.json: offset"},
		"negative offset": {`"base": 4416`, `"base": -1`, "manifest.json: offset"},
		"trailing data":   {"\n  ]\n}\n", "\n  ]\n}\n{}\n", "behind the value"},
		"trailing space":  {"\n  ]\n}\n", "\n  ]\n}\n\n", "not the canonical encoding"},
		"not JSON":        {"{\n", "<\n", "manifest.json: offset"},
		"third range end": {"4448\n            ]", "4448, 7\n            ]", "not the canonical encoding"},
	} {
		m := split(t, good)
		if !bytes.Contains(m[1].data, []byte(c.old)) {
			t.Errorf("%s: %q is not in the manifest", name, c.old)
			continue
		}
		m[1].data = bytes.Replace(m[1].data, []byte(c.old), []byte(c.new), 1)
		_, err := patch.Decode(seal(m))
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "manifest.json") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAcceptanceTextIsStrict(t *testing.T) {
	good := encode(t, acceptedBundle(t))
	for name, c := range map[string]struct{ old, new, want string }{
		"unknown field": {`"by"`, `"x": 1, "by"`, "unknown field"},
		"nobody":        {`"Kim"`, `""`, "empty"},
		"not UTC":       {"11:00:00Z", "12:00:00+01:00", "UTC"},
		"fractions":     {"11:00:00Z", "11:00:00.5Z", "UTC"},
		"UTC by offset": {"11:00:00Z", "11:00:00+00:00", "accepted.json"},
		"no time":       {"2025-11-03T", "", "accepted.json"},
		"control":       {"Kim", `K\u0007m`, "by"},
	} {
		m := split(t, good)
		if !bytes.Contains(m[4].data, []byte(c.old)) {
			t.Errorf("%s: %q is not in accepted.json", name, c.old)
			continue
		}
		m[4].data = bytes.Replace(m[4].data, []byte(c.old), []byte(c.new), 1)
		_, err := patch.Decode(seal(m))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestManifestValuesAreChecked(t *testing.T) {
	site := func(f func(s *patch.Site)) func(b *patch.Bundle) {
		return func(b *patch.Bundle) { f(&b.Manifest.Images[0].Sites[1]) }
	}
	image := func(f func(g *patch.Image)) func(b *patch.Bundle) {
		return func(b *patch.Bundle) { f(&b.Manifest.Images[0]) }
	}
	manifest := func(f func(m *patch.Manifest)) func(b *patch.Bundle) {
		return func(b *patch.Bundle) { f(&b.Manifest) }
	}
	for name, c := range map[string]struct {
		change func(b *patch.Bundle)
		want   string
	}{
		"format":           {manifest(func(m *patch.Manifest) { m.Format = 2 }), "format"},
		"arch":             {manifest(func(m *patch.Manifest) { m.Arch = "" }), "arch"},
		"mode":             {manifest(func(m *patch.Manifest) { m.Mode = "lax" }), "mode"},
		"refused":          {manifest(func(m *patch.Manifest) { m.Verdict = patch.Refused }), "verdict"},
		"clean + reasons":  {manifest(func(m *patch.Manifest) { m.Verdict = patch.Clean }), "reasons"},
		"review, why":      {manifest(func(m *patch.Manifest) { m.Reasons = nil }), "reasons"},
		"empty reason":     {manifest(func(m *patch.Manifest) { m.Reasons[0].Code = "" }), "reasons[0]"},
		"no image":         {func(b *patch.Bundle) { b.Manifest.Images, b.Objects = nil, nil }, "images"},
		"no object":        {func(b *patch.Bundle) { b.Objects = nil }, "0 objects"},
		"nil object":       {func(b *patch.Bundle) { b.Objects[0] = nil }, "no object"},
		"bad CVE":          {manifest(func(m *patch.Manifest) { m.CVEs[0] = "CVE-20x5-1234" }), "cves"},
		"no CVE":           {manifest(func(m *patch.Manifest) { m.CVEs[0] = "DSA-1" }), "cves"},
		"control":          {manifest(func(m *patch.Manifest) { m.Changes[0] = "a\x1b[2Jb" }), "changes[0]"},
		"long text":        {manifest(func(m *patch.Manifest) { m.Source = strings.Repeat("x", patch.MaxString+1) }), "source"},
		"path":             {image(func(g *patch.Image) { g.Path = "" }), "path"},
		"control in path":  {image(func(g *patch.Image) { g.Path = "a\nb" }), "images[0].path"},
		"another base":     {image(func(g *patch.Image) { g.BuildIDBase = "00" }), "build_id_base"},
		"fixed build-id":   {image(func(g *patch.Image) { g.BuildIDFixed = "FF" }), "build_id_fixed"},
		"no fixed":         {image(func(g *patch.Image) { g.BuildIDFixed = "" }), "build_id_fixed"},
		"counts":           {image(func(g *patch.Image) { g.Counts.Gone = -1 }), "counts"},
		"no sites":         {image(func(g *patch.Image) { g.Sites = nil }), "sites"},
		"site twice":       {image(func(g *patch.Image) { g.Sites[0] = g.Sites[1] }), "overlaps"},
		"state":            {image(func(g *patch.Image) { g.Functions[0].State = "same" }), "functions[2].state"},
		"function name":    {image(func(g *patch.Image) { g.Functions[0].Name = "" }), "functions[2].name"},
		"function address": {image(func(g *patch.Image) { g.Functions[0].BaseAddr = patch.MaxAddr }), "functions[2].base_addr"},
		"site name":        {site(func(s *patch.Site) { s.Name = "" }), "name"},
		"base":             {site(func(s *patch.Site) { s.Base = 1 << 63 }), "base"},
		"jump":             {site(func(s *patch.Site) { s.Jump = 1 }), "jump"},
		"to":               {site(func(s *patch.Site) { s.To = 0x2800 }), "to"},
		"to nowhere":       {site(func(s *patch.Site) { s.To = 0x2009 }), "to"},
		"no ranges":        {site(func(s *patch.Site) { s.Ranges = nil }), "ranges"},
		"short range":      {site(func(s *patch.Site) { s.Ranges[0][1] = s.Base + 8 }), "ranges"},
		"empty range":      {site(func(s *patch.Site) { s.Ranges[0][1] = s.Ranges[0][0] }), "ranges[0]"},
		"range overlap":    {site(func(s *patch.Site) { s.Ranges = append(s.Ranges, s.Ranges[0]) }), "ranges[1]"},
		"huge range":       {site(func(s *patch.Site) { s.Ranges[0][1] = patch.MaxAddr + 1 }), "ranges[0]"},
		"many ranges":      {site(func(s *patch.Site) { s.Ranges = make([][2]uint64, patch.MaxRanges+1) }), "ranges"},
		"preimage":         {site(func(s *patch.Site) { s.PreImage = s.PreImage[1:] }), "preimage"},
		"old":              {site(func(s *patch.Site) { s.Old = "5589e5488X" }), "old"},
		"object":           {func(b *patch.Bundle) { b.Objects[0].Hi++ }, "page aligned"},
		"same path": {func(b *patch.Bundle) {
			*b = *twoImages()
			b.Manifest.Images[1].Path = b.Manifest.Images[0].Path
		}, "same path"},
		"same build-id": {func(b *patch.Bundle) {
			*b = *twoImages()
			b.Manifest.Images[1].BuildIDBase, b.Objects[1].BaseBuildID = sampleBase, sampleBase
		}, "same path or base build-id"},
	} {
		b := sampleBundle()
		c.change(b)
		_, err := b.Encode()
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// FuzzDecode sees whole files; almost all it invents fails at a digest.
func FuzzDecode(f *testing.F) {
	f.Add(encode(f, acceptedBundle(f)))
	f.Add(encode(f, smallBundle()))
	f.Add([]byte("!<arch>\n"))
	f.Fuzz(func(t *testing.T, data []byte) { decodeAgain(t, data) })
}

// FuzzDecodeManifest gets behind the digests.
func FuzzDecodeManifest(f *testing.F) {
	b := smallBundle()
	if err := b.Accept("Kim", "compared", time.Unix(0, 0)); err != nil {
		f.Fatal(err)
	}
	good := encode(f, b)
	m := split(f, good)
	f.Add(m[1].data, m[4].data)
	f.Add([]byte(`{"format":1,"images":[{"sites":[{"ranges":[[1,2]]}]}]}`), []byte("{}"))
	f.Fuzz(func(t *testing.T, manifest, accepted []byte) {
		m := split(t, good)
		m[1].data, m[4].data = manifest, accepted
		decodeAgain(t, seal(m))
		decodeAgain(t, seal(m[:4]))
	})
}

// decodeAgain wants an error or a bundle that is written as data.
func decodeAgain(t *testing.T, data []byte) {
	b, err := patch.Decode(data)
	if err != nil {
		return
	}
	again, err := b.Encode()
	if err != nil {
		t.Fatalf("encode what was decoded: %v", err)
	}
	if !bytes.Equal(again, data) {
		t.Fatal("decoded a file that is not the encoding of its content")
	}
}
