// Package property generates random C programs and random edits of them, to
// test that a hotpatched process behaves as the fixed program does.
//
// A program keeps its state in variables and answers questions read from
// standard input: "k a b", three decimal numbers, is answered by one line. It
// uses what real programs use and what is hard to bind right: initialised and
// zero variables, twins (identical getters and setters of neighbouring
// variables), function-local statics, constant tables, strings with shared
// tails, constant objects compared by address, tables of functions and of
// strings, switches with jump tables, recursion, cold paths, callbacks,
// thread-local and floating-point data, variadic calls.
//
// Every mutable variable has a name that starts with StatePrefix, so that a
// test can read the state of one process and put it into another one.
package property

import (
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
)

// StatePrefix starts the names of all mutable variables of generated programs.
const StatePrefix = "v_"

// Program is one C file that edits change in place.
type Program struct {
	Entries int  // questions have k below this
	Layout  bool // an edit changed the layout of a live variable

	rand  *rand.Rand
	count int // of names given
	types []*structType
	top   string  // thread-local variables: they cannot be declared ahead
	items []*item // in the order of the file, which swaps change

	scalars  []string // integer variables of any width
	doubles  []string
	arrays   []array // of uint32_t, mutable
	tables   []array // of uint32_t, constant
	names    []array // of strings, constant or not
	ops      []array // of struct op
	pointers []string
	pools    []string
	objects  []objects
	targets  []string // variables of type fn_t
	twins    []string // the word behind get_ and set_
	calls    []*function
	opFuncs  []string
	helpers  []string

	// What Enrich adds.
	more    string      // declarations before all others
	flat    []*function // of a and b, that call no general function
	loaders []*function
	lookups []*function
	locks   []string
	sets    []set
}

// set is a linker set; with text its elements have relocations.
type set struct {
	name string
	text bool
}

type array struct {
	name string
	n    int
}

// objects are constant objects with a sentinel, looked up by key; the last one
// found is kept in a variable.
type objects struct{ name string }

type structType struct {
	name   string
	fields []string // declarations, "uint32_t f0"
	words  []string // integer fields
}

// item is one definition of the file. Its text contains slots (see slot).
type item struct {
	name    string
	text    string // of a variable or constant
	forward string // declares it before its definition; "" when never needed
	fn      *function
}

// function is a C function. General ones are uint32_t f(uint32_t a, uint32_t b)
// with a local r, and statements can be put between their chunks.
type function struct {
	name    string
	attrs   string
	sig     string // "uint32_t %s(uint32_t a, uint32_t b)"
	chunks  []chunk
	general bool
	rank    int // calls go to lower ranks only
	cost    int // a bound of the work of one call
}

type chunk struct {
	text      string
	removable bool
}

// A slot is a place in a text that an edit may change. It is written as
// \x01 kind value \x03; Source leaves only the value.
type slotKind byte

const (
	number    slotKind = 'c' // positive, any value is valid
	operator  slotKind = 'b' // of arithmetic
	compare   slotKind = 'o'
	text      slotKind = 's'
	initial   slotKind = 'i' // of a mutable variable
	entry     slotKind = 't' // of a constant table
	variable  slotKind = 'v' // an integer variable
	callee    slotKind = 'F' // a general function
	operation slotKind = 'O' // a function in a table
	real      slotKind = 'f' // a floating-point constant
	attribute slotKind = 'a'
)

var slots = regexp.MustCompile("\x01(.)([^\x03]*)\x03")

// caseMark is where a switch takes another case; the number is the next one.
var caseMark = regexp.MustCompile("\x06([0-9]+)\x07")

func slot(k slotKind, v any) string { return fmt.Sprintf("\x01%c%v\x03", k, v) }

func plain(s string) string {
	return caseMark.ReplaceAllString(slots.ReplaceAllString(s, "$2"), "")
}

// Generate makes the program of a seed.
func Generate(seed uint64) *Program {
	p := &Program{rand: rand.New(rand.NewPCG(seed, 1))}
	p.addTypes()
	p.addData()
	p.addSmallFunctions()
	for range 5 + p.rand.IntN(6) {
		p.addGeneral()
	}
	p.scatter()
	p.addDispatch()
	return p
}

// Source is the C text of the program as it is now.
func (p *Program) Source() string { return p.definitions() + epilogue }

// Library is the C text of the program as a library, for Host.
func (p *Program) Library() string {
	thread := "0"
	if i := slices.IndexFunc(p.scalars, func(s string) bool { return strings.HasPrefix(s, StatePrefix+"thread") }); i >= 0 {
		thread = "&" + p.scalars[i]
	}
	return hostDeclarations + p.definitions() + fmt.Sprintf(`
const char *program_text(void) { return v_text; }
void *program_thread(void) { return %s; }
`, thread)
}

const hostDeclarations = `#include <stdint.h>
#pragma GCC visibility push(default)
uint32_t dispatch(uint32_t k, uint32_t a, uint32_t b);
const char *program_text(void);
void *program_thread(void);
#pragma GCC visibility pop
`

// Host is the program that a library is used by. It says where the one
// thread-local variable of the library is, in the place of its thread pointer.
var Host = strings.NewReplacer("%p", "%#lx", "__builtin_thread_pointer()", "(unsigned long)program_thread()", "v_text", "program_text()").
	Replace(strings.Replace(prologue, "char v_text[96] = \"nothing yet\";\n", hostDeclarations, 1) + epilogue)

func (p *Program) definitions() string {
	var b strings.Builder
	b.WriteString(prologue)
	b.WriteString(p.more)
	for _, t := range p.types {
		fmt.Fprintf(&b, "struct %s {", t.name)
		for _, f := range t.fields {
			b.WriteString(" " + f + ";")
		}
		b.WriteString(" };\n")
	}
	b.WriteString(p.top)
	for _, it := range p.items {
		if it.fn != nil {
			fmt.Fprintf(&b, "%s%s;\n", linkage(it.fn.attrs), fmt.Sprintf(it.fn.sig, it.fn.name))
		}
	}
	known := map[string]bool{}
	byName := map[string]*item{}
	for _, it := range p.items {
		byName[it.name] = it
	}
	for _, it := range p.items {
		s := plain(it.source())
		for _, id := range identifier.FindAllString(s, -1) {
			if o := byName[id]; o != nil && o != it && !known[id] && o.forward != "" {
				b.WriteString(o.forward + ";\n")
				known[id] = true
			}
		}
		known[it.name] = true
		b.WriteString(s)
	}
	return b.String()
}

var identifier = regexp.MustCompile(`[A-Za-z_][A-Za-z0-9_]*`)

func linkage(attrs string) string {
	if strings.Contains(attrs, "static") {
		return "static "
	}
	return ""
}

func (it *item) source() string {
	f := it.fn
	if f == nil {
		return it.text
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s%s\n{\n", f.attrs, fmt.Sprintf(f.sig, f.name))
	if f.general {
		b.WriteString("\tuint32_t r = a;\n")
	}
	for _, c := range f.chunks {
		b.WriteString("\t" + c.text + "\n")
	}
	if f.general {
		b.WriteString("\treturn r;\n")
	}
	b.WriteString("}\n\n")
	return b.String()
}

const prologue = `#define _GNU_SOURCE
#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#define NOINLINE __attribute__((noinline))
#define unlikely(x) __builtin_expect(!!(x), 0)
typedef uint32_t (*fn_t)(uint32_t, uint32_t);
struct op { const char *name; fn_t fn; uint32_t weight; };
struct node { uint32_t key; struct node *next; };
struct object { uint32_t id; const char *label; uint32_t more[3]; };
char v_text[96] = "nothing yet";
`

// main is on the stack for ever, so nothing of it may change: dispatch and
// what it needs is out of its sight.
const epilogue = `
int main(void)
{
	char line[128];
	dprintf(1, "ready %d %p\n", (int)getpid(), __builtin_thread_pointer());
	for (;;) {
		size_t n = 0;
		for (; n + 1 < sizeof line; n++) {
			ssize_t got = read(0, line + n, 1);
			if (got < 0 && errno == EINTR) { n--; continue; }
			if (got <= 0) return 0;
			if (line[n] == '\n') break;
		}
		line[n] = 0;
		char *p = line;
		uint32_t k = strtoul(p, &p, 10), a = strtoul(p, &p, 10), b = strtoul(p, &p, 10);
		uint32_t r = dispatch(k, a, b);
		dprintf(1, "%u %.95s\n", r, v_text);
	}
}
`

func (p *Program) name(prefix string) string {
	p.count++
	return fmt.Sprintf("%s%d", prefix, p.count)
}

func (p *Program) chance(percent int) bool { return p.rand.IntN(100) < percent }

func pick[T any](p *Program, from []T) T { return from[p.rand.IntN(len(from))] }

// small and wide are constants; wide ones do not fit into 16 bits.
func (p *Program) small() string { return slot(number, 1+p.rand.IntN(100)) }
func (p *Program) wide() string  { return slot(number, fmt.Sprintf("%du", 1<<16+p.rand.IntN(1<<30))) }

func (p *Program) constant() string {
	if p.chance(70) {
		return p.small()
	}
	return p.wide()
}

var (
	operators   = []string{"+", "-", "^", "|", "&", "*"}
	comparisons = []string{"<", "<=", ">", ">=", "==", "!="}
	// Many are tails of others: the linker shares them.
	words = []string{"alphabet", "bet", "abet", "limit", "it", "permit", "submit", "mit", "error: out of range",
		"out of range", "range", "items", "two items", "strange", "orange", "", "x", "a long text that does not fit into one vector register"}
)

func (p *Program) op() string   { return slot(operator, pick(p, operators)) }
func (p *Program) cmp() string  { return slot(compare, pick(p, comparisons)) }
func (p *Program) word() string { return `"` + slot(text, pick(p, words)) + `"` }
func (p *Program) scalar() string {
	return slot(variable, pick(p, p.scalars))
}
func (p *Program) array() array { return pick(p, p.arrays) }

func (p *Program) define(name, text, forward string) {
	p.items = append(p.items, &item{name: name, text: text, forward: forward})
}

func (p *Program) addFunction(f *function) {
	p.items = append(p.items, &item{name: f.name, fn: f})
}

// scatter puts variables between functions, as files have them.
func (p *Program) scatter() {
	p.rand.Shuffle(len(p.items), func(i, j int) {
		if p.chance(40) {
			p.items[i], p.items[j] = p.items[j], p.items[i]
		}
	})
}

// addDispatch adds what main calls.
func (p *Program) addDispatch() {
	var general []*function
	for _, f := range p.calls {
		if f.general {
			general = append(general, f)
		}
	}
	p.Entries = min(len(general), 8)
	entries := general[len(general)-p.Entries:]
	f := &function{name: "dispatch", attrs: "__attribute__((noipa, noinline)) ", sig: "uint32_t %s(uint32_t k, uint32_t a, uint32_t b)", rank: 1 << 20}
	if p.chance(30) {
		text := fmt.Sprintf("static const fn_t entries[%d] = {", p.Entries)
		for _, e := range entries {
			text += e.name + ", "
		}
		p.define("entries", text+"};\n", fmt.Sprintf("static const fn_t entries[%d]", p.Entries))
		f.chunks = []chunk{{text: fmt.Sprintf("return k < %d ? entries[k](a, b) : 0;", p.Entries)}}
	} else {
		text := "switch (k) {\n"
		for i, e := range entries {
			text += fmt.Sprintf("\tcase %d: return %s(a, b);\n", i, e.name)
		}
		f.chunks = []chunk{{text: text + "\t}"}, {text: "return 0;"}}
	}
	p.addFunction(f)
}
