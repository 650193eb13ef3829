package proc

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"

	"golang.org/x/sys/unix"
)

// Auxv is what the kernel told a program at its start, as getauxval(3) gives it
// out: pairs of 64-bit words, the last one (AT_NULL) included. It is
// /proc/TID/auxv or, where permissions do not open that, what the kernel has put
// on the program's stack. tid as in Info.Live.
func Auxv(tid int) ([]byte, error) {
	b, err := record(unix.AT_FDCWD, path(tid, "auxv"), nil)
	if err == unix.EACCES {
		return stackAuxv(tid)
	}
	if err != nil {
		return nil, explain("read auxiliary vector", tid, err)
	}
	return b, nil
}

// maxStart bounds the words that a program starts with. Arguments and
// environment take 6 MiB at most where nobody has raised the limit of the stack.
const maxStart = 1 << 20

// stackAuxv walks over what the System V ABI (x86-64 psABI, 3.4.1) has at the
// start of the stack: argc, argv, a null, the environment, a null, the vector.
// Programs write into these lists: unsetenv(3) leaves nulls behind. So the vector
// begins with the first word that is neither null nor a pointer: a type of entry.
func stackAuxv(tid int) ([]byte, error) {
	at, err := stackStart(tid)
	if err != nil {
		return nil, err
	}
	mem, err := OpenMem(tid)
	if err != nil {
		return nil, err
	}
	defer mem.Close()
	page := make([]byte, 4096)
	var out []byte
	const notTypes = 4096 // the least pointer
	for words := 0; words < maxStart; {
		// To the end of a page at a time: behind the stack there is nothing.
		part := page[:len(page)-int(at%uint64(len(page)))]
		if _, err := mem.ReadAt(part, int64(at)); err != nil {
			return nil, fmt.Errorf("read the start of the stack: %w", err)
		}
		at += uint64(len(part))
		for ; len(part) >= 8; part = part[8:] {
			words++
			w := binary.LittleEndian.Uint64(part)
			switch {
			case words == 1: // argc
			case len(out) == 0 && (w == 0 || w >= notTypes): // arguments, environment
			default:
				out = append(out, part[:8]...)
				if n := len(out); n%16 == 0 && binary.LittleEndian.Uint64(out[n-16:]) == 0 {
					return out, nil
				}
			}
		}
	}
	return nil, errors.New("read the start of the stack: it has no end")
}

// stackStart is field 28 of proc_pid_stat(5).
func stackStart(tid int) (uint64, error) {
	var arr [1024]byte
	b, err := record(unix.AT_FDCWD, path(tid, "stat"), arr[:0])
	if err != nil {
		return 0, explain("read the start of the stack", tid, err)
	}
	const field, first = 28, 3 // first: behind the name
	f := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:])
	if len(f) <= field-first {
		return 0, fmt.Errorf("read the start of the stack: stat has %d fields after the name", len(f))
	}
	at, err := strconv.ParseUint(string(f[field-first]), 10, 64)
	if err != nil || at == 0 || at%8 != 0 { // 0: the kernel does not tell us
		return 0, fmt.Errorf("read the start of the stack: stat says %q", f[field-first])
	}
	return at, nil
}
