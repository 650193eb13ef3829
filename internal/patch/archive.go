package patch

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
)

// A hotpatch file is a Unix ar archive in the dialect of .deb files: names of
// at most 15 characters without a trailing slash, no symbol index, and every
// header field that could differ between two machines fixed. So ar, objdump
// and readelf read it as it is.

const (
	arMagic   = "!<arch>\n"
	arHeader  = 60
	arNameMax = 15
)

// Limits of a file. Whatever exceeds them is refused before it is looked at.
const (
	MaxFile     = 256 << 20 // bytes of the whole file
	MaxManifest = 16 << 20  // bytes of manifest.json and of accepted.json
	MaxMembers  = 1024      // members of the archive
)

// member is one file of the archive.
type member struct {
	name string
	data []byte
}

// header is the only header that a member of this name and size can have.
func header(name string, size int) string {
	return fmt.Sprintf("%-16s%-12d%-6d%-6d%-8s%-10d`\n", name, 0, 0, 0, "100644", size)
}

func writeArchive(members []member) ([]byte, error) {
	size := len(arMagic)
	for _, m := range members {
		if len(m.name) > arNameMax {
			return nil, fmt.Errorf("write member %s: name longer than %d", m.name, arNameMax)
		}
		size += arHeader + len(m.data) + len(m.data)&1
	}
	switch {
	case size > MaxFile:
		return nil, fmt.Errorf("write archive: %d bytes, more than %d", size, MaxFile)
	case len(members) > MaxMembers:
		return nil, fmt.Errorf("write archive: %d members, more than %d", len(members), MaxMembers)
	}
	out := make([]byte, 0, size)
	out = append(out, arMagic...)
	for _, m := range members {
		out = append(out, header(m.name, len(m.data))...)
		out = append(out, m.data...)
		if len(out)%2 != 0 {
			out = append(out, '\n')
		}
	}
	return out, nil
}

// recognise tells a hotpatch file, of whatever format, from other files by the
// name of its first member.
func recognise(data []byte) error {
	rest, ok := bytes.CutPrefix(data, []byte(arMagic))
	switch {
	case ok && bytes.HasPrefix(rest, []byte("hotpatch-")):
		return nil
	case ok && bytes.HasPrefix(rest, []byte("debian-binary")):
		return ErrPackage
	case ok && len(rest) > 0:
		return fmt.Errorf("%w (an ar archive of something else)", ErrOther)
	}
	return ErrOther
}

// damaged is ErrDamaged with what exactly is wrong.
func damaged(format string, args ...any) error {
	return fmt.Errorf("%w (%w)", ErrDamaged, fmt.Errorf(format, args...))
}

// readArchive splits data into members that refer to it. It accepts exactly
// what writeArchive writes.
func readArchive(data []byte) ([]member, error) {
	if len(data) > MaxFile {
		return nil, fmt.Errorf("read archive: %d bytes, more than %d", len(data), MaxFile)
	}
	if err := recognise(data); err != nil {
		return nil, err
	}
	var members []member
	for off := len(arMagic); off < len(data); {
		if len(members) == MaxMembers {
			return nil, fmt.Errorf("read archive: more than %d members", MaxMembers)
		}
		m, next, err := readMember(data, off)
		if err != nil {
			return nil, damaged("member %d at offset %#x: %w", len(members), off, err)
		}
		members = append(members, m)
		off = next
	}
	return members, nil
}

func readMember(data []byte, off int) (m member, next int, err error) {
	if len(data)-off < arHeader {
		return m, 0, errors.New("truncated header")
	}
	h := data[off : off+arHeader]
	name := string(bytes.TrimRight(h[:16], " "))
	size, err := strconv.ParseUint(string(bytes.TrimRight(h[48:58], " ")), 10, 32)
	if err != nil {
		return m, 0, fmt.Errorf("%q: size is not a number", name)
	}
	body := off + arHeader
	if size > uint64(len(data)-body) {
		return m, 0, fmt.Errorf("%q: %d bytes, but the file has only %d more", name, size, len(data)-body)
	}
	end := body + int(size)
	if len(name) > arNameMax || string(h) != header(name, int(size)) {
		return m, 0, fmt.Errorf("%q: header is not the canonical one", name)
	}
	if end%2 != 0 {
		if end == len(data) || data[end] != '\n' {
			return m, 0, fmt.Errorf("%q: padding byte missing or not a newline", name)
		}
		return member{name, data[body:end:end]}, end + 1, nil
	}
	return member{name, data[body:end:end]}, end, nil
}
