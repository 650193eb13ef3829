package txn

import (
	"bytes"
	"debug/elf"
	"fmt"
	"io"

	"hotpatch/internal/image"
	"hotpatch/internal/proc"
	"hotpatch/internal/unwind"
)

// space collects the unwind data of everything executable in the process:
// images, vdso, and the code that we brought. An image whose data cannot be
// read has none: a stack through it is unreadable, hence unsafe.
func (t *target) space() (*unwind.Space, error) {
	var ms []unwind.Module
	for _, m := range t.modules {
		table, err := remember(t.tables, &t.tables.unwind, m.BuildID, func() (*unwind.Table, error) { return t.table(m) })
		if err != nil {
			continue
		}
		lo, hi := m.Code()
		ms = append(ms, unwind.Module{Name: m.Path, Lo: lo, Hi: hi, Bias: m.Bias, Table: table})
	}
	for _, j := range t.journals {
		if j.Phase == reverted {
			continue
		}
		for _, r := range j.carried() {
			if r.EHFrame == 0 {
				continue
			}
			data := make([]byte, r.EHSize)
			if _, err := t.mem.ReadAt(data, int64(r.EHFrame)); err != nil {
				return nil, fmt.Errorf("read carried unwind data: %w", err)
			}
			table, err := unwind.TableFrom(data, image.Addr(r.EHFrame))
			if err != nil {
				return nil, fmt.Errorf("carried unwind data at %#x: %w", r.EHFrame, err)
			}
			lo, hi := r.code()
			ms = append(ms, unwind.Module{Name: "hotpatch " + j.ID.Short(), Lo: lo, Hi: hi, Table: table})
		}
	}
	return unwind.NewSpace(ms)
}

// table reads a module's .eh_frame from its file, which may be deleted or in
// another mount namespace; the vdso is only in memory.
func (t *target) table(m proc.Module) (*unwind.Table, error) {
	var r io.ReaderAt
	if m.Path == "[vdso]" {
		b := make([]byte, m.Hi()-m.Lo())
		if _, err := t.mem.ReadAt(b, int64(m.Lo())); err != nil {
			return nil, err
		}
		r = bytes.NewReader(b)
	} else {
		f, _, c, err := proc.Open(t.info.PID, m)
		if err != nil {
			return nil, err
		}
		defer c.Close()
		r = f
	}
	f, err := elf.NewFile(r)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", m.Path, err)
	}
	s := f.Section(".eh_frame")
	if s == nil {
		return nil, fmt.Errorf("%s has no .eh_frame", m.Path)
	}
	data, err := s.Data()
	if err != nil {
		return nil, fmt.Errorf("read .eh_frame of %s: %w", m.Path, err)
	}
	return unwind.TableFrom(data, image.Addr(s.Addr))
}
