package txn_test

import (
	"testing"

	"hotpatch/internal/proc"
	"hotpatch/internal/txn"
)

func TestPlaceKeepsReachAndDistance(t *testing.T) {
	const mb, gb = 1 << 20, 1 << 30
	image := proc.Map{Start: 0x5555_0000_0000, End: 0x5555_0010_0000, Path: "/bin/x"}
	heap := proc.Map{Start: 0x5555_0020_0000, End: 0x5555_0030_0000, Path: "[heap]"}
	below := proc.Map{Start: image.Start - 3*gb, End: image.Start - 4096}
	above := proc.Map{Start: image.End, End: image.End + 3*gb}
	for name, tc := range map[string]struct {
		maps  []proc.Map
		size  uint64
		avoid [][2]uint64
		ok    bool
	}{
		"alone":               {[]proc.Map{image}, 4 * mb, nil, true},
		"heap above":          {[]proc.Map{image, heap}, 4 * mb, nil, true},
		"nothing below":       {[]proc.Map{below, image, heap}, 4 * mb, nil, true},
		"walled in":           {[]proc.Map{below, image, above}, 4096, nil, false},
		"nearest is promised": {[]proc.Map{image}, 4 * mb, [][2]uint64{{image.Start - 16*mb, image.Start}}, true},
		"larger than reach":   {[]proc.Map{image}, 3 * gb, nil, false},
	} {
		at, err := txn.Place(tc.maps, image.Start, image.End, tc.size, tc.avoid)
		if (err == nil) != tc.ok {
			t.Errorf("%s: %#x, %v", name, at, err)
			continue
		}
		if !tc.ok {
			continue
		}
		end := at + tc.size
		if d := max(end, image.End) - min(at, image.Start); d >= 2*gb {
			t.Errorf("%s: %#x is %d bytes away", name, at, d)
		}
		if at%4096 != 0 {
			t.Errorf("%s: %#x is not page aligned", name, at)
		}
		for _, m := range tc.maps {
			if at < m.End+4096 && m.Start < end+4096 {
				t.Errorf("%s: %#x-%#x touches %#x-%#x", name, at, end, m.Start, m.End)
			}
		}
		for _, a := range tc.avoid {
			if at < a[1] && a[0] < end {
				t.Errorf("%s: %#x is promised to another", name, at)
			}
		}
	}
}
