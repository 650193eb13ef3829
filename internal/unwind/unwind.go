// Package unwind answers one question: which return addresses are on this
// stack? It only reads memory and never touches a register or a process.
//
// CFI: DWARF 5 §6.4; .eh_frame differences: LSB 5.0 §10.6; registers: x86-64
// psABI figure 3.36.
package unwind

import (
	"errors"
	"io"

	"hotpatch/internal/image"
)

var errTODO = errors.New("not built yet")

// Regs are the DWARF registers 0..16: rax rdx rcx rbx rsi rdi rbp rsp r8..r15 rip.
type Regs [17]uint64

const (
	RSP = 7
	RIP = 16
)

// Module is one loaded image's unwind data.
type Module struct {
	Name   string // for messages
	Lo, Hi uint64 // run-time range of its executable mappings
	Bias   uint64 // run-time minus file address
	Table  *Table
}

// Table is the parsed unwind data of one image; shared between processes.
type Table struct{ FDEs []image.FDE }

// Space is all modules of one process. Build it before the process is stopped:
// nothing in Stack is lazy.
type Space struct{ modules []Module }

// NewSpace sorts the modules. Overlapping ranges are an error.
func NewSpace(ms []Module) (*Space, error) { return nil, errTODO }

// Stack returns the program counter and every return address, innermost first.
// An error means that the stack could not be read to its end: then the
// addresses found so far prove nothing, and the thread is unsafe.
// mem reads the process at run-time addresses (io.ReaderAt offset = address).
func (s *Space) Stack(regs Regs, mem io.ReaderAt) ([]uint64, error) { return nil, errTODO }
