package cli

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"hotpatch/internal/arch"
	"hotpatch/internal/patch"
	"hotpatch/internal/stamps"
)

// reviewImage is one image as a reviewer sees it.
type reviewImage struct {
	Path     string       `json:"path"`
	Counts   patch.Counts `json:"counts"`
	Recorded bool         `json:"recorded"` // the file holds the code before
	// Exceptions says how the new code takes part in exceptions.
	Exceptions string           `json:"exceptions,omitempty"`
	Functions  []reviewFunction `json:"functions"`
}

// reviewFunction is one function that differs (state changed, new, gone or
// noise), or one that comes along unchanged (state carried).
type reviewFunction struct {
	patch.Function
	Proved      bool         `json:"proved"`       // the code before has the digest that a process must have
	Callers     []string     `json:"callers"`      // in the base image
	MoreCallers int          `json:"more_callers"` // that are not listed
	Reasons     []string     `json:"reasons"`      // codes of those that concern it
	Removed     []string     `json:"removed"`      // strings and constants that it no longer uses
	Added       []string     `json:"added"`        // and that it uses now
	Code        []reviewLine `json:"code"`
}

// reviewLine is one line of a function's diff.
type reviewLine struct {
	Op    string `json:"op"`    // " " both, "-" only before, "+" only after
	Base  uint64 `json:"base"`  // address in the base image; 0: not there
	Fixed uint64 `json:"fixed"` // address in the fixed image; 0: not there
	Label string `json:"label"` // that branches lead to; "" for none
	Text  string `json:"text"`
	Note  string `json:"note"` // the string or constant that is used
}

// imageReview compares the code of one image function by function.
type imageReview struct {
	m        *patch.Image
	versions [2]string
	base     baseSide
	fixed    fixedSide
	sites    map[uint64]*patch.Site   // by base entry
	bodies   map[uint64]*patch.Symbol // functions of the object by address
	parts    map[uint64][]block       // of the function at an object address
	shown    map[uint64]bool          // object addresses of functions that were listed
}

// reviewOfImage makes the review of image i. It is an error when the recorded
// code is not what the sites' digests say: then it would be shown code that is
// not the one replaced.
func reviewOfImage(b *patch.Bundle, i int) (reviewImage, error) {
	m := &b.Manifest.Images[i]
	v := &imageReview{m: m, versions: [2]string{b.Manifest.BaseVersion, b.Manifest.FixedVersion}, sites: map[uint64]*patch.Site{}, bodies: map[uint64]*patch.Symbol{},
		parts: map[uint64][]block{}, shown: map[uint64]bool{}}
	out := reviewImage{Path: m.Path, Counts: m.Counts, Functions: []reviewFunction{}, Exceptions: exceptionsText(m, b.Objects[i])}
	v.base.b = &patch.Before{}
	if len(b.Before) > 0 && len(b.Before[i]) > 0 {
		before, err := patch.DecodeBefore(b.Before[i])
		if err != nil {
			return out, fmt.Errorf("%s: %w", m.Path, err)
		}
		v.base.b, out.Recorded = before, true
	}
	for k := range m.Sites {
		v.sites[m.Sites[k].Base] = &m.Sites[k]
	}
	v.fixed = fixedSide{newDisassembler(b.Objects[i], m.Sites), v.base}
	v.findParts()
	for _, f := range m.Functions {
		r, err := v.function(f)
		if err != nil {
			return out, fmt.Errorf("%s: %s: %w", m.Path, f.Name, err)
		}
		for _, x := range b.Manifest.Reasons {
			if x.Image == m.Path && x.Function == f.Name && !slices.Contains(r.Reasons, x.Code) {
				r.Reasons = append(r.Reasons, x.Code)
			}
		}
		out.Functions = append(out.Functions, r)
	}
	out.Functions = append(out.Functions, v.carried()...)
	return out, nil
}

// findParts finds which functions of the object are parts of others: those that
// neither the manifest nor a site names, and that another jumps to.
func (v *imageReview) findParts() {
	own := map[uint64]bool{}
	for _, f := range v.m.Functions {
		own[f.FixedAddr] = true
	}
	for _, s := range v.m.Sites {
		own[s.To] = true
	}
	fs := v.fixed.d.functions
	for i := range fs {
		v.bodies[fs[i].Value] = &fs[i]
	}
	owner := map[uint64]uint64{}
	for changed := true; changed; { // a part may jump to a further one
		changed = false
		for i := range fs {
			from := fs[i].Value
			if o, ok := owner[from]; ok {
				from = o
			} else if !own[from] {
				continue
			}
			v.jumps(&fs[i], func(to *patch.Symbol) {
				if _, ok := owner[to.Value]; !ok && !own[to.Value] {
					owner[to.Value], changed = from, true
					v.parts[from] = append(v.parts[from], block{to.Value, to.Value + to.Size})
				}
			})
		}
	}
	// What only a switch table leads to is told by its name.
	for i := range fs {
		stem, _, cold := strings.Cut(fs[i].Name, ".cold")
		if _, has := owner[fs[i].Value]; !cold || has || own[fs[i].Value] {
			continue
		}
		for k := range fs {
			if from := fs[k].Value; fs[k].Name == stem && own[from] {
				owner[fs[i].Value] = from
				v.parts[from] = append(v.parts[from], block{fs[i].Value, fs[i].Value + fs[i].Size})
			}
		}
	}
	for _, p := range v.parts {
		slices.SortFunc(p, func(a, b block) int { return cmp.Compare(a.lo, b.lo) })
	}
}

// jumps finds the functions of the object that f jumps to.
func (v *imageReview) jumps(f *patch.Symbol, each func(*patch.Symbol)) {
	instructions(v.fixed.d.bytes(f.Value, f.Size), f.Value, func(addr uint64, raw []byte, in arch.Inst, ok bool) {
		if !ok || !in.Rel || in.IsCall() || v.fixed.d.relocation(addr, uint64(in.Len)) != nil {
			return
		}
		t, _ := in.Target(addr, raw)
		if s := v.fixed.d.symbolOver(t); s != nil && s.Func && s.Value != f.Value {
			each(s)
		}
	})
}

func (v *imageReview) function(f patch.Function) (reviewFunction, error) {
	r := reviewFunction{Function: f, Callers: []string{}, Reasons: []string{}, Removed: []string{}, Added: []string{}, Code: []reviewLine{}}
	if f.State == "noise" {
		return r, nil
	}
	for _, c := range v.base.b.Callers {
		if c.Base == f.BaseAddr && f.BaseAddr != 0 {
			r.Callers, r.MoreCallers = c.Names, c.More
		}
	}
	var before, after []block
	if f.BaseAddr != 0 {
		var err error
		if before, r.Proved, err = v.baseBlocks(f); err != nil {
			return r, err
		}
	}
	if s := v.bodies[f.FixedAddr]; s != nil && f.State != "gone" {
		v.shown[s.Value] = true
		after = append([]block{{s.Value, s.Value + s.Size}}, v.parts[s.Value]...)
	}
	r.Code = compareListings(listing(v.base, before), listing(v.fixed, after), v.versions)
	if f.State == "changed" && len(before) == 0 { // not recorded: not added either
		for i := range r.Code {
			r.Code[i].Op = " "
		}
		return r, nil
	}
	if f.State == "changed" {
		r.Removed, r.Added = constantsOf(r.Code)
	}
	return r, nil
}

// baseBlocks are the recorded code of a function: what its site covers, with
// the digest checked, or what is at its address when it is gone.
func (v *imageReview) baseBlocks(f patch.Function) (blocks []block, proved bool, err error) {
	s := v.sites[f.BaseAddr]
	if s == nil {
		for _, c := range v.base.b.Code {
			if c.Addr == f.BaseAddr {
				return []block{{c.Addr, c.Addr + uint64(len(c.Data))}}, false, nil
			}
		}
		return nil, false, nil
	}
	h := sha256.New()
	for _, g := range s.Ranges {
		code := v.base.b.CodeAt(g[0], g[1]-g[0])
		if code == nil {
			return nil, false, nil
		}
		h.Write(code)
		b := block{g[0], g[1]}
		if b.lo == f.BaseAddr {
			blocks = slices.Insert(blocks, 0, b)
		} else {
			blocks = append(blocks, b)
		}
	}
	if hex.EncodeToString(h.Sum(nil)) != s.PreImage {
		return nil, false, fmt.Errorf("the recorded code at %#x is not what the hotpatch replaces: its digest differs", s.Base)
	}
	return blocks, true, nil
}

// carried are the functions of the object that nothing redirects to and that
// are no part of another: equal code that has to be near, and stubs.
func (v *imageReview) carried() []reviewFunction {
	sites := map[uint64]bool{}
	for _, s := range v.m.Sites {
		sites[s.To] = true
	}
	for _, ps := range v.parts {
		for _, p := range ps {
			v.shown[p.lo] = true
		}
	}
	var out []reviewFunction
	for _, s := range v.fixed.d.functions {
		if v.shown[s.Value] || sites[s.Value] {
			continue
		}
		v.shown[s.Value] = true
		r := reviewFunction{
			Function: patch.Function{Name: s.Name, State: "carried", FixedAddr: s.Value, Size: s.Size, Why: "it comes along for others; nothing is redirected to it"},
			Callers:  []string{}, Reasons: []string{}, Removed: []string{}, Added: []string{},
		}
		r.Code = compareListings(nil, listing(v.fixed, []block{{s.Value, s.Value + s.Size}}), v.versions)
		for i := range r.Code {
			r.Code[i].Op = " "
		}
		out = append(out, r)
	}
	return out
}

// compareListings merges two listings into one diff. Branches inside the
// function compare equal when they lead to lines that are paired, strings when
// they differ only as the lines of a file or the versions do.
func compareListings(x, y []listingLine, versions [2]string) []reviewLine {
	keys := func(ls []listingLine) []string {
		out := make([]string, len(ls))
		for i := range ls {
			out[i] = ls[i].form + "\x00" + ls[i].text + "\x00" + strings.Map(noDigits, ls[i].note)
		}
		return out
	}
	pairs := align(keys(x), keys(y))
	nameLabels(x, y, pairs)
	tellApart(x, y, pairs)
	out := make([]reviewLine, 0, len(x)+len(y)-len(pairs))
	i, j := 0, 0
	for _, p := range append(pairs, [2]int{len(x), len(y)}) {
		for ; i < p[0]; i++ {
			out = append(out, lineFor("-", x, i, x[i].addr, 0))
		}
		for ; j < p[1]; j++ {
			out = append(out, lineFor("+", y, j, 0, y[j].addr))
		}
		if i == len(x) || j == len(y) {
			break // the end of both
		}
		a, b := lineFor("-", x, i, x[i].addr, 0), lineFor("+", y, j, 0, y[j].addr)
		if a.Text == b.Text && (a.Note == b.Note || isString(x[i]) && stamps.Only(a.Note, b.Note, stamps.Origin{Version: versions[0]}, stamps.Origin{Version: versions[1]})) {
			b.Op, b.Base = " ", x[i].addr
			out = append(out, b)
		} else {
			out = append(out, a, b)
		}
		i, j = i+1, j+1
	}
	for i := 0; i < len(out); { // what goes before what comes, however they were found
		j := i
		for j < len(out) && out[j].Op != " " {
			j++
		}
		slices.SortStableFunc(out[i:j], func(a, b reviewLine) int { return cmp.Compare(b.Op, a.Op) })
		i = j + 1
	}
	return out
}

// nameLabels numbers what branches lead to, in the order of the merged code;
// paired lines have one label. So have lines with one mnemonic that replace each
// other, one by one: a branch to them is not what changed.
func nameLabels(x, y []listingLine, pairs [][2]int) {
	wanted := func(ls []listingLine) []bool {
		w := make([]bool, len(ls))
		for i := range ls {
			if ls[i].branch >= 0 {
				w[ls[i].branch] = true
			}
		}
		return w
	}
	wx, wy := wanted(x), wanted(y)
	n := 0
	next := func() string { n++; return fmt.Sprintf("L%d", n) }
	i, j := 0, 0
	for _, p := range append(slices.Clip(pairs), [2]int{len(x), len(y)}) {
		for k := i; k < p[0] && p[0]-i == p[1]-j; k++ {
			if l := j + k - i; (wx[k] || wy[l]) && mnemonic(x[k]) == mnemonic(y[l]) {
				x[k].label = next()
				y[l].label = x[k].label
			}
		}
		for ; i < p[0]; i++ {
			if wx[i] && x[i].label == "" {
				x[i].label = next()
			}
		}
		for ; j < p[1]; j++ {
			if wy[j] && y[j].label == "" {
				y[j].label = next()
			}
		}
		if i < len(x) && j < len(y) {
			if wx[i] || wy[j] {
				x[i].label = next()
				y[j].label = x[i].label
			}
			i, j = i+1, j+1
		}
	}
}

// tellApart shows the bytes of unpaired instructions that differ though they
// are printed alike: what is marked as different must be seen to differ.
func tellApart(x, y []listingLine, pairs [][2]int) {
	paired := [2]map[int]bool{{}, {}}
	for _, p := range pairs {
		paired[0][p[0]], paired[1][p[1]] = true, true
	}
	forms := [2]map[string]string{{}, {}} // of texts
	for k, ls := range [2][]listingLine{x, y} {
		for i := range ls {
			if !paired[k][i] {
				forms[k][ls[i].text+ls[i].note] = ls[i].form
			}
		}
	}
	for k, ls := range [2][]listingLine{x, y} {
		for i := range ls {
			l := &ls[i]
			if other, ok := forms[1-k][l.text+l.note]; ok && !paired[k][i] && other != l.form {
				l.text += " (" + strings.TrimPrefix(l.form, ".byte ") + ")"
			}
		}
	}
}

func noDigits(r rune) rune {
	if r >= '0' && r <= '9' {
		return -1
	}
	return r
}

func mnemonic(l listingLine) string {
	word, _, _ := strings.Cut(l.text, " ")
	return word
}

func isString(l listingLine) bool { return strings.HasPrefix(l.note, `"`) }

func lineFor(op string, ls []listingLine, i int, base, fixed uint64) reviewLine {
	l := &ls[i]
	r := reviewLine{Op: op, Base: base, Fixed: fixed, Label: l.label, Text: l.text, Note: l.note}
	if l.branch >= 0 {
		r.Text = l.withLabel(ls[l.branch].label)
	}
	return r
}

// constantsOf are the strings and constants that only one side uses.
func constantsOf(code []reviewLine) (removed, added []string) {
	uses := map[string]map[string]bool{"-": {}, "+": {}, " ": {}}
	for _, l := range code {
		if l.Note != "" {
			uses[l.Op][l.Note] = true
		}
	}
	removed, added = []string{}, []string{}
	for _, l := range code {
		switch {
		case l.Note == "" || uses[" "][l.Note]:
		case l.Op == "-" && !uses["+"][l.Note] && !slices.Contains(removed, l.Note):
			removed = append(removed, l.Note)
		case l.Op == "+" && !uses["-"][l.Note] && !slices.Contains(added, l.Note):
			added = append(added, l.Note)
		}
	}
	return removed, added
}
