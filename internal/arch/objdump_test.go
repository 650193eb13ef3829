package arch_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"hotpatch/internal/arch"
	"hotpatch/internal/testkit"
)

// wholeFiles are disassembled completely when they are there; the C library
// always, since every machine that runs this has one.
var wholeFiles = []string{
	"/lib/x86_64-linux-gnu/libc.so.6",
	"/lib/x86_64-linux-gnu/libcrypto.so.3",
	"/lib/x86_64-linux-gnu/libm.so.6",
}

// TestDecodeAgreesWithObjdump compares lengths, branch targets and RIP-relative
// targets over whole files. HOTPATCH_DECODE_FILES (a list as in PATH) adds
// files.
func TestDecodeAgreesWithObjdump(t *testing.T) {
	if _, err := exec.LookPath("objdump"); err != nil {
		testkit.Skip(t, "objdump is not installed (binutils)")
	}
	files := append([]string{}, wholeFiles...)
	files = append(files, filepath.SplitList(os.Getenv("HOTPATCH_DECODE_FILES"))...)
	compared := 0
	for _, f := range files {
		if _, err := os.Stat(f); err != nil {
			continue
		}
		if testing.Short() && compared > 0 {
			break
		}
		t.Run(filepath.Base(f), func(t *testing.T) { compareWithObjdump(t, f) })
		compared++
	}
	if compared == 0 {
		testkit.Skip(t, "no C library at the places of Debian")
	}
}

func compareWithObjdump(t *testing.T, file string) {
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, "objdump", "-d", "-w", "--insn-width=16", file)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	n, bad := 0, 0
	var code []byte
	lines := bufio.NewScanner(out)
	lines.Buffer(make([]byte, 1<<20), 1<<20)
	for lines.Scan() && bad < 20 {
		l, ok := parseObjdump(lines.Bytes(), &code)
		if !ok {
			continue
		}
		n++
		if why := disagreement(l); why != "" {
			bad++
			t.Errorf("%x: % x  %s: %s", l.addr, l.code, l.text, why)
		}
	}
	cancel()
	cmd.Wait()
	if n < 1000 {
		t.Fatalf("only %d instructions read from objdump", n)
	}
	t.Logf("%d instructions", n)
}

type objdumpLine struct {
	addr uint64
	code []byte
	text string
}

// parseObjdump reads " 4011:\t48 89 e5 \tmov %rsp,%rbp". It answers false for
// headings and for what objdump itself could not decode.
func parseObjdump(line []byte, buf *[]byte) (objdumpLine, bool) {
	f := bytes.SplitN(line, []byte("\t"), 3)
	if len(f) != 3 || bytes.Contains(f[2], []byte("(bad)")) {
		return objdumpLine{}, false
	}
	addr, err := strconv.ParseUint(strings.TrimSuffix(strings.TrimSpace(string(f[0])), ":"), 16, 64)
	if err != nil {
		return objdumpLine{}, false
	}
	*buf = (*buf)[:0]
	for _, x := range bytes.Fields(f[1]) {
		if *buf, err = hex.AppendDecode(*buf, x); err != nil {
			return objdumpLine{}, false
		}
	}
	return objdumpLine{addr, *buf, string(f[2])}, !isData(*buf, string(f[2]))
}

// isData recognises what objdump prints only for the tables that stand among
// hand-written code: cut-off bytes, prefixes alone, a REX that the instruction
// cannot have, branches whose size depends on the vendor.
func isData(code []byte, text string) bool {
	for _, p := range []string{".byte", "rex", "jmpw", "callw"} {
		if strings.HasPrefix(text, p) {
			return true
		}
	}
	for _, c := range code {
		switch c {
		case 0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x66, 0x67, 0xf0, 0xf2, 0xf3:
		default:
			if c&0xf0 != 0x40 {
				return false
			}
		}
	}
	return true
}

// disagreement says how Decode differs from the line, "" when it does not.
func disagreement(l objdumpLine) string {
	code, addr := l.code, l.addr
	in, err := arch.Decode(code)
	// objdump joins fwait to the x87 instruction behind it: fstcw and kin.
	if err == nil && in.Map == 0 && in.Op == 0x9b && len(code) > int(in.Len) {
		code, addr = code[in.Len:], addr+uint64(in.Len)
		in, err = arch.Decode(code)
	}
	if err != nil {
		return err.Error()
	}
	if int(in.Len) != len(code) {
		return "length " + strconv.Itoa(int(in.Len))
	}
	want, isRef := objdumpTarget(l.text)
	got, ok := in.Target(addr, code)
	if in.Addr32 && in.Base == arch.RIP {
		want = uint64(uint32(want)) // objdump does not cut eip-relative addresses
	}
	if ok != isRef || ok && got != want {
		return "target " + strconv.FormatUint(got, 16)
	}
	return ""
}

// objdumpTarget finds "# 1d6e10 <x>" of RIP-relative operands and "jmp 4011 <x>".
func objdumpTarget(text string) (uint64, bool) {
	if i := strings.Index(text, "# "); i >= 0 {
		s, _, _ := strings.Cut(text[i+2:], " ")
		v, err := strconv.ParseUint(strings.TrimPrefix(s, "0x"), 16, 64)
		return v, err == nil
	}
	text, _, _ = strings.Cut(text, "<")
	f := strings.Fields(text)
	if len(f) < 2 {
		return 0, false
	}
	op := strings.TrimSuffix(strings.TrimSuffix(f[len(f)-2], ",pn"), ",pt")
	if op[0] != 'j' && !strings.HasPrefix(op, "call") && !strings.HasPrefix(op, "loop") && op != "xbegin" {
		return 0, false
	}
	v, err := strconv.ParseUint(strings.TrimPrefix(f[len(f)-1], "0x"), 16, 64)
	return v, err == nil
}
