package rebuild

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"hotpatch/internal/deb"
)

// arch is the one we build for and compare.
const arch = "amd64"

// source finds the .dsc, fetching it when it is none of ours.
func (w *worker) source(ctx context.Context) error {
	path := w.t.dsc
	if path == "" {
		w.tell("looking for its source")
		apt := deb.SourceApt{State: filepath.Join(w.o.Work, "apt")}
		offer, err := apt.Find(ctx, w.t.name, w.t.version)
		if err != nil && ctx.Err() == nil {
			w.tell("fetching lists of sources")
			down := apt.Update(ctx)
			if offer, err = apt.Find(ctx, w.t.name, w.t.version); err != nil {
				return errors.Join(err, down)
			}
		}
		w.p.Source, w.p.Version = offer.Source, offer.Version
		w.place()
		w.tell("fetching source")
		if path, err = apt.Download(ctx, offer, filepath.Join(w.dir, "source")); err != nil {
			return err
		}
	}
	d, err := deb.OpenDsc(path)
	if err != nil {
		return err
	}
	if err := d.Verify(); err != nil {
		return err
	}
	w.dsc = d
	w.p.Source, w.p.Version = d.Source, d.Version
	w.place()
	return os.MkdirAll(w.dir, 0o755)
}

// place says where the work on this package is done.
func (w *worker) place() {
	w.dir = filepath.Join(w.o.Work, w.p.Source+"_"+fileVersion(w.p.Version))
	w.room = room{root: w.o.Chroot, log: filepath.Join(w.dir, "build.log")}
}

// shipped unpacks the packages of this version as the distribution shipped
// them and returns where each is.
func (w *worker) shipped(ctx context.Context) (map[string]string, error) {
	given, err := debsIn(w.o.Debs)
	if err != nil {
		return nil, err
	}
	var debs []*deb.Package
	for _, name := range w.dsc.Machine {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		w.tell("fetching " + name)
		p, err := w.shippedOne(ctx, name, given[name])
		if err != nil {
			w.p.Absent = append(w.p.Absent, fmt.Sprintf("%s: %v", name, err))
			continue
		}
		debs = append(debs, p)
	}
	if len(debs) == 0 {
		return nil, fmt.Errorf("none of its packages can be had as shipped: %s", strings.Join(w.p.Absent, "; "))
	}
	return unpack(debs, filepath.Join(w.dir, "shipped.files"))
}

// shippedOne is one binary package: among those given, from apt, or packed from
// what is installed here.
func (w *worker) shippedOne(ctx context.Context, name string, given []*deb.Package) (*deb.Package, error) {
	for _, p := range given {
		if p.Source == w.p.Source && deb.WithoutRebuild(p.SourceVersion) == w.p.Version {
			return p, nil
		}
	}
	dir := filepath.Join(w.dir, "shipped")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	path, err := w.download(ctx, name, dir)
	if err != nil {
		path = filepath.Join(dir, name+"_installed.deb")
		if packErr := w.pack(name, path); packErr != nil {
			return nil, err
		}
	}
	p, err := deb.Open(path)
	if err != nil {
		return nil, err
	}
	return p, nil
}

// download fetches the package in the version of the source, or rebuilt without
// changes from it.
func (w *worker) download(ctx context.Context, name, dir string) (string, error) {
	offers, err := deb.Offers(ctx, name)
	if err != nil {
		return "", err
	}
	for _, o := range offers {
		if deb.WithoutRebuild(o.Version) == w.p.Version {
			return deb.Download(ctx, name, o.Version, dir)
		}
	}
	return "", fmt.Errorf("version %s: %w", w.p.Version, deb.ErrNotListed)
}

// pack packs what is installed here, when it is of this version.
func (w *worker) pack(name, path string) error {
	installed, err := (deb.Dpkg{}).Installed()
	if err != nil {
		return err
	}
	for _, l := range installed {
		if l.Package == name && l.Arch == arch && deb.WithoutRebuild(l.Version) == w.p.Version {
			return (deb.Dpkg{}).Repack(name, l.Version, arch, path)
		}
	}
	return errors.New("it is not installed")
}

// debsIn opens all packages in some directories, by name.
func debsIn(dirs []string) (map[string][]*deb.Package, error) {
	out := map[string][]*deb.Package{}
	for _, dir := range dirs {
		entries, err := os.ReadDir(dir)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			if filepath.Ext(e.Name()) != ".deb" {
				continue
			}
			p, err := deb.Open(filepath.Join(dir, e.Name()))
			if err != nil {
				return nil, err
			}
			out[p.Name] = append(out[p.Name], p)
		}
	}
	return out, nil
}

// unpack extracts packages below dir and returns where each is, by name.
func unpack(debs []*deb.Package, dir string) (map[string]string, error) {
	if err := os.RemoveAll(dir); err != nil {
		return nil, err
	}
	out := map[string]string{}
	for _, p := range debs {
		to := filepath.Join(dir, p.Name)
		if err := p.Extract(to); err != nil {
			return nil, err
		}
		out[p.Name] = to
	}
	return out, nil
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
