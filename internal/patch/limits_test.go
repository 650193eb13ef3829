package patch_test

import (
	"bytes"
	"debug/elf"
	"fmt"
	"strings"
	"testing"

	"hotpatch/internal/patch"
)

func TestListsAreBounded(t *testing.T) {
	many := func(n int) []patch.Function {
		return make([]patch.Function, n)
	}
	for name, c := range map[string]struct {
		change func(b *patch.Bundle)
		want   string
	}{
		"cves": {func(b *patch.Bundle) {
			b.Manifest.CVEs = nil
			for i := range patch.MaxCVEs + 1 {
				b.Manifest.CVEs = append(b.Manifest.CVEs, fmt.Sprintf("CVE-2025-%04d", i))
			}
		}, "cves: 4097"},
		"changes": {func(b *patch.Bundle) { b.Manifest.Changes = make([]string, patch.MaxChanges+1) }, "changes: 16385"},
		"reasons": {func(b *patch.Bundle) {
			for i := range patch.MaxReasons {
				b.Manifest.Reasons = append(b.Manifest.Reasons, patch.Reason{Code: "x", Detail: fmt.Sprint(i)})
			}
		}, "reasons: 65537"},
		"functions": {func(b *patch.Bundle) { b.Manifest.Images[0].Functions = many(patch.MaxFunctions + 1) }, "functions: 262145"},
		"sites":     {func(b *patch.Bundle) { b.Manifest.Images[0].Sites = make([]patch.Site, patch.MaxSites+1) }, "sites: 262145"},
		"images": {func(b *patch.Bundle) {
			o := &patch.Object{BaseBuildID: "00", Hi: 0x1000, RWEnd: 0x1000}
			b.Manifest.Images, b.Objects = make([]patch.Image, patch.MaxImages+1), nil
			b.Before = nil
			for range patch.MaxImages + 1 {
				b.Objects = append(b.Objects, o)
			}
		}, "images: 511"},
	} {
		b := sampleBundle()
		c.change(b)
		if _, err := b.Encode(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestSizesAreBounded(t *testing.T) {
	big := make([]byte, patch.MaxFile+1) // never touched: refused by its length
	want := fmt.Sprintf("more than %d", patch.MaxFile)
	if _, err := patch.Decode(big); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("file: %v", err)
	}
	if _, err := patch.DecodeObject(big); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("object: %v", err)
	}
	m := split(t, encode(t, acceptedBundle(t)))
	spaces := bytes.Repeat([]byte(" "), patch.MaxManifest+1)
	want = fmt.Sprintf("manifest.json: %d bytes, more than %d", patch.MaxManifest+1, patch.MaxManifest)
	if _, err := patch.Decode(seal([]arMember{m[0], {m[1].name, spaces}, m[2], m[3]})); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("manifest: %v", err)
	}
	want = fmt.Sprintf("accepted.json: %d bytes, more than %d", patch.MaxManifest+1, patch.MaxManifest)
	if _, err := patch.Decode(seal([]arMember{m[0], m[1], m[2], m[3], {m[4].name, spaces}})); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("acceptance: %v", err)
	}
}

func TestManifestThatIsTooLongIsNotWritten(t *testing.T) {
	b := sampleBundle()
	for range patch.MaxManifest/patch.MaxString + 1 {
		b.Manifest.Changes = append(b.Manifest.Changes, strings.Repeat("x", patch.MaxString))
	}
	if _, err := b.Encode(); err == nil || !strings.Contains(err.Error(), "bytes of JSON, more than") {
		t.Error(err)
	}
}

// chunksEvery places n one-byte chunks that cannot be merged when their kinds
// alternate.
func chunksEvery(n int, step uint64) *patch.Object {
	o := &patch.Object{BaseBuildID: "00", Hi: patch.MaxSpan, RWEnd: patch.MaxSpan}
	data := []byte{0xc3}
	for i := range n {
		o.Chunks = append(o.Chunks, patch.Chunk{Kind: patch.ChunkKind(i % 2), Addr: uint64(i) * step, Data: data})
	}
	return o
}

func TestSectionsAndPagesAreBounded(t *testing.T) {
	const meta = 6 // null, note, relocations, symbols, two string tables
	data, err := chunksEvery(patch.MaxSections-meta, 1).Encode()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := patch.DecodeObject(data); err != nil {
		t.Errorf("as many sections as allowed: %v", err)
	}
	if _, err := chunksEvery(patch.MaxSections-meta+1, 1).Encode(); err == nil || !strings.Contains(err.Error(), "sections, more than") {
		t.Errorf("one section too many: %v", err)
	}
	if err := chunksEvery(patch.MaxPages, patch.PageSize).Check(); err != nil {
		t.Errorf("as many pages as allowed: %v", err)
	}
	if err := chunksEvery(patch.MaxPages+1, patch.PageSize).Check(); err == nil || !strings.Contains(err.Error(), "pages, more than") {
		t.Errorf("one page too many: %v", err)
	}
}

// A file of 128 KiB must not become gigabytes in memory because all symbols
// point to one long name.
func TestSharedNamesAreBounded(t *testing.T) {
	o := smallObject()
	o.Relocs = nil
	o.Symbols = []patch.Symbol{{Kind: patch.Base, Name: strings.Repeat("x", patch.MaxString)}}
	for i := range patch.MaxNames / patch.MaxString {
		o.Symbols = append(o.Symbols, patch.Symbol{Kind: patch.Base, Name: "y", Value: uint64(i + 1)})
	}
	data := encodeObject(t, o)
	if _, err := patch.DecodeObject(data); err != nil {
		t.Fatal(err)
	}
	f, err := elf.NewFile(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	s := f.Section(".symtab")
	table := data[s.Offset:][:s.Size]
	for at := 24; at < len(table); at += 24 {
		copy(table[at:at+4], table[24:28])
	}
	if _, err := patch.DecodeObject(data); err == nil || !strings.Contains(err.Error(), "names of more than") {
		t.Errorf("decode: %v", err)
	}
	for i := range o.Symbols {
		o.Symbols[i].Name = o.Symbols[0].Name
	}
	if _, err := o.Encode(); err == nil || !strings.Contains(err.Error(), "names of more than") {
		t.Errorf("encode: %v", err)
	}
}

func TestSymbolsAndRelocationsAreBounded(t *testing.T) {
	o := smallObject()
	o.Symbols = make([]patch.Symbol, patch.MaxSymbols+1)
	if err := o.Check(); err == nil || !strings.Contains(err.Error(), "symbols: 1048577") {
		t.Error(err)
	}
	o = smallObject()
	o.Relocs = make([]patch.Reloc, patch.MaxRelocs+1)
	if err := o.Check(); err == nil || !strings.Contains(err.Error(), "relocations: 4194305") {
		t.Error(err)
	}
}
