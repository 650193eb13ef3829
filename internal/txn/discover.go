package txn

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"sort"

	"hotpatch/internal/patch"
	"hotpatch/internal/proc"
)

// mayHoldJournal: a journal is at the start of an anonymous read-execute mapping.
func mayHoldJournal(m proc.Map) bool {
	return m.Exec && !m.Write && m.Read && !m.Shared && m.Inode == 0 && m.Path == ""
}

// errUnbelieved: what is there was not written by hotpatch, and is too much to be
// looked at twice.
var errUnbelieved = errors.New("this is not believed")

// findJournals reads the journals of all transactions that left a mapping in
// the process, oldest first. They are found by their magic at the start of
// anonymous read-execute mappings, of which an ordinary process has none.
//
// How much of this a process has is bounded: anyone can write what looks like
// journals, page upon page of nothing.
//
// loaded says whether the image that a region patches is still in the process.
func findJournals(maps []proc.Map, loaded func(region) (bool, error), mem io.ReaderAt) ([]*journal, error) {
	var js []*journal
	left, sites := uint64(mostJournals), maxSites
	for _, m := range maps {
		if !mayHoldJournal(m) {
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
		if h.body+headerSize > left {
			return nil, fmt.Errorf("journal at %#x: with it there are more than %d bytes of journals in one process: %w", m.Start, mostJournals, errUnbelieved)
		}
		left -= h.body + headerSize
		body := make([]byte, h.body)
		if _, err := mem.ReadAt(body, int64(m.Start+headerSize)); err != nil {
			return nil, fmt.Errorf("read journal at %#x: %w", m.Start, err)
		}
		j, err := decodeBody(body, h, m.Start)
		if err != nil {
			return nil, err
		}
		if sites -= len(j.Sites); sites < 0 {
			return nil, fmt.Errorf("journal at %#x: with it there are more than %d entries in one process: %w", m.Start, maxSites, errUnbelieved)
		}
		js = append(js, j)
	}
	sort.Slice(js, func(a, b int) bool { return js[a].Seq < js[b].Seq })
	if !slices.ContainsFunc(js, func(j *journal) bool { return j.Phase != reverted }) {
		return js, nil // what is loaded says nothing of them
	}
	taken := map[uint64]bool{} // entries that a later transaction redirects
	for i := len(js) - 1; i >= 0; i-- {
		if err := js[i].dropVoid(loaded, mem, taken); err != nil {
			return nil, err
		}
		if js[i].Phase == applied {
			for _, s := range js[i].Sites {
				taken[s.Addr] = true
			}
		}
	}
	return js, nil
}

// dropVoid leaves out of a journal the images that no longer are what was
// patched: unloaded, or unloaded and loaded again (then their entries are as
// in the file, or where a later transaction has led them). With none left the
// journal stands as reverted.
func (j *journal) dropVoid(loaded func(region) (bool, error), mem io.ReaderAt, taken map[uint64]bool) error {
	if j.Phase == reverted {
		return nil
	}
	live := make([]bool, len(j.Regions))
	for i, r := range j.Regions {
		if there, err := loaded(r); err != nil {
			return err
		} else if !there {
			continue
		}
		if j.Phase != applied {
			live[i] = true
			continue
		}
		mine := j.sitesOf(i)
		for _, s := range mine {
			var now [5]byte
			if _, err := mem.ReadAt(now[:], int64(s.Addr)); err != nil {
				return err
			}
			if !taken[s.Addr] && now != s.Orig {
				live[i] = true
				break
			}
		}
	}
	sites := j.Sites[:0:0]
	any := false
	for i := range live {
		if live[i] {
			any = true
			sites = append(sites, j.sitesOf(i)...)
		} else {
			j.Regions[i].Void = true
		}
	}
	j.Sites = sites
	if !any {
		j.Phase = reverted
	}
	return nil
}

// sitesOf are the entries of one image.
func (j *journal) sitesOf(region int) []site {
	var out []site
	for _, s := range j.Sites {
		if int(s.Region) == region && (j.Phase != applied || s.redirects()) {
			out = append(out, s)
		}
	}
	return out
}

// among is the images that are loaded, for findJournals.
func among(modules []proc.Module) func(region) (bool, error) {
	return func(r region) (bool, error) { return r.loaded(modules), nil }
}

// loaded says whether the image that the region patches is still there.
func (r region) loaded(modules []proc.Module) bool {
	for _, m := range modules {
		if m.Bias == r.Bias && m.BuildID == r.BuildID {
			return true
		}
	}
	return false
}

// standing is what the entries of a journal really hold.
type standing uint8

const (
	allOld standing = iota
	allNew
	mixed
	foreign // some entry holds neither: changed by somebody else
)

// stands compares memory with the journal.
func (j *journal) stands(mem io.ReaderAt) (standing, error) {
	olds, news := 0, 0
	for _, s := range j.Sites {
		if j.Phase != prepared && !s.redirects() {
			continue
		}
		var now [5]byte
		if _, err := mem.ReadAt(now[:], int64(s.Addr)); err != nil {
			return 0, err
		}
		switch now {
		case s.before(j.Phase):
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
			if s := &js[i].Sites[k]; s.Addr == addr && s.redirects() {
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
