package cli_test

import (
	"bytes"
	"debug/elf"
	"encoding/json"
	"os"
	"testing"

	"hotpatch/internal/cli"
)

func TestInspectAccountsForEveryByteOfCode(t *testing.T) {
	const path = "/bin/sh"
	if _, err := os.Stat(path); err != nil {
		t.Skipf("there is no %s", path)
	}
	var out, errs bytes.Buffer
	if code := cli.Main([]string{"inspect", path, "--json"}, nil, &out, &errs); code != 0 {
		t.Fatalf("exit code %d: %s", code, errs.String())
	}
	var v struct {
		Code struct {
			Functions, PLT, Padding, Unknown uint64
		}
		Unknown []struct{ Addr, Size uint64 }
	}
	if err := json.Unmarshal(out.Bytes(), &v); err != nil {
		t.Fatal(err)
	}
	f, err := elf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	want := uint64(0)
	for _, s := range f.Sections {
		if s.Flags&elf.SHF_EXECINSTR != 0 {
			want += s.Size
		}
	}
	if got := v.Code.Functions + v.Code.PLT + v.Code.Padding + v.Code.Unknown; got != want || v.Code.Functions < want/2 {
		t.Errorf("%+v, want %d bytes in all", v.Code, want)
	}
	unknown := uint64(0)
	for _, u := range v.Unknown {
		unknown += u.Size
	}
	if unknown != v.Code.Unknown {
		t.Errorf("stretches of %d bytes are listed, want %d", unknown, v.Code.Unknown)
	}
}

func TestShareNeverRoundsToAllOrNothing(t *testing.T) {
	for _, c := range []struct {
		part, all uint64
		want      string
	}{{0, 10, "  0.0 %"}, {1, 10000, "< 0.1 %"}, {9999, 10000, "> 99.9 %"}, {10, 10, "100.0 %"}, {1, 2, " 50.0 %"}, {0, 0, "   -  "}} {
		if got := cli.Share(c.part, c.all); got != c.want {
			t.Errorf("%d of %d: %q, want %q", c.part, c.all, got, c.want)
		}
	}
}
