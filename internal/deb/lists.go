package deb

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Listed is a binary package as an archive's list, or dpkg's, describes it.
type Listed struct {
	Package, Source, Version, Arch string
	Size                           int64  // bytes of the .deb; 0 when the list does not say
	SHA256                         string // of the .deb, hex; "" when the list does not say
}

// Update is a package for which a newer version waits.
type Update struct {
	Source, Package string
	Base, Fixed     Listed
}

const (
	maxList     = 2 << 30 // unpacked; Debian's main has some 50 MiB
	maxListLine = 4 << 20 // the longest Provides of Debian 12 has some 100 KiB
	maxListed   = 4 << 20 // packages
)

// ErrNoSuite says that apt knows no suite of that name.
var ErrNoSuite = errors.New("apt's sources have no such suite")

// ParsePackages reads an archive's Packages file or dpkg's status file and
// hands over every package in it. What cannot be asked for by name and version
// (and what dpkg knows but has not installed) is passed over.
func ParsePackages(r io.Reader, fn func(Listed) error) error {
	fields := []string{"Package", "Source", "Version", "Architecture", "Status", "SHA256", "Size"}
	return paragraphs(r, fields, func(f map[string]string) error {
		l := Listed{Package: f["Package"], Version: f["Version"], Arch: f["Architecture"]}
		if size := f["Size"]; size != "" {
			n, err := strconv.ParseInt(size, 10, 64)
			if err != nil || n < 0 {
				return fmt.Errorf("package %.80q: bad size %.40q", l.Package, size)
			}
			l.Size = n
		}
		status := f["Status"]
		if !packageName().MatchString(l.Package) || status != "" && !strings.HasSuffix(status, " installed") {
			return nil
		}
		if _, err := parseVersion(l.Version); err != nil {
			return nil
		}
		// "Source: redis (5:7.0.15-1)": the version is the source's own.
		l.Source, _, _ = strings.Cut(cmp.Or(f["Source"], l.Package), " ")
		if !packageName().MatchString(l.Source) {
			return nil
		}
		if sum := f["SHA256"]; len(sum) == 64 {
			l.SHA256 = strings.ToLower(sum)
		}
		return fn(l)
	})
}

func collect(r io.Reader, out []Listed) ([]Listed, error) {
	err := ParsePackages(r, func(l Listed) error {
		if len(out) == maxListed {
			return fmt.Errorf("more than %d packages", maxListed)
		}
		out = append(out, l)
		return nil
	})
	return out, err
}

// list is one Packages file that apt keeps.
type list struct{ file, codename, suite, component string }

// is says whether the list belongs to the suite, which may be called by code
// name ("bookworm-security") or by role ("oldstable-security").
func (l list) is(suite string) bool { return suite != "" && (l.codename == suite || l.suite == suite) }

// lists asks apt for its Packages files of an architecture, also of suites that
// were never fetched.
func (a Apt) lists(ctx context.Context, arch string) ([]list, error) {
	out, err := a.run(ctx, "", "apt-get", "indextargets",
		"--format", "$(FILENAME)|$(CODENAME)|$(SUITE)|$(COMPONENT)", "Created-By: Packages", "Architecture: "+arch)
	if err != nil {
		return nil, fmt.Errorf("find package lists: %w", err)
	}
	return parseTargets(out), nil
}

func parseTargets(text string) []list {
	var out []list
	for line := range strings.SplitSeq(text, "\n") {
		if f := strings.Split(strings.TrimSpace(line), "|"); len(f) == 4 && filepath.IsAbs(f[0]) {
			out = append(out, list{f[0], f[1], f[2], f[3]})
		}
	}
	return out
}

// Suite lists the packages that apt's lists name for a suite and architecture
// (those for all architectures too). ErrNoSuite when there is no such suite.
func (a Apt) Suite(ctx context.Context, suite, arch string) ([]Listed, error) {
	return a.suites(ctx, arch, suite, func(l list) bool { return l.is(suite) })
}

// Security is Suite for all suites whose name ends in "-security".
func (a Apt) Security(ctx context.Context, arch string) ([]Listed, error) {
	return a.suites(ctx, arch, "*-security", func(l list) bool {
		return strings.HasSuffix(l.codename, "-security") || strings.HasSuffix(l.suite, "-security")
	})
}

// All is Suite for everything that apt knows.
func (a Apt) All(ctx context.Context, arch string) ([]Listed, error) {
	return a.suites(ctx, arch, "*", func(list) bool { return true })
}

func (a Apt) suites(ctx context.Context, arch, name string, want func(list) bool) ([]Listed, error) {
	ls, err := a.lists(ctx, arch)
	if err != nil {
		return nil, err
	}
	var out []Listed
	found := false
	for _, l := range ls {
		if !want(l) {
			continue
		}
		found = true
		err := a.open(ctx, l.file, func(r io.Reader) (err error) {
			out, err = collect(r, out)
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", l.file, err)
		}
	}
	if !found {
		return nil, fmt.Errorf("list packages of %s: %w", name, ErrNoSuite)
	}
	return out, nil
}

// open reads a list, which apt may keep compressed in ways only it needs to know.
func (a Apt) open(ctx context.Context, file string, read func(io.Reader) error) error {
	if strings.HasSuffix(file, "Packages") {
		f, err := os.Open(file)
		if err == nil {
			defer f.Close()
			return read(f)
		}
		if !errors.Is(err, os.ErrNotExist) {
			return err
		}
		return ErrNotListed
	}
	helper, err := exec.LookPath("apt-helper")
	if err != nil {
		if helper, err = exec.LookPath("/usr/lib/apt/apt-helper"); err != nil {
			return fmt.Errorf("%w: apt-helper", ErrNoApt)
		}
	}
	if _, err := os.Stat(file); errors.Is(err, os.ErrNotExist) {
		return ErrNotListed
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	cmd := exec.CommandContext(ctx, helper, append(a.options(), "cat-file", file)...)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	cmd.WaitDelay = 3 * time.Second
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	if err := read(out); err != nil {
		cancel()
		_ = cmd.Wait() // its output was at fault, which is told
		return err
	}
	if err := cmd.Wait(); err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return aptError("apt-helper", stderr.String(), err)
	}
	return nil
}

// Pending are the packages of base for which fixed has a newer version, by
// source and package. Of several versions on one side the newest counts.
// Only packages of this architecture: those for all have no machine code.
func Pending(base, fixed []Listed, arch string) []Update {
	newest := func(ls []Listed) map[string]Listed {
		m := map[string]Listed{}
		for _, l := range ls {
			if l.Arch != arch {
				continue
			}
			if have, ok := m[l.Package]; !ok || newer(l.Version, have.Version) {
				m[l.Package] = l
			}
		}
		return m
	}
	have := newest(base)
	var out []Update
	for name, f := range newest(fixed) {
		if b, ok := have[name]; ok && newer(f.Version, b.Version) {
			out = append(out, Update{Source: f.Source, Package: name, Base: b, Fixed: f})
		}
	}
	slices.SortFunc(out, func(a, b Update) int {
		return cmp.Or(strings.Compare(a.Source, b.Source), strings.Compare(a.Package, b.Package))
	})
	return out
}

// newer: a is a newer version than b; both were parsed before.
func newer(a, b string) bool {
	c, err := Compare(a, b)
	return err == nil && c > 0
}

// IsPackageName says whether s can be the name of a source or binary package.
func IsPackageName(s string) bool { return packageName().MatchString(s) }
