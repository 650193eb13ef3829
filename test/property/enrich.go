package property

import "fmt"

// Enrich adds to a generated program what security fixes are about: functions
// that allocate and clean up, look something up that may not be there, take a
// lock, report, and walk tables of limits. Programs without it are those of
// older seeds.
func (p *Program) Enrich() {
	p.more = "#include <pthread.h>\nstruct limit { uint32_t from, to; const char *what; };\n" +
		"static void report(const char *format, ...) __attribute__((format(printf, 1, 2)));\n"
	p.define(StatePrefix+"reported", "static uint32_t v_reported;\n", "static uint32_t v_reported")
	p.addFunction(&function{
		name: "report", attrs: "static NOINLINE ", sig: "void %s(const char *format, ...)",
		chunks: []chunk{{text: "va_list l;\n\tva_start(l, format);\n\tvsnprintf(v_text, sizeof v_text, format, l);\n\tva_end(l);\n\tv_reported++;"}},
	})
	p.moveLast()
	for _, add := range []func(*Program) *function{(*Program).addLoader, (*Program).addLookup, (*Program).addLocked, (*Program).addWalk, (*Program).addMutual, (*Program).addInterpreter, (*Program).addSet} {
		if !p.chance(60) {
			continue
		}
		f := add(p)
		p.moveLast()
		p.flat = append(p.flat, f)
		for range 1 + p.rand.IntN(2) {
			p.insert(pick(p, p.generals()), fmt.Sprintf("if (%s) r += %s(r, b);", p.condition(), f.name))
		}
	}
}

// leaf is a function that calls no general one. Its first chunk declares what
// the others use; between the two last ones nothing may come.
func (p *Program) leaf(prefix string, chunks ...string) *function {
	f := &function{name: p.name(prefix), attrs: p.attrs(), sig: "uint32_t %s(uint32_t a, uint32_t b)", cost: 40}
	for _, c := range chunks {
		f.chunks = append(f.chunks, chunk{text: c})
	}
	p.addFunction(f)
	return f
}

// addLoader: memory that an error on the way must not leak.
func (p *Program) addLoader() *function {
	f := p.leaf("load",
		fmt.Sprintf("char *name = NULL;\n\tuint32_t *items = NULL, n = a %% %s + 1, r = b;", slot(number, 2+p.rand.IntN(15))),
		fmt.Sprintf("name = malloc(n + 12);\n\tif (!name) goto out;\n\tsnprintf(name, n + 12, \"%%s-%%u\", %s, b);", p.word()),
		"items = calloc(n, sizeof *items);\n\tif (!items) goto out;",
		fmt.Sprintf("for (uint32_t i = 0; i < n; i++) items[i] = a * %s + i;", p.small()),
		fmt.Sprintf("if (items[n / 2] %% 7 == 3) { r = %s; goto out; }", p.small()),
		fmt.Sprintf("r += items[n - 1] + strlen(name);\n\t%s += n;", p.scalar()),
		"r ^= n;",
		"out:\n\tfree(items);\n\tfree(name);\n\treturn r;")
	p.loaders = append(p.loaders, f)
	return f
}

// addLookup: something that may be missing, with a check that may come late.
func (p *Program) addLookup() *function {
	o := pick(p, p.objects).name
	f := p.leaf("peek",
		fmt.Sprintf("const struct object *o = a %% %s ? find_%s(b) : NULL;\n\tuint32_t r = a;", slot(number, 3+p.rand.IntN(5)), o),
		fmt.Sprintf("%s += b %% 3;", p.scalar()),
		fmt.Sprintf("if (!o) return %s;", p.small()),
		fmt.Sprintf("r += o->id %s o->more[b %% 3];", p.op()),
		"return r;")
	p.lookups = append(p.lookups, f)
	return f
}

func (p *Program) newLock() string {
	name := p.name(StatePrefix + "lock")
	p.define(name, fmt.Sprintf("static pthread_mutex_t %s = PTHREAD_MUTEX_INITIALIZER;\n", name), "static pthread_mutex_t "+name)
	p.locks = append(p.locks, name)
	return name
}

func (p *Program) addLocked() *function {
	lock, shared := p.newLock(), p.name(StatePrefix+"shared")
	p.addScalar(shared, "uint64_t")
	return p.leaf("bump",
		"uint32_t r = a;",
		fmt.Sprintf("pthread_mutex_lock(&%s);\n\t%s += a %s b;\n\tr ^= %s;\n\tpthread_mutex_unlock(&%s);", lock, shared, p.op(), shared, lock),
		"return r;")
}

// addWalk: a table that a pointer walks to its end.
func (p *Program) addWalk() *function {
	a := array{p.name("limits"), 3 + p.rand.IntN(3)}
	what := func() string { return "0" }
	if p.chance(60) { // with text it has relocations
		what = p.word
	}
	decl := fmt.Sprintf("static const struct limit %s[%d]", a.name, a.n)
	p.define(a.name, fmt.Sprintf("%s = {%s};\n", decl, p.list(a.n, func() string {
		return fmt.Sprintf("{%s, %s, %s}", slot(entry, p.rand.IntN(40)), slot(entry, 20+p.rand.IntN(90)), what())
	})), decl)
	return p.leaf("within",
		"uint32_t r = b;",
		fmt.Sprintf("for (const struct limit *l = %s; l %s %s + %d; l++)\n\t\tif (a %% 128 >= l->from && b %% 128 <= l->to) r += %s(r, l->to);",
			a.name, pick(p, []string{"<", "!="}), a.name, a.n, pick(p, p.opFuncs)),
		"return r;")
}

// addMutual: two functions that call each other.
func (p *Program) addMutual() *function {
	odd := p.name("odd")
	even := p.leaf("even",
		"uint32_t r = b;",
		fmt.Sprintf("if (a %% 64 == 0) return %s;", p.small()),
		fmt.Sprintf("r = %s(a %% 64 - 1, b %s %s);", odd, p.op(), p.small()),
		"return r;")
	p.addFunction(&function{name: odd, attrs: "static ", sig: "uint32_t %s(uint32_t a, uint32_t b)", cost: 40,
		chunks: []chunk{{text: fmt.Sprintf("return a %% 64 == 0 ? %s : %s(a %% 64 - 1, b) + 1;", p.small(), even.name)}}})
	return even
}

// addInterpreter: code that jumps through a table of places in itself.
func (p *Program) addInterpreter() *function {
	const next = "goto *places[++n > 12 ? 3 : a % 4];"
	return p.leaf("interpret",
		"uint32_t r = b, n = 0;",
		fmt.Sprintf(`static const void *const places[] = {&&plus, &&times, &&minus, &&stop};
	goto *places[a %% 4];
plus:	r += %s; a >>= 2; %s
times:	r *= %s; a >>= 1; %s
minus:	r = ~r ^ %s; a = a * 5 + 1; %s
stop:	r ^= n;`, p.constant(), next, p.small(), next, p.wide(), next),
		"return r;")
}

// addSet: constants that the linker gathers, gone over from start to end.
func (p *Program) addSet() *function {
	s := set{name: p.name("set"), text: p.chance(50)}
	p.more += fmt.Sprintf("extern const struct limit __start_%s[], __stop_%s[];\n", s.name, s.name)
	for range 2 + p.rand.IntN(3) {
		p.addElement(s)
	}
	p.sets = append(p.sets, s)
	return p.leaf("gather",
		"uint32_t r = b;",
		fmt.Sprintf("for (const struct limit *l = __start_%s; l < __stop_%s; l++)\n\t\tif (a %% 64 >= l->from) r = r * 3 + l->to + (l->what ? l->what[0] : 0);", s.name, s.name),
		"return r;")
}

// addElement adds one to a linker set.
func (p *Program) addElement(s set) string {
	name, what := p.name("element"), "0"
	if s.text {
		what = p.word()
	}
	decl := fmt.Sprintf("static const struct limit %s __attribute__((section(\"%s\"), used, aligned(16)))", name, s.name)
	p.define(name, fmt.Sprintf("%s = {%s, %s, %s};\n", decl, slot(entry, p.rand.IntN(60)), slot(entry, p.rand.IntN(90)), what), "")
	p.moveLast()
	return name
}
