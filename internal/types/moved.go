package types

// Moved says that what the struct or union of that name had at an offset, within one
// of its members, is at another now.
func (p *Pair) Moved(name string, from, to int64) bool {
	for _, x := range p.base.defs[name] {
		for _, y := range p.fixed.defs[name] {
			if x.key != y.key && x.movedTo(y, from, to) {
				return true
			}
		}
	}
	return false
}

func (x *definition) movedTo(y *definition, from, to int64) bool {
	by := to - from
	for _, m := range x.members {
		if m.name == "" || from < m.at || from >= m.at+max(m.size, 1) {
			continue
		}
		for _, n := range y.members {
			if n.name == m.name && n.at-m.at == by && by != 0 {
				return true
			}
		}
	}
	return false
}
