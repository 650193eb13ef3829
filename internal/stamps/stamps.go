// Package stamps says whether two strings differ only in what a build stamps into
// them.
//
// Strings hold pieces that change from build to build and mean nothing to a
// running process: the version of the program, the date of its build, its build-id,
// a line number. The same forms serve other ends: a date before which nothing is
// trusted, the digest of what is revoked, the least version to talk to, an address
// with a port. So a piece counts only with evidence of being such a stamp. A number
// alone is none at all: it may be a limit, a default or a field width.
package stamps

import (
	"regexp"
	"strings"
	"sync"
	"time"

	"hotpatch/internal/image"
)

// Origin is what an image is called by: the version of its package, "" when
// unknown, and its build-id.
type Origin struct {
	Version string
	BuildID image.BuildID
}

// Only says whether two different strings of images of these origins differ in
// stamps only. Conversions of a format (%16s) are never touched.
func Only(x, y string, base, fixed Origin) bool {
	if x == y {
		return false
	}
	p, q := stampsOf(x), stampsOf(y)
	if len(p) != len(q) {
		return false
	}
	at, to, others := 0, 0, 0
	dated := false
	for i := range p {
		s, t := &p[i], &q[i]
		if x[at:s.at] != y[to:t.at] || s.kind != t.kind {
			return false
		}
		at, to = s.at+len(s.text), t.at+len(t.text)
		if s.text == t.text {
			continue
		}
		if others++; others > mostStamps {
			return false
		}
		clock := s.kind == stampClock && dated && besideDate(x, p, i)
		if !clock && (s.kind != stampLine && s.kind != stampDigest && (needed(x, s) || inPath(x, s) || inPath(y, t)) ||
			!s.becomes(t, x[:s.at], x[at:], base, fixed) && !released(x, p, q, i)) {
			return false
		}
		dated = dated || s.kind == stampDate || s.kind == stampProse
	}
	return x[at:] == y[to:]
}

// mostStamps is how many of them one string has at most.
const mostStamps = 16

// kind is what a piece of a string looks like.
type stampKind uint8

const (
	stampLine    stampKind = iota // file.c:123, file.c(123), file.c line 123
	stampTime                     // as date(1), asctime(3) and __TIMESTAMP__ write it
	stampDate                     // __DATE__
	stampProse                    // a date in a form that protocols and people use
	stampClock                    // __TIME__
	stampCommit                   // what git describe says: 1.8-14-g0123abc
	stampDigest                   // build-ids, commits; and keys and digests
	stampVersion                  // 2.6.12-1+deb12u3, 1.22.1, 3.5
)

// piece is a part of a string that could be a stamp.
type piece struct {
	kind stampKind
	at   int
	text string
}

const (
	weekday = `(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)`
	month   = `(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)`
	daytime = `[0-2][0-9]:[0-5][0-9]:[0-5][0-9]`
)

// stampForms are tried in this order where several begin; one group for each kind.
var stampForms = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(strings.Join([]string{
		`(\.(?:c|cc|cpp|cxx|h|hh|hpp|y|l)(?::| ?\(| ?,? ?line )[0-9]+)`,
		`(\b(?:` + weekday + ` )?` + month + ` [ 0-3]?[0-9] ` + daytime + `(?: [AP]M)?(?: [A-Z]{3,5})? [0-9]{4}\b)`,
		`(\b` + month + ` [ 1-3][0-9] [0-9]{4}\b)`,
		`(\b` + weekday + `, [ 0-3]?[0-9] ` + month + ` [0-9]{4} ` + daytime + `(?: (?:[+-][0-9]{4}|[A-Z]{3,5}))?` +
			`|\b(?:19|20)[0-9]{2}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9](?::[0-5][0-9](?:\.[0-9]+)?)?(?:Z|[+-][0-2][0-9]:?[0-5][0-9])?` +
			`|\b` + month + `[a-z]*\s+[0-9]{1,2},?\s+[0-9]{4}\b` +
			`|\b[0-9]{1,2}\s+` + month + `[a-z]*\s+[0-9]{4}\b` +
			`|\b(?:19|20)[0-9]{2}[-/][01]?[0-9][-/][0-3]?[0-9]\b)`,
		`(\b` + daytime + `\b)`,
		`((?:\b[0-9][-+.~:0-9a-z]*)?[-+][0-9]+-g[0-9a-f]{7,40}\b)`,
		`(\b[0-9a-f]{20,64}\b)`,
		`(\b[0-9]+(?:[.:+~-][0-9a-z]*[0-9])+\b)`,
	}, "|"))
})

func stampsOf(s string) []piece {
	var out []piece
	for _, m := range stampForms().FindAllStringSubmatchIndex(s, -1) {
		for k := stampKind(0); 2*k+3 < stampKind(len(m)); k++ {
			if m[2*k+2] >= 0 {
				out = append(out, piece{k, m[0], s[m[0]:m[1]]})
				break
			}
		}
	}
	return out
}

// becomes says whether two different pieces are what the build of base and that of
// fixed wrote at one place, between the texts before and after.
func (p *piece) becomes(q *piece, before, after string, base, fixed Origin) bool {
	switch p.kind {
	case stampLine:
		return strings.TrimRight(p.text, "0123456789") == strings.TrimRight(q.text, "0123456789") && lineOfFile(before, p.text, q.text)
	case stampTime, stampDate:
		return Later(p.text, q.text) && builtAt(before) && !zone().MatchString(after)
	case stampProse:
		return Later(p.text, q.text) && builtAt(before)
	case stampCommit:
		return toldOf(before) || fromGit().MatchString(before) || before == "" && after == "" ||
			ofPackage(described(p.text), base) && ofPackage(described(q.text), fixed)
	case stampDigest:
		return ofBuild(p.text, base) && ofBuild(q.text, fixed)
	case stampVersion:
		return ofPackage(p.text, base) && ofPackage(q.text, fixed) || long(p.text) && long(q.text) &&
			(toldOf(before) || distribution().MatchString(p.text) && distribution().MatchString(q.text))
	}
	return false
}

// released says whether the pieces at i are a version or its date where both stand
// side by side, and changed: OpenSSL 3.0.20 7 Apr 2026.
func released(x string, p, q []piece, i int) bool {
	if p[i].kind != stampVersion {
		i--
	}
	if i < 0 || i+1 >= len(p) || p[i].kind != stampVersion || p[i+1].kind != stampProse && p[i+1].kind != stampDate {
		return false
	}
	between := x[p[i].at+len(p[i].text) : p[i+1].at]
	return strings.Trim(between, " ,(") == "" && long(p[i].text) && long(q[i].text) && p[i].text != q[i].text && Later(p[i+1].text, q[i+1].text)
}

// Later says whether both are dates that there are, the second behind the first:
// the fixed image is built after the base image.
func Later(x, y string) bool {
	a, okA := parseDate(x)
	b, okB := parseDate(y)
	return okA && okB && a.Before(b)
}

func parseDate(s string) (time.Time, bool) {
	s = strings.Join(strings.Fields(strings.NewReplacer(",", " ", "/", "-").Replace(s)), " ")
	for _, form := range []string{
		"Mon Jan 2 15:04:05 2006", "Mon Jan 2 15:04:05 MST 2006", "Mon Jan 2 15:04:05 PM MST 2006", "Mon Jan 2 03:04:05 PM MST 2006",
		"Jan 2 15:04:05 2006", "Jan 2 15:04:05 MST 2006",
		"Jan 2 2006", "January 2 2006", "2 Jan 2006", "2 January 2006", "2006-1-2",
		"Mon 2 Jan 2006 15:04:05", "Mon 2 Jan 2006 15:04:05 -0700", "Mon 2 Jan 2006 15:04:05 MST",
		"2006-01-02T15:04", "2006-01-02T15:04:05", "2006-01-02T15:04Z07:00", "2006-01-02T15:04Z0700",
		"2006-01-02T15:04:05Z07:00", "2006-01-02T15:04:05Z0700",
	} {
		if t, err := time.Parse(form, s); err == nil {
			return t, true
		}
	}
	return time.Time{}, false
}

// IsDate: s is all that __DATE__ stands for.
func IsDate(s string) bool {
	if len(s) != len("Jan  2 2006") {
		return false
	}
	p := stampsOf(s)
	_, ok := parseDate(s)
	return ok && len(p) == 1 && p[0].kind == stampDate && p[0].text == s
}

// IsTime: s is all that __TIME__ stands for.
func IsTime(s string) bool {
	_, err := time.Parse("15:04:05", s)
	return err == nil && len(s) == len("15:04:05")
}

// Dates are those in the form of __DATE__ that C strings in data end with, in their
// order.
func Dates(data []byte) []string {
	var out []string
	for _, m := range dateAtEnd().FindAll(data, -1) {
		out = append(out, string(m[:len(m)-1]))
	}
	return out
}

var dateAtEnd = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(month + ` [ 1-3][0-9] [0-9]{4}\x00`)
})

// besideDate: the clock at i stands right behind the date at i-1.
func besideDate(x string, p []piece, i int) bool {
	if i == 0 || p[i-1].kind != stampDate && p[i-1].kind != stampProse {
		return false
	}
	switch x[p[i-1].at+len(p[i-1].text) : p[i].at] {
	case " ", ", ", " at ", "  ":
		return true
	}
	return false
}

// zone: a build's time has none behind the year. It is what ASN1_TIME_print writes.
var zone = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^ ?(?:[A-Z]{1,5}\b|[+-][0-9]{2})`) })

// lineOfFile says whether pieces like .c:12 behind the text before are lines of a
// source file, not the port of a host: cc is a domain.
func lineOfFile(before, x, y string) bool {
	word := before[strings.LastIndexAny(before, " \t\n")+1:]
	slash := strings.LastIndexByte(word, '/')
	if slash < 0 && len(word) < len(before) || strings.Contains(word, "//") || !fileStem().MatchString(word[slash+1:]) {
		return false
	}
	if !strings.Contains(x, ":") {
		return true
	}
	domain := strings.HasPrefix(x, ".cc")
	if domain && !letters().MatchString(word[slash+1:]) {
		return false
	}
	return slash >= 0 && !domain || !likePort(x) && !likePort(y)
}

var (
	fileStem = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[A-Za-z0-9_+-]+$`) })
	letters  = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[A-Za-z]+$`) })
	ports    = sync.OnceValue(func() *regexp.Regexp {
		return regexp.MustCompile(`:(?:2[0-35]|53|80|110|123|143|161|179|389|443|445|465|514|587|636|853|989|99[0235]|873|1080|1194|1433|1521|1883|` +
			`2049|2181|2379|3000|3128|3260|3306|3389|4433|4443|5000|506[01]|5222|5432|567[12]|5900|6379|6443|666[7-9]|6697|7000|8[0-9]{3}|9[0-9]{3}|[0-9]{5,})$`)
	})
)

func likePort(s string) bool { return ports().MatchString(s) }

// needed says whether the words around a piece tell that it bounds what is let in:
// minimum version 1.2.3, version 1.2.3 or newer.
func needed(x string, p *piece) bool {
	after, _, _ := strings.Cut(x[p.at+len(p.text):], "\n")
	return bounds().MatchString(x[:p.at]) || bounds().MatchString(after)
}

var bounds = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`(?i)(?:^|[^a-z])(?:min|minim(?:um|al)|least|requir(?:e[sd]?|ing|ements?)|need(?:s|ed)?|protocols?|since|before|after|older|newer|` +
		`later|earlier|lower|higher|max|maxim(?:um|al)|from|until|till|up to|than|expir(?:e[sd]?|y|ation)|(?:in)?valid|revoked|trusted|vulnerable)(?:[^a-z]|$)|[<>=!~]=|[<>] *$`)
})

// inPath says whether a piece is in the name of a file or directory: that is looked
// for where it says. A program's name with its version is none: redis/7.0.15.
func inPath(x string, p *piece) bool {
	start := strings.LastIndexAny(x[:p.at], " \t\n\"'(=,;") + 1
	word, rest := x[start:p.at], x[p.at+len(p.text):]
	if n := strings.IndexAny(rest, " \t\n\"'),;"); n >= 0 {
		rest = rest[:n]
	}
	return strings.Contains(rest, "/") || strings.Contains(word, "/") && !product().MatchString(word)
}

var product = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[A-Za-z0-9_.+-]*[A-Za-z][A-Za-z0-9_.+-]*/v?$`) })

// toldOf says whether the text before a piece says that it is the version of the
// program: in words, as people read it. What has another form may be meant for a
// program: a header (X-Api-Version: 1.0.3), a statement (SET version='1.0.3').
func toldOf(before string) bool { return announced().MatchString(before) }

// builtAt is toldOf for a date.
func builtAt(before string) bool { return toldOf(before) || builtForm().MatchString(before) }

var (
	announced = sync.OnceValue(func() *regexp.Regexp {
		return regexp.MustCompile(`(?i)(?:^|[ \t\n(,;])(?:version|release[d]?|build|built|compiled|generated|updated)(?: (?:on|at|date|time))? +v?$`)
	})
	builtForm = sync.OnceValue(func() *regexp.Regexp {
		return regexp.MustCompile(`(?i)(?:^|[ \t\n(,;])(?:build|built|compiled)(?: (?:on|at|date|time))?: *$`)
	})
	fromGit = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`(?:^|[ (])git[ :-]*$`) })
)

// described is the version in what git describe says: 1.8 of 1.8-14-g0123abc.
func described(s string) string {
	for range 2 {
		if n := strings.LastIndexByte(s, '-'); n >= 0 {
			s = s[:n]
		}
	}
	return s
}

// distribution: the version of a package as distributions number their own.
var distribution = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^(?:[0-9]+:)?[0-9]+(?:\.[0-9a-z]+)+.*[-+~](?:deb[0-9]+u|[0-9.]+ubuntu)[0-9]+`)
})

// ofBuild: it is the image's build-id, or what is left of it where the first byte
// names a directory.
func ofBuild(s string, o Origin) bool { return s != "" && strings.HasSuffix(string(o.BuildID), s) }

// ofPackage: it is the version of the package, of which programs tend to show only
// that of the upstream source, or all but the epoch.
func ofPackage(s string, o Origin) bool {
	if len(o.Version) <= 3 {
		return false
	}
	bare := o.Version
	if _, rest, ok := strings.Cut(bare, ":"); ok {
		bare = rest
	}
	if s == o.Version || s == bare {
		return true
	}
	if _, rest, ok := strings.Cut(s, ":"); ok && rest == bare {
		return true
	}
	rest, ok := strings.CutPrefix(bare, s)
	return ok && long(s) && strings.ContainsAny(rest[:1], ".+~-")
}

// long: three numbers at least. Two are a protocol's version as soon as a
// program's; and four small ones an address.
func long(s string) bool {
	return strings.Count(strings.Map(func(r rune) rune {
		if strings.ContainsRune(".:+~-", r) {
			return '.'
		}
		return r
	}, s), ".") >= 2 && !addressForm().MatchString(s)
}

// address: 127.0.0.1, with a port behind it or not; 2.5.29.17 and
// 1.2.840.113549.1.1.4, object identifiers. What they stand for a process needs.
var addressForm = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^(?:[0-9]{1,3}(?:\.[0-9]{1,3}){3}(?:[:+-][0-9]+)?|[0-2](?:\.[0-9]+){4,}|2\.5(?:\.[0-9]+){2,})$`)
})
