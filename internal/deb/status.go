package deb

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strconv"
	"strings"
)

// Installed is a package as dpkg's status file has it.
type Installed struct {
	Package       string `json:"package"`
	Arch          string `json:"arch"`
	Version       string `json:"version"`
	Source        string `json:"source"`
	SourceVersion string `json:"source_version"`
	State         string `json:"state"`            // dpkg's word: "installed", "unpacked", "half-configured", ...
	Held          bool   `json:"held,omitempty"`   // an administrator said: leave it as it is
	Broken        bool   `json:"broken,omitempty"` // dpkg wants it installed anew ("reinstreq")
	Size          int64  `json:"size"`             // on disk in bytes, as the package says
}

// Name is what apt and dpkg understand: with the architecture, without which a
// package that may be there twice is ambiguous.
func (i Installed) Name() string { return i.Package + ":" + i.Arch }

// Ready says that the package is wholly there.
func (i Installed) Ready() bool { return i.State == "installed" && !i.Broken }

// present says that some of its files may be there.
func (i Installed) present() bool {
	return i.State != "not-installed" && i.State != "config-files"
}

// Status lists every package of which anything but configuration is on disk,
// also those that are not wholly installed, by name and architecture.
func (d Dpkg) Status() ([]Installed, error) {
	var out []Installed
	err := d.read("/var/lib/dpkg/status", func(r io.Reader) (err error) {
		out, err = ParseStatus(r)
		return err
	})
	if err != nil {
		return nil, err
	}
	notes, err := d.notes()
	if err != nil || len(notes) == 0 {
		return out, err
	}
	for _, n := range notes {
		if out, err = d.amend(out, n); err != nil {
			return nil, err
		}
	}
	sortInstalled(out)
	return out, nil
}

// notes are the files in which dpkg keeps what it has not merged into its
// status file yet, in order: numbers only (dpkg, dbmodify.c).
func (d Dpkg) notes() ([]string, error) {
	const dir = "/var/lib/dpkg/updates"
	f, err := d.open(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	names, err := f.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, name := range names {
		if _, err := strconv.ParseUint(name, 10, 32); err == nil {
			out = append(out, dir+"/"+name)
		}
	}
	slices.Sort(out)
	return out, nil
}

// amend replaces what a note says anew.
func (d Dpkg) amend(all []Installed, name string) ([]Installed, error) {
	f, err := d.open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return all, nil // dpkg works, and has merged it meanwhile
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	err = paragraphs(f, statusFields(), func(m map[string]string) error {
		i, err := parseInstalled(m)
		if err != nil {
			return fmt.Errorf("read %s: package %.80q: %w", name, m["Package"], err)
		}
		all = slices.DeleteFunc(all, func(x Installed) bool { return x.Package == i.Package && (x.Arch == i.Arch || i.Arch == "") })
		if i.present() {
			all = append(all, i)
		}
		return nil
	})
	return all, err
}

func sortInstalled(all []Installed) {
	slices.SortFunc(all, func(a, b Installed) int {
		return cmp.Or(strings.Compare(a.Package, b.Package), strings.Compare(a.Arch, b.Arch))
	})
}

// ParseStatus reads dpkg's status file, deb-control(5) with the field Status:
// "WANT FLAG STATE". A paragraph that dpkg could not have written is an error.
func ParseStatus(r io.Reader) ([]Installed, error) {
	var out []Installed
	err := paragraphs(r, statusFields(), func(f map[string]string) error {
		i, err := parseInstalled(f)
		if err != nil {
			return fmt.Errorf("package %.80q: %w", f["Package"], err)
		}
		if !i.present() {
			return nil
		}
		if len(out) == maxListed {
			return fmt.Errorf("more than %d packages", maxListed)
		}
		out = append(out, i)
		return nil
	})
	if err != nil {
		return nil, err
	}
	sortInstalled(out)
	return out, nil
}

func statusFields() []string {
	return []string{"Package", "Status", "Architecture", "Version", "Source", "Installed-Size"}
}

func parseInstalled(f map[string]string) (Installed, error) {
	i := Installed{Package: f["Package"], Arch: f["Architecture"], Version: f["Version"]}
	words := strings.Fields(f["Status"])
	if len(words) != 3 {
		return i, fmt.Errorf("bad status %.40q", f["Status"])
	}
	i.Held, i.Broken, i.State = words[0] == "hold", words[1] != "ok", words[2]
	if !packageName().MatchString(i.Package) {
		return i, errors.New("bad name")
	}
	if !i.present() {
		return i, nil // has no more than a name
	}
	if i.Version == "" && i.State == "half-installed" {
		return i, nil // killed while its first version was unpacked
	}
	if _, err := parseVersion(i.Version); err != nil {
		return i, err
	}
	var err error
	if i.Source, i.SourceVersion, err = parseSource(f["Source"], i.Package, i.Version); err != nil {
		return i, err
	}
	i.Size, err = kibibytes(f["Installed-Size"])
	return i, err
}

// parseSource reads "redis (5:7.0.15-1)": without it the source has the
// package's own name and version, without parentheses the package's version.
func parseSource(field, pkg, version string) (name, sourceVersion string, err error) {
	name, sourceVersion = pkg, version
	if field != "" {
		before, in, found := strings.Cut(field, "(")
		name = strings.TrimSpace(before)
		if found {
			sourceVersion = strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(in), ")"))
		}
	}
	if !packageName().MatchString(name) {
		return "", "", fmt.Errorf("bad source name %.80q", name)
	}
	if _, err := parseVersion(sourceVersion); err != nil {
		return "", "", fmt.Errorf("source: %w", err)
	}
	return name, sourceVersion, nil
}

// kibibytes reads Installed-Size, which need not be there.
func kibibytes(s string) (int64, error) {
	if s == "" {
		return 0, nil
	}
	n, err := strconv.ParseUint(s, 10, 40)
	if err != nil {
		return 0, fmt.Errorf("bad size %.40q", s)
	}
	return int64(n) << 10, nil
}

// paragraphs hands over the wanted fields of every paragraph that has any of
// them; continuation lines are left out. The map is only good for the call.
func paragraphs(r io.Reader, want []string, fn func(map[string]string) error) error {
	s := bufio.NewScanner(&bounded{r: r, left: maxList})
	s.Buffer(make([]byte, 64<<10), maxListLine)
	fields := map[string]string{}
	line := 0
	flush := func() error {
		if len(fields) == 0 {
			return nil
		}
		defer clear(fields)
		return fn(fields)
	}
	for s.Scan() {
		line++
		text := s.Bytes()
		if len(bytes.TrimSpace(text)) == 0 {
			if err := flush(); err != nil {
				return err
			}
			continue
		}
		name, value, ok := bytes.Cut(text, []byte(":"))
		if !ok || text[0] == ' ' || text[0] == '\t' {
			continue
		}
		if i := slices.Index(want, string(name)); i >= 0 {
			fields[want[i]] = string(bytes.TrimSpace(value))
		}
	}
	if err := s.Err(); err != nil {
		return fmt.Errorf("line %d: %w", line+1, err)
	}
	return flush()
}

// Condition is what dpkg was left in the middle of. The zero value is clean.
type Condition struct {
	// Journal says that dpkg has notes that it has not yet merged into its
	// status file: it was killed, or works at this moment.
	Journal bool `json:"journal,omitempty"`
	// Unfinished are packages that are not wholly installed.
	Unfinished []Installed `json:"unfinished,omitempty"`
}

// Clean says that nothing is to be repaired. Packages that wait for the
// triggers of others work and are finished by any next run of dpkg.
func (c Condition) Clean() bool { return !c.Journal && len(c.Unfinished) == 0 }

// Condition looks for what an interrupted dpkg leaves behind.
func (d Dpkg) Condition() (Condition, error) {
	var c Condition
	notes, err := d.notes()
	if err != nil {
		return c, err
	}
	c.Journal = len(notes) > 0
	all, err := d.Status()
	if err != nil {
		return c, err
	}
	for _, i := range all {
		if !i.Ready() && i.State != "triggers-awaited" && i.State != "triggers-pending" {
			c.Unfinished = append(c.Unfinished, i)
		}
	}
	return c, nil
}
