package link_test

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"

	"hotpatch/internal/arch"
	"hotpatch/internal/link"
)

// usualFrames is an .eh_frame of two functions as docs/FORMAT.md describes it,
// at 0x5000: [0x2010, 0x2020) and [0x2000, 0x2008).
func usualFrames() []byte {
	b := []byte{0x14, 0, 0, 0, 0, 0, 0, 0, 1, 'z', 'R', 0, 1, 0x78, 16, 1, 0x1b, 0x0c, 7, 8, 0x90, 1, 0, 0}
	for i, f := range [][2]uint32{{0x2010, 16}, {0x2000, 8}} {
		at := uint32(24 + 24*i)
		for _, v := range []uint32{20, at + 4, f[0] - (0x5000 + at + 8), f[1], 0, 0} {
			b = binary.LittleEndian.AppendUint32(b, v)
		}
	}
	return append(b, 0, 0, 0, 0)
}

func TestFramesListsFunctionsByAddress(t *testing.T) {
	got, err := link.Frames(usualFrames(), 0x5000)
	if err != nil {
		t.Fatal(err)
	}
	want := []link.Frame{{Lo: 0x2000, FDE: 0x5030}, {Lo: 0x2010, FDE: 0x5018}}
	if len(got) != 2 || got[0] != want[0] || got[1] != want[1] {
		t.Errorf("frames %x, want %x", got, want)
	}
}

func TestFramesRefusesOtherForms(t *testing.T) {
	for name, change := range map[string]func(b []byte){
		"absolute addresses": func(b []byte) { b[16] = 0x0b },
		"64-bit length":      func(b []byte) { copy(b[24:], []byte{0xff, 0xff, 0xff, 0xff}) },
		"cut off":            func(b []byte) { b[24] = 200 },
		"same place twice":   func(b []byte) { b[48+8] += 16 - 24 + 24; b[48+12] = 16 },
	} {
		b := usualFrames()
		change(b)
		if got, err := link.Frames(b, 0x5000); err == nil {
			t.Errorf("%s: %x", name, got)
		}
	}
}

func FuzzFrames(f *testing.F) {
	f.Add(usualFrames())
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		frames, err := link.Frames(b, 0x5000)
		if err != nil {
			return
		}
		for i, x := range frames {
			if x.FDE < 0x5000 || x.FDE+16 > 0x5000+uint64(len(b)) || i > 0 && frames[i-1].Lo >= x.Lo {
				t.Fatalf("frame %x of %x", x, frames)
			}
		}
	})
}

// The code that GCC 12 makes of the start of _Unwind_Find_FDE.
var pushes = []byte{0xf3, 0x0f, 0x1e, 0xfa, 0x41, 0x57, 0x41, 0x56, 0x41, 0x55, 0x41, 0x54, 0xc3}

func TestDisplacedTakesWholeInstructions(t *testing.T) {
	for name, c := range map[string]struct {
		code      []byte
		offset, n int
		err       string
	}{
		"pushes":           {pushes, 4, 6, ""},
		"no endbr64":       {pushes[4:], 0, 6, ""},
		"rip-relative":     {[]byte{0x8b, 0x05, 0, 1, 0, 0, 0xc3}, 0, 6, ""},
		"call":             {[]byte{0x53, 0xe8, 0, 0, 0, 0, 0xc3}, 0, 0, "a branch at offset 0x1"},
		"short branch":     {[]byte{0x85, 0xff, 0x74, 0x10, 0x90, 0x90, 0xc3}, 0, 0, "a branch at offset 0x2"},
		"too short":        {[]byte{0x53, 0xc3}, 0, 0, "a branch at offset 0x1"},
		"nothing":          {nil, 0, 0, "truncated"},
		"loop to the 2nd":  {[]byte{0x53, 0x41, 0x57, 0x41, 0x56, 0xeb, 0xfa}, 0, 0, "leads among them"},
		"loop to the 1st":  {[]byte{0x53, 0x41, 0x57, 0x41, 0x56, 0xeb, 0xf9}, 0, 5, ""},
		"unknown later on": {append(bytes.Clone(pushes), 0x06), 0, 0, "unknown"},
	} {
		offset, n, err := link.Displaced(c.code)
		if err == nil && c.err != "" || err != nil && (c.err == "" || !strings.Contains(err.Error(), c.err)) {
			t.Errorf("%s: %v, want %q", name, err, c.err)
		}
		if err == nil && (offset != c.offset || n != c.n) {
			t.Errorf("%s: %d bytes at %d, want %d at %d", name, n, offset, c.n, c.offset)
		}
	}
}

func TestFinderIsWholeCode(t *testing.T) {
	const at, entry, next = 0x7f0000010000, 0x7f0000500004, 0x7f0000600000
	frames := []link.Frame{{Lo: 0x7f0000000100, FDE: 0x7f0000000800}, {Lo: 0x7f0000020000, FDE: 0x7f0000020800}}
	displaced := []byte{0x8b, 0x05, 0, 1, 0, 0} // mov 0x100(%rip),%eax
	f, err := link.NewFinder(at, frames, entry, displaced, 0)
	if err != nil {
		t.Fatal(err)
	}
	if uint64(len(f.Data)) > link.FinderSize(len(frames), len(displaced)) {
		t.Errorf("%d bytes, more than promised", len(f.Data))
	}
	// Every branch of the stub stays in it or goes to Miss, and all is decoded.
	for o := f.Stub - at; o < f.Miss-at && f.Data[o] != 0xcc; {
		in, err := arch.Decode(f.Data[o:])
		if err != nil {
			t.Fatalf("at %#x: %v", o, err)
		}
		if to, ok := in.Target(at+o, f.Data[o:]); in.Rel && (!ok || to < f.Stub || to > f.Miss || to < f.Miss && f.Data[to-at] == 0xcc) {
			t.Errorf("branch at %#x to %#x", o, to)
		}
		o += uint64(in.Len)
	}
	if f.Miss%8 != 0 {
		t.Errorf("the jump at %#x is not written in one piece", f.Miss)
	}
	jumps := func(from, to uint64) {
		t.Helper()
		want, err := arch.Jump(from, to)
		if err != nil || !bytes.Equal(f.Data[from-at:from-at+5], want[:]) {
			t.Errorf("at %#x: % x, want % x", from, f.Data[from-at:from-at+5], want)
		}
	}
	jumps(f.Miss, f.Copy)
	jumps(f.Copy+6, entry+6)
	in, err := arch.Decode(f.Data[f.Copy-at:])
	if to, ok := in.Target(f.Copy, f.Data[f.Copy-at:]); err != nil || !ok || to != entry+6+0x100 {
		t.Errorf("the moved instruction refers to %#x", to)
	}
	own, err := link.Frames(f.Data[f.EHFrame-at:f.EHFrame-at+f.EHSize], f.EHFrame)
	if err != nil || len(own) != 1 || own[0].Lo != f.Stub {
		t.Errorf("unwind data of the stub: %x, %v", own, err)
	}
	if f, err = link.NewFinder(at, frames, entry, displaced, next); err != nil {
		t.Fatal(err)
	}
	jumps(f.Miss, next)
	if _, err := link.NewFinder(at, frames, 0x100000, displaced, 0); err == nil {
		t.Error("an entry 127 TiB away is in reach")
	}
}
