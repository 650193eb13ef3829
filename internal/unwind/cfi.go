package unwind

import (
	"encoding/binary"
	"errors"
	"fmt"

	"hotpatch/internal/image"
)

// state is one row while a program builds it: a cell for every register and
// one for the CFA, whose kind is unset, inRegister (plus off) or valExpr. It is
// a plain array so that it is a quick map key: a binary has a hundred thousand
// rows and a few hundred different ones.
type state [len(Regs{}) + 1]cell

const cfaCell = len(Regs{})

// cell is a rule in one word: kind, register it comes from, and offset or
// number of its expression.
type cell uint64

func newCell(k kind, from uint8, off int32) cell {
	return cell(k) | cell(from)<<8 | cell(uint32(off))<<32
}

func (c cell) kind() kind  { return kind(c) }
func (c cell) from() uint8 { return uint8(c >> 8) }
func (c cell) off() int32  { return int32(c >> 32) }

// expressions gives equal expressions equal numbers.
type expressions struct {
	list  [][]byte
	index map[string]int32
}

func (x *expressions) number(b []byte) int32 {
	n, ok := x.index[string(b)]
	if !ok {
		if x.index == nil {
			x.index = map[string]int32{}
		}
		n = int32(len(x.list))
		x.list = append(x.list, b)
		x.index[string(b)] = n
	}
	return n
}

// program runs call frame instructions: DWARF 5 §6.4.2.
type program struct {
	code  []byte
	cie   *image.CIE
	exprs *expressions
	state state
	first *state  // after the CIE's program; nil while that one runs
	saved []state // DW_CFA_remember_state
}

// maxSaved bounds the remembered states; compilers nest none.
const maxSaved = 32

var (
	errCutOff = errors.New("unwind program is cut off")
	errOffset = errors.New("unwind program: offset of more than 2 GiB")
)

// begin makes p ready for another program.
func (p *program) begin(code []byte, c *image.CIE, s state, first *state) {
	p.code, p.cie, p.state, p.first, p.saved = code, c, s, first, p.saved[:0]
}

// runCIE runs the program that all FDEs of a CIE begin with.
func runCIE(c *image.CIE, x *expressions) (state, error) {
	if c.ReturnReg != RIP {
		return state{}, fmt.Errorf("the return address is in column %d, not %d", c.ReturnReg, RIP)
	}
	p := program{exprs: x}
	p.begin(c.Program, c, state{}, nil)
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
		off, err := p.offset(false, p.cie.DataAlign)
		p.set(uint64(low), newCell(atOffset, 0, off))
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
func (p *program) frameAddress(op byte) (err error) {
	old := p.state[cfaCell]
	k, reg, off := inRegister, old.from(), old.off()
	if old.kind() != k && (op == 0x0d || op == 0x0e || op == 0x13) {
		return errors.New("frame address: half of it changed where it has no halves")
	}
	switch op {
	case 0x0c, 0x0d, 0x12: // DW_CFA_def_cfa, def_cfa_register, def_cfa_sf
		reg, err = p.source()
		if err == nil && reg == RIP {
			err = errors.New("frame address in rip")
		}
	}
	if err != nil {
		return err
	}
	switch op {
	case 0x0c, 0x0e: // DW_CFA_def_cfa, def_cfa_offset
		off, err = p.offset(false, 1)
	case 0x12, 0x13: // DW_CFA_def_cfa_sf, def_cfa_offset_sf
		off, err = p.offset(true, p.cie.DataAlign)
	case 0x0f: // DW_CFA_def_cfa_expression
		k, reg = valExpr, 0
		off, err = p.block()
	}
	p.state[cfaCell] = newCell(k, reg, off)
	return err
}

// register runs the instructions that set a rule: §6.4.2.3, and those that do
// nothing for us.
func (p *program) register(op byte) error {
	var k kind
	switch op {
	case 0x00: // DW_CFA_nop
		return nil
	case 0x2e: // DW_CFA_GNU_args_size: for landing pads only
		_, err := p.uleb()
		return err
	case 0x05, 0x11, 0x2f: // DW_CFA_offset_extended, _sf, DW_CFA_GNU_negative_offset_extended
		k = atOffset
	case 0x06: // DW_CFA_restore_extended
		r, err := p.uleb()
		if err != nil {
			return err
		}
		return p.restore(r)
	case 0x07: // DW_CFA_undefined
		k = undefined
	case 0x08: // DW_CFA_same_value
		k = same
	case 0x09: // DW_CFA_register
		k = inRegister
	case 0x10: // DW_CFA_expression
		k = atExpr
	case 0x14, 0x15: // DW_CFA_val_offset, _sf
		k = valOffset
	case 0x16: // DW_CFA_val_expression
		k = valExpr
	default: // DW_CFA_set_loc (0x01) among them: no compiler for x86-64 has it
		return fmt.Errorf("unknown unwind instruction %#02x", op)
	}
	r, err := p.uleb()
	if err != nil {
		return err
	}
	var from uint8
	var off int32
	switch op {
	case 0x05, 0x14:
		off, err = p.offset(false, p.cie.DataAlign)
	case 0x11, 0x15:
		off, err = p.offset(true, p.cie.DataAlign)
	case 0x2f:
		off, err = p.offset(false, -p.cie.DataAlign)
	case 0x09:
		from, err = p.source()
	case 0x10, 0x16:
		off, err = p.block()
	}
	p.set(r, newCell(k, from, off))
	return err
}

// source reads the number of a register that a value comes from.
func (p *program) source() (uint8, error) {
	r, err := p.uleb()
	if err == nil && r > RIP {
		err = fmt.Errorf("value in register %d", r)
	}
	return uint8(r), err
}

// offset reads a number that counts units of factor bytes.
func (p *program) offset(signed bool, factor int64) (int32, error) {
	var v int64
	var err error
	if signed {
		v, err = p.sleb()
	} else {
		var u uint64
		if u, err = p.uleb(); u > 1<<31 {
			u, err = 0, errors.Join(err, errOffset)
		}
		v = int64(u)
	}
	if err != nil {
		return 0, err
	}
	n := v * factor
	if v < -1<<31 || v > 1<<31 || factor < -1<<31 || factor > 1<<31 || n != int64(int32(n)) {
		return 0, errOffset
	}
	return int32(n), nil
}

// set stores a rule. Vector registers have rules in no code that matters: none
// of them can hold a return address or a frame address.
func (p *program) set(r uint64, c cell) {
	if r < uint64(cfaCell) {
		p.state[r] = c
	}
}

func (p *program) restore(r uint64) error {
	if p.first == nil {
		return errors.New("restore in the program of a CIE")
	}
	if r < uint64(cfaCell) {
		p.state[r] = p.first[r]
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

// block reads an expression: its number.
func (p *program) block() (int32, error) {
	n, err := p.uleb()
	if err != nil {
		return 0, err
	}
	if n == 0 || n > uint64(len(p.code)) {
		return 0, fmt.Errorf("expression of %d bytes in the %d that are left", n, len(p.code))
	}
	b := p.code[:n:n]
	p.code = p.code[n:]
	return p.exprs.number(b), nil
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
