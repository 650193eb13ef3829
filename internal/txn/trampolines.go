package txn

import (
	"errors"
	"fmt"
	"io"
	"slices"

	"hotpatch/internal/image"
	"hotpatch/internal/proc"
	"hotpatch/internal/unwind"
)

const trampolineBuffer = 64 << 10 // bytes

// trampolines are where signal handlers return to, in all images: a stack that
// holds such an address continues somewhere else.
func (t *target) trampolines() ([]unwind.Range, error) {
	var all []unwind.Range
	for _, m := range t.maps {
		if m.Path == "[uprobes]" { // a traced call returns there; the true return address is the kernel's
			all = append(all, unwind.Range{Lo: m.Start, Hi: m.End})
		}
	}
	var buf []byte
	scratch := func() []byte {
		if buf == nil {
			buf = make([]byte, trampolineBuffer)
		}
		return buf
	}
	for _, m := range t.modules {
		// The kernel hands out the pages of a file ten times as fast as those of
		// another process, and nobody changes a signal trampoline in memory.
		in, err := remember(t, m, &t.tables.trampolines, func(f *proc.File) (trampolines, uint64, error) {
			o, err := outline(f, m, mostTables)
			if err != nil {
				return trampolines{}, 0, err
			}
			found, err := t.trampolinesIn(f, o, scratch())
			return found, 0, err
		})
		if b := (*busy)(nil); errors.As(err, &b) {
			return nil, err
		}
		for _, r := range in.found {
			all = append(all, unwind.Range{Lo: r.Lo + m.Bias, Hi: r.Hi + m.Bias})
		}
		for _, p := range m.Maps {
			if !p.Exec || err == nil && in.covers(p, m.Bias) {
				continue
			}
			// What the file does not say is code, or no file shows.
			rs, err := t.findTrampolines(t.mem, p.Start, p.Start, p.Size(), scratch())
			if err != nil {
				return nil, fmt.Errorf("read code of %s: %w", m.Path, err)
			}
			all = append(all, rs...)
		}
	}
	return all, nil
}

// trampolines are those in the code of a file, all of it at file addresses.
type trampolines struct {
	code, found []unwind.Range
}

// covers says whether a mapping shows nothing but what was looked through.
func (c trampolines) covers(p proc.Map, bias uint64) bool {
	return slices.ContainsFunc(c.code, func(r unwind.Range) bool { return p.Start-bias >= r.Lo && p.End-bias <= r.Hi })
}

// trampolinesIn looks through all that the file says is code, however much of it
// this process has mapped: others have the rest.
func (t *target) trampolinesIn(f *proc.File, o *image.Outline, buf []byte) (trampolines, error) {
	var c trampolines
	left := uint64(mostCode)
	for _, l := range o.Code() {
		// The pages of a file are mapped whole.
		off := l.Off &^ (pageSize - 1)
		at := uint64(l.Addr) - (l.Off - off)
		size := pages(l.Off + l.File - off)
		if size > left || l.Off+l.File < l.Off {
			return c, fmt.Errorf("segment of %d bytes of code is not believed", l.File)
		}
		left -= size
		rs, err := t.findTrampolines(f, off, at, size, buf)
		if err != nil {
			return c, err
		}
		c.found = append(c.found, rs...)
		c.code = append(c.code, unwind.Range{Lo: at, Hi: at + size})
	}
	return c, nil
}

// findTrampolines reads size bytes of r from an offset on by way of buf; they are
// at an address.
func (t *target) findTrampolines(r io.ReaderAt, off, at, size uint64, buf []byte) ([]unwind.Range, error) {
	const overlap = 32 // more than a trampoline, so that none is cut in two unseen
	if size > mostCode {
		return nil, refuse("%d bytes of code are more than are looked through", size)
	}
	var rs []unwind.Range
	for done := uint64(0); done < size; {
		if err := t.late(); err != nil {
			return nil, err
		}
		b := buf[:min(uint64(len(buf)), size-done)]
		n, err := r.ReadAt(b, int64(off+done))
		if err != nil && !errors.Is(err, io.EOF) { // the last page of a file is mapped whole
			return nil, err
		}
		rs = append(rs, unwind.Trampolines(b[:n], at+done)...)
		if done += uint64(n); err != nil || done == size {
			break
		}
		done -= overlap
	}
	return rs, nil
}
