package image_test

import (
	"bytes"
	"debug/elf"
	"os"
	"slices"
	"strings"
	"testing"

	"hotpatch/internal/image"
	"hotpatch/internal/testkit"
)

// libc is a file with everything an outline tells.
func libc(t testing.TB) []byte {
	t.Helper()
	for _, name := range []string{"/lib/x86_64-linux-gnu/libc.so.6", "/usr/lib64/libc.so.6", "/usr/lib/libc.so.6"} {
		if b, err := os.ReadFile(name); err == nil {
			return b
		}
	}
	testkit.Skip(t, "no libc.so.6 is known here")
	return nil
}

func TestOutlineSaysWhatTheLoaderReads(t *testing.T) {
	b := libc(t)
	f, err := elf.NewFile(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	o, err := image.ReadOutline(bytes.NewReader(b), int64(len(b)), "libc", 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	want, err := f.DynamicSymbols()
	if err != nil {
		t.Fatal(err)
	}
	got, err := o.Symbols()
	if err != nil || len(got) != len(want)+1 { // the first is none
		t.Fatalf("%d symbols, want %d, %v", len(got), len(want)+1, err)
	}
	for i, w := range want {
		hidden := w.HasVersion && w.VersionIndex.IsHidden() && w.Section < elf.SHN_LORESERVE && w.Section != elf.SHN_UNDEF
		if g := got[i+1]; g.Name != w.Name || g.Version != w.Version || g.Value != w.Value || g.Type != elf.ST_TYPE(w.Info) ||
			g.Undefined != (w.Section == elf.SHN_UNDEF) || g.Absolute != (w.Section == elf.SHN_ABS) || g.Local != (elf.ST_BIND(w.Info) == elf.STB_LOCAL) || g.Hidden != hidden {
			t.Fatalf("symbol %d is %+v, want %+v", i, g, w)
		}
	}
	l, err := o.Loading()
	needed, nerr := f.ImportedLibraries()
	soname, serr := f.DynString(elf.DT_SONAME)
	if err != nil || nerr != nil || serr != nil || !slices.Equal(l.Needed, needed) || l.Soname != soname[0] {
		t.Errorf("%+v, want %v %v, %v", l, needed, soname, err)
	}
	frames, err := f.Section(".eh_frame").Data()
	if err != nil {
		t.Fatal(err)
	}
	if data, at, err := o.Frames(); err != nil || uint64(at) != f.Section(".eh_frame").Addr || !bytes.Equal(data, frames) {
		t.Errorf("%d bytes of unwind data at %#x, %v", len(data), at, err)
	}
	if o.Cost() == 0 || len(o.Code()) == 0 {
		t.Errorf("cost %d, code %v", o.Cost(), o.Code())
	}
	for name, want := range map[string]bool{"_rtld_global": true, "memcpy": false, "no_such": false} {
		if got, err := o.Imports(name); err != nil || got != want {
			t.Errorf("imports %s: %v, want %v, %v", name, got, want, err)
		}
	}
}

// holes is a file of any size, of nothing behind its beginning.
type holes struct {
	b    []byte
	read int64
}

func (s *holes) ReadAt(p []byte, off int64) (int, error) {
	s.read += int64(len(p))
	clear(p)
	if off < int64(len(s.b)) {
		copy(p, s.b[off:])
	}
	return len(p), nil
}

func TestOutlineReadsOnlySoMuch(t *testing.T) {
	const size = 64 << 30
	for _, name := range []string{".shstrtab", ".dynsym", ".dynstr", ".eh_frame", ".dynamic", ".gnu.version"} {
		b := slices.Clone(libc(t))
		f, err := elf.NewFile(bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(f.Sections, func(s *elf.Section) bool { return s.Name == name })
		if i < 0 {
			t.Fatalf("no section %s", name)
		}
		le.PutUint64(b[le.Uint64(b[40:])+64*uint64(i)+32:], size-uint64(len(b)))
		r := &holes{b: b}
		o, err := image.ReadOutline(r, size, "sparse", 1<<30)
		if err == nil {
			var errs [4]error
			_, errs[0] = o.Symbols()
			_, errs[1] = o.Loading()
			_, _, errs[2] = o.Frames()
			_, errs[3] = o.Imports("_rtld_global")
			for _, e := range errs {
				if e != nil {
					err = e
				}
			}
		}
		if err == nil || !strings.Contains(err.Error(), "too many") {
			t.Errorf("%s of %d bytes: error %v", name, size, err)
		}
		if r.read > 128<<20 {
			t.Errorf("%s of %d bytes: %d were read", name, size, r.read)
		}
	}
}

func TestOutlineDoesWithoutSections(t *testing.T) {
	b := slices.Clone(libc(t))
	clear(b[40:48]) // e_shoff
	o, err := image.ReadOutline(bytes.NewReader(b), int64(len(b)), "bare", 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	if ss, err := o.Symbols(); err != nil || len(ss) > 0 || len(o.Code()) == 0 {
		t.Errorf("%d symbols, code %v, %v", len(ss), o.Code(), err)
	}
}

func FuzzOutline(f *testing.F) {
	if b, err := os.ReadFile("/proc/self/exe"); err == nil {
		f.Add(b[:min(len(b), 4096)])
	}
	f.Add([]byte("\x7fELF\x02\x01\x01"))
	f.Fuzz(func(t *testing.T, b []byte) {
		o, err := image.ReadOutline(bytes.NewReader(b), int64(len(b)), "fuzz", 1<<20)
		if err != nil {
			return
		}
		_, _ = o.Symbols()
		_, _ = o.Loading()
		_, _, _ = o.Frames()
		_, _ = o.Imports("swapcontext")
		o.Code()
		o.Segment(elf.PT_DYNAMIC)
	})
}
