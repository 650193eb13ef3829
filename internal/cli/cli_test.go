package cli_test

import (
	"crypto/sha256"
	"encoding/hex"
	"flag"
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"hotpatch/internal/cli"
	"hotpatch/internal/patch"
)

var update = flag.Bool("update", false, "write golden files anew")

// TestMain lets scripts call hotpatch: this very binary under another name.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"hotpatch": func() { os.Exit(cli.Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) },
		"victim":   victim,
	})
}

func TestCommands(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		UpdateScripts:       *update,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Condition:           condition(t),
		Cmds:                scriptCommands(),
		Setup: func(env *testscript.Env) error {
			env.Values[conversationKey("all")] = map[string]*conversation{}
			return nil
		},
	})
}

// sample is a bundle with one image: two functions redirected, a call into the
// base image, an import and a string, for a build-id that no process has.
func sample(v patch.Verdict) *patch.Bundle {
	const base, fixed = "00112233445566778899aabbccddeeff00112233", "ffeeddccbbaa99887766554433221100ffeeddcc"
	greet, counts := sampleCode()
	digest := func(code []byte) string { sum := sha256.Sum256(code); return hex.EncodeToString(sum[:]) }
	b := &patch.Bundle{
		Manifest: patch.Manifest{
			Format: 1, Package: "hello", Source: "hello", BaseVersion: "1.0-1", FixedVersion: "1.0-1+deb12u1", Arch: "amd64",
			CVEs:    []string{"CVE-2024-1234"},
			Changes: []string{"* greet: check the length (CVE-2024-1234)"},
			Verdict: v, Reasons: []patch.Reason{}, Mode: patch.Strict,
			Images: []patch.Image{{
				Path: "/usr/bin/hello", BuildIDBase: base, BuildIDFixed: fixed,
				Counts: patch.Counts{Same: 40, Changed: 2, New: 1},
				Sites: []patch.Site{
					{Name: "greet", Base: 0x1160, To: 0x2010, Jump: 4, Ranges: [][2]uint64{{0x1160, 0x1180}},
						PreImage: digest(greet), Old: "488d3d951e"},
					{Name: "fn_1180", Base: 0x1180, To: 0x2040, Ranges: [][2]uint64{{0x1180, 0x11a0}},
						PreImage: digest(counts), Old: "c5f8778b05"},
				},
				Functions: []patch.Function{
					{Name: "fn_1180", State: "changed", BaseAddr: 0x1180, FixedAddr: 0x2040, Size: 12, Why: "other instructions"},
					{Name: "fn_11c0", State: "noise", BaseAddr: 0x11c0, FixedAddr: 0x2080, Size: 9, Why: "a line number"},
					{Name: "greet", State: "changed", BaseAddr: 0x1160, FixedAddr: 0x2010, Size: 25, Why: "other instructions"},
					{Name: "limit", State: "new", FixedAddr: 0x2050, Size: 8, Why: "called by greet"},
				},
			}},
		},
		Objects: []*patch.Object{{
			BaseBuildID: base, Lo: 0x2000, Hi: 0x4000, RWEnd: 0x5000,
			Chunks: []patch.Chunk{
				{Kind: patch.Code, Addr: 0x2010, Data: []byte{
					0xf3, 0x0f, 0x1e, 0xfa, // endbr64
					0x48, 0x8d, 0x3d, 0xe5, 0x0f, 0x00, 0x00, // lea 0x3000(%rip),%rdi
					0xe8, 0, 0, 0, 0, // call base:fn_1100
					0xff, 0x15, 0, 0, 0, 0, // call *slot(%rip)
					0xeb, 0x28, // jmp limit
					0x90, // nop
				}},
				{Kind: patch.Code, Addr: 0x2040, Data: []byte{
					0xc5, 0xf8, 0x77, // vzeroupper
					0x8b, 0x05, 0, 0, 0, 0, // mov base:counter+4(%rip),%eax
					0x31, 0xc0, // xor %eax,%eax
					0xc3,
				}},
				{Kind: patch.Code, Addr: 0x2050, Data: []byte{0xb8, 1, 0, 0, 0, 0xc3, 0x66, 0x90}},
				{Kind: patch.Const, Addr: 0x3000, Data: []byte("too long: \x00")},
				{Kind: patch.Var, Addr: 0x4000, Data: make([]byte, 8)},
			},
			Symbols: []patch.Symbol{
				{Kind: patch.Internal, Name: "greet", Value: 0x2010, Size: 25, Func: true},
				{Kind: patch.Internal, Name: "fn_1180", Value: 0x2040, Size: 12, Func: true},
				{Kind: patch.Internal, Name: "limit", Value: 0x2050, Size: 8, Func: true},
				{Kind: patch.Base, Name: "fn_1100", Value: 0x1100, Func: true},
				{Kind: patch.Base, Name: "counter", Value: 0x5010},
				{Kind: patch.Import, Name: "puts", Version: "GLIBC_2.2.5", Func: true},
			},
			Relocs: []patch.Reloc{
				{At: 0x201c, Type: patch.PC32, Sym: 3, Add: -4},
				{At: 0x2022, Type: patch.PC32, Sym: -1, Add: 0x3ffc}, // slot, from the end of the call
				{At: 0x2045, Type: patch.PC32, Sym: 4, Add: 0},
				{At: 0x4000, Type: patch.Abs64, Sym: 5},
			},
		}},
	}
	if v == patch.Review {
		b.Manifest.Reasons = []patch.Reason{
			{Code: "data-inferred", Image: "/usr/bin/hello", Function: "fn_1180", Detail: "the variable at 0x7014 is taken to be that at 0x5014 of the base image"},
			{Code: "layout-unverified", Image: "/usr/bin/hello", Detail: "no types on both sides"},
		}
	}
	before, err := patch.EncodeBefore(&patch.Before{
		Code:    []patch.Bytes{{Addr: 0x1160, Data: greet}, {Addr: 0x1180, Data: counts}},
		Places:  []patch.Place{{Addr: 0x1100, Name: "fn_1100"}, {Addr: 0x3000, Data: []byte("too big: \x00")}, {Addr: 0x5014, Name: "counter+0x4"}},
		Callers: []patch.Callers{{Base: 0x1160, Names: []string{"main", "fn_1300"}, More: 1}, {Base: 0x1180, Names: []string{}}},
	})
	if err != nil {
		panic(err)
	}
	b.Before = [][]byte{before}
	return b
}

// sampleCode is the base code of the sample's two functions, with the padding
// behind them.
func sampleCode() (greet, counts []byte) {
	greet = []byte{
		0xf3, 0x0f, 0x1e, 0xfa, // endbr64
		0x48, 0x8d, 0x3d, 0x95, 0x1e, 0x00, 0x00, // lea "too big: "(%rip),%rdi
		0xe8, 0x90, 0xff, 0xff, 0xff, // call fn_1100
		0x85, 0xc0, // test %eax,%eax
		0x74, 0xf7, // je to the call
		0xc3,
	}
	counts = []byte{
		0xc5, 0xf8, 0x77, // vzeroupper
		0x8b, 0x05, 0x8b, 0x3e, 0x00, 0x00, // mov counter+4(%rip),%eax
		0x83, 0xc0, 0x01, // add $1,%eax
		0xc3,
	}
	fill := func(code []byte) []byte {
		for len(code) < 32 {
			code = append(code, 0x90)
		}
		return code
	}
	return fill(greet), fill(counts)
}
