package build

import (
	"regexp"
	"slices"
	"strings"

	"hotpatch/internal/deb"
	"hotpatch/internal/diff"
	"hotpatch/internal/image"
)

// Another compiler writes nearly every function anew, so that nearly the whole
// program is replaced, and what tells a fix from a rebuild is lost. What has to
// be right then is less than it seems:
//
//   - Which function is which matters only where a process enters one without
//     the help of replaced code: by a name, or by an address that it keeps.
//   - Functions that stay have the same code in both images and lead to
//     counterparts. So what they agree on with those they call, also what the
//     compiler made up (clones with other arguments, registers that a callee is
//     known to leave alone), is what they agree on in the fixed image.
//   - Everybody else is replaced at once, while nobody is inside.
//
// The entrances and the variables are what remains, and for these more is asked
// for than where the compiler is the same: the order in which things lie says
// little now.

// comparable is the least share, in percent, of functions of some length that
// correspond well enough for a changed structure to show.
const comparable = 75

// recompiled says what keeps a pair of images by two compilers from being a
// hotpatch; when there is nothing, that it needs review.
func (j *judge) recompiled(what string) {
	n := len(j.r.list)
	refuse := func(function, format string, args ...any) { j.r.add(rebuiltCompiler, function, format, args...) }
	if !sameUpstream(j.versions) {
		refuse("", "%s, and the fixed package is of another upstream version", what)
	}
	if l := language(j.d); l != "" {
		refuse("", "%s, and that may have laid out otherwise what is in memory: %s", what, l)
	}
	if j.d.Base.TLSSize > 0 || j.d.Fixed.TLSSize > 0 {
		refuse("", "%s, and it has thread-local variables, whose places are not known", what)
	}
	j.twofold(what, refuse)
	if steps := j.d.Steps(); len(steps) > 0 {
		refuse("", "%s, and variables behind %#x moved otherwise than those before it", what, uint64(steps[0].Fixed))
	}
	if s := j.d.SizeDrift(); s != "" {
		j.r.add(layoutChanged, "", "%s", s)
	}
	if c := j.d.Comparable(); c < comparable {
		refuse("", "%s, and of only %d %% of its functions can be told whether they know the same structures", what, c)
	}
	if len(j.r.list) == n {
		j.r.add(otherCompiler, "", "%s; every entry and every variable was found by two things that agree", what)
	}
}

// twofold refuses entrances and variables of which only one kind of evidence says
// what they were.
func (j *judge) twofold(what string, refuse func(function, format string, args ...any)) {
	for _, e := range j.d.Entrances() {
		if e.Why != "" {
			refuse(e.Base.Name(), "%s, and its address is in use, but %s", what, e.Why)
		}
	}
	for _, b := range j.e.uses {
		switch {
		case b.How == diff.NewVariable:
			refuse(label(j.d, b.f), "%s, so that a variable of its own (%s) may be one that lay elsewhere", what, hexAddr(b.to))
		case b.How != diff.Aligned && b.How != diff.Interpolated && (b.How != diff.Voted || j.d.Support(b.to) >= 2):
		case !j.d.SameContent(b.Base, b.to):
			refuse(label(j.d, b.f), "%s, and only one thing says where its variable %s was: %s", what, hexAddr(b.to), b.Why)
		}
	}
}

// sameUpstream: nothing but the distribution's own changes is between them, as
// far as versions are known.
func sameUpstream(versions [2]string) bool {
	if versions[0] == "" || versions[1] == "" {
		return true
	}
	return deb.Upstream(versions[0]) == deb.Upstream(versions[1])
}

// language is why another compiler may have laid out the objects of the image in
// another way, "" when it cannot have.
//
// What C and C++ programs keep in memory is fixed by the ABI, which is one for
// all compilers: structures and classes, tables of virtual functions, guards of
// static variables, tables of handlers. In C++ this leaves the objects that the
// compiler makes up itself (what a lambda captures, std::function around one, the
// frame of a coroutine). Whoever keeps one without knowing its type finds its way
// into it by a pointer to a function that is put into an object, or by the table
// of virtual functions of a class made for it (std::thread, the deleter of a
// std::shared_ptr), whose name has that of the lambda in it.
func language(d *diff.Diff) string {
	for _, c := range []*diff.Code{d.Base, d.Fixed} {
		cxx := false
		for _, lib := range c.Needed {
			if strings.HasPrefix(lib, "libc++.so") {
				return "it needs " + lib
			}
			cxx = cxx || lib == "libstdc++.so.6"
		}
		if why := foreignHandlers(c, cxx); why != "" {
			return why
		}
		if f := c.Keeps(); cxx && f != nil {
			return "it is C++, and " + label(d, f) + " puts the address of a function into an object, which may be of the compiler's own making"
		}
		if why := erased(c); cxx && why != "" {
			return "it is C++, and " + why
		}
	}
	return ""
}

// erased says whether classes of c are, or may be, made for lambdas.
func erased(c *diff.Code) string {
	for _, s := range c.Sections {
		if s.Class == image.ROData && closureName.Match(s.Data) {
			return "it has classes that are made for lambdas, which another compiler may have laid out otherwise"
		}
	}
	if at := nameless(c); at != 0 {
		return "the table of functions at " + hexAddr(at) + " is of no class that has a name (-fno-rtti), and may be of one that is made for a lambda"
	}
	return ""
}

// nameless is a table of functions in front of which nothing leads to what
// describes its class (Itanium C++ ABI 2.5.2); 0: there is none.
func nameless(c *diff.Code) image.Addr {
	const slot = 8
	var last image.Addr
	described, n := false, 0 // of the slots without a gap before this one
	for i := range c.Relocs {
		r := &c.Relocs[i]
		if k := c.ClassAt(r.At); k != image.RelRO && k != image.Data {
			continue
		}
		// An abstract class has no destructors, and 0 for both.
		abstract := n == 1 && described && r.At == last+3*slot
		if r.At != last+slot && !abstract {
			described, n = false, 0
		}
		last = r.At
		n++
		t, ok := diff.Pointee(r)
		switch {
		case !ok:
			described = described || strings.HasPrefix(r.Sym, "_ZTI")
		case c.ClassAt(t) != image.Text:
			described = true
		case !described && !namedTable(c, r.At):
			return r.At
		}
	}
	return 0
}

// namedTable: a symbol says whose table of virtual functions the slot is in, and
// that this is no lambda.
func namedTable(c *diff.Code, at image.Addr) bool {
	i := c.LastSymbol(at)
	if i < 0 {
		return false
	}
	y := &c.Symbols[i]
	return strings.HasPrefix(y.Name, "_ZTV") && !strings.Contains(y.Name, "Ul") && at-y.Addr < image.Addr(y.Size)
}

// closureName is a mangled name of a type with a lambda in it (Itanium C++ ABI
// 5.1.8: Ul, its parameters, E, a number, _).
var closureName = regexp.MustCompile(`[0-9A-Za-z_]Ul[0-9A-Za-z_]+?E[0-9]*_[0-9A-Za-z_]*\x00`)

// foreignHandlers says whether functions of c handle exceptions in the way of a
// language of which no ABI fixes what is in memory (Rust), or of one that cannot
// be told. cxx: it may be C++ by its libraries.
func foreignHandlers(c *diff.Code, cxx bool) string {
	const what = "its functions handle exceptions"
	if !slices.ContainsFunc(c.Funcs, func(f *diff.Func) bool { return f.LSDA != 0 && f.Source != image.FromGap }) {
		return ""
	}
	fdes, err := fdesOf(c)
	if err != nil || len(fdes) == 0 || !cxx {
		return what
	}
	for i := range fdes {
		if fdes[i].LSDA == 0 {
			continue
		}
		r := (*image.Reloc)(nil)
		if fdes[i].CIE.HasPersonality {
			r = c.RelocAt(fdes[i].CIE.PersonalityAt)
		}
		if r == nil || r.Sym != "__gxx_personality_v0" && r.Sym != "__gcc_personality_v0" {
			return what + ", and not in the way of C++"
		}
	}
	return ""
}
