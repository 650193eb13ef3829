package rebuild

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"time"

	"hotpatch/internal/deb"
)

// build makes the packages anew and returns where each is unpacked. A build
// that was finished before is used again.
func (w *worker) build(ctx context.Context) (map[string]string, error) {
	dir := filepath.Join(w.dir, "rebuilt")
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		if err := w.buildOnce(ctx, dir); err != nil {
			return nil, err
		}
	}
	w.p.Log = w.room.log
	found, err := debsIn([]string{dir})
	if err != nil {
		return nil, err
	}
	var debs []*deb.Package
	for _, name := range sortedKeys(found) {
		debs = append(debs, found[name]...)
	}
	if len(debs) == 0 {
		return nil, errors.New("the build left no packages")
	}
	return unpack(debs, filepath.Join(w.dir, "rebuilt.files"))
}

// The options of the build: nothing that changes the code that comes out.
// noopt would; nodoc breaks rules that expect the documentation.
const buildOptions = "nocheck nostrip"

func (w *worker) buildOnce(ctx context.Context, to string) error {
	if err := os.RemoveAll(w.room.log); err != nil {
		return err
	}
	w.p.Log = w.room.log
	free, err := freeBytes(w.room.base())
	if err != nil {
		return err
	}
	if free < 2*minFree {
		return fmt.Errorf("less than 2 GiB are free on the disk of %s", w.room.base())
	}
	ctx, stop := watchDisk(ctx, w.room.base())
	defer stop()
	top, tree := w.buildPath()
	if err := w.room.makeDir(top); err != nil {
		return err
	}
	defer w.room.removeDir(top)
	dsc, err := w.copySource(top)
	if err != nil {
		return err
	}
	w.tell("unpacking source")
	if err := w.step(ctx, "unpack source of", command{dir: top, args: []string{"dpkg-source", "--no-check", "-x", dsc, filepath.Base(tree)}, timeout: 10 * time.Minute}); err != nil {
		return err
	}
	if err := w.depends(ctx, tree, filepath.Join(top, dsc)); err != nil {
		return err
	}
	w.tell("building (log: " + w.room.log + ")")
	err = w.step(ctx, "build", command{
		dir:  tree,
		args: []string{"dpkg-buildpackage", "-us", "-uc", "-B", "-d"},
		env: []string{
			fmt.Sprintf("DEB_BUILD_OPTIONS=%s parallel=%d", buildOptions, max(w.o.Jobs, 1)),
			"DEB_BUILD_PROFILES=nocheck",
		},
		timeout: w.o.Timeout,
	})
	if err != nil {
		return err
	}
	return w.collect(w.room.outside(top), to)
}

// depends makes sure that the build dependencies are there, installing them
// when that was asked for.
func (w *worker) depends(ctx context.Context, tree, dsc string) error {
	lack, err := w.room.missing(ctx, tree)
	if err == nil && len(lack) > 0 && w.o.Install {
		w.tell("installing build dependencies")
		if err := w.room.install(ctx, dsc); err != nil {
			return w.failed("install build dependencies of", err)
		}
		lack, err = w.room.missing(ctx, tree)
	}
	if err != nil {
		return w.failed("check build dependencies of", err)
	}
	if len(lack) > 0 {
		shown := w.t.dsc
		if shown == "" {
			shown = filepath.Join(w.dir, "source", filepath.Base(dsc))
		}
		return &StepError{Package: w.name(), Step: "build", Err: &MissingError{Packages: lack, Command: w.room.installCommand(shown, lack)}}
	}
	return nil
}

// step runs a command whose output is logged.
func (w *worker) step(ctx context.Context, what string, c command) error {
	if _, err := w.room.run(ctx, c); err != nil {
		return w.failed(what, err)
	}
	return nil
}

func (w *worker) failed(what string, err error) error {
	return &StepError{Package: w.name(), Step: what, Log: w.room.log, Tail: w.room.tail(10), Err: err}
}

// buildPath is the directory that packages are put in, and the source tree
// below it, both in the room. Debian's builders work below /build, and some
// programs keep the path in their text; in a root of its own the shipped files
// may tell which it was.
func (w *worker) buildPath() (top, tree string) {
	upstream, _, _ := strings.Cut(w.p.Version, "-")
	if _, rest, ok := strings.Cut(upstream, ":"); ok {
		upstream = rest
	}
	leaf := w.p.Source + "-" + upstream
	if w.o.Chroot == "" {
		top = filepath.Join(w.dir, "build")
		return top, filepath.Join(top, leaf)
	}
	if was := shippedPath(filepath.Join(w.dir, "shipped.files")); was != "" {
		return filepath.Dir(was), was
	}
	top = "/build/reproducible-path"
	return top, filepath.Join(top, leaf)
}

var prefixMap = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`-f(?:file|debug|macro)-prefix-map=(/build/[A-Za-z0-9][\w.+~-]*/[A-Za-z0-9][\w.+~-]*)=`)
})

// shippedPath looks for the path of Debian's build in the shipped programs: in
// the compiler options that some keep. "" when none tells.
func shippedPath(dir string) string {
	found := ""
	_ = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() || found != "" {
			return nil
		}
		if ok, err := isImage(path); err != nil || !ok {
			return nil
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return nil
		}
		if m := prefixMap().FindSubmatch(data); m != nil && !bytes.Contains(m[1], []byte("..")) {
			found = string(m[1])
		}
		return nil
	})
	return found
}

// copySource puts the source package into the room and returns the name of its
// .dsc there.
func (w *worker) copySource(top string) (string, error) {
	from := filepath.Dir(w.dsc.Path)
	names := []string{filepath.Base(w.dsc.Path)}
	for _, f := range w.dsc.Files {
		names = append(names, f.Name)
	}
	root, err := os.OpenRoot(w.room.outside(top))
	if err != nil {
		return "", err
	}
	defer root.Close()
	for _, name := range names {
		in, err := os.Open(filepath.Join(from, name))
		if err == nil {
			err = copyInto(root, name, in)
		}
		if err != nil {
			return "", fmt.Errorf("copy source: %w", err)
		}
	}
	return names[0], nil
}

// copyInto copies a regular file and closes it.
func copyInto(root *os.Root, name string, in *os.File) error {
	defer in.Close()
	if st, err := in.Stat(); err != nil || !st.Mode().IsRegular() {
		return errors.Join(fmt.Errorf("%s is no regular file", in.Name()), err)
	}
	out, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// collect takes the packages that a build left in top; to appears only when all
// are there.
func (w *worker) collect(top, to string) error {
	names, err := filepath.Glob(filepath.Join(top, "*.deb"))
	if err != nil {
		return err
	}
	if len(names) == 0 {
		return w.failed("build", errors.New("it left no packages"))
	}
	tmp := to + ".new"
	if err := os.RemoveAll(tmp); err != nil {
		return err
	}
	if err := os.MkdirAll(tmp, 0o755); err != nil {
		return err
	}
	// The builder could leave a link to a file that only root may read: a Root
	// does not follow it out of the directory.
	from, err := os.OpenRoot(top)
	if err != nil {
		return err
	}
	defer from.Close()
	root, err := os.OpenRoot(tmp)
	if err != nil {
		return err
	}
	defer root.Close()
	for _, name := range names {
		base := filepath.Base(name)
		in, err := from.OpenFile(base, os.O_RDONLY|syscall.O_NONBLOCK, 0)
		if err != nil {
			return err
		}
		if err := copyInto(root, base, in); err != nil {
			return err
		}
	}
	return os.Rename(tmp, to)
}
