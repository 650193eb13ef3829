package image_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"hotpatch/internal/image"
	"hotpatch/internal/testkit"
)

const frameAddr = 0x5000

// frames builds .eh_frame sections by hand.
type frames struct{ b []byte }

func (f *frames) u8(v ...byte)   { f.b = append(f.b, v...) }
func (f *frames) u32(v uint32)   { f.b = le.AppendUint32(f.b, v) }
func (f *frames) u64(v uint64)   { f.b = le.AppendUint64(f.b, v) }
func (f *frames) here() uint64   { return frameAddr + uint64(len(f.b)) }
func (f *frames) pcrel(a uint64) { f.u32(uint32(a - f.here())) }

// entry writes one entry and returns its offset; wide: with a 64-bit length.
func (f *frames) entry(wide bool, body func(idAt int)) int {
	at := len(f.b)
	f.u32(0)
	if wide {
		le.PutUint32(f.b[at:], 0xffffffff)
		f.u64(0)
	}
	start := len(f.b)
	body(start)
	if wide {
		le.PutUint64(f.b[at+4:], uint64(len(f.b)-start))
	} else {
		le.PutUint32(f.b[at:], uint32(len(f.b)-start))
	}
	return at
}

// cie writes a CIE with the augmentation and its data.
func (f *frames) cie(aug string, data ...byte) int {
	return f.entry(false, func(int) {
		f.u32(0)
		f.u8(1)
		f.u8(append([]byte(aug), 0)...)
		f.u8(1, 0x78, 16) // code 1, data -8, return address in 16
		if strings.HasPrefix(aug, "z") {
			f.u8(byte(len(data)))
			f.u8(data...)
		}
		f.u8(0x0c, 7, 8, 0x90, 1) // def_cfa rsp+8; offset rip cfa-8
	})
}

// fde writes an FDE of pcrel sdata4 for [lo, lo+size).
func (f *frames) fde(cie int, lo uint64, size uint32, program ...byte) int {
	return f.entry(false, func(idAt int) {
		f.u32(uint32(idAt - cie))
		f.pcrel(lo)
		f.u32(size)
		f.u8(0)
		f.u8(program...)
	})
}

const (
	pcrel4 = 0x1b
	udata4 = 0x03
	udata8 = 0x04
	absptr = 0x00
)

func decode(t *testing.T, f *frames) []image.FDE {
	t.Helper()
	got, err := image.FDEs(f.b, frameAddr)
	if err != nil {
		t.Fatalf("%v\n% x", err, f.b)
	}
	return got
}

func ranges(fdes []image.FDE) string {
	var s []string
	for _, f := range fdes {
		s = append(s, fmt.Sprintf("%x-%x", uint64(f.Lo), uint64(f.Hi)))
	}
	return strings.Join(s, " ")
}

func TestFDEsAreSortedAndDisjoint(t *testing.T) {
	var f frames
	c := f.cie("zR", pcrel4)
	f.fde(c, 0x1300, 0x10)
	f.fde(c, 0x1000, 0x100)
	f.u32(0)               // a terminator in the middle
	f.fde(c, 0x1080, 0x20) // inside the one before: cuts it
	f.fde(c, 0x1300, 0x99) // again
	f.fde(c, 0x1200, 0)    // empty
	f.fde(c, 0x900, 0x10)  // below the section
	f.fde(c, 0x7000, 0x10) // above it
	f.u32(0)
	if got, want := ranges(decode(t, &f)), "900-910 1000-1080 1080-10a0 1300-1310 7000-7010"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestFDEPointerEncodings(t *testing.T) {
	for enc, put := range map[byte]func(f *frames, v uint64){
		absptr: func(f *frames, v uint64) { f.u64(v) },
		udata8: func(f *frames, v uint64) { f.u64(v) },
		udata4: func(f *frames, v uint64) { f.u32(uint32(v)) },
		0x02:   func(f *frames, v uint64) { f.u8(byte(v), byte(v>>8)) },
		0x0a:   func(f *frames, v uint64) { f.u8(byte(v), byte(v>>8)) },
		0x0b:   func(f *frames, v uint64) { f.u32(uint32(v)) },
		0x0c:   func(f *frames, v uint64) { f.u64(v) },
		0x01:   func(f *frames, v uint64) { f.u8(byte(v)|0x80, byte(v>>7)|0x80, byte(v>>14)) },
		0x09:   func(f *frames, v uint64) { f.u8(byte(v)|0x80, byte(v>>7)|0x80, byte(v>>14)) },
	} {
		for _, base := range []byte{0, 0x10} {
			t.Run(fmt.Sprintf("%#x", enc|base), func(t *testing.T) {
				var f frames
				c := f.cie("zR", enc|base)
				f.entry(false, func(idAt int) {
					f.u32(uint32(idAt - c))
					v := uint64(0x6000)
					if base != 0 {
						v -= f.here()
					}
					put(&f, v)
					put(&f, 0x40)
					f.u8(0, 0x0e, 16)
				})
				got := decode(t, &f)
				if ranges(got) != "6000-6040" || !bytes.Equal(got[0].Program, []byte{0x0e, 16}) {
					t.Errorf("%s % x", ranges(got), got[0].Program)
				}
			})
		}
	}
}

func TestFDENegativeDistances(t *testing.T) {
	var f frames
	c := f.cie("zR", pcrel4)
	f.fde(c, 0x10, 0x20)
	if got := ranges(decode(t, &f)); got != "10-30" {
		t.Error(got)
	}
}

func TestCIEFields(t *testing.T) {
	var f frames
	var personality [4]byte
	// The pointer is the third byte behind "P" and its encoding.
	c := f.entry(false, func(int) {
		f.u32(0)
		f.u8(3) // version 3: the return register is a LEB128
		f.u8([]byte("zPLRS\x00")...)
		f.u8(0x81, 0x00, 0x78, 0x90, 0x00) // code 1 in two bytes, data -8, return 16 in two
		f.u8(7, 0x9b)
		le.PutUint32(personality[:], uint32(0x8000-f.here()))
		f.u8(personality[:]...)
		f.u8(pcrel4, pcrel4)
		f.u8(0x0c, 7, 8)
	})
	f.entry(false, func(idAt int) {
		f.u32(uint32(idAt - c))
		f.pcrel(0x1000)
		f.u32(0x20)
		f.u8(4)
		f.pcrel(0x9000)
		f.u8(0x41, 0x0e, 16)
	})
	f.entry(false, func(idAt int) { // no LSDA: zero, not relative to its place
		f.u32(uint32(idAt - c))
		f.pcrel(0x1020)
		f.u32(0x20)
		f.u8(4, 0, 0, 0, 0)
	})
	got := decode(t, &f)
	if ranges(got) != "1000-1020 1020-1040" || got[0].LSDA != 0x9000 || got[1].LSDA != 0 {
		t.Fatalf("%s %+v", ranges(got), got)
	}
	cie := got[0].CIE
	if cie != got[1].CIE {
		t.Error("the CIE is decoded twice")
	}
	if cie.CodeAlign != 1 || cie.DataAlign != -8 || cie.ReturnReg != 16 || !cie.SignalFrame || !cie.HasPersonality || cie.PersonalityAt != 0x8000 || !bytes.Equal(cie.Program, []byte{0x0c, 7, 8}) {
		t.Errorf("%+v", cie)
	}
	if !bytes.Equal(got[0].Program, []byte{0x41, 0x0e, 16}) {
		t.Errorf("program % x", got[0].Program)
	}
}

func TestCIEMayFollowItsFDEs(t *testing.T) {
	var f frames
	at := f.entry(false, func(idAt int) {
		f.u32(0)
		f.pcrel(0x1000)
		f.u32(0x20)
		f.u8(0)
	})
	c := f.cie("zR", pcrel4)
	le.PutUint32(f.b[at+4:], uint32(at+4-c)) // a negative distance
	// Distances are unsigned in the specification; no linker writes this.
	if _, err := image.FDEs(f.b, frameAddr); err == nil {
		t.Error("a CIE behind its FDE has a distance below zero")
	}

	// Two CIEs, the FDEs refer to them out of order.
	f = frames{}
	first := f.cie("zR", udata4)
	second := f.cie("zR", pcrel4)
	f.fde(second, 0x1000, 0x10)
	f.entry(false, func(idAt int) {
		f.u32(uint32(idAt - first))
		f.u32(0x2000)
		f.u32(0x10)
		f.u8(0)
	})
	f.fde(second, 0x3000, 0x10)
	got := decode(t, &f)
	if ranges(got) != "1000-1010 2000-2010 3000-3010" || got[0].CIE != got[2].CIE || got[0].CIE == got[1].CIE {
		t.Errorf("%s", ranges(got))
	}
}

func TestWideLengths(t *testing.T) {
	var f frames
	c := f.cie("zR", pcrel4)
	f.entry(true, func(idAt int) {
		f.u32(uint32(idAt - c))
		f.pcrel(0x1000)
		f.u32(0x20)
		f.u8(0)
	})
	f.fde(c, 0x1020, 0x20)
	if got := ranges(decode(t, &f)); got != "1000-1020 1020-1040" {
		t.Error(got)
	}
}

func TestPlainAugmentationAndPadding(t *testing.T) {
	var f frames
	c := f.cie("")
	f.entry(false, func(idAt int) {
		f.u32(uint32(idAt - c))
		f.u64(0x1000)
		f.u64(0x20)
		f.u8(0x41)
	})
	f.u8(0, 0, 0) // rest of the alignment
	got := decode(t, &f)
	if ranges(got) != "1000-1020" || !bytes.Equal(got[0].Program, []byte{0x41}) {
		t.Errorf("%s % x", ranges(got), got[0].Program)
	}
	if got, err := image.FDEs(nil, 0); err != nil || len(got) != 0 {
		t.Errorf("no bytes: %v %v", got, err)
	}
}

func TestBadFramesAreErrors(t *testing.T) {
	for _, c := range []struct {
		name, want string
		build      func(f *frames)
	}{
		{"length runs over", "runs past the end", func(f *frames) { f.u32(100); f.u32(0) }},
		{"length cut off", "length field cut off", func(f *frames) { f.u8(1, 0) }},
		{"wide length cut off", "64-bit length field cut off", func(f *frames) { f.u32(0xffffffff); f.u32(1) }},
		{"wide length huge", "runs past the end", func(f *frames) { f.u32(0xffffffff); f.u64(1 << 63) }},
		{"no room for id", "no room for its id", func(f *frames) { f.u32(2); f.u8(0, 0) }},
		{"CIE before the section", "before the section", func(f *frames) { f.u32(4); f.u32(0x1000) }},
		{"CIE is an FDE", "no CIE there", func(f *frames) { c := f.cie("zR", pcrel4); x := f.fde(c, 1, 1); f.fde(x, 2, 2) }},
		{"CIE is a terminator", "no CIE there", func(f *frames) { f.u32(0); f.fde(0, 2, 2) }},
		{"version", "version 9", func(f *frames) {
			c := f.cie("zR", pcrel4)
			f.b[c+8] = 9
			f.fde(c, 1, 1)
		}},
		{"old augmentation", `augmentation "eh"`, func(f *frames) { f.fde(f.cie("eh"), 1, 1) }},
		{"unknown letter", `unknown letter 'X'`, func(f *frames) { f.fde(f.cie("zX", 1), 1, 1) }},
		{"augmentation without end", "has no end", func(f *frames) {
			c := f.entry(false, func(int) { f.u32(0); f.u8(1, 'z', 'R') })
			f.fde(c, 1, 1)
		}},
		{"augmentation data runs over", "outside its entry", func(f *frames) {
			c := f.cie("zR", pcrel4)
			f.b[c+15] = 0x7f
			f.fde(c, 1, 1)
		}},
		{"augmentation data too short", "needs more than its 1 bytes", func(f *frames) { f.fde(f.cie("zRL", pcrel4), 1, 1) }},
		{"pointer format", "pointer format 0x5", func(f *frames) { f.fde(f.cie("zR", 0x05), 1, 1) }},
		{"pointer base", "pointer base 0x3b", func(f *frames) { f.fde(f.cie("zR", 0x3b), 1, 1) }},
		{"indirect address", "indirect address", func(f *frames) { f.fde(f.cie("zR", 0x9b), 1, 1) }},
		{"indirect LSDA", "indirect LSDA", func(f *frames) {
			c := f.cie("zRL", pcrel4, 0x9b)
			f.entry(false, func(idAt int) { f.u32(uint32(idAt - c)); f.pcrel(1); f.u32(1); f.u8(4); f.u32(1) })
		}},
		{"cut off range", "cut off", func(f *frames) {
			c := f.cie("zR", pcrel4)
			f.entry(false, func(idAt int) { f.u32(uint32(idAt - c)); f.u32(1) })
		}},
		{"range overflows", "overflows", func(f *frames) {
			c := f.cie("zR", absptr)
			f.entry(false, func(idAt int) { f.u32(uint32(idAt - c)); f.u64(^uint64(0)); f.u64(2); f.u8(0) })
		}},
		{"LEB128 too long", "LEB128", func(f *frames) {
			c := f.entry(false, func(int) { f.u32(0); f.u8(1, 0); f.u8(bytes.Repeat([]byte{0x80}, 12)...) })
			f.fde(c, 1, 1)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var f frames
			c.build(&f)
			got, err := image.FDEs(f.b, frameAddr)
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), ".eh_frame offset 0x") {
				t.Errorf("%v, %v; want %s", got, err, c.want)
			}
		})
	}
}

// TestFramesAgreeWithReadelf compares the ranges of whole sections.
func TestFramesAgreeWithReadelf(t *testing.T) {
	testkit.Tools(t, "readelf")
	path := "/lib/x86_64-linux-gnu/libc.so.6"
	m, err := image.Open(path)
	if err != nil {
		testkit.Skip(t, "no C library at the place of Debian: "+err.Error())
	}
	var want []string
	for _, l := range strings.Split(testkit.Run(t, "readelf", "--debug-dump=frames,no-follow-links", path), "\n") {
		if _, pc, ok := strings.Cut(l, " pc="); ok {
			lo, hi, _ := strings.Cut(pc, "..")
			if lo != hi {
				want = append(want, fmt.Sprintf("%x-%x", uint64(hex(t, lo)), uint64(hex(t, hi))))
			}
		}
	}
	i := slices.IndexFunc(m.Sections, func(s *image.Section) bool { return s.Name == ".eh_frame" })
	fdes, err := image.FDEs(m.Sections[i].Data, m.Sections[i].Addr)
	if err != nil {
		t.Fatal(err)
	}
	got := strings.Fields(ranges(fdes))
	slices.Sort(got)
	slices.Sort(want)
	want = slices.Compact(want)
	if len(got) < 1000 || !slices.Equal(got, want) {
		t.Errorf("%d entries, want %d", len(got), len(want))
	}
}

// TestFramesStayQuick: one CIE with a long program must not be run for each of
// many FDEs, nor many FDEs make sorting slow.
func TestFramesStayQuick(t *testing.T) {
	var f frames
	c := f.entry(false, func(int) {
		f.u32(0)
		f.u8(1, 'z', 'R', 0, 1, 0x78, 16, 1, pcrel4)
		f.u8(make([]byte, 1<<20)...) // nops
	})
	for i := range 20_000 {
		f.fde(c, uint64(0x1000000-16*i), 16)
	}
	start := time.Now()
	if got := decode(t, &f); len(got) != 20_000 {
		t.Errorf("%d entries", len(got))
	}
	// Milliseconds, when each part is looked at once; minutes otherwise.
	if d := time.Since(start); d > 15*time.Second {
		t.Errorf("took %v", d)
	}
}
