package cli_test

import (
	"testing"

	"hotpatch/internal/cli"
	"hotpatch/internal/patch"
	"hotpatch/internal/txn"
)

func TestPerfMapNamesEveryCarriedFunctionWhereItIs(t *testing.T) {
	b := sample(patch.Clean)
	at := []txn.StateImage{{BuildID: b.Manifest.Images[0].BuildIDBase, Code: 0x7f0000001000}}
	got, err := cli.PerfLines(b, "0123456789abcdef", at)
	const want = `7f0000001010 19 greet [hotpatch 0123456789ab]
7f0000001040 c fn_1180 [hotpatch 0123456789ab]
7f0000001050 8 limit [hotpatch 0123456789ab]
`
	if err != nil || got != want {
		t.Errorf("got %v\n%s\nwant\n%s", err, got, want)
	}
	at[0].BuildID = "00"
	if got, err := cli.PerfLines(b, "0123456789abcdef", at); err == nil {
		t.Errorf("an image that is not in the file: %q", got)
	}
}
