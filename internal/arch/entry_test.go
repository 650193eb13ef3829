package arch_test

import (
	"errors"
	"strings"
	"testing"

	"hotpatch/internal/arch"
)

func TestJumpReachesItsTarget(t *testing.T) {
	for _, c := range []struct{ from, to uint64 }{
		{0x1000, 0x2000}, {0x2000, 0x1000}, {0x1000, 0x1005},
		{0x1000, 0x1000 + 5 + 0x7fffffff}, {0x80001000, 0x80001000 + 5 - 0x80000000},
	} {
		j, err := arch.Jump(c.from, c.to)
		if err != nil {
			t.Errorf("%#x to %#x: %v", c.from, c.to, err)
			continue
		}
		in, err := arch.Decode(j[:])
		if err != nil || int(in.Len) != arch.JumpSize || !in.IsJump() {
			t.Errorf("% x is no jump: %+v, %v", j, in, err)
		}
		if to, ok := in.Target(c.from, j[:]); !ok || to != c.to {
			t.Errorf("%#x to %#x goes to %#x", c.from, c.to, to)
		}
	}
}

func TestJumpRefusesDistanceAndNamesBothEnds(t *testing.T) {
	for _, c := range []struct{ from, to uint64 }{
		{0x1000, 0x1000 + 5 + 0x80000000}, {0x80001000, 0x80001000 + 5 - 0x80000001}, {0x555500001000, 0x7fff00002000},
	} {
		_, err := arch.Jump(c.from, c.to)
		if err == nil {
			t.Errorf("%#x to %#x: no error", c.from, c.to)
		}
	}
	_, err := arch.Jump(0x555500001000, 0x7fff00002000)
	for _, want := range []string{"0x555500001000", "0x7fff00002000"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not name %s", err, want)
		}
	}
}

func TestEntryOffsetKeepsEndbr(t *testing.T) {
	for code, want := range map[string]int{"f30f1efa55": 4, "f30f1efb55": 0, "55": 0, "": 0, "f30f1e": 0} {
		if got := arch.EntryOffset(unhex(t, code)); got != want {
			t.Errorf("%s: %d", code, got)
		}
	}
}

func TestPadding(t *testing.T) {
	for code, want := range map[string]int{
		"":                               0,
		"55":                             0,
		"9055":                           1,
		"669055":                         2,
		"0f1f0055":                       3,
		"662e0f1f840000000000c3":         10,
		"66662e0f1f8400000000000f1f0055": 14,
		"ccccccc3":                       3,
		"000000":                         3,
		"f390":                           0, // pause
		"664190":                         0, // xchg %ax,%r8w
		"4190":                           0,
		"f30f1efa":                       0, // endbr64
		"0f1f":                           0, // cut off
	} {
		if got := arch.Padding(unhex(t, code)); got != want {
			t.Errorf("%s: %d, want %d", code, got, want)
		}
	}
}

func TestBranchInto(t *testing.T) {
	for _, c := range []struct {
		name, code string
		lo, hi     int
		at         int
		found      bool
	}{
		{"loop to the entry is fine", "554889e5ebfa", 0, 5, 0, false},
		{"loop into the entry", "55534889e5ebfa", 0, 5, 5, true},
		{"to the end is fine", "5553515253ebfe", 0, 5, 0, false},
		{"forward jump inside", "eb0190909090", 0, 5, 0, true},
		{"behind endbr64", "f30f1efa5553515253ebfa", 4, 9, 9, true},
		{"at the start behind endbr64", "f30f1efa5553515253ebf9", 4, 9, 0, false},
		{"call counts", "5553515253e8f8ffffff", 0, 5, 5, true},
		{"no branch", "5553515253c3", 0, 5, 0, false},
		{"nothing", "", 0, 5, 0, false},
	} {
		at, found, err := arch.BranchInto(unhex(t, c.code), c.lo, c.hi)
		if err != nil || found != c.found || at != c.at {
			t.Errorf("%s: at %d, %v, %v", c.name, at, found, err)
		}
	}
	_, _, err := arch.BranchInto(unhex(t, "555306"), 0, 5)
	if !errors.Is(err, arch.ErrUnknown) || !strings.Contains(err.Error(), "0x2") {
		t.Errorf("undecodable byte: %v", err)
	}
}
