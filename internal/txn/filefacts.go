package txn

import (
	"debug/elf"

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
		facts, err := readFileFacts(f, m)
		return facts, 0, err
	})
}

func readFileFacts(f *proc.File, m proc.Module) (known fileFacts, err error) {
	o, err := outline(f, m, mostTables)
	if err != nil {
		return known, err
	}
	if known.switches, err = o.Imports(switchFunction); err != nil {
		return known, err
	}
	l, err := o.Loading()
	known.library = library{l.Soname, l.Needed, l.Flags1&elf.DF_1_NODELETE != 0}
	known.unreadable = err != nil
	return known, nil
}
