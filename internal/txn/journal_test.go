package txn_test

import (
	"encoding/binary"
	"strings"
	"testing"

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

func FuzzJournal(f *testing.F) {
	f.Add(txn.SampleJournal())
	f.Add([]byte("HOTPATCH"))
	f.Fuzz(func(t *testing.T, b []byte) {
		_ = txn.DecodeJournal(b) // must not panic, whatever it says
	})
}
