package deb

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/klauspost/compress/zstd"
	"github.com/therootcompany/xz"
)

// What a package may ask of us at most. The largest in Debian have files of
// some hundred MiB and some ten thousand entries.
const (
	maxControl    = 1 << 20   // the control file
	maxControlTar = 64 << 20  // control.tar, unpacked
	maxFile       = 512 << 20 // one file
	maxTotal      = 4 << 30   // data.tar, unpacked
	maxEntries    = 1 << 19   // of a tar
	maxName       = 4096      // bytes of a path, as PATH_MAX
	maxDict       = 128 << 20 // window of xz and zstd; dpkg's strongest uses 64 MiB
)

// tarReader reads one member as a tar stream, within bounds.
type tarReader struct {
	*tar.Reader
	member  member
	head    []byte // read by peek, not yet by content
	entries int
	sum     int64 // sizes that the headers claim: sparse files cost no stream bytes
	limit   int64
	close   func()
}

// openTar starts decompressing a member; its suffix says how. limit bounds
// the unpacked stream.
func openTar(r io.ReaderAt, m member, limit int64) (*tarReader, error) {
	raw := bufio.NewReaderSize(io.NewSectionReader(r, m.off, m.size), 64<<10)
	stream, closer, err := decompress(raw, m.name)
	if err != nil {
		return nil, fmt.Errorf("member %s at offset %d: %w", m.name, m.off, err)
	}
	return &tarReader{
		Reader: tar.NewReader(&bounded{r: stream, left: limit}),
		member: m, limit: limit, close: closer,
	}, nil
}

func decompress(r io.Reader, name string) (io.Reader, func(), error) {
	nothing := func() {}
	_, suffix, _ := strings.Cut(name, ".tar")
	switch suffix {
	case "":
		return r, nothing, nil
	case ".gz":
		z, err := gzip.NewReader(r)
		return z, nothing, err
	case ".xz":
		// This reader, because it can bound the dictionary: a header of a
		// hundred bytes may ask for 4 GiB, and most readers allocate it.
		x, err := xz.NewReader(r, maxDict)
		return x, nothing, err
	case ".zst":
		z, err := zstd.NewReader(r, zstd.WithDecoderMaxWindow(maxDict), zstd.WithDecoderConcurrency(1))
		if err != nil {
			return nil, nil, err
		}
		return z, z.Close, nil
	}
	return nil, nil, fmt.Errorf("unknown compression %q", suffix)
}

func (t *tarReader) Close() { t.close() }

// next returns the next entry and its absolute, clean name; io.EOF at the end.
func (t *tarReader) next() (string, *tar.Header, error) {
	t.head = nil
	h, err := t.Reader.Next()
	if err == io.EOF {
		return "", nil, err
	}
	if err != nil {
		return "", nil, fmt.Errorf("member %s, entry %d: %w", t.member.name, t.entries, err)
	}
	if t.entries++; t.entries > maxEntries {
		return "", nil, fmt.Errorf("member %s: more than %d entries", t.member.name, maxEntries)
	}
	name, err := cleanName(h.Name)
	if err != nil {
		return "", nil, fmt.Errorf("member %s, entry %d: %w", t.member.name, t.entries-1, err)
	}
	if h.Size < 0 || h.Size > maxFile {
		return "", nil, fmt.Errorf("member %s: %s has %d bytes, more than %d", t.member.name, name, h.Size, int64(maxFile))
	}
	if t.sum += h.Size; t.sum > t.limit {
		return "", nil, fmt.Errorf("member %s: its files have more than %d bytes together", t.member.name, t.limit)
	}
	return name, h, nil
}

// peek returns the first bytes of the entry; content will still see them.
func (t *tarReader) peek(h *tar.Header) ([]byte, error) {
	t.head = make([]byte, min(h.Size, headSize))
	if _, err := io.ReadFull(t.Reader, t.head); err != nil {
		return nil, unexpected(err)
	}
	return bytes.Clone(t.head), nil
}

// content reads the whole entry. The buffer grows with the data that really
// comes: a header alone costs nothing.
func (t *tarReader) content(h *tar.Header) ([]byte, error) {
	var b bytes.Buffer
	if h.Size < 1<<20 {
		b.Grow(int(h.Size) + bytes.MinRead)
	}
	err := t.copyTo(&b, h)
	return b.Bytes(), err
}

func (t *tarReader) copyTo(w io.Writer, h *tar.Header) error {
	n, err := io.Copy(w, io.MultiReader(bytes.NewReader(t.head), t.Reader))
	if err == nil && n != h.Size {
		err = io.ErrUnexpectedEOF
	}
	return err
}

func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// bounded fails, rather than ends, when more than left bytes are read.
type bounded struct {
	r    io.Reader
	left int64
}

func (b *bounded) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, fmt.Errorf("unpacks to too many bytes")
	}
	if int64(len(p)) > b.left {
		p = p[:b.left]
	}
	n, err := b.r.Read(p)
	b.left -= int64(n)
	return n, err
}

// cleanName turns a name from a tar into an absolute path: "./usr/bin/x" and
// "usr/bin/x" are "/usr/bin/x". A name that climbs is an error, not repaired.
func cleanName(s string) (string, error) {
	if len(s) > maxName {
		return "", fmt.Errorf("name of %d bytes is too long", len(s))
	}
	if strings.ContainsRune(s, 0) {
		return "", fmt.Errorf("name %q contains NUL", s)
	}
	for part := range strings.SplitSeq(s, "/") {
		if part == ".." {
			return "", fmt.Errorf("name %q leads out of the package", s)
		}
	}
	return path.Clean("/" + s), nil
}
