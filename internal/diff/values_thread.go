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
	add := func(a, b image.Addr, n uint64, name string) {
		if d.threadDiffers(a, b, image.Addr(n)) {
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

const threadSection = ".tdata"

// threadDiffers compares n bytes at two places of the thread-local block.
func (d *Diff) threadDiffers(a, b, n image.Addr) bool {
	ra, rb := d.Base.threadRelocs(a, n), d.Fixed.threadRelocs(b, n)
	x, y := d.Base.threadBytes(a, n), d.Fixed.threadBytes(b, n)
	if len(ra) != len(rb) {
		return true
	}
	startA, startB := d.Base.threadStart()+a, d.Fixed.threadStart()+b
	for i := range ra {
		o := rb[i].At - startB
		if ra[i].At-startA != o {
			return true
		}
		if same, _ := d.samePointer(&ra[i], &rb[i], nil); !same {
			return true
		}
		clear(x[min(o, n):min(o+word, n)])
		clear(y[min(o, n):min(o+word, n)])
	}
	return !bytes.Equal(x, y)
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

// threadBytes are the n bytes at offset a of the block that a new thread gets; a
// copy. What is outside of it is zero.
func (c *Code) threadBytes(a, n image.Addr) []byte {
	const most = 1 << 24 // a damaged file may say anything
	out := make([]byte, min(n, most))
	if a < image.Addr(len(c.TLSInit)) {
		copy(out, c.TLSInit[a:])
	}
	return out
}

func (c *Code) threadRelocs(a, n image.Addr) []image.Reloc {
	size := image.Addr(len(c.TLSInit))
	if a >= size {
		return nil
	}
	start := c.threadStart()
	return c.RelocsIn(start+a, start+min(a+min(n, size), size))
}
