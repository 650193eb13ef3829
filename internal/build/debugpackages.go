package build

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"hotpatch/internal/deb"
)

// unpacked are packages of debug files (-dbgsym), unpacked for one build.
type unpacked struct{ packages []unpackedPackage }

type unpackedPackage struct{ file, dir string }

// open replaces a package by a directory with what is in it, and leaves any
// other path alone.
func (u *unpacked) open(path string) (string, error) {
	if path == "" {
		return "", nil
	}
	if k, err := kindOf(path); err != nil || k != debPackage {
		return path, nil // what is wrong with it is told where it is used
	}
	p, err := deb.Open(path)
	if err != nil {
		return "", fmt.Errorf("read debug files: %w", err)
	}
	dir, err := os.MkdirTemp("", "hotpatch-debug-")
	if err != nil {
		return "", err
	}
	u.packages = append(u.packages, unpackedPackage{path, dir})
	if err := p.Extract(dir); err != nil {
		return "", fmt.Errorf("read debug files: %w", err)
	}
	return dir, nil
}

// remove removes what was unpacked.
func (u *unpacked) remove() {
	for _, p := range u.packages {
		_ = os.RemoveAll(p.dir) // a directory for what is temporary
	}
}

// rename says of types that they came from a package, and not from where that
// was unpacked: the same build would say something else the next time.
func (u *unpacked) rename(r *result) {
	for _, p := range u.packages {
		in := func(text string) string {
			return strings.ReplaceAll(text, p.dir+string(filepath.Separator), p.file+":/")
		}
		for _, s := range []*TypesSource{r.report.TypesBase, r.report.TypesFixed} {
			if s != nil {
				s.File, s.Shared = in(s.File), in(s.Shared)
			}
		}
		for i := range r.reasons {
			r.reasons[i].Detail = in(r.reasons[i].Detail)
		}
	}
}
