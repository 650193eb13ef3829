package build_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"hotpatch/internal/image"
	"hotpatch/internal/testkit"
)

// build of a case: which flags, and whether the symbols go.
type style struct {
	flags []string
	strip bool
}

var (
	debugged = style{flags: []string{"-g"}}
	stripped = style{strip: true}
	plain    = style{}
)

// compile builds testdata/name without and with -DFIXED.
func compile(t testing.TB, name string, s style) (base, fixed string) {
	t.Helper()
	cc := testkit.Tool(t, "gcc")
	if filepath.Ext(name) == ".cc" {
		cc = testkit.Tool(t, "g++")
	}
	dir := t.TempDir()
	make := func(out string, more ...string) string {
		path := filepath.Join(dir, out, "victim")
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		args := append([]string{"-O2", "-fPIE", "-pie", "-fcf-protection=none", "-fno-ipa-ra", "-Wl,--build-id=sha1", "-Wl,-z,relro,-z,now", "-o", path}, s.flags...)
		if s.strip {
			args = append(args, "-s")
		}
		args = append(args, more...)
		args = append(args, filepath.Join("testdata", name))
		if text, err := exec.Command(cc, args...).CombinedOutput(); err != nil {
			t.Fatalf("%s %v: %v\n%s", cc, args, err, text)
		}
		return path
	}
	return make("base"), make("fixed", "-DFIXED")
}

// strip makes a copy without symbols under the same name.
func strip(t testing.TB, path string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), filepath.Base(path))
	if text, err := exec.Command(testkit.Tool(t, "strip"), "-o", out, path).CombinedOutput(); err != nil {
		t.Fatalf("strip %s: %v\n%s", path, err, text)
	}
	return out
}

// fdesOf are the ends of the functions that an .eh_frame describes, by start.
func fdesOf(data []byte, addr uint64) (map[uint64]uint64, error) {
	all, err := image.FDEs(data, image.Addr(addr))
	if err != nil {
		return nil, err
	}
	out := map[uint64]uint64{}
	for _, f := range all {
		out[uint64(f.Lo)] = uint64(f.Hi)
	}
	return out, nil
}
