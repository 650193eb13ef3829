package txn

import (
	"fmt"

	"hotpatch/internal/image"
	"hotpatch/internal/proc"
	"hotpatch/internal/unwind"
)

// space collects the unwind data of everything executable in the process:
// images, vdso, and the code that we brought. An image whose data cannot be
// read has none: a stack through it is unreadable, hence unsafe.
func (t *target) space() (*unwind.Space, error) {
	var ms []unwind.Module
	left := uint64(mostTables)
	for _, m := range t.modules {
		if err := t.late(); err != nil {
			return nil, err
		}
		table, err := remember(t, m, &t.tables.unwind, func(f *proc.File) (frameTable, uint64, error) {
			table, err := readFrames(f, m, left)
			return table, table.size, err
		})
		if err != nil || table.size > left {
			continue
		}
		left -= table.size
		lo, hi := m.Code()
		ms = append(ms, unwind.Module{Name: m.Path, Lo: lo, Hi: hi, Bias: m.Bias, Table: table.Table})
	}
	for _, j := range t.journals {
		if j.Phase == reverted {
			continue
		}
		for _, r := range j.carried() {
			if r.EHFrame == 0 {
				continue
			}
			if r.EHSize > left {
				return nil, fmt.Errorf("carried unwind data at %#x: %d bytes are too many", r.EHFrame, r.EHSize)
			}
			left -= r.EHSize
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

// readFrames reads an image's .eh_frame from its file, which may be deleted or in
// another mount namespace; the vdso is only in memory.
func readFrames(f *proc.File, m proc.Module, most uint64) (frameTable, error) {
	o, err := outline(f, m, most)
	if err != nil {
		return frameTable{}, err
	}
	data, at, err := o.Frames()
	if err != nil {
		return frameTable{}, err
	}
	if data == nil {
		return frameTable{}, fmt.Errorf("%s has no .eh_frame", m.Path)
	}
	table, err := unwind.TableFrom(data, at)
	return frameTable{table, uint64(len(data))}, err
}
