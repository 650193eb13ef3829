package proc_test

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"hotpatch/internal/proc"
	"hotpatch/internal/testkit"
)

func mustRead(t testing.TB, r io.ReaderAt, b []byte) string {
	t.Helper()
	if _, err := r.ReadAt(b, 0); err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func modules(t testing.TB, pid int) []proc.Module {
	t.Helper()
	ms, err := proc.Modules(pid)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range ms {
		if lo, hi := m.Code(); lo >= hi || lo < m.Lo() || hi > m.Hi() {
			t.Errorf("%s: code %x-%x in %x-%x", m.Path, lo, hi, m.Lo(), m.Hi())
		}
	}
	return ms
}

// byName are the modules whose file is called so.
func byName(ms []proc.Module, base string) (out []proc.Module) {
	for _, m := range ms {
		if strings.TrimSuffix(filepath.Base(m.Path), " (deleted)") == base {
			out = append(out, m)
		}
	}
	return out
}

// The bias is right when it leads from the symbol in the file to the address
// that the process itself tells.
func TestModulesFindsTheBiasOfEveryKindOfExecutable(t *testing.T) {
	for name, flags := range map[string][]string{
		"pie":                 nil,
		"not pie":             {"-no-pie"},
		"static":              {"-static", "-DSTATIC"},
		"static pie":          {"-static-pie", "-DSTATIC"},
		"code in first page":  {"-Wl,-z,noseparate-code"},
		"not pie, first page": {"-no-pie", "-Wl,-z,noseparate-code"},
		"2 MB alignment":      {"-Wl,-z,max-page-size=0x200000"},
		"no-pie high address": {"-no-pie", "-Wl,-Ttext-segment=0x10000000"},
		"lazy, without relro": {"-Wl,-z,lazy", "-Wl,-z,norelro"},
	} {
		t.Run(name, func(t *testing.T) {
			exe := victim(t, flags...)
			c := start(t, exe)
			ms := byName(modules(t, c.Process.Pid), "victim")
			if len(ms) != 1 {
				t.Fatalf("got %v", ms)
			}
			m := ms[0]
			if want := c.main - symbol(t, exe, "main"); m.Bias != want {
				t.Errorf("bias %#x, want %#x", m.Bias, want)
			}
			if want := testkit.BuildID(t, exe); m.BuildID != want {
				t.Errorf("build-id %s, want %s", m.BuildID, want)
			}
			mem, err := proc.OpenMem(c.Process.Pid)
			if err != nil {
				t.Fatal(err)
			}
			defer mem.Close()
			switch id, err := proc.BuildIDAt(mem, m.Bias); {
			case m.Bias == 0 && err == nil:
				t.Errorf("build-id %s where nothing is", id)
			case m.Bias != 0 && (err != nil || id != m.BuildID):
				t.Errorf("build-id %s at the bias, error %v", id, err)
			}
			if id, err := proc.BuildIDAt(mem, m.Maps[len(m.Maps)-1].Start); err == nil {
				t.Errorf("build-id %s in the data", id)
			}
			if m.Path != exe || !slices.IsSortedFunc(m.Maps, func(a, b proc.Map) int { return int(a.Start) - int(b.Start) }) {
				t.Errorf("got %+v", m)
			}
		})
	}
}

func TestModulesHasTheVDSOAndOpenReadsIt(t *testing.T) {
	c := start(t, victim(t))
	ms := byName(modules(t, c.Process.Pid), "[vdso]")
	if len(ms) != 1 || ms[0].BuildID == "" {
		t.Fatalf("got %v", ms)
	}
	r, n, cl, err := proc.Open(c.Process.Pid, ms[0])
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	f, err := elf.NewFile(io.NewSectionReader(r, 0, n))
	if err != nil {
		t.Fatal(err)
	}
	if f.Section(".eh_frame") == nil {
		t.Error("no .eh_frame in it")
	}
}

func TestModulesTellsTwoLoadsOfOneFileApart(t *testing.T) {
	lib := library(t)
	c := start(t, victim(t), "twice", lib)
	ms := byName(modules(t, c.Process.Pid), "libvictim.so")
	if len(ms) != 2 || ms[0].Bias == ms[1].Bias || ms[0].Hi() > ms[1].Lo() && ms[1].Hi() > ms[0].Lo() {
		t.Fatalf("got %v", ms)
	}
	for _, m := range ms {
		if m.BuildID != testkit.BuildID(t, lib) {
			t.Errorf("build-id %s", m.BuildID)
		}
		// counter and zeros: the anonymous part of the data belongs to it.
		if hi := m.Bias + symbol(t, lib, "zeros") + 20000; hi > m.Hi() {
			t.Errorf("zeros ends at %#x, the module at %#x", hi, m.Hi())
		}
	}
}

func TestModulesLeavesOutAFileMappedAsData(t *testing.T) {
	lib := library(t)
	c := start(t, victim(t), "data", lib)
	if ms := byName(modules(t, c.Process.Pid), "libvictim.so"); len(ms) != 0 {
		t.Errorf("got %v", ms)
	}
	if found, _, err := proc.Mapping([]string{testkit.BuildID(t, lib)}); err != nil || slices.Contains(found, c.Process.Pid) {
		t.Errorf("Mapping: %v, %v", found, err)
	}
}

func TestModuleWithoutBuildID(t *testing.T) {
	exe := victim(t, "-Wl,--build-id=none")
	c := start(t, exe)
	ms := byName(modules(t, c.Process.Pid), "victim")
	if len(ms) != 1 || ms[0].BuildID != "" {
		t.Fatalf("got %v", ms)
	}
	_, _, cl, err := proc.Open(c.Process.Pid, ms[0])
	if err != nil {
		t.Fatal(err)
	}
	cl.Close()
}

func TestPathWithSpacesParenthesesAndNewline(t *testing.T) {
	exe := compile(t, "victim.c", filepath.Join(t.TempDir(), "vic (tim)\nof us"), "-pthread", "-ldl")
	c := start(t, exe)
	ms := modules(t, c.Process.Pid)
	if ms[0].Path != exe || ms[0].BuildID != testkit.BuildID(t, exe) {
		t.Errorf("got %+v", ms[0])
	}
	_, _, cl, err := proc.Open(c.Process.Pid, ms[0])
	if err != nil {
		t.Fatal(err)
	}
	cl.Close()
}

func TestReplacedFileDoesNotMislead(t *testing.T) {
	lib := library(t)
	id := testkit.BuildID(t, lib)
	want, err := os.ReadFile(lib)
	if err != nil {
		t.Fatal(err)
	}
	c := start(t, victim(t), "load", lib)
	if err := os.Remove(lib); err != nil {
		t.Fatal(err)
	}
	compile(t, "lib.c", lib, "-shared", "-fPIC", "-DOTHER", "-O0")
	if testkit.BuildID(t, lib) == id {
		t.Fatal("the two libraries are equal")
	}
	pid := c.Process.Pid
	ms := byName(modules(t, pid), "libvictim.so")
	if len(ms) != 1 || ms[0].BuildID != id || ms[0].Path != lib+" (deleted)" {
		t.Fatalf("got %v", ms)
	}
	if found, _, err := proc.Mapping([]string{id}); err != nil || !slices.Contains(found, pid) {
		t.Errorf("Mapping: %v, %v", found, err)
	}
	r, n, cl, err := proc.Open(pid, ms[0])
	if !root() {
		if err == nil || !strings.Contains(err.Error(), "build-id") {
			t.Errorf("opened another file than the one that runs: %v", err)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	got := make([]byte, n)
	if mustRead(t, r, got); !bytes.Equal(got, want) {
		t.Error("content of another file")
	}
}

func TestOpenInAChroot(t *testing.T) {
	if !root() {
		t.Skip("needs root to change the root directory")
	}
	dir := openDir(t)
	exe := compile(t, "victim.c", filepath.Join(dir, "victim"), "-static", "-DSTATIC", "-pthread")
	c := startWith(t, &syscall.SysProcAttr{Chroot: dir}, "/victim")
	ms := byName(modules(t, c.Process.Pid), "victim")
	if len(ms) != 1 || ms[0].BuildID != testkit.BuildID(t, exe) {
		t.Fatalf("got %v", ms)
	}
	_, _, cl, err := proc.Open(c.Process.Pid, ms[0])
	if err != nil {
		t.Fatal(err)
	}
	cl.Close()
}

func TestMappingFindsAllUsersOfALibraryAndNobodyElse(t *testing.T) {
	lib, exe := library(t), victim(t)
	var want []int
	for range 3 {
		want = append(want, start(t, exe, "load", lib).Process.Pid)
	}
	other := start(t, exe).Process.Pid
	slices.Sort(want)
	found, denied, err := proc.Mapping([]string{"ffff", strings.ToUpper(testkit.BuildID(t, lib))})
	if err != nil || !slices.Equal(found, want) {
		t.Errorf("found %v, want %v, %v", found, want, err)
	}
	for _, pid := range append(want, other) {
		if err := denied[pid]; err != nil {
			t.Error(err)
		}
	}
	if found, _, err := proc.Mapping([]string{"ffff"}); err != nil || len(found) != 0 {
		t.Errorf("found %v, %v", found, err)
	}
	if found, _, err := proc.Mapping([]string{""}); err == nil {
		t.Errorf("found %v without a build-id", found)
	}
}

// piece is memory that holds some bytes at an address and is unreadable elsewhere.
type piece struct {
	addr uint64
	b    []byte
}

func (p piece) ReadAt(b []byte, addr int64) (int, error) {
	off := uint64(addr) - p.addr
	if off > uint64(len(p.b)) || uint64(len(b)) > uint64(len(p.b))-off {
		return 0, fmt.Errorf("nothing at %#x", uint64(addr))
	}
	return copy(b, p.b[off:]), nil
}

// Any bytes where an ELF header should be end in modules or an error.
func FuzzModulesIn(f *testing.F) {
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(self[:4096], uint64(0x400000))
	f.Add(self[:80], uint64(0x400000))
	f.Add([]byte{}, uint64(0))
	f.Add(notesBeforeTheirImage(), uint64(0x10000))
	f.Fuzz(func(t *testing.T, b []byte, at uint64) {
		at &^= 4095
		size := (uint64(len(b)) + 8191) &^ 4095
		if at > 1<<47 || len(b) > 1<<20 {
			return
		}
		ms := []proc.Map{
			{Start: at, End: at + size, Read: true, Exec: true, Dev: "fe:00", Inode: 1, Path: "/x"},
			{Start: at + size, End: at + size + 4096, Read: true, Write: true},
		}
		mem := piece{at, append(b, make([]byte, size-uint64(len(b)))...)}
		_, _ = proc.BuildIDAt(mem, at)
		mods, err := proc.ModulesIn(ms, mem)
		for _, m := range mods {
			if err != nil || len(m.Maps) == 0 || m.Lo() != at || len(m.BuildID)%2 != 0 {
				t.Fatalf("%+v, %v", m, err)
			}
		}
	})
}

// notesBeforeTheirImage is the first page of an image whose notes begin below
// address 0 where it is loaded at 0x10000, and reach into it: anybody can map one.
func notesBeforeTheirImage() []byte {
	b, le := make([]byte, 4096), binary.LittleEndian
	copy(b, "\x7fELF\x02\x01\x01")
	le.PutUint16(b[16:], uint16(elf.ET_DYN))
	le.PutUint16(b[18:], uint16(elf.EM_X86_64))
	le.PutUint64(b[32:], 64) // program headers: offset, size, number
	le.PutUint16(b[54:], 56)
	le.PutUint16(b[56:], 2)
	load, note := b[64:], b[64+56:]
	le.PutUint32(load, uint32(elf.PT_LOAD))
	le.PutUint32(load[4:], uint32(elf.PF_R|elf.PF_X))
	le.PutUint64(load[32:], 4096)
	le.PutUint64(load[40:], 4096)
	le.PutUint32(note, uint32(elf.PT_NOTE))
	le.PutUint64(note[16:], ^uint64(0x10000))
	le.PutUint64(note[32:], 0x10009)
	return b
}

func BenchmarkMapping(b *testing.B) {
	lib := library(b)
	start(b, victim(b), "load", lib)
	id := testkit.BuildID(b, lib)
	pids, err := proc.PIDs()
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if found, _, err := proc.Mapping([]string{id}); err != nil || len(found) != 1 {
			b.Fatal(found, err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/float64(len(pids)), "µs/process")
}

func BenchmarkModules(b *testing.B) {
	c := start(b, victim(b), "load", library(b))
	for b.Loop() {
		if _, err := proc.Modules(c.Process.Pid); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRead(b *testing.B) {
	for b.Loop() {
		if _, err := proc.Read(os.Getpid()); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkThreads(b *testing.B) {
	c := start(b, victim(b), "threads", "64")
	t, err := proc.OpenTasks(c.Process.Pid)
	if err != nil {
		b.Fatal(err)
	}
	defer t.Close()
	var tids []int
	for b.Loop() {
		if tids, err = t.List(tids); err != nil || len(tids) != 65 {
			b.Fatal(tids, err)
		}
	}
}
