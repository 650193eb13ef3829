package property_test

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"hotpatch/internal/build"
	"hotpatch/internal/patch"
	"hotpatch/internal/testkit"
	"hotpatch/internal/txn"
	"hotpatch/test/property"
)

const (
	defaultCases = 16
	defaultSeed  = 1 // the same programs every time, unless more are asked for
)

// How many cases, and from which seed on: a failing case names its seed.
const (
	casesVariable = "HOTPATCH_PROPERTY_CASES"
	seedVariable  = "HOTPATCH_PROPERTY_SEED"
	keepVariable  = "HOTPATCH_PROPERTY_DIR" // where failing cases are written
	// One kind of edit alone ("variable"; "early": all but those that came
	// later, as in older seeds), and always without symbols: for looking where
	// few of the other cases go.
	editVariable     = "HOTPATCH_PROPERTY_EDIT"
	stripVariable    = "HOTPATCH_PROPERTY_STRIP"
	libraryVariable  = "HOTPATCH_PROPERTY_LIBRARY" // libraries alone
	compilerVariable = "HOTPATCH_PROPERTY_CC"      // another than gcc: clang
	// Programs at a fixed address, with the relocations that they keep.
	nonPIEVariable = "HOTPATCH_PROPERTY_NONPIE"
)

// How a hotpatch was made, and what the process was asked.
type trial struct {
	seed     uint64
	rand     *rand.Rand
	dir      string
	program  *property.Program
	flags    []string
	stripped bool
	debug    bool
	only     string // kind of edit; "" for all kinds
	bare     bool   // stripped in any case
	library  bool   // the program is a library
	cc       string // compiler
	early    bool   // as older seeds mean it: without fixes and later flags
	edits    []string
	sources  [2]string
	paths    [2]string // with symbols
	ours     [2]string // what runs and is compared; stripped perhaps
	symbols  [2]*program
	report   *build.Report
	bundle   *patch.Bundle
	log      strings.Builder
}

// verdicts that are wrong, and behaviours, are failures; everything else is
// an outcome to count.
type failure struct{ what string }

func (f *failure) Error() string { return f.what }

func fail(format string, args ...any) error { return &failure{fmt.Sprintf(format, args...)} }

// Each program is edited at random; the hotpatch is put into a process that
// has been in use. From there on the process must behave as the fixed program
// that was given the same state; without the hotpatch, as the base program.
func TestHotpatchedProgramsBehaveAsTheFixedOnes(t *testing.T) {
	testkit.Tools(t, "gcc", "strip", "setsid")
	n, seed := cases(t)
	var (
		mu    sync.Mutex
		count = map[string]int{}
	)
	t.Cleanup(func() { t.Log(summary(count)) })
	for i := range n {
		s := seed + uint64(i)
		t.Run(strconv.FormatUint(s, 10), func(t *testing.T) {
			t.Parallel()
			c := newTrial(s, t.TempDir())
			c.only, c.bare = os.Getenv(editVariable), os.Getenv(stripVariable) != ""
			c.library, c.cc = os.Getenv(libraryVariable) != "", cmp.Or(os.Getenv(compilerVariable), c.cc)
			if c.early = c.only == "early"; c.early {
				c.only = ""
			}
			outcome, err := c.run(t.Context())
			mu.Lock()
			defer mu.Unlock()
			count["cases"]++
			for _, o := range outcome {
				count[o]++
			}
			if errors.Is(err, errCompiler) {
				count["not compiled: "+errCompiler.Error()]++
				return
			}
			var f *failure
			if errors.As(err, &f) && slices.Contains(c.codes(), "table-carried") {
				// A constant that changed has two identities now: its reason says
				// so, and that is what review is for.
				count["differs, as table-carried warned"]++
				return
			}
			if errors.As(err, &f) && slices.Contains(c.codes(), "data-init-changed") && slices.ContainsFunc(c.edits, func(e string) bool { return strings.Contains(e, "element") }) {
				// Elements of a linker set that the loader relocates are variables:
				// a process keeps those it has, in the order that they have.
				count["differs, as data-init-changed warned"]++
				return
			}
			if err != nil {
				count["failures"]++
				t.Errorf("%s\n%v\nreplay: %s=%d; files in %s", c.describe(), err, seedVariable, s, c.keep(err))
			}
		})
	}
}

// Programs whose hotpatches were wrong once: a function that only used another
// variable than before was taken to be the same, or bound to what was in the
// place of that variable.
func TestProgramsThatFailedOnce(t *testing.T) {
	testkit.Tools(t, "gcc", "strip", "setsid")
	if _, replay := os.LookupEnv(seedVariable); replay {
		t.Skip("replaying")
	}
	for _, x := range []struct {
		seed       uint64
		only       string
		late, bare bool
	}{
		{seed: 887494689813}, {seed: 16496035121}, {seed: 918193743440}, {seed: 918193743301},
		{seed: 70000489},            // a table that ends where .dynamic starts
		{seed: 70000767},            // a function that took the place of another in a table, and its entry
		{seed: 1071246647499},       // an array that nothing uses before the fix: nobody can tell that it is not new
		{seed: 3000269, bare: true}, // two variables taken for one
		{seed: 3000504, bare: true}, // two pointers that changed places
		{seed: 3000328, bare: true}, // a new variable in the place of one that went
		{seed: 60000091, only: "variable"}, {seed: 61000075, only: "variable"}, {seed: 61000402, only: "variable"}, {seed: 61000179, only: "variable"},
	} {
		t.Run(strconv.FormatUint(x.seed, 10), func(t *testing.T) {
			t.Parallel()
			c := newTrial(x.seed, t.TempDir())
			c.only, c.bare, c.early = x.only, x.only != "" || x.bare, !x.late
			if _, err := c.run(t.Context()); err != nil {
				t.Errorf("%s\n%v", c.describe(), err)
			}
		})
	}
}

// A hotpatch that is not applied must be noticed, or the test proves nothing.
func TestMissingHotpatchesAreNoticed(t *testing.T) {
	testkit.Tools(t, "gcc", "strip", "setsid")
	if _, replay := os.LookupEnv(seedVariable); replay {
		t.Skip("replaying")
	}
	const enough = 2
	noticed := 0
	for s := uint64(1); s < 12 && noticed < enough; s++ {
		c := newTrial(s, t.TempDir())
		c.early = true
		if err := c.build(t.Context()); err != nil {
			t.Fatal(err)
		}
		if c.bundle == nil || c.program.Layout {
			continue
		}
		c.bundle = nil
		var f *failure
		if _, err := c.live(t.Context()); errors.As(err, &f) {
			noticed++
		}
	}
	if noticed < enough {
		t.Errorf("only %d missing hotpatches were noticed", noticed)
	}
}

func cases(t *testing.T) (n int, seed uint64) {
	n, seed = defaultCases, defaultSeed
	if s := os.Getenv(casesVariable); s != "" {
		v, err := strconv.Atoi(s)
		if err != nil {
			t.Fatalf("%s: %v", casesVariable, err)
		}
		n, seed = v, rand.Uint64N(1<<40)
	}
	if s := os.Getenv(seedVariable); s != "" {
		v, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			t.Fatalf("%s: %v", seedVariable, err)
		}
		if seed = v; os.Getenv(casesVariable) == "" {
			n = 1
		}
	}
	t.Logf("%d cases from seed %d", n, seed)
	return n, seed
}

func newTrial(seed uint64, dir string) *trial {
	return &trial{cc: "gcc", seed: seed, rand: rand.New(rand.NewPCG(seed, 2)), dir: dir, program: property.Generate(seed)}
}

func nonPIE() bool { return os.Getenv(nonPIEVariable) != "" }

func (c *trial) chance(percent int) bool { return c.rand.IntN(100) < percent }

// build edits and compiles the program and builds the hotpatch.
func (c *trial) build(ctx context.Context) error {
	c.chooseFlags()
	if !c.early {
		c.program.Enrich()
	}
	source, compile := c.program.Source, compile
	if c.library {
		source, compile = c.program.Library, compileLibrary
	}
	c.sources[0] = source()
	for c.sources[1] = c.sources[0]; c.sources[0] == c.sources[1]; c.sources[1] = source() {
		for range 1 + c.rand.IntN(3) {
			switch {
			case c.only != "":
				c.edits = append(c.edits, c.program.EditOnly(c.only))
			case !c.early && c.chance(60):
				c.edits = append(c.edits, c.program.Fix())
			default:
				c.edits = append(c.edits, c.program.Edit())
			}
		}
	}
	for i, side := range []string{"base", "fixed"} {
		var err error
		if c.paths[i], err = compile(filepath.Join(c.dir, side), c.sources[i], c.cc, c.flags); err != nil {
			return err
		}
		if c.symbols[i], err = readProgram(c.paths[i]); err != nil {
			return err
		}
		c.ours[i] = c.paths[i]
		if c.stripped {
			if c.ours[i], err = beside(c.paths[i], c.library); err != nil {
				return err
			}
			args := []string{"-o", c.ours[i], c.paths[i]}
			if nonPIE() {
				args = append(args, "--discard-all") // relocations stay, with the symbols that they name
			}
			if b, err := exec.CommandContext(ctx, "strip", args...).CombinedOutput(); err != nil {
				return fmt.Errorf("strip: %w\n%s", err, b)
			}
		}
	}
	var err error
	c.report, c.bundle, err = build.Build(ctx, c.ours[0], c.ours[1], build.Options{Accept: "a random edit", By: "test"})
	return err
}

// beside is where the stripped copy of an image goes: a library keeps its name,
// with its host beside it.
func beside(path string, isLibrary bool) (string, error) {
	if !isLibrary {
		return path + ".stripped", nil
	}
	dir := filepath.Join(filepath.Dir(path), "stripped")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	return filepath.Join(dir, library), os.Link(filepath.Join(filepath.Dir(path), host), filepath.Join(dir, host))
}

func (c *trial) codes() []string {
	seen := map[string]bool{}
	for _, r := range c.report.Reasons {
		seen[r.Code] = true
	}
	return slices.Sorted(maps.Keys(seen))
}

// run tries one case; outcome are the words to count it under.
func (c *trial) run(ctx context.Context) (outcome []string, err error) {
	if err := c.build(ctx); err != nil {
		return nil, err
	}
	v := c.report.Verdict
	kind := "plain"
	if c.library {
		outcome = append(outcome, "libraries")
	}
	if c.debug {
		kind = "types"
	} else if c.stripped {
		kind = "stripped"
	}
	outcome = append(outcome, "verdict "+string(v), "verdict "+string(v)+", "+kind)
	for _, r := range c.codes() {
		outcome = append(outcome, string(v)+" for "+r)
	}
	switch {
	case v == patch.Clean && !c.debug:
		return outcome, fail("clean without types")
	case c.program.Layout && v == patch.Clean, c.program.Layout && c.debug && v == patch.Review:
		return outcome, fail("verdict %s, though the layout of a live variable changed", v)
	case c.program.Layout:
		return append(outcome, "layout: "+string(v)), nil
	case v == patch.Refused:
		return outcome, nil
	case slices.Contains(c.codes(), "never-returns"):
		return append(outcome, "not applied: main changed"), nil
	}
	more, err := c.live(ctx)
	return append(outcome, more...), err
}

// questions are n random ones.
func (c *trial) questions(n int) []string {
	number := func() uint32 {
		switch c.rand.IntN(4) {
		case 0:
			return c.rand.Uint32()
		case 1:
			return uint32(c.rand.IntN(300))
		default:
			return uint32(c.rand.IntN(16))
		}
	}
	var out []string
	for range n {
		out = append(out, fmt.Sprintf("%d %d %d", c.rand.IntN(c.program.Entries), number(), number()))
	}
	return out
}

// live puts the hotpatch (if any) into a process in use and out again.
func (c *trial) live(ctx context.Context) (outcome []string, err error) {
	subject, err := c.start(c.ours[0], c.symbols[0])
	if err != nil {
		return nil, err
	}
	defer subject.close()
	for _, q := range c.questions(c.rand.IntN(40)) {
		fmt.Fprintf(&c.log, "before %s -> %s\n", q, subject.v.ask(q))
	}
	if c.bundle != nil {
		r := txn.Apply(ctx, subject.v.pid, c.bundle, txn.Options{})
		if r.Outcome == txn.Denied && strings.Contains(r.Reason, "unused bytes") {
			return []string{"not applied: no room for a stub"}, nil // static programs
		}
		if r.Outcome == txn.Busy && slices.Contains(c.flags, "-fno-asynchronous-unwind-tables") {
			return []string{"not applied: a stack that cannot be unwound"}, nil
		}
		if r.Outcome != txn.Applied {
			return nil, fail("apply: %s %s", r.Outcome, r.Reason)
		}
		if err := subject.patched(c.bundle, c.symbols[1]); err != nil {
			return nil, err
		}
	}
	word, err := c.compare("hotpatched", subject, 1)
	outcome = append(outcome, word)
	if err != nil || c.bundle == nil {
		return outcome, err
	}
	id, err := c.bundle.ID()
	if err != nil {
		return outcome, err
	}
	if r := txn.Revert(ctx, subject.v.pid, id, txn.Options{}); r.Outcome != txn.Reverted {
		return outcome, fail("revert: %s %s", r.Outcome, r.Reason)
	}
	subject.applied = false
	word, err = c.compare("reverted", subject, 0)
	outcome = append(outcome, word)
	if err != nil || !c.chance(30) || slices.Contains(c.codes(), "new-variable") {
		return outcome, err
	}
	if r := txn.Apply(ctx, subject.v.pid, c.bundle, txn.Options{}); r.Outcome != txn.Applied {
		return outcome, fail("apply again: %s %s", r.Outcome, r.Reason)
	}
	if err := subject.patched(c.bundle, c.symbols[1]); err != nil {
		return outcome, err
	}
	word, err = c.compare("hotpatched again", subject, 1)
	return append(outcome, word), err
}

// compare asks the subject and a fresh process of one side (0 base, 1 fixed)
// that was given the subject's state.
func (c *trial) compare(what string, subject *memory, side int) (outcome string, err error) {
	ref, err := c.start(c.paths[side], c.symbols[side])
	if err != nil {
		return "", err
	}
	defer ref.close()
	st, err := subject.read()
	if err != nil {
		return "", err
	}
	var f *errForeign
	if err := ref.write(st); errors.As(err, &f) {
		return what + ", not compared: state without counterpart", nil
	} else if err != nil {
		return "", err
	}
	const asked = 60
	var wrong error
	for i, q := range c.questions(asked) {
		got, want := subject.v.ask(q), ref.v.ask(q)
		fmt.Fprintf(&c.log, "%s %s -> %s\n", what, q, got)
		if got != want {
			fmt.Fprintf(&c.log, "  should be %s\n", want)
			wrong = cmp.Or(wrong, fail("%s, question %d (%s) is answered with\n\t%s\n\tinstead of\n\t%s", what, i, q, got, want))
		}
		is, err1 := subject.read()
		should, err2 := ref.read()
		if err := errors.Join(err1, err2); err != nil {
			return what, cmp.Or(wrong, err)
		}
		if d := differences(is, should); len(d) > 0 {
			fmt.Fprintf(&c.log, "  state: %s\n", strings.Join(d, "; "))
			wrong = cmp.Or(wrong, fail("%s, question %d (%s) leaves another state: %s", what, i, q, strings.Join(d, "; ")))
		}
		if wrong != nil && c.keepsTable(is) {
			return what + ", not compared: a pointer to a table that is carried", nil
		}
		if wrong != nil {
			return what + ", wrong", wrong
		}
	}
	return what + ", right", nil
}

// keepsTable says whether a variable points to a table of which the hotpatch
// brings its own copy: the review said that such pointers stay as they are.
func (c *trial) keepsTable(st state) bool {
	if c.bundle == nil || !slices.Contains(c.codes(), "table-carried") {
		return false
	}
	for _, cells := range st {
		for _, p := range cells {
			for _, n := range p.names {
				addr, ok := c.symbols[1].address(n)
				for _, x := range c.bundle.Objects[0].Chunks {
					if ok && x.Kind == patch.Table && addr >= x.Addr && addr < x.Addr+uint64(len(x.Data)) {
						return true
					}
				}
			}
		}
	}
	return false
}

func (c *trial) start(path string, p *program) (*memory, error) {
	program := path
	if c.library {
		program = filepath.Join(filepath.Dir(path), host)
	}
	v, err := start(program)
	if err != nil {
		return nil, err
	}
	v.library = c.library
	m, err := openMemory(v, p, path)
	if err != nil {
		v.end()
		return nil, err
	}
	return m, nil
}

func (m *memory) close() {
	m.file.Close()
	m.v.end()
}

func (c *trial) describe() string {
	s := fmt.Sprintf("seed %d, %s %s, stripped %v\nedits: %s\n", c.seed, c.cc, strings.Join(c.flags, " "), c.stripped, strings.Join(c.edits, "\n       "))
	if c.report != nil {
		s += fmt.Sprintf("verdict %s %v\n", c.report.Verdict, c.codes())
	}
	return s
}

// keep writes what is needed to look into a failure.
func (c *trial) keep(err error) string {
	parent := os.Getenv(keepVariable)
	if parent == "" {
		parent = os.TempDir()
	}
	dir := filepath.Join(parent, fmt.Sprintf("hotpatch-property-%d", c.seed))
	files := map[string][]byte{
		"README": []byte(c.describe() + "\n" + err.Error() + "\n"),
		"base.c": []byte(c.sources[0]), "fixed.c": []byte(c.sources[1]), "questions": []byte(c.log.String()),
	}
	files["report.json"], _ = json.MarshalIndent(c.report, "", "  ")
	if c.bundle != nil {
		files["bundle.hotpatch"], _ = c.bundle.Encode()
	}
	for i, name := range []string{"base", "fixed"} {
		if b, err := os.ReadFile(filepath.Join(filepath.Dir(c.paths[i]), host)); err == nil && c.library {
			files[host] = b
		}
		if b, err := os.ReadFile(c.paths[i]); err == nil {
			files[name] = b
		}
		if b, err := os.ReadFile(c.ours[i]); err == nil && c.stripped {
			files[name+".stripped"] = b
		}
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err.Error()
	}
	for name, b := range files {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o755); err != nil {
			return err.Error()
		}
	}
	return dir
}

func summary(count map[string]int) string {
	var b strings.Builder
	for _, k := range slices.Sorted(maps.Keys(count)) {
		fmt.Fprintf(&b, "\n%6d %s", count[k], k)
	}
	return b.String()
}
