package deb_test

import (
	"os/exec"
	"testing"

	"hotpatch/internal/deb"
)

// ladder is strictly ascending; within a rung all are equal.
var ladder = [][]string{
	{"0~~"}, {"0~~a"}, {"0~"}, {"0", "0:0", "0-0", "00-00", "0:0-0"}, {"0a"}, {"0+"},
	{"1.0~beta1~svn1245"}, {"1.0~beta1"}, {"1.0", "1.0-0", "001.00"}, {"1.0-0+b1"}, {"1.0-1~bpo12+1"}, {"1.0-1~deb12u1"},
	{"1.0-1"}, {"1.0-1a"}, {"1.0-1+b1"}, {"1.0-1+b2"}, {"1.0-1+b10"}, {"1.0-1+deb12u1"}, {"1.0-1+deb12u2"}, {"1.0-1+deb12u10"}, {"1.0-1.1"},
	{"1.0-2"}, {"1.0a-1"}, {"1.0a7-1"}, {"1.0b-1"}, {"1.0+dfsg-1"}, {"1.0-1-1"}, {"1.0.0-1"}, {"1.2.3-1"}, {"1.2.24-1"}, {"1.10-1"},
	{"9999999999999999999999-1"}, {"99999999999999999999990-1"},
	{"5:7.0.15-1~deb12u7"}, {"5:7.0.15-1~deb12u10"}, {"5:7.0.15-1"}, {"10:0"},
}

func TestCompareOrdersAsDpkg(t *testing.T) {
	_, err := exec.LookPath("dpkg")
	dpkg := err == nil && !testing.Short()
	for i, low := range ladder {
		for j, high := range ladder {
			for _, a := range low {
				for _, b := range high {
					got, err := deb.Compare(a, b)
					if err != nil {
						t.Fatal(err)
					}
					if sign(got) != sign(i-j) {
						t.Errorf("%s against %s: %d, want %d", a, b, sign(got), sign(i-j))
					}
				}
			}
		}
		// The ladder itself is checked against dpkg, neighbour by neighbour.
		if dpkg && i > 0 {
			for _, a := range ladder[i-1] {
				if err := exec.Command("dpkg", "--compare-versions", a, "lt", low[0]).Run(); err != nil {
					t.Errorf("dpkg does not put %s before %s: %v", a, low[0], err)
				}
			}
		}
	}
}

func sign(n int) int {
	switch {
	case n < 0:
		return -1
	case n > 0:
		return 1
	}
	return 0
}

func TestBadVersionsAreErrors(t *testing.T) {
	for _, v := range []string{"", ":", "x", "1:", ":1", "-1", "1-", "a:1", "-1:1", "9999999999:1", "1 2", "1_2", "1-1:2", "1é", "1;2", "--option"} {
		if c, err := deb.Compare(v, "1"); err == nil {
			t.Errorf("%q compares as %d", v, c)
		}
		if c, err := deb.Compare("1", v); err == nil {
			t.Errorf("%q compares as %d", v, c)
		}
	}
}

func FuzzCompare(f *testing.F) {
	for i := 1; i < len(ladder); i++ {
		f.Add(ladder[i-1][0], ladder[i][0])
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		x, err1 := deb.Compare(a, b)
		y, err2 := deb.Compare(b, a)
		if (err1 == nil) != (err2 == nil) {
			t.Fatalf("%q, %q: %v one way, %v the other", a, b, err1, err2)
		}
		if err1 == nil && sign(x) != -sign(y) {
			t.Errorf("%q, %q: %d one way, %d the other", a, b, x, y)
		}
		if err1 == nil && a == b && x != 0 {
			t.Errorf("%q differs from itself", a)
		}
	})
}
