package diff

import "hotpatch/internal/image"

// Foreign says that the images are not builds of one program by one compiler,
// as far as code goes: most functions differ, and of those of some length, too,
// hardly one of the fixed image occurs in the base image. Where they are large,
// or of two upstream versions (Options.GiveUp), nothing beyond names and unique
// code was compared then, for nothing could come of it and it would take long.
type Foreign struct {
	Functions, Differ int // of the fixed image; Differ: at least so many
	Long, Equal       int // those of LongFunction instructions; Equal: at most so many
}

// A function of LongFunction instructions does not come out the same by
// accident.
const LongFunction = 60

// Foreign is nil for images that were compared in full.
func (d *Diff) Foreign() *Foreign { return d.foreign }

// tooMany functions are not compared in full where the compiler is another one:
// it takes long, and among so many there is always one that is not certain.
const tooMany = 4000

// findForeign looks only at hashes, which two functions must share to be the
// same: what it counts as different is different.
func (d *Diff) findForeign() *Foreign {
	const few, fewLong, share = 40, 8, 4
	known := make(map[uint64]bool, len(d.Base.Funcs))
	for _, f := range d.Base.Funcs {
		known[f.Hash] = true
	}
	var n Foreign
	for _, f := range d.Fixed.Funcs {
		if f.Fragment || f.Source == image.FromGap {
			continue
		}
		n.Functions++
		if !known[f.Hash] {
			n.Differ++
		}
		if f.Insts >= LongFunction {
			n.Long++
			if known[f.Hash] {
				n.Equal++
			}
		}
	}
	if !d.options.GiveUp && len(d.Base.Funcs) <= tooMany && len(d.Fixed.Funcs) <= tooMany {
		return nil
	}
	if n.Functions < few || n.Long < fewLong || n.Differ*share <= n.Functions || n.Equal*share >= n.Long {
		return nil
	}
	return &n
}
