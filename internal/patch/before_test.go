package patch_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"hotpatch/internal/patch"
)

func TestCodeBeforeDecodesToWhatWasEncoded(t *testing.T) {
	b, err := patch.DecodeBefore(sampleBefore())
	if err != nil {
		t.Fatal(err)
	}
	if got := b.CodeAt(0x1160, 3); !bytes.Equal(got, []byte{0x31, 0xc0, 0xc3}) {
		t.Errorf("code at 0x1160: % x", got)
	}
	for _, x := range [][2]uint64{{0x1160, 4}, {0x115f, 1}, {0x1041, 1}, {0x1163, 1}, {0x1161, ^uint64(0)}} {
		if got := b.CodeAt(x[0], x[1]); got != nil {
			t.Errorf("%d bytes of code at %#x: % x", x[1], x[0], got)
		}
	}
	if p := b.PlaceAt(0x2000); p == nil || string(p.Data) != "hello\x00" {
		t.Errorf("place at 0x2000: %v", p)
	}
	if p := b.PlaceAt(0x2001); p != nil {
		t.Errorf("place at 0x2001: %v", p)
	}
	again, err := patch.EncodeBefore(b)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(sampleBefore()), string(again)); d != "" {
		t.Error(d)
	}
}

func TestCodeBeforeIsChecked(t *testing.T) {
	code := func(addr uint64, data string) patch.Bytes { return patch.Bytes{Addr: addr, Data: []byte(data)} }
	for name, c := range map[string]struct {
		b    patch.Before
		want string
	}{
		"overlap":        {patch.Before{Code: []patch.Bytes{code(1, "ab"), code(2, "c")}}, "code[1]"},
		"no code":        {patch.Before{Code: []patch.Bytes{code(1, "")}}, "code[0]"},
		"no address":     {patch.Before{Code: []patch.Bytes{code(patch.MaxAddr-1, "ab")}}, "code[0]"},
		"place twice":    {patch.Before{Places: []patch.Place{{Addr: 1, Name: "a"}, {Addr: 1, Name: "b"}}}, "places[1].addr"},
		"name and data":  {patch.Before{Places: []patch.Place{{Addr: 1, Name: "a", Data: []byte("b")}}}, "places[0].name"},
		"neither":        {patch.Before{Places: []patch.Place{{Addr: 1}}}, "places[0].name"},
		"long constant":  {patch.Before{Places: []patch.Place{{Addr: 1, Data: make([]byte, patch.MaxPlaceData+1)}}}, "places[0].data"},
		"control":        {patch.Before{Places: []patch.Place{{Addr: 1, Name: "a\x1b[2J"}}}, "places[0].name"},
		"callers twice":  {patch.Before{Callers: []patch.Callers{{Base: 1, Names: []string{}}, {Base: 1, Names: []string{}}}}, "callers[1].base"},
		"negative":       {patch.Before{Callers: []patch.Callers{{Names: []string{}, More: -1}}}, "callers[0]"},
		"too many names": {patch.Before{Callers: []patch.Callers{{Names: make([]string, patch.MaxCallerNames+1)}}}, "callers[0]"},
		"too many":       {patch.Before{Places: make([]patch.Place, patch.MaxPlaces+1)}, "places: 262145"},
	} {
		if _, err := patch.EncodeBefore(&c.b); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := patch.DecodeBefore(append(sampleBefore(), '\n')); err == nil {
		t.Error("another encoding was accepted")
	}
}

func FuzzDecodeBefore(f *testing.F) {
	f.Add(sampleBefore())
	f.Add([]byte(`{"code":[{"addr":1,"data":"AA=="}],"places":[],"callers":[]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		b, err := patch.DecodeBefore(data)
		if err != nil {
			return
		}
		again, err := patch.EncodeBefore(b)
		if err != nil || !bytes.Equal(again, data) {
			t.Fatalf("decoded what is not its own encoding: %v", err)
		}
	})
}
