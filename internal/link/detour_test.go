package link_test

import (
	"encoding/binary"
	"errors"
	"testing"

	"hotpatch/internal/link"
)

func TestEntryRoomIsThatOfInstructionsThatAreDoneAtOnce(t *testing.T) {
	for _, c := range []struct {
		name string
		code []byte
		want int // 0: none
	}{
		{"push", []byte{0x53, 0x90, 0x90}, 1},
		{"push r15", []byte{0x41, 0x57, 0x90}, 2},
		{"sub rsp", []byte{0x48, 0x83, 0xec, 0x18}, 4},
		{"mov imm", []byte{0xb8, 1, 0, 0, 0}, 5},
		{"call", []byte{0xe8, 1, 0, 0, 0}, 5},
		{"vector move", []byte{0xc5, 0xfc, 0x28, 0xc1}, 4},
		{"rep movsb", []byte{0xf3, 0xa4}, 0},
		{"repne scasb", []byte{0xf2, 0xae}, 0},
		{"rep stosq", []byte{0xf3, 0x48, 0xab}, 0},
		{"rep insb", []byte{0xf3, 0x6c}, 0},
		{"syscall", []byte{0x0f, 0x05}, 0},
		{"sysenter", []byte{0x0f, 0x34}, 0},
		{"int 0x80", []byte{0xcd, 0x80}, 0},
		{"vpgatherdd", []byte{0xc4, 0xe2, 0x75, 0x90, 0x04, 0x07}, 0},
		{"nothing", nil, 0},
		{"no instruction", []byte{0x06}, 0},
	} {
		n, err := link.EntryRoom(c.code)
		if n != c.want || (err == nil) != (c.want > 0) {
			t.Errorf("%s: %d, %v", c.name, n, err)
		}
	}
}

func TestDetourLeadsWhereTheJumpWould(t *testing.T) {
	to := uint64(0x10_0000)
	e := link.Entry{Addr: 0x2000, Old: [5]byte{0x31, 0xc0, 1, 2, 3}, New: [5]byte{0xe9}, Site: 7}
	binary.LittleEndian.PutUint32(e.New[1:], uint32(to-e.Addr-5))
	held := [5]byte{0x90, 0x90, 0x90, 0x90, 0x90}
	for _, pad := range []uint64{0x1f82, 0x1fff, 0x2002, 0x2010, 0x2081} {
		short, long, err := link.Detour(e, pad, held)
		if err != nil {
			t.Fatalf("%#x: %v", pad, err)
		}
		if short.Addr != e.Addr || short.Old != e.Old || short.New[0] != 0xeb || [3]byte(short.New[2:]) != [3]byte{1, 2, 3} || short.Site != 7 {
			t.Errorf("%#x: short %+v", pad, short)
		}
		if at := e.Addr + 2 + uint64(int64(int8(short.New[1]))); at != pad {
			t.Errorf("%#x: short jump leads to %#x", pad, at)
		}
		if at := pad + 5 + uint64(int64(int32(binary.LittleEndian.Uint32(long.New[1:])))); at != to || long.Addr != pad || long.Old != held || long.New[0] != 0xe9 {
			t.Errorf("%#x: long %+v leads to %#x", pad, long, at)
		}
	}
	for _, pad := range []uint64{0x1f81, 0x2082, 0} {
		if _, _, err := link.Detour(e, pad, held); !errors.Is(err, link.ErrRange) {
			t.Errorf("%#x: %v", pad, err)
		}
	}
}
