package patch_test

import (
	"bytes"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"hotpatch/internal/patch"
)

func TestObjectDecodesToItsCanonicalForm(t *testing.T) {
	o := sampleObject()
	data := encodeObject(t, o)
	got, err := patch.DecodeObject(data)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(o.Canonical(), got, cmpopts.EquateEmpty()); d != "" {
		t.Errorf("-canonical +decoded:\n%s", d)
	}
	if d := cmp.Diff(sampleObject(), o); d != "" {
		t.Errorf("encoding changed the object:\n%s", d)
	}
}

func TestNeighbouringChunksBecomeOne(t *testing.T) {
	c := sampleObject().Canonical()
	var got []string
	for _, k := range c.Chunks {
		got = append(got, fmt.Sprintf("%d %#x+%#x", k.Kind, k.Addr, len(k.Data)))
	}
	want := []string{"0 0x2010+0x17", "1 0x2800+0x6", "3 0x5000+0x30", "2 0x6ff8+0x18", "0 0x8000+0x3", "5 0x8800+0x4", "4 0x9000+0x1104"}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
	code := c.Chunks[0].Data
	if !bytes.Equal(code[9:16], bytes.Repeat([]byte{0xcc}, 7)) {
		t.Errorf("gap between functions: % x", code[9:16])
	}
	if data := c.Chunks[5].Data; bytes.Contains(data, []byte{0xcc}) {
		t.Error("int3 between variables")
	}
}

func TestObjectWithoutAnythingIsValid(t *testing.T) {
	o := &patch.Object{BaseBuildID: "00", Lo: 0, Hi: 0x1000, RWEnd: 0x1000}
	got, err := patch.DecodeObject(encodeObject(t, o))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(o, got, cmpopts.EquateEmpty()); d != "" {
		t.Error(d)
	}
}

// A sparse span costs what it holds, and ten thousand functions are a few
// sections.
func TestFileStaysSmall(t *testing.T) {
	o := &patch.Object{BaseBuildID: "00", Lo: 0, Hi: 1 << 30, RWEnd: 1 << 30}
	for i := range 20 {
		o.Chunks = append(o.Chunks, patch.Chunk{Kind: patch.Code, Addr: uint64(i) << 25, Data: make([]byte, 64)})
	}
	if n := len(encodeObject(t, o)); n > 20*patch.PageSize+20*(64+56)+2000 {
		t.Errorf("20 functions over a GiB: %d bytes", n)
	}
	big := bigObject()
	data := encodeObject(t, big)
	used := 0
	for _, c := range big.Chunks {
		used += len(c.Data)
	}
	if len(data) > used+used/4+len(big.Symbols)*64 {
		t.Errorf("%d bytes for %d bytes of code", len(data), used)
	}
	got, err := patch.DecodeObject(data)
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Chunks) != 2 {
		t.Errorf("%d chunks", len(got.Chunks))
	}
}

// bigObject has 10,000 functions, as when all of libcrypto is carried.
func bigObject() *patch.Object {
	o := &patch.Object{BaseBuildID: sampleBase, Lo: 0x100000, Hi: 0x400000, RWEnd: 0x400000}
	at := o.Lo
	for i := range 10000 {
		if i == 5000 {
			at += 3 * patch.PageSize
		}
		size := uint64(17 + i%200)
		o.Chunks = append(o.Chunks, patch.Chunk{Kind: patch.Code, Addr: at, Data: make([]byte, size)})
		o.Symbols = append(o.Symbols, patch.Symbol{Name: fmt.Sprintf("function_%d", i), Value: at, Size: size, Func: true})
		at = (at + size + 15) &^ 15
	}
	return o
}

func TestObjectValuesAreChecked(t *testing.T) {
	for name, c := range map[string]struct {
		change func(o *patch.Object)
		want   string
	}{
		"no build-id":        {func(o *patch.Object) { o.BaseBuildID = "" }, "build-id"},
		"odd build-id":       {func(o *patch.Object) { o.BaseBuildID = "012" }, "build-id"},
		"upper case":         {func(o *patch.Object) { o.BaseBuildID = "AB" }, "build-id"},
		"long build-id":      {func(o *patch.Object) { o.BaseBuildID = strings.Repeat("00", patch.MaxBuildID+1) }, "build-id"},
		"Lo unaligned":       {func(o *patch.Object) { o.Lo++ }, "span"},
		"empty span":         {func(o *patch.Object) { o.Hi = o.Lo }, "span"},
		"RWEnd below Hi":     {func(o *patch.Object) { o.RWEnd = o.Hi - patch.PageSize }, "span"},
		"huge span":          {func(o *patch.Object) { o.RWEnd = o.Lo + patch.MaxSpan + patch.PageSize }, "span"},
		"kernel address":     {func(o *patch.Object) { o.Lo, o.Hi, o.RWEnd = 1<<63, 1<<63+0x1000, 1<<63+0x1000 }, "span"},
		"empty chunk":        {func(o *patch.Object) { o.Chunks[1].Data = nil }, "chunk 1"},
		"chunk kind":         {func(o *patch.Object) { o.Chunks[1].Kind = 6 }, "chunk 1"},
		"chunk order":        {func(o *patch.Object) { o.Chunks[0].Addr = 0x2021 }, "chunk 1"},
		"chunk overlap":      {func(o *patch.Object) { o.Chunks[0].Addr = 0x2018 }, "chunk 1"},
		"chunk below Lo":     {func(o *patch.Object) { o.Chunks[0].Addr = 0x1ff0 }, "chunk 0"},
		"chunk across Hi":    {func(o *patch.Object) { o.Chunks[5].Addr = o.Hi - 2 }, "chunk 5"},
		"chunk wraps":        {func(o *patch.Object) { o.Chunks[8].Addr = ^uint64(0) - 1 }, "chunk 8"},
		"var below Hi":       {func(o *patch.Object) { o.Chunks[5].Kind = patch.Var }, "chunk 5"},
		"code above Hi":      {func(o *patch.Object) { o.Chunks[8].Kind = patch.Code }, "chunk 8"},
		"two eh_frames":      {func(o *patch.Object) { o.Chunks[4].Kind = patch.Unwind }, "chunk 4"},
		"eh_frame elsewhere": {func(o *patch.Object) { o.EHFrame = 0x5001 }, "eh_frame"},
		"eh_frame missing":   {func(o *patch.Object) { o.Chunks[3].Kind = patch.Const }, "eh_frame"},
		"eh_frame unnamed":   {func(o *patch.Object) { o.EHFrame = 0 }, "eh_frame"},
		"symbol kind":        {func(o *patch.Object) { o.Symbols[1].Kind = 3 }, "symbol 1"},
		"no name":            {func(o *patch.Object) { o.Symbols[1].Name = "" }, "symbol 1"},
		"NUL in name":        {func(o *patch.Object) { o.Symbols[1].Name = "a\x00b" }, "symbol 1"},
		"symbol nowhere":     {func(o *patch.Object) { o.Symbols[1].Value = 0x200f }, "symbol 1"},
		"symbol too long":    {func(o *patch.Object) { o.Symbols[1].Size = 10 }, "symbol 1"},
		"symbol wraps":       {func(o *patch.Object) { o.Symbols[1].Size = ^uint64(0) }, "symbol 1"},
		"version":            {func(o *patch.Object) { o.Symbols[5].Version = "V" }, "symbol 5"},
		"base address":       {func(o *patch.Object) { o.Symbols[5].Value = 1 << 50 }, "symbol 5"},
		"import value":       {func(o *patch.Object) { o.Symbols[0].Value = 8 }, "symbol 0"},
		"import with @":      {func(o *patch.Object) { o.Symbols[0].Name = "a@b" }, "symbol 0"},
		"version with @":     {func(o *patch.Object) { o.Symbols[0].Version = "@B" }, "symbol 0"},
		"reloc order":        {func(o *patch.Object) { o.Relocs[0], o.Relocs[1] = o.Relocs[1], o.Relocs[0] }, "relocation 1"},
		"reloc overlap":      {func(o *patch.Object) { o.Relocs[3].At -= 1 }, "relocation 3"},
		"reloc nowhere":      {func(o *patch.Object) { o.Relocs[0].At = 0x2000 }, "relocation 0"},
		"reloc past chunk":   {func(o *patch.Object) { o.Relocs[0].At++ }, "relocation 0"},
		"reloc type":         {func(o *patch.Object) { o.Relocs[0].Type = 4 }, "relocation 0"},
		"reloc symbol":       {func(o *patch.Object) { o.Relocs[0].Sym = 7 }, "relocation 0"},
		"reloc symbol -2":    {func(o *patch.Object) { o.Relocs[0].Sym = -2 }, "relocation 0"},
		"reloc outside":      {func(o *patch.Object) { o.Relocs[1].Add = 0xb001 }, "relocation 1"},
		"reloc negative":     {func(o *patch.Object) { o.Relocs[1].Add = -1 }, "relocation 1"},
	} {
		o := sampleObject()
		c.change(o)
		_, err := o.Encode()
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestDamagedObjectIsAnErrorOrAnotherObject(t *testing.T) {
	good := encodeObject(t, smallObject())
	data := bytes.Clone(good)
	other := 0
	for i := range 8 * len(data) {
		data[i/8] ^= 1 << (i % 8)
		if decodeObjectAgain(t, data) {
			other++
		}
		data[i/8] ^= 1 << (i % 8)
	}
	// Content, names, values and addends may differ; headers and padding may not.
	if other == 0 || other > 8*len(good)/4 {
		t.Errorf("%d of %d damaged objects decode", other, 8*len(good))
	}
	for n := range good {
		if decodeObjectAgain(t, good[:n:n]) {
			t.Errorf("decoded the first %d of %d bytes", n, len(good))
		}
	}
	if decodeObjectAgain(t, append(bytes.Clone(good), 0)) {
		t.Error("decoded with a byte behind it")
	}
}

func TestDecodeObjectNamesThePart(t *testing.T) {
	good := encodeObject(t, sampleObject())
	shoff := int(good[40]) | int(good[41])<<8
	for name, c := range map[string]struct {
		off  int
		flip byte
		want string
	}{
		"magic":            {0, 1, "ELF header"},
		"class":            {4, 1, "ELF header"},
		"type":             {16, 1, "ELF header"},
		"entry":            {24, 1, "ELF header"},
		"section table":    {47, 0x7f, "e_shoff"},
		"number":           {61, 0xff, "e_shnum"},
		"segment flags":    {64 + 4, 2, "program header 0"},
		"segment address":  {64 + 56 + 16, 1, "program header 1"},
		"padding":          {0x1000, 1, "padding"},
		"gap in a segment": {0x1100, 1, "padding"},
		"null section":     {shoff, 1, "section header 0"},
		"section name":     {shoff + 64, 1, "section header 1"},
		"section flags":    {shoff + 64 + 8, 1, "section header 1"},
		"section offset":   {shoff + 64 + 31, 1, "section header 1"},
		"section size":     {shoff + 64 + 39, 1, "section header 1"},
		"alignment":        {shoff + 64 + 48, 3, "section header 1"},
	} {
		data := bytes.Clone(good)
		data[c.off] ^= c.flip
		_, err := patch.DecodeObject(data)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// decodeObjectAgain reports whether data decodes; then it must be the encoding
// of what it decodes to.
func decodeObjectAgain(t *testing.T, data []byte) bool {
	o, err := patch.DecodeObject(data)
	if err != nil {
		return false
	}
	again, err := o.Encode()
	if err != nil {
		t.Fatalf("encode what was decoded: %v", err)
	}
	if !bytes.Equal(again, data) {
		t.Fatal("decoded a file that is not the encoding of its content")
	}
	return true
}

func FuzzDecodeObject(f *testing.F) {
	f.Add(encodeObject(f, sampleObject()))
	f.Add(encodeObject(f, smallObject()))
	f.Add(encodeObject(f, &patch.Object{BaseBuildID: "00", Hi: 0x1000, RWEnd: 0x1000}))
	f.Fuzz(func(t *testing.T, data []byte) { decodeObjectAgain(t, data) })
}

// drawObject makes any valid object of moderate size.
func drawObject(t *rapid.T) *patch.Object {
	lo := uint64(rapid.IntRange(0, 40).Draw(t, "lo")) * patch.PageSize
	o := &patch.Object{BaseBuildID: rapid.StringMatching(`([0-9a-f]{2}){1,20}`).Draw(t, "buildid"), Lo: lo}
	at := lo
	part := func(kinds []patch.ChunkKind, label string) uint64 {
		for range rapid.IntRange(0, 12).Draw(t, label) {
			at += rapid.SampledFrom([]uint64{0, 0, 1, 8, 15, 300, 4095, 4096, 5000, 8192, 20000}).Draw(t, "gap")
			c := patch.Chunk{Kind: rapid.SampledFrom(kinds).Draw(t, "kind"), Addr: at,
				Data: rapid.SliceOfN(rapid.Byte(), 1, 64).Draw(t, "data")}
			if long := rapid.IntRange(0, 9).Draw(t, "long"); long == 0 {
				c.Data = bytes.Repeat(c.Data, 100)
			}
			if c.Kind == patch.Unwind {
				if o.EHFrame != 0 || at == 0 {
					c.Kind = patch.Const
				} else {
					o.EHFrame = at
				}
			}
			o.Chunks = append(o.Chunks, c)
			at += uint64(len(c.Data))
		}
		at = (at + patch.PageSize - 1) &^ (patch.PageSize - 1)
		return at
	}
	o.Hi = part([]patch.ChunkKind{patch.Code, patch.Code, patch.Const, patch.Table, patch.Handlers, patch.Unwind}, "rx")
	if o.Hi == o.Lo {
		o.Hi += patch.PageSize
		at = o.Hi
	}
	o.RWEnd = part([]patch.ChunkKind{patch.Var}, "rw")
	drawSymbols(t, o)
	drawRelocs(t, o)
	return o
}

func drawSymbols(t *rapid.T, o *patch.Object) {
	name := rapid.StringMatching(`[a-zA-Z_][a-zA-Z0-9_.$]{0,12}`)
	for range rapid.IntRange(0, 12).Draw(t, "symbols") {
		s := patch.Symbol{Kind: rapid.SampledFrom([]patch.SymbolKind{patch.Internal, patch.Base, patch.Import}).Draw(t, "skind"),
			Name: name.Draw(t, "name"), Func: rapid.Bool().Draw(t, "func")}
		switch s.Kind {
		case patch.Internal:
			if len(o.Chunks) == 0 {
				continue
			}
			c := rapid.SampledFrom(o.Chunks).Draw(t, "in")
			off := rapid.IntRange(0, len(c.Data)).Draw(t, "off")
			s.Value = c.Addr + uint64(off)
			if off < len(c.Data) {
				s.Size = uint64(rapid.IntRange(0, len(c.Data)-off).Draw(t, "size"))
			}
		case patch.Base:
			s.Value = rapid.Uint64Range(0, patch.MaxAddr-1).Draw(t, "value")
		case patch.Import:
			s.Version = rapid.SampledFrom([]string{"", "V_1.0", "GLIBC_2.2.5"}).Draw(t, "version")
			s.Weak = rapid.Bool().Draw(t, "weak")
		}
		o.Symbols = append(o.Symbols, s)
	}
}

func drawRelocs(t *rapid.T, o *patch.Object) {
	for _, c := range o.Chunks {
		at := c.Addr
		for range rapid.IntRange(0, 2).Draw(t, "relocs") {
			at += uint64(rapid.IntRange(0, 9).Draw(t, "skip"))
			r := patch.Reloc{At: at, Type: rapid.SampledFrom([]patch.RelocType{patch.PC32, patch.Abs64, patch.Abs32, patch.Abs32S}).Draw(t, "rtype"),
				Sym: rapid.IntRange(-1, len(o.Symbols)-1).Draw(t, "sym")}
			if r.At+r.Type.Size() > c.Addr+uint64(len(c.Data)) {
				break
			}
			r.Add = rapid.Int64Range(-1000, 1000).Draw(t, "add")
			if r.Sym < 0 {
				r.Add = rapid.Int64Range(int64(o.Lo), int64(o.RWEnd)).Draw(t, "target")
			}
			o.Relocs = append(o.Relocs, r)
			at += r.Type.Size()
		}
	}
}

func TestAnyObjectSurvivesTheFile(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := drawObject(t)
		data, err := o.Encode()
		if err != nil {
			t.Fatal(err)
		}
		got, err := patch.DecodeObject(data)
		if err != nil {
			t.Fatal(err)
		}
		want := o.Canonical()
		if d := difference(want, got); d != "" {
			t.Fatalf("-canonical +decoded:\n%s", d)
		}
		if d := difference(want, want.Canonical()); d != "" {
			t.Fatalf("the canonical form has another canonical form:\n%s", d)
		}
		if !slices.Equal(o.Pages(), got.Pages()) {
			t.Fatal("other pages are populated")
		}
		sameMemory(t, o, got)
	})
}

// difference is cmp.Diff, which is slow for bytes, for objects that are mostly equal.
func difference(a, b *patch.Object) string {
	if reflect.DeepEqual(a, b) {
		return ""
	}
	return cmp.Diff(a, b, cmpopts.EquateEmpty())
}

// sameMemory compares what populated pages hold, by a model of its own.
func sameMemory(t *rapid.T, a, b *patch.Object) {
	image := func(o *patch.Object) []byte {
		m := make([]byte, o.RWEnd-o.Lo)
		for _, p := range o.Pages() {
			for i := range m[p.Addr-o.Lo:][:patch.PageSize] {
				m[p.Addr-o.Lo+uint64(i)] = p.Fill()
			}
		}
		for _, c := range o.Chunks {
			copy(m[c.Addr-o.Lo:], c.Data)
		}
		return m
	}
	if !bytes.Equal(image(a), image(b)) {
		t.Fatal("the canonical form fills memory differently")
	}
}
