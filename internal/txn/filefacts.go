package txn

import (
	"debug/elf"

	"hotpatch/internal/image"
	"hotpatch/internal/proc"
)

// fileFacts are what a module's file says of it, read at once: to open the file
// takes longer than to read that.
type fileFacts struct {
	switches   bool // it calls switchFunction
	library    library
	unreadable bool // library is not known
}

// library is what a file says of itself to the loader.
type library struct {
	name    string
	needed  []string // the names of the libraries it was linked with
	forever bool     // it asks never to be unloaded
}

func (t *target) fileFacts(m proc.Module) (fileFacts, error) {
	if err := t.late(); err != nil {
		return fileFacts{}, err
	}
	return remember(t, m, &t.tables.files, func(f *proc.File) (fileFacts, uint64, error) {
		o, err := outline(f, m, mostTables)
		if err != nil {
			return fileFacts{}, 0, err
		}
		facts, err := readFileFacts(o)
		if err != nil {
			return facts, 0, err
		}
		t.trampolinesToo(f, o, m)
		return facts, 0, nil
	})
}

// trampolinesToo looks for the trampolines while a file is open: who asks what it
// says nearly always asks for them next. Where that would take long it can wait.
func (t *target) trampolinesToo(f *proc.File, o *image.Outline, m proc.Module) {
	left := uint64(8 << 20)
	for _, l := range o.Code() {
		if l.File > left {
			return
		}
		left -= l.File
	}
	k, err := t.keyOf(f, m)
	if err != nil {
		return
	}
	if found, err := t.trampolinesIn(f, o, make([]byte, trampolineBuffer)); err == nil {
		t.tables.trampolines.put(k, found)
	}
}

func readFileFacts(o *image.Outline) (known fileFacts, err error) {
	if known.switches, err = o.Imports(switchFunction); err != nil {
		return known, err
	}
	l, err := o.Loading()
	known.library = library{l.Soname, l.Needed, l.Flags1&elf.DF_1_NODELETE != 0}
	known.unreadable = err != nil
	return known, nil
}
