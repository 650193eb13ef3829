package demo

import (
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"hotpatch/internal/deb"
)

// redis-server is a link: the server's code is the file redis-check-rdb of
// redis-tools, which looks at its own name.
const (
	redisPackage = "redis-tools"
	redisBinary  = "usr/bin/redis-check-rdb"
)

// prepareRedis fetches Debian's redis in the version of the point release and
// its security update, and unpacks the old one with the libraries this machine
// lacks.
func prepareRedis(ctx context.Context, p *page, cache, work string) (*subject, error) {
	f := &fetcher{page: p, cache: cache}
	base, fixed, err := f.pair(ctx, redisPackage)
	if err != nil {
		return nil, err
	}
	basePkg, err := deb.Open(base)
	if err != nil {
		return nil, err
	}
	fixedPkg, err := deb.Open(fixed)
	if err != nil {
		return nil, err
	}
	log, err := fixedPkg.Changelog()
	if err != nil {
		return nil, err
	}
	news := deb.Between(log, basePkg.SourceVersion, fixedPkg.SourceVersion)
	if !slices.Contains(deb.CVEs(news), sharedMessageCVE) {
		return nil, fmt.Errorf("the update of %s from %s to %s does not contain %s, which is what this show asks about",
			redisPackage, basePkg.Version, fixedPkg.Version, sharedMessageCVE)
	}
	root := filepath.Join(work, "root")
	if err := basePkg.Extract(root); err != nil {
		return nil, err
	}
	if err := f.libraries(ctx, basePkg, root); err != nil {
		return nil, err
	}
	server := filepath.Join(work, "redis-server")
	if err := os.Rename(filepath.Join(root, redisBinary), server); err != nil {
		return nil, err
	}
	p.did("fetch", fmt.Sprintf("%s and %s", p.bold(redisPackage+" "+basePkg.Version), p.bold(fixedPkg.Version)),
		f.origin()+"; unpacked, not installed")
	return &subject{
		about: "Debian's stock redis-server gets " + count(len(news), "pending security update") + " while it serves. Nothing is restarted.",
		base:  base, fixed: fixed,
		start: func(ctx context.Context) (*daemon, error) {
			return startRedis(ctx, server, root, work, basePkg.Version)
		},
		open: func(d *daemon, i int) (worker, error) { return openRedisWorker(d.addr, i) },

		question: "RESTORE a stream in which one message belongs to two consumers (" + sharedMessageCVE + ")",
		ask:      func(_ context.Context, d *daemon) (string, error) { return restoreSharedMessage(d.addr) },
		isOld:    func(a string) bool { return a == "+OK" },
		isNew:    func(a string) bool { return strings.HasPrefix(a, "-ERR Bad data format") },
		meansOld: "taken: to acknowledge the message would free it twice",
		meansNew: "refused",
	}, nil
}

// fetcher gets packages by apt.
type fetcher struct {
	*page
	cache string
	apt   deb.Apt
	// fetched says whether the archive was asked for a file at all.
	fetched bool
}

func (f *fetcher) origin() string {
	if f.fetched {
		return "fetched from the Debian archive"
	}
	return "fetched by an earlier run"
}

// pair downloads the newest version of a package and the newest before it.
func (f *fetcher) pair(ctx context.Context, pkg string) (base, fixed string, err error) {
	f.doing("fetch", "looking for "+pkg)
	offers, err := f.apt.Offers(ctx, pkg)
	if errors.Is(err, deb.ErrNotListed) {
		// A fresh machine has no lists yet, and an ordinary user may not fetch
		// the host's: fetch some of our own.
		f.doing("fetch", "fetching the package lists")
		f.apt.State = filepath.Join(f.cache, "apt")
		if err = f.apt.Update(ctx); err == nil {
			offers, err = f.apt.Offers(ctx, pkg)
		}
	}
	if err != nil {
		return "", "", err
	}
	older := slices.IndexFunc(offers, func(o deb.Offer) bool { return o.Version != offers[0].Version })
	if older < 0 {
		return "", "", fmt.Errorf("the archive has only one version of %s (%s): no update is pending", pkg, offers[0].Version)
	}
	if base, err = f.download(ctx, pkg, offers[older].Version); err != nil {
		return "", "", err
	}
	fixed, err = f.download(ctx, pkg, offers[0].Version)
	return base, fixed, err
}

func (f *fetcher) download(ctx context.Context, pkg, version string) (string, error) {
	f.doing("fetch", pkg+" "+version)
	count := func() int {
		names, err := filepath.Glob(filepath.Join(f.cache, "*.deb"))
		if err != nil {
			return 0
		}
		return len(names)
	}
	before := count()
	path, err := f.apt.Download(ctx, pkg, version, f.cache)
	f.fetched = f.fetched || count() > before
	return path, err
}

// maxLibraries bounds what the dependencies of one package may bring along.
const maxLibraries = 30

// libraries unpacks into root the library packages that pkg depends on, and
// that this host does not have, with theirs.
func (f *fetcher) libraries(ctx context.Context, pkg *deb.Package, root string) error {
	todo, seen := libraryNames(pkg.Depends), map[string]bool{}
	for len(todo) > 0 {
		name := todo[0]
		todo = todo[1:]
		if seen[name] || installed(ctx, name) {
			continue
		}
		if seen[name] = true; len(seen) > maxLibraries {
			return fmt.Errorf("%s needs more than %d libraries that are not installed", pkg.Name, maxLibraries)
		}
		offers, err := f.apt.Offers(ctx, name)
		if err != nil {
			return err
		}
		file, err := f.download(ctx, name, offers[0].Version)
		if err != nil {
			return err
		}
		lib, err := deb.Open(file)
		if err != nil {
			return err
		}
		if err := lib.Extract(root); err != nil {
			return err
		}
		todo = append(todo, libraryNames(lib.Depends)...)
	}
	return nil
}

// libraryNames are the packages of a Depends field that hold libraries; of
// alternatives, the first.
func libraryNames(depends string) []string {
	var out []string
	for item := range strings.SplitSeq(depends, ",") {
		name, _, _ := strings.Cut(strings.TrimSpace(item), " ")
		name, _, _ = strings.Cut(name, ":")
		if strings.HasPrefix(name, "lib") {
			out = append(out, name)
		}
	}
	return out
}

// installed asks dpkg. Where dpkg is not to be asked, nothing is installed.
func installed(ctx context.Context, pkg string) bool {
	out, err := exec.CommandContext(ctx, "dpkg-query", "-W", "-f", "${db:Status-Status}", pkg).Output()
	return err == nil && strings.HasPrefix(string(out), "installed")
}

// startRedis starts the old server in a directory of its own, keeping nothing
// on disk.
func startRedis(ctx context.Context, server, root, work, version string) (*daemon, error) {
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(server, "--bind", host, "--port", port, "--save", "", "--appendonly", "no", "--dir", work)
	cmd.Dir = work
	cmd.Env = append(os.Environ(), "LD_LIBRARY_PATH="+strings.Join(libraryDirs(root), ":"))
	return launch(ctx, "redis-server "+version, addr, filepath.Join(work, "redis.log"), cmd)
}

// libraryDirs are the directories below root that hold shared libraries.
func libraryDirs(root string) []string {
	var out []string
	_ = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || !strings.Contains(d.Name(), ".so") {
			return nil //nolint:nilerr // what cannot be read holds no library for us
		}
		dir := filepath.Dir(path)
		if f, err := elf.Open(path); err == nil {
			f.Close()
			if !slices.Contains(out, dir) {
				out = append(out, dir)
			}
		}
		return nil
	})
	return out
}

// redisWorker keeps a counter and a value of its own and knows what they must be.
type redisWorker struct {
	*resp
	name string
	n    int
}

func openRedisWorker(addr string, i int) (worker, error) {
	c, err := dialRESP(addr)
	if err != nil {
		return nil, err
	}
	w := &redisWorker{resp: c, name: fmt.Sprintf("w%d", i)}
	if _, err := c.pipeline([]string{"DEL", "count:" + w.name, "text:" + w.name}); err != nil {
		c.Close()
		return nil, err
	}
	return w, nil
}

// Round is a pipeline of eight: each answer follows from what was sent before.
func (w *redisWorker) Round() (int, error) {
	text := fmt.Sprintf("%s says %d", w.name, w.n)
	cmds := [][]string{{"SET", "text:" + w.name, text}, {"GET", "text:" + w.name}}
	want := []string{"+OK", text}
	for range 3 {
		w.n++
		cmds = append(cmds, []string{"INCR", "count:" + w.name}, []string{"ECHO", text})
		want = append(want, fmt.Sprintf(":%d", w.n), text)
	}
	got, err := w.pipeline(cmds...)
	if err == nil && !slices.Equal(got, want) {
		err = fmt.Errorf("%w: %q instead of %q", errWrongAnswer, got, want)
	}
	return len(cmds), err
}
