package ptrace

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// Call is one system call for a borrowed thread to make.
type Call struct {
	NR   uint64
	Args [6]uint64
	// OfLast has what the call before returned as the first argument.
	OfLast bool
}

// StubRoom is how many bytes of unused executable memory Inject needs.
const StubRoom = 512

// stubTag ends every stub, so that one left behind by a killed tool is known.
const stubTag = "HPSTUB2\x00"

// Registers in the order of their encoding.
const (
	rax, rcx, rdx = 0, 1, 2
	rsi, rdi      = 6, 7
	r8, r9, r10   = 8, 9, 10
	r11           = 11
)

// homeAt is where in a stub the way home begins, right behind the calls: always
// at the same place, so that other calls can take the place of those made while
// the thread stands there.
const homeAt = 320

// stub is code that makes the calls, sets the signal mask back, loads every
// register that system calls clobber or take with its value from back, and
// jumps to back.Rip. It uses no stack and changes no flag. So a thread that
// runs it returns to its own work even if nobody supervises it any more.
// start is where in the stub the calls begin. nil: there is no room for them. The
// calls find data at dataAt.
func stub(at uint64, calls []Call, data []byte, mask uint64, back Regs) (code []byte, start uint64) {
	var b []byte
	args := []int{rdi, rsi, rdx, r10, r8, r9}
	for _, c := range calls {
		for i, reg := range args {
			if c.OfLast && reg == rdi {
				b = append(b, 0x48, 0x89, 0xc7) // mov %rax,%rdi
				continue
			}
			b = movImm(b, reg, c.Args[i])
		}
		b = movImm(b, rax, c.NR)
		b = append(b, 0x0f, 0x05) // syscall
	}
	if len(b) > homeAt {
		return nil, 0
	}
	start = homeAt - uint64(len(b))
	b = append(make([]byte, start, StubRoom), b...)
	// rt_sigprocmask(SIG_SETMASK, &mask, NULL, 8), with the mask in the stub.
	maskAt := at + StubRoom - uint64(len(stubTag)) - 8
	for i, v := range []uint64{unix.SIG_SETMASK, maskAt, 0, 8} {
		b = movImm(b, args[i], v)
	}
	b = movImm(b, rax, unix.SYS_RT_SIGPROCMASK)
	b = append(b, 0x0f, 0x05)
	for _, r := range []struct {
		reg int
		v   uint64
	}{
		{rax, back.Rax}, {rcx, back.Rcx}, {r11, back.R11}, {rdi, back.Rdi}, {rsi, back.Rsi},
		{rdx, back.Rdx}, {r10, back.R10}, {r8, back.R8}, {r9, back.R9},
	} {
		b = movImm(b, r.reg, r.v)
	}
	b = append(b, 0xff, 0x25, 0, 0, 0, 0) // jmp *0(%rip)
	b = binary.LittleEndian.AppendUint64(b, back.Rip)
	tail := int(dataAt(0, data))
	if len(b) > tail {
		return nil, 0
	}
	b = append(b, make([]byte, tail-len(b))...)
	b = append(b, data...)
	b = binary.LittleEndian.AppendUint64(b, mask)
	return append(b, stubTag...), start
}

// dataAt is where the data of a stub at room is: before the mask and the tag.
func dataAt(room uint64, data []byte) uint64 {
	return room + StubRoom - uint64(len(stubTag)+8+len(data))
}

// movImm loads a 64-bit value into a register, in 5 or 6 bytes when it fits 32
// unsigned bits.
func movImm(b []byte, reg int, v uint64) []byte {
	high := byte(reg >> 3)
	if v == uint64(uint32(v)) {
		if high != 0 {
			b = append(b, 0x41)
		}
		b = append(b, 0xb8|byte(reg&7))
		return binary.LittleEndian.AppendUint32(b, uint32(v))
	}
	b = append(b, 0x48|high, 0xb8|byte(reg&7))
	return binary.LittleEndian.AppendUint64(b, v)
}

// IsStub says whether room holds a stub that was left behind.
func IsStub(room []byte) bool {
	return len(room) == StubRoom && string(room[StubRoom-len(stubTag):]) == stubTag
}
