package deb

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
)

// version is [epoch:]upstream[-revision], deb-version(7).
type version struct {
	epoch              int
	upstream, revision string
}

const maxVersion = 256 // bytes

func parseVersion(s string) (version, error) {
	bad := func(why string) (version, error) {
		if len(s) > maxVersion {
			s = s[:maxVersion]
		}
		return version{}, fmt.Errorf("bad version %q: %s", s, why)
	}
	if len(s) > maxVersion {
		return bad("too long")
	}
	v := version{upstream: s}
	if epoch, rest, ok := strings.Cut(s, ":"); ok {
		n, err := strconv.ParseUint(epoch, 10, 31)
		if err != nil {
			return bad("the epoch is not a number")
		}
		v.epoch, v.upstream = int(n), rest
	}
	if i := strings.LastIndexByte(v.upstream, '-'); i >= 0 {
		v.upstream, v.revision = v.upstream[:i], v.upstream[i+1:]
		if v.revision == "" {
			return bad("the revision is empty")
		}
	}
	if v.upstream == "" || !digit(v.upstream[0]) {
		return bad("it does not start with a digit")
	}
	if strings.ContainsFunc(v.upstream, outside(".-+~:")) || strings.ContainsFunc(v.revision, outside(".+~")) {
		return bad("it has a character that does not belong there")
	}
	return v, nil
}

func outside(signs string) func(rune) bool {
	return func(r rune) bool {
		return r > 127 || !digit(byte(r)) && !letter(byte(r)) && !strings.ContainsRune(signs, r)
	}
}

// Compare orders two versions as dpkg does: <0, 0, >0.
func Compare(a, b string) (int, error) {
	va, err := parseVersion(a)
	if err != nil {
		return 0, err
	}
	vb, err := parseVersion(b)
	if err != nil {
		return 0, err
	}
	return va.compare(vb), nil
}

func (v version) compare(w version) int {
	return cmp.Or(
		cmp.Compare(v.epoch, w.epoch),
		compareParts(v.upstream, w.upstream),
		compareParts(v.revision, w.revision))
}

// compareParts takes turns: a run of non-digits, then a run of digits. Numbers
// are compared as strings without leading zeros, so that none is too long.
func compareParts(a, b string) int {
	for a != "" || b != "" {
		for a != "" && !digit(a[0]) || b != "" && !digit(b[0]) {
			if c := cmp.Compare(weight(a), weight(b)); c != 0 {
				return c
			}
			a, b = a[1:], b[1:]
		}
		var x, y string
		x, a = number(a)
		y, b = number(b)
		if c := cmp.Or(cmp.Compare(len(x), len(y)), strings.Compare(x, y)); c != 0 {
			return c
		}
	}
	return 0
}

// weight ranks the first character of a run of non-digits: a tilde before even
// the end of the run, letters before everything else.
func weight(s string) int {
	switch {
	case s == "" || digit(s[0]):
		return 0
	case s[0] == '~':
		return -1
	case letter(s[0]):
		return int(s[0])
	}
	return int(s[0]) + 256
}

// number cuts the digits off the front of s, without leading zeros.
func number(s string) (digits, rest string) {
	i := 0
	for i < len(s) && digit(s[i]) {
		i++
	}
	return strings.TrimLeft(s[:i], "0"), s[i:]
}

func digit(c byte) bool  { return '0' <= c && c <= '9' }
func letter(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }

// Upstream is the part of a version that upstream gave it, with the epoch: what
// is before the last hyphen.
func Upstream(s string) string {
	if i := strings.LastIndexByte(s, '-'); i >= 0 {
		return s[:i]
	}
	return s
}
