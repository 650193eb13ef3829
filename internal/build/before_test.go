package build_test

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"
	"testing"

	"hotpatch/internal/build"
	"hotpatch/internal/patch"
)

func TestBundleRecordsTheCodeBefore(t *testing.T) {
	base, fixed := compile(t, "before.c", plain)
	_, b := run(t, base, fixed, build.Options{})
	if b == nil || len(b.Before) != 1 {
		t.Fatal("no code before")
	}
	r, err := patch.DecodeBefore(b.Before[0])
	if err != nil {
		t.Fatal(err)
	}
	im := b.Manifest.Images[0]
	if !slices.Contains(siteNames(b), "check") {
		t.Fatalf("sites: %v", siteNames(b))
	}
	for _, s := range im.Sites {
		h := sha256.New()
		for _, g := range s.Ranges {
			code := r.CodeAt(g[0], g[1]-g[0])
			if code == nil {
				t.Errorf("%s: nothing recorded at %#x", s.Name, g[0])
			}
			h.Write(code)
		}
		if got := hex.EncodeToString(h.Sum(nil)); got != s.PreImage {
			t.Errorf("%s: recorded code has digest %s, pre-image is %s", s.Name, got, s.PreImage)
		}
	}
	names := map[string]uint64{}
	texts := ""
	for _, p := range r.Places {
		if p.Name != "" {
			names[p.Name] = p.Addr
		}
		texts += string(p.Data)
	}
	for _, want := range []string{"obsolete", "puts", "handled", "limit"} {
		if names[want] == 0 {
			t.Errorf("no place named %s: %v", want, names)
		}
	}
	if !strings.Contains(texts, "taken as it is\x00") || strings.Contains(texts, "refused") {
		t.Errorf("constants: %q", texts)
	}
	callers := map[string][]string{}
	for _, f := range im.Functions {
		for _, c := range r.Callers {
			if c.Base == f.BaseAddr {
				callers[f.Name] = c.Names
			}
		}
	}
	slices.Sort(callers["check"])
	if got := strings.Join(callers["check"], ", "); !strings.Contains(got, "one, two") || !strings.Contains(got, "a pointer in .data") {
		t.Errorf("callers of check: %s", got)
	}
	if got := callers["obsolete"]; !slices.Equal(got, []string{"check"}) {
		t.Errorf("callers of the function that is gone: %v", got)
	}
}

// A torture build replaces unchanged functions, which nobody has to read.
func TestUnchangedCodeIsNotRecorded(t *testing.T) {
	base, fixed := compile(t, "before.c", plain)
	_, b := run(t, base, fixed, build.Options{All: true})
	r, err := patch.DecodeBefore(b.Before[0])
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range b.Manifest.Images[0].Sites {
		if recorded := r.CodeAt(s.Base, 1) != nil; recorded != (s.Name == "check") {
			t.Errorf("%s: recorded: %v", s.Name, recorded)
		}
	}
}
