package types

// inner is a class that another one declares within itself.
type inner struct {
	of   *node
	name string
}

// withheld looks for classes that may be described nowhere. g++ describes a
// class with virtual functions in one file only, that of its first one that is
// not inline (its key function). If an inner class is completed in another file,
// that says nothing of it: there, all of the outer class is left out.
func (t *reader) withheld() {
	first := ""
	for _, c := range t.inner {
		if c.of.withKey && len(t.set.defs[c.name]) == 0 && (first == "" || c.name < first) {
			first = c.name
		}
	}
	if first != "" {
		t.cannot("%s is described nowhere, and may be used", first)
	}
}
