package link_test

import (
	"encoding/binary"
	"errors"
	"slices"
	"testing"

	"hotpatch/internal/link"
)

func TestOnlyOneInstructionChanges(t *testing.T) {
	for _, c := range []struct {
		name       string
		code       []byte
		skip, size int // size 0: none
		direct     bool
	}{
		{"push r15", []byte{0x41, 0x57, 0x90}, 0, 5, false},
		{"sub rsp", []byte{0x48, 0x83, 0xec, 0x18}, 0, 5, false},
		{"mov imm", []byte{0xb8, 1, 0, 0, 0}, 0, 0, true},
		{"call", []byte{0xe8, 1, 0, 0, 0}, 0, 0, true},
		{"vector move", []byte{0xc5, 0xfc, 0x28, 0xc1}, 0, 5, false},
		{"push rbx, mov", []byte{0x53, 0x48, 0x89, 0xfb}, 1, 10, false},
		{"push rbp, mov imm", []byte{0x55, 0xb8, 1, 0, 0, 0}, 1, 10, false},
		{"three pushes", []byte{0x55, 0x53, 0x51, 0x31, 0xc0}, 3, 10, false},
		{"four pushes", []byte{0x55, 0x53, 0x51, 0x52, 0x31, 0xc0}, 0, 0, false},
		{"push rsp", []byte{0x54, 0x31, 0xc0}, 0, 0, false},
		{"nop", []byte{0x90, 0x31, 0xc0}, 0, 0, false},
		{"ret", []byte{0xc3, 0x31, 0xc0}, 0, 0, false},
		{"rep movsb", []byte{0xf3, 0xa4}, 0, 0, false},
		{"push, rep movsb", []byte{0x53, 0xf3, 0xa4}, 0, 0, false},
		{"repne scasb", []byte{0xf2, 0xae}, 0, 0, false},
		{"rep stosq", []byte{0xf3, 0x48, 0xab}, 0, 0, false},
		{"rep insb", []byte{0xf3, 0x6c}, 0, 0, false},
		{"syscall", []byte{0x0f, 0x05}, 0, 0, false},
		{"sysenter", []byte{0x0f, 0x34}, 0, 0, false},
		{"int 0x80", []byte{0xcd, 0x80}, 0, 0, false},
		{"vpgatherdd", []byte{0xc4, 0xe2, 0x75, 0x90, 0x04, 0x07}, 0, 0, false},
		{"nothing", nil, 0, 0, false},
		{"no instruction", []byte{0x06}, 0, 0, false},
		{"pushes and no more", []byte{0x53, 0x55}, 0, 0, false},
	} {
		got, direct, err := link.Narrow(c.code)
		if fits := c.direct || c.size > 0; fits != (err == nil) || fits && (direct != c.direct || got != link.Through{Skip: c.skip, Size: c.size}) {
			t.Errorf("%s: %+v, %v, %v", c.name, got, direct, err)
		}
	}
}

func TestDetourLeadsWhereTheJumpWould(t *testing.T) {
	const to = 0x10_0000
	e := link.Entry{Addr: 0x2000, Old: [5]byte{0x53, 0x55, 0x31, 0xc0, 3}, New: [5]byte{0xe9}, Site: 7}
	binary.LittleEndian.PutUint32(e.New[1:], uint32(to-e.Addr-5))
	nops := slices.Repeat([]byte{0x90}, 10)
	for _, skip := range []int{0, 2} {
		through := link.Through{Skip: skip, Size: 5}
		if skip > 0 {
			through.Size = 10
		}
		near := e.Addr + uint64(skip) + 2
		for _, pad := range []uint64{near - 128, near - 20, near + 20, near + 127} {
			all, err := link.Detour(e, through, pad, nops[:through.Size])
			if err != nil || len(all) != 1+through.Size/5 {
				t.Fatalf("%#x: %+v, %v", pad, all, err)
			}
			long, short := all[0], all[len(all)-1]
			want := e.Old
			want[skip], want[skip+1] = 0xeb, byte(pad-near)
			if short.Addr != e.Addr || short.Old != e.Old || short.New != want || short.Site != 7 {
				t.Errorf("%#x: short %+v", pad, short)
			}
			if long.Addr != pad+uint64(through.Size)-5 || [5]byte(nops) != long.Old {
				t.Errorf("%#x: long %+v", pad, long)
			}
			if at := long.Addr + 5 + uint64(int64(int32(binary.LittleEndian.Uint32(long.New[1:])))); at != to || long.New[0] != 0xe9 {
				t.Errorf("%#x: long %+v leads to %#x", pad, long, at)
			}
			if skip > 0 && (all[1].Addr != pad || all[1].New != [5]byte{0x48, 0x8d, 0x64, 0x24, 16}) { // lea 0x10(%rsp),%rsp
				t.Errorf("%#x: %+v does not undo two pushes", pad, all[1])
			}
		}
		for _, pad := range []uint64{near - 129, near + 128, 0} {
			if _, err := link.Detour(e, through, pad, nops[:through.Size]); !errors.Is(err, link.ErrRange) {
				t.Errorf("%#x: %v", pad, err)
			}
		}
		if _, err := link.Detour(e, through, near+20, nops[:4]); err == nil {
			t.Error("led through less padding than it takes")
		}
	}
}
