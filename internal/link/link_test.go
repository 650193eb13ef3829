package link_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"hotpatch/internal/link"
	"hotpatch/internal/patch"
)

const (
	bias = 0x555555554000
	span = 0x555565000000
)

// object has a field of every sort; its code and constants share a page.
func object() *patch.Object {
	return &patch.Object{
		BaseBuildID: "0011",
		Lo:          0x2000, Hi: 0x9000, RWEnd: 0xb000,
		Chunks: []patch.Chunk{
			{Kind: patch.Code, Addr: 0x2010, Data: []byte{0xe9, 0, 0, 0, 0, 0x90}},
			{Kind: patch.Const, Addr: 0x2800, Data: []byte("hello")},
			{Kind: patch.Const, Addr: 0x3ffc, Data: make([]byte, 16)}, // crosses a page
			{Kind: patch.Code, Addr: 0x8ff0, Data: []byte{0xc3}},
			{Kind: patch.Var, Addr: 0x9000, Data: make([]byte, 16)},
		},
		Symbols: []patch.Symbol{
			{Kind: patch.Base, Name: "old", Value: 0x1180},
			{Kind: patch.Import, Name: "write", Version: "GLIBC_2.2.5"},
			{Kind: patch.Internal, Name: "here", Value: 0x8ff0},
		},
		Relocs: []patch.Reloc{
			{At: 0x2011, Type: patch.PC32, Sym: 0, Add: -4},
			{At: 0x3ffc, Type: patch.Abs64, Sym: 0, Add: 3},
			{At: 0x4004, Type: patch.Abs64, Sym: 2, Add: -1},
			{At: 0x9000, Type: patch.Abs64, Sym: 1},
			{At: 0x9008, Type: patch.Abs64, Sym: -1, Add: 0x2800},
		},
	}
}

func imports(name, version string) (uint64, error) {
	if name == "write" && version == "GLIBC_2.2.5" {
		return 0x7ffff7d00010, nil
	}
	return 0, errors.New("no such symbol")
}

// memory reads what writes hold.
type memory []link.Write

func (m memory) at(t testing.TB, addr uint64, n int) []byte {
	t.Helper()
	for _, w := range m {
		if w.Addr <= addr && addr+uint64(n) <= w.Addr+uint64(len(w.Data)) {
			return w.Data[addr-w.Addr:][:n]
		}
	}
	t.Fatalf("no write has %d bytes at %#x", n, addr)
	return nil
}

func (m memory) u64(t testing.TB, addr uint64) uint64 {
	return binary.LittleEndian.Uint64(m.at(t, addr, 8))
}

func TestLinkFillsEveryField(t *testing.T) {
	o, p := object(), link.Place{Bias: bias, Span: span}
	w, err := link.Link(o, p, imports)
	if err != nil {
		t.Fatal(err)
	}
	m := memory(w)
	rel := int32(binary.LittleEndian.Uint32(m.at(t, span+0x11, 4)))
	if to := span + 0x15 + uint64(int64(rel)); to != bias+0x1180 {
		t.Errorf("jump goes to %#x", to)
	}
	for at, want := range map[uint64]uint64{
		0x3ffc: bias + 0x1183, 0x4004: span + 0x6fef, 0x9000: 0x7ffff7d00010, 0x9008: span + 0x800,
	} {
		if got := m.u64(t, p.At(o, at)); got != want {
			t.Errorf("field at %#x: %#x, want %#x", at, got, want)
		}
	}
}

func TestUnusedBytesAreInt3WhereCodeIs(t *testing.T) {
	w, err := link.Link(object(), link.Place{Bias: bias, Span: span}, imports)
	if err != nil {
		t.Fatal(err)
	}
	m := memory(w)
	for at, want := range map[uint64]byte{
		0: 0xcc, 0xf: 0xcc, 0x15: 0x90, 0x16: 0xcc, 0x7ff: 0xcc, 0x805: 0xcc, 0xfff: 0xcc, // code and constants
		0x1000: 0, 0x200c: 0, 0x2fff: 0, // constants
		0x6000: 0xcc, 0x6ff0: 0xc3, 0x6fff: 0xcc, // code
		0x7010: 0, 0x7fff: 0, // variables
	} {
		if got := m.at(t, span+at, 1)[0]; got != want {
			t.Errorf("byte at +%#x: %#x, want %#x", at, got, want)
		}
	}
	if got := string(m.at(t, span+0x800, 5)); got != "hello" {
		t.Errorf("constant: %q", got)
	}
}

func TestWritesAreRunsOfPopulatedPages(t *testing.T) {
	o := object()
	w, err := link.Link(o, link.Place{Bias: bias, Span: span}, imports)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, x := range w {
		got = append(got, fmt.Sprintf("%#x+%#x", x.Addr-span, len(x.Data)))
	}
	// The last two touch, but their protection differs.
	if d := cmp.Diff([]string{"0x0+0x3000", "0x6000+0x1000", "0x7000+0x1000"}, got); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
	want := []link.Run{{Lo: 0x2000, Hi: 0x5000}, {Lo: 0x8000, Hi: 0x9000}, {Lo: 0x9000, Hi: 0xa000, Write: true}}
	if d := cmp.Diff(want, link.Pages(o)); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
	if link.Span(o) != 0x9000 {
		t.Errorf("span %#x", link.Span(o))
	}
}

func TestLinkLeavesTheObjectAlone(t *testing.T) {
	o := object()
	if _, err := link.Link(o, link.Place{Bias: bias, Span: span}, imports); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(object(), o); d != "" {
		t.Error(d)
	}
}

func TestLinkRefuses(t *testing.T) {
	near := link.Place{Bias: bias, Span: span}
	for name, c := range map[string]struct {
		change  func(o *patch.Object)
		place   link.Place
		imports link.Lookup
		is      error
		want    string
	}{
		"far":             {nil, link.Place{Bias: bias, Span: span + 1<<32}, imports, link.ErrRange, "base:old"},
		"just too far":    {nil, link.Place{Bias: bias, Span: bias + 1<<31 + 0x2000}, imports, link.ErrRange, "field at 0x2011"},
		"unaligned":       {nil, link.Place{Bias: bias, Span: span + 1}, imports, nil, "page aligned"},
		"past the end":    {nil, link.Place{Bias: bias, Span: patch.MaxAddr - 0x8000}, imports, nil, "address space"},
		"wraps":           {nil, link.Place{Bias: bias, Span: ^uint64(0) &^ 0xfff}, imports, nil, "address space"},
		"no lookup":       {nil, near, nil, link.ErrImport, "write@GLIBC_2.2.5"},
		"unknown import":  {nil, near, func(string, string) (uint64, error) { return 0, errors.New("gone") }, link.ErrImport, "write@GLIBC_2.2.5"},
		"import at 0":     {nil, near, func(string, string) (uint64, error) { return 0, nil }, link.ErrImport, "write@GLIBC_2.2.5"},
		"version changed": {func(o *patch.Object) { o.Symbols[1].Version = "" }, near, imports, link.ErrImport, "symbol write"},
		"far inside":      {func(o *patch.Object) { o.Relocs[0].Add = 1 << 32 }, near, imports, link.ErrRange, "base:old"},
		"broken object":   {func(o *patch.Object) { o.Relocs[0].Sym = 9 }, near, imports, nil, "relocation 0"},
	} {
		o := object()
		if c.change != nil {
			c.change(o)
		}
		w, err := link.Link(o, c.place, c.imports)
		if err == nil || w != nil || !strings.Contains(err.Error(), c.want) || c.is != nil && !errors.Is(err, c.is) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A weak import that nothing defines is 0; one that could not be looked for is an
// error, and so is a field in which 0 would be no address but a distance.
func TestWeakImportThatNothingDefinesIsZero(t *testing.T) {
	nothing := func(string, string) (uint64, error) { return 0, fmt.Errorf("look up: %w", link.ErrUndefined) }
	failed := func(string, string) (uint64, error) { return 0, errors.New("cannot read") }
	for _, c := range []struct {
		name    string
		weak    bool
		typ     patch.RelocType
		imports link.Lookup
		ok      bool
	}{
		{"weak", true, patch.Abs64, nothing, true},
		{"not weak", false, patch.Abs64, nothing, false},
		{"unread", true, patch.Abs64, failed, false},
		{"a distance", true, patch.PC32, nothing, false},
	} {
		o := object()
		o.Symbols[1].Weak = c.weak
		o.Relocs = slices.DeleteFunc(o.Relocs, func(r patch.Reloc) bool { return r.Sym == 1 })
		at := slices.IndexFunc(object().Relocs, func(r patch.Reloc) bool { return r.Sym == 1 })
		r := object().Relocs[at]
		r.Type = c.typ
		o.Relocs = slices.Insert(o.Relocs, at, r)
		w, err := link.Link(o, link.Place{Bias: bias, Span: span}, c.imports)
		if (err == nil) != c.ok || !c.ok && !errors.Is(err, link.ErrImport) {
			t.Errorf("%s: %v", c.name, err)
		}
		if c.ok && len(w) == 0 {
			t.Errorf("%s: nothing is written", c.name)
		}
	}
}

func TestImportIsAskedForOnce(t *testing.T) {
	o := object()
	o.Relocs[4] = patch.Reloc{At: 0x9008, Type: patch.Abs64, Sym: 1}
	n := 0
	if _, err := link.Link(o, link.Place{Bias: bias, Span: span}, func(name, version string) (uint64, error) {
		n++
		return imports(name, version)
	}); err != nil || n != 1 {
		t.Errorf("%d lookups, %v", n, err)
	}
}

func image(sites ...patch.Site) *patch.Image { return &patch.Image{Sites: sites} }

func TestEntriesJumpToTheNewCode(t *testing.T) {
	o, p := object(), link.Place{Bias: bias, Span: span}
	got, err := link.Entries(image(
		patch.Site{Name: "a", Base: 0x1000, To: 0x2010, Old: "0102030405"},
		patch.Site{Name: "b", Base: 0x1ff7, Jump: 4, To: 0x8ff0, Old: "aabbccddee"},
	), o, p)
	if err != nil {
		t.Fatal(err)
	}
	want := []link.Entry{
		{Addr: bias + 0x1000, Old: [5]byte{1, 2, 3, 4, 5}, Site: 0},
		{Addr: bias + 0x1ffb, Old: [5]byte{0xaa, 0xbb, 0xcc, 0xdd, 0xee}, Site: 1},
	}
	for i, to := range []uint64{span + 0x10, span + 0x6ff0} {
		e := got[i]
		rel := int32(binary.LittleEndian.Uint32(e.New[1:]))
		if e.New[0] != 0xe9 || e.Addr+5+uint64(int64(rel)) != to {
			t.Errorf("entry %d: % x at %#x does not jump to %#x", i, e.New, e.Addr, to)
		}
		want[i].New = e.New
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
}

func TestEntriesRefuses(t *testing.T) {
	good := patch.Site{Name: "f", Base: 0x1000, To: 0x2010, Old: "0102030405"}
	for name, c := range map[string]struct {
		change func(s *patch.Site, p *link.Place)
		want   string
	}{
		"too far below":   {func(s *patch.Site, p *link.Place) { p.Span = bias - 1<<31 }, "out of range"},
		"too far above":   {func(s *patch.Site, p *link.Place) { p.Span = bias + 1<<31 + 0x1000 }, "out of range"},
		"page crossing":   {func(s *patch.Site, p *link.Place) { s.Base = 0x1ffc }, "crosses a page"},
		"jump crossing":   {func(s *patch.Site, p *link.Place) { s.Base, s.Jump = 0x1ff8, 4 }, "crosses a page"},
		"below the code":  {func(s *patch.Site, p *link.Place) { s.To = 0x1fff }, "outside the object"},
		"into the data":   {func(s *patch.Site, p *link.Place) { s.To = 0x9000 }, "outside the object"},
		"short old bytes": {func(s *patch.Site, p *link.Place) { s.Old = "01020304" }, "old bytes"},
		"bad old bytes":   {func(s *patch.Site, p *link.Place) { s.Old = "01020304zz" }, "old bytes"},
		"kernel address":  {func(s *patch.Site, p *link.Place) { p.Bias = 1 << 63 }, "address space"},
		"unaligned span":  {func(s *patch.Site, p *link.Place) { p.Span++ }, "page aligned"},
	} {
		s, p := good, link.Place{Bias: bias, Span: span}
		c.change(&s, &p)
		if _, err := link.Entries(image(s), object(), p); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	far := link.Place{Bias: bias, Span: bias + 1<<40}
	if _, err := link.Entries(image(good), object(), far); !errors.Is(err, link.ErrRange) {
		t.Errorf("not ErrRange: %v", err)
	}
}

// Whatever the object, each field decodes back to the place it was meant for,
// and nothing else of memory depends on the place.
func TestFieldsDecodeToTheirTargets(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := drawObject(t)
		p := link.Place{Bias: uint64(rapid.IntRange(0, 1000).Draw(t, "bias")) << 12, Span: uint64(rapid.IntRange(0, 1<<18).Draw(t, "span")) << 12}
		if rapid.Bool().Draw(t, "high") {
			p.Bias += bias
			p.Span += bias
		}
		resolve := func(name, version string) (uint64, error) { return p.Bias + uint64(len(name)+len(version))<<8, nil }
		w, err := link.Link(o, p, resolve)
		if err != nil {
			t.Fatal(err)
		}
		checkRuns(t, o, p, w)
		fields := map[uint64]bool{}
		for _, r := range o.Relocs {
			at := p.Span + r.At - o.Lo
			b := find(t, w, at)
			var got uint64
			if r.Type == patch.Abs64 {
				got = binary.LittleEndian.Uint64(b)
			} else {
				got = at + uint64(int64(int32(binary.LittleEndian.Uint32(b))))
			}
			if want := target(o, p, r, resolve); got != want {
				t.Fatalf("field at %#x: %#x, want %#x", r.At, got, want)
			}
			for i := range r.Type.Size() {
				fields[r.At+i] = true
			}
		}
		for _, c := range o.Chunks {
			for i, v := range c.Data {
				a := c.Addr + uint64(i)
				if got := find(t, w, p.Span+a-o.Lo)[0]; !fields[a] && got != v {
					t.Fatalf("byte at %#x: %#x, want %#x", a, got, v)
				}
			}
		}
		sameAfterFile(t, o, p, resolve, w)
	})
}

func target(o *patch.Object, p link.Place, r patch.Reloc, resolve link.Lookup) uint64 {
	if r.Sym < 0 {
		return p.Span + uint64(r.Add) - o.Lo
	}
	s := o.Symbols[r.Sym]
	v := p.Span + s.Value - o.Lo
	switch s.Kind {
	case patch.Base:
		v = p.Bias + s.Value
	case patch.Import:
		v, _ = resolve(s.Name, s.Version)
	}
	return v + uint64(r.Add)
}

func find(t *rapid.T, w []link.Write, addr uint64) []byte {
	i, found := slices.BinarySearchFunc(w, addr, func(x link.Write, a uint64) int {
		switch {
		case x.Addr+uint64(len(x.Data)) <= a:
			return -1
		case x.Addr > a:
			return 1
		}
		return 0
	})
	if !found {
		t.Fatalf("nothing is written at %#x", addr)
	}
	return w[i].Data[addr-w[i].Addr:]
}

// checkRuns: whole pages, by address, no two in one page, exactly those that
// hold a byte of a chunk.
func checkRuns(t *rapid.T, o *patch.Object, p link.Place, w []link.Write) {
	pages := map[uint64]bool{}
	end := uint64(0)
	for _, x := range w {
		if x.Addr%patch.PageSize != 0 || len(x.Data)%patch.PageSize != 0 || len(x.Data) == 0 || x.Addr < end {
			t.Fatalf("write of %#x bytes at %#x", len(x.Data), x.Addr)
		}
		end = x.Addr + uint64(len(x.Data))
		for a := x.Addr; a < end; a += patch.PageSize {
			pages[a] = true
		}
	}
	for _, c := range o.Chunks {
		first := (p.Span + c.Addr - o.Lo) &^ (patch.PageSize - 1)
		for a := first; a < p.Span+c.Addr-o.Lo+uint64(len(c.Data)); a += patch.PageSize {
			delete(pages, a)
			if find(t, w, a) == nil {
				t.Fatal("unreachable")
			}
		}
	}
	if len(pages) != 0 {
		t.Fatalf("%d pages without a chunk are written", len(pages))
	}
}

// sameAfterFile: the object links to the same bytes once it was in a file.
func sameAfterFile(t *rapid.T, o *patch.Object, p link.Place, resolve link.Lookup, w []link.Write) {
	data, err := o.Encode()
	if err != nil {
		t.Fatal(err)
	}
	again, err := patch.DecodeObject(data)
	if err != nil {
		t.Fatal(err)
	}
	got, err := link.Link(again, p, resolve)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.EqualFunc(w, got, func(a, b link.Write) bool { return a.Addr == b.Addr && bytes.Equal(a.Data, b.Data) }) {
		t.Fatal("the object from the file links to other bytes")
	}
}

func drawObject(t *rapid.T) *patch.Object {
	lo := uint64(rapid.IntRange(0, 9).Draw(t, "lo")) << 12
	o := &patch.Object{BaseBuildID: "ab", Lo: lo, Hi: lo + 0x10000, RWEnd: lo + 0x14000}
	at := lo
	for at < o.RWEnd-0x200 && rapid.IntRange(0, 15).Draw(t, "more") > 0 {
		at += rapid.SampledFrom([]uint64{0, 1, 7, 100, 4090, 4096, 9000}).Draw(t, "gap")
		c := patch.Chunk{Kind: rapid.SampledFrom([]patch.ChunkKind{patch.Code, patch.Const, patch.Table}).Draw(t, "kind"),
			Data: bytes.Repeat(rapid.SliceOfN(rapid.Byte(), 1, 9).Draw(t, "data"), rapid.IntRange(1, 10).Draw(t, "repeat"))}
		if at+90 > o.Hi {
			at, c.Kind = max(at, o.Hi), patch.Var
		}
		if c.Addr = at; at+90 > o.RWEnd {
			break
		}
		o.Chunks = append(o.Chunks, c)
		at += uint64(len(c.Data))
	}
	o.Symbols = []patch.Symbol{
		{Kind: patch.Base, Name: "b", Value: uint64(rapid.IntRange(0, 1<<24).Draw(t, "base"))},
		{Kind: patch.Import, Name: "i", Version: "V1"},
		{Kind: patch.Import, Name: "imp"},
	}
	if len(o.Chunks) > 0 {
		c := rapid.SampledFrom(o.Chunks).Draw(t, "symbol in")
		o.Symbols = append(o.Symbols, patch.Symbol{Kind: patch.Internal, Name: "n", Value: c.Addr})
	}
	for _, c := range o.Chunks {
		at := c.Addr
		for range 6 {
			at += uint64(rapid.IntRange(0, 12).Draw(t, "skip"))
			r := patch.Reloc{At: at, Type: rapid.SampledFrom([]patch.RelocType{patch.PC32, patch.Abs64}).Draw(t, "type"),
				Sym: rapid.IntRange(-1, len(o.Symbols)-1).Draw(t, "sym"), Add: rapid.Int64Range(-64, 64).Draw(t, "add")}
			if r.Sym < 0 {
				r.Add = rapid.Int64Range(int64(o.Lo), int64(o.RWEnd)).Draw(t, "to")
			}
			if at += r.Type.Size(); at > c.Addr+uint64(len(c.Data)) {
				break
			}
			o.Relocs = append(o.Relocs, r)
		}
	}
	return o
}

// FuzzLink links whatever decodes, wherever it is told to.
func FuzzLink(f *testing.F) {
	data, err := object().Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data, uint64(bias), uint64(span), uint64(0x7ffff7d00010))
	f.Add(data, uint64(0), ^uint64(0)&^0xfff, uint64(0))
	small := &patch.Object{BaseBuildID: "00", Hi: 0x1000, RWEnd: 0x1000, // no padding in its file
		Chunks:  []patch.Chunk{{Kind: patch.Code, Addr: 120, Data: make([]byte, 16)}},
		Symbols: []patch.Symbol{{Kind: patch.Import, Name: "i"}},
		Relocs:  []patch.Reloc{{At: 121, Type: patch.PC32, Sym: 0, Add: -4}, {At: 128, Type: patch.Abs64, Sym: -1, Add: 120}}}
	if data, err = small.Encode(); err != nil {
		f.Fatal(err)
	}
	f.Add(data, uint64(bias), uint64(span), uint64(span))
	f.Fuzz(func(t *testing.T, data []byte, bias, span, value uint64) {
		o, err := patch.DecodeObject(data)
		if err != nil || len(o.Pages()) > 64 {
			return
		}
		p := link.Place{Bias: bias, Span: span}
		w, err := link.Link(o, p, func(string, string) (uint64, error) { return value, nil })
		if err == nil && len(w) != len(link.Pages(o)) {
			t.Fatalf("%d writes for %d runs", len(w), len(link.Pages(o)))
		}
		_, _ = link.Entries(image(patch.Site{Name: "f", Base: bias, Jump: 4, To: value, Old: "0102030405"}), o, p)
	})
}

// Programs at a fixed address hold addresses in 32 bits: those of the base image,
// and those of the object itself, wherever it goes.
func TestAddressesOf32BitsMustFit(t *testing.T) {
	object := func(typ patch.RelocType, sym int, add int64) *patch.Object {
		return &patch.Object{BaseBuildID: "00112233", Lo: 0x400000, Hi: 0x402000, RWEnd: 0x402000,
			Chunks:  []patch.Chunk{{Kind: patch.Code, Addr: 0x400000, Data: make([]byte, 16)}},
			Symbols: []patch.Symbol{{Kind: patch.Base, Name: "v", Value: 0x404040}},
			Relocs:  []patch.Reloc{{At: 0x400001, Type: typ, Sym: sym, Add: add}}}
	}
	for _, tc := range []struct {
		o    *patch.Object
		span uint64
		want uint64 // 0: out of range
	}{
		{object(patch.Abs32, 0, 8), 0x1000000, 0x404048},
		{object(patch.Abs32S, 0, -8), 0x1000000, 0x404038},
		{object(patch.Abs32, -1, 0x400010), 0x1000000, 0x1000010},
		{object(patch.Abs32S, -1, 0x400010), 0x7ffff000, 0x7ffff010},
		{object(patch.Abs32S, -1, 0x400010), 0x80000000, 0},
		{object(patch.Abs32, -1, 0x400010), 0xfffff000, 0xfffff010},
		{object(patch.Abs32, -1, 0x400010), 0x100000000, 0},
		{object(patch.Abs32, -1, 0x400010), 0x7f0000000000, 0},
		{object(patch.Abs32, 0, -0x404041), 0x1000000, 0},
		{object(patch.Abs32S, 0, -0x404041), 0x1000000, 0xffffffff},
	} {
		w, err := link.Link(tc.o, link.Place{Span: tc.span}, nil)
		if tc.want == 0 {
			if !errors.Is(err, link.ErrRange) {
				t.Errorf("%+v at %#x: %v", tc.o.Relocs[0], tc.span, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%+v at %#x: %v", tc.o.Relocs[0], tc.span, err)
			continue
		}
		if got := uint64(binary.LittleEndian.Uint32(w[0].Data[1:])); got != tc.want || w[0].Data[5] != 0 {
			t.Errorf("%+v at %#x: %#x, want %#x", tc.o.Relocs[0], tc.span, got, tc.want)
		}
	}
}
