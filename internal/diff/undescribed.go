package diff

import (
	"hotpatch/internal/image"
)

// Code that neither unwind data nor symbols describe: what objects without unwind
// tables bring, assembler code without .type and .size, and the C start-up files.
// In it may be constants that look like references.

// believed says whether what looks like the reference q of such code is to be
// compared. Where some bytes of it are no instructions, equal fields may be
// constants; so they may where the code only starts or ends the image, which is
// nearly always that of the compiler's own files, and refers to the ends of
// sections: these are the addresses of whatever comes next. There only tables are
// looked at.
func (d *Diff) believed(a, b *Func, p, q *Ref) bool {
	if b.Bad == 0 && !d.starting[b.Index] {
		return !q.Class.Writable() || d.surelyOther(p, q)
	}
	if q.Class.Writable() {
		return false
	}
	return !d.sameField(a, b, q) || b.Bad == 0 && q.Kind == Lea && (q.Class == image.ROData || q.Class == image.RelRO)
}

// surelyOther says whether two places that variables have are known to be those of
// different ones. Of a variable that only such code uses nobody knows anything, if
// it has no name.
func (d *Diff) surelyOther(p, q *Ref) bool {
	ta, tb := p.Target, q.Target
	if want, _, ok := d.data.objects.counterpart(tb); ok {
		return want != ta
	}
	if d.data.objects.swapped(ta, tb) {
		return true
	}
	b := d.Map(tb)
	if b.OK() {
		return b.Base != ta
	}
	return b.How == NewVariable || d.data.elsewhere(ta, tb)
}
