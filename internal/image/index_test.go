package image

import (
	"math/rand/v2"
	"slices"
	"sort"
	"testing"
)

// TestIndexFindsAsBinarySearchDoes over even, clustered and repeated keys.
func TestIndexFindsAsBinarySearchDoes(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	makers := map[string]func(i int) Addr{
		"even":      func(i int) Addr { return Addr(0x1000 + 16*i) },
		"random":    func(int) Addr { return Addr(rnd.Uint64()) },
		"clustered": func(i int) Addr { return Addr(i/100)<<40 + Addr(rnd.IntN(200)) },
		"same":      func(int) Addr { return 77 },
		"two ends":  func(i int) Addr { return ^Addr(0) * Addr(i&1) },
	}
	for name, make := range makers {
		t.Run(name, func(t *testing.T) {
			for _, n := range []int{0, 1, 2, 3, 50, 1000} {
				var keys []Addr
				for i := range n {
					keys = append(keys, make(i))
				}
				slices.Sort(keys)
				x := NewIndex(keys)
				if len(x.first) > 2*n+18 {
					t.Fatalf("%d buckets for %d keys", len(x.first), n)
				}
				probe := []Addr{0, 1, ^Addr(0), ^Addr(0) - 1}
				for _, k := range keys {
					probe = append(probe, k, k-1, k+1)
				}
				for _, a := range probe {
					want := sort.Search(n, func(i int) bool { return keys[i] > a }) - 1
					if got := x.Find(a); got != want {
						t.Fatalf("%d keys: Find(%#x) is %d, want %d", n, a, got, want)
					}
				}
			}
		})
	}
}
