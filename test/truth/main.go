// Command truth holds what is found without symbols against what symbols say.
//
//	go run ./test/truth [-v] OLD NEW | DIR...
//
// OLD and NEW are two builds of one image with their symbols; a DIR holds two
// folders, old and new, with files of equal names, or is searched for such. Both sides are
// stripped and compared. Then every function is held against the comparison
// with symbols (one that is changed there must not be the same here), and every
// variable that a function refers to against the names of both files: as the
// comparison maps it, and as hotpatches bind it, the proper one and one that
// carries all functions.
//
// Exit code 1: something was bound wrongly, or a changed function was missed.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"

	"hotpatch/internal/build"
	"hotpatch/internal/diff"
	"hotpatch/internal/image"
	"hotpatch/internal/patch"
)

func main() {
	verbose := flag.Bool("v", false, "say what each wrong binding is, and what is not bound")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	var total tally
	if err := run(ctx, flag.Args(), *verbose, &total); err != nil {
		fmt.Fprintln(os.Stderr, "truth:", err)
		os.Exit(2)
	}
	fmt.Print(total.String())
	if total.failed() {
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, verbose bool, total *tally) error {
	pairs, err := findPairs(args)
	if err != nil {
		return err
	}
	if len(pairs) == 0 {
		return errors.New("nothing to compare: name two files, or a directory with old and new in it")
	}
	for _, p := range pairs {
		t, err := check(ctx, p[0], p[1])
		if err != nil {
			return fmt.Errorf("%s: %w", p[1], err)
		}
		if t.pairs == 0 {
			continue
		}
		if verbose || t.failed() {
			for _, s := range t.notes {
				fmt.Printf("%s: %s\n", p[1], s)
			}
		}
		total.add(t)
	}
	return ctx.Err()
}

// findPairs are the files to compare: of equal name and different content.
func findPairs(args []string) (pairs [][2]string, err error) {
	if len(args) == 2 {
		if s, err := os.Stat(args[0]); err == nil && s.Mode().IsRegular() {
			return [][2]string{{args[0], args[1]}}, nil
		}
	}
	for _, dir := range args {
		err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
			if err != nil || !e.IsDir() || e.Name() != "old" {
				return err
			}
			files, err := os.ReadDir(path)
			for _, f := range files {
				other := filepath.Join(filepath.Dir(path), "new", f.Name())
				if s, err := os.Stat(other); err == nil && s.Mode().IsRegular() && f.Type().IsRegular() {
					pairs = append(pairs, [2]string{filepath.Join(path, f.Name()), other})
				}
			}
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return pairs, nil
}

// check compares one pair with and without symbols. It counts no pair when
// these are not two different images with symbols that can be patched.
func check(ctx context.Context, oldFile, newFile string) (*tally, error) {
	t := &tally{}
	var with, without [2]*image.Image
	dir, err := os.MkdirTemp("", "hotpatch-truth-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	var bare [2]string
	for i, path := range []string{oldFile, newFile} {
		if with[i], err = image.Open(path); err != nil || with[i].Stripped || !with[i].PIE {
			return t, nil
		}
		bare[i] = filepath.Join(dir, fmt.Sprint(i), filepath.Base(path))
		if err := os.Mkdir(filepath.Dir(bare[i]), 0o755); err != nil {
			return nil, err
		}
		if out, err := exec.CommandContext(ctx, "strip", "-o", bare[i], path).CombinedOutput(); err != nil {
			return nil, fmt.Errorf("strip %s: %w\n%s", path, err, out)
		}
		if without[i], err = image.Open(bare[i]); err != nil {
			return nil, err
		}
	}
	if with[0].BuildID == with[1].BuildID {
		return t, nil
	}
	t.pairs = 1
	t.truth = truth{newSide(with[0]), newSide(with[1])}
	named, err := diff.Compare(ctx, with[0], with[1], diff.Options{})
	if err != nil {
		return nil, err
	}
	blind, err := diff.Compare(ctx, without[0], without[1], diff.Options{})
	if err != nil {
		return nil, err
	}
	if named.Foreign() == nil && blind.Foreign() == nil {
		t.functions(named, blind)
		t.pairings(blind)
		t.entrances(blind)
		t.variables(blind)
	}
	for _, all := range []bool{false, true} {
		rep, bundle, err := build.Build(ctx, bare[0], bare[1], build.Options{All: all, Accept: "to look at what it binds", By: "test"})
		if err != nil {
			return nil, err
		}
		if bundle == nil && !all {
			t.notes = append(t.notes, fmt.Sprintf("REFUSED %v", codes(rep)))
		} else if !all {
			t.notes = append(t.notes, fmt.Sprintf("BUILT %v", codes(rep)))
		}
		if bundle != nil {
			t.sites(bundle)
			t.bundle(bundle, without[1], all)
		}
	}
	return t, nil
}

func codes(r *build.Report) []string {
	var out []string
	for _, x := range r.Reasons {
		out = append(out, x.Code+" "+x.Function+" "+x.Detail[:min(len(x.Detail), 140)])
	}
	return out
}

// pairings holds pairs of functions against their names.
func (t *tally) pairings(d *diff.Diff) {
	for _, f := range d.Fixed.Funcs {
		a := d.BaseOf(f)
		if a == nil || f.Fragment || f.Source == image.FromGap {
			continue
		}
		o := t.sameFunction(a.Lo, f.Lo)
		t.paired.count(o)
		state, _ := d.State(f)
		if o == wrong || o == resized {
			certain, how := d.Paired(f)
			t.note("PAIR %s %s with %s (%s, %v) by %s", map[outcome]string{wrong: "wrong", resized: "clone"}[o], t.fixed.starts[f.Lo], t.base.starts[a.Lo], state, certain, how)
		}
	}
}

// entrances holds those functions against their names that a process may enter
// by itself, and of which the counterpart is said to be certain.
func (t *tally) entrances(d *diff.Diff) {
	for _, e := range d.Entrances() {
		if e.Why != "" {
			t.entered.unbound++
			continue
		}
		o := t.sameFunction(e.Base.Lo, e.Fixed.Lo)
		t.entered.count(o)
		if o == wrong || o == resized {
			t.note("ENTRANCE %s is certainly %s", t.base.starts[e.Base.Lo], t.fixed.starts[e.Fixed.Lo])
		}
	}
}

// sites holds the entries that a hotpatch redirects against names.
func (t *tally) sites(b *patch.Bundle) {
	for _, img := range b.Manifest.Images {
		for _, s := range img.Sites {
			o := t.sameFunction(image.Addr(s.Base), image.Addr(s.To))
			t.redirected.count(o)
			if o == wrong || o == resized {
				t.note("SITE %s redirected to %s", t.base.starts[image.Addr(s.Base)], t.fixed.starts[image.Addr(s.To)])
			}
		}
	}
}

// functions holds the functions that differ without symbols against those that
// differ with them.
func (t *tally) functions(named, blind *diff.Diff) {
	for _, f := range named.Fixed.Funcs {
		state, why := named.State(f)
		if state != diff.Changed || f.Source == image.FromGap {
			continue
		}
		t.changed++
		g := blind.Fixed.At(f.Lo)
		if g == nil {
			t.note("%s is changed (%s), but not known as code without symbols", f.Name(), why)
			t.missed++
			continue
		}
		if s, _ := blind.State(g); s == diff.Same {
			if t.renamed(named, blind, g) {
				t.otherNames++
				continue
			}
			t.missed++
			t.note("%s is changed (%s), but the same without symbols", f.Name(), why)
		}
	}
}

// renamed says that all in which g differs, by names, are names: it refers to
// functions that the comparison without symbols knows to be the successors of
// what it referred to.
func (t *tally) renamed(named, blind *diff.Diff, g *diff.Func) bool {
	a := blind.BaseOf(g)
	f := named.Fixed.Entry(g.Lo)
	b := named.BaseOf(f)
	if a == nil || b == nil || a.Lo != b.Lo || f.Hash != b.Hash || len(f.Refs) != len(b.Refs) {
		return false
	}
	for k := range f.Refs {
		if f.Refs[k].Class.Writable() && t.judge(b.Refs[k].Target, f.Refs[k].Target) == wrong {
			return false
		}
	}
	return true
}

// variables holds the map of variables against their names, for every reference
// of every function that has a counterpart.
func (t *tally) variables(d *diff.Diff) {
	for _, f := range d.Fixed.Funcs {
		if f.Source == image.FromGap {
			continue
		}
		state, _ := d.State(f)
		in := &t.others
		if state == diff.Changed || state == diff.New {
			in = &t.carried
		}
		for k := range f.Refs {
			r := &f.Refs[k]
			if !r.Class.Writable() {
				continue
			}
			b := d.Bind(f, k)
			switch {
			case b.OK():
				o := t.judge(b.Base, r.Target)
				in.count(o)
				if o == wrong {
					t.note("%s (%s) uses %s, mapped to %s by %s: %s", t.fixed.at(f.Lo), state, t.fixed.at(r.Target), t.base.at(b.Base), b.How, b.Why)
				}
			case b.How == diff.NewVariable:
				o := t.judgeNew(r.Target)
				in.count(o)
				if o == wrong {
					t.note("%s (%s) uses %s, taken to be new: %s", t.fixed.at(f.Lo), state, t.fixed.at(r.Target), b.Why)
				}
			default:
				in.unbound++
				if in == &t.carried {
					t.note("%s (%s) uses %s, not mapped: %s", t.fixed.at(f.Lo), state, t.fixed.at(r.Target), b.Why)
				}
			}
		}
	}
}

// bundle holds what carried code is bound to in the base image against names.
// Where a field leads in the fixed image, its bytes tell.
func (t *tally) bundle(b *patch.Bundle, fixed *image.Image, all bool) {
	in := &t.bound
	if all {
		in = &t.boundAll
	}
	for _, o := range b.Objects {
		for _, r := range o.Relocs {
			if r.Sym < 0 || o.Symbols[r.Sym].Kind != patch.Base || isVariable(o, r.At) {
				continue
			}
			base := image.Addr(o.Symbols[r.Sym].Value)
			target, ok := fieldTarget(fixed, &r)
			if r.Type == patch.Abs64 {
				base += image.Addr(r.Add)
			}
			if !ok || !t.fixed.ClassAt(target).Writable() && !t.base.ClassAt(base).Writable() {
				continue
			}
			verdict := t.judge(base, target)
			in.count(verdict)
			if verdict == wrong {
				t.note("the field at %#x (all %v) leads to %s, bound to %s", r.At, all, t.fixed.at(target), t.base.at(base))
			}
		}
	}
}

// fieldTarget is where the field of a relocation leads in the fixed image.
func fieldTarget(m *image.Image, r *patch.Reloc) (image.Addr, bool) {
	at := image.Addr(r.At)
	if r.Type == patch.PC32 {
		if k := m.ClassAt(at); k != image.Text && k != image.ROData {
			return 0, false // of unwind data, which the object lays out by itself
		}
		b := m.Bytes(at, 4)
		if len(b) < 4 {
			return 0, false
		}
		v := int32(uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16 | uint32(b[3])<<24)
		return at + image.Addr(int64(v)-r.Add), true
	}
	i, ok := slices.BinarySearchFunc(m.Relocs, at, func(x image.Reloc, a image.Addr) int { return int(int64(x.At) - int64(a)) })
	if !ok {
		return 0, false
	}
	return diff.Pointee(&m.Relocs[i])
}

// isVariable says whether at is in the read-write part, which the object lays out
// by itself: what the fixed image has there is something else.
func isVariable(o *patch.Object, at uint64) bool {
	return slices.ContainsFunc(o.Chunks, func(c patch.Chunk) bool {
		return c.Kind == patch.Var && at >= c.Addr && at-c.Addr < uint64(len(c.Data))
	})
}

// count is how many bindings of one kind there are.
type countOf struct{ right, wrong, resized, unnamed, unbound int }

func (c *countOf) count(o outcome) {
	switch o {
	case right:
		c.right++
	case wrong:
		c.wrong++
	case resized:
		c.resized++
	case unnamed:
		c.unnamed++
	}
}

func (c *countOf) add(d countOf) {
	c.right, c.wrong, c.resized, c.unnamed, c.unbound = c.right+d.right, c.wrong+d.wrong, c.resized+d.resized, c.unnamed+d.unnamed, c.unbound+d.unbound
}

func (c countOf) String() string {
	return fmt.Sprintf("%7d right %4d wrong %5d in variables of another size %6d without a name %6d not bound", c.right, c.wrong, c.resized, c.unnamed, c.unbound)
}

// tally is what was found.
type tally struct {
	truth
	pairs, changed, missed, otherNames int
	carried, others                    countOf // references of functions that differ, of the others
	bound, boundAll                    countOf // fields of hotpatches, of those that carry all
	paired, redirected, entered        countOf // pairs of functions, entries redirected; resized: by a clone
	notes                              []string
}

func (t *tally) note(format string, args ...any) {
	t.notes = append(t.notes, fmt.Sprintf(format, args...))
}

func (t *tally) add(u *tally) {
	t.pairs, t.changed, t.missed, t.otherNames = t.pairs+u.pairs, t.changed+u.changed, t.missed+u.missed, t.otherNames+u.otherNames
	t.carried.add(u.carried)
	t.others.add(u.others)
	t.bound.add(u.bound)
	t.paired.add(u.paired)
	t.entered.add(u.entered)
	t.redirected.add(u.redirected)
	t.boundAll.add(u.boundAll)
}

func (t *tally) failed() bool {
	return t.missed > 0 || t.carried.wrong+t.others.wrong+t.bound.wrong+t.boundAll.wrong > 0
}

func (t *tally) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d pairs of images\n", t.pairs)
	fmt.Fprintf(&b, "functions changed with symbols: %d; the same without: %d, and %d that differ in names alone\n", t.changed, t.missed, t.otherNames)
	fmt.Fprintf(&b, "pairs of functions                  %s\n", t.paired)
	fmt.Fprintf(&b, "entrances that are certain          %s\n", t.entered)
	fmt.Fprintf(&b, "entries redirected                  %s\n", t.redirected)
	fmt.Fprintf(&b, "variables of functions that differ  %s\n", t.carried)
	fmt.Fprintf(&b, "variables of all other functions    %s\n", t.others)
	fmt.Fprintf(&b, "fields of the hotpatches            %s\n", t.bound)
	fmt.Fprintf(&b, "fields, every function carried      %s\n", t.boundAll)
	return b.String()
}
