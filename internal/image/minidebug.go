package image

import (
	"bytes"
	"debug/elf"
	"fmt"
	"io"
	"slices"

	"github.com/therootcompany/xz"
)

// Bounds of .gnu_debugdata. Symbol tables shrink to a fifth or so; xz asks for
// a window of 8 MiB unless told otherwise.
const (
	miniRatio   = 64       // of the sizes unpacked and packed
	maxMiniDict = 16 << 20 // window, bytes
)

// miniSymbols are the functions that .gnu_debugdata names: an ELF file packed
// with xz, which holds the part of .symtab that .dynsym lacks ("MiniDebugInfo",
// gdb manual §18.4). It leaves an image as stripped as it was, for it names no
// variables.
func (f *file) miniSymbols() ([]Symbol, error) {
	h := f.section(".gnu_debugdata")
	if h == nil {
		return nil, nil
	}
	packed, err := f.data(h)
	if err != nil {
		return nil, err
	}
	r, err := xz.NewReader(bytes.NewReader(packed), maxMiniDict)
	if err != nil {
		return nil, fmt.Errorf("section %s: %w", h.Name, err)
	}
	most := miniRatio * len(packed)
	data, err := io.ReadAll(io.LimitReader(r, int64(most)+1))
	if err != nil {
		return nil, fmt.Errorf("section %s: %w", h.Name, err)
	}
	if len(data) > most {
		return nil, fmt.Errorf("section %s: unpacks to more than %d times its size", h.Name, miniRatio)
	}
	g, err := openFile(bytes.NewReader(data), int64(len(data)), h.Name)
	if err != nil {
		return nil, fmt.Errorf("section %s: %w", h.Name, err)
	}
	tab, err := g.symbolTable(elf.SHT_SYMTAB)
	if err != nil {
		return nil, fmt.Errorf("section %s: %w", h.Name, err)
	}
	return slices.DeleteFunc(defined(tab), func(s Symbol) bool { return !s.function() }), nil
}
