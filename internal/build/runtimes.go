package build

import (
	"bytes"
	"slices"
	"strings"

	"hotpatch/internal/image"
)

// Some languages bring a runtime that finds the values on a stack by tables of
// return addresses, made when the program was linked. In carried code there is
// no such address: the next collection of garbage ends the process. Go's is
// recognised when the file is read; these are compiled to what looks like any
// other code.

// runtimeOf says which of them an image has code for, "" for none.
func runtimeOf(m *image.Image) string {
	for i := range m.Symbols {
		switch n := m.Symbols[i].Name; {
		case strings.HasPrefix(n, "caml") && strings.HasSuffix(n, "frametable"):
			return "OCaml"
		case strings.HasPrefix(n, "stg_ap_"):
			return "Haskell"
		}
	}
	for i := range m.Relocs {
		if strings.HasPrefix(m.Relocs[i].Sym, "stg_") { // of a library's
			return "Haskell"
		}
	}
	for _, s := range m.Sections {
		if s.Class != image.ROData {
			continue
		}
		for _, r := range []struct{ option, language string }{{"OCAMLRUNPARAM", "OCaml"}, {"GHCRTS", "Haskell"}} {
			if holdsString(s.Data, r.option) {
				return r.language
			}
		}
	}
	return ""
}

// holdsString says whether text is one of the strings in data: whole, between
// two NULs.
func holdsString(data []byte, text string) bool {
	whole := append([]byte(text), 0)
	for at := 0; ; {
		i := bytes.Index(data[at:], whole)
		if i < 0 {
			return false
		}
		at += i
		if at == 0 || data[at-1] == 0 {
			return true
		}
		at += len(whole)
	}
}

// collects says whether an image is linked to the Boehm collector, which keeps
// what variables point to: those of the files that the loader knows.
func collects(m *image.Image) bool {
	return slices.ContainsFunc(m.Needed, func(n string) bool { return strings.HasPrefix(n, "libgc.so.") })
}
