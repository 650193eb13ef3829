package diff

import (
	"cmp"
	"debug/dwarf"
	"debug/elf"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"

	"hotpatch/internal/image"
)

// Layout is one type whose layout differs between the images.
type Layout struct {
	Type   string // "struct connectdata"
	Detail string // what differs, naming the member
	// Padding: nothing that existed moved; new members fill what was padding,
	// or a member has another name or kind at its old place.
	Padding bool
	// Enum: an enumerator has another value, in a type that no member has.
	Enum bool
}

// Layouts compares all types that both images name: size, members, offsets,
// bit fields, enumerators. known is false when either image has no DWARF; then
// nothing was compared. An error with known set names a type that could not be
// read; all others were compared.
func Layouts(base, fixed *image.Image) (out []Layout, known bool, err error) {
	x, err := typesOf(base)
	if err != nil || x == nil {
		return nil, false, err
	}
	y, err := typesOf(fixed)
	if err != nil || y == nil {
		return nil, false, err
	}
	for _, t := range []*typeSet{x, y} {
		if t.unread != "" {
			err = fmt.Errorf("read types: %s", t.unread)
		}
	}
	for _, name := range y.names {
		if x.defs[name] == nil {
			continue
		}
		a, b := without(x.defs[name], y.defs[name]), without(y.defs[name], x.defs[name])
		if len(a) == 0 || len(b) == 0 {
			continue // every definition of one side exists on the other
		}
		for i := range min(len(a), len(b)) {
			if l, differs := compareTypes(a[i], b[i]); differs {
				l.Enum = strings.HasPrefix(name, "enum ") && !x.stored[name] && !y.stored[name]
				out = append(out, l)
			}
		}
	}
	return out, true, err
}

// definition is one type, as far as its layout goes.
type definition struct {
	name    string // with "struct ", "enum ", ...
	size    int64
	members []member
	key     string // equal keys: equal layouts
}

// member of a struct (dotted when it is in an anonymous one), or enumerator.
type member struct {
	name     string
	at, size int64 // bytes; an enumerator's value is at
	bit, len int64 // bit field: offset from the start of the type, and width
	kind     string
}

type typeSet struct {
	names  []string // sorted
	defs   map[string][]*definition
	stored map[string]bool // enumerations that members have
	// unread is the first type that could not be understood, "" for none.
	unread string
}

// typesOf reads all named types with a layout; nil without DWARF.
func typesOf(m *image.Image) (*typeSet, error) {
	data, err := m.DWARF()
	if errors.Is(err, image.ErrNoDWARF) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read types of %s: %w", m.Path, err)
	}
	set := &typeSet{defs: map[string][]*definition{}, stored: map[string]bool{}}
	r := data.Reader()
	var scope []string // names of enclosing namespaces, types and functions
	units := 0
	for {
		e, err := r.Next()
		if err != nil {
			return nil, fmt.Errorf("read types of %s: %w", m.Path, err)
		}
		if e == nil {
			break
		}
		if e.Tag == 0 {
			if len(scope) > 0 {
				scope = scope[:len(scope)-1]
			}
			continue
		}
		if e.Tag == dwarf.TagCompileUnit {
			units++
		}
		name, _ := e.Val(dwarf.AttrName).(string)
		if err := set.add(data, e, name, scope); err != nil && set.unread == "" {
			set.unread = err.Error()
		}
		if e.Children {
			inner := ""
			switch e.Tag {
			case dwarf.TagNamespace, dwarf.TagStructType, dwarf.TagClassType, dwarf.TagUnionType:
				inner = name
			}
			scope = append(scope, inner)
		}
	}
	if units == 0 {
		return nil, nil
	}
	for name, defs := range set.defs {
		slices.SortFunc(defs, func(a, b *definition) int { return strings.Compare(a.key, b.key) })
		set.defs[name] = slices.CompactFunc(defs, func(a, b *definition) bool { return a.key == b.key })
		set.names = append(set.names, name)
	}
	slices.Sort(set.names)
	return set, nil
}

// add records the type that e defines, if it defines one with a layout.
func (s *typeSet) add(data *dwarf.Data, e *dwarf.Entry, name string, scope []string) error {
	switch e.Tag {
	case dwarf.TagStructType, dwarf.TagClassType, dwarf.TagUnionType, dwarf.TagEnumerationType:
		if e.Val(dwarf.AttrDeclaration) != nil || name == "" && e.Tag != dwarf.TagEnumerationType {
			return nil
		}
	case dwarf.TagTypedef:
		if name == "" || !namesStruct(data, e) {
			return nil
		}
	default:
		return nil
	}
	t, err := data.Type(e.Offset)
	if err != nil {
		return fmt.Errorf("type %s at %#x: %w", name, e.Offset, err)
	}
	if td, ok := t.(*dwarf.TypedefType); ok {
		st, ok := td.Type.(*dwarf.StructType)
		if !ok || st.StructName != "" {
			return nil
		}
		t = st
	}
	full := ""
	for _, p := range scope {
		if p != "" {
			full += p + "::"
		}
	}
	d := &definition{name: full + name}
	switch t := t.(type) {
	case *dwarf.StructType:
		if t.Incomplete {
			return nil
		}
		d.name = t.Kind + " " + d.name
		if e.Tag == dwarf.TagTypedef {
			d.name = name
		}
		d.size = t.ByteSize
		d.members = flatten(nil, t, "", 0, 0)
		for _, f := range t.Field {
			if n := enumOf(f.Type); n != "" {
				s.stored["enum "+n] = true
			}
		}
	case *dwarf.EnumType:
		d.name = "enum " + d.name
		if name == "" {
			d.name = "enum of " + anonymousEnum(t)
		}
		for _, v := range t.Val {
			d.members = append(d.members, member{name: v.Name, at: v.Val, kind: "value"})
		}
	default:
		return nil
	}
	d.key = fmt.Sprint(d.size, d.members)
	s.defs[d.name] = append(s.defs[d.name], d)
	return nil
}

// namesStruct: the typedef e is directly of a struct, class or union.
func namesStruct(data *dwarf.Data, e *dwarf.Entry) bool {
	off, ok := e.Val(dwarf.AttrType).(dwarf.Offset)
	if !ok {
		return false
	}
	r := data.Reader()
	r.Seek(off)
	t, err := r.Next()
	return err == nil && t != nil && (t.Tag == dwarf.TagStructType || t.Tag == dwarf.TagClassType || t.Tag == dwarf.TagUnionType)
}

// anonymousEnum is known by its first enumerator.
func anonymousEnum(t *dwarf.EnumType) string {
	if len(t.Val) == 0 {
		return "nothing"
	}
	return t.Val[0].Name
}

// enumOf is the name of the enumeration that t is, or is an array of.
func enumOf(t dwarf.Type) string {
	for {
		switch u := t.(type) {
		case *dwarf.TypedefType:
			t = u.Type
		case *dwarf.QualType:
			t = u.Type
		case *dwarf.ArrayType:
			t = u.Type
		case *dwarf.EnumType:
			return u.EnumName
		default:
			return ""
		}
	}
}

// flatten lists members, those of anonymous structs under their outer name.
func flatten(out []member, t *dwarf.StructType, prefix string, at int64, depth int) []member {
	for _, f := range t.Field {
		m := member{name: prefix + f.Name, at: at + f.ByteOffset, kind: kindOf(f.Type)}
		if f.BitSize != 0 {
			m.bit, m.len = 8*m.at+f.DataBitOffset, f.BitSize
		} else {
			m.size = f.Type.Size()
		}
		out = append(out, m)
		if depth > 8 {
			continue
		}
		inner := f.Type
		for {
			if a, ok := inner.(*dwarf.ArrayType); ok {
				inner = a.Type
				continue
			}
			break
		}
		if st, ok := inner.(*dwarf.StructType); ok && st.StructName == "" {
			p := m.name
			if p != "" {
				p += "."
			}
			out = flatten(out, st, p, m.at, depth+1)
		}
	}
	return out
}

// kindOf tells apart what must not be taken for one another in memory.
func kindOf(t dwarf.Type) string {
	for {
		switch u := t.(type) {
		case *dwarf.TypedefType:
			t = u.Type
			continue
		case *dwarf.QualType:
			t = u.Type
			continue
		case *dwarf.PtrType:
			return "pointer"
		case *dwarf.FloatType:
			return "float"
		case *dwarf.ArrayType:
			return "array of " + kindOf(u.Type)
		case *dwarf.StructType:
			return u.Kind
		}
		return "integer"
	}
}

// without are the definitions of a that b lacks.
func without(a, b []*definition) []*definition {
	var out []*definition
	for _, x := range a {
		if !slices.ContainsFunc(b, func(y *definition) bool { return y.key == x.key }) {
			out = append(out, x)
		}
	}
	return out
}

// compareTypes describes how b differs from a.
func compareTypes(a, b *definition) (Layout, bool) {
	l := Layout{Type: b.name}
	if strings.HasPrefix(b.name, "enum ") {
		l.Detail = enumDiffers(a, b)
		return l, l.Detail != ""
	}
	if a.size != b.size {
		l.Detail = fmt.Sprintf("has %d bytes instead of %d%s", b.size, a.size, memberChange(a, b))
		return l, true
	}
	if d := memberChange(a, b); d != "" {
		l.Detail = strings.TrimPrefix(d, ": ")
		return l, true
	}
	l.Padding = true
	for _, m := range b.members {
		old := find(a.members, m.name)
		switch {
		case old == nil:
			l.Detail = fmt.Sprintf("member %s is new at offset %d, where nothing was", m.name, m.at)
			if o := at(a.members, &m); o != nil {
				l.Detail = fmt.Sprintf("member %s took the place of %s", m.name, o.name)
			}
			return l, true
		case old.kind != m.kind:
			l.Detail = fmt.Sprintf("member %s is %s instead of %s", m.name, m.kind, old.kind)
			return l, true
		}
	}
	l.Detail = "members are in another order"
	return l, true
}

func find(ms []member, name string) *member {
	for i := range ms {
		if ms[i].name == name {
			return &ms[i]
		}
	}
	return nil
}

// at is the member of the same place and size.
func at(ms []member, m *member) *member {
	for i := range ms {
		o := &ms[i]
		if o.at == m.at && o.size == m.size && o.bit == m.bit && o.len == m.len {
			return o
		}
	}
	return nil
}

// memberChange names the first member that moved, changed its size or went
// away without one that took exactly its place.
func memberChange(a, b *definition) string {
	for i := range a.members {
		m := &a.members[i]
		n := find(b.members, m.name)
		switch {
		case m.name == "":
			if at(b.members, m) == nil {
				return fmt.Sprintf(": the anonymous member at offset %d changed", m.at)
			}
		case n == nil && at(b.members, m) == nil:
			return fmt.Sprintf(": member %s at offset %d is gone", m.name, m.at)
		case n == nil:
		case n.at != m.at || n.bit != m.bit:
			return fmt.Sprintf(": member %s moved from offset %s to %s", m.name, m.place(), n.place())
		case n.size != m.size || n.len != m.len:
			return fmt.Sprintf(": member %s has another size", m.name)
		}
	}
	for i := range b.members {
		n := &b.members[i]
		if find(a.members, n.name) == nil && at(a.members, n) == nil && overlaps(a.members, n) {
			return fmt.Sprintf(": member %s overlaps old members", n.name)
		}
	}
	return ""
}

func (m *member) place() string {
	if m.len > 0 {
		return fmt.Sprintf("%d bit %d", m.bit/8, m.bit%8)
	}
	return fmt.Sprint(m.at)
}

// overlaps says whether n lies on an old leaf member.
func overlaps(ms []member, n *member) bool {
	lo, hi := n.bits()
	for i := range ms {
		if ms[i].kind == "struct" || ms[i].kind == "union" || ms[i].kind == "class" {
			continue
		}
		l, h := ms[i].bits()
		if lo < h && l < hi && n.kind != "union" {
			return true
		}
	}
	return false
}

func (m *member) bits() (lo, hi int64) {
	if m.len > 0 {
		return m.bit, m.bit + m.len
	}
	return 8 * m.at, 8 * (m.at + m.size)
}

// The last enumerator often only counts the others.
var sentinel = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`(?i)(max|last|count|num|end|size|total|nb|_n)[0-9]*_*$|^(num|nb|max|n|last)_`)
})

// enumDiffers names an enumerator whose value changed. New ones are harmless.
func enumDiffers(a, b *definition) string {
	for i := range a.members {
		m := &a.members[i]
		n := find(b.members, m.name)
		if n == nil || n.at == m.at {
			continue
		}
		last := func(d *definition, v int64) bool {
			return !slices.ContainsFunc(d.members, func(o member) bool { return o.at > v })
		}
		if last(a, m.at) && last(b, n.at) && sentinel().MatchString(m.name) {
			continue
		}
		return fmt.Sprintf("%s is %d instead of %d", m.name, n.at, m.at)
	}
	return ""
}

// VTables compares the sizes of the virtual tables that symbols name: calls
// through a table with slots inserted would go astray in live objects.
func (d *Diff) VTables() []Layout {
	sizes := map[string]uint64{}
	for _, s := range d.Base.Symbols {
		if s.Type == elf.STT_OBJECT && strings.HasPrefix(s.Name, "_ZTV") {
			sizes[s.Name] = s.Size
		}
	}
	var out []Layout
	for _, s := range d.Fixed.Symbols {
		if n, ok := sizes[s.Name]; ok && n != s.Size && s.Type == elf.STT_OBJECT {
			out = append(out, Layout{Type: "virtual table " + s.Name, Detail: fmt.Sprintf("has %d bytes instead of %d", s.Size, n)})
		}
	}
	slices.SortFunc(out, func(a, b Layout) int { return cmp.Compare(a.Type, b.Type) })
	return slices.Compact(out)
}
