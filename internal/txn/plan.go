package txn

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"hotpatch/internal/link"
	"hotpatch/internal/patch"
	"hotpatch/internal/proc"
)

// part is one loaded base image and what will fix it.
type part struct {
	image  *patch.Image
	object *patch.Object
	module proc.Module

	code   []snapshot // of the functions to be replaced, as verified
	region region
	writes []link.Write
	sites  []site
}

// plan is everything about a transaction that is decided while the process runs.
type plan struct {
	journal  journal
	parts    []*part
	reuse    bool       // the mappings are there already, from a reverted transaction
	replaced []*journal // hotpatches that this one takes the place of
	restored []site     // entries that only those have, to be set back
	hooks    []*hooking // in the unwinders, see unwinder.go
	alone    []error    // why unwinders that nobody needs are left alone
	exchange *exchange  // the page to exchange; nil: the process is stopped
	stops    string     // why it is
}

// signature is who puts a plan in force, and how.
type signature struct {
	By
	mode patch.Mode
	few  int // Options.few
}

// parts matches the images of a bundle with the modules of the process,
// leaving out those that this bundle has patched already.
func (t *target) parts(b *patch.Bundle, id patch.ID) ([]*part, error) {
	var ps []*part
	if err := t.leftOut(&b.Manifest); err != nil {
		return nil, err
	}
	mapped, fixed := 0, ""
	for i := range b.Manifest.Images {
		img := &b.Manifest.Images[i]
		for _, m := range t.modules {
			if m.BuildID == img.BuildIDFixed {
				fixed = m.Path
			}
			if m.BuildID != img.BuildIDBase {
				continue
			}
			mapped++
			if !t.covered(id, m) {
				ps = append(ps, &part{image: img, object: b.Objects[i], module: m})
			}
		}
	}
	switch {
	case len(ps) > 0:
		return ps, nil
	case mapped > 0:
		return nil, errAlready
	case fixed != "":
		return nil, &skip{"it runs the fixed image already (" + fixed + ")"}
	}
	return nil, &skip{"it maps no base image of this hotpatch"}
}

// leftOut refuses a process that uses what a partial hotpatch is not for: the
// rest of the fix would be in force there without it, and next to old code that
// may know another contract.
func (t *target) leftOut(m *patch.Manifest) error {
	for _, l := range m.LeftOut {
		for _, g := range t.modules {
			if l.BuildIDBase != "" && g.BuildID == l.BuildIDBase {
				return refuse("it uses %s, which this hotpatch leaves out: restart it with the fixed package", g.Path)
			}
		}
	}
	return nil
}

// covered says whether an applied transaction of this bundle includes the module.
func (t *target) covered(id patch.ID, m proc.Module) bool {
	for _, j := range byID(t.journals, id, func(p phase) bool { return p == applied }) {
		for _, r := range j.Regions {
			if !r.Void && r.Bias == m.Bias && r.BuildID == m.BuildID {
				return true
			}
		}
	}
	return false
}

// plan verifies that the process is what the bundle was made for and computes
// all bytes to write. Nothing is changed. fresh: do not use the room of an
// earlier transaction again.
func (t *target) plan(b *patch.Bundle, id patch.ID, by signature, fresh bool) (*plan, error) {
	parts, err := t.parts(b, id)
	if err != nil {
		return nil, err
	}
	p := &plan{parts: parts, journal: journal{
		Phase: prepared, ID: id, Seq: 1, Since: time.Now().UTC(), UID: uint32(os.Getuid()),
		User: by.User, Tool: by.Tool, Mode: by.mode, Package: packageName(&b.Manifest),
	}}
	for _, j := range t.journals {
		p.journal.Seq = max(p.journal.Seq, j.Seq+1)
	}
	for _, pt := range parts {
		if err := t.verify(p, pt, &b.Manifest); err != nil {
			return nil, err
		}
	}
	if err := t.retire(p); err != nil {
		return nil, err
	}
	im := newImports(t)
	if err := t.findUnwinders(p, im); err != nil {
		return nil, err
	}
	if err := t.arrange(p, fresh); err != nil {
		return nil, err
	}
	for i, pt := range parts {
		if err := pt.link(im.of(pt.module)); err != nil {
			return nil, err
		}
		for _, s := range pt.sites {
			s.Region = uint32(i)
			if _, old := redirects(p.replaced, s.Addr); old != nil {
				s.Old = old.New
			}
			p.journal.Sites = append(p.journal.Sites, s)
		}
	}
	p.journal.Sites = append(p.journal.Sites, p.restored...)
	for _, h := range p.hooks {
		if err := t.linkHook(p, h); err != nil {
			return nil, err
		}
		p.journal.Hooks = append(p.journal.Hooks, h.hook)
	}
	if len(p.replaced) > 0 {
		p.journal.Mode = patch.Strict
	}
	if p.exchange, err = t.exchangeable(p, by.few); err != nil {
		p.stops = err.Error()
	}
	if p.reuse && !t.sameCode(p) {
		// Something that carried code refers to lies elsewhere now. Pointers
		// into the old copy may be about: leave it alone and take new room.
		return nil, errRoomUsed
	}
	return p, nil
}

// errRoomUsed: the mapping of an earlier transaction does not fit any more.
var errRoomUsed = errors.New("an earlier mapping does not fit")

// sameCode says whether the read-execute parts already hold what would be
// written there.
func (t *target) sameCode(p *plan) bool {
	for _, pt := range p.parts {
		rw := pt.region.Addr + pt.region.RX
		for _, w := range pt.writes {
			if w.Addr >= rw {
				continue
			}
			now := make([]byte, len(w.Data))
			if _, err := t.mem.ReadAt(now, int64(w.Addr)); err != nil || !bytes.Equal(now, w.Data) {
				return false
			}
		}
	}
	return true
}

func packageName(m *patch.Manifest) string {
	if m.Package == "" {
		if len(m.Images) > 0 {
			return m.Images[0].Path
		}
		return ""
	}
	return m.Package + " " + m.FixedVersion
}

// verify compares the functions in memory with those the bundle was made from.
// Entries that a hotpatch which this one may replace has redirected count as
// what they were before.
func (t *target) verify(p *plan, pt *part, m *patch.Manifest) error {
	bias := pt.module.Bias
	for i := range pt.image.Sites {
		s := &pt.image.Sites[i]
		at := bias + s.Base + s.Jump
		j, old := redirects(t.journals, at)
		if err := p.replace(j, m, s.Name); err != nil {
			return err
		}
		sum := sha256.New()
		for _, r := range s.Ranges {
			b, err := pt.remember(t, bias+r[0], bias+r[1])
			if err != nil {
				return fmt.Errorf("read %s: %w", s.Name, err)
			}
			if lo := bias + r[0]; old != nil && at >= lo && at+uint64(len(old.Orig)) <= bias+r[1] {
				copy(b[at-lo:], old.Orig[:])
			}
			sum.Write(b)
		}
		if hex.EncodeToString(sum.Sum(nil)) != s.PreImage {
			return refuse("%s in memory is not the code of %s that this hotpatch was made for: something else (a debugger, another patcher) changed it", s.Name, pt.image.Path)
		}
	}
	for i := range pt.image.Functions {
		f := &pt.image.Functions[i]
		if !f.Gone() {
			continue
		}
		for _, jump := range []uint64{0, 4} { // 4: behind an endbr64
			if jump >= f.Size {
				continue
			}
			j, _ := redirects(t.journals, bias+f.BaseAddr+jump)
			if err := p.replace(j, m, f.Name); err != nil {
				return err
			}
		}
	}
	return nil
}

// replace makes the plan take the place of j (nil: there is none), which redirects
// the function of that name.
func (p *plan) replace(j *journal, m *patch.Manifest, name string) error {
	if j == nil || slices.Contains(p.replaced, j) {
		return nil
	}
	if why := keeps(j, m); why != "" {
		return refuse("%s is already redirected by hotpatch %s (%s), %s; revert that one first", name, j.ID.Short(), j.Package, why)
	}
	p.replaced = append(p.replaced, j)
	return nil
}

// remember reads [lo, hi) and keeps it. Ranges come by address mostly, so that
// neighbours join into one snapshot.
func (pt *part) remember(t *target, lo, hi uint64) ([]byte, error) {
	b := make([]byte, hi-lo)
	if _, err := t.mem.ReadAt(b, int64(lo)); err != nil {
		return nil, err
	}
	if n := len(pt.code); n > 0 {
		last := &pt.code[n-1]
		if last.addr+uint64(len(last.data)) == lo {
			last.data = append(last.data, b...)
			return b, nil
		}
	}
	pt.code = append(pt.code, snapshot{lo, slices.Clone(b)})
	return b, nil
}

// redirect is the change that puts the plan in force.
func (p *plan) redirect() change {
	c := p.journal.redirect()
	for _, pt := range p.parts {
		c.expect = append(c.expect, pt.code...)
		c.images = append(c.images, pt.region)
		c.guards = append(c.guards, pt.gone()...)
	}
	for _, s := range p.journal.Sites {
		if s.pads() {
			c.expect = append(c.expect, snapshot{s.Addr, s.Old[:]})
		}
	}
	for _, j := range p.replaced {
		c.guards = append(c.guards, j.guards()...)
		c.retire = append(c.retire, j.Addr)
	}
	for _, s := range p.restored {
		c.expect = append(c.expect, snapshot{s.Addr, s.Old[:]})
	}
	return c
}

// gone are the functions that the fixed image has no more. A thread can be in one
// though nobody who is replaced is on its stack, for they may have jumped to it. What
// it would call then are new functions, by the conventions of the old ones.
//
// Only who writes the entries waits for them: what goes back to old code, and they
// are that, needs no journal to know of them.
func (pt *part) gone() (gs []guard) {
	for i := range pt.image.Functions {
		if f := &pt.image.Functions[i]; f.Gone() {
			lo := pt.module.Bias + f.BaseAddr
			gs = append(gs, guard{lo, lo + f.Size, f.Name})
		}
	}
	return gs
}

// journalRoom is how much a journal of these parts takes, in whole pages. It
// must not depend on addresses.
func journalRoom(p *plan) (uint64, error) {
	j := p.journal
	for _, pt := range p.parts {
		j.Regions = append(j.Regions, region{BuildID: pt.module.BuildID, Fixed: pt.image.BuildIDFixed, Path: pt.module.Path})
		for _, s := range pt.image.Sites {
			j.Sites = append(j.Sites, site{Name: siteName(s.Name), Ranges: s.Ranges})
		}
	}
	if mayExchange(j.Mode) {
		through := site{Ranges: make([][2]uint64, 1)}
		j.Sites = append(j.Sites, through, through)
	}
	j.Sites = append(j.Sites, p.restored...)
	for _, h := range p.hooks {
		j.Hooks = append(j.Hooks, h.hook)
	}
	b, err := j.encodeBody()
	return pages(headerSize + uint64(len(b))), err
}

func pages(n uint64) uint64 { return (n + pageSize - 1) &^ (pageSize - 1) }

// siteName bounds what a journal keeps of a name (C++ names can be kilobytes).
func siteName(n string) string {
	if len(n) > 120 {
		n = n[:117] + "..."
	}
	return n
}

// arrange decides where each region goes: where a reverted transaction of the
// same bundle left its own, or in free space near the image.
func (t *target) arrange(p *plan, fresh bool) error {
	room, err := journalRoom(p)
	if err != nil {
		return err
	}
	for i, pt := range p.parts {
		o, r := pt.object, &pt.region
		r.Header = pageSize
		if i == 0 {
			r.Header = room
		}
		r.RX = r.Header + o.Hi - o.Lo
		r.RW = o.RWEnd - o.Hi
		r.Bias, r.BuildID, r.Fixed, r.Path = pt.module.Bias, pt.module.BuildID, pt.image.BuildIDFixed, pt.module.Path
		r.State = hasVariables(o)
	}
	if p.reuse = !fresh && t.arrangeAgain(p); !p.reuse {
		var taken [][2]uint64
		for _, pt := range p.parts {
			r := &pt.region
			at, err := place(t.maps, pt.module.Lo(), pt.module.Hi(), r.RX+r.RW, taken)
			if errors.Is(err, errNoRoom) {
				return refuse("%v: %s", err, pt.module.Path)
			}
			if err != nil {
				return err
			}
			r.Addr = at
			taken = append(taken, [2]uint64{at, at + r.RX + r.RW})
		}
		if err := t.arrangeHooks(p, taken); err != nil {
			return err
		}
	}
	for _, pt := range p.parts {
		r := &pt.region
		if eh := pt.object.EHFrame; eh != 0 {
			r.EHFrame = r.Addr + r.Header + eh - pt.object.Lo
			r.EHSize = ehSize(pt.object)
		}
		p.journal.Regions = append(p.journal.Regions, *r)
	}
	p.journal.Addr = p.parts[0].region.Addr
	return nil
}

// arrangeAgain takes over the mappings of a reverted transaction of the same
// bundle and the same modules.
func (t *target) arrangeAgain(p *plan) bool {
	for _, j := range byID(t.journals, p.journal.ID, func(ph phase) bool { return ph == reverted }) {
		if len(j.Regions) != len(p.parts) || !sameHooks(j.Hooks, p.hooks) {
			continue
		}
		fits := true
		for i, r := range j.Regions {
			want := p.parts[i].region
			fits = fits && r.Header == want.Header && r.RX == want.RX && r.RW == want.RW && r.Bias == want.Bias && r.BuildID == want.BuildID
		}
		if !fits {
			continue
		}
		for i, r := range j.Regions {
			p.parts[i].region.Addr = r.Addr
		}
		for i, h := range j.Hooks {
			p.hooks[i].Room.Addr = h.Room.Addr
		}
		return true
	}
	return false
}

func ehSize(o *patch.Object) uint64 {
	for _, c := range o.Chunks {
		if c.Kind == patch.Unwind && c.Addr == o.EHFrame {
			return uint64(len(c.Data))
		}
	}
	return 0
}

// link computes the bytes of the region and the jumps that lead there.
func (pt *part) link(imports link.Lookup) error {
	r := &pt.region
	at := link.Place{Bias: pt.module.Bias, Span: r.Addr + r.Header}
	writes, err := link.Link(pt.object, at, imports)
	if err != nil {
		return refuse("%s: %v", pt.image.Path, err)
	}
	entries, err := link.Entries(pt.image, pt.object, at)
	if err != nil {
		return refuse("%s: %v", pt.image.Path, err)
	}
	pt.writes = writes
	for _, e := range entries {
		s := &pt.image.Sites[e.Site]
		out := site{Addr: e.Addr, Orig: e.Old, Old: e.Old, New: e.New, Name: siteName(s.Name)}
		for _, rg := range s.Ranges {
			out.Ranges = append(out.Ranges, [2]uint64{rg[0] + r.Bias, rg[1] + r.Bias})
		}
		pt.sites = append(pt.sites, out)
	}
	return nil
}
