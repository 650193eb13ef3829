package property

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Edit changes the program in one random way and says what it did.
func (p *Program) Edit() string {
	for {
		e := pick(p, edits)
		if s := e(p); s != "" {
			return s
		}
	}
}

// EditOnly changes one slot of the kind named ("variable", "callee", ...);
// "" when the program has none, or the change would be none.
func (p *Program) EditOnly(kind string) string {
	for k, name := range kindNames {
		if name == kind {
			return p.changeSlot(k)
		}
	}
	return ""
}

// edits are the makers of edits; "" says that this program cannot have it.
// What is common in fixes is there more than once.
var edits = []func(p *Program) string{
	func(p *Program) string { return p.changeSlot(number) },
	func(p *Program) string { return p.changeSlot(number) },
	func(p *Program) string { return p.changeSlot(compare) },
	func(p *Program) string { return p.changeSlot(operator) },
	func(p *Program) string { return p.changeSlot(text) },
	func(p *Program) string { return p.changeSlot(text) },
	func(p *Program) string { return p.changeSlot(variable) },
	func(p *Program) string { return p.changeSlot(variable) },
	func(p *Program) string { return p.changeSlot(callee) },
	func(p *Program) string { return p.changeSlot(operation) },
	func(p *Program) string { return p.changeSlot(entry) },
	func(p *Program) string { return p.changeSlot(entry) },
	func(p *Program) string { return p.changeSlot(real) },
	func(p *Program) string { return p.changeSlot(attribute) },
	func(p *Program) string {
		if !p.chance(40) { // mostly leads to a review
			return ""
		}
		return p.changeSlot(initial)
	},
	(*Program).removeChunk,
	(*Program).removeChunk,
	(*Program).addCheck,
	(*Program).addCheck,
	(*Program).addStatement,
	(*Program).addStatement,
	(*Program).addNewHelper,
	(*Program).addNewHelper,
	(*Program).removeHelper,
	(*Program).addImport,
	(*Program).addVariable,
	(*Program).addVariable,
	(*Program).addCase,
	(*Program).addCase,
	(*Program).swapItems,
	(*Program).swapItems,
	(*Program).addTwinEdit,
	(*Program).removeTwin,
	(*Program).addRow,
	(*Program).shiftLines,
	(*Program).changeLayout,
}

// place is a slot: index of the item, of the chunk (-1: the item's own text,
// -2: its attributes), and where in that text.
type place struct {
	item, chunk, lo, hi int
}

func (p *Program) textAt(pl place) *string {
	it := p.items[pl.item]
	switch {
	case it.fn == nil:
		return &it.text
	case pl.chunk < 0:
		return &it.fn.attrs
	}
	return &it.fn.chunks[pl.chunk].text
}

func (p *Program) findSlots(k slotKind) (out []place) {
	for i, it := range p.items {
		last := -1
		if it.fn != nil {
			last = len(it.fn.chunks) - 1
		}
		for c := -1; c <= last; c++ {
			for _, m := range slots.FindAllStringIndex(*p.textAt(place{item: i, chunk: c}), -1) {
				if (*p.textAt(place{item: i, chunk: c}))[m[0]+1] == byte(k) {
					out = append(out, place{i, c, m[0], m[1]})
				}
			}
		}
	}
	return out
}

func (p *Program) changeSlot(k slotKind) string {
	at := p.findSlots(k)
	if len(at) == 0 {
		return ""
	}
	pl := pick(p, at)
	s := p.textAt(pl)
	was := (*s)[pl.lo+2 : pl.hi-1]
	is := p.otherValue(k, was, p.items[pl.item])
	if is == was {
		return ""
	}
	*s = (*s)[:pl.lo] + slot(k, is) + (*s)[pl.hi:]
	return fmt.Sprintf("%s of %s: %q becomes %q", kindNames[k], p.items[pl.item].name, was, is)
}

var kindNames = map[slotKind]string{
	number: "number", operator: "operator", compare: "comparison", text: "string", initial: "initial value",
	entry: "table entry", variable: "variable", callee: "callee", operation: "operation", real: "real number", attribute: "attribute",
}

func (p *Program) otherValue(k slotKind, was string, in *item) string {
	switch k {
	case number:
		if strings.HasSuffix(was, "u") {
			return fmt.Sprintf("%du", 1<<16+p.rand.IntN(1<<30))
		}
		return fmt.Sprint(2 + p.rand.IntN(99))
	case operator:
		return pick(p, operators)
	case compare:
		return pick(p, comparisons)
	case text:
		if len(was) > 2 && p.chance(50) { // one letter
			i := p.rand.IntN(len(was))
			return was[:i] + string(rune('a'+p.rand.IntN(26))) + was[i+1:]
		}
		return pick(p, words)
	case initial, entry:
		return fmt.Sprint(1 + p.rand.IntN(200))
	case variable:
		return pick(p, p.scalars)
	case callee:
		if g := p.callee(in.fn); g != nil {
			return g.name
		}
		return was
	case operation:
		return pick(p, p.opFuncs)
	case real:
		return pick(p, []string{"0.25", "0.125", "0.5", "0.3"})
	case attribute:
		return pick(p, attributes)
	}
	return was
}

// generals are the functions that take statements.
func (p *Program) generals() (out []*function) {
	for _, f := range p.calls {
		if f.general {
			out = append(out, f)
		}
	}
	return out
}

func (p *Program) insert(f *function, text string) {
	f.chunks = slices.Insert(f.chunks, p.rand.IntN(len(f.chunks)+1), chunk{text: text})
}

func (p *Program) removeChunk() string {
	f := pick(p, p.generals())
	for i, c := range f.chunks {
		if c.removable {
			f.chunks = slices.Delete(f.chunks, i, i+1)
			return fmt.Sprintf("%s loses: %s", f.name, plain(c.text))
		}
	}
	return ""
}

func (p *Program) addCheck() string {
	f := pick(p, p.generals())
	t := fmt.Sprintf("if (%s) return %s;", pick(p, []string{"a > " + p.small(), "b >= " + p.wide(), "(r & 7) == 3", p.condition()}), p.constant())
	p.insert(f, t)
	return fmt.Sprintf("%s gets: %s", f.name, plain(t))
}

func (p *Program) addStatement() string {
	f := pick(p, p.generals())
	t := p.statementText(f)
	p.insert(f, t)
	return fmt.Sprintf("%s gets: %s", f.name, plain(t))
}

func (p *Program) addNewHelper() string {
	h := p.addHelper()
	p.moveLast()
	for range 1 + p.rand.IntN(2) {
		p.insert(pick(p, p.generals()), fmt.Sprintf("r = %s(r, a);", h.name))
	}
	return "new function " + h.name
}

// moveLast puts the last item anywhere.
func (p *Program) moveLast() {
	n := len(p.items) - 1
	it := p.items[n]
	p.items = slices.Insert(p.items[:n], p.rand.IntN(n+1), it)
}

// removeItem removes a definition and replaces what matches in all others.
func (p *Program) removeItem(name, match, by string) {
	p.items = slices.DeleteFunc(p.items, func(it *item) bool { return it.name == name })
	if match == "" {
		return
	}
	re := regexp.MustCompile(match)
	for i := range p.items {
		last := -1
		if p.items[i].fn != nil {
			last = len(p.items[i].fn.chunks) - 1
		}
		for c := -1; c <= last; c++ {
			s := p.textAt(place{item: i, chunk: c})
			*s = re.ReplaceAllString(*s, by)
		}
	}
}

func (p *Program) removeHelper() string {
	if len(p.helpers) < 2 {
		return ""
	}
	i := p.rand.IntN(len(p.helpers))
	h := p.helpers[i]
	p.helpers = slices.Delete(p.helpers, i, i+1)
	p.calls = slices.DeleteFunc(p.calls, func(f *function) bool { return f.name == h })
	// A comma expression takes the place of the call.
	p.removeItem(h, "(?:\x01F|\\b)"+h+"\x03?\\(", "(uint32_t)(")
	return "function removed: " + h
}

// addImport calls a libc function that the program may not have used before.
func (p *Program) addImport() string {
	f := pick(p, p.generals())
	t := pick(p, []string{
		`r += strspn(v_text, "abcdefghijkl");`,
		`{ const char *s = strpbrk(v_text, "eiou"); if (s) r += s - v_text; }`,
		`r += toupper((int)(r % 128));`,
		`r += strcasecmp(v_text, "Alphabet") != 0;`,
		`r += atoi(v_text);`,
		`{ char *s = strdup(v_text); if (s) r += strlen(s); free(s); }`,
		`{ const char *s = getenv("HOTPATCH_NO_SUCH_VARIABLE"); r += s ? 1 : 2; }`,
		`{ char t[64]; snprintf(t, sizeof t, "%x", r); r += strtol(t, NULL, 16) != 0; }`,
		`r += memchr(v_text, 't', 20) != NULL;`,
	})
	p.insert(f, t)
	return fmt.Sprintf("%s gets: %s", f.name, t)
}

// addVariable adds a variable, of the file or of a function, and uses it.
func (p *Program) addVariable() string {
	name := p.name(StatePrefix + "fresh")
	if p.chance(40) {
		f := pick(p, p.generals())
		p.insert(f, fmt.Sprintf("{ static uint32_t %s%s; %s += r; r ^= %s; }", name, p.initialiser(), name, name))
		return fmt.Sprintf("new variable %s in %s", name, f.name)
	}
	switch p.rand.IntN(3) {
	case 0:
		decl := fmt.Sprintf("static uint32_t %s[4]", name)
		p.define(name, decl+pick(p, []string{"", " = {1, 2, 3, 4}"})+";\n", decl)
		name += "[a % 4]"
	default:
		p.addScalar(name, pick(p, integerTypes))
	}
	p.moveLast()
	for range 1 + p.rand.IntN(2) {
		p.insert(pick(p, p.generals()), fmt.Sprintf("%s += r;\n\tr ^= %s + b;", name, name))
	}
	return "new variable " + name
}

func (p *Program) addCase() string {
	var at []*string
	for i, it := range p.items {
		if it.fn == nil {
			continue
		}
		for c := range it.fn.chunks {
			if s := p.textAt(place{item: i, chunk: c}); caseMark.MatchString(*s) {
				at = append(at, s)
			}
		}
	}
	if len(at) == 0 {
		return ""
	}
	s := pick(p, at)
	m := caseMark.FindStringSubmatchIndex(*s)
	n := 0
	fmt.Sscan((*s)[m[2]:m[3]], &n)
	t := fmt.Sprintf("\tcase %d: r = r %s %s; break;\n", n, p.op(), p.constant())
	*s = (*s)[:m[0]] + t + fmt.Sprintf("\x06%d\x07", n+1) + (*s)[m[1]:]
	return "new " + strings.TrimSpace(plain(t))
}

// swapItems changes the order of two definitions: a difference without a
// meaning, but for __LINE__.
func (p *Program) swapItems() string {
	i, j := p.rand.IntN(len(p.items)), p.rand.IntN(len(p.items))
	if i == j {
		return ""
	}
	p.items[i], p.items[j] = p.items[j], p.items[i]
	return fmt.Sprintf("%s and %s change places", p.items[i].name, p.items[j].name)
}

func (p *Program) addTwinEdit() string {
	if len(p.twins) == 0 {
		return ""
	}
	old := pick(p, p.twins)
	n := len(p.items)
	word := p.addTwin()
	fresh := slices.Clone(p.items[n:])
	p.items = p.items[:n]
	// Next to its sisters, where it is hardest to tell which one is new.
	for k, prefix := range []string{StatePrefix, "get_", "set_"} {
		i := slices.IndexFunc(p.items, func(it *item) bool { return it.name == prefix+old })
		p.items = slices.Insert(p.items, i+p.rand.IntN(2), fresh[k])
	}
	p.insert(pick(p, p.generals()), fmt.Sprintf("set_%s(r);", word))
	p.insert(pick(p, p.generals()), fmt.Sprintf("r += get_%s();", word))
	return fmt.Sprintf("new twin %s next to %s", word, old)
}

func (p *Program) removeTwin() string {
	if len(p.twins) < 2 {
		return ""
	}
	i := p.rand.IntN(len(p.twins))
	word := p.twins[i]
	p.twins = slices.Delete(p.twins, i, i+1)
	p.removeItem("get_"+word, `\bget_`+word+`\(\)`, "7u")
	p.removeItem("set_"+word, `\bset_`+word+`\(`, "(uint32_t)(")
	p.removeItem(StatePrefix+word, "", "")
	return "twin removed: " + word
}

// addRow lets a table of strings or functions grow by one.
func (p *Program) addRow() string {
	o := pick(p, append(slices.Clone(p.names), p.ops...))
	if strings.HasPrefix(o.name, StatePrefix) {
		return "" // its size would change
	}
	for _, it := range p.items {
		if it.name != o.name {
			continue
		}
		grown := func(s string) string {
			return strings.Replace(s, fmt.Sprintf("%s[%d]", o.name, o.n), fmt.Sprintf("%s[%d]", o.name, o.n+1), 1)
		}
		row := p.word()
		if slices.Contains(p.ops, o) {
			row = fmt.Sprintf("{%s, %s, 5}", p.word(), slot(operation, pick(p, p.opFuncs)))
		}
		it.text = strings.Replace(grown(it.text), "};", ", "+row+"};", 1)
		it.forward = grown(it.forward)
		p.insert(pick(p, p.generals()), map[bool]string{
			false: fmt.Sprintf("r += strlen(%s[a %% %d]);", o.name, o.n+1),
			true:  fmt.Sprintf("r += %s[a %% %d].fn(r, b);", o.name, o.n+1),
		}[slices.Contains(p.ops, o)])
		for _, l := range [][]array{p.names, p.ops} {
			if i := slices.Index(l, o); i >= 0 {
				l[i].n++
			}
		}
		return "new row in " + o.name
	}
	return ""
}

func (p *Program) shiftLines() string {
	p.items = slices.Insert(p.items, p.rand.IntN(len(p.items)), &item{name: "//", text: strings.Repeat("\n", 1+p.rand.IntN(5))})
	return "lines move"
}

// changeLayout inserts a member into the struct of a live variable: such a
// hotpatch is wrong.
func (p *Program) changeLayout() string {
	if !p.chance(25) {
		return ""
	}
	t := pick(p, p.types)
	used := slices.ContainsFunc(p.items, func(it *item) bool {
		return it.fn == nil && strings.Contains(it.forward, "struct "+t.name+" ")
	})
	if !used {
		return ""
	}
	t.fields = slices.Insert(t.fields, p.rand.IntN(len(t.fields)), fmt.Sprintf("uint64_t inserted%d", len(t.fields)))
	p.Layout = true
	return "layout of struct " + t.name + " changes"
}
