package cli

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"hotpatch/internal/build"
	"hotpatch/internal/deb"
)

// pairs finds the updates that were asked for, and says in words which.
func (f *parityFlags) pairs(ctx context.Context) ([]build.Pair, string, error) {
	pairs, words, err := f.allPairs(ctx)
	if err != nil || len(f.sources) == 0 {
		return pairs, words, err
	}
	for _, s := range f.sources {
		if !slices.ContainsFunc(pairs, func(p build.Pair) bool { return p.Source == s }) {
			return nil, "", fmt.Errorf("parity: %s %w (%s)", s, errNoUpdates, words)
		}
	}
	pairs = slices.DeleteFunc(pairs, func(p build.Pair) bool { return !slices.Contains(f.sources, p.Source) })
	return pairs, words + ", only " + strings.Join(f.sources, ", "), nil
}

func (f *parityFlags) allPairs(ctx context.Context) ([]build.Pair, string, error) {
	apt := deb.Apt{}
	switch {
	case len(f.dirs) == 2:
		pairs, err := build.PairDirectories(f.dirs[0], f.dirs[1])
		return pairs, fmt.Sprintf("%s → %s", f.dirs[0], f.dirs[1]), err
	case f.list != "":
		pairs, err := f.listed(ctx)
		return pairs, "the list " + f.list, err
	case f.baseSuite != "":
		base, err := apt.Suite(ctx, f.baseSuite, build.ParityArch)
		if err != nil {
			return nil, "", err
		}
		fixed, err := apt.Suite(ctx, f.fixedSuite, build.ParityArch)
		if err != nil {
			return nil, "", err
		}
		return build.PairsOf(deb.Pending(base, fixed, build.ParityArch)), f.baseSuite + " → " + f.fixedSuite, nil
	}
	base, err := deb.Dpkg{}.Installed()
	if err != nil {
		return nil, "", fmt.Errorf("parity: %w", err)
	}
	words := "installed here → all security suites"
	fixed, err := apt.Security(ctx, build.ParityArch)
	if f.fixedSuite != "" {
		words = "installed here → " + f.fixedSuite
		fixed, err = apt.Suite(ctx, f.fixedSuite, build.ParityArch)
	}
	if err != nil {
		return nil, "", err
	}
	return build.PairsOf(deb.Pending(base, fixed, build.ParityArch)), words, nil
}

// listed reads the list. Where results are kept, apt's lists tell the digests,
// so that nothing is fetched for what is known already.
func (f *parityFlags) listed(ctx context.Context) ([]build.Pair, error) {
	file, err := os.Open(f.list)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	pairs, err := build.ReadPairs(file)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", f.list, err)
	}
	if f.state == "" {
		return pairs, nil
	}
	all, err := deb.Apt{}.All(ctx, build.ParityArch)
	if err != nil {
		return pairs, nil // no apt here: the packages' own digests do, once they are found
	}
	known := map[[2]string]deb.Listed{}
	for _, l := range all {
		known[[2]string{l.Package, l.Version}] = l
	}
	for i := range pairs {
		p := &pairs[i]
		fixed := known[[2]string{p.Package, p.FixedVersion}]
		p.BaseDigest = known[[2]string{p.Package, p.BaseVersion}].SHA256
		p.FixedDigest, p.FixedSize = fixed.SHA256, fixed.Size
	}
	return pairs, nil
}

// makeDebs makes the directory of --debs, but none above it: a name that was
// mistyped is seen.
func (a *app) makeDebs(dir string) error {
	if dir == "" {
		return nil
	}
	switch err := os.Mkdir(dir, 0o755); {
	case err == nil:
		fmt.Fprintf(a.err, "made %s\n", dir)
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("parity: --debs %s: directory %s does not exist", dir, filepath.Dir(filepath.Clean(dir)))
	case !errors.Is(err, fs.ErrExist):
		return fmt.Errorf("parity: --debs: %w", err)
	}
	return nil
}

// fetcher fetches with apt: to --debs, or to a directory that cleanup removes.
// What is installed here need not be fetched: its files are on the disk.
func (f *parityFlags) fetcher() (fetch build.Fetch, cleanup func(), err error) {
	tmp, err := os.MkdirTemp("", "hotpatch-parity-")
	if err != nil {
		return nil, nil, err
	}
	release := func(path string) func() {
		return func() { os.Remove(path) } // if it cannot, cleanup will
	}
	fetch = func(ctx context.Context, p build.Pair, version string) (string, func(), error) {
		var absent error
		if f.installed && version == p.BaseVersion {
			path := filepath.Join(tmp, p.Package+"_installed.deb")
			if absent = (deb.Dpkg{}).Repack(p.Package, version, build.ParityArch, path); absent == nil {
				return path, release(path), nil
			}
		}
		dir := cmp.Or(f.debs, tmp)
		path, err := deb.Download(ctx, p.Package, version, dir)
		switch {
		case err != nil && absent != nil:
			return "", nil, fmt.Errorf("%w; and from this disk: %w", err, absent)
		case err != nil:
			return "", nil, err
		case dir == tmp:
			return path, release(path), nil
		}
		return path, nil, nil
	}
	return fetch, func() { os.RemoveAll(tmp) }, nil
}

// toolVersion tells one hotpatch from another: the revision it was built from,
// or, when that is not known or the tree was changed, the digest of the program.
func toolVersion() (string, error) {
	v := version()
	if v.Revision != "" && !v.Modified {
		return "hotpatch " + v.Version + " " + v.Revision, nil
	}
	f, err := os.Open("/proc/self/exe")
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", fmt.Errorf("read this program: %w", err)
	}
	return "hotpatch " + v.Version + " sha256:" + hex.EncodeToString(h.Sum(nil)), nil
}
