package txn

import (
	"errors"
	"fmt"
	"io"
	"sort"

	"hotpatch/internal/patch"
	"hotpatch/internal/proc"
)

// findJournals reads the journals of all transactions that left a mapping in
// the process, oldest first. They are found by their magic at the start of
// anonymous read-execute mappings, of which an ordinary process has none.
func findJournals(maps []proc.Map, mem io.ReaderAt) ([]*journal, error) {
	var js []*journal
	for _, m := range maps {
		if !m.Exec || m.Write || !m.Read || m.Shared || m.Inode != 0 || m.Path != "" {
			continue
		}
		var first [headerSize]byte
		if _, err := mem.ReadAt(first[:], int64(m.Start)); err != nil {
			return nil, fmt.Errorf("read mapping at %#x: %w", m.Start, err)
		}
		h, err := decodeHead(first[:], m.End-m.Start)
		if errors.Is(err, errNotJournal) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("mapping at %#x: %w", m.Start, err)
		}
		if h.primary != m.Start {
			continue // a further image; the primary lists it
		}
		body := make([]byte, h.body)
		if _, err := mem.ReadAt(body, int64(m.Start+headerSize)); err != nil {
			return nil, fmt.Errorf("read journal at %#x: %w", m.Start, err)
		}
		j, err := decodeBody(body, h, m.Start)
		if err != nil {
			return nil, err
		}
		js = append(js, j)
	}
	sort.Slice(js, func(a, b int) bool { return js[a].Seq < js[b].Seq })
	return js, nil
}

// standing is what the entries of a journal really hold.
type standing uint8

const (
	allOld standing = iota
	allNew
	mixed
	foreign // some entry holds neither: changed by somebody else, or unloaded
)

// stands compares memory with the journal.
func (j *journal) stands(mem io.ReaderAt) (standing, error) {
	olds, news := 0, 0
	for _, s := range j.Sites {
		var now [5]byte
		if _, err := mem.ReadAt(now[:], int64(s.Addr)); err != nil {
			if errors.Is(err, proc.ErrGone) {
				return foreign, nil // the image was unloaded
			}
			return 0, err
		}
		switch now {
		case s.Old:
			olds++
		case s.New:
			news++
		default:
			return foreign, nil
		}
	}
	switch {
	case news == 0:
		return allOld, nil
	case olds == 0:
		return allNew, nil
	}
	return mixed, nil
}

// redirects finds the active journal that redirects the entry at addr.
func redirects(js []*journal, addr uint64) (*journal, *site) {
	for i := len(js) - 1; i >= 0; i-- {
		if js[i].Phase == reverted {
			continue
		}
		for k := range js[i].Sites {
			if js[i].Sites[k].Addr == addr {
				return js[i], &js[i].Sites[k]
			}
		}
	}
	return nil, nil
}

func byID(js []*journal, id patch.ID, want func(phase) bool) []*journal {
	var out []*journal
	for _, j := range js {
		if j.ID == id && want(j.Phase) {
			out = append(out, j)
		}
	}
	return out
}
