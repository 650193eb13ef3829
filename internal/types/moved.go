package types

// Moved says that what the struct or union of that name had at an offset, within one
// of its members, is at another now.
func (p *Pair) Moved(name string, from, to int64) bool {
	for _, x := range few(p.base.defs[name]) {
		for _, y := range few(p.fixed.defs[name]) {
			if x.key != y.key && x.movedTo(y, from, to) {
				return true
			}
		}
	}
	return false
}

func (x *definition) movedTo(y *definition, from, to int64) bool {
	for i := range x.members {
		m := &x.members[i]
		if m.name == "" || from < m.at || from >= m.at+max(m.size, 1) || from == to {
			continue
		}
		if n := y.find(m.name); n != nil && n.at-m.at == to-from {
			return true
		}
	}
	return false
}
