package deb

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"sync"
)

// Entry is one changelog entry.
type Entry struct {
	Source, Version, Distribution, Urgency string
	Changes                                []string // lines, without the format's indentation and empty ones
	Author, Date                           string
}

// ErrNoChangelog is returned when the package has none of its own, but, for
// example, a link to another package's.
var ErrNoChangelog = errors.New("no changelog in the package")

const (
	maxChangelog  = 32 << 20 // unpacked; the longest in Debian have some 2 MiB
	maxChangeLine = 64 << 10
)

// Changelog reads the package's Debian changelog, newest entry first:
// usr/share/doc/NAME/changelog.Debian.gz, or changelog.gz of a package that is
// native to Debian. A rebuild without source changes (+b1) has its own entry in
// changelog.Debian.ARCH.gz, which comes first.
// ErrNoChangelog when the package has none (a link to another package).
func (p *Package) Changelog() ([]Entry, error) {
	doc := "/usr/share/doc/" + p.Name + "/"
	rank := []string{
		doc + "changelog.Debian." + p.Arch + ".gz",
		doc + "changelog.Debian.gz", doc + "changelog.Debian",
		doc + "changelog.gz", doc + "changelog",
	}
	found := make([][]byte, len(rank))
	err := p.each(func(t *tarReader, name string, h *tar.Header) error {
		i := slices.Index(rank, name)
		if i < 0 || h.Typeflag != tar.TypeReg {
			return nil
		}
		data, err := t.content(h)
		found[i] = data
		return err
	})
	if err != nil {
		return nil, err
	}
	var out []Entry
	for i, data := range found {
		if data == nil {
			continue
		}
		es, err := changelogFile(rank[i], data)
		if err != nil {
			// Upstream's own changelog.gz is in whatever form upstream likes.
			if i >= 3 {
				break
			}
			return nil, fmt.Errorf("read %s: %s: %w", p.Path, rank[i], err)
		}
		out = append(out, es...)
		if i > 0 {
			break
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("read %s: %w", p.Path, ErrNoChangelog)
	}
	return out, nil
}

func changelogFile(name string, data []byte) ([]Entry, error) {
	var r io.Reader = bytes.NewReader(data)
	if strings.HasSuffix(name, ".gz") {
		z, err := gzip.NewReader(r)
		if err != nil {
			return nil, err
		}
		r = z
	}
	return ParseChangelog(r)
}

// "redis (5:7.0.15-1~deb12u7) bookworm-security; urgency=high"
var entryHead = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^([A-Za-z0-9][A-Za-z0-9+.-]*) \(([^()\s]+)\)((?:\s+[-+0-9A-Za-z.]+)*)\s*;(.*)$`)
})

// ParseChangelog reads deb-changelog(5), newest entry first. It is as tolerant
// as dpkg: lines that fit nowhere (editors' variables, the free forms of the
// nineties) are passed over; but a text without a single entry is an error.
func ParseChangelog(r io.Reader) ([]Entry, error) {
	s := bufio.NewScanner(&bounded{r: r, left: maxChangelog})
	s.Buffer(make([]byte, 4096), maxChangeLine)
	var out []Entry
	open := false // between a heading and its trailer
	line := 0
	for s.Scan() {
		line++
		text := strings.TrimRight(strings.ToValidUTF8(s.Text(), "\uFFFD"), " \t\r")
		switch m := entryHead().FindStringSubmatch(text); {
		case m != nil:
			out = append(out, Entry{
				Source: m[1], Version: m[2],
				Distribution: strings.Join(strings.Fields(m[3]), " "),
				Urgency:      urgency(m[4]),
			})
			open = true
		case !open || text == "":
		case strings.HasPrefix(text, " -- "):
			e := &out[len(out)-1]
			e.Author, e.Date = trailer(text[4:])
			open = false
		case strings.HasPrefix(text, "  "):
			e := &out[len(out)-1]
			e.Changes = append(e.Changes, text[2:])
		}
	}
	if err := s.Err(); err != nil {
		return nil, fmt.Errorf("changelog line %d: %w", line+1, err)
	}
	if len(out) == 0 {
		return nil, errors.New("no changelog entry found")
	}
	return out, nil
}

// urgency finds it among "urgency=medium, binary-only=yes".
func urgency(metadata string) string {
	for item := range strings.SplitSeq(metadata, ",") {
		k, v, _ := strings.Cut(strings.TrimSpace(item), "=")
		if strings.EqualFold(k, "urgency") {
			word, _, _ := strings.Cut(strings.TrimSpace(v), " ") // "high (remote hole)"
			return strings.ToLower(word)
		}
	}
	return ""
}

// trailer splits "Name <mail>  Thu, 01 Jan 2026 00:00:00 +0000".
func trailer(s string) (author, date string) {
	if i := strings.LastIndexByte(s, '>'); i >= 0 {
		return strings.TrimSpace(s[:i+1]), strings.TrimSpace(s[i+1:])
	}
	author, date, _ = strings.Cut(s, "  ")
	return strings.TrimSpace(author), strings.TrimSpace(date)
}

// Between are the entries newer than base and not newer than fixed. An entry
// whose version is malformed (there are some from the nineties) is left out.
func Between(es []Entry, base, fixed string) []Entry {
	var out []Entry
	for _, e := range es {
		low, err1 := Compare(base, e.Version)
		high, err2 := Compare(e.Version, fixed)
		if err1 == nil && err2 == nil && low < 0 && high <= 0 {
			out = append(out, e)
		}
	}
	return out
}

// At most 19 digits: the CVE syntax of 2014.
var cveID = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`(?i)\bCVE-[0-9]{4}-[0-9]{4,19}\b`) })

// CVEs are the CVE ids that the entries name, sorted, once each.
func CVEs(es []Entry) []string {
	var out []string
	for _, e := range es {
		for _, line := range e.Changes {
			for _, id := range cveID().FindAllString(line, -1) {
				out = append(out, strings.ToUpper(id))
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}
