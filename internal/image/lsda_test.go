package image_test

import (
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"hotpatch/internal/image"
	"hotpatch/internal/testkit"
)

const lsdaAddr = 0x7000

// twoCatches is the table of a function of 0x100 bytes at 0x1000 with two
// handlers at +0x80: one catches type 1 (through a slot at 0x9000), then
// everything; the other cleans up. The last site ends all.
func twoCatches() []byte {
	b := []byte{
		0xff, 0x9b, 29, // no base of landing pads; types: pcrel sdata4 indirect, end 29 bytes further on
		0x01, 14, // call sites: uleb128, 14 bytes
		0x10, 0x20, 0x80, 0x01, 3, // [0x10, 0x30) → 0x80, action 3
		0x30, 0x10, 0xa0, 0x01, 0, // [0x30, 0x40) → 0xa0: cleanup
		0x50, 0x05, 0, 0, // [0x50, 0x55): no handler
		2, 0, // action 1: type 2, the end
		1, 0x7d, // action 3: type 1, then action 1
	}
	b = append(b, make([]byte, 32-len(b)-8)...)
	at := uint32(lsdaAddr + len(b))
	b = le.AppendUint32(b, 0)           // type 2: everything
	b = le.AppendUint32(b, 0x9000-at-4) // type 1
	return b
}

var lsdaFunction = image.Range{Lo: 0x1000, Hi: 0x1100}

func TestExceptionTableIsRead(t *testing.T) {
	b := twoCatches()
	l, err := image.ReadLSDA(append(b, 0xee, 0xee), lsdaAddr, lsdaFunction)
	if err != nil {
		t.Fatal(err)
	}
	want := &image.LSDA{
		Lo: lsdaAddr, End: lsdaAddr + image.Addr(len(b)), Pads: 0x1000, PadsEncoding: 0xff, TypeEncoding: 0x9b,
		Sites: []image.CallSite{
			{Start: 0x10, Len: 0x20, Pad: 0x1080, Filters: []int64{1, 2}},
			{Start: 0x30, Len: 0x10, Pad: 0x10a0},
			{Start: 0x50, Len: 0x05},
		},
		Types: []image.Type{{Index: 1, Field: lsdaAddr + 28, Target: 0x9000}, {Index: 2, Field: lsdaAddr + 24}},
	}
	if d := cmp.Diff(want, l); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
}

func TestBadExceptionTablesAreErrors(t *testing.T) {
	for name, c := range map[string]struct {
		change func(b []byte) []byte
		want   string
	}{
		"nothing":                 {func(b []byte) []byte { return nil }, "cut off"},
		"only its header":         {func(b []byte) []byte { return b[:4] }, "type table would end"},
		"types end outside":       {func(b []byte) []byte { return b[:20] }, "type table would end"},
		"types among call sites":  {func(b []byte) []byte { b[2] = 5; return b }, "inside the call sites"},
		"call sites too long":     {func(b []byte) []byte { b[4] = 120; return b }, "call sites of 0x78 bytes"},
		"call sites cut in two":   {func(b []byte) []byte { b[4], b[9] = 13, 0; return b }, "behind the table"},
		"site outside":            {func(b []byte) []byte { b[15] = 0x7f; b[16] = 0x7f; b[6] = 0xff; b[7] = 0x7f; return b }, "outside the function"},
		"unknown call sites":      {func(b []byte) []byte { b[3] = 0x0c; return b }, "call sites in format"},
		"unknown types":           {func(b []byte) []byte { b[1] = 0x0a; return b }, "types in format"},
		"action outside":          {func(b []byte) []byte { b[9] = 100; return b }, "outside its table"},
		"actions in a circle":     {func(b []byte) []byte { b[22] = 0x7f; return b }, "more than"},
		"no type table":           {func(b []byte) []byte { return append([]byte{0xff, 0xff}, b[3:]...) }, "without a type table"},
		"type before the actions": {func(b []byte) []byte { b[21] = 60; return b }, "outside its table"},
		"specification outside":   {func(b []byte) []byte { b[21] = 0x40; return b }, "specification"},
	} {
		_, err := image.ReadLSDA(c.change(twoCatches()), lsdaAddr, lsdaFunction)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

func FuzzLSDA(f *testing.F) {
	f.Add(twoCatches())
	f.Add([]byte{0xff, 0xff, 1, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := image.ReadLSDA(b, lsdaAddr, lsdaFunction)
		if err != nil {
			return
		}
		if l.End < l.Lo || l.End > lsdaAddr+image.Addr(len(b)) {
			t.Fatalf("it ends at %#x", l.End)
		}
		for _, x := range l.Types {
			if x.Field < l.Lo || x.Field >= l.End {
				t.Fatalf("type at %#x of [%#x, %#x)", x.Field, l.Lo, l.End)
			}
		}
	})
}

// The tables of a program that a compiler made lie side by side, so where each
// one ends is known.
func TestExceptionTablesOfAProgramLieSideBySide(t *testing.T) {
	if _, err := exec.LookPath("g++"); err != nil {
		testkit.Skip(t, "g++ is missing")
	}
	out := filepath.Join(t.TempDir(), "throws")
	if b, err := exec.Command("g++", "-O2", "-o", out, filepath.Join("..", "build", "testdata", "handlers.cc")).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, b)
	}
	m, err := image.Open(out)
	if err != nil {
		t.Fatal(err)
	}
	var all []*image.LSDA
	for _, f := range m.Funcs {
		if f.LSDA == 0 {
			continue
		}
		l, err := m.LSDA(f.LSDA, image.Range{Lo: f.Lo, Hi: f.Hi})
		if err != nil {
			t.Fatalf("%v: %v", f.Names, err)
		}
		for _, c := range l.Sites {
			if c.Pad != 0 && (c.Pad < f.Lo || c.Pad >= f.Hi) {
				t.Errorf("%v: handler at %#x", f.Names, c.Pad)
			}
		}
		for _, x := range l.Types {
			if x.Target != 0 && m.RelocAt(x.Target) == nil {
				t.Errorf("%v: type %d is at %#x", f.Names, x.Index, x.Target)
			}
		}
		all = append(all, l)
	}
	if len(all) < 5 {
		t.Fatalf("%d tables", len(all))
	}
	slices.SortFunc(all, func(a, b *image.LSDA) int { return int(a.Lo) - int(b.Lo) })
	for i, l := range all[1:] {
		if gap := int(l.Lo) - int(all[i].End); gap < 0 || gap > 3 {
			t.Errorf("table at %#x ends at %#x, the next one is at %#x", all[i].Lo, all[i].End, l.Lo)
		}
	}
}
