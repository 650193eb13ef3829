package txn

import (
	"bytes"
	"debug/elf"
	"path"
	"slices"
	"strings"
)

// A program that switches between stacks by itself (coroutines, fibres) has
// frames on stacks that belong to no thread at the moment. No check sees them,
// so a replaced function can be waiting there. Such programs are told by what
// they are made with; libcrypto, which can do it on request but hardly ever
// is asked to, links makecontext but not swapcontext.
const switchFunction = "swapcontext"

var switchLibraries = []string{"libboost_context.so", "libcoro.so", "libpth.so"}

// noCoroutines refuses a process that may keep frames on stacks of its own.
func (t *target) noCoroutines() error {
	for _, m := range t.modules {
		if m.Path == "[vdso]" {
			continue
		}
		why := ""
		name := path.Base(m.Path)
		if slices.ContainsFunc(switchLibraries, func(l string) bool { return strings.HasPrefix(name, l) }) {
			why = name + " is loaded"
		} else if f, err := t.fileFacts(m); err != nil {
			return err
		} else if f.switches { // libc has the name, too: it defines it
			why = name + " calls " + switchFunction
		}
		if why != "" {
			return refuse("it switches stacks by itself (%s): what waits on a stack that is switched away cannot be seen", why)
		}
	}
	return nil
}

// importsName says whether the file's dynamic symbols have an undefined one of
// this name. It makes nothing of the others: libc has thousands.
func importsName(f *elf.File, name string) (bool, error) {
	strs, syms := f.Section(".dynstr"), f.SectionByType(elf.SHT_DYNSYM)
	if strs == nil || syms == nil {
		return false, nil
	}
	names, err := strs.Data()
	if err != nil {
		return false, err
	}
	if !bytes.Contains(names, []byte(name+"\x00")) {
		return false, nil
	}
	table, err := syms.Data()
	if err != nil {
		return false, err
	}
	for ; len(table) >= elf.Sym64Size; table = table[elf.Sym64Size:] {
		at, section := f.ByteOrder.Uint32(table), elf.SectionIndex(f.ByteOrder.Uint16(table[6:]))
		if section == elf.SHN_UNDEF && uint64(at) < uint64(len(names)) && bytes.HasPrefix(names[at:], []byte(name+"\x00")) {
			return true, nil
		}
	}
	return false, nil
}
