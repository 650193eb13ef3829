package txn_test

import (
	"slices"
	"strings"
	"testing"

	"hotpatch/internal/txn"
)

// Programs that are linked to a fixed address and keep their relocations.
var nonPIE = []string{"-g", "-no-pie", "-fno-pie", "-Wl,--emit-relocs"}

func TestProgramAtAFixedAddressIsPatched(t *testing.T) {
	base, fixed := compile(t, "kinds", nonPIE...)
	b := built(t, base, fixed)
	was := map[string]string{
		"i10": "7", "f10": "40.00", "s8": "-1", "t": "the old text", "a1": "one",
		"c1": "11", "c4": "44", "c6": "73", "m": "4", "r5": "6", "p10": "7 1",
	}
	is := map[string]string{
		"i10": "13", "f10": "3.00", "s8": "36", "t": "the new text", "a1": "two",
		"c1": "111", "c4": "444", "c6": "73", "m": "72", "r5": "7", "p10": "13 101",
	}
	v := start(t, base)
	for range 2 {
		for q, a := range was {
			v.want(q, a)
		}
		v.want("v3", "3")
		counted := v.ask("n")
		apply(t, v, b, txn.Applied)
		v.want("n", counted) // old and new code count in one variable
		for q, a := range is {
			v.want(q, a)
		}
		v.want("v3", "4301")
		v.want("v3", "4602")
		revert(t, v, b, txn.Reverted)
	}
	v.want("i10", "7")
	v.running()
}

func TestAbsoluteAddressesOfEveryKind(t *testing.T) {
	for _, more := range [][]string{{"-O2"}, {"-O0"}, {"-O3", "-fcf-protection=full"}, {"-Os"}, {"-O2", "-static", "-DIMPORT=getpid"}, {"-O2", "-mcmodel=large"}} {
		t.Run(strings.Join(more, " "), func(t *testing.T) {
			base, fixed := compile(t, "fixed_address", slices.Concat(nonPIE, more)...)
			b := built(t, base, fixed)
			v := start(t, base)
			was := [][2]string{{"f5", "6 10 4"}, {"a3", "three"}, {"a4", "four"}, {"t1", "44"}, {"b0", "490"}, {"s", "3"}, {"i", "1"}, {"c1", "11"}, {"c4", "44"}, {"c5", "56"}, {"c6", "86"}, {"l", "10"}, {"v3", "3"}}
			is := [][2]string{{"f5", "1105 1010 905"}, {"a3", "drei"}, {"a4", "four"}, {"t1", "28"}, {"b0", "1420"}, {"s", "103"}, {"i", "1"}, {"c1", "111"}, {"c4", "444"}, {"c5", "155"}, {"c6", "86"}, {"l", "26"}}
			all := func(want [][2]string) {
				t.Helper()
				for _, w := range want {
					v.want(w[0], w[1])
				}
			}
			all(was)
			v.want("x2", "1")
			v.want("k1", "six")
			apply(t, v, b, txn.Applied)
			v.want("k1", "old string")
			v.want("k0", "new string")
			all(is)
			v.want("x2", "11")
			v.want("v3", "79")
			v.want("g0", "ok")
			v.want("b0", "1421")
			counted := v.ask("n")
			revert(t, v, b, txn.Reverted)
			v.want("n", counted)
			v.want("x2", "12")
			v.want("b0", "491")
			v.want("k1", "three")
			v.running()
		})
	}
}

func TestShapesOfFunctionsAtAFixedAddress(t *testing.T) {
	for _, tc := range []struct {
		victim  string
		flags   []string
		was, is string
	}{
		{"endbr64", []string{"-fcf-protection=full"}, "2 1", "1001 1"},
		{"hidden", nil, "2 3 10 -6", "1001 2001 6004 -6"},
		{"pointers", nil, "2 2 2 123 equal=1", "1001 1001 1001 321 equal=1"},
		{"pointers", []string{"-static"}, "2 2 2 123 equal=1", "1001 1001 1001 321 equal=1"},
		{"ifunc", nil, "2 4 2 0", "1001 1003 1001 0"}, // its address is that of the PLT entry
		{"ifunc", []string{"-static"}, "2 4 2 0", "1001 1003 1001 0"},
		{"threadlocal", nil, "5 105", "5010 105011"},
		{"threadlocal", []string{"-static"}, "5 105", "5010 105011"},
		{"constructors", nil, "42 1", "4002 1"},
	} {
		t.Run(tc.victim, func(t *testing.T) {
			base, fixed := compile(t, tc.victim, slices.Concat(nonPIE, tc.flags)...)
			v := start(t, base)
			thereAndBack(t, v, built(t, base, fixed), tc.was, tc.is)
		})
	}
}
