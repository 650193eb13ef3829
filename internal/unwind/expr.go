package unwind

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Bounds on one expression, and on all of one walk. The longest in use, those
// of PLT stubs, take 11 steps and 4 places; a frame that realigns the stack
// takes 2 steps, a signal frame 34.
const (
	exprStack = 32
	exprSteps = 256
	walkSteps = 100_000
)

var (
	errExprCutOff = errors.New("expression is cut off")
	errExprStack  = errors.New("expression: stack under- or overflow")
)

// eval runs a DWARF expression (DWARF 5 §2.5.1, without what §6.4.2 forbids
// here) in the current frame. push: the CFA is on the stack at the start.
func (w *walker) eval(code []byte, cfa uint64, push bool) (uint64, error) {
	e := expr{w: w, code: code, rest: code}
	if push {
		e.push(cfa)
	}
	for steps := 0; len(e.rest) > 0; steps++ {
		if steps == exprSteps {
			return 0, fmt.Errorf("expression: more than %d steps", exprSteps)
		}
		if w.steps++; w.steps > walkSteps {
			return 0, fmt.Errorf("expressions: more than %d steps on one stack", walkSteps)
		}
		op := e.rest[0]
		e.rest = e.rest[1:]
		if err := e.do(op); err != nil {
			return 0, err
		}
		if e.bad {
			return 0, errExprStack
		}
	}
	v := e.pop()
	if e.bad {
		return 0, errExprStack
	}
	return v, nil
}

// expr is an expression that is being run; its stack is the walker's.
type expr struct {
	w          *walker
	code, rest []byte
	n          int
	bad        bool // the stack ran over or dry
}

func (e *expr) push(v uint64) {
	if e.n == exprStack {
		e.bad = true
		return
	}
	e.w.stack[e.n] = v
	e.n++
}

func (e *expr) pop() uint64 {
	if e.n == 0 {
		e.bad = true
		return 0
	}
	e.n--
	return e.w.stack[e.n]
}

// pick is the value depth places below the top.
func (e *expr) pick(depth uint64) uint64 {
	if depth >= uint64(e.n) {
		e.bad = true
		return 0
	}
	return e.w.stack[e.n-1-int(depth)]
}

// do runs one operation. Arithmetic is that of 64-bit addresses, wrapping.
func (e *expr) do(op byte) error {
	switch {
	case op >= 0x30 && op <= 0x4f: // DW_OP_lit0 to lit31
		e.push(uint64(op - 0x30))
		return nil
	case op >= 0x70 && op <= 0x8f: // DW_OP_breg0 to breg31
		return e.breg(uint64(op - 0x70))
	case op >= 0x08 && op <= 0x11 || op == 0x03:
		return e.constant(op)
	case op >= 0x12 && op <= 0x17:
		return e.shuffle(op)
	case op == 0x06: // DW_OP_deref
		return e.deref(8)
	case op == 0x94: // DW_OP_deref_size
		n, ok := fixed(e.rest, 1)
		if !ok {
			return errExprCutOff
		}
		e.rest = e.rest[1:]
		return e.deref(n)
	case op == 0x92: // DW_OP_bregx
		r, n := uleb(e.rest)
		if n == 0 {
			return errExprCutOff
		}
		e.rest = e.rest[n:]
		return e.breg(r)
	case op == 0x28 || op == 0x2f: // DW_OP_bra, DW_OP_skip
		return e.branch(op == 0x28)
	case op == 0x96: // DW_OP_nop
		return nil
	case op < 0x19 || op > 0x2e:
		return fmt.Errorf("unknown expression operation %#02x", op)
	}
	return e.arithmetic(op)
}

// breg pushes a register and a signed number.
func (e *expr) breg(r uint64) error {
	v, n := sleb(e.rest)
	if n == 0 {
		return errExprCutOff
	}
	e.rest = e.rest[n:]
	if r > RIP {
		return fmt.Errorf("expression uses register %d", r)
	}
	x, err := e.w.register(uint8(r))
	e.push(x + uint64(v))
	return err
}

// constant runs DW_OP_addr and DW_OP_const1u to consts.
func (e *expr) constant(op byte) error {
	var v uint64
	n := 0
	switch op {
	case 0x10: // DW_OP_constu
		v, n = uleb(e.rest)
	case 0x11: // DW_OP_consts
		var s int64
		s, n = sleb(e.rest)
		v = uint64(s)
	case 0x03: // DW_OP_addr is a file address: it would need the bias
		return errors.New("expression: absolute address")
	default:
		size := 1 << ((op - 0x08) / 2)
		var ok bool
		if v, ok = fixed(e.rest, size); ok {
			n = size
		}
		if signed := (op-0x08)%2 == 1; signed {
			shift := 64 - 8*size
			v = uint64(int64(v<<shift) >> shift)
		}
	}
	if n == 0 {
		return errExprCutOff
	}
	e.rest = e.rest[n:]
	e.push(v)
	return nil
}

// shuffle runs DW_OP_dup, drop, over, pick, swap, rot.
func (e *expr) shuffle(op byte) error {
	switch op {
	case 0x12:
		e.push(e.pick(0))
	case 0x13:
		e.pop()
	case 0x14:
		e.push(e.pick(1))
	case 0x15:
		n, ok := fixed(e.rest, 1)
		if !ok {
			return errExprCutOff
		}
		e.rest = e.rest[1:]
		e.push(e.pick(n))
	case 0x16:
		a, b := e.pop(), e.pop()
		e.push(a)
		e.push(b)
	case 0x17: // the top goes below the second and third
		a, b, c := e.pop(), e.pop(), e.pop()
		e.push(a)
		e.push(c)
		e.push(b)
	}
	return nil
}

// deref replaces an address by the n bytes there.
func (e *expr) deref(n uint64) error {
	if n != 1 && n != 2 && n != 4 && n != 8 {
		return fmt.Errorf("expression reads %d bytes", n)
	}
	a := e.pop()
	if e.bad {
		return errExprStack
	}
	if n == 8 {
		v, err := e.w.word(a)
		e.push(v)
		return err
	}
	b := &e.w.buf
	*b = [8]byte{}
	if err := e.w.read(b[:n], a); err != nil {
		return err
	}
	e.push(binary.LittleEndian.Uint64(b[:]))
	return nil
}

// branch jumps by a signed 16-bit distance, if conditional only when the top
// is not 0.
func (e *expr) branch(conditional bool) error {
	d, ok := fixed(e.rest, 2)
	if !ok {
		return errExprCutOff
	}
	e.rest = e.rest[2:]
	if conditional && e.pop() == 0 {
		return nil
	}
	to := len(e.code) - len(e.rest) + int(int16(d))
	if to < 0 || to > len(e.code) {
		return errors.New("expression jumps out of itself")
	}
	e.rest = e.code[to:]
	return nil
}

// arithmetic runs the operations on one and two values.
func (e *expr) arithmetic(op byte) error {
	b := e.pop()
	switch op {
	case 0x19: // DW_OP_abs
		if int64(b) < 0 {
			b = -b
		}
		e.push(b)
		return nil
	case 0x1f: // DW_OP_neg
		e.push(-b)
		return nil
	case 0x20: // DW_OP_not
		e.push(^b)
		return nil
	case 0x23: // DW_OP_plus_uconst
		v, n := uleb(e.rest)
		if n == 0 {
			return errExprCutOff
		}
		e.rest = e.rest[n:]
		e.push(b + v)
		return nil
	}
	a := e.pop()
	if e.bad {
		return errExprStack
	}
	v, err := binaryOp(op, a, b)
	e.push(v)
	return err
}

// binaryOp is a op b; comparisons and division are signed, DW_OP_mod is not.
func binaryOp(op byte, a, b uint64) (uint64, error) {
	truth := func(t bool) (uint64, error) {
		if t {
			return 1, nil
		}
		return 0, nil
	}
	switch op {
	case 0x1a: // DW_OP_and
		return a & b, nil
	case 0x1b, 0x1d: // DW_OP_div, DW_OP_mod
		if b == 0 {
			return 0, errors.New("expression divides by 0")
		}
		if op == 0x1d {
			return a % b, nil
		}
		return uint64(int64(a) / int64(b)), nil
	case 0x1c: // DW_OP_minus
		return a - b, nil
	case 0x1e: // DW_OP_mul
		return a * b, nil
	case 0x21: // DW_OP_or
		return a | b, nil
	case 0x22: // DW_OP_plus
		return a + b, nil
	case 0x24: // DW_OP_shl
		return a << b, nil
	case 0x25: // DW_OP_shr
		return a >> b, nil
	case 0x26: // DW_OP_shra
		return uint64(int64(a) >> b), nil
	case 0x27: // DW_OP_xor
		return a ^ b, nil
	case 0x29:
		return truth(a == b)
	case 0x2a:
		return truth(int64(a) >= int64(b))
	case 0x2b:
		return truth(int64(a) > int64(b))
	case 0x2c:
		return truth(int64(a) <= int64(b))
	case 0x2d:
		return truth(int64(a) < int64(b))
	case 0x2e:
		return truth(a != b)
	}
	return 0, fmt.Errorf("unknown expression operation %#02x", op)
}
