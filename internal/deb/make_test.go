package deb_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

// entry is one entry of a tar to be made. Kind 0 is a regular file.
type entry struct {
	name, data, link string
	kind             byte
	mode             int64
}

func file(name, data string) entry { return entry{name: name, data: data, mode: 0o644} }
func dir(name string) entry        { return entry{name: name, kind: tar.TypeDir, mode: 0o755} }
func symlink(name, target string) entry {
	return entry{name: name, link: target, kind: tar.TypeSymlink}
}
func hardlink(name, target string) entry {
	return entry{name: name, link: target, kind: tar.TypeLink, mode: 0o644}
}

func makeTar(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		kind := e.kind
		if kind == 0 {
			kind = tar.TypeReg
		}
		h := &tar.Header{Typeflag: kind, Name: e.name, Linkname: e.link, Mode: e.mode, Size: int64(len(e.data)), Format: tar.FormatGNU}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, e.data); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// pack compresses as the suffix says: "", .gz, .xz, .zst.
func pack(t testing.TB, suffix string, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	var w io.WriteCloser
	var err error
	switch suffix {
	case "":
		return data
	case ".gz":
		w = gzip.NewWriter(&b)
	case ".xz":
		w, err = xz.WriterConfig{DictCap: 1 << 16}.NewWriter(&b)
	case ".zst":
		w, err = zstd.NewWriter(&b)
	default:
		t.Fatalf("no way to make %q", suffix)
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

type arMember struct {
	name string
	data []byte
}

func makeAr(ms ...arMember) []byte {
	b := []byte("!<arch>\n")
	for _, m := range ms {
		b = fmt.Appendf(b, "%-16s%-12d%-6d%-6d%-8o%-10d`\n", m.name, 0, 0, 0, 0o100644, len(m.data))
		b = append(b, m.data...)
		if len(m.data)%2 == 1 {
			b = append(b, '\n')
		}
	}
	return b
}

const redisControl = `Package: redis-tools
Source: redis
Version: 5:7.0.15-1~deb12u7
Architecture: amd64
Maintainer: Someone <some@example.org>
Depends: adduser, libc6 (>= 2.34),
 libssl3 (>= 3.0.0)
Description: a test
 with a second line
 .
 Depends: not a field
`

// makeDeb writes a package with this compression and these files.
func makeDeb(t testing.TB, suffix, control string, entries ...entry) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "p.deb")
	if err := os.WriteFile(path, debBytes(t, suffix, control, entries...), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func debBytes(t testing.TB, suffix, control string, entries ...entry) []byte {
	t.Helper()
	return makeAr(
		arMember{"debian-binary", []byte("2.0\n")},
		arMember{"control.tar" + suffix, pack(t, suffix, makeTar(t, dir("./"), file("./control", control)))},
		arMember{"data.tar" + suffix, pack(t, suffix, makeTar(t, entries...))},
	)
}

func gz(t testing.TB, text string) string {
	return string(pack(t, ".gz", []byte(text)))
}
