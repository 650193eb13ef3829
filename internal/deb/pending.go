package deb

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
)

// Candidate is an installed package for which apt would install a newer
// version.
type Candidate struct {
	Package       string   `json:"package"`
	Arch          string   `json:"arch"` // of the installed one
	Source        string   `json:"source"`
	SourceVersion string   `json:"source_version"` // of the candidate
	SourceBefore  string   `json:"source_before"`  // version of the source of the installed one
	Installed     string   `json:"installed"`
	Version       string   `json:"version"` // the candidate's
	Origins       []Origin `json:"origins"` // of the candidate
	Security      bool     `json:"security"`
	Held          bool     `json:"held,omitempty"`
	Size          int64    `json:"size"` // of the .deb, bytes
	Unpacked      int64    `json:"unpacked"`
	SHA256        string   `json:"sha256,omitempty"`
}

// Choice is the candidate as something to install.
func (c Candidate) Choice() Choice {
	return Choice{Package: c.Package, Arch: c.Arch, Version: c.Version}
}

// Pending lists what apt would upgrade, by source and package, pins respected:
// apt decides what a candidate is. Security says that any version newer than
// the installed one came through a suite for security updates: a point release
// carries the same fixes under another origin.
// It uses the lists as they are (Update fetches them).
func (s System) Pending(ctx context.Context) ([]Candidate, error) {
	have, err := s.Dpkg().Status()
	if err != nil {
		return nil, fmt.Errorf("list installed packages: %w", err)
	}
	if err := s.prepare(); err != nil && !os.IsPermission(err) {
		return nil, err
	}
	text, err := s.ask(ctx, "apt-cache", append(s.aptArgs(), "policy")...)
	if err != nil {
		return nil, fmt.Errorf("list sources: %w", err)
	}
	origins := parseOrigins(text)
	byName := map[string]Installed{}
	var names []string
	for _, i := range have {
		if i.Ready() || i.State == "triggers-awaited" || i.State == "triggers-pending" {
			names = append(names, i.Name())
			byName[i.Name()] = i
			if i.Arch == Arch() || i.Arch == "all" {
				byName[i.Package] = i // as apt calls it
			}
		}
	}
	var out []Candidate
	for part := range slices.Chunk(names, 1000) {
		text, err := s.ask(ctx, "apt-cache", append(append(s.aptArgs(), "policy", "--"), part...)...)
		if err != nil {
			return nil, fmt.Errorf("list candidates: %w", err)
		}
		for _, p := range parsePolicy(text) {
			if c, ok := candidate(p, byName, origins); ok {
				out = append(out, c)
			}
		}
	}
	if err := s.describe(ctx, out); err != nil {
		return nil, err
	}
	slices.SortFunc(out, func(a, b Candidate) int {
		return cmp.Or(strings.Compare(a.Source, b.Source), strings.Compare(a.Package, b.Package), strings.Compare(a.Arch, b.Arch))
	})
	return out, nil
}

func candidate(p policy, byName map[string]Installed, origins map[string]Origin) (Candidate, bool) {
	i, ok := byName[p.name]
	if !ok || p.candidate == "" || !newer(p.candidate, i.Version) {
		return Candidate{}, false
	}
	c := Candidate{Package: i.Package, Arch: i.Arch, Source: i.Source, SourceBefore: i.SourceVersion, Installed: i.Version, Version: p.candidate, Held: i.Held, Origins: []Origin{}}
	for _, v := range p.versions {
		for _, at := range v.at {
			o, ok := origins[at]
			if !ok {
				continue
			}
			if v.version == p.candidate && !slices.Contains(c.Origins, o) {
				c.Origins = append(c.Origins, o)
			}
			if o.Security() && newer(v.version, i.Version) && !newer(v.version, p.candidate) {
				c.Security = true
			}
		}
	}
	return c, true
}

// record is what the lists say of one .deb.
type record struct {
	pkg, arch, version, source, sourceVersion, sha256 string
	size, unpacked                                    int64
}

// records asks for several versions at once. What the lists do not have is
// simply not among them.
func (s System) records(ctx context.Context, choices []Choice) ([]record, error) {
	if len(choices) == 0 {
		return nil, nil
	}
	args := append(s.aptArgs(), "show", "--no-all-versions", "--")
	for _, c := range choices {
		args = append(args, c.arg())
	}
	text, err := s.ask(ctx, "apt-cache", args...)
	if err != nil && !errors.Is(err, ErrNotListed) {
		return nil, fmt.Errorf("look up versions: %w", err)
	}
	return parseRecords(text)
}

func parseRecords(text string) ([]record, error) {
	var out []record
	want := []string{"Package", "Architecture", "Version", "Source", "Size", "Installed-Size", "SHA256"}
	err := paragraphs(strings.NewReader(text), want, func(f map[string]string) error {
		r := record{pkg: f["Package"], arch: f["Architecture"], version: f["Version"], sha256: strings.ToLower(f["SHA256"])}
		if !packageName().MatchString(r.pkg) || len(r.sha256) != 64 && r.sha256 != "" {
			return fmt.Errorf("bad record of %.80q", r.pkg)
		}
		if _, err := parseVersion(r.version); err != nil {
			return fmt.Errorf("package %s: %w", r.pkg, err)
		}
		var err error
		if r.source, r.sourceVersion, err = parseSource(f["Source"], r.pkg, r.version); err != nil {
			return fmt.Errorf("package %s: %w", r.pkg, err)
		}
		if r.unpacked, err = kibibytes(f["Installed-Size"]); err != nil {
			return fmt.Errorf("package %s: %w", r.pkg, err)
		}
		if f["Size"] != "" {
			if r.size, err = strconv.ParseInt(f["Size"], 10, 64); err != nil || r.size < 0 {
				return fmt.Errorf("package %s: bad size %.40q", r.pkg, f["Size"])
			}
		}
		out = append(out, r)
		return nil
	})
	return out, err
}

// describe fills in what only the lists know.
func (s System) describe(ctx context.Context, cs []Candidate) error {
	choices := make([]Choice, len(cs))
	for i, c := range cs {
		choices[i] = c.Choice()
	}
	for part := range slices.Chunk(choices, 1000) {
		rs, err := s.records(ctx, part)
		if err != nil {
			return err
		}
		for _, r := range rs {
			for i := range cs {
				if c := &cs[i]; c.Package == r.pkg && c.Version == r.version && (c.Arch == r.arch || r.arch == "all" || c.Arch == "all") {
					c.Source, c.SourceVersion, c.Size, c.Unpacked, c.SHA256 = r.source, r.sourceVersion, r.size, r.unpacked, r.sha256
				}
			}
		}
	}
	return nil
}
