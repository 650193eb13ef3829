package unwind

import (
	"encoding/binary"
	"errors"
	"fmt"

	"hotpatch/internal/image"
)

// state is one row while a program builds it.
type state struct {
	hasCFA  bool
	cfaReg  uint8
	cfaOff  int64
	cfaExpr []byte
	regs    [len(Regs{})]rule
}

// program runs call frame instructions: DWARF 5 §6.4.2.
type program struct {
	code  []byte
	cie   *image.CIE
	state state
	first *state  // after the CIE's program; nil while that one runs
	saved []state // DW_CFA_remember_state
}

// maxSaved bounds the remembered states; compilers nest none.
const maxSaved = 32

var errCutOff = errors.New("unwind program is cut off")

// runCIE runs the program that all FDEs of a CIE begin with.
func runCIE(c *image.CIE) (state, error) {
	if c.ReturnReg != RIP {
		return state{}, fmt.Errorf("the return address is in column %d, not %d", c.ReturnReg, RIP)
	}
	p := program{code: c.Program, cie: c}
	_, more, err := p.run()
	if err == nil && more {
		err = errors.New("unwind program of a CIE advances")
	}
	return p.state, err
}

// run runs up to the next advance: then the state holds for the delta bytes of
// code before it. more is false at the end of the program.
func (p *program) run() (delta uint64, more bool, err error) {
	for len(p.code) > 0 {
		op := p.code[0]
		p.code = p.code[1:]
		delta, advance, err := p.instruction(op)
		if err != nil || advance {
			return delta, true, err
		}
	}
	return 0, false, nil
}

// instruction runs one instruction other than its first byte.
func (p *program) instruction(op byte) (delta uint64, advance bool, err error) {
	switch low := op & 0x3f; op >> 6 {
	case 1: // DW_CFA_advance_loc
		return uint64(low) * p.cie.CodeAlign, true, nil
	case 2: // DW_CFA_offset
		v, err := p.uleb()
		p.set(uint64(low), rule{kind: atOffset, off: int64(v) * p.cie.DataAlign})
		return 0, false, err
	case 3: // DW_CFA_restore
		return 0, false, p.restore(uint64(low))
	}
	switch op {
	case 0x02, 0x03, 0x04: // DW_CFA_advance_loc1, 2, 4
		v, err := p.fixed(1 << (op - 2))
		return v * p.cie.CodeAlign, true, err
	case 0x0a: // DW_CFA_remember_state
		if len(p.saved) == maxSaved {
			return 0, false, fmt.Errorf("more than %d remembered states", maxSaved)
		}
		p.saved = append(p.saved, p.state)
		return 0, false, nil
	case 0x0b: // DW_CFA_restore_state
		n := len(p.saved)
		if n == 0 {
			return 0, false, errors.New("restore of a state that was not remembered")
		}
		p.state, p.saved = p.saved[n-1], p.saved[:n-1]
		return 0, false, nil
	case 0x0c, 0x0d, 0x0e, 0x0f, 0x12, 0x13:
		return 0, false, p.frameAddress(op)
	}
	return 0, false, p.register(op)
}

// frameAddress runs the instructions that define the CFA: §6.4.2.2.
func (p *program) frameAddress(op byte) error {
	s := &p.state
	if s.cfaExpr != nil || !s.hasCFA {
		// Half a definition needs the other half.
		if op == 0x0d || op == 0x0e || op == 0x13 {
			return errors.New("frame address: register or offset changed where there are none")
		}
	}
	var err error
	switch op {
	case 0x0c, 0x12: // DW_CFA_def_cfa, def_cfa_sf
		if err = p.cfaRegister(); err == nil {
			err = p.cfaOffset(op == 0x12)
		}
		s.cfaExpr, s.hasCFA = nil, true
	case 0x0d: // DW_CFA_def_cfa_register
		err = p.cfaRegister()
	case 0x0e, 0x13: // DW_CFA_def_cfa_offset, def_cfa_offset_sf
		err = p.cfaOffset(op == 0x13)
	case 0x0f: // DW_CFA_def_cfa_expression
		s.cfaReg, s.cfaOff, s.hasCFA = 0, 0, true
		s.cfaExpr, err = p.block()
	}
	return err
}

func (p *program) cfaRegister() error {
	r, err := p.uleb()
	if err == nil && r >= RIP {
		err = fmt.Errorf("frame address in register %d", r)
	}
	p.state.cfaReg = uint8(r)
	return err
}

func (p *program) cfaOffset(factored bool) error {
	if factored {
		v, err := p.sleb()
		p.state.cfaOff = v * p.cie.DataAlign
		return err
	}
	v, err := p.uleb()
	p.state.cfaOff = int64(v)
	return err
}

// register runs the instructions that set a rule: §6.4.2.3, and those that do
// nothing for us.
func (p *program) register(op byte) error {
	switch op {
	case 0x00: // DW_CFA_nop
		return nil
	case 0x2e: // DW_CFA_GNU_args_size: for landing pads only
		_, err := p.uleb()
		return err
	}
	var u rule
	switch op {
	case 0x05, 0x11, 0x2f: // DW_CFA_offset_extended, _sf, DW_CFA_GNU_negative_offset_extended
		u.kind = atOffset
	case 0x06: // DW_CFA_restore_extended
		r, err := p.uleb()
		if err != nil {
			return err
		}
		return p.restore(r)
	case 0x07:
		u.kind = undefined
	case 0x08:
		u.kind = same
	case 0x09:
		u.kind = inRegister
	case 0x10:
		u.kind = atExpr
	case 0x14, 0x15: // DW_CFA_val_offset, _sf
		u.kind = valOffset
	case 0x16:
		u.kind = valExpr
	default: // DW_CFA_set_loc (0x01) among them: no compiler for x86-64 has it
		return fmt.Errorf("unknown unwind instruction %#02x", op)
	}
	r, err := p.uleb()
	if err != nil {
		return err
	}
	if err := p.operand(op, &u); err != nil {
		return err
	}
	p.set(r, u)
	return nil
}

// operand reads what follows the register number.
func (p *program) operand(op byte, u *rule) error {
	switch op {
	case 0x05, 0x14, 0x2f:
		v, err := p.uleb()
		u.off = int64(v) * p.cie.DataAlign
		if op == 0x2f {
			u.off = -u.off
		}
		return err
	case 0x11, 0x15:
		v, err := p.sleb()
		u.off = v * p.cie.DataAlign
		return err
	case 0x09:
		v, err := p.uleb()
		if err == nil && v > RIP {
			err = fmt.Errorf("value in register %d", v)
		}
		u.from = uint8(v)
		return err
	case 0x10, 0x16:
		var err error
		u.expr, err = p.block()
		return err
	}
	return nil
}

// set stores a rule. Vector registers have rules in no code that matters: none
// of them can hold a return address or a frame address.
func (p *program) set(r uint64, u rule) {
	if r < uint64(len(p.state.regs)) {
		p.state.regs[r] = u
	}
}

func (p *program) restore(r uint64) error {
	if p.first == nil {
		return errors.New("restore in the program of a CIE")
	}
	if r < uint64(len(p.state.regs)) {
		p.state.regs[r] = p.first.regs[r]
	}
	return nil
}

func (p *program) uleb() (uint64, error) {
	v, n := uleb(p.code)
	if n == 0 {
		return 0, errCutOff
	}
	p.code = p.code[n:]
	return v, nil
}

func (p *program) sleb() (int64, error) {
	v, n := sleb(p.code)
	if n == 0 {
		return 0, errCutOff
	}
	p.code = p.code[n:]
	return v, nil
}

// block reads an expression.
func (p *program) block() ([]byte, error) {
	n, err := p.uleb()
	if err != nil {
		return nil, err
	}
	if n == 0 || n > uint64(len(p.code)) {
		return nil, fmt.Errorf("expression of %d bytes in the %d that are left", n, len(p.code))
	}
	b := p.code[:n:n]
	p.code = p.code[n:]
	return b, nil
}

// fixed reads a little-endian number of n bytes.
func (p *program) fixed(n int) (uint64, error) {
	v, ok := fixed(p.code, n)
	if !ok {
		return 0, errCutOff
	}
	p.code = p.code[n:]
	return v, nil
}

func fixed(b []byte, n int) (uint64, bool) {
	if len(b) < n {
		return 0, false
	}
	switch n {
	case 1:
		return uint64(b[0]), true
	case 2:
		return uint64(binary.LittleEndian.Uint16(b)), true
	case 4:
		return uint64(binary.LittleEndian.Uint32(b)), true
	}
	return binary.LittleEndian.Uint64(b), true
}

// uleb and sleb decode LEB128 (DWARF 5 §7.6); n is 0 when b ends early or the
// number has more than 64 bits.
func uleb(b []byte) (v uint64, n int) {
	v, n = binary.Uvarint(b)
	return v, max(n, 0)
}

func sleb(b []byte) (v int64, n int) {
	shift := 0
	for n < len(b) && n < 10 {
		c := b[n]
		n++
		v |= int64(c&0x7f) << shift
		shift += 7
		if c&0x80 == 0 {
			if c&0x40 != 0 && shift < 64 {
				v |= -1 << shift
			}
			return v, n
		}
	}
	return 0, 0
}
