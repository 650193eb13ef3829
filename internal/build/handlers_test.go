package build_test

import (
	"encoding/binary"
	"slices"
	"strings"
	"testing"

	"hotpatch/internal/build"
	"hotpatch/internal/image"
	"hotpatch/internal/patch"
)

func TestBuildSeesThatAnotherTypeIsCaught(t *testing.T) {
	for _, strip := range []bool{false, true} {
		s := debugged
		s.strip = strip
		base, fixed := compile(t, "handlers.cc", s)
		r, b := run(t, base, fixed, build.Options{})
		if b == nil {
			t.Fatalf("%s: %v", r.Verdict, r.Reasons)
		}
		if strip {
			if n := len(b.Manifest.Images[0].Sites); n != 3 {
				t.Errorf("stripped: %d sites, not 3", n)
			}
			continue
		}
		want := map[string]string{"catches_another": "changed", "catches_more": "changed", "cleans": "changed"}
		for name, state := range states(r) {
			if want[name] != state && !strings.HasPrefix(name, "_Z") {
				t.Errorf("%s is %s", name, state)
			}
			delete(want, name)
		}
		if len(want) > 0 {
			t.Errorf("not changed: %v", want)
		}
		if why := reasonOf(r, "catches_another"); !strings.Contains(why, "type 1 that it catches is another one") {
			t.Errorf("catches_another: %q", why)
		}
	}
}

func reasonOf(r *build.Report, name string) string {
	for _, f := range r.Images[0].Functions {
		if f.Name == name {
			return f.Why
		}
	}
	return ""
}

// Every carried function that handles exceptions has its table, and what the
// table refers to is the base image's: the same type objects and the same
// personality routine.
func TestBuildCarriesWhatFunctionsDoWithExceptions(t *testing.T) {
	base, fixed := compile(t, "handlers.cc", debugged)
	_, b := run(t, base, fixed, build.Options{})
	if b == nil {
		t.Fatal("no bundle")
	}
	if !b.Manifest.Images[0].Unwinds {
		t.Error("the manifest does not say that exceptions pass the code")
	}
	o := b.Objects[0]
	eh := o.ChunkAt(o.EHFrame)
	fdes, err := image.FDEs(eh.Data, image.Addr(eh.Addr))
	if err != nil {
		t.Fatal(err)
	}
	m, err := image.Open(base)
	if err != nil {
		t.Fatal(err)
	}
	var caught []string
	for _, f := range fdes {
		if f.LSDA == 0 {
			if f.CIE.HasPersonality {
				t.Errorf("function at %#x has a personality and no table", f.Lo)
			}
			continue
		}
		c := o.ChunkAt(uint64(f.LSDA))
		if c == nil || c.Kind != patch.Handlers {
			t.Fatalf("the table at %#x is not carried", f.LSDA)
		}
		l, err := image.ReadLSDA(c.Data[uint64(f.LSDA)-c.Addr:], f.LSDA, image.Range{Lo: f.Lo, Hi: f.Hi})
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range l.Types {
			caught = append(caught, slotName(t, m, o, uint64(x.Field)))
		}
	}
	slices.Sort(caught)
	if want := []string{"_ZTI3Own", "_ZTI5Other", "_ZTISt9bad_alloc"}; !slices.Equal(caught, want) {
		t.Errorf("types caught: %v, want %v", caught, want)
	}
	for i := range o.Relocs {
		if r := &o.Relocs[i]; r.At >= eh.Addr && r.At < eh.Addr+uint64(len(eh.Data)) {
			if n := slotName(t, m, o, r.At); n != "__gxx_personality_v0" {
				t.Errorf("personality routine %q", n)
			}
			return
		}
	}
	t.Error("the personality routine is not bound")
}

// slotName says what the slot holds that the 32-bit distance at a field of the
// object leads to.
func slotName(t *testing.T, base *image.Image, o *patch.Object, field uint64) string {
	t.Helper()
	for i := range o.Relocs {
		r := &o.Relocs[i]
		if r.At != field {
			continue
		}
		if r.Type != patch.PC32 || r.Sym < 0 || r.Add != 0 || o.Symbols[r.Sym].Kind != patch.Base {
			t.Fatalf("relocation %+v", *r)
		}
		q := base.RelocAt(image.Addr(o.Symbols[r.Sym].Value))
		if q == nil {
			t.Fatalf("no slot at %#x of the base image", o.Symbols[r.Sym].Value)
		}
		return q.Sym
	}
	// A slot of the object's own.
	c := o.ChunkAt(field)
	at := field + uint64(int64(int32(binary.LittleEndian.Uint32(c.Data[field-c.Addr:]))))
	for i := range o.Relocs {
		if r := &o.Relocs[i]; r.At == at && r.Type == patch.Abs64 && r.Sym >= 0 {
			return o.Symbols[r.Sym].Name
		}
	}
	t.Fatalf("the field at %#x leads nowhere", field)
	return ""
}

// An unwinder that is linked into the program asks the loader alone.
func TestBuildRefusesAnUnwinderOfItsOwn(t *testing.T) {
	base, fixed := compile(t, "throws.cc", style{flags: []string{"-g", "-static-libgcc"}})
	r, b := run(t, base, fixed, build.Options{})
	if b != nil || !slices.Equal(codes(r), []string{"exceptions"}) {
		t.Fatalf("%s: %v", r.Verdict, r.Reasons)
	}
	if why := r.Reasons[0].Detail; !strings.Contains(why, "an unwinder of its own") {
		t.Errorf("reason %q", why)
	}
}
