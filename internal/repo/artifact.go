package repo

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"hotpatch/internal/catalog"
	"hotpatch/internal/deb"
	"hotpatch/internal/patch"
)

// addBundle takes a bundle into a draft.
func (r *Repo) addBundle(rel, base *catalog.Release, file string) error {
	b, err := patch.ReadFile(file)
	if err != nil {
		return err
	}
	if err := b.Applicable(); err != nil {
		return refuse("%s: %w", file, err)
	}
	id, err := b.ID()
	if err != nil {
		return fmt.Errorf("identify %s: %w", file, err)
	}
	m := &b.Manifest
	if m.Package == "" || m.FixedVersion == "" || m.BaseVersion == "" {
		return refuse("%s: it names no package and versions: it was not built from packages", file)
	}
	if len(m.LeftOut) > 0 {
		return refuse("%s: it leaves out %s: a release is the whole update, for every process", file, m.LeftOut[0].Path)
	}
	if base != nil {
		if err := fits(m, base); err != nil {
			return refuse("%s: %w", file, err)
		}
	}
	a := catalog.Artifact{Package: m.Package, Source: m.Source, Arch: m.Arch, Base: m.BaseVersion, Fixed: m.FixedVersion,
		Bundle: catalog.Digest(id), CVEs: slices.Clone(m.CVEs)}
	for _, g := range m.Images {
		a.Images = append(a.Images, catalog.Change{Path: onDisk(g.Path), Base: g.BuildIDBase, Fixed: g.BuildIDFixed})
	}
	data, err := b.Encode()
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	if err := writeFile(r.path(draftsDir, bundleKind, string(id)+bundleSuffix), data, 0o644); err != nil {
		return err
	}
	putArtifact(rel, a)
	return nil
}

// fits wants that a bundle is made for exactly what the baseline has.
func fits(m *patch.Manifest, base *catalog.Release) error {
	var pin *catalog.Artifact
	for i := range base.Artifacts {
		if p := &base.Artifacts[i]; p.Package == m.Package && (p.Arch == "" || p.Arch == m.Arch) {
			pin = p
		}
	}
	if pin == nil {
		return fmt.Errorf("baseline %s has no package %s", base.ID, m.Package)
	}
	if pin.Fixed != m.BaseVersion {
		return fmt.Errorf("it is for %s %s, but baseline %s has %s", m.Package, m.BaseVersion, base.ID, pin.Fixed)
	}
	for _, g := range m.Images {
		for _, p := range pin.Images {
			if p.Path == onDisk(g.Path) && p.Fixed != g.BuildIDBase {
				return fmt.Errorf("it is for %s with build-id %s, but baseline %s has %s", g.Path, g.BuildIDBase, base.ID, p.Fixed)
			}
		}
	}
	return nil
}

// putArtifact adds an artifact or completes the one of the same package.
func putArtifact(rel *catalog.Release, a catalog.Artifact) {
	for i := range rel.Artifacts {
		old := &rel.Artifacts[i]
		if old.Package != a.Package || old.Arch != a.Arch {
			continue
		}
		if old.Fixed != a.Fixed {
			*old = a // another version takes its place
			return
		}
		if a.Bundle != "" {
			old.Bundle, old.Base, old.Images, old.CVEs = a.Bundle, a.Base, completed(a.Images, old.Images), a.CVEs
		}
		if a.Deb != "" {
			old.Deb, old.Size, old.Source = a.Deb, a.Size, a.Source
			old.Images = completed(old.Images, a.Images)
		}
		return
	}
	rel.Artifacts = append(rel.Artifacts, a)
}

// completed adds to a list of images those it lacks.
func completed(have, more []catalog.Change) []catalog.Change {
	for _, m := range more {
		if !slices.ContainsFunc(have, func(h catalog.Change) bool { return h.Path == m.Path }) {
			have = append(have, m)
		}
	}
	return have
}

// addDeb takes the facts of a .deb into a draft; the file itself stays with
// the distribution.
func addDeb(rel *catalog.Release, file string) error {
	a, err := debArtifact(file)
	if err != nil {
		return err
	}
	for i := range rel.Artifacts {
		old := &rel.Artifacts[i]
		if old.Package != a.Package || old.Arch != a.Arch || old.Bundle == "" {
			continue
		}
		if old.Fixed != a.Fixed {
			return refuse("%s: %s %s, but the bundle makes it %s", file, a.Package, a.Fixed, old.Fixed)
		}
		for _, g := range old.Images {
			for _, h := range a.Images {
				if h.Path == g.Path && h.Fixed != g.Fixed {
					return refuse("%s: %s has build-id %s, but the bundle was built from %s", file, h.Path, h.Fixed, g.Fixed)
				}
			}
		}
	}
	putArtifact(rel, a)
	return nil
}

// debArtifact reads name, version, digest and build-ids of a .deb.
func debArtifact(file string) (catalog.Artifact, error) {
	p, err := deb.Open(file)
	if err != nil {
		return catalog.Artifact{}, err
	}
	a := catalog.Artifact{Package: p.Name, Source: p.Source, Arch: p.Arch, Fixed: p.Version}
	f, err := os.Open(filepath.Clean(file))
	if err != nil {
		return a, err
	}
	sum := sha256.New()
	a.Size, err = io.Copy(sum, f)
	if err = errors.Join(err, f.Close()); err != nil {
		return a, err
	}
	a.Deb = catalog.Digest(hex.EncodeToString(sum.Sum(nil)))
	isELF := func(_ string, head []byte) bool { return strings.HasPrefix(string(head), "\x7fELF") }
	err = p.Walk(isELF, func(f deb.File) error {
		id, err := buildID(bytes.NewReader(f.Data))
		if err != nil {
			return fmt.Errorf("%s: %s: %w", file, f.Name, err)
		}
		if id != "" {
			a.Images = append(a.Images, catalog.Change{Path: onDisk(f.Name), Fixed: id})
		}
		return nil
	})
	return a, err
}

// relate says of images that no bundle patches which of them run the same code
// as the baseline's: files that did not change, those of a package with a
// bundle, which has all images of the package that differ, and those of the
// packages in same.
func relate(rel, base *catalog.Release, same []string) error {
	for _, name := range same {
		if base == nil || !slices.ContainsFunc(rel.Artifacts, func(a catalog.Artifact) bool { return a.Package == name }) {
			return refuse("%s: it is said to run the same code, but it is not in a release on top of a baseline", name)
		}
	}
	if base == nil {
		return nil
	}
	for i := range rel.Artifacts {
		a := &rel.Artifacts[i]
		for j := range base.Artifacts {
			pin := &base.Artifacts[j]
			if pin.Package != a.Package || pin.Arch != a.Arch && pin.Arch != "" && a.Arch != "" {
				continue
			}
			if a.Base == "" {
				a.Base = pin.Fixed
			}
			relateImages(a, pin, a.Bundle != "" || slices.Contains(same, a.Package))
		}
	}
	return nil
}

// One file under several names is in a bundle once, by one of them: what the
// others run is patched, too.
func relateImages(a, pin *catalog.Artifact, same bool) {
	patched := map[string]bool{} // build-ids
	for _, g := range a.Images {
		patched[g.Base] = patched[g.Base] || g.Base != "" && !g.Same
	}
	for n := range a.Images {
		g := &a.Images[n]
		k := slices.IndexFunc(pin.Images, func(p catalog.Change) bool { return p.Path == g.Path })
		if k < 0 || g.Base != "" {
			continue
		}
		switch base := pin.Images[k].Fixed; {
		case patched[base]:
			g.Base = base
		case same || g.Fixed == base:
			g.Base, g.Same = base, true
		}
	}
}

// onDisk is where a packaged file is on a system whose /bin and /lib are links
// into /usr: there processes map it from, whatever the package says.
func onDisk(name string) string {
	for _, dir := range []string{"/bin/", "/sbin/", "/lib/", "/lib32/", "/lib64/", "/libx32/"} {
		if strings.HasPrefix(name, dir) {
			return "/usr" + name
		}
	}
	return name
}

func sortArtifacts(rel *catalog.Release) {
	slices.SortStableFunc(rel.Artifacts, func(a, b catalog.Artifact) int {
		return slices.Compare([]string{a.Package, a.Arch, a.Base, string(a.Bundle)}, []string{b.Package, b.Arch, b.Base, string(b.Bundle)})
	})
	for i := range rel.Artifacts {
		a := &rel.Artifacts[i]
		slices.SortFunc(a.Images, func(x, y catalog.Change) int { return strings.Compare(x.Path, y.Path) })
		slices.Sort(a.CVEs)
		a.CVEs = slices.Compact(a.CVEs)
	}
}

// checkArtifacts wants that a release on a baseline takes every package
// forward, and that what is called a hotpatch is one.
func checkArtifacts(rel, base *catalog.Release) error {
	if base == nil {
		return nil
	}
	patches := 0
	for i := range rel.Artifacts {
		a := &rel.Artifacts[i]
		if a.Bundle != "" || len(a.Images) > 0 && !slices.ContainsFunc(a.Images, func(g catalog.Change) bool { return !g.Same }) {
			patches++ // nothing of it needs a restart
		}
		if a.Base == "" {
			continue
		}
		n, err := deb.Compare(a.Base, a.Fixed)
		if err != nil {
			return refuse("%s: %w", a.Package, err)
		}
		if n >= 0 {
			return refuse("%s: %s is no newer than the baseline's %s", a.Package, a.Fixed, a.Base)
		}
	}
	if rel.Kind == catalog.Hotpatch && patches == 0 {
		return refuse("a hotpatch without a bundle would need restarts: make it cold, or a companion")
	}
	return nil
}
