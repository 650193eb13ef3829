// Package build makes a hotpatch from two packages, directories or ELF files:
// it reads both sides, has them compared, decides what to carry, emits the
// objects, links them once for trial and gives the verdict.
package build

import (
	"context"
	"errors"

	"hotpatch/internal/patch"
)

var errTODO = errors.New("not built yet")

// Options are the choices of one build. The zero value is the default.
type Options struct {
	Accept     string // reason: accept a bundle that needs review at once
	By         string // who accepts
	DebugBase  string // debug file (or directory of debug files by build-id) of the base
	DebugFixed string
	All        bool // carry every function that can be carried, changed or not (a torture test)
	// Progress, when not nil, is told what happens: from one goroutine, in order.
	Progress func(Event)
}

// Event is one step of a build: reading, pairing, mapping, emitting, linking, done.
type Event struct {
	Image       string // "" for the package as a whole
	Step        string // one word
	Done, Total int    // images
}

// Report is what a build found; its JSON is the documented output of
// `hotpatch build --json`.
type Report struct {
	Verdict patch.Verdict  `json:"verdict"`
	Reasons []patch.Reason `json:"reasons"`
	Images  []ImageReport  `json:"images"`
	Bundle  *BundleInfo    `json:"bundle"` // null when nothing was written
}

// ImageReport is one ELF image of the package that differs.
type ImageReport struct {
	Path         string           `json:"path"`
	BuildIDBase  string           `json:"build_id_base"`
	BuildIDFixed string           `json:"build_id_fixed"`
	Counts       patch.Counts     `json:"counts"`
	Functions    []patch.Function `json:"functions"`
}

// BundleInfo identifies the bundle.
type BundleInfo struct {
	ID   patch.ID `json:"id"`
	Size int64    `json:"size"` // bytes of the encoded file
}

// Build compares base with fixed. The bundle is nil when the verdict is
// refused or nothing; a refusal is not an error.
func Build(ctx context.Context, base, fixed string, o Options) (*Report, *patch.Bundle, error) {
	return nil, nil, errTODO
}
