package diff_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"

	"hotpatch/internal/diff"
)

// looks is a context that ends when it has been looked at so many times.
type looks struct {
	context.Context
	left atomic.Int64
}

func (c *looks) Err() error {
	if c.left.Add(-1) < 0 {
		return context.Canceled
	}
	return nil
}

// Wherever in the comparison nobody waits for it any more, it ends, with an error.
func TestComparisonEndsWhenNobodyWaits(t *testing.T) {
	source := keep + aside + `int f(int n) { return aside(n) + EXTRA; } int main(int n, char **v) { return f(n) + v[0][0]; }`
	base, fixed := open(t, compile(t, source, "-DEXTRA=1")), open(t, compile(t, source, "-DEXTRA=2"))
	const many = 1 << 20
	whole := &looks{Context: t.Context()}
	whole.left.Store(many)
	d, err := diff.Compare(whole, base, fixed, diff.Options{})
	if err != nil {
		t.Fatal(err)
	}
	n := many - whole.left.Load()
	if want := int64(len(d.Base.Funcs) + 2*len(d.Fixed.Funcs)); n < want {
		t.Errorf("it was looked %d times whether anybody waits: less than once for each function decoded and compared, %d", n, want)
	}
	for after := range n {
		c := &looks{Context: t.Context()}
		c.left.Store(after)
		if d, err := diff.Compare(c, base, fixed, diff.Options{}); !errors.Is(err, context.Canceled) || d != nil {
			t.Fatalf("ended at look %d of %d: %v, %v", after, n, d, err)
		}
	}
}
