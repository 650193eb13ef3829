package types_test

import (
	"fmt"
	"strings"
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
	start = time.Now()
	if moved := types.MovedOfMany(60_000); moved {
		t.Error("members that moved by 8 bytes moved by 4")
	}
	if took := time.Since(start); took > 4*time.Second {
		t.Errorf("looking for what moved in unions of 60000 members took %v", took)
	}
}

func TestEnumerationsOfTooManyEnumeratorsAreNotVerified(t *testing.T) {
	var b strings.Builder
	b.WriteString("enum e { FIRST")
	for i := range 70_000 {
		fmt.Fprintf(&b, ", E%d", i)
	}
	b.WriteString(" };\nint main(int n, char **v) { enum e e = n; return e == E5; }\n")
	m := open(t, compile(t, b.String(), "-g"))
	if _, known, err := compare(m, m); !known || err == nil || !strings.Contains(err.Error(), "enum e has too many enumerators") {
		t.Errorf("known %v, error %v", known, err)
	}
}

func TestMembersAreFoundInAnIndexAsWithoutOne(t *testing.T) {
	for seed := range uint64(200) {
		if err := types.FoundByIndex(seed); err != nil {
			t.Fatal(err)
		}
	}
}
