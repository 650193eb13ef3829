package diff

import (
	"fmt"
	"slices"

	"hotpatch/internal/image"
)

// compareHandlers marks b, whose code is that of a, when exceptions fare
// otherwise in it: equal code may catch another type.
func (d *Diff) compareHandlers(a, b *Func) {
	if same, why := d.sameHandlers(a, b); !same {
		d.mark(b.Index, why)
	}
}

func (d *Diff) sameHandlers(a, b *Func) (bool, string) {
	if a.LSDA == 0 && b.LSDA == 0 {
		return true, ""
	}
	if (a.LSDA == 0) != (b.LSDA == 0) {
		return false, "handles exceptions on one side only"
	}
	p, err := d.Base.LSDA(a.LSDA, image.Range{Lo: a.Lo, Hi: a.Hi})
	if err != nil {
		return false, fmt.Sprintf("base: %v", err)
	}
	q, err := d.Fixed.LSDA(b.LSDA, image.Range{Lo: b.Lo, Hi: b.Hi})
	if err != nil {
		return false, err.Error()
	}
	if len(p.Sites) != len(q.Sites) {
		return false, "exceptions are handled in other places"
	}
	for i := range q.Sites {
		x, y := &p.Sites[i], &q.Sites[i]
		if x.Start != y.Start || x.Len != y.Len || !d.samePad(a, b, x.Pad, y.Pad) || !slices.Equal(x.Filters, y.Filters) {
			return false, fmt.Sprintf("+%#x: exceptions are handled otherwise", y.Start)
		}
	}
	if len(p.Types) != len(q.Types) {
		return false, "other exceptions are caught"
	}
	for i := range q.Types {
		if x, y := &p.Types[i], &q.Types[i]; x.Index != y.Index || x.Specification != y.Specification || !d.sameType(p, q, x.Target, y.Target) {
			return false, fmt.Sprintf("type %d that it catches is another one", y.Index)
		}
	}
	return true, ""
}

func (d *Diff) samePad(a, b *Func, x, y image.Addr) bool {
	if x == 0 || y == 0 {
		return x == y
	}
	return x-a.Lo == y-b.Lo || d.sameCodePlace(x, y)
}

// sameType says whether two entries of type tables mean one type.
func (d *Diff) sameType(p, q *image.LSDA, x, y image.Addr) bool {
	if x == 0 || y == 0 {
		return x == y
	}
	if image.Indirect(p.TypeEncoding) != image.Indirect(q.TypeEncoding) {
		return false
	}
	if !image.Indirect(q.TypeEncoding) {
		same, _ := d.sameTarget(x, y, 0, nil, nil)
		return same
	}
	r, s := d.Base.RelocAt(x), d.Fixed.RelocAt(y)
	if r == nil || s == nil {
		return false
	}
	// A slot that the linker bound to its own image and one that the loader
	// binds by name can mean the same, but code that is unchanged has equal ones.
	same, _ := d.sameSlot(x, y, nil)
	return same
}
