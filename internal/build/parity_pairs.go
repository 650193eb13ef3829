package build

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"hotpatch/internal/deb"
)

// ParityArch is the only architecture whose packages can be compared.
const ParityArch = "amd64"

const maxPairs = 1 << 20

// PairsOf makes pairs of an archive's pending updates.
func PairsOf(us []deb.Update) []Pair {
	out := make([]Pair, 0, len(us))
	for _, u := range us {
		out = append(out, Pair{
			Source: u.Source, Package: u.Package,
			BaseVersion: u.Base.Version, FixedVersion: u.Fixed.Version,
			BaseDigest: u.Base.SHA256, FixedDigest: u.Fixed.SHA256, FixedSize: u.Fixed.Size,
		})
	}
	return out
}

// ReadPairs reads a list of updates: a line each of source, package, base and
// fixed version, separated by tabs. More columns, empty lines and lines that
// begin with # are passed over. Errors name the line.
func ReadPairs(r io.Reader) ([]Pair, error) {
	s := bufio.NewScanner(r)
	var out []Pair
	seen := map[[3]string]bool{}
	line := 0
	for s.Scan() {
		line++
		text := strings.TrimRight(s.Text(), " \t\r")
		if text == "" || strings.HasPrefix(text, "#") {
			continue
		}
		f := strings.Split(text, "\t")
		if len(f) < 4 {
			return nil, fmt.Errorf("line %d: %d columns, not source, package, base and fixed version separated by tabs", line, len(f))
		}
		for i := range f {
			f[i] = strings.TrimSpace(f[i])
		}
		for i, name := range []string{"source", "package"} {
			if !deb.IsPackageName(f[i]) {
				return nil, fmt.Errorf("line %d: %q is no %s name", line, f[i], name)
			}
		}
		c, err := deb.Compare(f[2], f[3])
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", line, err)
		}
		if c >= 0 {
			return nil, fmt.Errorf("line %d: %s is not newer than %s", line, f[3], f[2])
		}
		if key := [3]string(f[1:4]); !seen[key] {
			seen[key] = true
			out = append(out, Pair{Source: f[0], Package: f[1], BaseVersion: f[2], FixedVersion: f[3]})
		}
		if len(out) > maxPairs {
			return nil, fmt.Errorf("line %d: more than %d packages", line, maxPairs)
		}
	}
	if err := s.Err(); err != nil {
		return nil, fmt.Errorf("line %d: %w", line+1, err)
	}
	return out, nil
}

// PairDirectories pairs the .debs of two directories by name. Of several
// versions in one directory the newest counts; a package whose version is not
// newer on the fixed side has no update.
func PairDirectories(base, fixed string) ([]Pair, error) {
	have, err := newestDebs(base)
	if err != nil {
		return nil, err
	}
	come, err := newestDebs(fixed)
	if err != nil {
		return nil, err
	}
	out := []Pair{}
	for name, f := range come {
		b, ok := have[name]
		if !ok {
			continue
		}
		if c, err := deb.Compare(b.Version, f.Version); err != nil || c >= 0 {
			continue
		}
		out = append(out, Pair{
			Source: f.Source, Package: name, BaseVersion: b.Version, FixedVersion: f.Version,
			BaseFile: b.Path, FixedFile: f.Path,
		})
	}
	slices.SortFunc(out, func(a, b Pair) int {
		return cmp.Or(strings.Compare(a.Source, b.Source), strings.Compare(a.Package, b.Package))
	})
	return out, nil
}

// newestDebs opens the packages of a directory, by name.
func newestDebs(dir string) (map[string]*deb.Package, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	entries = slices.DeleteFunc(entries, func(e os.DirEntry) bool { return filepath.Ext(e.Name()) != ".deb" })
	if len(entries) == 0 {
		return nil, fmt.Errorf("read directory %s: there is no .deb in it", dir)
	}
	out := map[string]*deb.Package{}
	for _, e := range entries {
		p, err := deb.Open(filepath.Join(dir, e.Name()))
		if err != nil {
			return nil, err
		}
		if p.Arch != ParityArch {
			continue
		}
		have, ok := out[p.Name]
		if ok {
			if c, err := deb.Compare(p.Version, have.Version); err != nil || c <= 0 {
				continue
			}
		}
		out[p.Name] = p
	}
	return out, nil
}
