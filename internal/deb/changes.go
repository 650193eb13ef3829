package deb

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
)

// Changes are the changelog entries between the installed and the candidate
// version of one source package; the versions are the source's.
type Changes struct {
	Source  string   `json:"source"`
	From    string   `json:"from"` // installed, not included
	To      string   `json:"to"`
	Entries []Entry  `json:"entries"`
	CVEs    []string `json:"cves"`
}

// ErrTooLarge says that a package is not fetched for its changelog alone.
var ErrTooLarge = errors.New("the package is too large to be fetched for its changelog")

// maxFetch is for a package of which only the changelog is wanted.
const maxFetch = 64 << 20

// Changes reads what was fixed for a candidate: the changelog is inside its
// .deb, so the smallest package of the same source among all that wait is
// fetched (and kept for installing), unless an answer of a former call is
// still right. ErrNoChangelog when none of the packages has one.
func (s System) Changes(ctx context.Context, c Candidate, all []Candidate) (Changes, error) {
	want := Changes{Source: c.Source, From: c.SourceBefore, To: c.SourceVersion}
	name := s.file(s.state("changelogs/" + c.Source + "_" + escape(c.SourceVersion) + ".json"))
	if es, ok := s.remembered(name, want); ok {
		return want.with(es), nil
	}
	siblings := []Candidate{c}
	for _, o := range all {
		if o.Source == c.Source && o.SourceVersion == c.SourceVersion && (o.Package != c.Package || o.Arch != c.Arch) {
			siblings = append(siblings, o)
		}
	}
	slices.SortStableFunc(siblings, func(a, b Candidate) int { return int(min(max(a.Size-b.Size, -1), 1)) })
	err := error(ErrNoChangelog)
	for _, o := range siblings {
		var es []Entry
		if es, err = s.changelog(ctx, o); err == nil {
			if err := s.remember(name, want, es); err != nil {
				return Changes{}, fmt.Errorf("keep changelog of %s: %w", c.Source, err)
			}
			return want.with(es), nil
		}
		if !errors.Is(err, ErrNoChangelog) && !errors.Is(err, ErrTooLarge) {
			break
		}
	}
	return Changes{}, fmt.Errorf("read changes of %s %s: %w", c.Source, c.Version, err)
}

func (s System) changelog(ctx context.Context, c Candidate) ([]Entry, error) {
	if c.Size > maxFetch {
		return nil, ErrTooLarge
	}
	path, err := s.fetch(ctx, c.Choice(), c.SHA256)
	if err != nil {
		return nil, err
	}
	p, err := Open(path)
	if err != nil {
		return nil, err
	}
	return p.Changelog()
}

func (c Changes) with(es []Entry) Changes {
	c.Entries = Between(es, c.From, c.To)
	c.CVEs = CVEs(c.Entries)
	if c.Entries == nil {
		c.Entries = []Entry{}
	}
	if c.CVEs == nil {
		c.CVEs = []string{}
	}
	return c
}

// remember keeps the entries that are newer than the installed version.
func (s System) remember(name string, c Changes, es []Entry) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	b, err := json.Marshal(c.with(es))
	if err != nil {
		return err
	}
	return writeFile(name, b)
}

// remembered: a damaged memory is none, and neither is one that starts later.
func (s System) remembered(name string, want Changes) ([]Entry, bool) {
	st, err := os.Stat(name)
	if err != nil || st.Size() > maxChangelog {
		return nil, false
	}
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, false
	}
	var c Changes
	if json.Unmarshal(b, &c) != nil || c.Source != want.Source {
		return nil, false
	}
	if low, err := Compare(c.From, want.From); err != nil || low > 0 {
		return nil, false
	}
	if high, err := Compare(c.To, want.To); err != nil || high < 0 {
		return nil, false
	}
	return c.Entries, true
}
