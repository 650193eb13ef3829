package build

import (
	"encoding/binary"
	"fmt"
	"slices"

	"hotpatch/internal/diff"
	"hotpatch/internal/image"
)

// frames re-encodes the unwind data of the carried functions as an .eh_frame
// for address at, so that stacks that run through carried code can be read.
// There is no personality: a carried function handles no exceptions.
//
// Encoding: LSB 5.0 §10.6; addresses are pcrel | sdata4.
func frames(c *diff.Code, carried []*diff.Func, at image.Addr) ([]byte, error) {
	fdes, err := fdesOf(c)
	if err != nil {
		return nil, err
	}
	w := &frameWriter{at: at, cies: map[string]int{}}
	for _, f := range carried {
		if f.Source != image.FromFDE {
			continue // it has none in the fixed image either (symbol-bounds)
		}
		i, ok := slices.BinarySearchFunc(fdes, f.Lo, func(e image.FDE, a image.Addr) int {
			switch {
			case e.Lo < a:
				return -1
			case e.Lo > a:
				return 1
			}
			return 0
		})
		if !ok {
			return nil, fmt.Errorf("write .eh_frame: %s at %#x has no unwind data", f.Name(), uint64(f.Lo))
		}
		if err := w.fde(&fdes[i]); err != nil {
			return nil, err
		}
	}
	return append(w.out, 0, 0, 0, 0), nil
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
}

const (
	pcrelSData4 = 0x1b
	nop         = 0 // DW_CFA_nop
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
func (w *frameWriter) cie(c *image.CIE) int {
	body := []byte{1, 'z', 'R'} // version 1
	if c.SignalFrame {
		body = append(body, 'S')
	}
	body = append(body, 0)
	body = binary.AppendUvarint(body, c.CodeAlign)
	body = appendSLEB(body, c.DataAlign)
	body = append(body, byte(c.ReturnReg), 1, pcrelSData4)
	body = append(body, c.Program...)
	key := string(body)
	if at, ok := w.cies[key]; ok {
		return at
	}
	at := len(w.out)
	w.cies[key] = at
	w.record(0, body)
	return at
}

func (w *frameWriter) fde(e *image.FDE) error {
	cie := w.cie(e.CIE)
	here := len(w.out)
	d := int64(e.Lo) - int64(w.at) - int64(here) - 8
	if d != int64(int32(d)) || e.Hi-e.Lo > 1<<31-1 {
		return fmt.Errorf("write .eh_frame: function at %#x is too far away", uint64(e.Lo))
	}
	body := binary.LittleEndian.AppendUint32(nil, uint32(d))
	body = binary.LittleEndian.AppendUint32(body, uint32(e.Hi-e.Lo))
	body = append(body, 0) // no augmentation data
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
