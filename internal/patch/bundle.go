// Package patch is the hotpatch file: what is in it, its identity, and how it
// is read and written. It makes no decision; docs/FORMAT.md is its
// specification and a test holds the two together.
package patch

import "time"

// ID identifies a hotpatch: lower-case hex SHA-256 of its manifest, which in
// turn holds the digest of every object. An acceptance does not change it.
type ID string

// Short is the first 12 digits, for people.
func (id ID) Short() string {
	if len(id) > 12 {
		return string(id[:12])
	}
	return string(id)
}

// Verdict is what the builder says of a bundle.
type Verdict string

const (
	Clean   Verdict = "clean"   // may be applied
	Review  Verdict = "review"  // may be applied once someone accepted it
	Refused Verdict = "refused" // never written
	Nothing Verdict = "nothing" // no code differs; never written
)

// Reason is why a verdict is not clean. Code is a fixed word ("data-unmapped"),
// Detail a sentence a person can act on.
type Reason struct {
	Code     string `json:"code"`
	Image    string `json:"image"`
	Function string `json:"function"`
	Detail   string `json:"detail"`
}

// Mode says what a stack may hold while entries are written.
type Mode string

const (
	// Strict: no replaced function may be on any stack.
	Strict Mode = "strict"
	// Independent: the only function that is replaced may finish in its old
	// code where it is on a stack. See docs/SAFETY.md for what proves it.
	Independent Mode = "independent"
)

// Manifest describes a bundle. Encoded as indented JSON with sorted content:
// same inputs, same bytes. It holds no time and no host.
type Manifest struct {
	Format       int      `json:"format"` // 1
	Package      string   `json:"package,omitempty"`
	Source       string   `json:"source,omitempty"`
	BaseVersion  string   `json:"base_version,omitempty"`
	FixedVersion string   `json:"fixed_version,omitempty"`
	Arch         string   `json:"arch"` // "amd64"
	CVEs         []string `json:"cves"`
	Changes      []string `json:"changes,omitempty"` // changelog lines between the versions
	Verdict      Verdict  `json:"verdict"`
	Reasons      []Reason `json:"reasons"`
	Mode         Mode     `json:"mode"`
	Images       []Image  `json:"images"`
	// LeftOut are the images of the package that differ and are not patched: a
	// process that maps one of them is refused.
	LeftOut []LeftOut `json:"left_out,omitempty"`
}

// LeftOut is an image that a hotpatch of its package is not for.
type LeftOut struct {
	Path         string `json:"path"`
	BuildIDBase  string `json:"build_id_base,omitempty"`  // "": no program for x86-64, which no such process maps
	BuildIDFixed string `json:"build_id_fixed,omitempty"` // "": not known
}

// Image is one base image and the object that fixes it.
type Image struct {
	Path         string `json:"path"` // in the package ("/usr/bin/redis-server") or the file name
	BuildIDBase  string `json:"build_id_base"`
	BuildIDFixed string `json:"build_id_fixed"`
	Object       string `json:"object"`           // member name
	Digest       string `json:"digest"`           // hex SHA-256 of the object
	Before       string `json:"before,omitempty"` // hex SHA-256 of the member with the code before; "": there is none
	// Unwinds: exceptions may have to pass through the code. The process is
	// patched only where its unwinder can be told of it.
	Unwinds   bool       `json:"unwinds,omitempty"`
	Counts    Counts     `json:"counts"`
	Sites     []Site     `json:"sites"` // by Base
	Functions []Function `json:"functions"`
}

// Counts are functions by state.
type Counts struct {
	Same    int `json:"same"`
	Changed int `json:"changed"`
	New     int `json:"new"`
	Gone    int `json:"gone"`
}

// Function is one that is not the same in both images.
type Function struct {
	Name      string `json:"name"`  // fn_<hex base address> when it has none
	State     string `json:"state"` // changed, new, gone, noise
	BaseAddr  uint64 `json:"base_addr"`
	FixedAddr uint64 `json:"fixed_addr"`
	Size      uint64 `json:"size"` // bytes, in the fixed image (gone: base)
	Why       string `json:"why"`
}

// Gone says that only the base image has it. Nobody jumps or calls there any more,
// but a thread may be inside: a process waits for that as for the ranges of sites.
func (f *Function) Gone() bool { return f.State == "gone" }

// Site is one function entry of the base image that is redirected.
type Site struct {
	Name string `json:"name"`
	Base uint64 `json:"base"` // entry of the base function
	Jump uint64 `json:"jump"` // offset from Base where the 5-byte jump goes: 0, or 4 behind endbr64
	To   uint64 `json:"to"`   // address in the object of the code that takes over
	// Ranges [lo, hi) of the base function and its parts (.cold): while a
	// return address or program counter is in one of them, the site is busy.
	// They include the padding behind it that the jump may overwrite.
	Ranges [][2]uint64 `json:"ranges"`
	// PreImage is the hex SHA-256 over the bytes of all Ranges, in order, as
	// they are in the base file. A process whose bytes differ is not touched.
	PreImage string `json:"preimage"`
	Old      string `json:"old"` // hex of the 5 bytes the jump replaces
}

// Acceptance records who took responsibility for a bundle that needs review.
type Acceptance struct {
	By     string    `json:"by"`
	Reason string    `json:"reason"`
	At     time.Time `json:"at"` // UTC, whole seconds
	ID     ID        `json:"id"` // the bundle it is for
}

// Bundle is a hotpatch file in memory.
type Bundle struct {
	Manifest Manifest
	Objects  []*Object   // one per Manifest.Images, same order
	Before   [][]byte    // nil, or one per Manifest.Images (see DecodeBefore; empty: none): for reviewers alone
	Accepted *Acceptance // nil: nobody did
}
