package deb

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
)

// ErrNoSource says that no archive offers the source of the version asked for.
// An archive usually has the source of the newest version of each suite only.
var ErrNoSource = errors.New("no archive offers its source")

// SourceOffer is a version of a source package that apt can fetch.
type SourceOffer struct {
	Source, Version string
	Binaries        []string
}

// SourceApt fetches source packages with apt, from the archives that this host
// takes its binary packages from, with lists of its own: /etc/apt is read and
// never written.
type SourceApt struct {
	State string // directory for lists and configuration
}

// Update fetches the lists of sources.
func (s SourceApt) Update(ctx context.Context) error {
	if err := s.prepare(ctx); err != nil {
		return fmt.Errorf("update lists of sources: %w", err)
	}
	// An archive without sources is no error to apt; one that is down is, but
	// the others may have what is wanted.
	if _, err := (Apt{}).run(ctx, "", "apt-get", append(s.options(), "-q", "update")...); err != nil {
		return fmt.Errorf("update lists of sources: %w", err)
	}
	return nil
}

// Offers lists the sources that build a package (or are called like it),
// newest first. ErrNoSource when there is none.
func (s SourceApt) Offers(ctx context.Context, pkg string) ([]SourceOffer, error) {
	if !packageName().MatchString(pkg) {
		return nil, fmt.Errorf("find source: bad package name %.80q", pkg)
	}
	out, err := (Apt{}).run(ctx, "", "apt-cache", append(s.options(), "showsrc", pkg)...)
	if err != nil && !errors.Is(err, ErrNotListed) && !strings.Contains(err.Error(), "You must put some") {
		return nil, fmt.Errorf("find source of %s: %w", pkg, err)
	}
	offers, err := parseShowSrc(out)
	if err != nil {
		return nil, fmt.Errorf("find source of %s: %w", pkg, err)
	}
	if len(offers) == 0 {
		return nil, fmt.Errorf("find source of %s: %w", pkg, ErrNoSource)
	}
	return offers, nil
}

// Find is the source of pkg=version, where pkg is a source package or a binary
// one; the version may be that of a rebuild without changes (+b1). ErrNoSource
// says which versions there are.
func (s SourceApt) Find(ctx context.Context, pkg, version string) (SourceOffer, error) {
	if _, err := parseVersion(version); err != nil {
		return SourceOffer{}, fmt.Errorf("find source of %.80s: %w", pkg, err)
	}
	offers, err := s.Offers(ctx, pkg)
	if err != nil {
		return SourceOffer{}, err
	}
	var have []string
	for _, o := range offers {
		if o.Version == version || o.Version == WithoutRebuild(version) {
			return o, nil
		}
		have = append(have, o.Version)
	}
	return SourceOffer{}, fmt.Errorf("find source of %s=%s: %w: only %s", pkg, version, ErrNoSource, strings.Join(slices.Compact(have), ", "))
}

// Download fetches the files of a source package into dir and returns the path
// of the .dsc. apt compares them with the archive's signed lists.
func (s SourceApt) Download(ctx context.Context, o SourceOffer, dir string) (string, error) {
	if !packageName().MatchString(o.Source) {
		return "", fmt.Errorf("fetch source: bad package name %.80q", o.Source)
	}
	if _, err := parseVersion(o.Version); err != nil {
		return "", fmt.Errorf("fetch source %s: %w", o.Source, err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	args := append(s.options(), "-q", "source", "--download-only", "--only-source", o.Source+"="+o.Version)
	if _, err := (Apt{}).run(ctx, dir, "apt-get", args...); err != nil {
		return "", fmt.Errorf("fetch source %s=%s: %w", o.Source, o.Version, err)
	}
	path := filepath.Join(dir, o.Source+"_"+withoutEpoch(o.Version)+".dsc")
	d, err := OpenDsc(path)
	if err != nil {
		return "", fmt.Errorf("fetch source %s=%s: %w", o.Source, o.Version, err)
	}
	if d.Source != o.Source || d.Version != o.Version {
		return "", fmt.Errorf("fetch source %s=%s: %s is of %s=%s", o.Source, o.Version, path, d.Source, d.Version)
	}
	return path, nil
}

// parseShowSrc reads the stanzas of apt-cache showsrc, newest first, each
// version once. Stanzas that cannot be understood are passed over.
func parseShowSrc(text string) ([]SourceOffer, error) {
	var out []SourceOffer
	for para := range strings.SplitSeq(text, "\n\n") {
		if strings.TrimSpace(para) == "" {
			continue
		}
		fields, err := stanza(para)
		if err != nil {
			return nil, err
		}
		o := SourceOffer{Source: fields["package"], Version: fields["version"]}
		if _, err := parseVersion(o.Version); err != nil || !packageName().MatchString(o.Source) {
			continue
		}
		for b := range strings.SplitSeq(fields["binary"], ",") {
			if b = strings.TrimSpace(b); packageName().MatchString(b) {
				o.Binaries = append(o.Binaries, b)
			}
		}
		if !slices.ContainsFunc(out, func(x SourceOffer) bool { return x.Source == o.Source && x.Version == o.Version }) {
			out = append(out, o)
		}
	}
	slices.SortStableFunc(out, func(a, b SourceOffer) int {
		c, _ := Compare(b.Version, a.Version) // both were parsed above
		return c
	})
	return out, nil
}

var rebuildSuffix = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`\+b[0-9]+$`) })

// WithoutRebuild is the version of the source of a package that was rebuilt
// without changes: 1.2-3+b1 comes from 1.2-3.
func WithoutRebuild(version string) string { return rebuildSuffix().ReplaceAllString(version, "") }

func withoutEpoch(version string) string {
	if _, rest, ok := strings.Cut(version, ":"); ok {
		return rest
	}
	return version
}

func (s SourceApt) options() []string {
	return []string{
		"-o", "Dir::State::Lists=" + filepath.Join(s.State, "lists"),
		"-o", "Dir::Cache=" + filepath.Join(s.State, "cache"),
		"-o", "Dir::Etc::SourceList=/dev/null",
		"-o", "Dir::Etc::SourceParts=" + filepath.Join(s.State, "sources.list.d"),
	}
}

// prepare writes the host's list of archives once more, for sources.
func (s SourceApt) prepare(ctx context.Context) error {
	for _, sub := range []string{"lists/partial", "cache/archives/partial", "sources.list.d"} {
		if err := os.MkdirAll(filepath.Join(s.State, sub), 0o755); err != nil {
			return err
		}
	}
	out, err := (Apt{}).run(ctx, "", "apt-config", "shell", "LIST", "Dir::Etc::sourcelist/f", "PARTS", "Dir::Etc::sourceparts/d")
	if err != nil {
		return err
	}
	list, parts := shellValue(out, "LIST"), shellValue(out, "PARTS")
	names, err := filepath.Glob(filepath.Join(parts, "*"))
	if err != nil {
		return err
	}
	found := false
	for i, name := range append([]string{list}, names...) {
		ext := filepath.Ext(name)
		if ext != ".list" && ext != ".sources" {
			continue
		}
		text, err := os.ReadFile(name)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		found = true
		to := filepath.Join(s.State, "sources.list.d", fmt.Sprintf("%03d%s", i, ext))
		if err := os.WriteFile(to, []byte(forSources(string(text), ext)), 0o644); err != nil {
			return err
		}
	}
	if !found {
		return fmt.Errorf("apt knows no archives (%s and %s are empty)", list, parts)
	}
	return nil
}

// shellValue reads one NAME='value' of apt-config shell.
func shellValue(text, name string) string {
	for line := range strings.SplitSeq(text, "\n") {
		if v, ok := strings.CutPrefix(line, name+"="); ok {
			return strings.Trim(v, "'")
		}
	}
	return ""
}

var archiveLines = sync.OnceValue(func() map[string]*regexp.Regexp {
	return map[string]*regexp.Regexp{
		".list":    regexp.MustCompile(`(?m)^[ \t]*deb(?:-src)?([ \t])`),
		".sources": regexp.MustCompile(`(?mi)^Types:.*$`),
	}
})

// forSources turns a list of archives, sources.list(5), into one of sources.
func forSources(text, ext string) string {
	if ext == ".list" {
		return archiveLines()[ext].ReplaceAllString(text, "deb-src$1")
	}
	return archiveLines()[ext].ReplaceAllString(text, "Types: deb-src")
}
