package txn

import (
	"debug/elf"
	"fmt"

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
	return remember(t.tables, &t.tables.files, m.BuildID, func() (fileFacts, error) { return t.readFileFacts(m) })
}

func (t *target) readFileFacts(m proc.Module) (fileFacts, error) {
	r, _, c, err := proc.Open(t.info.PID, m)
	if err != nil {
		return fileFacts{}, err
	}
	defer c.Close()
	f, err := elf.NewFile(r)
	if err != nil {
		return fileFacts{}, fmt.Errorf("read %s: %w", m.Path, err)
	}
	var known fileFacts
	if known.switches, err = importsName(f, switchFunction); err != nil {
		return fileFacts{}, fmt.Errorf("read symbols of %s: %w", m.Path, err)
	}
	l := &known.library
	l.needed, err = f.ImportedLibraries()
	known.unreadable = err != nil
	if flags, err := f.DynValue(elf.DT_FLAGS_1); err == nil && len(flags) == 1 {
		l.forever = elf.DynFlag1(flags[0])&elf.DF_1_NODELETE != 0
	}
	if names, err := f.DynString(elf.DT_SONAME); err == nil && len(names) > 0 {
		l.name = names[0]
	}
	return known, nil
}
