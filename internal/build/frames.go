package build

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"

	"hotpatch/internal/diff"
	"hotpatch/internal/image"
)

// frames re-encodes the unwind data of the carried functions as an .eh_frame
// for address at, so that stacks that run through carried code can be read and
// exceptions pass it. The personality routines are left open: those that are
// fields, each the address of 32 bits that have to lead to the slot.
//
// Encoding: LSB 5.0 §10.6; addresses are pcrel | sdata4.
func frames(fdes []image.FDE, carried []*diff.Func, at image.Addr) ([]byte, []personalityField, error) {
	w := &frameWriter{at: at, cies: map[string]int{}}
	for _, f := range carried {
		if f.Source != image.FromFDE {
			continue // it has none in the fixed image either (symbol-bounds)
		}
		x := frameAt(fdes, f.Lo)
		if x == nil {
			return nil, nil, fmt.Errorf("write .eh_frame: %s at %#x has no unwind data", f.Name(), uint64(f.Lo))
		}
		if err := w.fde(x); err != nil {
			return nil, nil, err
		}
	}
	return append(w.out, 0, 0, 0, 0), w.open, nil
}

// personalityField is where an entry says which slot holds the address of the
// personality routine.
type personalityField struct{ at, slot image.Addr }

// frameAt is the entry of the function that starts at lo; nil: there is none.
func frameAt(fdes []image.FDE, lo image.Addr) *image.FDE {
	i, ok := slices.BinarySearchFunc(fdes, lo, func(x image.FDE, a image.Addr) int { return cmp.Compare(x.Lo, a) })
	if !ok {
		return nil
	}
	return &fdes[i]
}

func fdesOf(c *diff.Code) ([]image.FDE, error) {
	for _, s := range c.Sections {
		if s.Name == ".eh_frame" {
			return image.FDEs(s.Data, s.Addr)
		}
	}
	return nil, nil
}

type frameWriter struct {
	at   image.Addr
	out  []byte
	cies map[string]int // encoded CIE → offset
	open []personalityField
}

const (
	pcrelSData4 = 0x1b
	indirect    = 0x80
	nop         = 0 // DW_CFA_nop
	recordHead  = 8 // length and id
)

// record appends one entry: its length, id, body, and nops up to 8 bytes.
func (w *frameWriter) record(id uint32, body []byte) {
	for (8+len(body))%8 != 0 {
		body = append(body, nop)
	}
	w.out = binary.LittleEndian.AppendUint32(w.out, uint32(4+len(body)))
	w.out = binary.LittleEndian.AppendUint32(w.out, id)
	w.out = append(w.out, body...)
}

// cie returns the offset of an entry like c, writing it when it is the first.
// handlers: for functions that have an exception table.
func (w *frameWriter) cie(c *image.CIE, handlers bool) int {
	letters, data := "z", []byte{}
	if handlers {
		letters, data = "zPL", []byte{pcrelSData4 | indirect, 0, 0, 0, 0, pcrelSData4}
	}
	letters, data = letters+"R", append(data, pcrelSData4)
	if c.SignalFrame {
		letters += "S"
	}
	body := append([]byte{1}, letters...) // version 1
	body = append(body, 0)
	body = binary.AppendUvarint(body, c.CodeAlign)
	body = appendSLEB(body, c.DataAlign)
	body = append(body, byte(c.ReturnReg), byte(len(data)))
	personality := len(body) + 1
	body = append(append(body, data...), c.Program...)
	key := string(body)
	if handlers {
		key += fmt.Sprint(" ", c.PersonalityAt)
	}
	if at, ok := w.cies[key]; ok {
		return at
	}
	at := len(w.out)
	w.cies[key] = at
	if handlers {
		w.open = append(w.open, personalityField{w.at + image.Addr(at+recordHead+personality), c.PersonalityAt})
	}
	w.record(0, body)
	return at
}

func (w *frameWriter) fde(e *image.FDE) error {
	handlers := e.LSDA != 0
	cie := w.cie(e.CIE, handlers)
	here := len(w.out)
	near := func(to image.Addr, off int) (uint32, error) {
		d := int64(to) - int64(w.at) - int64(off)
		if d != int64(int32(d)) {
			return 0, fmt.Errorf("write .eh_frame: %#x is too far away", uint64(to))
		}
		return uint32(d), nil
	}
	lo, err := near(e.Lo, here+recordHead)
	if err != nil {
		return err
	}
	if e.Hi-e.Lo > 1<<31-1 {
		return fmt.Errorf("write .eh_frame: function at %#x is too large", uint64(e.Lo))
	}
	body := binary.LittleEndian.AppendUint32(nil, lo)
	body = binary.LittleEndian.AppendUint32(body, uint32(e.Hi-e.Lo))
	if handlers {
		body = append(body, 4)
		table, err := near(e.LSDA, here+recordHead+len(body))
		if err != nil {
			return err
		}
		body = binary.LittleEndian.AppendUint32(body, table)
	} else {
		body = append(body, 0) // no augmentation data
	}
	body = append(body, e.Program...)
	w.record(uint32(here+4-cie), body)
	return nil
}

func appendSLEB(b []byte, v int64) []byte {
	for {
		c := byte(v & 0x7f)
		v >>= 7
		if v == 0 && c&0x40 == 0 || v == -1 && c&0x40 != 0 {
			return append(b, c)
		}
		b = append(b, c|0x80)
	}
}
