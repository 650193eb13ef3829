package diff_test

import (
	"bytes"
	"strings"
	"testing"

	"hotpatch/internal/diff"
	"hotpatch/internal/image"
)

// The end of a long string is looked up; it is where reading on would find it.
func TestLengthsOfStringsAreThoseThatReadingFinds(t *testing.T) {
	path := compile(t, `#include <stdio.h>
asm(".section .rodata\nblob: .fill 3000,1,0x41\n.byte 0\n.fill 1023,1,0x42\n.byte 1\n.fill 2100,1,0x43\n.byte 0,0,9\n.fill 4096,1,0x44\n.byte 0\n.fill 1500,1,0x45\n.text\n");
int main(void) { return puts("end"); }`)
	m, err := image.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	c := compareImages(t, m, m).Base
	s := c.SectionNamed(".rodata")
	for i := range s.Data {
		want := bytes.IndexByte(s.Data[i:], 0) + 1
		if k := bytes.IndexFunc(s.Data[i:], func(r rune) bool { return r > 0 && r < 8 }); k >= 0 && k < want {
			want = 0
		}
		if got := c.CString(s.Addr + image.Addr(i)); got != want {
			t.Fatalf("at %#x of .rodata: %d, want %d", i, got, want)
		}
	}
}

// What is too long for a text with a version in it is not searched for one.
func TestLongStringIsAChange(t *testing.T) {
	source := func(n int, version string) string {
		return `#include <stdio.h>
__attribute__((noinline)) int tell(void) { return puts("` + strings.Repeat("x", n) + ` version ` + version + `"); }
int main(void) { return tell(); }`
	}
	for n, want := range map[int]diff.State{100: diff.Noise, 20000: diff.Changed} {
		d := compare(t, compile(t, source(n, "1.2.3")), compile(t, source(n, "1.2.4")))
		for _, f := range d.Fixed.Funcs {
			if f.Name() != "tell" {
				continue
			}
			if got, why := d.State(f); got != want {
				t.Errorf("%d bytes: %v (%s), want %v", n, got, why, want)
			}
		}
	}
}
