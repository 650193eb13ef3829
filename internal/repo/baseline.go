package repo

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"hotpatch/internal/catalog"
	"hotpatch/internal/deb"
)

// A baseline is a release that pins packages: name, architecture and version,
// and where their files can be read the build-ids of their images. Hotpatches
// are made against exactly these.

const (
	maxPins     = 1 << 16 // packages of one baseline
	maxListFile = 64 << 20
	maxPinLine  = 4 << 10
)

// PinHost takes the packages that are installed wholly, from a host's own files
// or those below a root directory.
func PinHost(d deb.Dpkg) ([]catalog.Artifact, error) {
	owners, err := d.Owners()
	if err != nil {
		return nil, fmt.Errorf("pin installed packages: %w", err)
	}
	root, err := os.OpenRoot(filepath.Join("/", d.Root))
	if err != nil {
		return nil, fmt.Errorf("pin installed packages: %w", err)
	}
	defer root.Close()
	var out []catalog.Artifact
	for _, p := range owners.Packages() {
		if !p.Ready() {
			continue
		}
		a := catalog.Artifact{Package: p.Package, Source: p.Source, Arch: p.Arch, Fixed: p.Version}
		for _, name := range owners.Files(p) {
			id, err := installedBuildID(root, name)
			if err != nil {
				return nil, fmt.Errorf("pin %s: %w", p.Package, err)
			}
			if id != "" {
				a.Images = append(a.Images, catalog.Change{Path: name, Fixed: id})
			}
		}
		out = append(out, a)
	}
	return sortPins(out)
}

// installedBuildID is "" for what is no image: a link, a script, a directory,
// a file that was removed.
func installedBuildID(root *os.Root, name string) (string, error) {
	rel := strings.TrimPrefix(name, "/")
	st, err := root.Lstat(rel)
	if errors.Is(err, os.ErrNotExist) || err == nil && !st.Mode().IsRegular() {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	f, err := root.Open(rel)
	if err != nil {
		return "", err
	}
	defer f.Close()
	id, err := buildID(f)
	if err != nil {
		return "", fmt.Errorf("%s: %w", name, err)
	}
	return id, nil
}

// PinSuite takes the newest version of every package that apt's lists name for
// a suite.
func PinSuite(ctx context.Context, apt deb.Apt, suite, arch string) ([]catalog.Artifact, error) {
	listed, err := apt.Suite(ctx, suite, arch)
	if err != nil {
		return nil, err
	}
	newest := map[string]deb.Listed{}
	for _, l := range listed {
		have, ok := newest[l.Package+":"+l.Arch]
		if ok {
			if n, err := deb.Compare(l.Version, have.Version); err != nil || n <= 0 {
				continue
			}
		}
		newest[l.Package+":"+l.Arch] = l
	}
	var out []catalog.Artifact
	for _, l := range newest {
		out = append(out, catalog.Artifact{Package: l.Package, Source: l.Source, Arch: l.Arch, Fixed: l.Version,
			Deb: catalog.Digest(l.SHA256), Size: l.Size})
	}
	return sortPins(out)
}

// PinList reads lines "NAME=VERSION" or "NAME:ARCH=VERSION"; what follows a #
// is a comment. file is for errors.
func PinList(r io.Reader, file string) ([]catalog.Artifact, error) {
	s := bufio.NewScanner(io.LimitReader(r, maxListFile))
	s.Buffer(make([]byte, maxPinLine), maxPinLine)
	var out []catalog.Artifact
	for n := 1; s.Scan(); n++ {
		text, _, _ := strings.Cut(s.Text(), "#")
		if text = strings.TrimSpace(text); text == "" {
			continue
		}
		a, err := parsePin(text)
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", file, n, err)
		}
		if len(out) == maxPins {
			return nil, fmt.Errorf("%s:%d: more than %d packages", file, n, maxPins)
		}
		out = append(out, a)
	}
	if err := s.Err(); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return sortPins(out)
}

func parsePin(text string) (catalog.Artifact, error) {
	name, version, ok := strings.Cut(text, "=")
	if !ok {
		return catalog.Artifact{}, fmt.Errorf("%.80q is not NAME=VERSION", text)
	}
	name, arch, _ := strings.Cut(strings.TrimSpace(name), ":")
	version = strings.TrimSpace(version)
	if !deb.IsPackageName(name) {
		return catalog.Artifact{}, fmt.Errorf("name: %.80q is no package name", name)
	}
	if _, err := deb.Compare(version, version); err != nil {
		return catalog.Artifact{}, fmt.Errorf("version: %w", err)
	}
	if arch != "" && !isPart(arch) {
		return catalog.Artifact{}, fmt.Errorf("architecture: %.40q", arch)
	}
	return catalog.Artifact{Package: name, Arch: arch, Fixed: version}, nil
}

// PinDebs takes what .deb files say, and completes pins that have the same
// package and version with digests and build-ids.
func PinDebs(pins []catalog.Artifact, files []string) ([]catalog.Artifact, error) {
	for _, file := range files {
		a, err := debArtifact(file)
		if err != nil {
			return nil, fmt.Errorf("pin: %w", err)
		}
		i := slices.IndexFunc(pins, func(p catalog.Artifact) bool {
			return p.Package == a.Package && (p.Arch == a.Arch || p.Arch == "")
		})
		switch {
		case i < 0:
			pins = append(pins, a)
		case pins[i].Fixed != a.Fixed:
			return nil, fmt.Errorf("pin: %s has %s %s, but the baseline's is %s", file, a.Package, a.Fixed, pins[i].Fixed)
		case pins[i].Deb != "" && pins[i].Deb != a.Deb:
			return nil, fmt.Errorf("pin: %s: %w: not the file of that version that the archive has", file, ErrMismatch)
		default:
			pins[i] = a
		}
	}
	return sortPins(pins)
}

// Only keeps the named packages; every name must be there.
func Only(pins []catalog.Artifact, names []string) ([]catalog.Artifact, error) {
	if len(names) == 0 {
		return pins, nil
	}
	var out []catalog.Artifact
	for _, name := range names {
		n := len(out)
		for _, p := range pins {
			if p.Package == name {
				out = append(out, p)
			}
		}
		if len(out) == n {
			return nil, fmt.Errorf("package %.80q is not among the %d found", name, len(pins))
		}
	}
	return sortPins(out)
}

// sortPins puts pins in their one order and refuses two of one package.
func sortPins(pins []catalog.Artifact) ([]catalog.Artifact, error) {
	if len(pins) == 0 {
		return nil, errors.New("no package found")
	}
	if len(pins) > maxPins {
		return nil, fmt.Errorf("%d packages, more than %d", len(pins), maxPins)
	}
	rel := catalog.Release{Artifacts: pins}
	sortArtifacts(&rel)
	for i := 1; i < len(pins); i++ {
		if a, b := pins[i-1], pins[i]; a.Package == b.Package && a.Arch == b.Arch {
			return nil, fmt.Errorf("package %s %s is there twice: %s and %s", a.Package, a.Arch, a.Fixed, b.Fixed)
		}
	}
	return pins, nil
}

// AddBaseline makes a draft of kind baseline from pins.
func (r *Repo) AddBaseline(rel catalog.Release, pins []catalog.Artifact, by string) (*catalog.Release, error) {
	if rel.Kind != catalog.Baseline {
		return nil, fmt.Errorf("create baseline %s: kind %s", rel.ID, rel.Kind)
	}
	if _, err := r.find(rel.ID); err == nil {
		return nil, fmt.Errorf("create baseline %s: %w", rel.ID, refuse("there is a release of that name"))
	} else if !errors.Is(err, ErrNotFound) {
		return nil, fmt.Errorf("create baseline %s: %w", rel.ID, err)
	}
	rel.Artifacts = pins
	return r.Add(Addition{Release: rel, By: by})
}
