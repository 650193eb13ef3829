package build

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"

	"hotpatch/internal/deb"
	"hotpatch/internal/image"
)

// kind is what an input is.
type kind uint8

const (
	elfFile kind = iota
	directory
	debPackage
)

func (k kind) String() string { return [...]string{"an ELF file", "a directory", "a .deb package"}[k] }

// kindOf looks at an input: a .deb is an ar archive.
func kindOf(path string) (kind, error) {
	st, err := os.Stat(path)
	if err != nil {
		return 0, err
	}
	if st.IsDir() {
		return directory, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	var head [8]byte
	if _, err := io.ReadFull(f, head[:]); err == nil && string(head[:]) == "!<arch>\n" {
		return debPackage, nil
	}
	return elfFile, nil
}

// job is one pair of ELF images to compare. Its files are read when it is
// opened, and only then.
type job struct {
	path        string // in the package, or the base file's name
	base, fixed func() (*image.Image, error)
	missing     bool        // the fixed side has no counterpart
	alien       func() bool // the file that is running is for another processor; nil: not known
}

// inputs are both sides of a build.
type inputs struct {
	jobs     []job
	packages [2]*deb.Package // nil unless .deb
}

// readInputs finds the pairs of images that differ.
func readInputs(ctx context.Context, base, fixed string, all bool) (*inputs, error) {
	kb, err := kindOf(base)
	if err != nil {
		return nil, err
	}
	kf, err := kindOf(fixed)
	if err != nil {
		return nil, err
	}
	if kb != kf {
		return nil, fmt.Errorf("compare %s with %s: one is %s, the other %s", base, fixed, kb, kf)
	}
	switch kb {
	case directory:
		x, err := walkDirectory(ctx, base)
		if err != nil {
			return nil, err
		}
		y, err := walkDirectory(ctx, fixed)
		if err != nil {
			return nil, err
		}
		return &inputs{jobs: pairFiles(x, y, all)}, nil
	case debPackage:
		return readPackages(ctx, base, fixed, all)
	}
	open := func(path string) func() (*image.Image, error) {
		return func() (*image.Image, error) { return image.Open(path) }
	}
	return &inputs{jobs: []job{{path: filepath.Base(base), base: open(base), fixed: open(fixed)}}}, nil
}

func readPackages(ctx context.Context, base, fixed string, all bool) (*inputs, error) {
	in := &inputs{}
	var files [2]map[string]file
	for i, path := range []string{base, fixed} {
		p, err := deb.Open(path)
		if err != nil {
			return nil, err
		}
		in.packages[i] = p
	}
	a, b := in.packages[0], in.packages[1]
	if a.Name != b.Name || a.Arch != b.Arch {
		return nil, fmt.Errorf("compare %s with %s: one is package %s (%s), the other %s (%s)", base, fixed, a.Name, a.Arch, b.Name, b.Arch)
	}
	for i, p := range in.packages {
		files[i] = map[string]file{}
		err := p.Walk(isImage, func(f deb.File) error {
			if err := ctx.Err(); err != nil {
				return err
			}
			data := f.Data
			if i == 1 {
				if old, ok := files[0][f.Name]; ok && bytes.Equal(old.data, data) {
					old.data, data = nil, nil // never opened: keep no copy
					if all {
						old.data, data = f.Data, f.Data
					}
					old.equal = true
					files[0][f.Name] = old
					files[1][f.Name] = file{data: data, equal: true}
					return nil
				}
			}
			files[i][f.Name] = file{data: data}
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", p.Path, err)
		}
	}
	in.jobs = pairFiles(files[0], files[1], all)
	return in, nil
}

// file is one ELF image of a package or directory.
type file struct {
	data  []byte // of a package
	path  string // of a directory
	equal bool   // both sides have the same bytes
}

func (f file) open(name string) func() (*image.Image, error) {
	return func() (*image.Image, error) {
		if f.path != "" {
			return image.Open(f.path)
		}
		return image.Read(bytes.NewReader(f.data), int64(len(f.data)), name)
	}
}

// isImage: a program or shared library by its ELF header, and not a kernel
// module, an object or a debug file by its name.
func isImage(name string, head []byte) bool {
	const typeOffset, exec, dyn = 16, 2, 3
	if len(head) < typeOffset+2 || string(head[:4]) != "\x7fELF" {
		return false
	}
	if t := binary.LittleEndian.Uint16(head[typeOffset:]); t != exec && t != dyn {
		return false
	}
	switch filepath.Ext(name) {
	case ".ko", ".o", ".debug":
		return false
	}
	return !strings.HasPrefix(name, "/usr/lib/debug/")
}

// walkDirectory finds the ELF images below dir, by slash path from it.
func walkDirectory(ctx context.Context, dir string) (map[string]file, error) {
	out := map[string]file{}
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if !e.Type().IsRegular() {
			return nil
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		name := "/" + filepath.ToSlash(rel)
		head, err := readHead(path)
		if err != nil {
			return err
		}
		if isImage(name, head) {
			out[name] = file{path: path}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read directory %s: %w", dir, err)
	}
	return out, nil
}

func readHead(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	head := make([]byte, 64)
	n, err := io.ReadFull(f, head)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, err
	}
	return head[:n], nil
}

var digits = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`[0-9.]+`) })

// pairFiles pairs by path, then by path without digits where that is unique
// (libfoo.so.1.2.3 and libfoo.so.1.2.4). With all, equal files are pairs too.
func pairFiles(base, fixed map[string]file, all bool) []job {
	plain := func(p string) string { return digits().ReplaceAllString(p, "") }
	mine, others := map[string]int{}, map[string][]string{}
	for p := range base {
		if _, ok := fixed[p]; !ok {
			mine[plain(p)]++
		}
	}
	for p := range fixed {
		if _, ok := base[p]; !ok {
			others[plain(p)] = append(others[plain(p)], p)
		}
	}
	names := make([]string, 0, len(base))
	for p := range base {
		names = append(names, p)
	}
	slices.Sort(names)
	var out []job
	seen := map[[2]string]bool{} // one program under several names is one image
	for _, p := range names {
		q := p
		if _, ok := fixed[p]; !ok {
			if o := others[plain(p)]; mine[plain(p)] == 1 && len(o) == 1 {
				q = o[0]
			} else {
				out = append(out, job{path: p, missing: true})
				continue
			}
		}
		x, y := base[p], fixed[q]
		if !all && (x.equal || p == q && sameFiles(x, y)) {
			continue
		}
		if key := [2]string{x.content(), y.content()}; !seen[key] {
			seen[key] = key[0] != ""
			out = append(out, job{path: p, base: x.open(p), fixed: y.open(q), alien: x.alien})
		}
	}
	return out
}

// alien says whether the file is no program or library for x86-64 (firmware,
// another architecture), so that no process that could be patched maps it.
func (f file) alien() bool {
	const machine, class, class64, x8664 = 18, 4, 2, 62
	head := f.data
	if f.path != "" {
		var err error
		if head, err = readHead(f.path); err != nil {
			return false
		}
	}
	return len(head) >= machine+2 && (head[class] != class64 || binary.LittleEndian.Uint16(head[machine:]) != x8664)
}

// content is a digest of the file, "" when it cannot be read.
func (f file) content() string {
	data := f.data
	if f.path != "" {
		var err error
		if data, err = os.ReadFile(f.path); err != nil {
			return ""
		}
	}
	sum := sha256.Sum256(data)
	return string(sum[:])
}

// sameFiles compares two files.
func sameFiles(a, b file) bool {
	x := a.content()
	return x != "" && x == b.content()
}
