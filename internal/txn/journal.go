package txn

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"time"

	"hotpatch/internal/patch"
)

// The journal is what makes every state of a process recoverable from the
// process alone. It lies at the start of the tagged mapping of the first image
// of a transaction (the primary) and lists every entry of every image, with
// the bytes before and after. The mappings of further images carry only a
// header that points to the primary.
//
// Layout, little endian:
//
//	0   magic "HOTPATCH"
//	8   u32 version: 3 where an entry may lead through padding, else 2; of 1, which lacks some fields of the body, reading is all there is
//	12  u32 phase
//	16  u64 address of the primary's journal (its own address: this is it)
//	24  u64 size of header and journal, bytes, page multiple
//	32  u64 size of the read-execute part, header included
//	40  u64 size of the read-write part behind it
//	48  u64 length of the body that follows at 64 (primary only)
//	56  u64 FNV-1a of the body
//	64  body: see encodeBody
const (
	journalMagic   = "HOTPATCH"
	journalVersion = 2
	paddingVersion = 3 // sites without a name are padding; a tool that does not know that may not touch it
	firstVersion   = 1 // the oldest that is understood
	headerSize     = 64
	phaseAt        = 12
	pageSize       = 4096

	// Bounds of a journal that we believe. A torture bundle has about 11,000 sites.
	maxBody      = 16 << 20
	mostJournals = 32 << 20 // bytes of all in one process
	maxEHFrame   = 64 << 20 // bytes of carried unwind data
	maxSites     = 1 << 17
	maxRegions   = 1 << 10
	maxRanges    = 1 << 12
)

// phase is how far a transaction has come.
type phase uint32

const (
	prepared phase = 1 // no entry is written, or (after a kill) some are
	applied  phase = 2 // all entries lead to the new code
	undoing  phase = 3 // entries are being set back
	reverted phase = 4 // all entries are as they were; the mapping may be used again
)

var errNotJournal = errors.New("no journal")

type journal struct {
	Addr    uint64 // where it lies
	Phase   phase
	ID      patch.ID
	Seq     uint64
	Since   time.Time
	UID     uint32     // who applied it
	User    string     // the name behind UID, as the tool knew it; since version 2
	Tool    string     // the tool's version; since version 2
	Mode    patch.Mode // how it was applied; since version 2
	Package string
	Regions []region
	Sites   []site
	Hooks   []hook // in unwinders; since version 2
}

// region is the tagged mapping of one patched image.
type region struct {
	Addr    uint64 // of the header
	Header  uint64 // sizes in bytes, page multiples
	RX, RW  uint64 // RX includes the header
	Bias    uint64 // of the base image
	EHFrame uint64 // run-time address of the carried .eh_frame, 0: none
	EHSize  uint64
	State   bool // it brought variables of its own, whose values would be lost without it
	BuildID string
	Fixed   string // build-id of the fixed image; since version 2
	Path    string

	Void bool // found when looking, never stored: the image is not what was patched any more
}

// code is the range in which carried code runs.
func (r region) code() (lo, hi uint64) { return r.Addr + r.Header, r.Addr + r.RX }

// site is one entry that the transaction writes, with run-time addresses.
type site struct {
	Addr   uint64
	Region uint32  // index into Regions of the image it is in
	Orig   [5]byte // as in the base image
	Old    [5]byte // before the transaction: Orig, or the jump of a hotpatch that it replaces
	New    [5]byte // the jump to carried code; Orig where a replaced hotpatch had one and this has none
	Ranges [][2]uint64
	Name   string
}

// redirects says whether the entry leads to carried code of the transaction.
func (s site) redirects() bool { return s.New != s.Orig }

// before is what the entry holds when the transaction is not in force: while
// it is being put in force, what it found; afterwards, what the image had.
func (s site) before(p phase) [5]byte {
	if p == prepared {
		return s.Old
	}
	return s.Orig
}

func (j *journal) version() uint32 {
	if mayExchange(j.Mode) {
		return paddingVersion
	}
	return journalVersion
}

// header encodes the fixed part of a region's first page.
func (j *journal) header(r region, body []byte) []byte {
	b := make([]byte, headerSize, headerSize+len(body))
	copy(b, journalMagic)
	le := binary.LittleEndian
	le.PutUint32(b[8:], j.version())
	le.PutUint32(b[phaseAt:], uint32(j.Phase))
	le.PutUint64(b[16:], j.Addr)
	le.PutUint64(b[24:], r.Header)
	le.PutUint64(b[32:], r.RX)
	le.PutUint64(b[40:], r.RW)
	le.PutUint64(b[48:], uint64(len(body)))
	le.PutUint64(b[56:], fnv1a(body))
	return append(b, body...)
}

func (j *journal) encodeBody() ([]byte, error) {
	id, err := hex.DecodeString(string(j.ID))
	if err != nil || len(id) != 32 {
		return nil, fmt.Errorf("encode journal: id %q is not a SHA-256", j.ID)
	}
	le := binary.LittleEndian
	b := append([]byte(nil), id...)
	b = le.AppendUint64(b, j.Seq)
	b = le.AppendUint64(b, uint64(j.Since.UnixNano()))
	b = le.AppendUint32(b, j.UID)
	for _, s := range []string{j.User, j.Tool, string(j.Mode), j.Package} {
		b = appendString(b, s)
	}
	b = le.AppendUint32(b, uint32(len(j.Regions)))
	for _, r := range j.Regions {
		for _, v := range []uint64{r.Addr, r.Header, r.RX, r.RW, r.Bias, r.EHFrame, r.EHSize} {
			b = le.AppendUint64(b, v)
		}
		state := byte(0)
		if r.State {
			state = 1
		}
		b = append(b, state)
		b = appendString(b, r.BuildID)
		b = appendString(b, r.Fixed)
		b = appendString(b, r.Path)
	}
	b = le.AppendUint32(b, uint32(len(j.Sites)))
	for _, s := range j.Sites {
		b = le.AppendUint64(b, s.Addr)
		b = le.AppendUint32(b, s.Region)
		b = append(b, s.Orig[:]...)
		b = append(b, s.Old[:]...)
		b = append(b, s.New[:]...)
		b = le.AppendUint32(b, uint32(len(s.Ranges)))
		for _, r := range s.Ranges {
			b = le.AppendUint64(b, r[0])
			b = le.AppendUint64(b, r[1])
		}
		b = appendString(b, s.Name)
	}
	b = le.AppendUint32(b, uint32(len(j.Hooks)))
	for _, h := range j.Hooks {
		g := h.Room
		for _, v := range []uint64{h.Entry, h.Stub, h.Miss, h.Copy, g.Addr, g.Header, g.RX, g.Bias, g.EHFrame, g.EHSize} {
			b = le.AppendUint64(b, v)
		}
		b = appendString(b, string(h.Orig))
		b = appendString(b, g.BuildID)
		b = appendString(b, g.Path)
	}
	if len(b) > maxBody {
		return nil, fmt.Errorf("encode journal: %d bytes are more than %d", len(b), maxBody)
	}
	return b, nil
}

func appendString(b []byte, s string) []byte {
	if len(s) > math.MaxUint16 {
		s = s[:math.MaxUint16]
	}
	b = binary.LittleEndian.AppendUint16(b, uint16(len(s)))
	return append(b, s...)
}

func fnv1a(b []byte) uint64 {
	h := uint64(14695981039346656037)
	for _, c := range b {
		h = (h ^ uint64(c)) * 1099511628211
	}
	return h
}

// head is the decoded fixed part.
type head struct {
	version        uint32
	phase          phase
	primary        uint64
	header, rx, rw uint64
	body, sum      uint64
}

// decodeHead reads the fixed part at the start of a mapping of size bytes.
func decodeHead(b []byte, size uint64) (head, error) {
	if len(b) < headerSize || string(b[:8]) != journalMagic {
		return head{}, errNotJournal
	}
	le := binary.LittleEndian
	version := le.Uint32(b[8:])
	if version < firstVersion || version > paddingVersion {
		return head{}, fmt.Errorf("journal has version %d, not %d to %d: it was written by another release of hotpatch", version, firstVersion, paddingVersion)
	}
	h := head{
		version: version,
		phase:   phase(le.Uint32(b[phaseAt:])),
		primary: le.Uint64(b[16:]),
		header:  le.Uint64(b[24:]), rx: le.Uint64(b[32:]), rw: le.Uint64(b[40:]),
		body: le.Uint64(b[48:]), sum: le.Uint64(b[56:]),
	}
	switch {
	case h.phase < prepared || h.phase > reverted:
		return head{}, fmt.Errorf("journal: phase %d is unknown", h.phase)
	case h.header%pageSize != 0 || h.header == 0 || h.header > h.rx || h.rx > size:
		return head{}, fmt.Errorf("journal: header of %d bytes does not fit a mapping of %d", h.header, size)
	case h.body > maxBody || h.body+headerSize > h.header:
		return head{}, fmt.Errorf("journal: body of %d bytes does not fit a header of %d", h.body, h.header)
	}
	return h, nil
}

// decodeBody reads what encodeBody wrote. at is the journal's address.
func decodeBody(b []byte, h head, at uint64) (*journal, error) {
	if fnv1a(b) != h.sum {
		return nil, fmt.Errorf("journal at %#x: checksum does not match", at)
	}
	d := decoder{b: b}
	j := &journal{Addr: at, Phase: h.phase}
	j.ID = patch.ID(hex.EncodeToString(d.take(32)))
	j.Seq = d.u64()
	j.Since = time.Unix(0, int64(d.u64())).UTC()
	j.UID = d.u32()
	j.Mode = patch.Strict
	if h.version > 1 {
		j.User, j.Tool, j.Mode = d.str(), d.str(), patch.Mode(d.str())
	}
	j.Package = d.str()
	for range d.count(maxRegions, 61) {
		r := region{Addr: d.u64(), Header: d.u64(), RX: d.u64(), RW: d.u64(), Bias: d.u64(), EHFrame: d.u64(), EHSize: d.u64()}
		r.State = d.take(1)[0] != 0
		r.BuildID = d.str()
		if h.version > 1 {
			r.Fixed = d.str()
		}
		r.Path = d.str()
		if r.Header > r.RX || r.RX > 1<<32 || r.EHSize > min(r.RX, maxEHFrame) {
			d.fail("region at %#x has impossible sizes", r.Addr)
		}
		j.Regions = append(j.Regions, r)
	}
	for range d.count(maxSites, 33) {
		s := site{Addr: d.u64(), Region: d.u32()}
		if int(s.Region) >= len(j.Regions) {
			d.fail("entry at %#x is of region %d of %d", s.Addr, s.Region, len(j.Regions))
		}
		copy(s.Orig[:], d.take(5))
		copy(s.Old[:], d.take(5))
		copy(s.New[:], d.take(5))
		for range d.count(maxRanges, 16) {
			s.Ranges = append(s.Ranges, [2]uint64{d.u64(), d.u64()})
		}
		s.Name = d.str()
		j.Sites = append(j.Sites, s)
	}
	if h.version > 1 {
		d.hooks(j)
	}
	if d.err == nil && len(d.b) != 0 {
		d.fail("%d bytes are left over", len(d.b))
	}
	if d.err != nil {
		return nil, fmt.Errorf("journal at %#x: %w", at, d.err)
	}
	return j, nil
}

func (d *decoder) hooks(j *journal) {
	for range d.count(maxHooks, 86) {
		h := hook{Entry: d.u64(), Stub: d.u64(), Miss: d.u64(), Copy: d.u64()}
		g := &h.Room
		g.Addr, g.Header, g.RX, g.Bias, g.EHFrame, g.EHSize = d.u64(), d.u64(), d.u64(), d.u64(), d.u64(), d.u64()
		h.Orig = []byte(d.str())
		g.BuildID, g.Path = d.str(), d.str()
		if g.Header > g.RX || g.RX > 1<<32 || g.EHSize > min(g.RX, maxEHFrame) || len(h.Orig) < len(site{}.Orig) || len(h.Orig) > maxWindow {
			d.fail("hook at %#x is impossible", h.Entry)
		}
		j.Hooks = append(j.Hooks, h)
	}
}

// decoder consumes bytes; after the first error everything is zero.
type decoder struct {
	b   []byte
	err error
}

func (d *decoder) fail(format string, args ...any) {
	if d.err == nil {
		d.err = fmt.Errorf(format, args...)
	}
	d.b = nil
}

func (d *decoder) take(n int) []byte {
	if len(d.b) < n {
		d.fail("truncated")
		return make([]byte, n)
	}
	v := d.b[:n]
	d.b = d.b[n:]
	return v
}

func (d *decoder) u16() uint16 { return binary.LittleEndian.Uint16(d.take(2)) }
func (d *decoder) u32() uint32 { return binary.LittleEndian.Uint32(d.take(4)) }
func (d *decoder) u64() uint64 { return binary.LittleEndian.Uint64(d.take(8)) }

func (d *decoder) str() string {
	n := int(d.u16())
	if n > len(d.b) {
		d.fail("truncated string")
		return ""
	}
	return string(d.take(n))
}

// count reads a number of elements of at least least bytes each.
func (d *decoder) count(limit, least int) int {
	n := int(d.u32())
	if d.err != nil {
		return 0
	}
	if n > limit || n*least > len(d.b) {
		d.fail("%d elements are more than there can be", n)
		return 0
	}
	return n
}
