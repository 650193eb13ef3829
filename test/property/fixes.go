package property

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Fix changes the program as security fixes do, and says what it did.
func (p *Program) Fix() string {
	for {
		if s := pick(p, fixes)(p); s != "" {
			return s
		}
	}
}

// fixes are the makers of what security fixes do beyond edits; "" says that
// this program cannot have it.
var fixes = []func(p *Program) string{
	(*Program).addEarlyReturn,
	(*Program).addEarlyReturn,
	(*Program).addBoundsCheck,
	(*Program).addBoundsCheck,
	(*Program).changeLoopBound,
	(*Program).addValidator,
	(*Program).moveCheck,
	(*Program).moveStatement,
	(*Program).addLock,
	(*Program).addParameter,
	(*Program).addParameter,
	(*Program).addReport,
	(*Program).addConstants,
	(*Program).changeInlining,
	(*Program).limitRecursion,
	(*Program).wrapOperation,
	(*Program).addCleanupPath,
	(*Program).addCleanupPath,
	(*Program).boundCopies,
	(*Program).addOverflowCheck,
	(*Program).addAssertion,
	(*Program).clearSecret,
	(*Program).splitFunction,
	(*Program).wrapFunction,
	(*Program).addComparator,
	(*Program).addSwitch,
	(*Program).useThreadLocal,
	(*Program).removeLock,
	(*Program).growSet,
}

// any is a function whose parameters are a and b.
func (p *Program) any() *function {
	return pick(p, append(p.generals(), p.flat...))
}

// put puts a text behind the first chunk of f, which may declare something, and
// before the last one, which may be where f leads out.
func (p *Program) put(f *function, text string) {
	if f.general || len(f.chunks) < 2 {
		p.insert(f, text)
		return
	}
	f.chunks = slices.Insert(f.chunks, 1+p.rand.IntN(len(f.chunks)-1), chunk{text: text})
}

func (p *Program) message() string {
	return pick(p, []string{"bad length %u in request", "%u is too large", "unexpected item %u", "refused: %u", "out of range: %u", "limit exceeded (%u)"})
}

func (p *Program) addEarlyReturn() string {
	f := p.any()
	done := pick(p, []string{"", fmt.Sprintf("%s = 0; ", p.scalar()), "errno = EINVAL; "})
	t := fmt.Sprintf("if (%s) { report(\"%s\", a); %sreturn %s; }",
		pick(p, []string{"a > " + p.wide(), "b % 16 == 3", "a == b", p.condition(), "(int32_t)b < 0"}), p.message(), done, pick(p, []string{"0", "~0u", p.small()}))
	first := 1 // behind what it declares
	if f.general {
		first = 0
	}
	f.chunks = slices.Insert(f.chunks, first, chunk{text: t})
	return fmt.Sprintf("%s starts with: %s", f.name, plain(t))
}

func (p *Program) addBoundsCheck() string {
	f := p.any()
	x := p.array()
	if slices.Contains(p.loaders, f) {
		return "" // it would leak
	}
	t := fmt.Sprintf("if (b %% 32 >= %d) {\n\t\tsnprintf(v_text, sizeof v_text, \"index %%u of %%s is beyond %%d\", b %% 32, %s, %d);\n\t\treturn %s;\n\t}\n\tr += %s[b %% 32];",
		x.n, p.word(), x.n, p.small(), x.name)
	p.put(f, t)
	return fmt.Sprintf("%s gets: %s", f.name, plain(t))
}

var loopBound = regexp.MustCompile(`\bi < ([0-9]+)(;| &&)`)

func (p *Program) changeLoopBound() string {
	var at []*string
	for i, it := range p.items {
		if it.fn == nil {
			continue
		}
		for c := range it.fn.chunks {
			if s := p.textAt(place{item: i, chunk: c}); loopBound.MatchString(*s) {
				at = append(at, s)
			}
		}
	}
	if len(at) == 0 {
		return ""
	}
	s := pick(p, at)
	m := loopBound.FindStringSubmatchIndex(*s)
	n := 0
	fmt.Sscan((*s)[m[2]:m[3]], &n)
	if n < 2 {
		return ""
	}
	is := fmt.Sprint(1 + p.rand.IntN(n-1))
	*s = (*s)[:m[2]] + is + (*s)[m[3]:]
	return fmt.Sprintf("a loop runs to %s, not %d: %s", is, n, plain(*s))
}

// addValidator adds a function with a table of its own, and calls of it.
func (p *Program) addValidator() string {
	name, table := p.name("valid"), p.name("allowed")
	list := fmt.Sprintf("static const uint8_t %s[16] = {%s};", table, p.list(16, func() string { return fmt.Sprint(p.rand.IntN(9)) }))
	inside := ""
	if p.chance(50) {
		inside = list + "\n\t"
	} else {
		p.define(table, list+"\n", fmt.Sprintf("static const uint8_t %s[16]", table))
		p.moveLast()
	}
	p.addFunction(&function{name: name, attrs: pick(p, []string{"static ", "static NOINLINE ", "static inline ", ""}), sig: "int %s(const char *s, uint32_t n)",
		chunks: []chunk{{text: fmt.Sprintf("%sfor (; *s; s++)\n\t\tif (%s[(unsigned char)*s %% 16] > n %% 8) return 0;\n\treturn 1;", inside, table)}}})
	p.moveLast()
	var in []string
	for range 1 + p.rand.IntN(2) {
		f := p.any()
		p.put(f, fmt.Sprintf("if (!%s(v_text, a)) { report(\"%s\", b); r ^= %s; }", name, p.message(), p.small()))
		in = append(in, f.name)
	}
	return fmt.Sprintf("new function %s for %s", name, strings.Join(in, ", "))
}

// moveCheck moves the check for what is missing before or behind what does not
// need it.
func (p *Program) moveCheck() string {
	if len(p.lookups) == 0 {
		return ""
	}
	f := pick(p, p.lookups)
	i := slices.IndexFunc(f.chunks, func(c chunk) bool { return strings.HasPrefix(c.text, "if (!o)") })
	if i < 1 || strings.Contains(f.chunks[i-1].text, "o = ") {
		return ""
	}
	f.chunks[i-1], f.chunks[i] = f.chunks[i], f.chunks[i-1]
	return "the check in " + f.name + " comes earlier"
}

func (p *Program) moveStatement() string {
	f := pick(p, p.generals())
	if len(f.chunks) < 2 {
		return ""
	}
	i := p.rand.IntN(len(f.chunks) - 1)
	f.chunks[i], f.chunks[i+1] = f.chunks[i+1], f.chunks[i]
	return fmt.Sprintf("statements %d and %d of %s change places", i, i+1, f.name)
}

func confined(text string) bool {
	for _, w := range []string{"return", "goto", "static", "out:", "pthread"} {
		if strings.Contains(text, w) {
			return false
		}
	}
	return true
}

var calls = regexp.MustCompile(`\(r|\bpart`)

func (p *Program) addLock() string {
	f := pick(p, p.generals())
	var at []int
	for i, c := range f.chunks {
		if confined(c.text) && !calls.MatchString(c.text) { // which may take the lock
			at = append(at, i)
		}
	}
	if len(at) == 0 {
		return ""
	}
	lock := ""
	if len(p.locks) > 0 && p.chance(80) {
		lock = pick(p, p.locks)
	} else {
		lock = p.newLock()
		p.moveLast()
	}
	i := pick(p, at)
	f.chunks[i].text = fmt.Sprintf("pthread_mutex_lock(&%s);\n\t%s\n\tpthread_mutex_unlock(&%s);", lock, f.chunks[i].text, lock)
	return fmt.Sprintf("%s takes %s for: %s", f.name, lock, plain(f.chunks[i].text))
}

func (p *Program) removeLock() string {
	for _, f := range p.generals() {
		for i, c := range f.chunks {
			if strings.HasPrefix(c.text, "pthread_mutex_lock") && p.chance(50) {
				lines := strings.Split(c.text, "\n")
				f.chunks[i].text = strings.Join(lines[1:len(lines)-1], "\n")
				return "a lock goes in " + f.name
			}
		}
	}
	return ""
}

// addParameter gives a function one more parameter, first or last, and all its
// calls one more argument.
func (p *Program) addParameter() string {
	if len(p.helpers) == 0 {
		return ""
	}
	i := p.rand.IntN(len(p.helpers))
	h := p.helpers[i]
	k := slices.IndexFunc(p.calls, func(f *function) bool { return f.name == h })
	f := p.calls[k]
	first := p.chance(50)
	f.sig = "uint32_t %s(uint32_t a, uint32_t b, uint32_t limit)"
	if first {
		f.sig = "uint32_t %s(uint32_t limit, uint32_t a, uint32_t b)"
	}
	// It is no longer called as others are.
	p.helpers, p.calls = slices.Delete(p.helpers, i, i+1), slices.Delete(p.calls, k, k+1)
	f.chunks = slices.Insert(f.chunks, 0, chunk{text: fmt.Sprintf("if (a > limit) return b %s limit;", p.op())})
	call := regexp.MustCompile("(?:\x01F|\\b)" + h + "\x03?\\(")
	for j := range p.items {
		last := -1
		if p.items[j].fn != nil {
			last = len(p.items[j].fn.chunks) - 1
		}
		for c := -1; c <= last; c++ {
			s := p.textAt(place{item: j, chunk: c})
			from := 0
			for {
				m := call.FindStringIndex((*s)[from:])
				if m == nil {
					break
				}
				lo, open := from+m[0], from+m[1]
				limit := slot(number, fmt.Sprintf("%du", 1<<20+p.rand.IntN(1<<30)))
				close := closing(*s, open)
				if first {
					*s = (*s)[:lo] + h + "(" + limit + ", " + (*s)[open:]
				} else {
					*s = (*s)[:lo] + h + "(" + (*s)[open:close] + ", " + limit + (*s)[close:]
				}
				from = lo + len(h) + 1
			}
		}
	}
	return fmt.Sprintf("%s gets a parameter (first: %v)", h, first)
}

// closing is where the parenthesis closes that was opened before s[at:].
func closing(s string, at int) int {
	for depth := 1; at < len(s); at++ {
		switch s[at] {
		case '(':
			depth++
		case ')':
			if depth--; depth == 0 {
				return at
			}
		}
	}
	return at
}

func (p *Program) addReport() string {
	f := p.any()
	t := fmt.Sprintf("if (%s) report(%s, %s, r, a);", p.condition(),
		pick(p, []string{`"%s: %u of %u"`, `"warning: %s (%u, %u)"`, `"%.20s/%x/%x"`}), p.word())
	p.put(f, t)
	return fmt.Sprintf("%s gets: %s", f.name, plain(t))
}

func (p *Program) addConstants() string {
	f := p.any()
	name := p.name("fresh")
	t := pick(p, []string{
		fmt.Sprintf("{ static const char *const %s[] = {%s}; r += strlen(%s[a %% 3]); }", name, p.list(3, p.word), name),
		fmt.Sprintf("{ static const struct { uint32_t k, v; } %s[] = {{1, %s}, {4, %s}, {6, 3}, {7, %s}};\n\tfor (unsigned j = 0; j < 4; j++) if (%s[j].k == a %% 9) r += %s[j].v; }",
			name, p.small(), p.wide(), p.small(), name, name),
		fmt.Sprintf("{ static const struct { const char *s; fn_t fn; } %s[] = {{%s, %s}, {%s, %s}, {%s, NULL}};\n\tfor (int j = 0; %s[j].fn; j++) if (%s[j].s[0] == 'a' + a %% 20) r = %s[j].fn(r, b); }",
			name, p.word(), pick(p, p.opFuncs), p.word(), pick(p, p.opFuncs), p.word(), name, name, name),
		fmt.Sprintf("{ static const double %s[] = {0.5, 1.25, 3.0}; r += (uint32_t)(%s[a %% 3] * (b %% 100)); }", name, name),
		fmt.Sprintf("{ static const char %s[] = \"0123456789abcdef\"; v_text[0] = %s[a %% 16]; if (!v_text[1]) v_text[1] = %s[b %% 16], v_text[2] = 0; }", name, name, name),
	})
	p.put(f, t)
	return fmt.Sprintf("%s gets: %s", f.name, plain(t))
}

// changeInlining makes a function go into its callers, or come out of them.
func (p *Program) changeInlining() string {
	f := pick(p, p.calls)
	was := plain(f.attrs)
	f.attrs = pick(p, []string{"static inline __attribute__((always_inline)) ", "static NOINLINE ", "__attribute__((noinline)) ", "static __attribute__((cold)) ", "static __attribute__((hot)) "})
	if plain(f.attrs) == was {
		return ""
	}
	return fmt.Sprintf("%s is %snow", f.name, f.attrs)
}

func (p *Program) limitRecursion() string {
	for _, it := range p.items {
		if it.name != "descend" {
			continue
		}
		s := &it.fn.chunks[0].text
		is := fmt.Sprintf("n > %d", 5+p.rand.IntN(30))
		*s = regexp.MustCompile(`n > [0-9]+`).ReplaceAllString(*s, is)
		return "the recursion ends where " + is
	}
	return ""
}

// wrapOperation puts a checked operation into a table in the place of another.
func (p *Program) wrapOperation() string {
	old := pick(p, p.opFuncs)
	name := p.name("checked")
	for _, it := range p.items {
		if it.fn != nil || !strings.Contains(it.text, "struct op ") || !strings.Contains(it.text, slot(operation, old)) {
			continue
		}
		it.text = strings.Replace(it.text, slot(operation, old), slot(operation, name), 1)
		p.addFunction(&function{name: name, attrs: "static ", sig: "uint32_t %s(uint32_t a, uint32_t b)", cost: 3,
			chunks: []chunk{{text: fmt.Sprintf("if (b > %s) { report(\"%s\", b); return %s; }", p.wide(), p.message(), p.small())}, {text: "return " + old + "(a, b);"}}})
		p.moveLast()
		p.opFuncs = append(p.opFuncs, name)
		return fmt.Sprintf("%s takes the place of %s in %s", name, old, it.name)
	}
	return ""
}

// addCleanupPath leaves a function that has memory to free by one more way, or
// changes what it frees.
func (p *Program) addCleanupPath() string {
	if len(p.loaders) == 0 {
		return ""
	}
	f := pick(p, p.loaders)
	last := &f.chunks[len(f.chunks)-1].text
	t := ""
	switch p.rand.IntN(4) {
	case 0:
		t = fmt.Sprintf("if (n > %d) { report(\"%s\", n); r = 0; goto out; }", 2+p.rand.IntN(12), p.message())
	case 1:
		t = fmt.Sprintf("{ char *more = strdup(%s);\n\tif (!more) goto out;\n\tif (strcmp(more, v_text) < 0) { free(more); r = %s; goto out; }\n\tr += strlen(more);\n\tfree(more); }", p.word(), p.small())
	case 2:
		if !strings.Contains(*last, "\tfree(name);\n") {
			return ""
		}
		*last = strings.Replace(*last, "\tfree(name);\n", "\tif (name) memset(name, 0, strlen(name));\n\tfree(name);\n", 1)
		return f.name + " clears what it frees"
	case 3:
		t = "free(items);\n\titems = malloc(4 * n);\n\tif (!items) goto out;\n\tmemset(items, 1, 4 * n);"
	}
	p.put(f, t)
	return fmt.Sprintf("%s gets: %s", f.name, plain(t))
}

// boundCopies replaces copies without a bound.
func (p *Program) boundCopies() string {
	n := 0
	for i, it := range p.items {
		if it.fn == nil {
			continue
		}
		for c := range it.fn.chunks {
			s := p.textAt(place{item: i, chunk: c})
			for {
				at := strings.Index(*s, "strcpy(v_text, ")
				if at < 0 {
					break
				}
				open := at + len("strcpy(")
				close := closing(*s, open)
				*s = (*s)[:at] + "snprintf(v_text, sizeof v_text, \"%s\", " + (*s)[at+len("strcpy(v_text, "):close] + (*s)[close:]
				n++
			}
		}
	}
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("%d copies have a bound", n)
}

func (p *Program) addOverflowCheck() string {
	f := p.any()
	if slices.Contains(p.loaders, f) {
		return ""
	}
	t := pick(p, []string{
		"{ uint32_t t; if (__builtin_mul_overflow(a, b, &t)) return 3; r += t; }",
		"if (b > UINT32_MAX - a) return 5;",
		fmt.Sprintf("if ((uint64_t)a * b > %s) { report(\"%s\", a); return 0; }", p.wide(), p.message()),
		"{ size_t t; if (__builtin_add_overflow((size_t)a << 31, (size_t)b << 33, &t)) return 1; r += t >> 40; }",
	})
	p.put(f, t)
	return fmt.Sprintf("%s gets: %s", f.name, plain(t))
}

func (p *Program) addAssertion() string {
	f := p.any()
	t := pick(p, []string{
		`if (unlikely(b == 123456789u)) { fprintf(stderr, "%s:%d: internal error\n", __func__, __LINE__); abort(); }`,
		`if (unlikely(a == 4000000001u && b == 7)) __builtin_trap();`,
		`if (b == 987654321u) { report("%s failed in %s", __func__, "assertion"); abort(); }`,
	})
	p.put(f, t)
	return fmt.Sprintf("%s gets: %s", f.name, t)
}

func (p *Program) clearSecret() string {
	f := p.any()
	t := "{ char key[32]; snprintf(key, sizeof key, \"%x\", a); r += key[0]; explicit_bzero(key, sizeof key); }"
	p.put(f, t)
	return fmt.Sprintf("%s gets: %s", f.name, t)
}

// splitFunction moves a statement into a function of its own.
func (p *Program) splitFunction() string {
	f := pick(p, p.generals())
	for i, c := range f.chunks {
		if !confined(c.text) || !p.chance(40) {
			continue
		}
		name := p.name("part")
		p.addFunction(&function{name: name, attrs: pick(p, []string{"static ", "static NOINLINE ", ""}), sig: "uint32_t %s(uint32_t a, uint32_t b, uint32_t r)",
			chunks: []chunk{{text: c.text}, {text: "return r;"}}})
		p.moveLast()
		f.chunks[i].text = fmt.Sprintf("r = %s(a, b, r);", name)
		return fmt.Sprintf("%s of %s: %s", name, f.name, plain(c.text))
	}
	return ""
}

// wrapFunction puts a check before all of a function, which goes under another
// name.
func (p *Program) wrapFunction() string {
	f := pick(p, p.generals())
	inner := &function{name: p.name("inner"), attrs: pick(p, []string{"static ", "static NOINLINE "}), sig: f.sig, chunks: f.chunks, general: true, rank: f.rank, cost: f.cost}
	p.addFunction(inner)
	p.moveLast()
	f.chunks = []chunk{
		{text: fmt.Sprintf("if (b %% 32 == %d) { report(\"%s\", a); return %s; }", p.rand.IntN(32), p.message(), p.small())},
		{text: "r = " + inner.name + "(a, b);"},
	}
	return fmt.Sprintf("%s is what %s was, which checks before", inner.name, f.name)
}

// addComparator passes the address of a new function to libc.
func (p *Program) addComparator() string {
	f := p.any()
	a := p.array()
	if a.n < 4 {
		return ""
	}
	name := p.name("by")
	p.addFunction(&function{name: name, attrs: "static ", sig: "int %s(const void *x, const void *y)",
		chunks: []chunk{{text: fmt.Sprintf("uint32_t a = *(const uint32_t *)x ^ %s, b = *(const uint32_t *)y ^ %s;\n\treturn a > b ? -1 : a < b;", p.small(), p.small())}}})
	p.moveLast()
	t := fmt.Sprintf("{ uint32_t tmp[4];\n\tmemcpy(tmp, %s, sizeof tmp);\n\tqsort(tmp, 4, sizeof *tmp, %s);\n\tr += tmp[a %% 4]; }", a.name, name)
	p.put(f, t)
	return fmt.Sprintf("%s gets: %s", f.name, t)
}

func (p *Program) addSwitch() string {
	f := pick(p, p.generals())
	t := p.switchText(f)
	p.insert(f, t)
	return f.name + " gets a switch"
}

func (p *Program) useThreadLocal() string {
	i := slices.IndexFunc(p.scalars, func(s string) bool { return strings.HasPrefix(s, StatePrefix+"thread") })
	if i < 0 {
		return ""
	}
	f := p.any()
	t := fmt.Sprintf("%s += a;\n\tr ^= %s;", p.scalars[i], p.scalars[i])
	p.put(f, t)
	return fmt.Sprintf("%s gets: %s", f.name, t)
}

func (p *Program) growSet() string {
	if len(p.sets) == 0 {
		return ""
	}
	s := pick(p, p.sets)
	return fmt.Sprintf("new %s in %s", p.addElement(s), s.name)
}
