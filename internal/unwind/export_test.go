package unwind

import (
	"fmt"
	"io"
	"strings"

	"hotpatch/internal/image"
)

// NewTable makes the table of an image from its .eh_frame. An image without
// one has an empty table: every stack through it is an error.
func NewTable(im *image.Image) (*Table, error) {
	for _, s := range im.Sections {
		if s.Name == ".eh_frame" {
			t, err := TableFrom(s.Data, s.Addr)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", im.Path, err)
			}
			return t, nil
		}
	}
	return &Table{}, nil
}

// Step is one step of a walk: the caller's registers, and which of them are known.
func Step(s *Space, regs Regs, mem io.ReaderAt) (Regs, uint32, error) {
	w := walker{space: s, regs: regs, valid: all, mem: mem}
	r, err := w.row(Frame{PC: regs[RIP], Exact: true})
	if err != nil {
		return regs, 0, err
	}
	return stepped(&w, w.step(r))
}

func stepped(w *walker, err error) (Regs, uint32, error) { return w.regs, w.valid, err }

// Eval runs an expression with the CFA on the stack.
func Eval(code []byte, cfa uint64, regs Regs, mem io.ReaderAt) (uint64, error) {
	w := walker{regs: regs, valid: all, mem: mem}
	return w.eval(code, cfa, true)
}

// Rows lists a table as readelf --debug-dump=frames-interp prints it: by
// address, "CFA" and the rules of registers.
func (t *Table) Rows() map[uint64]map[string]string {
	out := map[uint64]map[string]string{}
	for i, off := range t.starts {
		r := t.rows[t.which[i]]
		cols := map[string]string{}
		switch {
		case t.which[i] == 0:
			continue
		case r.bad != nil:
			cols["bad"] = r.bad.Error()
		case r.end:
			cols["ra"] = "u"
		default:
			cols["CFA"] = "exp"
			if r.cfaExpr == nil {
				cols["CFA"] = fmt.Sprintf("%s%+d", regName(r.cfaReg), r.cfaOff)
			}
			for _, u := range r.rules {
				name := strings.Replace(regName(u.reg), "rip", "ra", 1)
				cols[name] = [...]string{unset: "u", same: "s", undefined: "u", atOffset: fmt.Sprintf("c%+d", u.off),
					valOffset: fmt.Sprintf("v%+d", u.off), inRegister: regName(u.from), atExpr: "exp", valExpr: "vexp"}[u.kind]
			}
		}
		out[t.base+uint64(off)] = cols
	}
	return out
}
