package arch

// prefixes are the bytes before the opcode, reduced to what changes lengths
// and addresses.
type prefixes struct {
	rex    byte
	seg    byte // 64 or 65; the others have no effect in 64-bit mode
	size16 bool
	addr32 bool
	lock   bool
	repne  bool // F2
	repe   bool // F3
	// index4 is bit 4 of a vector index, which only EVEX can extend so far.
	index4 byte
}

// Decode reads the instruction at the start of b. It looks at no more than
// MaxLen bytes, never panics and allocates nothing. On an error (ErrTruncated,
// ErrUnknown) the Inst is zero: where to go on is the caller's decision.
//
// It knows lengths and operands' places, not every reserved encoding: some
// byte sequences that the processor refuses decode here.
func Decode(b []byte) (in Inst, err error) {
	window := b
	if len(b) > MaxLen {
		window = b[:MaxLen]
	}
	if err = in.decode(window); err != nil {
		in = Inst{}
		if err == ErrTruncated && len(b) > MaxLen { // complete bytes, but too many of them
			err = ErrUnknown
		}
	}
	return in, err
}

func (in *Inst) decode(b []byte) error {
	var p prefixes
	i := 0
	if len(b) > 0 && opMap0[b[0]] == 'x' {
		p, i = readPrefixes(b)
	}
	if i >= len(b) {
		return ErrTruncated
	}
	in.Base, in.Index = NoReg, NoReg
	in.Wide, in.Addr32, in.Size16 = p.rex&8 != 0, p.addr32, p.size16
	op := b[i]
	form := opMap0[op]
	switch {
	case op == 0x0f:
		var err error
		if i, form, err = in.escape(b, i+1); err != nil {
			return err
		}
	case form == 'x', op == 0x8f && i+1 < len(b) && b[i+1]&0x1f >= 8:
		if p.rex != 0 || p.size16 || p.lock || p.repne || p.repe {
			return ErrUnknown
		}
		var err error
		if i, form, err = in.vector(b, i, &p); err != nil {
			return err
		}
	default:
		in.Op = op
		i++
	}
	return in.operands(b, i, form, &p)
}

// readPrefixes returns the prefixes and the offset behind them. A REX that is
// not directly before the opcode has no effect.
func readPrefixes(b []byte) (prefixes, int) {
	var p prefixes
	for i, c := range b {
		switch c {
		case 0x66:
			p.size16 = true
		case 0x67:
			p.addr32 = true
		case 0xf0:
			p.lock = true
		case 0xf2:
			p.repne = true
		case 0xf3:
			p.repe = true
		case 0x64, 0x65:
			p.seg = c
		case 0x26, 0x2e, 0x36, 0x3e:
		default:
			if c&0xf0 != 0x40 {
				return p, i
			}
			p.rex = c
			continue
		}
		p.rex = 0
	}
	return p, len(b)
}

// escape reads the opcode behind 0F, at i.
func (in *Inst) escape(b []byte, i int) (next int, form byte, err error) {
	if i >= len(b) {
		return 0, 0, ErrTruncated
	}
	in.Map, in.Op = 1, b[i]
	i++
	if in.Op != 0x38 && in.Op != 0x3a {
		return i, opMap1[in.Op], nil
	}
	if i >= len(b) {
		return 0, 0, ErrTruncated
	}
	maps := opMap2
	in.Map = 2
	if in.Op == 0x3a {
		maps, in.Map = opMap3, 3
	}
	in.Op = b[i]
	return i + 1, maps[in.Op], nil
}

// vector reads a VEX (C5, C4), EVEX (62) or XOP (8F) prefix at i and the
// opcode behind it. The register extensions in it become a REX in p.
func (in *Inst) vector(b []byte, i int, p *prefixes) (next int, form byte, err error) {
	size := 2 // bytes of the prefix
	switch b[i] {
	case 0xc4, 0x8f:
		size = 3
	case 0x62:
		size = 4
	}
	if i+size >= len(b) {
		return 0, 0, ErrTruncated
	}
	in.Vector = true
	in.Op = b[i+size]
	next = i + size + 1
	if b[i] == 0xc5 {
		in.Map = 1
		return next, vectorForm(1, in.Op, false), nil
	}
	p0, p1 := b[i+1], b[i+2]
	p.rex = ^p0 >> 5 & 3 // B and X are stored inverted, in REX's order
	in.Wide = p1&0x80 != 0
	switch b[i] {
	case 0xc4:
		in.Map = p0 & 0x1f
		form = vectorForm(in.Map, in.Op, false)
	case 0x8f:
		in.Map = p0 & 0x1f
		form = xopForm(in.Map)
	case 0x62:
		if p0&8 != 0 || p1&4 == 0 {
			return 0, 0, ErrUnknown
		}
		in.Map = p0 & 7
		p.index4 = ^b[i+3] >> 3 & 1
		form = vectorForm(in.Map, in.Op, true)
	}
	return next, form, nil
}

// operands reads what follows the opcode, at i, and closes the instruction.
func (in *Inst) operands(b []byte, i int, form byte, p *prefixes) error {
	switch form {
	case 'm', 'M', 'Z', 't', 'T', 'c', 's':
		if i >= len(b) {
			return ErrTruncated
		}
		in.HasModRM, in.ModRM = true, b[i]
		i++
		if in.ModRM < 0xc0 && form != 'c' {
			var err error
			if i, err = in.memory(b, i, p); err != nil {
				return err
			}
			in.FS = p.seg == 0x64 && !in.lea()
		}
	case 'x', '.':
		return ErrUnknown
	}
	bySize := 4
	if p.size16 && !in.Wide {
		bySize = 2
	}
	imm := 0
	switch form {
	case 'b', 'M':
		imm = 1
	case 'w':
		imm = 2
	case 'z', 'Z':
		imm = bySize
		in.Rel = in.xbegin()
	case 'v':
		imm = bySize
		if in.Wide {
			imm = 8
		}
	case 'e':
		imm = 3
	case 'j':
		imm, in.Rel = 1, true
	case 'J':
		// Intel ignores 66 here, AMD cuts rip to 16 bits: no compiler emits
		// it, and we could not say where it goes.
		if bySize == 2 {
			return ErrUnknown
		}
		imm, in.Rel = 4, true
	case 'o':
		in.DispOff, in.DispLen = uint8(i), 8
		if p.addr32 {
			in.DispLen = 4
		}
		i += int(in.DispLen)
		in.FS = p.seg == 0x64
	case 't', 'T':
		if in.Reg() < 2 {
			imm = 1
			if form == 'T' {
				imm = bySize
			}
		}
	case 's':
		if p.size16 || p.repne {
			imm = 2
		}
	case 'n':
		in.FS = p.seg == 0x64 && in.stringSource()
	}
	if imm > 0 {
		in.ImmOff, in.ImmLen = uint8(i), uint8(imm)
		i += imm
	}
	if i > len(b) {
		return ErrTruncated
	}
	if in.reserved() {
		return ErrUnknown
	}
	in.Len = uint8(i)
	return nil
}

// memory reads SIB and displacement behind a ModRM byte that names memory
// (SDM vol. 2 tables 2-2 and 2-3, with REX §2.2.1). EVEX compresses an 8-bit
// displacement by scaling it; it still is one byte.
func (in *Inst) memory(b []byte, i int, p *prefixes) (int, error) {
	mod, rm := in.ModRM>>6, in.ModRM&7
	base := rm
	if rm == 4 {
		if i >= len(b) {
			return 0, ErrTruncated
		}
		sib := b[i]
		i++
		base = sib & 7
		index := sib>>3&7 | p.rex<<2&8
		if in.Vector && vectorIndex(in.Map, in.Op) {
			in.Index = int8(index | p.index4<<4)
		} else if index != 4 {
			in.Index = int8(index)
		}
	}
	size := 0
	switch {
	case mod == 1:
		size = 1
	case mod == 2:
		size = 4
	case base == 5: // mod 0: no base, but a displacement
		size = 4
	}
	switch {
	case mod != 0 || base != 5:
		in.Base = int8(base | p.rex<<3&8)
	case rm == 5:
		in.Base = RIP
	}
	if size > 0 {
		in.DispOff, in.DispLen = uint8(i), uint8(size)
		i += size
	}
	return i, nil
}

// reserved reports the holes in the groups of the one-byte map, which data in
// the middle of code often hits.
func (in *Inst) reserved() bool {
	if in.Map != 0 {
		return false
	}
	switch in.Op {
	case 0x8f:
		return in.Reg() != 0
	case 0xc6, 0xc7:
		return in.Reg() != 0 && in.ModRM != 0xf8 // F8: xabort, xbegin
	case 0xfe:
		return in.Reg() > 1
	case 0xff:
		return in.Reg() == 7
	case 0x8d: // lea of a register
		return in.ModRM >= 0xc0
	}
	return false
}

func (in *Inst) lea() bool { return in.Map == 0 && in.Op == 0x8d }

func (in *Inst) xbegin() bool { return in.Map == 0 && in.Op == 0xc7 && in.ModRM == 0xf8 }

// stringSource says whether a one-byte opcode reads memory at rsi (rbx for
// xlat), which a segment prefix moves.
func (in *Inst) stringSource() bool {
	if in.Map != 0 {
		return false
	}
	switch in.Op {
	case 0x6e, 0x6f, 0xa4, 0xa5, 0xa6, 0xa7, 0xac, 0xad, 0xd7:
		return true
	}
	return false
}
