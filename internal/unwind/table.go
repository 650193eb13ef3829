package unwind

import (
	"errors"
	"fmt"
	"slices"
	"sort"
	"sync"

	"hotpatch/internal/image"
)

// Table is the parsed unwind data of one image; shared between processes.
type Table struct {
	FDEs []image.FDE // by Lo, no overlap; not to be changed after the first use

	once sync.Once
	err  error

	// The rows by address: from starts[i] on (relative to base) rows[which[i]]
	// holds, up to the next start. Row 0 stands for code that nothing describes.
	// Few rows are different: libcrypto has 2,000 in 100,000 places.
	base    uint64
	starts  []uint32
	which   []uint32
	rows    []row
	signals []uint64 // where signal trampolines begin: none or one, as a rule
}

// TableFrom makes a table of .eh_frame bytes that are at addr.
func TableFrom(data []byte, addr image.Addr) (*Table, error) {
	fdes, err := image.FDEs(data, addr)
	if err != nil {
		return nil, fmt.Errorf("decode .eh_frame: %w", err)
	}
	t := &Table{FDEs: fdes}
	return t, t.prepare()
}

// Len is the number of rows, for judging a table's size.
func (t *Table) Len() int { return len(t.starts) }

// prepare runs all programs, once.
func (t *Table) prepare() error {
	t.once.Do(func() { t.err = t.build() })
	return t.err
}

// lookup is the row for a file address, nil when nothing describes it.
func (t *Table) lookup(addr uint64) *row {
	off := addr - t.base
	if addr < t.base || off > 1<<32-1 {
		return nil
	}
	i := sort.Search(len(t.starts), func(i int) bool { return uint64(t.starts[i]) > off })
	if i == 0 {
		return nil
	}
	if n := t.which[i-1]; n != 0 {
		return &t.rows[n]
	}
	return nil
}

// signalAt says whether a signal trampoline begins at a file address.
func (t *Table) signalAt(addr uint64) bool { return slices.Contains(t.signals, addr) }

// kind of a rule: DWARF 5 §6.4.1.
type kind uint8

const (
	unset      kind = iota // nothing was said: same value, or the CFA for rsp
	same                   // said to be unchanged
	undefined              // lost
	atOffset               // saved at CFA+off
	valOffset              // is CFA+off
	inRegister             // is in register from
	atExpr                 // saved where expr says
	valExpr                // is what expr says
)

// rule says where the caller's value of a register is.
type rule struct {
	kind      kind
	reg, from uint8
	off       int64
	expr      []byte
}

// row is what holds for a stretch of code.
type row struct {
	cfaReg  uint8
	cfaOff  int64
	cfaExpr []byte // instead of register and offset
	rules   []rule // of the registers that have one
	end     bool   // the return address is undefined: the outermost frame
	signal  bool   // a signal trampoline
	popped  bool   // the return address is in a register, not on the stack
	bad     error  // the program cannot be run to here
}

// builder fills a table.
type builder struct {
	t     *Table
	index [2]map[state]uint32 // of ordinary rows, and of signal frames
	bads  map[string]uint32
	exprs expressions
	cies  map[*image.CIE]*initial
	p     program
}

// initial is the state after a CIE's program.
type initial struct {
	state state
	err   error
}

func (t *Table) build() error {
	if len(t.FDEs) == 0 {
		return nil
	}
	t.base = uint64(t.FDEs[0].Lo)
	t.rows = make([]row, 1, 256)
	// libc and libcrypto have 8 places per FDE.
	t.starts, t.which = make([]uint32, 0, 8*len(t.FDEs)+2), make([]uint32, 0, 8*len(t.FDEs)+2)
	b := builder{t: t, index: [2]map[state]uint32{{}, {}}, bads: map[string]uint32{}, cies: map[*image.CIE]*initial{}}
	b.p.exprs = &b.exprs
	var last image.Addr
	for i := range t.FDEs {
		f := &t.FDEs[i]
		switch {
		case f.CIE == nil:
			return fmt.Errorf("FDE %d at %#x: no CIE", i, f.Lo)
		case f.Hi <= f.Lo:
			return fmt.Errorf("FDE %d at %#x: it ends at %#x", i, f.Lo, f.Hi)
		case f.Lo < last:
			return fmt.Errorf("FDE %d at %#x: the one before it ends at %#x", i, f.Lo, last)
		case uint64(f.Hi)-t.base > 1<<32-1:
			return fmt.Errorf("FDE %d at %#x: code of more than 4 GiB", i, f.Lo)
		}
		last = f.Hi
		if f.CIE.SignalFrame {
			if len(t.signals) == maxSignals {
				return fmt.Errorf("FDE %d at %#x: more than %d signal trampolines", i, f.Lo, maxSignals)
			}
			t.signals = append(t.signals, uint64(f.Lo))
		}
		b.fde(f)
	}
	return nil
}

// fde runs one program over its range.
func (b *builder) fde(f *image.FDE) {
	in, ok := b.cies[f.CIE]
	if !ok {
		in = new(initial)
		in.state, in.err = runCIE(f.CIE, &b.exprs)
		b.cies[f.CIE] = in
	}
	loc, hi := uint64(f.Lo), uint64(f.Hi)
	if in.err != nil {
		b.at(loc, b.bad(in.err))
		b.at(hi, 0)
		return
	}
	p := &b.p
	p.begin(f.Program, f.CIE, in.state, &in.state)
	for loc < hi {
		delta, more, err := p.run()
		if err != nil {
			b.at(loc, b.bad(err))
			break
		}
		if more && delta == 0 {
			continue
		}
		b.at(loc, b.row(&p.state, f.CIE.SignalFrame))
		if !more || delta >= hi-loc {
			break
		}
		loc += delta
	}
	b.at(hi, 0)
}

// at lets row n begin at an address; addresses ascend.
func (b *builder) at(addr uint64, n uint32) {
	t := b.t
	off := uint32(addr - t.base)
	if k := len(t.starts); k > 0 && t.starts[k-1] == off {
		t.starts, t.which = t.starts[:k-1], t.which[:k-1]
	}
	if k := len(t.which); k > 0 && t.which[k-1] == n {
		return
	}
	t.starts, t.which = append(t.starts, off), append(t.which, n)
}

// bad is a row that only says why there is none.
func (b *builder) bad(err error) uint32 {
	n, ok := b.bads[err.Error()]
	if !ok {
		n = b.add(row{bad: err})
		b.bads[err.Error()] = n
	}
	return n
}

var (
	errNoCFA    = errors.New("no rule for the frame address")
	errNoReturn = errors.New("no rule for the return address")
)

// row is the number of the row that a state means.
func (b *builder) row(s *state, signal bool) uint32 {
	index := b.index[0]
	if signal {
		index = b.index[1]
	}
	if n, ok := index[*s]; ok {
		return n
	}
	var n uint32
	switch ra := s[RIP].kind(); {
	case ra == undefined: // no frame address is needed at the end
		n = b.add(row{end: true})
	case ra == unset || ra == same:
		n = b.bad(errNoReturn)
	case s[cfaCell].kind() == unset:
		n = b.bad(errNoCFA)
	default:
		n = b.add(b.full(s, signal))
	}
	index[*s] = n
	return n
}

// full spells a state out.
func (b *builder) full(s *state, signal bool) row {
	r := row{signal: signal, popped: s[RIP].kind() == inRegister}
	if cfa := s[cfaCell]; cfa.kind() == valExpr {
		r.cfaExpr = b.exprs.list[cfa.off()]
	} else {
		r.cfaReg, r.cfaOff = cfa.from(), int64(cfa.off())
	}
	for i, c := range s[:cfaCell] {
		u := rule{kind: c.kind(), reg: uint8(i), from: c.from()}
		switch u.kind {
		case unset:
			continue
		case atExpr, valExpr:
			u.expr = b.exprs.list[c.off()]
		default:
			u.off = int64(c.off())
		}
		r.rules = append(r.rules, u)
	}
	return r
}

func (b *builder) add(r row) uint32 {
	b.t.rows = append(b.t.rows, r)
	return uint32(len(b.t.rows) - 1)
}
