package diff

import (
	"slices"
	"strings"
)

// Which functions belong in pairs, by their names? pthread_mutex_lock and
// pthread_mutex_unlock: the name of what they are for, with another word each.

// operation is what a call does: it takes (1) or gives (-1) something.
type operation struct {
	class string // the kind of pair
	of    string // what it is for: the name without the word
	sign  int
}

const reference = "reference"

// bracketWords are the words, and the pairs that they are one half of.
var bracketWords = map[string][]operation{}

func init() {
	for _, p := range []struct{ class, takes, gives string }{
		{"lock", "lock trylock timedlock rdlock wrlock tryrdlock trywrlock wait trywait timedwait", "unlock rdunlock wrunlock post"},
		{"hold", "acquire tryacquire ensure hold obtain", "release unhold"},
		{reference, "ref incref addref upref reference retain hold", "unref decref deref downref unreference release free put drop"},
		{reference, "get grab", "put ungrab"},
		{"critical section", "enter", "leave"},
		{"block", "block", "unblock"},
		{"pin", "pin", "unpin"},
		{"suspension", "suspend freeze", "resume thaw"},
		{"mask", "mask", "unmask"},
		{"thread state", "savethread", "restorethread"},
	} {
		for _, w := range strings.Fields(p.takes) {
			bracketWords[w] = append(bracketWords[w], operation{class: p.class, sign: 1})
		}
		for _, w := range strings.Fields(p.gives) {
			bracketWords[w] = append(bracketWords[w], operation{class: p.class, sign: -1})
		}
	}
}

// bracketsOf is what a call of that name does, one operation for each kind of pair
// that its word belongs to. Some say by what they are handed.
func bracketsOf(name string, regs *holding) []operation {
	first, second := regs.argument(0), regs.argument(1)
	is := func(h held, n int64) bool { return h.is == heldNumber && h.n == n }
	by := func(class string, gives bool) []operation {
		if gives {
			return []operation{{class, "", -1}}
		}
		return []operation{{class, "", 1}}
	}
	switch name {
	case "":
		return nil
	case "seteuid", "setfsuid":
		return by("other user", is(first, 0)) // back to root
	case "setegid", "setfsgid":
		return by("other group", is(first, 0))
	case "sigprocmask", "pthread_sigmask":
		return by("blocked signals", !is(first, 0)) // SIG_BLOCK is 0
	case "pthread_setcancelstate":
		return by("thread cancellation", !is(first, 1)) // PTHREAD_CANCEL_DISABLE is 1
	case "flock":
		return by("file lock", is(second, 8)) // LOCK_UN is 8
	case "lockf", "lockf64":
		return by("file lock", is(second, 0)) // F_ULOCK is 0
	case "flockfile":
		return by("lock of a stream", false)
	case "funlockfile":
		return by("lock of a stream", true)
	}
	words := wordsOf(name)
	at := len(words) - 1
	if at < 0 {
		return nil
	}
	ops := bracketWords[words[at]]
	if ops == nil && at > 0 && words[0] != "get" && words[0] != "put" && words[0] != "free" && words[0] != "wait" && words[0] != "post" {
		at, ops = 0, bracketWords[words[0]] // unlock_table
	}
	of := strings.Join(slices.Delete(slices.Clone(words), at, at+1), " ")
	if of == "" || strings.HasSuffix(" "+of, " mem") { // isc_mem_get allocates
		return nil // free, ref: of anything
	}
	out := slices.Clone(ops)
	for i := range out {
		out[i].of = of
	}
	return out
}

// wordsOf are the words of a name, in small letters; of a mangled one those of its
// scopes, where it has no templates. "inc ref" and its like are one word.
func wordsOf(name string) []string {
	var parts []string
	switch {
	case strings.HasPrefix(name, "_ZN"):
		rest := strings.TrimLeft(name[3:], "KVRO")
		for rest != "" && rest[0] >= '0' && rest[0] <= '9' {
			n := 0
			for rest != "" && rest[0] >= '0' && rest[0] <= '9' && n < len(name) {
				n, rest = 10*n+int(rest[0]-'0'), rest[1:]
			}
			n = min(n, len(rest))
			parts, rest = append(parts, rest[:n]), rest[n:]
		}
		if !strings.HasPrefix(rest, "E") {
			return nil
		}
	case strings.HasPrefix(name, "_Z"), strings.HasPrefix(name, "_R"):
		return nil
	default:
		parts = []string{name}
	}
	var out []string
	for _, p := range parts {
		out = append(out, splitWords(p)...)
	}
	for i := 1; i < len(out); i++ {
		switch out[i-1] + out[i] {
		case "incref", "decref", "addref", "upref", "downref", "savethread", "restorethread":
			out[i-1] += out[i]
			out = slices.Delete(out, i, i+1)
		}
	}
	return out
}

// splitWords splits at underscores and where small letters are followed by capitals.
func splitWords(s string) (out []string) {
	from := 0
	end := func(i int) {
		if i > from {
			out = append(out, strings.ToLower(s[from:i]))
		}
		from = i
	}
	for i := range len(s) {
		switch c := s[i]; {
		case c == '_':
			end(i)
			from = i + 1
		case i > 0 && c >= 'A' && c <= 'Z' && s[i-1] >= 'a' && s[i-1] <= 'z':
			end(i)
		}
	}
	end(len(s))
	return out
}
