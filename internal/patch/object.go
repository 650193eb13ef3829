package patch

// Object is the code and data that one patched image carries: a position
// independent ELF file (ET_DYN, x86-64) that readelf, objdump -d and gdb read.
//
// Its addresses are those of the fixed image: carried functions, the constants
// they use and their jump tables keep their distances, so nothing inside needs
// relocating. [Lo, Hi) is reserved as one read-execute span of which only the
// pages under Chunks are populated; [Hi, RWEnd) is read-write: new variables
// and GOT slots for new imports. All three are page aligned. What leaves the
// span is in Relocs.
type Object struct {
	BaseBuildID string // hex; the image this binds to (.note.hotpatch.base)
	Lo, Hi      uint64
	RWEnd       uint64
	Chunks      []Chunk  // by Addr, no overlap, each inside [Lo,Hi) or [Hi,RWEnd)
	Symbols     []Symbol // names for people and targets of Relocs
	Relocs      []Reloc  // by At
	EHFrame     uint64   // address of the carried .eh_frame chunk, 0: none
}

// ChunkKind says what a chunk holds; it chooses section name and flags.
type ChunkKind uint8

const (
	Code     ChunkKind = iota // .text.<n>   AX
	Const                     // .rodata.<n> A
	Table                     // .data.rel.ro.<n> A: constants with relocations
	Unwind                    // .eh_frame   A
	Var                       // .data.<n>   WA  (in the read-write part)
	Handlers                  // .gcc_except_table.<n> A: what code does with exceptions
)

// Chunk is a run of bytes at an address.
type Chunk struct {
	Kind ChunkKind
	Addr uint64
	Data []byte
}

// SymbolKind tells in which space a symbol's value is.
type SymbolKind uint8

const (
	Internal SymbolKind = iota // Value is an address in the object
	Base                       // Value is an address in the base image (SHN_ABS, name "base:NAME")
	Import                     // looked up in the process by Name and Version (SHN_UNDEF, "name@VERSION")
)

// Symbol names a place.
type Symbol struct {
	Kind    SymbolKind
	Name    string // without the "base:" prefix or "@VERSION"
	Version string // Import only; "" for none
	Weak    bool   // Import only: 0 where nothing in the process defines it (STB_WEAK)
	Value   uint64 // Internal, Base
	Size    uint64 // Internal functions and variables
	Func    bool
}

// RelocType is how a field is computed. S: the run-time address of the symbol
// (or, with Sym < 0, the run-time address of object address Add, and A = 0),
// A: Add, P: the run-time address of the field.
type RelocType uint8

const (
	PC32   RelocType = iota // S + A - P, signed 32 bits (R_X86_64_PC32)
	Abs64                   // S + A, 64 bits (R_X86_64_64; Sym < 0: R_X86_64_RELATIVE)
	Abs32                   // S + A, 32 bits without sign (R_X86_64_32): of programs at a fixed address
	Abs32S                  // S + A, 32 bits with sign (R_X86_64_32S)
)

// Reloc is one field to fill at link time.
type Reloc struct {
	At   uint64 // address in the object
	Type RelocType
	Sym  int // index into Symbols; -1: the object itself
	Add  int64
}
