package build

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"hotpatch/internal/patch"
)

// The fixed words of patch.Reason.Code.
const (
	// Review: the bundle is written, and somebody has to look.
	layoutUnverified = "layout-unverified"
	layoutPadding    = "layout-padding"
	dataInferred     = "data-inferred"
	dataInitChanged  = "data-init-changed"
	mapStep          = "map-step"
	newVariable      = "new-variable"
	tableCarried     = "table-carried"
	neverReturns     = "never-returns"
	pairingUncertain = "pairing-uncertain"
	imageGone        = "image-gone"
	enumChanged      = "enum-changed"
	ownershipMoved   = "ownership-moved"
	allocChanged     = "allocation-changed"
	newCallback      = "new-callback"
	functionSplit    = "function-split"
	symbolBounds     = "symbol-bounds"
	muchChanged      = "much-changed"
	otherCompiler    = "other-compiler"
	imageLeftOut     = "image-left-out"
	goesWith         = "goes-with"
	libraryList      = "library-list"
	exportGone       = "export-gone"
	pairingMoved     = "pairing-moved"
	runsOnce         = "runs-once"
	startOnly        = "start-only"

	// Refused: nothing is written.
	enumRenumbered   = "enum-renumbered"
	branchIntoEntry  = "branch-into-entry"
	coroutineChanged = "coroutine-changed"
	dataUnmapped     = "data-unmapped"
	dataOnly         = "data-only"
	endPointer       = "end-pointer"
	entryCrossesPage = "entry-crosses-page"
	entryTooSmall    = "entry-too-small"
	exceptions       = "exceptions"
	exportMoved      = "export-moved"
	ifuncPLT         = "ifunc-plt"
	layoutChanged    = "layout-changed"
	librariesChanged = "libraries-changed"
	linkFailed       = "link-failed"
	newTLS           = "new-tls"
	nonPIE           = "non-pie"
	noUnwindData     = "no-unwind-data"
	placesKept       = "places-kept"
	rebuiltCompiler  = "rebuilt-compiler"
	referenceUnbound = "reference-unbound"
	startupChanged   = "startup-changed"
	textRelocation   = "text-relocation"
	undecodable      = "undecodable"
	unreachedNew     = "unreached-new"
	unsupportedImage = "unsupported-image"

	// Of a package among those of its source; of no bundle.
	heldBackCode = "held-back"
)

// reviewable says whether a person may accept what the code stands for.
func reviewable(code string) bool {
	switch code {
	case layoutUnverified, layoutPadding, dataInferred, dataInitChanged, mapStep, newVariable, tableCarried,
		neverReturns, pairingUncertain, imageGone, enumChanged, ownershipMoved, allocChanged, newCallback, functionSplit, symbolBounds, muchChanged, otherCompiler, imageLeftOut, goesWith, libraryList, exportGone,
		pairingMoved, runsOnce, startOnly:
		return true
	}
	return false
}

// reasons collects what speaks against a clean verdict of one image.
type reasons struct {
	image string
	list  []patch.Reason
}

func (r *reasons) add(code, function, format string, args ...any) {
	r.list = append(r.list, patch.Reason{Code: code, Image: r.image, Function: function, Detail: fmt.Sprintf(format, args...)})
}

func (r *reasons) has(code string) bool {
	return slices.ContainsFunc(r.list, func(x patch.Reason) bool { return x.Code == code })
}

func (r *reasons) refused() bool {
	return slices.ContainsFunc(r.list, func(x patch.Reason) bool { return !reviewable(x.Code) })
}

// maxReasons is how many reasons of one code are spelled out per image.
const maxReasons = 20

// bounded sorts the reasons, removes repetitions and cuts long lists of one
// code, saying how many more there are. Refusals come first.
func bounded(list []patch.Reason) []patch.Reason {
	list = slices.Clone(list)
	slices.SortFunc(list, func(a, b patch.Reason) int {
		return cmp.Or(cmp.Compare(a.Image, b.Image), rank(a.Code)-rank(b.Code), strings.Compare(a.Code, b.Code),
			strings.Compare(a.Function, b.Function), strings.Compare(a.Detail, b.Detail))
	})
	list = slices.Compact(list)
	out := []patch.Reason{}
	for i := 0; i < len(list); {
		j := i
		for j < len(list) && list[j].Image == list[i].Image && list[j].Code == list[i].Code {
			j++
		}
		n := min(j-i, maxReasons)
		out = append(out, list[i:i+n]...)
		if more := j - i - n; more > 0 {
			out = append(out, patch.Reason{Code: list[i].Code, Image: list[i].Image, Detail: fmt.Sprintf("and %d more", more)})
		}
		i = j
	}
	return out
}

func rank(code string) int {
	if reviewable(code) {
		return 1
	}
	return 0
}
