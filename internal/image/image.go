// Package image reads one ELF file as what it means to hotpatch: sections with
// a class, functions, symbols, relocations, PLT and GOT names, and unwind
// ranges. It reads files, never processes, and never decodes instructions:
// code that only decoding can cut (no unwind data) is left as a gap.
//
// ELF: gABI 4.1 and the x86-64 psABI 1.0; .eh_frame: LSB 5.0 §10.6; RELR: the
// gABI proposal of 2018.
package image

import (
	"debug/dwarf"
	"debug/elf"
	"errors"
	"io"
)

var errTODO = errors.New("not built yet")

// Addr is a virtual address as linked in the file (not where it is loaded).
type Addr uint64

// BuildID is the lower-case hex GNU build-id.
type BuildID string

// Class says what an address in an image is for.
type Class uint8

const (
	None   Class = iota // in no section
	Text                // instructions
	PLT                 // .plt, .plt.sec, .plt.got
	ROData              // constants
	RelRO               // .data.rel.ro: constants that hold addresses
	GOT                 // .got, .got.plt
	Data                // initialised variables
	BSS                 // zero variables
	Init                // .init_array and its kin
	TLS                 // .tdata, .tbss
	Meta                // .dynsym, .eh_frame, notes, ...
)

// Writable says whether running code may have changed what is there: Data or BSS.
func (c Class) Writable() bool { return c == Data || c == BSS }

// Section is one allocated section. Data is nil for BSS.
type Section struct {
	Name       string
	Addr, Size Addr
	Align      uint64
	Class      Class
	Data       []byte
}

// Source says how the bounds of a function are known.
type Source uint8

const (
	FromFDE    Source = iota // an FDE of .eh_frame (the trusted source)
	FromSymbol               // only a symbol has its size
	FromGap                  // code that nothing describes
)

// Func is a stretch of code [Lo, Hi).
type Func struct {
	Lo, Hi Addr
	Names  []string // symbols at Lo, sorted; .symtab and .dynsym; empty when stripped
	Source Source
	LSDA   Addr // language-specific data; 0: none
	// Fragment: the unwind data starts inside a frame (CFA is not rsp+8 at Lo),
	// or the name ends in .cold: a part of some function, never entered by call.
	Fragment bool
	Index    int // position in Image.Funcs
}

// Name is the first name, or fn_<hex of Lo>.
func (f *Func) Name() string { panic(errTODO) }

// Reloc is one dynamic relocation (RELA, or RELR with its addend read in place).
type Reloc struct {
	At      Addr
	Type    elf.R_X86_64
	Sym     string // "" for none
	Version string // "GLIBC_2.14", "" for none
	SymAddr Addr   // where this image defines Sym; 0 when it only imports it
	Add     int64
}

// Symbol is a defined symbol.
type Symbol struct {
	Name, Version string
	Addr          Addr
	Size          uint64
	Type          elf.SymType
	Dynamic       bool // from .dynsym: may be used across images
	Local         bool // STB_LOCAL: the name may repeat
}

// Image is one ELF file. It is immutable after Open and safe to share.
type Image struct {
	Path              string // as given to Open, for messages
	BuildID           BuildID
	PIE               bool // ET_DYN: position independent
	Library           bool // has a DT_SONAME or no PT_INTERP
	Soname            string
	Sections          []*Section // allocated, by address
	Funcs             []*Func    // by Lo, no overlap
	Relocs            []Reloc    // by At
	Symbols           []Symbol   // defined ones, by address
	Loads             []Load     // PT_LOAD, by address
	TLSSize, TLSAlign uint64     // PT_TLS memory size and alignment, 0: none
	TLSInit           []byte     // its initial bytes (file size)
	Needed            []string   // DT_NEEDED
	Stripped          bool       // no .symtab
}

// Load is a PT_LOAD segment.
type Load struct {
	Addr           Addr
	Off, File, Mem uint64
	Flags          elf.ProgFlag
}

// Open reads the ELF file at path. Errors name the file and the offset or
// section at fault: not ELF, 32 bits, another architecture, a relocatable
// object, no build-id, Go binaries, truncated or oversized tables.
func Open(path string) (*Image, error) { return nil, errTODO }

// Read is Open over any reader (a file inside a package, a process's memory).
func Read(r io.ReaderAt, size int64, name string) (*Image, error) { return nil, errTODO }

// SectionAt is the section that holds a; the end address of a section belongs
// to it when nothing else starts there. nil: none.
func (m *Image) SectionAt(a Addr) *Section { panic(errTODO) }

// ClassAt is the class of the section at a, None when there is none.
func (m *Image) ClassAt(a Addr) Class { panic(errTODO) }

// Bytes returns the n bytes at a, and fewer (or none) where the section ends
// or has no content in the file. The slice must not be written.
func (m *Image) Bytes(a Addr, n int) []byte { panic(errTODO) }

// FuncAt is the function whose range holds a, nil when there is none.
func (m *Image) FuncAt(a Addr) *Func { panic(errTODO) }

// RelocAt is the relocation that writes the 8 bytes at a, nil when there is none.
func (m *Image) RelocAt(a Addr) *Reloc { panic(errTODO) }

// RelocsIn are the relocations with lo <= At < hi.
func (m *Image) RelocsIn(lo, hi Addr) []Reloc { panic(errTODO) }

// Import names what a PLT entry or GOT slot leads to.
type Import struct{ Name, Version string }

// PLTName tells which import the PLT entry at a calls.
// ok is false for IFUNC slots without a name and where a starts no entry.
func (m *Image) PLTName(a Addr) (Import, bool) { panic(errTODO) }

// PLTOf is the PLT entry that calls name (any version when v is "").
func (m *Image) PLTOf(name, v string) (Addr, bool) { panic(errTODO) }

// GOTOf is the slot that GLOB_DAT or JUMP_SLOT fills with name.
func (m *Image) GOTOf(name, v string) (Addr, bool) { panic(errTODO) }

// SymbolsAt are the symbols with exactly this address.
func (m *Image) SymbolsAt(a Addr) []Symbol { panic(errTODO) }

// Dynamic is the exported symbol of that name, if this image defines it.
func (m *Image) Dynamic(name string) (Symbol, bool) { panic(errTODO) }

// Gaps are the stretches of executable sections that are no function and no
// PLT, padding included.
func (m *Image) Gaps() []Range { panic(errTODO) }

// Range is [Lo, Hi).
type Range struct{ Lo, Hi Addr }

// AttachDebug adds names (symbols, hence Func.Names) and DWARF from a separate
// debug file; its build-id must equal the image's (or be absent in both).
// To be called before the image is shared.
func (m *Image) AttachDebug(path string) error { return errTODO }

// DWARF is the type information of the file or its debug file.
// ErrNoDWARF when there is none.
func (m *Image) DWARF() (*dwarf.Data, error) { return nil, errTODO }

// ErrNoDWARF says that neither the image nor an attached file has types.
var ErrNoDWARF = errors.New("no debug information")

// FDE is one frame description entry with the CIE it refers to.
type FDE struct {
	Lo, Hi  Addr
	CIE     *CIE
	LSDA    Addr
	Program []byte // call frame instructions
}

// CIE is a common information entry.
type CIE struct {
	CodeAlign      uint64
	DataAlign      int64
	ReturnReg      uint64
	SignalFrame    bool // 'S'
	HasPersonality bool
	PersonalityAt  Addr // address (or slot, when indirect) of the personality
	Program        []byte
}

// FDEs decodes the .eh_frame bytes that are at addr. The entries are sorted by
// Lo and do not overlap. Bounded: every length is checked against the section.
func FDEs(data []byte, addr Addr) ([]FDE, error) { return nil, errTODO }
