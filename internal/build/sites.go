package build

import (
	"cmp"
	"crypto/sha256"
	"debug/elf"
	"encoding/hex"
	"fmt"
	"slices"

	"hotpatch/internal/arch"
	"hotpatch/internal/diff"
	"hotpatch/internal/image"
	"hotpatch/internal/patch"
)

const pageSize = patch.PageSize

// siter makes the sites of one image.
type siter struct {
	d      *diff.Diff
	inside []inner             // by place
	named  []image.Addr        // where functions and global labels begin
	owned  map[*diff.Func]bool // base fragments that belong to a site already
	// loops: a function that is replaced branches back into the bytes of its
	// jump. No thread is in it while the jump is there: a hotpatch waits for
	// that, unless calls under way may finish in old code.
	loops bool
}

// inner is a place inside a base function that base code refers to.
type inner struct {
	at   image.Addr
	from *diff.Func
}

func newSiter(d *diff.Diff) *siter {
	s := &siter{d: d, owned: map[*diff.Func]bool{}}
	for _, f := range d.Base.Funcs { // also of code that nothing describes: what looks like a branch there may be one
		for k := range f.Refs {
			r := &f.Refs[k]
			if r.Class == image.Text && d.Base.Entry(r.Target) == nil {
				s.inside = append(s.inside, inner{r.Target, f})
			}
		}
	}
	slices.SortStableFunc(s.inside, func(a, b inner) int { return cmp.Compare(a.at, b.at) })
	for i := range d.Base.Symbols {
		// A label that is local and no function is a name for people.
		if y := &d.Base.Symbols[i]; y.Type == elf.STT_FUNC || y.Type == elf.STT_GNU_IFUNC || y.Type == elf.STT_NOTYPE && !y.Local {
			s.named = append(s.named, y.Addr)
		}
	}
	slices.Sort(s.named)
	return s
}

// entry finds where the jump goes in a base function and how far the bytes
// reach that belong to it, padding included. A code word says why there is no
// room.
func (s *siter) entry(a *diff.Func) (jump, end image.Addr, code, detail string) {
	text := s.d.Base.Text(a)
	jump = image.Addr(arch.EntryOffset(text))
	end = a.Hi + s.padding(a)
	at := a.Lo + jump
	if end < at+arch.JumpSize {
		return jump, end, entryTooSmall, fmt.Sprintf("only %d bytes for the jump of %d", end-min(at, end), arch.JumpSize)
	}
	if uint64(at)%pageSize > pageSize-arch.JumpSize {
		return jump, end, entryCrossesPage, fmt.Sprintf("the jump at %#x would cross a page", uint64(at))
	}
	_, found, err := arch.BranchInto(text, int(jump), int(jump)+arch.JumpSize)
	if err != nil {
		return jump, end, undecodable, fmt.Sprintf("its base code cannot be decoded: %v", err)
	}
	s.loops = s.loops || found
	if k, _ := slices.BinarySearch(s.named, at+1); k < len(s.named) && s.named[k] < at+arch.JumpSize {
		return jump, end, branchIntoEntry, fmt.Sprintf("another function begins at %#x, inside the bytes of the jump", uint64(s.named[k]))
	}
	k, _ := slices.BinarySearchFunc(s.inside, at+1, func(p inner, a image.Addr) int { return cmp.Compare(p.at, a) })
	for ; k < len(s.inside) && s.inside[k].at < at+arch.JumpSize; k++ {
		if from := s.inside[k].from; from != a && !(from.Fragment && slices.Contains(s.d.BaseParts(a), from)) {
			return jump, end, branchIntoEntry, fmt.Sprintf("%s refers to %#x, inside the bytes of the jump", from.Name(), uint64(s.inside[k].at))
		}
		s.loops = true
	}
	return jump, end, "", ""
}

// padding is the filler behind a base function, up to the next one.
func (s *siter) padding(a *diff.Func) image.Addr {
	sec := s.d.Base.SectionAt(a.Lo)
	limit := min(a.Hi+15, sec.Addr+sec.Size)
	if next := a.Index + 1; next < len(s.d.Base.Funcs) {
		limit = min(limit, s.d.Base.Funcs[next].Lo)
	}
	if limit <= a.Hi {
		return 0
	}
	return image.Addr(arch.Padding(s.d.Base.Bytes(a.Hi, int(limit-a.Hi))))
}

// site describes the redirection of the base function of f to its carried
// version.
func (s *siter) site(f *diff.Func) (patch.Site, string, string) {
	a := s.d.BaseOf(f)
	jump, end, code, detail := s.entry(a)
	if code != "" {
		return patch.Site{}, code, detail
	}
	ranges := [][2]uint64{{uint64(a.Lo), uint64(end)}}
	for _, p := range s.d.BaseParts(a) {
		if p.Fragment && !s.owned[p] {
			s.owned[p] = true
			ranges = append(ranges, [2]uint64{uint64(p.Lo), uint64(p.Hi)})
		}
	}
	if len(ranges) > patch.MaxRanges {
		return patch.Site{}, unsupportedImage, fmt.Sprintf("it is in %d pieces, and a hotpatch can wait for %d", len(ranges), patch.MaxRanges)
	}
	slices.SortFunc(ranges, func(x, y [2]uint64) int {
		if x[0] < y[0] {
			return -1
		}
		return 1
	})
	return patch.Site{
		Name:     label(s.d, f),
		Base:     uint64(a.Lo),
		Jump:     uint64(jump),
		To:       uint64(f.Lo),
		Ranges:   ranges,
		PreImage: preImage(s.d, ranges),
		Old:      hex.EncodeToString(s.d.Base.Bytes(a.Lo+jump, arch.JumpSize)),
	}, "", ""
}

// preImage is the digest of what the ranges of a site hold in the base image.
func preImage(d *diff.Diff, ranges [][2]uint64) string {
	h := sha256.New()
	for _, r := range ranges {
		h.Write(d.Base.Bytes(image.Addr(r[0]), int(r[1]-r[0])))
	}
	return hex.EncodeToString(h.Sum(nil))
}
