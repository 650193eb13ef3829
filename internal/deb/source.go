package deb

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Dsc is a Debian source control file, dsc(5): what a source package is made
// of, and which binary packages come out of it.
type Dsc struct {
	Path            string // of the .dsc
	Source, Version string
	Binaries        []string     // names, as listed
	Machine         []string     // those of them with machine code for amd64; no udeb
	Files           []SourceFile // without the .dsc itself
}

// SourceFile is one file of a source package, next to its .dsc.
type SourceFile struct {
	Name   string
	Size   int64
	SHA256 string // hex, lower case
}

const (
	maxDsc      = 1 << 20
	maxDscLines = 1 << 14
)

// OpenDsc reads a .dsc file. The files that it names are not looked at.
func OpenDsc(path string) (*Dsc, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	d, err := ParseDsc(f)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	d.Path = path
	return d, nil
}

// ParseDsc reads a .dsc, signed or not. A signature is passed over: who fetched
// the file has compared it with a signed list, or trusts where it came from.
func ParseDsc(r io.Reader) (*Dsc, error) {
	fields, err := dscFields(r)
	if err != nil {
		return nil, err
	}
	one := func(name string) string { return strings.Join(fields[name], " ") }
	d := &Dsc{Source: one("source"), Version: one("version")}
	if !packageName().MatchString(d.Source) {
		return nil, fmt.Errorf("bad source name %.80q", d.Source)
	}
	if _, err := parseVersion(d.Version); err != nil {
		return nil, err
	}
	for name := range strings.SplitSeq(one("binary"), ",") {
		if name = strings.TrimSpace(name); name == "" {
			continue
		}
		if !packageName().MatchString(name) {
			return nil, fmt.Errorf("field Binary: bad package name %.80q", name)
		}
		d.Binaries = append(d.Binaries, name)
	}
	d.Machine = withCode(d.Binaries, fields["package-list"])
	if d.Files, err = dscFiles(fields["checksums-sha256"]); err != nil {
		return nil, fmt.Errorf("field Checksums-Sha256: %w", err)
	}
	return d, nil
}

// dscFields reads the one stanza: names in lower case, a value per line.
func dscFields(r io.Reader) (map[string][]string, error) {
	s := bufio.NewScanner(&bounded{r: r, left: maxDsc})
	s.Buffer(make([]byte, 4096), maxDsc)
	fields := map[string][]string{}
	last, n := "", 0
	armour := false // in the header lines of a signed message, RFC 9580 §7
	for s.Scan() {
		line := strings.TrimRight(s.Text(), " \t\r")
		if n++; n > maxDscLines {
			return nil, fmt.Errorf("more than %d lines", maxDscLines)
		}
		switch {
		case line == "-----BEGIN PGP SIGNED MESSAGE-----":
			armour = true
		case armour:
			armour = line != ""
		case line == "" && len(fields) == 0:
		case line == "" || strings.HasPrefix(line, "-----BEGIN PGP SIGNATURE"):
			return fields, nil
		case strings.HasPrefix(line, "#"):
		case line[0] == ' ' || line[0] == '\t':
			if last == "" {
				return nil, fmt.Errorf("line %d: continues no field", n)
			}
			fields[last] = append(fields[last], strings.TrimSpace(line))
		default:
			name, value, ok := strings.Cut(strings.TrimPrefix(line, "- "), ":")
			name = strings.ToLower(name)
			if !ok || name == "" || strings.ContainsAny(name, " \t") {
				return nil, fmt.Errorf("line %d: not a field", n)
			}
			if _, twice := fields[name]; twice {
				return nil, fmt.Errorf("line %d: field %s appears twice", n, name)
			}
			last = name
			fields[name] = nil
			if value = strings.TrimSpace(value); value != "" {
				fields[name] = []string{value}
			}
		}
	}
	if err := s.Err(); err != nil {
		return nil, fmt.Errorf("line %d: %w", n+1, err)
	}
	return fields, nil
}

// withCode leaves out what Package-List says has no machine code for amd64. A
// source package from before that field says nothing: then all may have some.
func withCode(binaries, list []string) []string {
	without := map[string]bool{}
	for _, line := range list {
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		without[f[0]] = f[1] == "udeb"
		for _, x := range f[2:] {
			if archs, ok := strings.CutPrefix(x, "arch="); ok {
				without[f[0]] = without[f[0]] || !slices.ContainsFunc(strings.Split(archs, ","), meansAMD64)
			}
		}
	}
	var out []string
	for _, b := range binaries {
		if !without[b] {
			out = append(out, b)
		}
	}
	return out
}

// meansAMD64 says whether an architecture wildcard (Debian Policy 11.1.1) takes
// in amd64.
func meansAMD64(arch string) bool {
	switch arch {
	case "any", "amd64", "linux-any", "linux-amd64", "any-amd64", "gnu-any-any", "gnu-linux-any", "gnu-any-amd64", "gnu-linux-amd64":
		return true
	}
	return false
}

// dscFiles reads lines "DIGEST SIZE NAME".
func dscFiles(lines []string) ([]SourceFile, error) {
	var out []SourceFile
	for _, line := range lines {
		f := strings.Fields(line)
		if len(f) != 3 {
			return nil, fmt.Errorf("%.80q is not digest, size and name", line)
		}
		if b, err := hex.DecodeString(f[0]); err != nil || len(b) != sha256.Size {
			return nil, fmt.Errorf("%.80q is no SHA-256", f[0])
		}
		size, err := strconv.ParseInt(f[1], 10, 64)
		if err != nil || size < 0 {
			return nil, fmt.Errorf("bad size %.40q", f[1])
		}
		if name := f[2]; name != filepath.Base(name) || strings.HasPrefix(name, ".") || strings.HasPrefix(name, "-") || len(name) > 255 {
			return nil, fmt.Errorf("bad file name %.80q", name)
		}
		out = append(out, SourceFile{f[2], size, strings.ToLower(f[0])})
	}
	if len(out) == 0 {
		return nil, errors.New("it names no files")
	}
	return out, nil
}

// Verify compares the files next to the .dsc with the digests in it.
func (d *Dsc) Verify() error {
	for _, f := range d.Files {
		path := filepath.Join(filepath.Dir(d.Path), f.Name)
		if err := verifyFile(path, f); err != nil {
			return fmt.Errorf("check %s: %w", d.Path, err)
		}
	}
	return nil
}

func verifyFile(path string, want SourceFile) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	h := sha256.New()
	n, err := io.Copy(h, io.LimitReader(f, want.Size+1))
	if err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	if n != want.Size || hex.EncodeToString(h.Sum(nil)) != want.SHA256 {
		return fmt.Errorf("%s is not the file it names (its size or SHA-256 differs)", path)
	}
	return nil
}
