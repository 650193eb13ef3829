package txn_test

import (
	"errors"
	"testing"
	"time"

	"hotpatch/internal/ptrace"
	"hotpatch/internal/txn"
)

// TestRoomThatIsNotWhatItWasIsNotWrittenTo: between the look at the mappings and
// the loan of a thread something else was mapped there, or something was written.
func TestRoomThatIsNotWhatItWasIsNotWrittenTo(t *testing.T) {
	base, _ := compile(t, "quiet")
	t.Run("nothing happened", func(t *testing.T) {
		v := start(t, base)
		if there, anew := txn.StaleRoom(v.pid, nil, false); there != nil || anew != nil {
			t.Errorf("%v, %v", there, anew)
		}
		v.running()
	})
	t.Run("another mapping", func(t *testing.T) {
		v := start(t, base)
		if there, anew := txn.StaleRoom(v.pid, nil, true); !errors.Is(there, ptrace.ErrRoom) || anew != nil {
			t.Errorf("%v, %v", there, anew)
		}
		v.running()
	})
	t.Run("other contents", func(t *testing.T) {
		v := start(t, base)
		var mem *ptrace.Mem
		var at int64
		there, anew := txn.StaleRoom(v.pid, func(m *ptrace.Mem, room int64) {
			var err error
			if mem, err = ptrace.OpenMem(v.pid); err != nil {
				t.Fatal(err)
			}
			at = room + 100
			if _, err := mem.WriteAt([]byte{0x90}, at); err != nil {
				t.Fatal(err)
			}
		}, false)
		if !errors.Is(there, ptrace.ErrRoom) || anew != nil {
			t.Errorf("%v, %v", there, anew)
		}
		defer mem.Close()
		var b [1]byte
		if _, err := mem.ReadAt(b[:], at); err != nil || b[0] != 0x90 {
			t.Errorf("what was written there is % x now, %v", b, err)
		}
		v.running()
	})
}

// TestRoomWithAThreadInItIsNotUsedAgain: a thread that stays in a call that it
// makes for us still needs its stub, while other calls are made.
func TestRoomWithAThreadInItIsNotUsedAgain(t *testing.T) {
	base, _ := compile(t, "quiet")
	v := start(t, base)
	if first, second := txn.StuckLoan(v.pid); !errors.Is(first, ptrace.ErrTimeout) || second != nil {
		t.Errorf("%v, %v", first, second)
	}
	time.Sleep(5 * time.Second / 2) // it is to come home
	v.want("q", "2 3")
	v.running()
}
