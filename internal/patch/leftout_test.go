package patch_test

import (
	"slices"
	"strings"
	"testing"

	"hotpatch/internal/patch"
)

func TestLeftOutImagesAreKeptInOrder(t *testing.T) {
	b := sampleBundle()
	b.Manifest.LeftOut = []patch.LeftOut{
		{Path: "/usr/lib/libhello.so.1", BuildIDBase: "0a", BuildIDFixed: "0b"},
		{Path: "/usr/lib/firmware"},
	}
	back, err := patch.Decode(encode(t, b))
	if err != nil {
		t.Fatal(err)
	}
	want := []patch.LeftOut{{Path: "/usr/lib/firmware"}, {Path: "/usr/lib/libhello.so.1", BuildIDBase: "0a", BuildIDFixed: "0b"}}
	if !slices.Equal(back.Manifest.LeftOut, want) {
		t.Errorf("%v", back.Manifest.LeftOut)
	}
}

func TestLeftOutValuesAreChecked(t *testing.T) {
	one := patch.LeftOut{Path: "/usr/lib/libhello.so.1", BuildIDBase: "0a"}
	for name, c := range map[string]struct {
		change func(m *patch.Manifest)
		want   string
	}{
		"clean":         {func(m *patch.Manifest) { m.Verdict, m.Reasons = patch.Clean, nil }, "left_out: 1 images with mode strict and verdict clean"},
		"no path":       {func(m *patch.Manifest) { m.LeftOut[0].Path = "" }, "left_out[0].path: empty"},
		"no hex":        {func(m *patch.Manifest) { m.LeftOut[0].BuildIDFixed = "xy" }, "left_out[0].build_id_fixed"},
		"patched, path": {func(m *patch.Manifest) { m.LeftOut[0].Path = m.Images[0].Path }, "left_out[0]: same path or base build-id as images[0]"},
		"patched, id":   {func(m *patch.Manifest) { m.LeftOut[0].BuildIDBase = m.Images[0].BuildIDBase }, "left_out[0]: same path or base build-id as images[0]"},
		"twice":         {func(m *patch.Manifest) { m.LeftOut = append(m.LeftOut, one) }, "left_out[1]: same path as left_out[0]"},
		"too many":      {func(m *patch.Manifest) { m.LeftOut = make([]patch.LeftOut, patch.MaxImages+1) }, "left_out: 511, more than 510"},
	} {
		b := sampleBundle()
		b.Manifest.LeftOut = []patch.LeftOut{one}
		c.change(&b.Manifest)
		if _, err := b.Encode(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
