package txn

import (
	"errors"
	"fmt"

	"hotpatch/internal/proc"
)

const (
	// reach is how far a rel32 may have to go. 2 GiB less room for the sizes
	// of what is at both ends.
	reach = 1<<31 - 64<<20
	// margin keeps a new mapping from touching another one: the kernel would
	// merge two of ours, and a heap or a stack next to us needs room to grow.
	margin = 64 << 10
	// top is the end of the address space below which we look: what a process
	// with 4-level page tables has.
	top = 0x7fff_ffff_f000
)

var errNoRoom = errors.New("no free address range within 2 GiB of the image")

// place finds room for size bytes near [lo, hi): the free range nearest to it
// such that every address of one reaches every address of the other. avoid are
// ranges already promised to other images of the same transaction.
func place(maps []proc.Map, lo, hi, size uint64, avoid [][2]uint64) (uint64, error) {
	size = (size + pageSize - 1) &^ (pageSize - 1)
	best, bestDist := uint64(0), ^uint64(0)
	consider := func(from, to uint64) {
		if to < from || to-from < size {
			return
		}
		// The two ends of a free range are its points nearest to anything outside.
		for _, at := range []uint64{from, (to - size) &^ (pageSize - 1)} {
			d := span(at, at+size, lo, hi)
			if d < bestDist && d < reach {
				best, bestDist = at, d
			}
		}
	}
	prev := proc.Map{End: 1 << 20} // well above vm.mmap_min_addr
	for _, m := range append(maps[:len(maps):len(maps)], proc.Map{Start: top, End: top}) {
		if m.Start > prev.End {
			from, to := prev.End+margin, m.Start
			if m.Path == "[stack]" {
				to -= min(to, 256<<20) // the main stack grows down
			}
			if prev.Path == "[heap]" {
				from += 256 << 20 // the heap grows up
			}
			if to > margin {
				to -= margin
			}
			for _, piece := range without(from, to, avoid) {
				consider(piece[0], piece[1])
			}
		}
		if m.End > prev.End {
			prev = m
		}
	}
	if best == 0 {
		return 0, fmt.Errorf("%w (%d KiB are needed)", errNoRoom, size>>10)
	}
	return best, nil
}

// span is the distance between the farthest addresses of two ranges.
func span(alo, ahi, blo, bhi uint64) uint64 { return max(ahi, bhi) - min(alo, blo) }

// without cuts taken ranges (with their margin) out of [from, to).
func without(from, to uint64, taken [][2]uint64) [][2]uint64 {
	free := [][2]uint64{{from, to}}
	for _, t := range taken {
		lo, hi := t[0]-min(t[0], margin), t[1]+margin
		var next [][2]uint64
		for _, f := range free {
			if hi <= f[0] || lo >= f[1] {
				next = append(next, f)
				continue
			}
			if lo > f[0] {
				next = append(next, [2]uint64{f[0], lo})
			}
			if hi < f[1] {
				next = append(next, [2]uint64{hi, f[1]})
			}
		}
		free = next
	}
	return free
}
