package txn

import (
	"errors"
	"fmt"
	"io"

	"hotpatch/internal/proc"
	"hotpatch/internal/unwind"
)

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
	for _, m := range t.modules {
		rs, err := remember(t.tables, &t.tables.trampolines, m.BuildID, func() ([]unwind.Range, error) {
			if buf == nil {
				buf = make([]byte, 64<<10)
			}
			return t.trampolinesOf(m, buf)
		})
		if err != nil {
			return nil, fmt.Errorf("read code of %s: %w", m.Path, err)
		}
		for _, r := range rs {
			all = append(all, unwind.Range{Lo: r.Lo + m.Bias, Hi: r.Hi + m.Bias})
		}
	}
	return all, nil
}

// trampolinesOf looks in the module's file where it can: the kernel hands out
// the pages of a file ten times as fast as those of another process, and
// nobody changes a signal trampoline in memory.
func (t *target) trampolinesOf(m proc.Module, buf []byte) ([]unwind.Range, error) {
	if f, _, c, err := proc.Open(t.info.PID, m); err == nil {
		defer c.Close()
		if rs, err := findTrampolines(m, f, buf, func(p proc.Map) uint64 { return p.Off }); err == nil {
			return rs, nil
		}
	}
	return findTrampolines(m, t.mem, buf, func(p proc.Map) uint64 { return p.Start })
}

// findTrampolines reads the module's code from r by way of buf, where from tells
// the place of a mapping.
func findTrampolines(m proc.Module, r io.ReaderAt, buf []byte, from func(proc.Map) uint64) ([]unwind.Range, error) {
	const overlap = 32 // more than a trampoline, so that none is cut in two unseen
	var rs []unwind.Range
	for _, p := range m.Maps {
		if !p.Exec {
			continue
		}
		for at := p.Start; at < p.End; {
			b := buf[:min(uint64(len(buf)), p.End-at)]
			n, err := r.ReadAt(b, int64(from(p)+at-p.Start))
			if err != nil && !errors.Is(err, io.EOF) { // the last page of a file is mapped whole
				return nil, err
			}
			rs = append(rs, unwind.Trampolines(b[:n], at-m.Bias)...)
			if at += uint64(n); err != nil || at == p.End {
				break
			}
			at -= overlap
		}
	}
	return rs, nil
}
