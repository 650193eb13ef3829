package proc_test

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"hotpatch/internal/proc"
)

const someMaps = "00400000-00401000 r-xp 00000000 fe:00 42                             /usr/bin/a b\n" +
	"00401000-00402000 rw-p 00001000 fe:00 42                             /usr/bin/a b\n" +
	"01c2c000-01c4d000 rw-p 00000000 00:00 0                              [heap]\n" +
	"7f0000000000-7f0000001000 rw-s 00000000 00:01 9                          /memfd:x\\012y (deleted)\n" +
	"7f0000001000-7f0000002000 ---p 00000000 00:00 0 \n" +
	"ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]\n"

func TestParseMapsReadsEveryField(t *testing.T) {
	got, err := proc.ParseMaps([]byte(someMaps))
	if err != nil {
		t.Fatal(err)
	}
	want := []proc.Map{
		{Start: 0x400000, End: 0x401000, Read: true, Exec: true, Dev: "fe:00", Inode: 42, Path: "/usr/bin/a b"},
		{Start: 0x401000, End: 0x402000, Off: 0x1000, Read: true, Write: true, Dev: "fe:00", Inode: 42, Path: "/usr/bin/a b"},
		{Start: 0x1c2c000, End: 0x1c4d000, Read: true, Write: true, Dev: "00:00", Path: "[heap]"},
		{Start: 0x7f0000000000, End: 0x7f0000001000, Read: true, Write: true, Shared: true, Dev: "00:01", Inode: 9, Path: "/memfd:x\ny (deleted)"},
		{Start: 0x7f0000001000, End: 0x7f0000002000, Dev: "00:00"},
		{Start: 0xffffffffff600000, End: 0xffffffffff601000, Exec: true, Dev: "00:00", Path: "[vsyscall]"},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestParseMapsNamesTheLineAtFault(t *testing.T) {
	const ok = "00400000-00401000 r-xp 00000000 fe:00 42 /a\n"
	for _, c := range []struct{ in, want string }{
		{ok + "00401000-00402000 r-xp 00000000 fe:00 42 /a", "line 2: cut off"},
		{ok + "\n", "line 2: bad start"},
		{"x-1 r-xp 0 fe:00 1\n", "line 1: bad start"},
		{"-1 r-xp 0 fe:00 1\n", "line 1: bad start"},
		{"2-1 r-xp 0 fe:00 1\n", "line 1: bad end"},
		{"1-2\n", "line 1: bad permissions"},
		{"1-2 r-x\n", "line 1: bad permissions"},
		{"1-2 r-xp\n", "line 1: bad permissions"},
		{"1-2 r-xp z fe:00 1\n", "line 1: bad offset"},
		{"1-11111111111111111 r-xp 0 fe:00 1\n", "line 1: bad end"},
		{"1-2 r-xp 0 fe\n", "line 1: bad device"},
		{"1-2 r-xp 0 fe:00 f\n", "line 1: bad inode"},
		{"1-2 r-xp 0 fe:00 18446744073709551616\n", "line 1: bad inode"},
		{ok + ok, "line 2: 400000 is below"},
	} {
		ms, err := proc.ParseMaps([]byte(c.in))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: got %v, %v, want an error with %q", c.in, ms, err, c.want)
		}
	}
}

func TestFindKnowsTheEdges(t *testing.T) {
	ms, err := proc.ParseMaps([]byte(someMaps))
	if err != nil {
		t.Fatal(err)
	}
	for addr, want := range map[uint64]uint64{
		0x3fffff: 0, 0x400000: 0x400000, 0x400fff: 0x400000, 0x401000: 0x401000, 0x402000: 0,
		0xffffffffff600fff: 0xffffffffff600000, 0xffffffffff601000: 0,
	} {
		if m, ok := proc.Find(ms, addr); m.Start != want || ok != (want != 0) {
			t.Errorf("%#x: got %v, %v", addr, m, ok)
		}
	}
}

func TestMapsOfThisProcess(t *testing.T) {
	ms, err := proc.Maps(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, m := range ms {
		names[m.Path] = true
	}
	for _, want := range []string{self, "[stack]", "[vdso]"} {
		if !names[want] {
			t.Errorf("no mapping of %s", want)
		}
	}
}

// Whatever is accepted is in order, and says the same when written again.
func FuzzParseMaps(f *testing.F) {
	f.Add([]byte(someMaps))
	f.Add([]byte("1-2 r-xp 0 fe:00 1"))
	f.Add([]byte("\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		ms, err := proc.ParseMaps(b)
		if err != nil {
			return
		}
		if len(ms) != strings.Count(string(b), "\n") {
			t.Fatalf("%d mappings of %q", len(ms), b)
		}
		for i, m := range ms {
			if m.Start >= m.End || i > 0 && ms[i-1].End > m.Start {
				t.Fatalf("out of order at %d: %v", i, ms)
			}
			if got, ok := proc.Find(ms, m.End-1); !ok || got != m {
				t.Fatalf("Find(%#x) = %v", m.End-1, got)
			}
		}
	})
}
