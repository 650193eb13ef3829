package types

import "strings"

// Type units (image.TypeUnit) are read as partial units are: what a unit refers
// to is its own. Two things are different. gcc moves types to them which a unit
// handles and does not refer to (behind a cast), so no unit that may have been
// compiled so names all its types. And of the same unit in several object files
// the linker keeps one, so nothing tells which files knew it.

// signatures notes which type each signature stands for.
func (t *reader) signatures() {
	for _, u := range t.data.TypeUnits {
		r := ref(u.Type)
		if u.Separate {
			r |= inTypes
		}
		if _, twice := t.signs[u.Signature]; twice {
			t.cannot("two type units have the signature %016x", u.Signature)
			r = 0
		}
		t.signs[u.Signature] = r
	}
}

// checkSignatures: each signature has to stand for a type.
func (t *reader) checkSignatures() {
	for _, u := range t.data.TypeUnits {
		if r := t.signs[u.Signature]; r != 0 && t.nodes[r] == nil {
			t.cannot("no type is at %#x, where that of the signature %016x should be", u.Type, u.Signature)
		}
	}
}

// signed is the type that a signature stands for, 0 when that is not known.
func (t *reader) signed(signature uint64) ref {
	t.unit.Whole = false
	r, ok := t.signs[signature]
	if !ok {
		t.cannot("no type unit has the signature %016x", signature)
	}
	if r != 0 {
		t.open.foreign = append(t.open.foreign, r)
	}
	return r
}

// mayHideTypes says whether a unit of that producer may handle types that it
// does not mention, as they are in type units.
func (t *reader) mayHideTypes(producer string) bool {
	unsaid := !strings.Contains(producer, " -") // -gno-record-gcc-switches
	return strings.Contains(producer, "-fdebug-types-section") || unsaid && len(t.data.TypeUnits) > 0
}

// oneMeaning: where type units describe two types of one name, the file that
// changed from one to the other may be any.
func (t *reader) oneMeaning() {
	first := ""
	for _, u := range t.set.units {
		if !u.ofType {
			continue
		}
		for name := range u.defs {
			if len(t.set.defs[name]) > 1 && (first == "" || name < first) {
				first = name
			}
		}
	}
	if first != "" {
		t.cannot("there are several of %s, and type units do not tell which file has which", first)
	}
}
