// Package link turns a patch object into the bytes to write, given where the
// base image is loaded and where the object's span goes. It is pure: build
// uses it for a trial, txn for the real thing.
package link

import (
	"errors"

	"hotpatch/internal/patch"
)

var errTODO = errors.New("not built yet")

// Place says where things are in one process (or in a trial).
type Place struct {
	Bias uint64 // run-time address minus file address of the base image
	Span uint64 // run-time address of the object's Lo; page aligned
}

// Lookup finds the run-time address of an import.
type Lookup func(name, version string) (uint64, error)

// Write is a run of bytes for a run-time address.
type Write struct {
	Addr uint64
	Data []byte
}

// Link relocates o for p. The writes are by address, page-merged (no two in
// the same page) and cover only populated pages; unused bytes of a code page are int3.
// Errors name the symbol and the field: out of range, unknown import.
func Link(o *patch.Object, p Place, imports Lookup) ([]Write, error) { return nil, errTODO }

// Entry is the jump to write at one site.
type Entry struct {
	Addr     uint64 // run-time address of the 5 bytes
	Old, New [5]byte
	Site     int // index into Image.Sites
}

// Entries computes the jumps of an image's sites. Refused (error): a distance
// over 2 GiB, a jump that crosses a page.
func Entries(img *patch.Image, o *patch.Object, p Place) ([]Entry, error) { return nil, errTODO }
