package seccomp_test

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/net/bpf"

	"hotpatch/internal/seccomp"
)

const (
	restart     = 219
	nanosleep   = 35
	personality = 135
	archI386    = 0x40000003
)

func program(ins ...bpf.RawInstruction) (b []byte) {
	for _, i := range ins {
		b = binary.LittleEndian.AppendUint16(b, i.Op)
		b = append(b, i.Jt, i.Jf)
		b = binary.LittleEndian.AppendUint32(b, i.K)
	}
	return b
}

func op(code uint16, k uint32) bpf.RawInstruction { return bpf.RawInstruction{Op: code, K: k} }
func jump(code uint16, k uint32, jt, jf uint8) bpf.RawInstruction {
	return bpf.RawInstruction{Op: code, K: k, Jt: jt, Jf: jf}
}

const (
	ld, ldImm, ldLen, ldxLen, ldxImm, ldMem, st  = 0x20, 0x00, 0x80, 0x81, 0x01, 0x60, 0x02
	add, sub, and, lsh, lshX, rsh, neg, div, mod = 0x04, 0x14, 0x54, 0x64, 0x6c, 0x74, 0x84, 0x3c, 0x94
	ja, jeq, jgt, jge, jset, jeqX                = 0x05, 0x15, 0x25, 0x35, 0x45, 0x1d
	ret, retA, tax, txa                          = 0x06, 0x16, 0x07, 0x87
)

const allow, kill = uint32(seccomp.Allow), uint32(seccomp.KillThread)

// The files are what libseccomp 2.5.4 makes of the rules of a container engine (most
// calls are allowed, on three architectures, two of them by their arguments; as a
// list and as a tree; once without restart_syscall), and of a service manager, which
// has a filter for each setting and architecture and lets the others pass.
func read(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name+".bpf"))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestFiltersSayWhatTheKernelWould(t *testing.T) {
	sleep := seccomp.Call{NR: restart, Arch: seccomp.ArchX8664, IP: 0x7f00_1234_5678, Args: [6]uint64{0x1_0000_0002, 2, 3, 4, 5, 0xffff_ffff_0000_0000}}
	other := sleep
	other.Arch = archI386
	with := func(nr uint32, arg uint64) seccomp.Call {
		c := sleep
		c.NR, c.Args[0] = nr, arg
		return c
	}
	for name, tc := range map[string]struct {
		program []byte
		call    seccomp.Call
		want    seccomp.Action
		always  bool // of all calls of that number
	}{
		"container":                         {read(t, "container"), sleep, seccomp.Allow, true},
		"container, as a tree":              {read(t, "container-tree"), sleep, seccomp.Allow, true},
		"container, without":                {read(t, "container-without"), sleep, seccomp.Errno, false},
		"container, denied":                 {read(t, "container"), with(166, 0), seccomp.Errno, false},
		"container, personality":            {read(t, "container"), with(personality, 8), seccomp.Allow, false},
		"container, another personality":    {read(t, "container"), with(personality, 9), seccomp.Errno, false},
		"container, personality, as a tree": {read(t, "container-tree"), with(personality, 0x20000), seccomp.Allow, false},
		"service, allows":                   {read(t, "service-allow"), sleep, seccomp.Allow, true},
		"service, allows others":            {read(t, "service-allow"), with(166, 0), seccomp.Errno, false},
		"service, denies others":            {read(t, "service-deny"), sleep, seccomp.Allow, true},
		"service, denies":                   {read(t, "service-deny"), with(165, 0), seccomp.Errno, false},
		"service, another architecture":     {read(t, "service-other"), sleep, seccomp.Allow, true},
		"service, other architecture's":     {read(t, "service-allow"), other, seccomp.Allow, true},
		"service, namespaces":               {read(t, "service-namespaces"), sleep, seccomp.Allow, true},

		"all":             {program(op(ret, allow)), sleep, seccomp.Allow, true},
		"all, with data":  {program(op(ret, allow|0xffff)), sleep, seccomp.Allow, true},
		"log":             {program(op(ret, uint32(seccomp.Log))), sleep, seccomp.Log, true},
		"kill":            {program(op(ret, kill)), sleep, seccomp.KillThread, false},
		"errno":           {program(op(ret, uint32(seccomp.Errno)|38)), sleep, seccomp.Errno, false},
		"number in A":     {program(op(ld, 0), op(retA, 0)), with(allow, 0), seccomp.Allow, true},
		"address, low":    {program(op(ld, 8), jump(jeq, 0x12345678, 0, 1), op(ret, allow), op(ret, kill)), sleep, seccomp.Allow, false},
		"address, high":   {program(op(ld, 12), jump(jeq, 0x7f00, 0, 1), op(ret, allow), op(ret, kill)), sleep, seccomp.Allow, false},
		"argument, low":   {program(op(ld, 16), jump(jeq, 2, 0, 1), op(ret, allow), op(ret, kill)), sleep, seccomp.Allow, false},
		"argument, high":  {program(op(ld, 20), jump(jeq, 1, 1, 0), op(ret, kill), op(ret, allow)), sleep, seccomp.Allow, false},
		"last argument":   {program(op(ld, 60), jump(jeq, 0xffffffff, 0, 1), op(ret, allow), op(ret, kill)), sleep, seccomp.Allow, false},
		"length":          {program(op(ldLen, 0), jump(jeq, 64, 0, 1), op(ret, allow), op(ret, kill)), sleep, seccomp.Allow, true},
		"length in X":     {program(op(ldImm, 7), op(ldxLen, 0), op(txa, 0), jump(jeq, 64, 0, 1), op(ret, allow), op(ret, kill)), sleep, seccomp.Allow, true},
		"A kept with X":   {program(op(ldImm, 7), op(ldxLen, 0), jump(jeq, 7, 0, 1), op(ret, allow), op(ret, kill)), sleep, seccomp.Allow, true},
		"division by 0":   {program(op(ldxImm, 0), op(div, 0), op(ret, allow)), sleep, seccomp.KillThread, false},
		"scratch":         {program(op(ld, 0), op(st, 3), op(ldImm, 0), op(ldMem, 3), jump(jeq, restart, 0, 1), op(ret, allow), op(ret, kill)), sleep, seccomp.Allow, true},
		"jump if in X":    {program(op(ldxImm, restart), op(ld, 0), jump(jeqX, 0, 0, 1), op(ret, allow), op(ret, kill)), sleep, seccomp.Allow, true},
		"shift":           {program(op(ldImm, 1), op(lsh, 31), op(rsh, 31), jump(jset, 1, 0, 1), op(ret, allow), op(ret, kill)), sleep, seccomp.Allow, true},
		"no such action":  {program(op(ret, 0x7ffd0000)), sleep, 0x7ffd0000, false},
		"tree of numbers": {program(op(ld, 0), jump(jge, 200, 0, 2), jump(jgt, 219, 1, 0), op(ret, allow), op(ret, kill)), sleep, seccomp.Allow, true},
	} {
		f, err := seccomp.Decode(tc.program)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got, err := f.Ask(tc.call); err != nil || got != tc.want {
			t.Errorf("%s: %#x, not %#x (%v)", name, got, tc.want, err)
		}
		if got, always := f.AskOf(tc.call.NR, tc.call.Arch); always != tc.always || always && got != tc.want {
			t.Errorf("%s: of all such calls %#x, %v", name, got, always)
		}
	}
}

// What the kernel would not have taken, or cannot be followed exactly, is refused.
func TestProgramsThatCannotBeFollowedAreRefused(t *testing.T) {
	end := op(ret, allow)
	for name, p := range map[string][]byte{
		"nothing":                 nil,
		"a part":                  program(end)[:7],
		"too long":                bytes.Repeat(program(end), 4097),
		"no end":                  program(op(ld, 0)),
		"a jump behind the end":   program(jump(ja, 1, 0, 0), end),
		"a jump back":             program(op(ld, 0), jump(ja, ^uint32(0), 0, 0), end),
		"a jump round the world":  program(jump(ja, ^uint32(0)-1, 0, 0), end),
		"a branch behind the end": program(jump(jeq, 0, 0, 1), end),
		"a load between words":    program(op(ld, 2), end),
		"a load behind the end":   program(op(ld, 64), end),
		"a load of an extension":  program(op(ld, 0xfffff000), end),
		"a load of the length":    program(op(ld, 0xfffff001), end),
		"a load of a byte":        program(op(0x30, 0), end),
		"a load by X":             program(op(0x40, 0), end),
		"a load into X":           program(op(0x21, 0), end),
		"a load of a header":      program(op(0xb1, 0), end),
		"scratch that is not":     program(op(ldMem, 16), end),
		"a remainder":             program(op(mod, 3), end),
		"a negation":              program(op(neg, 0), end),
		"a shift by X":            program(op(lshX, 0), end),
		"a long shift":            program(op(lsh, 32), end),
		"a division by nothing":   program(op(0x34, 0), end),
		"no code":                 program(op(0xffff, 0), end),
		"code with more bits":     program(op(0x100|ld, 0), end),
	} {
		if _, err := seccomp.Decode(p); err == nil {
			t.Errorf("%s is followed", name)
		}
	}
}

func TestTheStrictestActionCounts(t *testing.T) {
	order := []seccomp.Action{
		seccomp.KillProcess, seccomp.KillThread, seccomp.Trap, seccomp.Errno, seccomp.Notify, seccomp.Trace, seccomp.Log, seccomp.Allow,
	}
	for i, a := range order {
		for j, b := range order {
			if got := seccomp.Stricter(a, b); got != order[min(i, j)] {
				t.Errorf("%#x and %#x: %#x", a, b, got)
			}
		}
		if a.Passes() != (i >= 6) {
			t.Errorf("%#x passes: %v", a, a.Passes())
		}
	}
}

// FuzzFilter holds what a filter says against another way to compute it.
func FuzzFilter(f *testing.F) {
	for _, name := range []string{"container", "container-tree", "service-allow", "service-namespaces"} {
		f.Add(read(f, name), uint32(restart), uint64(1))
	}
	f.Add(program(op(ldxLen, 0), op(ld, 16), op(sub, 5), op(tax, 0), op(and, 0xff), op(add, 1), op(retA, 0)), uint32(nanosleep), uint64(7))
	f.Fuzz(func(t *testing.T, p []byte, nr uint32, seed uint64) {
		filter, err := seccomp.Decode(p)
		if err != nil {
			return
		}
		r := rand.New(rand.NewPCG(seed, 0))
		for range 3 {
			c := seccomp.Call{NR: nr, Arch: seccomp.ArchX8664, IP: r.Uint64()}
			for i := range c.Args {
				c.Args[i] = r.Uint64() >> r.IntN(64)
			}
			got, err := filter.Ask(c)
			if err != nil {
				t.Fatal(err)
			}
			if want := reckon(t, p, c); got != want {
				t.Errorf("%#x, not %#x", got, want)
			}
			if always, is := filter.AskOf(c.NR, c.Arch); is && always != got {
				t.Errorf("of all such calls %#x, of this %#x", always, got)
			}
		}
	})
}

// reckon follows a program that Decode has taken, instruction by instruction.
func reckon(t *testing.T, p []byte, c seccomp.Call) seccomp.Action {
	words := []uint32{c.NR, c.Arch, uint32(c.IP), uint32(c.IP >> 32)}
	for _, a := range c.Args {
		words = append(words, uint32(a), uint32(a>>32))
	}
	var a, x uint32
	var m [16]uint32
	for pc := 0; ; pc++ {
		code, jt, jf, k := binary.LittleEndian.Uint16(p[pc*8:]), p[pc*8+2], p[pc*8+3], binary.LittleEndian.Uint32(p[pc*8+4:])
		operand := k
		if code&0x08 != 0 {
			operand = x
		}
		switch code & 7 {
		case 0, 1: // load
			v := k
			switch code & 0xe0 {
			case 0x20:
				v = words[k/4]
			case 0x60:
				v = m[k]
			case 0x80:
				v = 64
			}
			if code&7 == 0 {
				a = v
			} else {
				x = v
			}
		case 2:
			m[k] = a
		case 3:
			m[k] = x
		case 4:
			switch code & 0xf0 {
			case 0x00:
				a += operand
			case 0x10:
				a -= operand
			case 0x20:
				a *= operand
			case 0x30:
				if operand == 0 {
					return seccomp.KillThread
				}
				a /= operand
			case 0x40:
				a |= operand
			case 0x50:
				a &= operand
			case 0x60:
				a <<= operand
			case 0x70:
				a >>= operand
			case 0xa0:
				a ^= operand
			default:
				t.Fatalf("code %#x was taken", code)
			}
		case 5:
			is := false
			switch code & 0xf0 {
			case 0x00:
				pc += int(k)
				continue
			case 0x10:
				is = a == operand
			case 0x20:
				is = a > operand
			case 0x30:
				is = a >= operand
			case 0x40:
				is = a&operand != 0
			default:
				t.Fatalf("code %#x was taken", code)
			}
			if is {
				pc += int(jt)
			} else {
				pc += int(jf)
			}
		case 6:
			if code&0x18 == 0x10 {
				k = a
			}
			return seccomp.Action(k & 0xffff0000)
		case 7:
			if code&0x80 == 0 {
				x = a
			} else {
				a = x
			}
		}
	}
}
