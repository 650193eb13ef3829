package cli_test

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"hotpatch/internal/cli"
)

// longest is the length of a longest common subsequence, by its definition.
func longest(x, y []string) int {
	switch {
	case len(x) == 0 || len(y) == 0:
		return 0
	case x[0] == y[0]:
		return 1 + longest(x[1:], y[1:])
	}
	return max(longest(x[1:], y), longest(x, y[1:]))
}

func checkAligned(t interface{ Fatalf(string, ...any) }, x, y []string, pairs [][2]int) {
	last := [2]int{-1, -1}
	for _, p := range pairs {
		if p[0] <= last[0] || p[1] <= last[1] || p[0] >= len(x) || p[1] >= len(y) || x[p[0]] != y[p[1]] {
			t.Fatalf("pair %v behind %v of %q and %q", p, last, x, y)
		}
		last = p
	}
}

func TestShortCodeIsAlignedAsLongAsPossible(t *testing.T) {
	word := rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "c"}), 0, 9)
	rapid.Check(t, func(t *rapid.T) {
		x, y := word.Draw(t, "x"), word.Draw(t, "y")
		pairs := cli.Align(x, y)
		checkAligned(t, x, y, pairs)
		if want := longest(x, y); len(pairs) != want {
			t.Fatalf("%d pairs of %q and %q, want %d", len(pairs), x, y, want)
		}
	})
}

// Code too long for a table is cut at lines that occur once.
func TestLongCodeIsAligned(t *testing.T) {
	var x, y []string
	for i := range 6000 {
		line := "push"
		if i%3 == 0 {
			line = fmt.Sprint("call f", i)
		}
		x = append(x, line)
		if i%100 == 1 {
			continue // taken out
		}
		y = append(y, line)
		if i%100 == 50 {
			y = append(y, "put in")
		}
	}
	x, y = append([]string{"first"}, append(x, "last")...), append([]string{"other"}, append(y, "end")...)
	pairs := cli.Align(x, y)
	checkAligned(t, x, y, pairs)
	if len(pairs) != 6000-60 {
		t.Errorf("%d lines are paired, want %d", len(pairs), 6000-60)
	}
	same := make([]string, 4000)
	other := make([]string, 4000)
	for i := range same {
		same[i], other[i] = "a", "b"
	}
	if pairs := cli.Align(same, other); len(pairs) != 0 {
		t.Errorf("%d pairs of nothing equal", len(pairs))
	}
}
