package txn

import (
	"bytes"
	"debug/elf"
	"errors"
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
	known.library, err = readLibrary(f)
	known.unreadable = err != nil
	return known, nil
}

func readLibrary(f *elf.File) (l library, err error) {
	needed, err := f.DynValue(elf.DT_NEEDED)
	if err != nil {
		return l, err
	}
	flags, err := f.DynValue(elf.DT_FLAGS_1)
	if err != nil {
		return l, err
	}
	soname, err := f.DynValue(elf.DT_SONAME)
	if err != nil {
		return l, err
	}
	l.forever = len(flags) == 1 && elf.DynFlag1(flags[0])&elf.DF_1_NODELETE != 0
	if len(needed)+len(soname) == 0 {
		return l, nil
	}
	strs := f.Section(".dynstr")
	if strs == nil {
		return l, errors.New("no .dynstr")
	}
	names, err := strs.Data() // once, not for each of them
	if err != nil {
		return l, err
	}
	name := func(at uint64) string {
		if at >= uint64(len(names)) {
			return ""
		}
		n, _, _ := bytes.Cut(names[at:], []byte{0})
		return string(n)
	}
	for _, at := range needed {
		l.needed = append(l.needed, name(at))
	}
	if len(soname) > 0 {
		l.name = name(soname[0])
	}
	return l, nil
}
