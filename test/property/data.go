package property

import (
	"fmt"
	"strings"
)

var integerTypes = []string{"uint32_t", "uint32_t", "uint32_t", "uint64_t", "uint16_t", "uint8_t"}

// addTypes declares the structs that variables have.
func (p *Program) addTypes() {
	for range 1 + p.rand.IntN(2) {
		t := &structType{name: p.name("s")}
		for i := range 3 + p.rand.IntN(4) {
			f := fmt.Sprintf("f%d", i)
			t.fields = append(t.fields, pick(p, integerTypes)+" "+f)
			t.words = append(t.words, f)
		}
		t.fields = append(t.fields, "const char *label")
		p.types = append(p.types, t)
	}
}

// static is how a variable is declared: most are static.
func (p *Program) static() (definition, declaration string) {
	if p.chance(80) {
		return "static ", "static "
	}
	return "", "extern "
}

// initialiser is "" (the variable goes to .bss) or " = N".
func (p *Program) initialiser() string {
	if p.chance(50) {
		return ""
	}
	return " = " + slot(initial, 1+p.rand.IntN(200))
}

func (p *Program) addData() {
	for range 5 + p.rand.IntN(8) {
		p.addScalar(p.name(StatePrefix+"n"), pick(p, integerTypes))
	}
	for range 1 + p.rand.IntN(2) { // structs contribute their fields
		p.addStruct(pick(p, p.types))
	}
	for range 1 + p.rand.IntN(3) {
		p.addArray()
	}
	for range 2 + p.rand.IntN(2) {
		a := array{p.name("table"), pick(p, []int{4, 5, 8, 16, 33})}
		p.define(a.name, fmt.Sprintf("static const uint32_t %s[%d] = {%s};\n", a.name, a.n, p.list(a.n, func() string {
			return slot(entry, p.rand.IntN(1<<pick(p, []int{4, 8, 31})))
		})), fmt.Sprintf("static const uint32_t %s[%d]", a.name, a.n))
		p.tables = append(p.tables, a)
	}
	for range 1 + p.rand.IntN(2) {
		p.addNames()
	}
	for range 1 + p.rand.IntN(2) {
		p.addObjects()
	}
	for range 1 + p.rand.IntN(3) {
		p.addPointer()
	}
	if p.chance(60) {
		name := p.name(StatePrefix + "real")
		p.define(name, fmt.Sprintf("static double %s%s;\n", name, pick(p, []string{"", " = " + slot(initial, "2.5")})), "static double "+name)
		p.doubles = append(p.doubles, name)
	}
	if p.chance(50) {
		p.addPool()
	}
	if p.chance(50) {
		name := p.name(StatePrefix + "thread")
		p.top += "static __thread uint32_t " + name + pick(p, []string{"", " = 7"}) + ";\n"
		p.scalars = append(p.scalars, name)
	}
}

func (p *Program) list(n int, f func() string) string {
	var l []string
	for range n {
		l = append(l, f())
	}
	return strings.Join(l, ", ")
}

func (p *Program) addScalar(name, typ string) {
	def, decl := p.static()
	if p.chance(8) {
		typ = "volatile " + typ
	}
	p.define(name, fmt.Sprintf("%s%s %s%s;\n", def, typ, name, p.initialiser()), decl+typ+" "+name)
	p.scalars = append(p.scalars, name)
}

func (p *Program) addStruct(t *structType) {
	name := p.name(StatePrefix + "rec")
	def, decl := p.static()
	init := ""
	if p.chance(60) {
		init = fmt.Sprintf(" = {.%s = %s, .label = %s}", t.words[0], slot(initial, 1+p.rand.IntN(200)), p.word())
	}
	p.define(name, fmt.Sprintf("%sstruct %s %s%s;\n", def, t.name, name, init), decl+"struct "+t.name+" "+name)
	for _, w := range t.words {
		p.scalars = append(p.scalars, name+"."+w)
	}
}

func (p *Program) addArray() {
	a := array{p.name(StatePrefix + "array"), pick(p, []int{2, 4, 7, 8, 20})}
	def, decl := p.static()
	init := ""
	if p.chance(50) {
		init = " = {" + p.list(a.n, func() string { return slot(initial, 1+p.rand.IntN(500)) }) + "}"
	}
	p.define(a.name, fmt.Sprintf("%suint32_t %s[%d]%s;\n", def, a.name, a.n, init), fmt.Sprintf("%suint32_t %s[%d]", decl, a.name, a.n))
	p.arrays = append(p.arrays, a)
}

func (p *Program) addNames() {
	a := array{p.name("names"), 3 + p.rand.IntN(4)}
	typ := "static const char *const "
	if p.chance(30) {
		a.name = StatePrefix + a.name
		typ = "static const char *"
	}
	decl := fmt.Sprintf("%s%s[%d]", typ, a.name, a.n)
	p.define(a.name, fmt.Sprintf("%s = {%s};\n", decl, p.list(a.n, p.word)), decl)
	p.names = append(p.names, a)
}

// addObjects adds constant objects found by key and a sentinel, and a variable
// that keeps the address of one of them.
func (p *Program) addObjects() {
	o := p.name("objects")
	one := func(label bool) string {
		l := "0"
		if label {
			l = p.word()
		}
		return fmt.Sprintf("{%s, %s, {%s}}", slot(entry, p.rand.IntN(90)), l, p.list(3, func() string { return slot(entry, p.rand.IntN(9)) }))
	}
	label := p.chance(50) // with labels they have relocations
	decl := fmt.Sprintf("static const struct object nil_%s", o)
	p.define("nil_"+o, fmt.Sprintf("%s = %s;\n", decl, pick(p, []string{"{0}", one(false)})), decl)
	decl = fmt.Sprintf("static const struct object %s[3]", o)
	p.define(o, fmt.Sprintf("%s = {%s};\n", decl, p.list(3, func() string { return one(label) })), decl)
	decl = fmt.Sprintf("static const struct object *%slast_%s", StatePrefix, o)
	p.define(StatePrefix+"last_"+o, fmt.Sprintf("%s = &nil_%s;\n", decl, o), decl)
	p.addFunction(&function{
		name: "find_" + o, attrs: p.attrs(), sig: "const struct object *%s(uint32_t key)",
		chunks: []chunk{{text: fmt.Sprintf("for (int i = 0; i < 3; i++)\n\t\tif (%s[i].id %s key %% %s)\n\t\t\treturn &%s[i];\n\treturn &nil_%s;",
			o, p.cmp(), p.small(), o, o)}},
	})
	p.objects = append(p.objects, objects{o})
}

// addPointer adds a pointer to a variable.
func (p *Program) addPointer() {
	name := p.name(StatePrefix + "pointer")
	a := p.array()
	decl := "static uint32_t *" + name
	p.define(name, fmt.Sprintf("%s = &%s[%d];\n", decl, a.name, p.rand.IntN(a.n)), decl)
	p.pointers = append(p.pointers, name)
}

// addPool adds a linked list over a fixed number of nodes.
func (p *Program) addPool() {
	o := p.name("list")
	decl := fmt.Sprintf("static struct node %spool_%s[6]", StatePrefix, o)
	p.define(StatePrefix+"pool_"+o, decl+";\n", decl)
	decl = fmt.Sprintf("static struct node *%shead_%s", StatePrefix, o)
	p.define(StatePrefix+"head_"+o, decl+pick(p, []string{"", fmt.Sprintf(" = &%spool_%s[2]", StatePrefix, o)})+";\n", decl)
	decl = fmt.Sprintf("static uint32_t %sused_%s", StatePrefix, o)
	p.define(StatePrefix+"used_"+o, decl+";\n", decl)
	p.addFunction(&function{
		name: "push_" + o, attrs: p.attrs(), sig: "uint32_t %s(uint32_t key)",
		chunks: []chunk{{text: fmt.Sprintf(`struct node *n = &v_pool_%s[v_used_%s++ %% 6];
	n->key = key %s %s;
	if (v_head_%s != n) n->next = v_head_%s;
	v_head_%s = n;
	return n->next ? n->next->key : %s;`, o, o, p.op(), p.small(), o, o, o, p.small())}},
	})
	p.addFunction(&function{
		name: "walk_" + o, attrs: p.attrs(), sig: "uint32_t %s(void)",
		chunks: []chunk{{text: fmt.Sprintf(`uint32_t sum = %s;
	int i = 0;
	for (struct node *n = v_head_%s; n && i < 6; n = n->next, i++) sum = sum * %s + n->key;
	return sum;`, p.small(), o, p.small())}},
	})
	p.pools = append(p.pools, o)
}
