package deb_test

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"hotpatch/internal/deb"
)

const redisDsc = `-----BEGIN PGP SIGNED MESSAGE-----
Hash: SHA512

Format: 3.0 (quilt)
Source: redis
Binary: redis, redis-sentinel, redis-server, redis-sparc,
 redis-some, redis-udeb
Architecture: any all
Version: 5:7.0.15-1~deb12u7
Package-List:
 redis deb database optional arch=all
 redis-sentinel deb database optional arch=any
 redis-server deb database optional arch=any
 redis-sparc deb database optional arch=sparc,s390x
 redis-some deb database optional arch=i386,linux-any
 redis-udeb udeb debian-installer optional arch=any
Checksums-Sha1:
 68ff7c3b1b9e9d9d0c7a4e0f3b1e3f9c8b1a2d3e 3025940 redis_7.0.15.orig.tar.gz
Checksums-Sha256:
 4b1dc4ee6d622a09fff9c6777191209750fb5e5a725ef78ea012d6eef4c22982 3025940 redis_7.0.15.orig.tar.gz
 1414177085364A374A89DE565845DBB9798EF46C8A91A2726E4485A376B6B9EC 45456 redis_7.0.15-1~deb12u7.debian.tar.xz

-----BEGIN PGP SIGNATURE-----

iQIzBAEBCgAdFiEE
-----END PGP SIGNATURE-----
`

func TestSourceControlFileIsRead(t *testing.T) {
	got, err := deb.ParseDsc(strings.NewReader(redisDsc))
	if err != nil {
		t.Fatal(err)
	}
	want := &deb.Dsc{
		Source: "redis", Version: "5:7.0.15-1~deb12u7",
		Binaries: []string{"redis", "redis-sentinel", "redis-server", "redis-sparc", "redis-some", "redis-udeb"},
		Machine:  []string{"redis-sentinel", "redis-server", "redis-some"},
		Files: []deb.SourceFile{
			{Name: "redis_7.0.15.orig.tar.gz", Size: 3025940, SHA256: "4b1dc4ee6d622a09fff9c6777191209750fb5e5a725ef78ea012d6eef4c22982"},
			{Name: "redis_7.0.15-1~deb12u7.debian.tar.xz", Size: 45456, SHA256: "1414177085364a374a89de565845dbb9798ef46c8a91a2726e4485a376b6b9ec"},
		},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	_, body, _ := strings.Cut(redisDsc, "\n\n")
	plain, _, _ := strings.Cut(body, "\n\n")
	unsigned, err := deb.ParseDsc(strings.NewReader(plain))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, unsigned); d != "" {
		t.Errorf("unsigned: %s", d)
	}
}

func TestBadSourceControlFilesAreRefused(t *testing.T) {
	const sum = " 4b1dc4ee6d622a09fff9c6777191209750fb5e5a725ef78ea012d6eef4c22982 1 x.tar.gz\n"
	for _, c := range []struct{ name, text, want string }{
		{"empty", "", "bad source name"},
		{"no version", "Source: redis\n", "version"},
		{"an option for a name", "Source: -rf\nVersion: 1\n", "bad source name"},
		{"bad binary", "Source: redis\nVersion: 1\nBinary: a b\n", "bad package name"},
		{"no files", "Source: redis\nVersion: 1\n", "names no files"},
		{"path for a file name", "Source: redis\nVersion: 1\nChecksums-Sha256:\n" + strings.Replace(sum, "x.tar.gz", "../x", 1), "bad file name"},
		{"option for a file name", "Source: redis\nVersion: 1\nChecksums-Sha256:\n" + strings.Replace(sum, "x.tar.gz", "-x", 1), "bad file name"},
		{"short digest", "Source: redis\nVersion: 1\nChecksums-Sha256:\n 4b1d 1 x\n", "no SHA-256"},
		{"negative size", "Source: redis\nVersion: 1\nChecksums-Sha256:\n" + strings.Replace(sum, " 1 ", " -1 ", 1), "bad size"},
		{"two columns", "Source: redis\nVersion: 1\nChecksums-Sha256:\n 4b1d x\n", "digest, size and name"},
		{"field twice", "Source: a1\nSource: b1\n", "twice"},
		{"no field", "Source\n", "not a field"},
		{"continues nothing", " x\n", "continues no field"},
		{"too long", "Source: redis\nX: " + strings.Repeat("y", 2<<20), "too many bytes"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := deb.ParseDsc(strings.NewReader(c.text))
			if err == nil || !strings.Contains(strings.ToLower(err.Error()), strings.ToLower(c.want)) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func TestSourceFilesAreComparedWithTheirDigests(t *testing.T) {
	dir := t.TempDir()
	data := []byte("source")
	text := fmt.Sprintf("Source: tiny\nVersion: 1\nChecksums-Sha256:\n %x %d tiny.tar.gz\n", sha256.Sum256(data), len(data))
	path := filepath.Join(dir, "tiny.dsc")
	write := func(name string, data []byte) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("tiny.dsc", []byte(text))
	d, err := deb.OpenDsc(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Verify(); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("absent file: %v", err)
	}
	for _, bad := range []string{"Source", "sourc", "source and more"} {
		write("tiny.tar.gz", []byte(bad))
		if err := d.Verify(); err == nil || !strings.Contains(err.Error(), "tiny.tar.gz") {
			t.Errorf("%q: %v", bad, err)
		}
	}
	write("tiny.tar.gz", data)
	if err := d.Verify(); err != nil {
		t.Error(err)
	}
}

func TestListsOfArchivesBecomeListsOfSources(t *testing.T) {
	for _, c := range []struct{ name, ext, text, want string }{
		{
			"one line each", ".list",
			"# deb is commented\ndeb [signed-by=/k.gpg] http://a/debian bookworm main\n deb-src http://a/debian bookworm main\n",
			"# deb is commented\ndeb-src [signed-by=/k.gpg] http://a/debian bookworm main\ndeb-src http://a/debian bookworm main\n",
		},
		{
			"deb822", ".sources",
			"Types: deb\nURIs: http://a/debian\nSuites: bookworm\n\ntypes: deb deb-src\nEnabled: no\n",
			"Types: deb-src\nURIs: http://a/debian\nSuites: bookworm\n\nTypes: deb-src\nEnabled: no\n",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			if d := cmp.Diff(c.want, deb.ForSources(c.text, c.ext)); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestSourcesOnOfferAreNewestFirst(t *testing.T) {
	got, err := deb.ParseShowSrc(`Package: memcached
Binary: memcached
Version: 1.6.18-1
Build-Depends: debhelper-compat (= 13),
 libevent-dev

Package: memcached
Binary: memcached, memcached-extra
Version: 1.6.18-1+deb12u1

Package: memcached
Binary: memcached
Version: 1.6.18-1

Package: ../x
Version: 1

`)
	if err != nil {
		t.Fatal(err)
	}
	want := []deb.SourceOffer{
		{Source: "memcached", Version: "1.6.18-1+deb12u1", Binaries: []string{"memcached", "memcached-extra"}},
		{Source: "memcached", Version: "1.6.18-1", Binaries: []string{"memcached"}},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestVersionOfARebuildLeadsToItsSource(t *testing.T) {
	for version, want := range map[string]string{
		"1.0.9-2+b6": "1.0.9-2", "1.2-3": "1.2-3", "1.2-3+deb12u1": "1.2-3+deb12u1", "1.2-3+b1+x": "1.2-3+b1+x",
	} {
		if got := deb.WithoutRebuild(version); got != want {
			t.Errorf("%s: %s, want %s", version, got, want)
		}
	}
}

func FuzzParseDsc(f *testing.F) {
	f.Add([]byte(redisDsc))
	f.Add([]byte("Source: a1\nVersion: 1\nChecksums-Sha256:\n x 1 y\n"))
	f.Add([]byte("-----BEGIN PGP SIGNED MESSAGE-----\n\n- Source: a\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		d, err := deb.ParseDsc(strings.NewReader(string(text)))
		if err != nil {
			return
		}
		if d.Source == "" || d.Version == "" || len(d.Files) == 0 {
			t.Errorf("accepted %+v", d)
		}
		for _, x := range d.Files {
			if x.Name != filepath.Base(x.Name) || x.Size < 0 {
				t.Errorf("accepted file %+v", x)
			}
		}
	})
}
