package build_test

import (
	"os"
	"path/filepath"
	"testing"

	"hotpatch/internal/build"
)

// Two images of which one was damaged: whatever is found, nothing panics, and
// what is written can be read.
func FuzzBuildOfDamagedImages(f *testing.F) {
	base, fixed := compile(f, "new-handler.c", style{flags: []string{"-Wl,-z,noseparate-code"}})
	good, err := os.ReadFile(base)
	if err != nil {
		f.Fatal(err)
	}
	other, err := os.ReadFile(fixed)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(uint32(0), []byte{}, false)
	for _, at := range []uint32{0x10, 0x28, 0x40, 0x200, 0x300, 0x800, 0x1100, 0x1180, 0x1250, 0x2000, 0x2100} {
		f.Add(at, []byte{0xff, 0x7f, 0, 0, 0xe8, 1, 2, 3}, at%0x20 == 0)
	}
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, at uint32, bytes []byte, swap bool) {
		data := append([]byte(nil), other...)
		if int(at) < len(data) {
			copy(data[at:], bytes)
		}
		x, y := filepath.Join(dir, "a"), filepath.Join(dir, "b")
		if err := os.WriteFile(x, good, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(y, data, 0o644); err != nil {
			t.Fatal(err)
		}
		if swap {
			x, y = y, x
		}
		_, b, err := build.Build(t.Context(), x, y, build.Options{})
		if err != nil || b == nil {
			return
		}
		if _, err := b.Encode(); err != nil {
			t.Errorf("encode: %v", err)
		}
	})
}
