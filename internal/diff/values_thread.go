package diff

import (
	"bytes"
	"cmp"
	"debug/elf"

	"hotpatch/internal/image"
)

// threadValues finds the thread-local variables that start with another value in
// each new thread. The loader of a running process goes on using the block that it
// has. Variables are known by name; or by their place, where the block has kept its
// size: code that is equal finds them there.
func (d *Diff) threadValues() (out []Value) {
	was := map[string][]image.Symbol{}
	for _, s := range d.Base.Symbols {
		if s.Type == elf.STT_TLS {
			was[s.Name] = append(was[s.Name], s)
		}
	}
	names := map[string]int{}
	for _, s := range d.Fixed.Symbols {
		if s.Type == elf.STT_TLS {
			names[s.Name]++
		}
	}
	same := d.Base.TLSSize == d.Fixed.TLSSize
	left := mostThreadBytes
	add := func(a, b image.Addr, n uint64, name string) {
		left -= len(d.Base.threadBytes(a, image.Addr(n))) + len(d.Fixed.threadBytes(b, image.Addr(n)))
		if left < 0 || d.threadDiffers(a, b, image.Addr(n)) {
			out = append(out, Value{Base: a, Fixed: b, Size: n, Name: cmp.Or(name, threadSection), Section: name == ""})
		}
	}
	for _, s := range d.Fixed.Symbols {
		if s.Type != elf.STT_TLS || s.Size == 0 {
			continue
		}
		switch old := was[s.Name]; {
		case len(old) == 1 && names[s.Name] == 1:
			add(old[0].Addr, s.Addr, min(s.Size, old[0].Size), s.Name)
		case same:
			add(s.Addr, s.Addr, s.Size, s.Name)
		}
	}
	if len(out) == 0 && same && d.Fixed.TLSSize > 0 && !d.data.objects.complete {
		add(0, 0, d.Fixed.TLSSize, "")
	}
	return out
}

const (
	threadSection = ".tdata"
	// mostThreadBytes is how much is compared: symbols of a damaged file may all
	// cover the whole block. What is left then is said to differ.
	mostThreadBytes = 1 << 30
)

// threadDiffers compares n bytes at two places of the thread-local block.
func (d *Diff) threadDiffers(a, b, n image.Addr) bool {
	ra, rb := d.Base.threadRelocs(a, n), d.Fixed.threadRelocs(b, n)
	if len(ra) != len(rb) {
		return true
	}
	startA, startB := d.Base.threadStart()+a, d.Fixed.threadStart()+b
	at := image.Addr(0) // what is before it is the same
	for i := range ra {
		o := rb[i].At - startB
		if ra[i].At-startA != o || at < o && !sameInitial(d.Base.threadBytes(a+at, o-at), d.Fixed.threadBytes(b+at, o-at)) {
			return true
		}
		if same, _ := d.samePointer(&ra[i], &rb[i], nil); !same {
			return true
		}
		at = o + word
	}
	return at < n && !sameInitial(d.Base.threadBytes(a+at, n-at), d.Fixed.threadBytes(b+at, n-at))
}

// sameInitial compares what two files have of equally much memory; the rest of it is
// zero.
func sameInitial(x, y []byte) bool {
	n := min(len(x), len(y))
	rest := x[n:]
	if len(y) > n {
		rest = y[n:]
	}
	return bytes.Equal(x[:n], y[:n]) && len(bytes.TrimLeft(rest, "\x00")) == 0
}

// threadStart is where the initial values of thread-local variables are.
func (c *Code) threadStart() image.Addr {
	for _, s := range c.Sections {
		if s.Class == image.TLS {
			return s.Addr
		}
	}
	return 0
}

// threadBytes are those of the n bytes at offset a of the block that the file has.
func (c *Code) threadBytes(a, n image.Addr) []byte {
	size := image.Addr(len(c.TLSInit))
	if a >= size {
		return nil
	}
	return c.TLSInit[a : a+min(n, size-a)]
}

func (c *Code) threadRelocs(a, n image.Addr) []image.Reloc {
	size := image.Addr(len(c.TLSInit))
	if a >= size {
		return nil
	}
	start := c.threadStart()
	return c.RelocsIn(start+a, start+min(a+min(n, size), size))
}
