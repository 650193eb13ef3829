package diff

import (
	"context"
	"slices"

	"hotpatch/internal/arch"
	"hotpatch/internal/image"
)

// Stretch is a range of an executable section and what it is.
type Stretch struct {
	image.Range
	Use  Use
	Func *Func // of Function and Unknown code
}

// Use says what a stretch of an executable section is.
type Use uint8

const (
	Function Use = iota // unwind data or a symbol bounds it
	Linkage             // PLT
	Padding             // filler between functions
	Unknown             // nothing describes it; code of start-up files, mostly
)

func (u Use) String() string { return [...]string{"function", "PLT", "padding", "unknown"}[u] }

// Account accounts for every byte of the executable sections, in order of
// address and without gap or overlap within a section.
func (c *Code) Account() []Stretch {
	var out []Stretch
	for _, s := range c.Sections {
		if s.Size == 0 {
			continue
		}
		switch s.Class {
		case image.PLT:
			out = append(out, Stretch{Range: image.Range{Lo: s.Addr, Hi: s.Addr + s.Size}, Use: Linkage})
		case image.Text:
			out = c.accountText(out, s)
		}
	}
	return out
}

func (c *Code) accountText(out []Stretch, s *image.Section) []Stretch {
	at, end := s.Addr, s.Addr+s.Size
	fill := func(hi image.Addr) {
		if at >= hi {
			return
		}
		use := Padding
		if b := c.Bytes(at, int(hi-at)); arch.Padding(b) != len(b) {
			use = Unknown
		}
		out = append(out, Stretch{Range: image.Range{Lo: at, Hi: hi}, Use: use})
		at = hi
	}
	k, _ := slices.BinarySearch(c.lows, s.Addr)
	for ; k < len(c.Funcs) && c.Funcs[k].Lo < end; k++ {
		f := c.Funcs[k]
		fill(f.Lo)
		use := Function
		if f.Source == image.FromGap {
			use = Unknown
		}
		out = append(out, Stretch{Range: image.Range{Lo: f.Lo, Hi: f.Hi}, Use: use, Func: f})
		at = f.Hi
	}
	fill(end)
	return out
}

// Decode reads all code of an image, as Compare does. The only error is that ctx ended.
func Decode(ctx context.Context, m *image.Image) (*Code, error) {
	c := decode(ctx, m)
	return c, context.Cause(ctx)
}
