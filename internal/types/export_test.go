package types

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"hotpatch/internal/image"
)

// ReadOne reads types as Read does and says how many names there are.
func ReadOne(d *image.DWARF) (int, error) {
	set, err := readTable(d)
	if set == nil {
		return 0, err
	}
	p := Pair{set, set}
	return len(set.defs) + len(p.Compare(nil)), err
}

// Unread is what could not be understood of the types, "" for nothing.
func Unread(d *image.DWARF) (string, error) {
	set, err := readTable(d)
	if set == nil {
		return "", err
	}
	return set.unread, err
}

// UnitTypes says by name of each unit what it knows of types: all that decides
// what is compared.
func UnitTypes(m *image.Image) (map[string]string, error) {
	set, err := tableOf(m)
	if err != nil || set == nil {
		return nil, err
	}
	out := map[string]string{"": fmt.Sprint(set.unread, sortedKeys(set.kept), sortedKeys(set.local))}
	for _, u := range set.units {
		var lines []string
		for name, defs := range u.defs {
			for _, d := range defs {
				lines = append(lines, name+" "+d.key)
			}
		}
		opaque := slices.Clone(u.opaque)
		slices.Sort(opaque)
		for _, name := range slices.Compact(opaque) {
			lines = append(lines, name+" declared")
		}
		for _, o := range u.objects {
			lines = append(lines, fmt.Sprintf("variable at %#x: %d bytes", o.at, o.size))
		}
		slices.Sort(lines)
		out[u.Name] += fmt.Sprintf("whole %v, imports %v, %q, code %x\n%s\n", u.Whole, u.imports, u.Partial, u.ranges, strings.Join(lines, "\n"))
	}
	return out, nil
}

func sortedKeys(m map[string]bool) []string {
	var out []string
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

// CompareRenamed compares two structs, and two enumerations, of n members of which every
// other one has a new name.
func CompareRenamed(n int) (members, enumerators string) {
	var s, e [2]definition
	for side := range 2 {
		s[side].name, e[side].name = "struct s", "enum e"
		for i := range n {
			name := fmt.Sprint("m", i)
			if i%2 == 1 && side == 1 {
				name = fmt.Sprint("x", i)
			}
			s[side].members = append(s[side].members, member{name: name, at: int64(i), size: 1}, member{at: int64(n + i), size: 1})
			e[side].members = append(e[side].members, member{name: name, at: int64(i)})
		}
		s[side].key = s[side].keyOf()
	}
	var c Comparison
	l, _ := c.compareMembers(&s[0], &s[1])
	e[1].members[n-2].at += int64(n)
	detail, _ := enumDiffers(&e[0], &e[1])
	return l.Detail, detail
}

// FoundByIndex compares what is found in random definitions with an index and without.
func FoundByIndex(seed uint64) error {
	r := rand.New(rand.NewPCG(seed, 1))
	kinds := []*kind{nil, {class: ofInteger}, {class: ofStruct}, {class: ofStruct, union: true}}
	random := func() member {
		m := member{at: r.Int64N(90), size: r.Int64N(5), kind: kinds[r.IntN(len(kinds))]}
		if n := r.IntN(60); n > 5 {
			m.name = fmt.Sprint("m", n)
		}
		if r.IntN(8) == 0 {
			m.bit, m.len, m.size = 8*m.at+r.Int64N(8), 1+r.Int64N(9), 0
		}
		return m
	}
	d := &definition{}
	for range fewMembers + 1 + r.IntN(40) {
		d.members = append(d.members, random())
	}
	if d.indexed() == nil {
		return fmt.Errorf("%d members have no index", len(d.members))
	}
	for range 200 {
		m := random()
		var named, there *member
		nth, over, turn := []*member{}, false, r.IntN(len(d.members))
		before := 0
		for i := range d.members {
			o := &d.members[i]
			if o.name == m.name && named == nil {
				named = o
			}
			if o.at == m.at && o.size == m.size && o.bit == m.bit && o.len == m.len && there == nil {
				there = o
			}
			if o.name == "" {
				nth = append(nth, o)
				if i < turn {
					before++
				}
			}
			lo, hi := m.bits()
			l, h := o.bits()
			over = over || !o.kind.is(ofStruct) && lo < h && l < hi
		}
		over = over && !(m.kind.is(ofStruct) && m.kind.union)
		switch {
		case d.find(m.name) != named, d.at(&m) != there, d.overlaps(&m) != over, d.turn(turn) != before, d.nth(len(nth)) != nil:
			return fmt.Errorf("%+v in %+v", m, d.members)
		}
		for i, o := range nth {
			if d.nth(i) != o {
				return fmt.Errorf("member %d without a name of %+v", i, d.members)
			}
		}
	}
	return nil
}

// MovedOfMany looks for what moved in unions of n members.
func MovedOfMany(n int) bool {
	var x, y definition
	for i := range n {
		m := member{name: fmt.Sprint("m", i), size: 1 << 20}
		x.members = append(x.members, m)
		m.at = 8
		y.members = append(y.members, m)
	}
	return x.movedTo(&y, 4, 8)
}
