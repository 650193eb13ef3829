package image_test

import (
	"debug/dwarf"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"hotpatch/internal/image"
	"hotpatch/internal/testkit"
)

// withSection adds a section to the file at path, and returns path.
func withSection(t testing.TB, path, name, content string) string {
	t.Helper()
	testkit.Tools(t, "objcopy")
	file := filepath.Join(t.TempDir(), "section")
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	testkit.Run(t, "objcopy", "--add-section", name+"="+file, path)
	return path
}

func TestLinkToASupplementaryFile(t *testing.T) {
	const id = "\x01\x02\xab"
	for _, c := range []struct {
		name, section, content string
		path, id, fault        string
	}{
		{"relative", ".gnu_debugaltlink", "../../.dwz/x.debug\x00" + id, "../../.dwz/x.debug", "0102ab", ""},
		{"absolute", ".gnu_debugaltlink", "/usr/lib/debug/.dwz/x\x00" + id, "/usr/lib/debug/.dwz/x", "0102ab", ""},
		{"no path", ".gnu_debugaltlink", "\x00" + id, "", "", "no path"},
		{"no build-id", ".gnu_debugaltlink", "x\x00", "", "", "no path"},
		{"not ended", ".gnu_debugaltlink", "x", "", "", "no path"},
		{"long build-id", ".gnu_debugaltlink", "x\x00" + strings.Repeat("x", 65), "", "", "no path"},
		{"DWARF 5", ".debug_sup", "\x05\x00\x00x.debug\x00\x03" + id, "x.debug", "0102ab", ""},
		{"DWARF 5, the file itself", ".debug_sup", "\x05\x00\x01\x00\x03" + id, "", "", "itself"},
		{"DWARF 5, another version", ".debug_sup", "\x06\x00\x00x\x00\x03" + id, "", "", "no name"},
		{"DWARF 5, short checksum", ".debug_sup", "\x05\x00\x00x\x00\x04" + id, "", "", "no name"},
		{"DWARF 5, no checksum", ".debug_sup", "\x05\x00\x00x\x00", "", "", "no name"},
		{"DWARF 5, no name", ".debug_sup", "\x05\x00\x00\x00\x03" + id, "", "", "no name"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			path := withSection(t, compile(t, typed, "-g"), c.section, c.content)
			m := open(t, path)
			link, err := m.SharedLink()
			if c.fault != "" {
				if err == nil || !strings.Contains(err.Error(), c.fault) || !strings.Contains(err.Error(), c.section) {
					t.Errorf("link %v, error %v", link, err)
				}
				if _, err := m.DWARF(); err == nil {
					t.Error("types were read without what they refer to")
				}
				return
			}
			if err != nil || link == nil || *link != (image.SharedLink{Path: c.path, BuildID: image.BuildID(c.id), From: path}) {
				t.Errorf("link %v, error %v", link, err)
			}
			if _, err := m.DWARF(); !errors.Is(err, image.ErrNoShared) || errors.Is(err, image.ErrNoDWARF) || !strings.Contains(err.Error(), c.path) {
				t.Errorf("types without the supplementary file: %v", err)
			}
		})
	}
	if link, err := open(t, compile(t, typed, "-g")).SharedLink(); link != nil || err != nil {
		t.Errorf("without one: %v, error %v", link, err)
	}
	if link, err := open(t, compile(t, typed)).SharedLink(); link != nil || err != nil {
		t.Errorf("without types: %v, error %v", link, err)
	}
}

// shareOut compiles two programs and lets dwz share out their types.
func shareOut(t *testing.T, args ...string) (one, common string) {
	t.Helper()
	testkit.Tools(t, "dwz")
	const many = "struct more { char name[80]; long size; struct more *next; } more; enum { RED, GREEN, BLUE } color; typedef struct { int x, y; } point; point at;\n"
	a, b := compile(t, many+typed, "-g"), compile(t, many+typed+"int last;", "-g")
	dir := t.TempDir()
	common = filepath.Join(dir, "common")
	cmd := exec.Command("dwz", append(slices.Clone(args), "-m", common, a, b)...)
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("dwz: %v\n%s", err, text)
	}
	return a, common
}

func TestSupplementaryFileMustHaveTheBuildID(t *testing.T) {
	path, common := shareOut(t)
	_, other := shareOut(t, "-5")
	text := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(text, []byte(strings.Repeat("no ELF ", 20)), 0o600); err != nil {
		t.Fatal(err)
	}
	bare := filepath.Join(t.TempDir(), "bare")
	testkit.Run(t, "objcopy", "--remove-section=.debug_info", common, bare)
	m := open(t, path)
	for file, fault := range map[string]string{other: "its build-id is", text: "not an ELF file", path: "its build-id is", bare: "no types", "/nonexistent": "no such file"} {
		if err := m.AttachShared(file); err == nil || !strings.Contains(err.Error(), fault) || !strings.Contains(err.Error(), file) {
			t.Errorf("%s: error %v, want %q", file, err, fault)
		}
	}
	if m.SharedPath() != "" {
		t.Errorf("%s is attached", m.SharedPath())
	}
	if err := m.AttachShared(common); err != nil {
		t.Fatal(err)
	}
	d, err := m.DWARF()
	if err != nil || d.Shared == nil {
		t.Fatalf("%v, error %v", d, err)
	}
	if _, ok := d.SharedString(uint64(len(d.SharedStrings))); ok {
		t.Error("a string behind the end")
	}
	// Replaced behind our back.
	if err := os.Rename(other, common); err != nil {
		t.Fatal(err)
	}
	if _, err := m.DWARF(); err == nil || !strings.Contains(err.Error(), "build-id") {
		t.Errorf("after it was replaced: %v", err)
	}
	if err := open(t, compile(t, typed, "-g")).AttachShared(common); err == nil {
		t.Error("attached to an image that has no link")
	}
}

func TestSupplementaryFileOfDWARF5KnowsItselfByItsChecksum(t *testing.T) {
	path, common := shareOut(t, "-5")
	testkit.Run(t, "objcopy", "--remove-section=.note.gnu.build-id", common)
	m := open(t, path)
	if err := m.AttachShared(common); err != nil {
		t.Fatal(err)
	}
	d, err := m.DWARF()
	if err != nil {
		t.Fatal(err)
	}
	e, err := d.Shared.Reader().Next()
	if err != nil || e.Tag != dwarf.TagPartialUnit {
		t.Errorf("first entry %v, error %v", e, err)
	}
}
