package rebuild_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"hotpatch/internal/rebuild"
)

func sampleEvidence() *rebuild.Evidence {
	return &rebuild.Evidence{
		Format: 1, Source: "redis", Version: "5:7.0.15-1~deb12u7", Package: "redis-tools", Path: "/usr/bin/redis-cli",
		BuildID: "51b393b7", SameLayout: true, Verified: true, Functions: 412, Identical: 411,
		Unmatched: []rebuild.Mismatch{{Function: "version", Addr: 0x1000, Kind: rebuild.Strings, Why: "another date"}},
	}
}

func TestEvidenceIsReadAsItWasWritten(t *testing.T) {
	e := sampleEvidence()
	b, err := e.Note()
	if err != nil {
		t.Fatal(err)
	}
	got, err := rebuild.ParseNote(b)
	if err != nil {
		t.Fatal(err)
	}
	if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", e) {
		t.Errorf("got %+v, want %+v", got, e)
	}
}

// What a file says of itself must hold together: otherwise a note written by
// hand would make any types proof.
func TestEvidenceThatContradictsItselfIsRefused(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*rebuild.Evidence)
		want   string
	}{
		{"format", func(e *rebuild.Evidence) { e.Format = 2 }, "format 2"},
		{"more than all", func(e *rebuild.Evidence) { e.Identical = 413 }, "413 of 412"},
		{"negative", func(e *rebuild.Evidence) { e.Functions, e.Identical = -1, -1 }, "-1"},
		{"verified with other code", func(e *rebuild.Evidence) { e.Unmatched[0].Kind = rebuild.Code }, "verified"},
		{"verified with functions that nobody compared", func(e *rebuild.Evidence) { e.Identical = 300 }, "verified"},
		{"verified without functions", func(e *rebuild.Evidence) { e.Functions, e.Identical, e.Unmatched = 0, 0, nil }, "verified"},
		{"same build-id with other functions", func(e *rebuild.Evidence) { e.SameBuildID = true }, "build-id"},
		{"too many", func(e *rebuild.Evidence) { e.Unmatched = make([]rebuild.Mismatch, 1001) }, "1001"},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := sampleEvidence()
			c.change(e)
			b, err := e.Note()
			if err != nil {
				t.Fatal(err)
			}
			if _, err := rebuild.ParseNote(b); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func TestDamagedNotesAreRefused(t *testing.T) {
	good, err := sampleEvidence().Note()
	if err != nil {
		t.Fatal(err)
	}
	for n := range len(good) - 4 { // the last bytes may be padding
		if _, err := rebuild.ParseNote(good[:n]); err == nil {
			t.Errorf("accepted the first %d of %d bytes", n, len(good))
		}
	}
	for i := range 20 { // its head
		bad := bytes.Clone(good)
		bad[i] ^= 0x40
		if _, err := rebuild.ParseNote(bad); err == nil {
			t.Errorf("accepted another byte at %d", i)
		}
	}
}

func TestFilesWithoutEvidenceSaySo(t *testing.T) {
	path := compile(t, "int main(void) { return 0; }")
	if _, err := rebuild.ReadEvidence(path); !errors.Is(err, rebuild.ErrNoEvidence) || !strings.Contains(err.Error(), path) {
		t.Errorf("%v", err)
	}
	text := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(text, []byte("no ELF"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := rebuild.ReadEvidence(text); err == nil || errors.Is(err, rebuild.ErrNoEvidence) {
		t.Errorf("%v", err)
	}
}

func FuzzReadEvidence(f *testing.F) {
	f.Add([]byte("\x7fELF"))
	if _, err := exec.LookPath("gcc"); err == nil {
		again := compile(f, tinySource(f))
		dir := f.TempDir()
		if _, path, err := rebuild.Match(f.Context(), ship(f, again), again, dir, rebuild.Origin{}); err == nil {
			if data, err := os.ReadFile(path); err == nil {
				f.Add(data)
			}
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if e, err := rebuild.EvidenceIn(bytes.NewReader(data)); err == nil && e.Functions < e.Identical {
			t.Errorf("accepted %+v", e)
		}
	})
}

func FuzzParseNote(f *testing.F) {
	if b, err := sampleEvidence().Note(); err == nil {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		e, err := rebuild.ParseNote(data)
		if err != nil {
			return
		}
		if _, err := e.Note(); err != nil {
			t.Errorf("%+v cannot be written: %v", e, err)
		}
		if e.Verified && e.Functions == 0 && !e.SameBuildID {
			t.Errorf("accepted %+v", e)
		}
	})
}

func TestUnmetDependenciesAreSplitAtPackages(t *testing.T) {
	got := rebuild.SplitDepends("debhelper-compat (= 13) libfoo-dev | libbar-dev (>= 2) gcc-multilib")
	want := []string{"debhelper-compat (= 13)", "libfoo-dev | libbar-dev (>= 2)", "gcc-multilib"}
	if strings.Join(got, ",") != strings.Join(want, ",") {
		t.Errorf("got %q", got)
	}
}
