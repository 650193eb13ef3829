package build

import (
	"context"
	"path/filepath"
	"strings"

	"hotpatch/internal/image"
)

// systemDebug is where distributions install debug files.
const systemDebug = "/usr/lib/debug"

// attachShared gives an image the supplementary file that its debug information
// refers to, if it does (dwz). A file that is nowhere is no error here: types
// then cannot be read, and the verdict says so.
func attachShared(ctx context.Context, m *image.Image, dirs []string, servers *Debuginfod) error {
	link, err := m.SharedLink()
	if err != nil || link == nil {
		return nil // the error comes again when types are read
	}
	path := sharedFile(link, dirs)
	if path == "" {
		if path, err = servers.find(ctx, link.BuildID); err != nil {
			return err
		}
	}
	if path == "" {
		return nil
	}
	return m.AttachShared(path)
}

// sharedFile looks for a supplementary file where the link says, below some
// directories and that of the system, and by build-id there; "" when it is in
// none of these places.
func sharedFile(link *image.SharedLink, dirs []string) string {
	var paths []string
	from := []string{link.From}
	if real, err := filepath.EvalSymlinks(link.From); err == nil {
		from = append(from, real)
	}
	if filepath.IsAbs(link.Path) {
		paths = append(paths, link.Path)
	} else {
		for _, f := range from {
			paths = append(paths, filepath.Join(filepath.Dir(f), link.Path))
		}
	}
	names := []string{filepath.Base(link.Path)}
	if _, below, ok := strings.Cut(link.Path, "/.dwz/"); ok {
		names = append(names, filepath.Join(".dwz", below), filepath.Join("usr/lib/debug/.dwz", below))
	}
	if filepath.IsAbs(link.Path) {
		names = append(names, link.Path)
	}
	names = append(names, namesByID(link.BuildID)...)
	for _, dir := range append(append([]string{filepath.Dir(link.From)}, dirs...), systemDebug) {
		for _, name := range names {
			paths = append(paths, filepath.Join(dir, name))
		}
	}
	for _, path := range paths {
		if hasID(path, link.BuildID) {
			return path
		}
	}
	return ""
}

// TypesSource says where the types of one image came from.
type TypesSource struct {
	File    string `json:"file"`     // of its own, or a debug file
	BuildID string `json:"build_id"` // which that file has
	// Shared is the supplementary file that goes with it, Missing the one that
	// should and was not found: then there are no types.
	Shared  string `json:"shared,omitempty"`
	Missing string `json:"missing,omitempty"`
}

// whole says that types could be read.
func (s *TypesSource) whole() bool { return s != nil && s.Missing == "" }

// typesSource is nil when the image has no types.
func typesSource(m *image.Image) *TypesSource {
	path := m.DebugPath()
	if path == "" {
		return nil
	}
	s := &TypesSource{File: path, BuildID: string(m.BuildID), Shared: m.SharedPath()}
	// What is wrong with the link is told when types are read.
	if link, err := m.SharedLink(); err == nil && link != nil && s.Shared == "" {
		s.Missing = link.Path
	}
	return s
}
