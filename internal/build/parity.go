package build

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"hotpatch/internal/deb"
	"hotpatch/internal/patch"
)

// Outcome is what is known of one pending update: the builder's verdict, or
// why there is none.
type Outcome string

const (
	OutcomeClean      = Outcome(patch.Clean)
	OutcomeReview     = Outcome(patch.Review)
	OutcomePartial    = Outcome("partial")     // review, and only without some of its programs and libraries
	OutcomeNothing    = Outcome(patch.Nothing) // no program or library in it differs
	OutcomeRefused    = Outcome(patch.Refused)
	OutcomeNotFetched = Outcome("not-fetched") // one of the packages cannot be had
	OutcomeFailed     = Outcome("failed")      // could not be read, or the tool erred
	OutcomeNoCode     = Outcome("no-code")     // the package has no ELF file: it does not count
)

// Outcomes are all of them; where several packages of a source differ, the
// first of this list is the source's.
func Outcomes() []Outcome {
	return []Outcome{OutcomeRefused, OutcomeFailed, OutcomeNotFetched, OutcomePartial, OutcomeReview, OutcomeClean, OutcomeNothing, OutcomeNoCode}
}

// Hotpatchable: a hotpatch of the whole could be written.
func (o Outcome) Hotpatchable() bool { return o == OutcomeClean || o == OutcomeReview }

// Pair is a binary package in the version that runs and the one that is fixed.
type Pair struct {
	Source, Package           string
	BaseVersion, FixedVersion string
	BaseFile, FixedFile       string // the .debs; "" when they are to be fetched
	BaseDigest, FixedDigest   string // their hex SHA-256 where known before, else ""
	FixedSize                 int64  // bytes of the fixed .deb where known before, else 0
}

// Assessment is what came out for one binary package.
type Assessment struct {
	Source       string         `json:"source"`
	Package      string         `json:"package"`
	BaseVersion  string         `json:"base_version"`
	FixedVersion string         `json:"fixed_version"`
	Outcome      Outcome        `json:"outcome"`
	Reasons      []patch.Reason `json:"reasons"`
	GoesWith     []string       `json:"goes_with"` // packages, with versions, that it goes with only
	CVEs         []string       `json:"cves"`
	Images       int            `json:"images"`        // ELF files that differ
	Typed        int            `json:"typed"`         // of them, those with types on both sides
	Counts       patch.Counts   `json:"counts"`        // functions, over these images
	UpdateSize   int64          `json:"update_size"`   // bytes of the fixed .deb; 0: not known
	HotpatchSize int64          `json:"hotpatch_size"` // bytes; 0: none was made
	Seconds      float64        `json:"seconds"`       // that the build took
	BaseDigest   string         `json:"base_digest"`   // hex SHA-256 of the .debs
	FixedDigest  string         `json:"fixed_digest"`
}

// Assess builds one pair and says what came out. Nothing is written, and
// nothing that is wrong with the packages is an error: it is an outcome. Only
// when ctx ends is there an error, and no assessment.
func Assess(ctx context.Context, p Pair, o Options) (Assessment, error) {
	a := unassessed(p)
	if err := identify(&a, p); err != nil {
		return a.not(OutcomeNotFetched, err), nil
	}
	began := time.Now()
	o.Partial = true
	report, _, err := Build(ctx, p.BaseFile, p.FixedFile, o)
	a.Seconds = time.Since(began).Seconds()
	if ctx.Err() != nil {
		return Assessment{}, context.Cause(ctx)
	}
	if err != nil {
		return a.not(OutcomeFailed, err), nil
	}
	a.Outcome = Outcome(report.Verdict)
	if report.Bundle != nil && len(report.LeftOut) > 0 {
		a.Outcome = OutcomePartial
	}
	a.Reasons = append(a.Reasons, report.Reasons...)
	a.GoesWith = append(a.GoesWith, report.GoesWith...)
	for _, im := range report.Images {
		a.Images++
		if im.TypesBase.whole() && im.TypesFixed.whole() {
			a.Typed++
		}
		a.Counts.Same += im.Counts.Same
		a.Counts.Changed += im.Counts.Changed
		a.Counts.New += im.Counts.New
		a.Counts.Gone += im.Counts.Gone
	}
	if report.Bundle != nil {
		a.HotpatchSize = report.Bundle.Size
	}
	if a.Outcome == OutcomeNothing && a.Images == 0 {
		images, kernel, err := contents(p.FixedFile)
		switch {
		case err != nil:
			return a.not(OutcomeFailed, err), nil
		case kernel != "":
			a.Outcome = OutcomeRefused
			a.Reasons = append(a.Reasons, patch.Reason{Code: unsupportedImage, Image: kernel, Detail: "it is part of the kernel; only programs and libraries can be patched"})
		case !images:
			a.Outcome = OutcomeNoCode
		}
	}
	if err := a.changes(p); err != nil {
		return a.not(OutcomeFailed, err), nil
	}
	return a, nil
}

// unassessed is an assessment that says nothing yet.
func unassessed(p Pair) Assessment {
	return Assessment{
		Source: p.Source, Package: p.Package, BaseVersion: p.BaseVersion, FixedVersion: p.FixedVersion,
		Reasons: []patch.Reason{}, GoesWith: []string{}, CVEs: []string{}, UpdateSize: p.FixedSize,
		BaseDigest: p.BaseDigest, FixedDigest: p.FixedDigest,
	}
}

// not says why there is no verdict.
func (a Assessment) not(o Outcome, err error) Assessment {
	a.Outcome, a.Reasons = o, []patch.Reason{{Code: string(o), Detail: err.Error()}}
	return a
}

// identify takes digests and size from the files themselves.
func identify(a *Assessment, p Pair) (err error) {
	if a.BaseDigest, _, err = digestOf(p.BaseFile); err != nil {
		return err
	}
	a.FixedDigest, a.UpdateSize, err = digestOf(p.FixedFile)
	return err
}

func digestOf(path string) (digest string, size int64, err error) {
	f, err := os.Open(path)
	if err != nil {
		return "", 0, err
	}
	defer f.Close()
	h := sha256.New()
	if size, err = io.Copy(h, f); err != nil {
		return "", 0, fmt.Errorf("read %s: %w", path, err)
	}
	return hex.EncodeToString(h.Sum(nil)), size, nil
}

// contents says whether there is a program or library in a package at all, and
// names a part of the kernel, if one is in it.
func contents(path string) (images bool, kernel string, err error) {
	p, err := deb.Open(path)
	if err != nil {
		return false, "", err
	}
	err = p.Walk(func(name string, head []byte) bool {
		images = images || isImage(name, head)
		if strings.HasPrefix(name, "/boot/vmlinu") || strings.Contains(name, "/modules/") && strings.Contains(filepath.Base(name), ".ko") {
			kernel = cmp.Or(kernel, name)
		}
		return images || kernel != ""
	}, func(deb.File) error { return deb.ErrStop })
	return images, kernel, err
}

// changes takes from the fixed package's changelog which CVEs are concerned. A
// package without a changelog of its own leaves that to its siblings.
func (a *Assessment) changes(p Pair) error {
	d, err := deb.Open(p.FixedFile)
	if err != nil {
		return err
	}
	if a.Source == "" {
		a.Source = d.Source
	}
	log, err := d.Changelog()
	if errors.Is(err, deb.ErrNoChangelog) {
		return nil
	}
	if err != nil {
		return err
	}
	a.CVEs = append(a.CVEs, deb.CVEs(deb.Between(log, p.BaseVersion, p.FixedVersion))...)
	return nil
}

// Update is a source package with what came out for its binary packages; those
// without any ELF file are left out.
type Update struct {
	Source       string       `json:"source"`
	BaseVersion  string       `json:"base_version"`
	FixedVersion string       `json:"fixed_version"`
	Outcome      Outcome      `json:"outcome"`
	Because      []string     `json:"because"` // codes of the reasons that decided
	CVEs         []string     `json:"cves"`
	UpdateSize   int64        `json:"update_size"`
	HotpatchSize int64        `json:"hotpatch_size"` // 0 unless all packages can be hotpatched, if in part
	Seconds      float64      `json:"seconds"`
	Packages     []Assessment `json:"packages"`
}

// Parity is how far hotpatches keep up with a channel of updates.
type Parity struct {
	Sources      int             `json:"sources"`      // that have an update with ELF files
	Hotpatchable int             `json:"hotpatchable"` // clean or review
	Outcomes     map[Outcome]int `json:"outcomes"`     // sources by outcome
	Reasons      []ReasonCount   `json:"reasons"`      // what decided; refusals first, then by sources
	NoCode       int             `json:"no_code"`      // packages without ELF files, not counted above
	Updates      []Update        `json:"updates"`      // by source
}

// ReasonCount is how many sources a reason decided on.
type ReasonCount struct {
	Code    string  `json:"code"`
	Outcome Outcome `json:"outcome"`
	Sources int     `json:"sources"`
	Alone   int     `json:"alone"` // of them, where no other reason decided too
}

// Summarise groups assessments by source.
func Summarise(as []Assessment) *Parity {
	p := &Parity{Outcomes: map[Outcome]int{}, Reasons: []ReasonCount{}, Updates: []Update{}}
	for _, o := range Outcomes() {
		if o != OutcomeNoCode {
			p.Outcomes[o] = 0
		}
	}
	as = slices.SortedStableFunc(slices.Values(as), func(a, b Assessment) int {
		return cmp.Or(strings.Compare(a.Source, b.Source), strings.Compare(a.Package, b.Package))
	})
	counts := map[[2]string]*ReasonCount{}
	for len(as) > 0 {
		n := 1
		for n < len(as) && as[n].Source == as[0].Source {
			n++
		}
		u := updateOf(as[:n])
		p.NoCode += n - len(u.Packages)
		as = as[n:]
		if len(u.Packages) == 0 {
			continue
		}
		p.Updates = append(p.Updates, u)
		p.Sources++
		p.Outcomes[u.Outcome]++
		if u.Outcome.Hotpatchable() {
			p.Hotpatchable++
		}
		for _, code := range u.Because {
			key := [2]string{code, string(u.Outcome)}
			if counts[key] == nil {
				counts[key] = &ReasonCount{Code: code, Outcome: u.Outcome}
			}
			counts[key].Sources++
			if len(u.Because) == 1 {
				counts[key].Alone++
			}
		}
	}
	for _, c := range counts {
		p.Reasons = append(p.Reasons, *c)
	}
	slices.SortFunc(p.Reasons, func(a, b ReasonCount) int {
		return cmp.Or(slices.Index(Outcomes(), a.Outcome)-slices.Index(Outcomes(), b.Outcome),
			cmp.Compare(b.Sources, a.Sources), strings.Compare(a.Code, b.Code))
	})
	return p
}

// updateOf puts the packages of one source together.
func updateOf(as []Assessment) Update {
	u := Update{Source: as[0].Source, Because: []string{}, CVEs: []string{}, Packages: []Assessment{}}
	worst := len(Outcomes())
	for _, a := range heldBack(as) {
		for _, c := range a.CVEs {
			u.CVEs = append(u.CVEs, c) // also of packages without code: one source, one changelog
		}
		if a.Outcome == OutcomeNoCode {
			continue
		}
		if len(u.Packages) == 0 {
			u.BaseVersion, u.FixedVersion = a.BaseVersion, a.FixedVersion
		}
		u.Packages = append(u.Packages, a)
		worst = min(worst, slices.Index(Outcomes(), a.Outcome))
		u.UpdateSize += a.UpdateSize
		u.HotpatchSize += a.HotpatchSize
		u.Seconds += a.Seconds
	}
	if len(u.Packages) == 0 {
		return u
	}
	u.Outcome = Outcomes()[worst]
	if !u.Outcome.Hotpatchable() && u.Outcome != OutcomePartial {
		u.HotpatchSize = 0 // half a source is no help
	}
	for _, a := range u.Packages {
		if a.Outcome != u.Outcome {
			continue
		}
		for _, r := range a.Reasons {
			if u.Outcome != OutcomeRefused || !reviewable(r.Code) {
				u.Because = append(u.Because, r.Code)
			}
		}
	}
	u.Because = unique(u.Because)
	u.CVEs = unique(u.CVEs)
	return u
}

// heldBack refuses the packages that go only with another one of the source
// that is refused, or that leaves something out: the processes of both cannot
// have the whole.
func heldBack(as []Assessment) []Assessment {
	out := slices.Clone(as)
	for again := true; again; {
		again = false
		for i := range out {
			a := &out[i]
			if !a.Outcome.Hotpatchable() && a.Outcome != OutcomePartial {
				continue
			}
			for _, b := range out {
				with := func(s string) bool { return strings.HasPrefix(s, b.Package+" ") }
				if b.Outcome != OutcomeRefused && b.Outcome != OutcomePartial || !slices.ContainsFunc(a.GoesWith, with) {
					continue
				}
				a.Outcome, again = OutcomeRefused, true
				a.Reasons = append(slices.Clone(a.Reasons), patch.Reason{Code: heldBackCode, Detail: fmt.Sprintf("%s goes with %s of the same version only, which is %s", a.Package, b.Package, b.Outcome)})
				break
			}
		}
	}
	return out
}

func unique(list []string) []string {
	slices.Sort(list)
	return slices.Compact(list)
}
