// Package names says what the name of a symbol tells: which things have one name but
// for what compilers added to it.
//
// Compilers tell apart things of one name by numbers that they count where these
// stand: another one in front, and all behind it have other names. Such a name
// says what something is one of (its family), but not which.
package names

import (
	"regexp"
	"strings"
	"sync"
)

// Stem is a symbol name without what the compiler appended to tell apart the
// parts, clones and equal names of one function.
func Stem(name string) string {
	name = placeless(name)
	for {
		k := strings.LastIndexByte(name, '.')
		if k <= 0 {
			return name
		}
		switch s := name[k+1:]; {
		case s == "cold", s == "part", s == "isra", s == "constprop", s == "lto_priv", s == "localalias":
		case s != "" && strings.Trim(s, "0123456789") == "":
		default:
			return name
		}
		name = name[:k]
	}
}

// Family is a name without the numbers that are given by place: count.3,
// handler.lto_priv.0, and in mangled names those of closures, types without a name
// and what has one name in one function. What the compiler made of the same
// function in other ways (foo, foo.cold, foo.part.0) is another family.
func Family(name string) string {
	name = placeless(name)
	if !strings.Contains(name, ".") || strings.Contains(name, "@") {
		return name // of none, or with a version of symbols
	}
	parts := strings.Split(name, ".")
	for i, p := range parts {
		if i > 0 && strings.Trim(p, "0123456789") == "" {
			parts[i] = ""
		}
	}
	return strings.Join(parts, ".")
}

// placeless is a mangled name without the numbers that are given by place in the
// source:
//
//   - Itanium C++ ABI §5.1.6, §5.1.8: closure types (UlvE_, UlvE0_), unnamed types
//     (Ut_, Ut0_), entities of one name in one function (_ZZ1fvE3cnt_0, …__10_);
//   - Rust, legacy: closures and what is made for them, which only a hash tells apart; v0 (RFC 2603): the
//     disambiguators of closures and of items of one name (s_, s0_);
//   - blocks of clang (…_block_invoke_2).
func placeless(name string) string {
	switch {
	case strings.HasPrefix(name, "_Z"):
		if strings.Contains(name, closure) {
			return withoutHash(name)
		}
		if strings.Contains(name, "Ul") || strings.Contains(name, "Ut") || strings.Contains(name[2:], "Z") {
			return placelessItanium(name)
		}
	case strings.HasPrefix(name, "_R"):
		return rustPlace().ReplaceAllString(name, "$1$2")
	}
	if k := strings.LastIndex(name, blockInvoke); k >= 0 && strings.Trim(name[k+len(blockInvoke):], "_0123456789") == "" {
		return name[:k+len(blockInvoke)]
	}
	return name
}

const (
	closure     = "$u7b$$u7b$" // {{closure}}, {{vtable.shim}}
	blockInvoke = "_block_invoke"
)

var (
	rustHash  = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`17h[0-9a-f]{16}E`) })
	rustPlace = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`([^C])s[0-9A-Za-z]{0,4}_([0-9])`) })
)

func withoutHash(name string) string { return rustHash().ReplaceAllString(name, "17hE") }

// placelessItanium reads as much of the grammar as tells names, substitutions and
// literals from numbers that are given by place.
func placelessItanium(name string) string {
	var out strings.Builder
	out.WriteString("_Z")
	closures := 0 // begun, and their numbers not yet seen
	for i := 2; i < len(name); {
		c := name[i]
		switch {
		case c == '.': // a suffix of the compiler
			out.WriteString(name[i:])
			return out.String()
		case c >= '0' && c <= '9':
			n := sourceName(name[i:])
			if n == 0 {
				i++
				continue
			}
			out.WriteString(name[i : i+n])
			i += n + discriminator(name[i+n:])
		case c == 'S' || c == 'T' || c == 'A':
			n := sequence(name[i+1:], c == 'S')
			out.WriteString(name[i : i+1+n])
			i += 1 + n
		case c == 'L':
			n := literal(name[i+1:])
			out.WriteString(name[i : i+1+n])
			i += 1 + n
		case strings.HasPrefix(name[i:], "Ul"):
			closures++
			out.WriteString("Ul")
			i += 2
		case strings.HasPrefix(name[i:], "Ut"):
			n := sequence(name[i+2:], false)
			out.WriteString("Ut")
			i += 2 + n
		case c == 'E':
			out.WriteByte('E')
			i++
			if n := sequence(name[i:], false); n > 0 && closures > 0 {
				closures--
				out.WriteByte('_')
				i += n
			} else {
				i += discriminator(name[i:])
			}
		default:
			out.WriteByte(c)
			i++
		}
	}
	return out.String()
}

// digits are those at the start of s.
func digits(s string) int { return len(s) - len(strings.TrimLeft(s, "0123456789")) }

// sourceName is how long a length and the name that follows are, 0: they are none.
func sourceName(s string) int {
	k, n := digits(s), 0
	if k > 6 {
		return 0
	}
	for _, c := range s[:k] {
		n = 10*n + int(c-'0')
	}
	if n == 0 || k+n > len(s) {
		return 0
	}
	return k + n
}

// sequence is how long a sequence number and its end are: _, 0_, 1_; wide ones have
// letters, too.
func sequence(s string, wide bool) int {
	k := digits(s)
	for wide && k < len(s) && (s[k] >= 'A' && s[k] <= 'Z' || s[k] >= '0' && s[k] <= '9') {
		k++
	}
	if k < len(s) && s[k] == '_' {
		return k + 1
	}
	return 0
}

// discriminator is how long the number behind the name of a local entity is: _0, __10_.
func discriminator(s string) int {
	switch {
	case len(s) > 1 && s[0] == '_' && digits(s[1:2]) == 1:
		return 2
	case strings.HasPrefix(s, "__"):
		if k := digits(s[2:]); k > 0 && strings.HasPrefix(s[2+k:], "_") {
			return 3 + k
		}
	}
	return 0
}

// literal is how long the type and number of a literal are (Li5E is one), 0: it is
// none of a built-in type.
func literal(s string) int {
	if s == "" || s[0] < 'a' || s[0] > 'z' {
		return 0
	}
	k := 1
	if strings.HasPrefix(s[k:], "n") {
		k++
	}
	if n := digits(s[k:]); n > 0 && strings.HasPrefix(s[k+n:], "E") {
		return k + n + 1
	}
	return 0
}
