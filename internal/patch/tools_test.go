package patch_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"hotpatch/internal/patch"
	"hotpatch/internal/testkit"
)

// tool runs a program of binutils or gdb and returns what it wrote to standard
// output and standard error. The test is skipped when it is not installed.
func tool(t *testing.T, name string, args ...string) (stdout, stderr string) {
	t.Helper()
	testkit.Tools(t, name)
	var out, errs bytes.Buffer
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C", "TZ=UTC")
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if _, exit := err.(*exec.ExitError); err != nil && !exit {
		t.Fatal(err)
	}
	return out.String(), errs.String()
}

// quiet wants no word of complaint.
func quiet(t *testing.T, what, stderr string) {
	t.Helper()
	if stderr != "" {
		t.Errorf("%s complains:\n%s", what, stderr)
	}
}

func contains(t *testing.T, out string, patterns ...string) {
	t.Helper()
	for _, p := range patterns {
		if !regexp.MustCompile(`(?m)` + p).MatchString(out) {
			t.Errorf("no match for %s in:\n%s", p, out)
		}
	}
}

func writeTemp(t *testing.T, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestReadelfReadsTheObject(t *testing.T) {
	for name, o := range map[string]*patch.Object{
		"sample": sampleObject(), "big": bigObject(),
		"empty": {BaseBuildID: "00", Hi: 0x1000, RWEnd: 0x1000},
	} {
		out, stderr := tool(t, "readelf", "-aW", writeTemp(t, "x.o", encodeObject(t, o)))
		quiet(t, "readelf -a ("+name+")", stderr)
		if strings.Contains(out, "arning") || strings.Contains(out, "<corrupt") {
			t.Errorf("%s: readelf warns:\n%s", name, out)
		}
	}
	path := writeTemp(t, "x.o", encodeObject(t, sampleObject()))
	out, _ := tool(t, "readelf", "-aW", path)
	contains(t, out,
		`DYN \(Shared object file\)`,
		`\.text\.0 +PROGBITS +0*2010 .* AX `, `\.rodata\.0 +PROGBITS +0*2800 .* A `, `\.eh_frame +PROGBITS +0*5000 .* A `,
		`\.data\.rel\.ro\.0 +PROGBITS +0*6ff8 .* A `, `\.data\.0 +PROGBITS +0*9000 .* WA `,
		`LOAD .* R E 0x1000`, `LOAD .* RW +0x1000`,
		`^0*2015 .* R_X86_64_PC32 .* base:fn_1180 - 4`, `^0*7000 .* R_X86_64_RELATIVE +2020`,
		`^0*9000 .* R_X86_64_64 .* write@GLIBC_2\.2\.5 \+ 0`,
		`0*2010 +9 FUNC +LOCAL +DEFAULT +1 first`, `0*1180 +0 FUNC +LOCAL +DEFAULT +ABS base:fn_1180`,
		`hotpatch +0x00000014`, `data: 00 11 22 33 44 55`)
	out, stderr := tool(t, "readelf", "-wf", path)
	quiet(t, "readelf -wf", stderr)
	contains(t, out, `FDE .* pc=0*2010\.\.0*2018`)
}

func TestObjdumpShowsFunctions(t *testing.T) {
	path := writeTemp(t, "x.o", encodeObject(t, sampleObject()))
	out, stderr := tool(t, "objdump", "-d", path)
	quiet(t, "objdump -d", stderr)
	contains(t, out, `^0*2010 <first>:`, `^0*2020 <second>:`, `2026:\tc3 +\tret`, `^0*8000 <third>:`)
	for _, option := range []string{"-r", "-h", "-t", "-p", "-s"} {
		_, stderr := tool(t, "objdump", option, path)
		quiet(t, "objdump "+option, stderr)
	}
}

func TestArchiveToolsReadTheBundle(t *testing.T) {
	path := writeTemp(t, "x.hotpatch", encode(t, acceptedBundle(t)))
	out, stderr := tool(t, "ar", "t", path)
	quiet(t, "ar t", stderr)
	if out != "hotpatch-1\nmanifest.json\nimage-0.o\nbefore-0.json\naccepted.json\n" {
		t.Errorf("ar t: %q", out)
	}
	out, stderr = tool(t, "ar", "p", path, "image-0.o")
	quiet(t, "ar p", stderr)
	if out != string(encodeObject(t, sampleObject())) {
		t.Error("ar p gives other bytes than the object")
	}
	// Both name the members that are text and go on.
	out, _ = tool(t, "objdump", "-d", path)
	contains(t, out, `^image-0\.o: +file format elf64-x86-64`, `^0*2010 <first>:`)
	out, _ = tool(t, "readelf", "-SW", path)
	contains(t, out, `image-0\.o`, `\.text\.0`)
}

func TestGDBLoadsTheObjectAtItsPlace(t *testing.T) {
	path := writeTemp(t, "x.o", encodeObject(t, sampleObject()))
	out, stderr := tool(t, "gdb", "-nx", "-batch", "-ex", "add-symbol-file "+path+" -o 0x100000",
		"-ex", "info symbol 0x102012", "-ex", "info address third", "-ex", "info line *0x102010")
	if strings.Contains(stderr, "arning") {
		t.Errorf("gdb warns:\n%s", stderr)
	}
	contains(t, out, `first \+ 2 in section \.text\.0`, `Symbol "third" is at 0x108000 `)
}

func TestGDBDisassemblesTheFile(t *testing.T) {
	path := writeTemp(t, "x.o", encodeObject(t, sampleObject()))
	out, stderr := tool(t, "gdb", "-nx", "-batch", "-ex", "disassemble first", path)
	quiet(t, "gdb", stderr)
	contains(t, out, `0x0*2010 <\+0>:\tendbr64`)
}
