package image

import "sort"

// Index finds the last of many sorted addresses that is not above a given one.
// It cuts the address range into about as many equal buckets as there are
// keys, so that a lookup searches a handful of keys; one bucket full of them
// costs a binary search.
type Index struct {
	keys  []Addr
	first []uint32 // first[b]: number of keys in the buckets before b
	shift uint
}

// NewIndex makes an index of keys, which are sorted and not changed afterwards.
func NewIndex(keys []Addr) Index {
	x := Index{keys: keys}
	if len(keys) == 0 {
		return x
	}
	span := keys[len(keys)-1] - keys[0]
	for span>>x.shift >= Addr(2*len(keys)+16) {
		x.shift++
	}
	x.first = make([]uint32, span>>x.shift+2)
	for _, k := range keys {
		x.first[x.bucket(k)+1]++
	}
	for b := 1; b < len(x.first); b++ {
		x.first[b] += x.first[b-1]
	}
	return x
}

func (x *Index) bucket(a Addr) Addr { return (a - x.keys[0]) >> x.shift }

// Find is the position of the last key <= a, -1 when there is none.
func (x *Index) Find(a Addr) int {
	n := len(x.keys)
	if n == 0 || a < x.keys[0] {
		return -1
	}
	if a >= x.keys[n-1] {
		return n - 1
	}
	b := x.bucket(a)
	lo, hi := int(x.first[b]), int(x.first[b+1])
	if hi-lo > 8 {
		lo += sort.Search(hi-lo, func(i int) bool { return x.keys[lo+i] > a })
		return lo - 1
	}
	for lo < hi && x.keys[lo] <= a {
		lo++
	}
	return lo - 1
}
