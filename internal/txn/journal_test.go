package txn_test

import (
	"encoding/binary"
	"os"
	"strings"
	"testing"

	"hotpatch/internal/patch"
	"hotpatch/internal/txn"
)

func TestJournalRefusesWhatItDidNotWrite(t *testing.T) {
	if err := txn.DecodeJournal(txn.SampleJournal()); err != nil {
		t.Fatalf("a valid journal: %v", err)
	}
	for name, tc := range map[string]struct {
		spoil func(b []byte)
		want  string
	}{
		"no magic":        {func(b []byte) { b[0] = 'h' }, "no journal"},
		"other version":   {func(b []byte) { b[8] = 9 }, "version 9"},
		"unknown phase":   {func(b []byte) { b[12] = 77 }, "phase 77"},
		"header too long": {func(b []byte) { binary.LittleEndian.PutUint64(b[24:], 1<<30) }, "does not fit"},
		"body too long":   {func(b []byte) { binary.LittleEndian.PutUint64(b[48:], 5000) }, "does not fit"},
		"flipped bit":     {func(b []byte) { b[100] ^= 1 }, "checksum"},
	} {
		b := txn.SampleJournal()
		tc.spoil(b)
		if err := txn.DecodeJournal(b); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: error %v does not say %q", name, err, tc.want)
		}
	}
}

// TestJournalOfTheFirstVersionIsRead: a process lives longer than the tool
// that patched it.
func TestJournalOfTheFirstVersionIsRead(t *testing.T) {
	s, err := txn.JournalState(firstVersion(t))
	if err != nil {
		t.Fatal(err)
	}
	if s.UID != 7 || s.User != "" || s.Tool != "" || s.Mode != patch.Strict || s.Package != "demo 1.0" || s.State != txn.InForce ||
		len(s.Images) != 1 || s.Images[0].BuildID != "abcd" || s.Images[0].Fixed != "" || s.Images[0].Path != "/usr/bin/demo" || len(s.Names) != 1 {
		t.Errorf("%+v", s)
	}
	if s, err = txn.JournalState(txn.SampleJournal()); err != nil {
		t.Fatal(err)
	}
	if s.UID != 7 || s.User != "alice" || s.Tool != "v1.2.3" || s.Images[0].Fixed != "dcba" || s.Since.Unix() != 1700000000 {
		t.Errorf("%+v", s)
	}
}

// firstVersion is a journal in a mapping of two pages, as the first release
// wrote it.
func firstVersion(t testing.TB) []byte {
	t.Helper()
	b, err := os.ReadFile("testdata/journals/version1")
	if err != nil {
		t.Fatal(err)
	}
	return append(b, make([]byte, 8192-len(b))...)
}

func FuzzJournal(f *testing.F) {
	f.Add(txn.SampleJournal())
	f.Add(firstVersion(f))
	f.Add([]byte("HOTPATCH"))
	f.Fuzz(func(t *testing.T, b []byte) {
		_ = txn.DecodeJournal(b) // must not panic, whatever it says
	})
}

// What a journal says of unwinders is bounded like the rest: the bytes that a
// jump displaces are no fewer than the jump's.
func TestJournalRefusesAnImpossibleHook(t *testing.T) {
	for name, j := range txn.ImpossibleHooks() {
		if err := txn.DecodeJournal(j); err == nil || !strings.Contains(err.Error(), "hook at 0x2004") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
