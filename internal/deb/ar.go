package deb

import (
	"bytes"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// The outer archive of a .deb is the common ar format: an 8-byte magic, then
// members, each with a 60-byte header in ASCII and padded to an even offset.
const (
	arMagic      = "!<arch>\n"
	arHeaderSize = 60
	arHeaderEnd  = "`\n"
	maxMembers   = 64 // deb(5) knows three, and lets others be added
)

// member is one file of the ar archive: size bytes at off.
type member struct {
	name      string
	off, size int64
}

// members finds the control and data members, in the order and with the names
// that deb(5) prescribes: debian-binary first, then control.tar, then
// data.tar; members whose names start with an underscore may lie between.
func members(r io.ReaderAt, size int64) (control, data member, err error) {
	all, err := readAr(r, size)
	if err != nil {
		return control, data, err
	}
	if len(all) == 0 || all[0].name != "debian-binary" {
		return control, data, fmt.Errorf("not a Debian package: its first member is not debian-binary")
	}
	if err := checkFormat(r, all[0]); err != nil {
		return control, data, err
	}
	for _, m := range all[1:] {
		switch {
		case strings.HasPrefix(m.name, "_"):
		case strings.HasPrefix(m.name, "control.tar") && control.name == "":
			control = m
		case strings.HasPrefix(m.name, "data.tar") && control.name != "":
			return control, m, nil
		default:
			return control, data, fmt.Errorf("member %s at offset %d: not expected there", m.name, m.off)
		}
	}
	if control.name == "" {
		return control, data, fmt.Errorf("no member control.tar")
	}
	return control, data, fmt.Errorf("no member data.tar")
}

func checkFormat(r io.ReaderAt, m member) error {
	buf := make([]byte, min(m.size, 16))
	if _, err := r.ReadAt(buf, m.off); err != nil {
		return fmt.Errorf("member debian-binary at offset %d: %w", m.off, err)
	}
	if !bytes.HasPrefix(buf, []byte("2.")) {
		return fmt.Errorf("member debian-binary at offset %d: format version is not 2", m.off)
	}
	return nil
}

// readAr lists the members of an ar archive of the given size.
func readAr(r io.ReaderAt, size int64) ([]member, error) {
	magic := make([]byte, len(arMagic))
	if _, err := r.ReadAt(magic, 0); err != nil || string(magic) != arMagic {
		if err != nil && err != io.EOF {
			return nil, err
		}
		return nil, fmt.Errorf("not an ar archive")
	}
	var out []member
	for off := int64(len(arMagic)); off < size; {
		if len(out) == maxMembers {
			return nil, fmt.Errorf("offset %d: more than %d members", off, maxMembers)
		}
		m, err := arHeader(r, off)
		if err != nil {
			return nil, fmt.Errorf("member header at offset %d: %w", off, err)
		}
		if m.size > size-m.off {
			return nil, fmt.Errorf("member %s at offset %d: %d bytes reach behind the end of the file", m.name, m.off, m.size)
		}
		out = append(out, m)
		off = m.off + m.size + m.size%2
	}
	return out, nil
}

func arHeader(r io.ReaderAt, off int64) (member, error) {
	var h [arHeaderSize]byte
	if _, err := r.ReadAt(h[:], off); err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return member{}, err
	}
	if string(h[58:]) != arHeaderEnd {
		return member{}, fmt.Errorf("bad end mark %q", h[58:])
	}
	name := strings.TrimSuffix(strings.TrimRight(string(h[:16]), " "), "/")
	if name == "" {
		return member{}, fmt.Errorf("no name")
	}
	size, err := strconv.ParseUint(strings.TrimRight(string(h[48:58]), " "), 10, 62)
	if err != nil {
		return member{}, fmt.Errorf("size of %q: %w", name, err)
	}
	return member{name: name, off: off + arHeaderSize, size: int64(size)}, nil
}
