package property

import (
	"fmt"
	"strings"
)

// attrs are the linkage and attributes of a function.
func (p *Program) attrs() string {
	return slot(attribute, pick(p, attributes))
}

var attributes = []string{"static ", "static ", "static NOINLINE ", "static NOINLINE ", "", "static inline "}

// addSmallFunctions adds what general functions call: getters and setters,
// functions in tables, helpers, callbacks, cold and variadic ones.
func (p *Program) addSmallFunctions() {
	for range p.rand.IntN(3) {
		for range 2 + p.rand.IntN(3) {
			p.addTwin()
		}
	}
	for range 1 + p.rand.IntN(2) {
		p.addOps()
	}
	for range 1 + p.rand.IntN(3) {
		p.addHelper()
	}
	p.addFunction(&function{
		name: "sum", attrs: "static NOINLINE ", sig: "uint32_t %s(int n, ...)",
		chunks: []chunk{{text: fmt.Sprintf("va_list l;\n\tva_start(l, n);\n\tuint32_t s = %s;\n\twhile (n-- > 0) s = s * 3 + va_arg(l, uint32_t);\n\tva_end(l);\n\treturn s;", p.small())}},
	})
	p.addFunction(&function{
		name: "order", attrs: "static ", sig: "int %s(const void *x, const void *y)",
		chunks: []chunk{{text: fmt.Sprintf("uint32_t a = *(const uint32_t *)x %% %s, b = *(const uint32_t *)y %% 4096;\n\treturn a < b ? -1 : a > b;", slot(number, 4000))}},
	})
	p.addFunction(&function{
		name: "complain", attrs: "static __attribute__((cold, noinline)) ", sig: "uint32_t %s(const char *what, uint32_t n)",
		chunks: []chunk{{text: fmt.Sprintf("%s += n;\n\tsnprintf(v_text, sizeof v_text, \"%%s: %%u\", what, n);\n\treturn n %s %s;", p.scalar(), p.op(), p.small())}},
	})
	p.addFunction(&function{
		name: "descend", attrs: "static ", sig: "uint32_t %s(uint32_t n, uint32_t a)",
		chunks: []chunk{{text: fmt.Sprintf("if (n == 0 || n > 40) return a;\n\ta = a * %s + %s[n %% %d];\n\treturn descend(n - 1, a) ^ descend(n / 3, n);", p.small(), p.tables[0].name, p.tables[0].n)}},
		cost:   60,
	})
}

// addTwin adds a variable with a getter and a setter; all look alike.
func (p *Program) addTwin() string {
	word := p.name("twin")
	p.define(StatePrefix+word, fmt.Sprintf("static uint32_t %s%s;\n", StatePrefix, word), fmt.Sprintf("static uint32_t %s%s", StatePrefix, word))
	p.addFunction(&function{name: "get_" + word, attrs: "static NOINLINE ", sig: "uint32_t %s(void)",
		chunks: []chunk{{text: fmt.Sprintf("return %s%s;", StatePrefix, word)}}})
	p.addFunction(&function{name: "set_" + word, attrs: "static NOINLINE ", sig: "uint32_t %s(uint32_t n)",
		chunks: []chunk{{text: fmt.Sprintf("return %s%s = n;", StatePrefix, word)}}})
	p.twins = append(p.twins, word)
	return word
}

func (p *Program) addOps() {
	o := array{p.name("ops"), 3 + p.rand.IntN(4)}
	var rows []string
	for range o.n {
		f := &function{name: p.name("op"), attrs: "static ", sig: "uint32_t %s(uint32_t a, uint32_t b)", cost: 2}
		f.chunks = []chunk{{text: fmt.Sprintf("return a * %s %s (b + %s);", p.wide(), p.op(), p.small())}}
		if p.chance(40) {
			f.chunks = append([]chunk{{text: fmt.Sprintf("%s += a;", p.scalar()), removable: true}}, f.chunks...)
		}
		p.opFuncs = append(p.opFuncs, f.name)
		p.addFunction(f)
		rows = append(rows, fmt.Sprintf("{%s, %s, %s}", p.word(), slot(operation, f.name), slot(entry, p.rand.IntN(50))))
	}
	decl := fmt.Sprintf("static const struct op %s[%d]", o.name, o.n)
	if p.chance(25) {
		o.name = StatePrefix + o.name
		decl = fmt.Sprintf("static struct op %s[%d]", o.name, o.n)
	}
	p.define(o.name, fmt.Sprintf("%s = {%s};\n", decl, strings.Join(rows, ", ")), decl)
	p.ops = append(p.ops, o)
	if p.chance(60) {
		name := p.name(StatePrefix + "target")
		init := pick(p, []string{"", " = " + p.opFuncs[0]})
		p.define(name, fmt.Sprintf("static fn_t %s%s;\n", name, init), "static fn_t "+name)
		p.targets = append(p.targets, name)
	}
}

// addHelper adds a small function that general ones may call.
func (p *Program) addHelper() *function {
	f := &function{name: p.name("helper"), attrs: p.attrs(), sig: "uint32_t %s(uint32_t a, uint32_t b)", cost: 1}
	f.chunks = []chunk{
		{text: fmt.Sprintf("if (a %s %s) return b %s %s;", p.cmp(), p.constant(), p.op(), p.small())},
		{text: fmt.Sprintf("return (a %s b) %s %s;", p.op(), p.op(), p.constant())},
	}
	p.calls = append(p.calls, f)
	p.helpers = append(p.helpers, f.name)
	p.addFunction(f)
	return f
}

// addGeneral adds a function of random statements.
func (p *Program) addGeneral() {
	f := &function{name: p.name("f"), attrs: p.attrs(), sig: "uint32_t %s(uint32_t a, uint32_t b)", general: true, rank: p.count, cost: 10}
	if p.chance(30) {
		f.attrs = slot(attribute, "")
	}
	for range 3 + p.rand.IntN(6) {
		f.chunks = append(f.chunks, p.statement(f))
	}
	p.calls = append(p.calls, f)
	p.addFunction(f)
}

// callee picks what f may call: cheap, and never back up.
func (p *Program) callee(f *function) *function {
	var from []*function
	for _, g := range p.calls {
		if g.rank < f.rank && g.cost <= 300 && f.cost+g.cost < 3000 {
			from = append(from, g)
		}
	}
	if len(from) == 0 {
		return nil
	}
	return pick(p, from)
}

func (p *Program) call(f *function) string {
	g := p.callee(f)
	if g == nil {
		return fmt.Sprintf("(a %s b)", p.op())
	}
	f.cost += g.cost
	return fmt.Sprintf("%s(r %s %s, b)", slot(callee, g.name), p.op(), p.small())
}

// statement makes one statement of a general function.
func (p *Program) statement(f *function) chunk {
	t := p.statementText(f)
	return chunk{t, p.chance(50) && !strings.Contains(t, "static")}
}

func (p *Program) statementText(f *function) string {
	for {
		if t := pick(p, statements)(p, f); t != "" {
			return t
		}
	}
}

// condition is cheap and often true.
func (p *Program) condition() string {
	return fmt.Sprintf("%s %% %s %s %s", pick(p, []string{"a", "b", "r", "(a + b)"}), slot(number, 2+p.rand.IntN(9)), p.cmp(), slot(number, 1+p.rand.IntN(4)))
}

// statements are the makers of statements; "" says not in this program.
var statements = []func(p *Program, f *function) string{
	func(p *Program, f *function) string {
		return fmt.Sprintf("r = (r %s %s) %s b;", p.op(), p.constant(), p.op())
	},
	func(p *Program, f *function) string {
		return fmt.Sprintf("if (%s) r += %s;", p.condition(), p.scalar())
	},
	func(p *Program, f *function) string {
		return fmt.Sprintf("if (a > %s) return %s;", p.wide(), p.constant())
	},
	func(p *Program, f *function) string {
		return fmt.Sprintf("%s += r %s %s;", p.scalar(), p.op(), p.small())
	},
	func(p *Program, f *function) string {
		return fmt.Sprintf("%s = %s;\n\tr ^= %s;", p.scalar(), pick(p, []string{"a", "b", "r", "r >> 3"}), p.scalar())
	},
	func(p *Program, f *function) string {
		x, y := p.array(), p.array()
		return fmt.Sprintf("%s[r %% %d] += a;\n\tr ^= %s[b %% %d];", x.name, x.n, y.name, y.n)
	},
	func(p *Program, f *function) string {
		x := p.array()
		return fmt.Sprintf("for (int i = 0; i < %d; i++) %s[i] = %s[i] %s %s;", x.n, x.name, x.name, p.op(), p.constant())
	},
	func(p *Program, f *function) string {
		x := p.array()
		return fmt.Sprintf("for (uint32_t i = 0; i < %s %% 16; i++) r = r * %s + %s[i %% %d];", p.small(), p.small(), x.name, x.n)
	},
	func(p *Program, f *function) string {
		t := pick(p, p.tables)
		return fmt.Sprintf("r += %s[(a + r) %% %d];", t.name, t.n)
	},
	func(p *Program, f *function) string {
		return fmt.Sprintf("r %s= %s;", pick(p, []string{"+", "^", "-"}), p.call(f))
	},
	func(p *Program, f *function) string {
		return fmt.Sprintf("if (%s) r += %s;", p.condition(), p.call(f))
	},
	func(p *Program, f *function) string {
		return fmt.Sprintf("snprintf(v_text, sizeof v_text, \"%s %%u %%s\", r, %s);", slot(text, pick(p, words)), p.word())
	},
	func(p *Program, f *function) string {
		return fmt.Sprintf("if (%s) strcpy(v_text, %s);", p.condition(), p.word())
	},
	func(p *Program, f *function) string {
		n := pick(p, p.names)
		return fmt.Sprintf("r += strlen(%s[a %% %d]);", n.name, n.n)
	},
	func(p *Program, f *function) string {
		n := pick(p, p.names)
		return fmt.Sprintf("{ const char *s = %s[r %% %d], *c = strchr(s, '%c'); if (c) r += c - s; }", n.name, n.n, 'a'+rune(p.rand.IntN(20)))
	},
	func(p *Program, f *function) string {
		n := pick(p, p.names)
		return fmt.Sprintf("if (!strcmp(%s[a %% %d], %s)) r += %s;", n.name, n.n, p.word(), p.small())
	},
	func(p *Program, f *function) string {
		o := pick(p, p.ops)
		return fmt.Sprintf("r = %s[a %% %d].fn(r, b) + %s[b %% %d].weight;", o.name, o.n, o.name, o.n)
	},
	func(p *Program, f *function) string {
		o := pick(p, p.ops)
		return fmt.Sprintf("for (int i = 0; i < %d; i++)\n\t\tif (%s[i].name[0] == \"%s\"[a %% 6]) r += %s[i].fn(a, r);", o.n, o.name, "aeiolm", o.name)
	},
	func(p *Program, f *function) string {
		if len(p.targets) == 0 {
			return ""
		}
		t, o := pick(p, p.targets), pick(p, p.ops)
		return fmt.Sprintf("if (%s) %s = %s[r %% %d].fn;\n\tif (%s) r = %s(r, a);\n\tif (%s == %s) r += %s;",
			p.condition(), t, o.name, o.n, t, t, t, slot(operation, pick(p, p.opFuncs)), p.small())
	},
	func(p *Program, f *function) string {
		if len(p.targets) == 0 {
			return ""
		}
		return fmt.Sprintf("if (%s) %s = %s;", p.condition(), pick(p, p.targets), slot(operation, pick(p, p.opFuncs)))
	},
	func(p *Program, f *function) string {
		o := pick(p, p.objects).name
		return fmt.Sprintf("if (%s) v_last_%s = find_%s(a);\n\tif (v_last_%s == &nil_%s) r += %s;\n\telse r ^= v_last_%s->id + v_last_%s->more[a %% 3];", p.condition(), o, o, o, o, p.small(), o, o)
	},
	func(p *Program, f *function) string {
		o := pick(p, p.objects).name
		return fmt.Sprintf("if (find_%s(r) == %s) %s += %s;", o, pick(p, []string{"&nil_" + o, "&" + o + "[1]", "v_last_" + o}), p.scalar(), p.small())
	},
	func(p *Program, f *function) string { return p.switchText(f) },
	func(p *Program, f *function) string { return p.switchText(f) },
	func(p *Program, f *function) string {
		var l []string
		for range 5 + p.rand.IntN(4) {
			l = append(l, p.word())
		}
		var b strings.Builder
		b.WriteString("{ const char *s;\n\tswitch (r % 11) {\n")
		for i, w := range l {
			fmt.Fprintf(&b, "\tcase %d: s = %s; break;\n", i, w)
		}
		fmt.Fprintf(&b, "\tdefault: s = %s;\n\t}\n\tr += strlen(s);\n\tif (%s) snprintf(v_text, sizeof v_text, \"%%s\", s); }", p.word(), p.condition())
		return b.String()
	},
	func(p *Program, f *function) string {
		if len(p.pools) == 0 {
			return ""
		}
		o := pick(p, p.pools)
		return fmt.Sprintf("if (%s) r += push_%s(a);\n\telse r += walk_%s();", p.condition(), o, o)
	},
	func(p *Program, f *function) string {
		if len(p.doubles) == 0 {
			return ""
		}
		d := pick(p, p.doubles)
		return fmt.Sprintf("%s = %s * %s + (double)(a %% 1000) * %s;\n\tr += (uint32_t)(int64_t)%s;", d, d, slot(real, "0.5"), slot(real, pick(p, []string{"1.25", "3.5", "0.75"})), d)
	},
	func(p *Program, f *function) string {
		return fmt.Sprintf("r = sum(%d, a, r, %s, b);", 2+p.rand.IntN(3), p.constant())
	},
	func(p *Program, f *function) string {
		a := p.array()
		if a.n < 4 {
			return ""
		}
		return fmt.Sprintf("{ uint32_t tmp[4];\n\tmemcpy(tmp, %s, sizeof tmp);\n\tqsort(tmp, 4, sizeof *tmp, order);\n\tr += tmp[a %% 4]; }", a.name)
	},
	func(p *Program, f *function) string {
		return fmt.Sprintf("if (unlikely(%s)) r = complain(%s, r);", p.condition(), p.word())
	},
	func(p *Program, f *function) string {
		return fmt.Sprintf("if (unlikely(a > 100000)) { %s++; r ^= complain(%s, a) + %s; }", p.scalar(), p.word(), p.small())
	},
	func(p *Program, f *function) string {
		if len(p.twins) == 0 {
			return ""
		}
		return fmt.Sprintf("set_%s(r %s %s);\n\tr += get_%s();", pick(p, p.twins), p.op(), p.small(), pick(p, p.twins))
	},
	func(p *Program, f *function) string {
		if len(p.twins) == 0 {
			return ""
		}
		return fmt.Sprintf("if (%s) r += get_%s();", p.condition(), pick(p, p.twins))
	},
	func(p *Program, f *function) string {
		name := p.name(StatePrefix + "local")
		return fmt.Sprintf("{ static uint32_t %s%s; %s += a; r += %s; }", name, p.initialiser(), name, name)
	},
	func(p *Program, f *function) string {
		x, y := pick(p, p.pointers), p.array()
		return fmt.Sprintf("if (%s) %s = &%s[a %% %d];\n\t*%s += %s;\n\tr ^= *%s;", p.condition(), x, y.name, y.n, x, p.small(), pick(p, p.pointers))
	},
	func(p *Program, f *function) string {
		x, y := pick(p, p.pointers), p.array()
		return fmt.Sprintf("if (%s == &%s[%d]) r += %s;", x, y.name, p.rand.IntN(y.n), p.small())
	},
	func(p *Program, f *function) string {
		return fmt.Sprintf("{ char text[40]; strncpy(text, v_text, sizeof text - 1); text[39] = 0; r += strlen(text) %s %s; }", p.op(), p.small())
	},
	func(p *Program, f *function) string {
		return fmt.Sprintf("{ const uint32_t fixed[] = {%s}; r += fixed[(a ^ b) %% 6]; }", p.list(6, p.constant))
	},
	func(p *Program, f *function) string {
		return fmt.Sprintf("r = (uint32_t)(((uint64_t)r * %s) >> 13);", p.wide())
	},
	func(p *Program, f *function) string {
		return fmt.Sprintf("r = r / %s + r %% %s;", p.small(), p.small())
	},
	func(p *Program, f *function) string {
		return fmt.Sprintf("r += descend(a %% %s %% 24, b);", p.small())
	},
	func(p *Program, f *function) string { // where the file was left: moves with lines
		return fmt.Sprintf("if (%s) %s = __LINE__;", p.condition(), p.scalar())
	},
	func(p *Program, f *function) string {
		return fmt.Sprintf("if (r == 77) { fputs(%s, stderr); fflush(stdout); }", p.word())
	},
	func(p *Program, f *function) string {
		return "errno = 0;\n\tr += strtoul(v_text, NULL, 16) + errno;"
	},
	func(p *Program, f *function) string {
		o := pick(p, p.ops)
		if !strings.HasPrefix(o.name, StatePrefix) {
			return ""
		}
		return fmt.Sprintf("if (%s) { struct op t = %s[a %% %d]; %s[a %% %d] = %s[b %% %d]; %s[b %% %d] = t; }",
			p.condition(), o.name, o.n, o.name, o.n, o.name, o.n, o.name, o.n)
	},
}

// switchText is a switch that is large enough for a jump table.
func (p *Program) switchText(f *function) string {
	var b strings.Builder
	n := 5 + p.rand.IntN(5)
	fmt.Fprintf(&b, "switch (%s %% 13) {\n", pick(p, []string{"a", "b", "r"}))
	for i := range n {
		body := ""
		switch p.rand.IntN(6) {
		case 0:
			body = fmt.Sprintf("r %s= %s;", pick(p, []string{"+", "^"}), p.call(f))
		case 1:
			body = fmt.Sprintf("%s += r;", p.scalar())
		case 2:
			body = fmt.Sprintf("strcpy(v_text, %s);", p.word())
		case 3:
			body = fmt.Sprintf("return r %s %s;", p.op(), p.scalar())
		default:
			body = fmt.Sprintf("r = r %s %s;", p.op(), p.constant())
		}
		fmt.Fprintf(&b, "\tcase %d: %s break;\n", i, body)
	}
	fmt.Fprintf(&b, "\x06%d\x07\t}", n)
	return b.String()
}
