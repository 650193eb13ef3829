package image_test

import (
	"bytes"
	"math"
	"strings"
	"testing"

	"hotpatch/internal/image"
)

// unit5 is a type unit of DWARF 5 with n bytes of entries.
func unit5(signature uint64, typeAt uint32, n int) []byte {
	b := le.AppendUint32(nil, uint32(20+n))
	b = append(le.AppendUint16(b, 5), 2, 8)
	b = le.AppendUint32(b, 0)
	b = le.AppendUint64(b, signature)
	return append(le.AppendUint32(b, typeAt), make([]byte, n)...)
}

func TestTypeUnitsAreFoundByTheirHeaders(t *testing.T) {
	compile := append(le.AppendUint32(nil, 8+3), 5, 0, 1, 8, 0, 0, 0, 0, 1, 2, 3)
	padding := make([]byte, 4)
	info := bytes.Join([][]byte{unit5(7, 25, 4), compile, padding, unit5(9, 24, 1)}, nil)
	var d image.DWARF
	if err := d.ReadTypeUnits(bytes.NewReader(info), nil, nil, nil); err != nil {
		t.Fatal(err)
	}
	if len(d.TypeUnits) != 2 || d.TypeUnits[0] != (image.TypeUnit{Signature: 7, Type: 25}) ||
		d.TypeUnits[1] != (image.TypeUnit{Signature: 9, Type: 28 + 15 + 4 + 24}) {
		t.Errorf("found %+v", d.TypeUnits)
	}
	for n := range info {
		err := d.ReadTypeUnits(bytes.NewReader(info[:n]), nil, nil, nil)
		whole := n == 0 || n == 28 || n == 28+15 || n == 28+15+4
		if whole != (err == nil) {
			t.Errorf("cut off at %d: error %v", n, err)
		}
	}
}

func TestTypeOutsideOfItsUnitIsAnError(t *testing.T) {
	for _, at := range []uint32{0, 23, 28, math.MaxUint32} {
		var d image.DWARF
		err := d.ReadTypeUnits(bytes.NewReader(unit5(7, at, 4)), nil, nil, nil)
		if err == nil || !strings.Contains(err.Error(), "has its type at") {
			t.Errorf("at %d: error %v", at, err)
		}
	}
}
