package patch_test

import (
	"bytes"
	"debug/elf"
	"fmt"
	"os"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"hotpatch/internal/patch"
)

const formatFile = "../../docs/FORMAT.md"

// table returns the rows (without the header) of the first table behind a
// heading of docs/FORMAT.md; backquotes are dropped.
func table(t *testing.T, heading string) [][]string {
	t.Helper()
	text, err := os.ReadFile(formatFile)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(text), "\n"+heading+"\n")
	if !ok {
		t.Fatalf("%s has no heading %q", formatFile, heading)
	}
	var rows [][]string
	for line := range strings.Lines(rest) {
		if !strings.HasPrefix(line, "|") {
			if rows != nil || strings.HasPrefix(line, "#") {
				break
			}
			continue
		}
		var row []string
		for _, cell := range strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|") {
			row = append(row, strings.ReplaceAll(strings.TrimSpace(cell), "`", ""))
		}
		rows = append(rows, row)
	}
	if len(rows) < 3 {
		t.Fatalf("%s: no table behind %q", formatFile, heading)
	}
	return rows[2:]
}

func TestFormatListsEveryField(t *testing.T) {
	for _, v := range []any{patch.Manifest{}, patch.Reason{}, patch.Image{}, patch.LeftOut{}, patch.Counts{}, patch.Function{}, patch.Site{}, patch.Acceptance{},
		patch.Before{}, patch.Bytes{}, patch.Place{}, patch.Callers{}} {
		typ := reflect.TypeOf(v)
		var want, got []string
		for i := range typ.NumField() {
			f := typ.Field(i)
			name, option, _ := strings.Cut(f.Tag.Get("json"), ",")
			kind := jsonKind(f.Type)
			if option == "omitempty" {
				kind += ", optional"
			}
			want = append(want, name+": "+kind)
		}
		for _, row := range table(t, "### "+typ.Name()) {
			got = append(got, row[0]+": "+row[1])
			if len(row) != 3 || row[2] == "" {
				t.Errorf("%s.%s has no meaning", typ.Name(), row[0])
			}
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s: -struct +%s:\n%s", typ.Name(), formatFile, d)
		}
	}
}

func jsonKind(t reflect.Type) string {
	if t == reflect.TypeFor[time.Time]() {
		return "string"
	}
	switch t.Kind() {
	case reflect.Int, reflect.Uint64:
		return "number"
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			return "string" // base64
		}
		return "list"
	case reflect.Struct:
		return "object"
	}
	return t.Kind().String()
}

func TestFormatListsTheMembers(t *testing.T) {
	var got, want []string
	for _, m := range split(t, encode(t, acceptedBundle(t))) {
		got = append(got, m.name)
	}
	for _, row := range table(t, "## The archive") {
		name, _, _ := strings.Cut(row[0], " ")
		want = append(want, name)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("-%s +file:\n%s", formatFile, d)
	}
}

func TestFormatListsTheSections(t *testing.T) {
	f, err := elf.NewFile(bytes.NewReader(encodeObject(t, sampleObject())))
	if err != nil {
		t.Fatal(err)
	}
	number := regexp.MustCompile(`\.[0-9]+$`)
	got := map[string]string{}
	var meta []string
	for _, s := range f.Sections[1:] {
		flags := ""
		for _, x := range []struct {
			flag elf.SectionFlag
			name string
		}{{elf.SHF_WRITE, "W"}, {elf.SHF_ALLOC, "A"}, {elf.SHF_EXECINSTR, "X"}} {
			if s.Flags&x.flag != 0 {
				flags += x.name
			}
		}
		name := number.ReplaceAllString(s.Name, ".N")
		if flags == "" {
			flags = "-"
			meta = append(meta, name)
		}
		got[name] = flags
	}
	want := map[string]string{}
	var wantMeta []string
	for _, row := range table(t, "## The object") {
		want[row[0]] = row[2]
		if row[1] == "meta" {
			wantMeta = append(wantMeta, row[0])
		}
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("-%s +object:\n%s", formatFile, d)
	}
	if d := cmp.Diff(wantMeta, meta); d != "" {
		t.Errorf("order: -%s +object:\n%s", formatFile, d)
	}
}

func TestFormatListsTheRelocations(t *testing.T) {
	got := map[string]bool{}
	for _, o := range []*patch.Object{sampleObject(), lowObject()} {
		f, err := elf.NewFile(bytes.NewReader(encodeObject(t, o)))
		if err != nil {
			t.Fatal(err)
		}
		rela, err := f.Section(".rela.hotpatch").Data()
		if err != nil {
			t.Fatal(err)
		}
		for ; len(rela) > 0; rela = rela[24:] {
			info := f.ByteOrder.Uint64(rela[8:])
			symbol := "any"
			if info>>32 == 0 {
				symbol = "none (0)"
			}
			got[fmt.Sprint(elf.R_X86_64(uint32(info)), " ", symbol)] = true
		}
	}
	want := map[string]bool{}
	for _, row := range table(t, "### Relocations") {
		want[row[0]+" "+row[1]] = true
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("-%s +object:\n%s", formatFile, d)
	}
}

func TestFormatListsTheLimits(t *testing.T) {
	want := map[string]uint64{
		"MaxFile": patch.MaxFile, "MaxManifest": patch.MaxManifest, "MaxMembers": patch.MaxMembers, "MaxImages": patch.MaxImages,
		"MaxSites": patch.MaxSites, "MaxFunctions": patch.MaxFunctions, "MaxRanges": patch.MaxRanges, "MaxReasons": patch.MaxReasons,
		"MaxChanges": patch.MaxChanges, "MaxCVEs": patch.MaxCVEs, "MaxString": patch.MaxString, "MaxBuildID": patch.MaxBuildID,
		"MaxBefore": patch.MaxBefore, "MaxPlaces": patch.MaxPlaces, "MaxPlaceData": patch.MaxPlaceData, "MaxCallerNames": patch.MaxCallerNames,
		"MaxSymbols": patch.MaxSymbols, "MaxNames": patch.MaxNames, "MaxRelocs": patch.MaxRelocs,
		"MaxSections": patch.MaxSections, "MaxPages": patch.MaxPages, "MaxSpan": patch.MaxSpan, "MaxAddr": patch.MaxAddr,
	}
	got := map[string]uint64{}
	for _, row := range table(t, "## Limits") {
		n, err := strconv.ParseUint(row[1], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		got[row[0]] = n
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("-constants +%s:\n%s", formatFile, d)
	}
}
