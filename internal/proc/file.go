package proc

import (
	"errors"
	"io"
)

// FileBuildID is the build-id of an ELF file, "" when it has none. ok is false,
// with no error, for what is no x86-64 executable or library.
func FileBuildID(r io.ReaderAt) (id string, ok bool, err error) {
	id, err = fileBuildID(r)
	if errors.Is(err, errNotELF) || errors.Is(err, io.EOF) {
		return "", false, nil // too short for a header, too
	}
	return id, err == nil, err
}
