package types

import (
	"debug/dwarf"
	"fmt"
	"strings"
)

// baseForm says how a number or truth value is held, besides its size. The zero value
// is an integer.
type baseForm struct {
	float, complex, decimal, imaginary bool
	boolean                            bool // 0 or 1, and nothing else
	swapped                            bool // the other end first
	format                             string
}

// Encodings of base types that are not read as integers (DWARF 5, 7.8), and
// DW_END_big (7.8).
const (
	encBoolean        = 0x02
	encComplexFloat   = 0x03
	encFloat          = 0x04
	encImaginaryFloat = 0x09
	encDecimalFloat   = 0x0f
	endBig            = 0x01
)

func baseFormOf(e *dwarf.Entry, name string) (f baseForm) {
	switch encoding, _ := e.Val(dwarf.AttrEncoding).(int64); encoding {
	case encBoolean:
		f.boolean = true
	case encComplexFloat:
		f.float, f.complex = true, true
	case encFloat:
		f.float = true
	case encImaginaryFloat:
		f.float, f.imaginary = true, true
	case encDecimalFloat:
		f.float, f.decimal = true, true
	}
	if end, _ := e.Val(dwarf.AttrEndianity).(int64); end == endBig {
		f.swapped = true
	}
	if f.float { // two formats have 16 bytes, and two have 2; nothing but the name tells them apart
		switch {
		case strings.Contains(name, "128"):
			f.format = "quad "
		case strings.Contains(name, "bf16"), strings.Contains(name, "bfloat16"):
			f.format = "brain "
		}
	}
	return f
}

// text names what is size bytes long in that form.
func (f baseForm) text(size int64, class string) string {
	switch {
	case f.complex:
		class = "complex " + class
	case f.imaginary:
		class = "imaginary " + class
	case f.decimal:
		class = "decimal " + class
	case f.boolean:
		class = "truth value"
	}
	text := fmt.Sprintf("%d-bit %s%s", 8*size, f.format, class)
	if f.swapped {
		text += " with its high byte first"
	}
	return text
}

// readAs tells what becomes of f where g is expected, of the same size. What was an
// integer may be no truth value.
func (f baseForm) readAs(g baseForm) reading {
	b := f.boolean
	f.boolean = g.boolean
	switch {
	case f != g:
		return misread
	case g.boolean && !b:
		return retyped
	}
	return unchanged
}
