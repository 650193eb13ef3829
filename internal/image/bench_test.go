package image_test

import (
	"os"
	"testing"

	"hotpatch/internal/image"
	"hotpatch/internal/testkit"
)

// BenchmarkOpen reads a large library: libcrypto with 11,000 functions and
// 21,000 relocations where it is installed, else the C library.
func BenchmarkOpen(b *testing.B) {
	path := large(b)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := image.Open(path); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkLookups(b *testing.B) {
	m, err := image.Open(large(b))
	if err != nil {
		b.Fatal(err)
	}
	var sink int
	b.Run("FuncAt", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			if m.FuncAt(m.Funcs[i*7919%len(m.Funcs)].Lo+3) != nil {
				sink++
			}
		}
	})
	b.Run("ClassAt", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			sink += int(m.ClassAt(m.Relocs[i*7919%len(m.Relocs)].At))
		}
	})
	b.Run("RelocAt", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			if m.RelocAt(m.Relocs[i*7919%len(m.Relocs)].At) != nil {
				sink++
			}
		}
	})
}

func large(b *testing.B) string {
	for _, p := range []string{"/lib/x86_64-linux-gnu/libcrypto.so.3", "/lib/x86_64-linux-gnu/libc.so.6"} {
		if _, err := os.Stat(p); err == nil {
			return p
		}
	}
	testkit.Skip(b, "no C library at the place of Debian")
	return ""
}
