package types

import (
	"cmp"
	"slices"
	"sort"
)

// fewMembers are looked through one by one; what has more gets an index. A struct of a
// debug file may have as many as its maker liked.
const fewMembers = 24

// index finds members of a definition.
type index struct {
	names  map[string]int // the first one of each name
	places map[memberPlace]int
	// unnamed are the members without a name, in their order.
	unnamed []int
	// leaves are the bits of the members that are no structs, by their starts.
	leaves []leaf
}

type memberPlace struct{ at, size, bit, len int64 }

// leaf is where a member starts, and where the last of it and those before it ends.
type leaf struct{ lo, hi int64 }

func (m *member) memberPlace() memberPlace { return memberPlace{m.at, m.size, m.bit, m.len} }

// indexed is nil for a definition with few members.
func (d *definition) indexed() *index {
	if len(d.members) <= fewMembers || d.index != nil {
		return d.index
	}
	x := &index{names: make(map[string]int, len(d.members)), places: make(map[memberPlace]int, len(d.members))}
	for i := range d.members {
		m := &d.members[i]
		if m.name == "" {
			x.unnamed = append(x.unnamed, i)
		}
		if _, ok := x.names[m.name]; !ok {
			x.names[m.name] = i
		}
		if _, ok := x.places[m.memberPlace()]; !ok {
			x.places[m.memberPlace()] = i
		}
		if !m.kind.is(ofStruct) {
			lo, hi := m.bits()
			x.leaves = append(x.leaves, leaf{lo, hi})
		}
	}
	slices.SortFunc(x.leaves, func(a, b leaf) int { return cmp.Compare(a.lo, b.lo) })
	for i := 1; i < len(x.leaves); i++ {
		x.leaves[i].hi = max(x.leaves[i].hi, x.leaves[i-1].hi)
	}
	d.index = x
	return x
}

// find is the first member of that name; nil: there is none.
func (d *definition) find(name string) *member {
	if x := d.indexed(); x != nil {
		if i, ok := x.names[name]; ok {
			return &d.members[i]
		}
		return nil
	}
	for i := range d.members {
		if d.members[i].name == name {
			return &d.members[i]
		}
	}
	return nil
}

// at is the first member of the same place and size.
func (d *definition) at(m *member) *member {
	if x := d.indexed(); x != nil {
		if i, ok := x.places[m.memberPlace()]; ok {
			return &d.members[i]
		}
		return nil
	}
	for i := range d.members {
		if d.members[i].memberPlace() == m.memberPlace() {
			return &d.members[i]
		}
	}
	return nil
}

// nth is the member without a name that n others come before.
func (d *definition) nth(n int) *member {
	if x := d.indexed(); x != nil {
		if n < len(x.unnamed) {
			return &d.members[x.unnamed[n]]
		}
		return nil
	}
	for i := range d.members {
		if d.members[i].name == "" {
			if n == 0 {
				return &d.members[i]
			}
			n--
		}
	}
	return nil
}

// turn is how many members without a name come before member i.
func (d *definition) turn(i int) (n int) {
	if x := d.indexed(); x != nil {
		return sort.SearchInts(x.unnamed, i)
	}
	for k := range d.members[:i] {
		if d.members[k].name == "" {
			n++
		}
	}
	return n
}

// overlaps says whether n lies on a leaf member.
func (d *definition) overlaps(n *member) bool {
	if n.kind.is(ofStruct) && n.kind.union {
		return false
	}
	lo, hi := n.bits()
	if x := d.indexed(); x != nil {
		k := sort.Search(len(x.leaves), func(i int) bool { return x.leaves[i].lo >= hi })
		return k > 0 && x.leaves[k-1].hi > lo
	}
	for i := range d.members {
		if d.members[i].kind.is(ofStruct) {
			continue
		}
		if l, h := d.members[i].bits(); lo < h && l < hi {
			return true
		}
	}
	return false
}
