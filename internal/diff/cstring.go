package diff

import (
	"sync"

	"hotpatch/internal/image"
)

// CString is the length of the printable C string at a, with its NUL; 0 when
// there is none. Bytes above 127 pass: strings are in UTF-8.
func (c *Code) CString(a image.Addr) int {
	s := c.SectionAt(a)
	if s == nil || a < s.Addr || a-s.Addr >= image.Addr(len(s.Data)) {
		return 0
	}
	at := int(a - s.Addr)
	// Most strings are short. Where thousands of references lead into one that is
	// long, its end is looked up.
	end := textEnd(s.Data, at, min(len(s.Data), (at|(textBlock-1))+1))
	if end < 0 {
		end = c.textEnds(s)[at/textBlock+1]
	}
	if end == len(s.Data) || s.Data[end] != 0 {
		return 0
	}
	return end - at + 1
}

const textBlock = 1024

// textEnd is the first place in data[lo:hi] that is no text: the NUL behind it, or
// what no string has in it; len(data) at the end of data, -1 when there is none yet.
func textEnd(data []byte, lo, hi int) int {
	for i, b := range data[lo:hi] {
		if b < 8 || b > 13 && b < 32 && b != 27 || b == 127 {
			return lo + i
		}
	}
	if hi == len(data) {
		return hi
	}
	return -1
}

// textEnds are textEnd of the section for the start of every block.
func (c *Code) textEnds(s *image.Section) []int {
	once, _ := c.texts.LoadOrStore(s, sync.OnceValue(func() []int {
		out := make([]int, len(s.Data)/textBlock+2)
		next := len(s.Data)
		for i := len(out) - 1; i >= 0; i-- {
			lo := min(i*textBlock, len(s.Data))
			if end := textEnd(s.Data, lo, min(lo+textBlock, len(s.Data))); end >= 0 {
				next = end
			}
			out[i] = next
		}
		return out
	}))
	return once.(func() []int)()
}
