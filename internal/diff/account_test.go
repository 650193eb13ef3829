package diff_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"hotpatch/internal/diff"
	"hotpatch/internal/image"
)

// checkAccount checks that the stretches are the executable sections, byte by
// byte, and returns how many bytes are of which use.
func checkAccount(t *testing.T, m *image.Image) map[diff.Use]image.Addr {
	t.Helper()
	bytes := map[diff.Use]image.Addr{}
	code, err := diff.Decode(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	stretches := code.Account()
	for _, s := range m.Sections {
		if s.Size == 0 || s.Class != image.Text && s.Class != image.PLT {
			continue
		}
		at := s.Addr
		for at < s.Addr+s.Size {
			if len(stretches) == 0 || stretches[0].Lo != at || stretches[0].Hi <= at {
				t.Fatalf("%s: nothing accounts for %#x of %s", m.Path, at, s.Name)
			}
			x := stretches[0]
			if x.Use == diff.Function && (x.Func == nil || x.Func.Lo != x.Lo || x.Func.Hi != x.Hi) {
				t.Fatalf("%s: %#x-%#x is function %+v", m.Path, x.Lo, x.Hi, x.Func)
			}
			bytes[x.Use] += x.Hi - x.Lo
			at, stretches = x.Hi, stretches[1:]
		}
		if at != s.Addr+s.Size {
			t.Fatalf("%s: a stretch runs past the end of %s", m.Path, s.Name)
		}
	}
	if len(stretches) > 0 {
		t.Fatalf("%s: %#x is in no executable section", m.Path, stretches[0].Lo)
	}
	return bytes
}

func TestEveryByteOfCodeIsAccountedFor(t *testing.T) {
	const source = `
#include <stdio.h>
#include <stdlib.h>
static int twice(int n) { return 2 * n; }
int main(int n, char **v) { if (n > 9) abort(); return puts(v[0]) + twice(n); }
`
	for _, flags := range [][]string{
		nil, {"-fcf-protection=full"}, {"-fno-plt"}, {"-static-pie"}, {"-Wl,-z,pack-relative-relocs"}, {"-Wl,-z,now"},
		{"-fno-asynchronous-unwind-tables"}, {"-shared", "-fPIC"},
	} {
		path := compile(t, source, flags...)
		for _, p := range []string{path, strip(t, path)} {
			bytes := checkAccount(t, open(t, p))
			all := bytes[diff.Function] + bytes[diff.Linkage] + bytes[diff.Padding] + bytes[diff.Unknown]
			// The C start-up files have no unwind data for some of their code.
			if flags == nil && (bytes[diff.Function] == 0 || bytes[diff.Unknown] > 400 || all == 0) {
				t.Errorf("%v: %v", flags, bytes)
			}
		}
	}
}

// TestProgramsOfThisMachineAreAccountedFor looks at whatever is installed.
func TestProgramsOfThisMachineAreAccountedFor(t *testing.T) {
	var paths []string
	for _, name := range []string{"sh", "ls", "gcc", "ld", "ssh", "gdb", "perl", "python3", "busybox", "git"} {
		if p, err := exec.LookPath(name); err == nil {
			paths = append(paths, p)
		}
	}
	for _, name := range []string{"libc.so.6", "libm.so.6", "libstdc++.so.6", "libcrypto.so.3", "libz.so.1", "ld-linux-x86-64.so.2"} {
		found, _ := filepath.Glob("/lib/x86_64-linux-gnu/" + name)
		paths = append(paths, found...)
	}
	seen := 0
	for _, p := range paths {
		st, err := os.Stat(p)
		if err != nil || testing.Short() && st.Size() > 4<<20 {
			continue
		}
		m, err := image.Open(p)
		if err != nil {
			continue // a script, a Go program, no build-id
		}
		seen++
		bytes := checkAccount(t, m)
		t.Logf("%s: %d functions, %d PLT, %d padding, %d unknown", p, bytes[diff.Function], bytes[diff.Linkage], bytes[diff.Padding], bytes[diff.Unknown])
	}
	if seen == 0 {
		t.Skip("no program of this machine could be read")
	}
}
