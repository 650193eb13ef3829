package cli_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"hotpatch/internal/cli"
	"hotpatch/internal/patch"
	"hotpatch/internal/txn"
)

// TestStatusHasItsDocumentedShape holds the listing and its JSON against golden
// files; programs read the latter.
func TestStatusHasItsDocumentedShape(t *testing.T) {
	t.Setenv("TZ", "UTC")
	defer func(l *time.Location) { time.Local = l }(time.Local)
	time.Local = time.UTC
	hs := []txn.State{
		{
			ID: "3f9a51c07b2e00000000000000000000000000000000000000000000000000aa", Package: "redis-server 5:7.0.15-1~deb12u2",
			Since: time.Date(2026, 11, 20, 18, 0, 0, 0, time.UTC), UID: 0, User: "root (alice)", Tool: "v1.2.3", Mode: patch.Strict,
			Seq: 1, State: txn.InForce, Names: []string{"luaD_call", "luaV_execute"},
			Images: []txn.StateImage{{
				BuildID: "aa00", Fixed: "bb00", Path: "/usr/bin/redis-server", Functions: 2,
				Addr: 0x7f0000000000, Size: 12288, Code: 0x7f0000001000, Disk: txn.DiskFixed,
			}},
		},
		{ // as the first release noted it
			ID: "77aa51c07b2e00000000000000000000000000000000000000000000000000bb", Since: time.Date(2026, 11, 19, 0, 0, 0, 0, time.UTC),
			UID: 1000, Mode: patch.Strict, Seq: 2, State: txn.Interrupted, Names: []string{"inflate"},
			Images: []txn.StateImage{{BuildID: "cc00", Path: "/usr/lib/libz.so.1 (deleted)", Functions: 1, Addr: 0x1000, Size: 8192, Code: 0x2000, Disk: txn.DiskBase}},
		},
	}
	for _, how := range []string{"table", "long", "json"} {
		var got bytes.Buffer
		if err := cli.PrintStatus(&got, how, 812, "redis-server", hs); err != nil {
			t.Fatal(err)
		}
		golden := filepath.Join("testdata", "status."+how)
		if *update {
			if err := os.WriteFile(golden, got.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got.Bytes(), want) {
			t.Errorf("%s is not as in %s (-update writes it anew):\n%s", how, golden, got.Bytes())
		}
	}
}
