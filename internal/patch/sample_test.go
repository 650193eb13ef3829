package patch_test

import (
	"crypto/sha256"
	"encoding/hex"
	"testing"
	"time"

	"hotpatch/internal/patch"
)

const (
	sampleBase  = "00112233445566778899aabbccddeeff00112233"
	sampleFixed = "ffeeddccbbaa99887766554433221100ffeeddcc"
)

// ehFrame is a CIE, one FDE for the 8 bytes at 0x2010, and the terminator, for
// a section at 0x5000.
var ehFrame = []byte{
	0x14, 0, 0, 0, 0, 0, 0, 0, 1, 'z', 'R', 0, 1, 0x78, 16, 1, 0x1b, 0x0c, 7, 8, 0x90, 1, 0, 0,
	0x10, 0, 0, 0, 0x1c, 0, 0, 0, 0xf0, 0xcf, 0xff, 0xff, 8, 0, 0, 0, 0, 0, 0, 0,
	0, 0, 0, 0,
}

// sampleObject has every kind of chunk, symbol and relocation: code on two
// pages far apart, code and constants in one page, and a variable behind Hi.
func sampleObject() *patch.Object {
	return &patch.Object{
		BaseBuildID: sampleBase,
		Lo:          0x2000, Hi: 0x9000, RWEnd: 0xb000,
		Chunks: []patch.Chunk{
			// endbr64; jmp <base>
			{Kind: patch.Code, Addr: 0x2010, Data: []byte{0xf3, 0x0f, 0x1e, 0xfa, 0xe9, 0, 0, 0, 0}},
			// call <import>; ret
			{Kind: patch.Code, Addr: 0x2020, Data: []byte{0xff, 0x15, 0, 0, 0, 0, 0xc3}},
			{Kind: patch.Const, Addr: 0x2800, Data: []byte("hello\x00")},
			{Kind: patch.Unwind, Addr: 0x5000, Data: ehFrame},
			{Kind: patch.Table, Addr: 0x6ff8, Data: make([]byte, 24)},
			{Kind: patch.Code, Addr: 0x8000, Data: []byte{0x31, 0xc0, 0xc3}},
			{Kind: patch.Handlers, Addr: 0x8800, Data: []byte{0xff, 0xff, 1, 0}},
			{Kind: patch.Var, Addr: 0x9000, Data: make([]byte, 8)},
			{Kind: patch.Var, Addr: 0xa100, Data: []byte{1, 2, 3, 4}},
		},
		Symbols: []patch.Symbol{
			{Kind: patch.Import, Name: "write", Version: "GLIBC_2.2.5", Func: true},
			{Kind: patch.Internal, Name: "first", Value: 0x2010, Size: 9, Func: true},
			{Kind: patch.Internal, Name: "second", Value: 0x2020, Size: 7, Func: true},
			{Kind: patch.Internal, Name: "third", Value: 0x8000, Size: 3, Func: true},
			{Kind: patch.Internal, Name: "counter", Value: 0xa100, Size: 4},
			{Kind: patch.Base, Name: "fn_1180", Value: 0x1180, Func: true},
			{Kind: patch.Import, Name: "plain"},
		},
		Relocs: []patch.Reloc{
			{At: 0x2015, Type: patch.PC32, Sym: 5, Add: -4},
			{At: 0x2022, Type: patch.PC32, Sym: -1, Add: 0x9000},
			{At: 0x6ff8, Type: patch.Abs64, Sym: 5},
			{At: 0x7000, Type: patch.Abs64, Sym: -1, Add: 0x2020},
			{At: 0x7008, Type: patch.Abs64, Sym: 4, Add: 2},
			{At: 0x9000, Type: patch.Abs64, Sym: 0},
		},
		EHFrame: 0x5000,
	}
}

// lowObject is of a program at a fixed address: it holds addresses in 32 bits.
func lowObject() *patch.Object {
	o := sampleObject()
	o.Relocs = []patch.Reloc{
		{At: 0x2015, Type: patch.PC32, Sym: 5, Add: -4},
		{At: 0x2022, Type: patch.Abs32, Sym: -1, Add: 0x2800},
		{At: 0x6ff8, Type: patch.Abs32, Sym: 5, Add: 8},
		{At: 0x7000, Type: patch.Abs32S, Sym: -1, Add: 0x2020},
		{At: 0x7008, Type: patch.Abs32S, Sym: 4, Add: -2},
	}
	return o
}

// sampleBundle needs review, has one image and holds each optional field.
func sampleBundle() *patch.Bundle {
	pre := sha256.Sum256([]byte("the bytes of the base function"))
	return &patch.Bundle{
		Manifest: patch.Manifest{
			Format: 1, Package: "hello", Source: "hello-src", BaseVersion: "1.0-1", FixedVersion: "1.0-1+deb12u1", Arch: "amd64",
			CVEs:    []string{"CVE-2025-20001", "CVE-2024-1234"},
			Changes: []string{"  * first: check the length (CVE-2024-1234) <tag> & more"},
			Verdict: patch.Review,
			Reasons: []patch.Reason{{Code: "layout-unverified", Image: "/usr/bin/hello", Detail: "no types on both sides"}},
			Mode:    patch.Strict,
			Images: []patch.Image{{
				Path: "/usr/bin/hello", BuildIDBase: sampleBase, BuildIDFixed: sampleFixed,
				Counts: patch.Counts{Same: 40, Changed: 2, New: 1},
				Sites: []patch.Site{
					{Name: "second", Base: 0x1160, To: 0x2020, Ranges: [][2]uint64{{0x1160, 0x1180}, {0x1040, 0x1050}},
						PreImage: hex.EncodeToString(pre[:]), Old: "5589e54883"},
					{Name: "first", Base: 0x1140, Jump: 4, To: 0x2010, Ranges: [][2]uint64{{0x1140, 0x1160}},
						PreImage: hex.EncodeToString(pre[:]), Old: "5589e54883"},
				},
				Functions: []patch.Function{
					{Name: "third", State: "new", FixedAddr: 0x8000, Size: 3, Why: "only in the fixed image"},
					{Name: "first", State: "changed", BaseAddr: 0x1140, FixedAddr: 0x2010, Size: 9, Why: "code differs"},
					{Name: "second", State: "changed", BaseAddr: 0x1160, FixedAddr: 0x2020, Size: 7, Why: "code differs"},
				},
			}},
		},
		Objects: []*patch.Object{sampleObject()},
		Before:  [][]byte{sampleBefore()},
	}
}

func sampleBefore() []byte {
	data, err := patch.EncodeBefore(&patch.Before{
		Code:    []patch.Bytes{{Addr: 0x1040, Data: []byte{0xc3}}, {Addr: 0x1160, Data: []byte{0x31, 0xc0, 0xc3}}},
		Places:  []patch.Place{{Addr: 0x1100, Name: "puts"}, {Addr: 0x2000, Data: []byte("hello\x00")}},
		Callers: []patch.Callers{{Base: 0x1160, Names: []string{"first", "main"}, More: 2}},
	})
	if err != nil {
		panic(err)
	}
	return data
}

func acceptedBundle(t testing.TB) *patch.Bundle {
	b := sampleBundle()
	if err := b.Accept("Kim", "compared by hand", time.Date(2025, 11, 3, 12, 0, 0, 5, time.FixedZone("", 3600))); err != nil {
		t.Fatal(err)
	}
	return b
}

func encode(t testing.TB, b *patch.Bundle) []byte {
	t.Helper()
	data, err := b.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func encodeObject(t testing.TB, o *patch.Object) []byte {
	t.Helper()
	data, err := o.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// smallObject needs no padding in its file (its first address is congruent to
// the end of the program headers), which keeps fuzzing inputs small.
func smallObject() *patch.Object {
	const at = 64 + 56
	return &patch.Object{
		BaseBuildID: sampleBase, Lo: 0, Hi: 0x1000, RWEnd: 0x1000,
		Chunks: []patch.Chunk{
			{Kind: patch.Code, Addr: at, Data: []byte{0xe9, 0, 0, 0, 0, 0xc3}},
			{Kind: patch.Table, Addr: at + 8, Data: make([]byte, 16)},
		},
		Symbols: []patch.Symbol{
			{Kind: patch.Internal, Name: "f", Value: at, Size: 6, Func: true},
			{Kind: patch.Base, Name: "g", Value: 0x1180},
			{Kind: patch.Import, Name: "write", Version: "V"},
		},
		Relocs: []patch.Reloc{
			{At: at + 1, Type: patch.PC32, Sym: 1, Add: -4},
			{At: at + 8, Type: patch.Abs64, Sym: 2},
			{At: at + 16, Type: patch.Abs64, Sym: -1, Add: at},
		},
	}
}

func smallBundle() *patch.Bundle {
	b := sampleBundle()
	b.Objects[0] = smallObject()
	for i := range b.Manifest.Images[0].Sites {
		b.Manifest.Images[0].Sites[i].To = b.Objects[0].Chunks[0].Addr
	}
	return b
}
