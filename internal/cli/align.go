package cli

import (
	"cmp"
	"slices"
)

// alignable is how many pairs of lines are compared at once: a table of 4 MB.
const alignable = 1 << 21

// align pairs equal elements of x and y in order: a longest common
// subsequence, or for long inputs one between elements that occur once on
// either side (patience diff).
func align(x, y []string) [][2]int {
	var out [][2]int
	alignRange(x, y, 0, 0, 0, &out)
	return out
}

func alignRange(x, y []string, x0, y0, depth int, out *[][2]int) {
	for len(x) > 0 && len(y) > 0 && x[0] == y[0] {
		*out = append(*out, [2]int{x0, y0})
		x, y, x0, y0 = x[1:], y[1:], x0+1, y0+1
	}
	tail := 0
	for tail < len(x) && tail < len(y) && x[len(x)-1-tail] == y[len(y)-1-tail] {
		tail++
	}
	mx, my := x[:len(x)-tail], y[:len(y)-tail]
	switch {
	case len(mx) == 0 || len(my) == 0:
	case len(mx)*len(my) <= alignable:
		alignTable(mx, my, x0, y0, out)
	case depth < 32:
		alignAnchors(mx, my, x0, y0, depth, out)
	}
	for i := range tail {
		*out = append(*out, [2]int{x0 + len(mx) + i, y0 + len(my) + i})
	}
}

// alignTable is the longest common subsequence by dynamic programming.
func alignTable(x, y []string, x0, y0 int, out *[][2]int) {
	w := len(y) + 1
	n := make([]uint16, (len(x)+1)*w) // enough: the shorter one has at most 1448 lines
	for i := len(x) - 1; i >= 0; i-- {
		for j := len(y) - 1; j >= 0; j-- {
			if x[i] == y[j] {
				n[i*w+j] = n[(i+1)*w+j+1] + 1
			} else {
				n[i*w+j] = max(n[(i+1)*w+j], n[i*w+j+1])
			}
		}
	}
	for i, j := 0, 0; i < len(x) && j < len(y); {
		switch {
		case x[i] == y[j]:
			*out = append(*out, [2]int{x0 + i, y0 + j})
			i, j = i+1, j+1
		case n[(i+1)*w+j] >= n[i*w+j+1]:
			i++
		default:
			j++
		}
	}
}

// alignAnchors cuts at elements that occur once on either side, in the same
// order. Without any, the stretch counts as replaced.
func alignAnchors(x, y []string, x0, y0, depth int, out *[][2]int) {
	anchors := increasing(onceInBoth(x, y))
	if len(anchors) == 0 {
		return
	}
	i, j := 0, 0
	for _, a := range append(anchors, [2]int{len(x), len(y)}) {
		alignRange(x[i:a[0]], y[j:a[1]], x0+i, y0+j, depth+1, out)
		if a[0] < len(x) {
			*out = append(*out, [2]int{x0 + a[0], y0 + a[1]})
		}
		i, j = a[0]+1, a[1]+1
	}
}

func onceInBoth(x, y []string) [][2]int {
	once := func(s []string) map[string]int {
		m := map[string]int{}
		for i, t := range s {
			if _, ok := m[t]; ok {
				m[t] = -1
			} else {
				m[t] = i
			}
		}
		return m
	}
	in := once(y)
	var out [][2]int
	for t, i := range once(x) {
		if j, ok := in[t]; ok && i >= 0 && j >= 0 {
			out = append(out, [2]int{i, j})
		}
	}
	slices.SortFunc(out, func(a, b [2]int) int { return cmp.Compare(a[0], b[0]) })
	return out
}

// increasing is a longest run of pairs that ascends on both sides.
func increasing(p [][2]int) [][2]int {
	var tops, before []int // of piles: their last pair; of pairs: the one before
	for i := range p {
		before = append(before, -1)
		k, _ := slices.BinarySearchFunc(tops, p[i][1], func(t, v int) int { return cmp.Compare(p[t][1], v) })
		if k > 0 {
			before[i] = tops[k-1]
		}
		if k == len(tops) {
			tops = append(tops, i)
		} else {
			tops[k] = i
		}
	}
	if len(tops) == 0 {
		return nil
	}
	var out [][2]int
	for i := tops[len(tops)-1]; i >= 0; i = before[i] {
		out = append(out, p[i])
	}
	slices.Reverse(out)
	return out
}
