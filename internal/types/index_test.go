package types_test

import (
	"testing"
	"time"

	"hotpatch/internal/types"
)

// Whoever made a debug file chose how many members its types have.
func TestTypesOfManyMembersAreComparedInTime(t *testing.T) {
	start := time.Now()
	members, enumerators := types.CompareRenamed(60_000)
	if took := time.Since(start); took > 8*time.Second {
		t.Errorf("comparing 60000 members took %v", took)
	}
	if want := "member x1 took the place of m1"; members != want {
		t.Errorf("members: %q, want %q", members, want)
	}
	if want := "m59998 is 119998 instead of 59998"; enumerators != want {
		t.Errorf("enumerators: %q, want %q", enumerators, want)
	}
}

func TestMembersAreFoundInAnIndexAsWithoutOne(t *testing.T) {
	for seed := range uint64(200) {
		if err := types.FoundByIndex(seed); err != nil {
			t.Fatal(err)
		}
	}
}
