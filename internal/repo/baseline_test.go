package repo_test

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"hotpatch/internal/catalog"
	"hotpatch/internal/deb"
	"hotpatch/internal/patch"
	"hotpatch/internal/repo"
)

// elf is the least that is an x86-64 program with a build-id.
func elf(id string) []byte {
	raw, err := hex.DecodeString(id)
	if err != nil {
		panic(err)
	}
	le := binary.LittleEndian
	b := make([]byte, 4096)
	copy(b, "\x7fELF\x02\x01\x01")
	le.PutUint16(b[16:], 3)  // ET_DYN
	le.PutUint16(b[18:], 62) // x86-64
	le.PutUint32(b[20:], 1)
	le.PutUint64(b[32:], 64) // program headers
	le.PutUint16(b[52:], 64)
	le.PutUint16(b[54:], 56)
	le.PutUint16(b[56:], 2)
	load, note := b[64:], b[64+56:]
	le.PutUint32(load, 1)
	le.PutUint32(load[4:], 5)
	le.PutUint64(load[32:], 4096)
	le.PutUint64(load[40:], 4096)
	le.PutUint64(load[48:], 4096)
	size := uint64(16 + len(raw))
	le.PutUint32(note, 4)
	le.PutUint32(note[4:], 4)
	le.PutUint64(note[8:], 512)
	le.PutUint64(note[16:], 512)
	le.PutUint64(note[32:], size)
	le.PutUint64(note[40:], size)
	le.PutUint64(note[48:], 4)
	n := b[512:]
	le.PutUint32(n, 4)
	le.PutUint32(n[4:], uint32(len(raw)))
	le.PutUint32(n[8:], 3)
	copy(n[12:], "GNU\x00")
	copy(n[16:], raw)
	return b
}

// makeDeb writes a package.
func makeDeb(t *testing.T, name, version string, files map[string][]byte) string {
	t.Helper()
	archive := func(files map[string][]byte) []byte {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		for name, data := range files {
			if err := w.WriteHeader(&tar.Header{Name: "." + name, Mode: 0o755, Size: int64(len(data))}); err != nil {
				t.Fatal(err)
			}
			if _, err := w.Write(data); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	control := fmt.Sprintf("Package: %s\nVersion: %s\nArchitecture: amd64\n", name, version)
	out := []byte("!<arch>\n")
	for _, m := range []struct {
		name string
		data []byte
	}{{"debian-binary", []byte("2.0\n")}, {"control.tar", archive(map[string][]byte{"/control": []byte(control)})}, {"data.tar", archive(files)}} {
		out = fmt.Appendf(out, "%-16s%-12d%-6d%-6d%-8o%-10d`\n", m.name, 0, 0, 0, 0o100644, len(m.data))
		if out = append(out, m.data...); len(m.data)%2 == 1 {
			out = append(out, '\n')
		}
	}
	file := filepath.Join(t.TempDir(), name+".deb")
	write(t, file, out)
	return file
}

const (
	oldID = "00112233445566778899aabbccddeeff00112233"
	newID = "ffeeddccbbaa99887766554433221100ffeeddcc"
	libID = "abababababababababababababababababababab"
)

func TestBaselineFromAHostHasBuildIDs(t *testing.T) {
	root := t.TempDir()
	status := "Package: hello\nStatus: install ok installed\nVersion: 1.0-1\nArchitecture: amd64\n\n" +
		"Package: half\nStatus: install ok half-configured\nVersion: 1\nArchitecture: amd64\n\n" +
		"Package: docs\nStatus: install ok installed\nVersion: 2\nArchitecture: all\n\n"
	write(t, filepath.Join(root, "var/lib/dpkg/status"), []byte(status))
	write(t, filepath.Join(root, "var/lib/dpkg/info/hello.list"), []byte("/.\n/usr\n/usr/bin\n/usr/bin/hello\n/usr/bin/script\n/usr/bin/gone\n"))
	write(t, filepath.Join(root, "usr/bin/hello"), elf(oldID))
	write(t, filepath.Join(root, "usr/bin/script"), []byte("#!/bin/sh\n"))
	pins, err := repo.PinHost(deb.Dpkg{Root: root})
	if err != nil {
		t.Fatal(err)
	}
	if len(pins) != 2 || pins[1].Package != "hello" || pins[1].Fixed != "1.0-1" || len(pins[1].Images) != 1 ||
		pins[1].Images[0] != (catalog.Change{Path: "/usr/bin/hello", Fixed: oldID}) {
		t.Errorf("pins %s", indent(t, pins))
	}
}

func TestDebsCompleteABaseline(t *testing.T) {
	pins, err := repo.PinList(strings.NewReader("hello=1.0-1\nother=3\n"), "list")
	if err != nil {
		t.Fatal(err)
	}
	file := makeDeb(t, "hello", "1.0-1", map[string][]byte{"/usr/bin/hello": elf(oldID), "/lib/x86_64-linux-gnu/libhello.so": elf(libID), "/usr/share/x": []byte("x")})
	sum := sha256.Sum256(mustRead(t, file))
	if pins, err = repo.PinDebs(pins, []string{file}); err != nil {
		t.Fatal(err)
	}
	p := pins[0]
	if string(p.Deb) != hex.EncodeToString(sum[:]) || p.Size == 0 || len(p.Images) != 2 || p.Images[1].Path != "/usr/lib/x86_64-linux-gnu/libhello.so" {
		t.Errorf("pin %s", indent(t, p))
	}
	_, err = repo.PinDebs(pins, []string{makeDeb(t, "hello", "1.0-2", nil)})
	wantError(t, err, nil, "hello 1.0-2, but the baseline's is 1.0-1")
	_, err = repo.PinDebs(pins, []string{makeDeb(t, "hello", "1.0-1", map[string][]byte{"/usr/bin/hello": elf(newID)})})
	wantError(t, err, repo.ErrMismatch)
}

// A hotpatch with its package: the build-ids have to agree on both sides, and
// images without a patch are known to run the same code.
func TestBundleAndPackageHaveToAgree(t *testing.T) {
	f := newFixture(t)
	b, err := patch.ReadFile(bundle(t, "1.0-1", "1.0-1+deb12u1"))
	if err != nil {
		t.Fatal(err)
	}
	g := b.Manifest.Images[0]
	pins, err := repo.PinDebs(nil, []string{makeDeb(t, "hello", "1.0-1", map[string][]byte{g.Path: elf(g.BuildIDBase), "/lib/libhello.so": elf(libID)})})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.repo.AddBaseline(catalog.Release{ID: "2025.10", Kind: catalog.Baseline}, pins, "carol"); err != nil {
		t.Fatal(err)
	}
	add := func(debID string) (*catalog.Release, error) {
		d := makeDeb(t, "hello", "1.0-1+deb12u1", map[string][]byte{g.Path: elf(debID), "/lib/libhello.so": elf(newID)})
		return f.repo.Add(repo.Addition{Release: hot("x"), Bundles: []string{bundle(t, "1.0-1", "1.0-1+deb12u1")}, Debs: []string{d}, By: "carol"})
	}
	_, err = add(strings.Repeat("12", 20))
	wantError(t, err, repo.ErrRefused, "but the bundle was built from "+g.BuildIDFixed)
	rel, err := add(g.BuildIDFixed)
	if err != nil {
		t.Fatal(err)
	}
	a := rel.Artifacts[0]
	if len(rel.Artifacts) != 1 || a.Deb == "" || a.Bundle == "" || a.Base != "1.0-1" {
		t.Fatalf("artifact %s", indent(t, a))
	}
	for _, im := range a.Images {
		switch im.Path {
		case "/usr/lib/libhello.so":
			if im.Base != libID || im.Fixed != newID || !im.Same {
				t.Errorf("image %+v: it has no patch, so it runs the same code", im)
			}
		case g.Path:
			if im.Base != g.BuildIDBase || im.Same {
				t.Errorf("image %+v", im)
			}
		}
	}
}

// A file under two names is in the bundle by one of them: what the other runs
// is patched, and never taken for unchanged.
func TestSecondNameOfAPatchedFileIsPatchedToo(t *testing.T) {
	f := newFixture(t)
	b, err := patch.ReadFile(bundle(t, "1.0-1", "1.0-2"))
	if err != nil {
		t.Fatal(err)
	}
	g := b.Manifest.Images[0]
	both := func(version, id string) string {
		return makeDeb(t, "hello", version, map[string][]byte{g.Path: elf(id), "/usr/bin/other-name": elf(id)})
	}
	pins, err := repo.PinDebs(nil, []string{both("1.0-1", g.BuildIDBase)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.repo.AddBaseline(catalog.Release{ID: "2025.10", Kind: catalog.Baseline}, pins, "carol"); err != nil {
		t.Fatal(err)
	}
	rel, err := f.repo.Add(repo.Addition{Release: hot("x"), Bundles: []string{bundle(t, "1.0-1", "1.0-2")}, Debs: []string{both("1.0-2", g.BuildIDFixed)}, By: "carol"})
	if err != nil {
		t.Fatal(err)
	}
	for _, im := range rel.Artifacts[0].Images {
		if im.Base != g.BuildIDBase || im.Same {
			t.Errorf("image %+v", im)
		}
	}
	if n := len(rel.Artifacts[0].Images); n != 2 {
		t.Errorf("%d images", n)
	}
}

// A build-id that the baseline has not: refused, whatever the version says.
func TestBundleForAnotherBuildIsRefused(t *testing.T) {
	f := newFixture(t)
	b, err := patch.ReadFile(bundle(t, "1.0-1", "1.0-2"))
	if err != nil {
		t.Fatal(err)
	}
	g := b.Manifest.Images[0]
	pins, err := repo.PinDebs(nil, []string{makeDeb(t, "hello", "1.0-1", map[string][]byte{g.Path: elf(libID)})})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.repo.AddBaseline(catalog.Release{ID: "2025.10", Kind: catalog.Baseline}, pins, "carol"); err != nil {
		t.Fatal(err)
	}
	_, err = f.repo.Add(repo.Addition{Release: hot("x"), Bundles: []string{bundle(t, "1.0-1", "1.0-2")}, By: "carol"})
	wantError(t, err, repo.ErrRefused, g.BuildIDBase, libID)
}

// An update whose programs run the same code needs neither a patch nor a
// restart, if somebody who asked the builder says so.
func TestPackagesThatRunTheSameCodeNeedNoBundle(t *testing.T) {
	f := newFixture(t)
	pins, err := repo.PinDebs(nil, []string{makeDeb(t, "hello", "1.0-1", map[string][]byte{"/usr/bin/hello": elf(oldID)})})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.repo.AddBaseline(catalog.Release{ID: "2025.10", Kind: catalog.Baseline}, pins, "carol"); err != nil {
		t.Fatal(err)
	}
	a := repo.Addition{Release: hot("x"), Debs: []string{makeDeb(t, "hello", "1.0-2", map[string][]byte{"/usr/bin/hello": elf(newID)})}, By: "carol"}
	_, err = f.repo.Add(a)
	wantError(t, err, repo.ErrRefused, "without a bundle")
	a.Same = []string{"other"}
	_, err = f.repo.Add(a)
	wantError(t, err, repo.ErrRefused, "other")
	a.Same = []string{"hello"}
	rel, err := f.repo.Add(a)
	if err != nil {
		t.Fatal(err)
	}
	if g := rel.Artifacts[0].Images[0]; g != (catalog.Change{Path: "/usr/bin/hello", Base: oldID, Fixed: newID, Same: true}) {
		t.Errorf("image %+v", g)
	}
}
