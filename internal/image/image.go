// Package image reads one ELF file as what it means to hotpatch: sections with
// a class, functions, symbols, relocations, PLT and GOT names, and unwind
// ranges. It reads files, never processes, and never decodes instructions:
// code that only decoding can cut (no unwind data) is left as a gap.
//
// ELF: gABI 4.1 and the x86-64 psABI 1.0; .eh_frame: LSB 5.0 §10.6; RELR: the
// gABI proposal of 2018.
package image

import (
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
)

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
	// Fragment: a part of some function, never entered by call. Its unwind data
	// starts inside a frame (CFA is not rsp+8 at Lo), or its name ends in .cold,
	// or it has no name and lies inside a symbol: assembler code with several
	// FDEs, as clone and setcontext of glibc. Without symbols, a part split off
	// a function that has no frame looks like any other.
	Fragment bool
	Index    int // position in Image.Funcs
}

// Reloc is one dynamic relocation (RELA, or RELR with its addend read in place).
type Reloc struct {
	At      Addr
	Type    elf.R_X86_64
	Func    bool   // Sym is a function, by its symbol, which need not tell
	Sym     string // "" for none
	Version string // "GLIBC_2.14", "" for none
	SymAddr Addr   // where this image defines Sym (of TLS: its offset); 0 when it only imports it
	// Number is the value of Sym where this image defines it as a number and not as
	// an address (SHN_ABS); nil when it does not.
	Number *uint64
	Add    int64
}

// Image is one ELF file. It is immutable after Open and safe to share.
type Image struct {
	Path              string // as given to Open, for messages
	BuildID           BuildID
	PIE               bool // ET_DYN: position independent
	Library           bool // has a DT_SONAME, or nothing that makes it a program (PT_INTERP, DF_1_PIE)
	Soname            string
	Sections          []*Section // allocated, by address
	Funcs             []*Func    // by Lo, no overlap
	Relocs            []Reloc    // by At; in a program at a fixed address also the pointers that need none
	Kept              []Kept     // by At; of code, in programs at a fixed address that keep them
	Symbols           []Symbol   // defined ones, by address, those of TLS last
	Sources           []string   // files that .symtab names, in its order; names may repeat
	Loads             []Load     // PT_LOAD, by address
	TLSSize, TLSAlign uint64     // PT_TLS memory size and alignment, 0: none
	TLSInit           []byte     // its initial bytes (file size)
	Needed            []string   // DT_NEEDED
	SearchPaths       []string   // DT_RPATH, DT_RUNPATH
	Filters           []string   // DT_FILTER, DT_AUXILIARY
	Symbolic          bool       // DT_SYMBOLIC, DF_SYMBOLIC: its own symbols come first
	Stripped          bool       // no .symtab, and none attached
	Guards            Guards

	reopen    func() (io.ReaderAt, int64, io.Closer, error)
	debug     string // path of the attached debug file
	shared    string // path of its supplementary file
	debugLink string
	hasDWARF  bool
	frames    []FDE

	sectionIndex Index // over mapped
	mapped       []*Section
	funcIndex    Index
	relocIndex   Index
	symbolIndex  Index // over Symbols[:addressed]
	addressed    int   // symbols that are addresses; those of TLS follow
	dynamic      map[string]int
	pltNames     map[Addr]Import
	pltEntries   map[Import]Addr
	gotSlots     map[Import]Addr
	unkept       error
	canonical    map[Import]Addr
	weak         map[Import]bool // undefined weak symbols of .dynsym
}

// Guards is what the file asks the kernel and the loader to protect when a process
// starts.
type Guards struct {
	Stack bool // PT_GNU_STACK: no code on stacks
	RelRO bool // PT_GNU_RELRO: what relocations fill is constant afterwards
	Now   bool // DT_BIND_NOW and its kin: the GOT is filled at once, so is constant with RelRO
	Text  bool // no DT_TEXTREL: code is never writable
}

// Load is a PT_LOAD segment.
type Load struct {
	Addr           Addr
	Off, File, Mem uint64
	Flags          elf.ProgFlag
}

// ErrNoBuildID says that the file has no GNU build-id: nothing could tell
// whether a process runs it.
var ErrNoBuildID = errors.New("has no build-id")

// ErrGoBinary says that the file was linked by Go, whose runtime walks and
// moves stacks by tables of its own.
var ErrGoBinary = errors.New("is a Go program; hotpatch patches C and C++")

// Open reads the ELF file at path. Errors name the file and the offset or
// section at fault: not ELF, 32 bits, another architecture, a relocatable
// object, no build-id (ErrNoBuildID), Go binaries (ErrGoBinary), truncated or
// oversized tables.
func Open(path string) (*Image, error) {
	r, size, c, err := openPath(path)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	m, err := Read(r, size, path)
	if err != nil {
		return nil, err
	}
	m.reopen = func() (io.ReaderAt, int64, io.Closer, error) { return openPath(path) }
	return m, nil
}

// openPath opens a regular file. Its errors name the file already.
func openPath(path string) (io.ReaderAt, int64, io.Closer, error) {
	// Opening a pipe would wait for its writer.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, 0, nil, err
	}
	st, err := f.Stat()
	if err == nil && !st.Mode().IsRegular() {
		err = fmt.Errorf("read %s: not a regular file", path)
	}
	if err != nil {
		f.Close()
		return nil, 0, nil, err
	}
	return f, st.Size(), f, nil
}

// Read is Open over any reader (a file inside a package, a process's memory).
// r is read again by DWARF only.
func Read(r io.ReaderAt, size int64, name string) (*Image, error) {
	m, err := read(r, size, name)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return m, nil
}

func read(r io.ReaderAt, size int64, name string) (*Image, error) {
	f, err := openFile(r, size, name)
	if err != nil {
		return nil, err
	}
	for _, s := range []string{".gopclntab", ".go.buildinfo", ".note.go.buildid"} {
		if f.section(s) != nil {
			return nil, fmt.Errorf("%w (it has a section %s)", ErrGoBinary, s)
		}
	}
	m := &Image{
		Path: name,
		PIE:  f.typ == elf.ET_DYN,
		reopen: func() (io.ReaderAt, int64, io.Closer, error) {
			return r, size, io.NopCloser(nil), nil
		},
		hasDWARF: f.hasDWARF(),
	}
	if m.BuildID, err = f.buildID(); err != nil {
		return nil, err
	}
	if m.BuildID == "" {
		return nil, ErrNoBuildID
	}
	if m.debugLink, err = f.debugLink(); err != nil {
		return nil, err
	}
	for _, step := range []func(*file) error{
		m.readLoads, m.readSections, m.readDynamic, m.readSymbols, m.readRelocs, m.readFuncs, m.splitConstants,
	} {
		if err := step(f); err != nil {
			return nil, err
		}
	}
	m.namePLT()
	return m, nil
}

// Range is [Lo, Hi).
type Range struct{ Lo, Hi Addr }
