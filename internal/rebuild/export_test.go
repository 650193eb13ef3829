package rebuild

import "io"

var (
	SplitDepends = splitDepends
	ParseNote    = parseNote
)

func (e *Evidence) Note() ([]byte, error) { return e.note() }

// EvidenceIn reads the note of a debug file that may be anything.
func EvidenceIn(r io.ReaderAt) (*Evidence, error) { return readEvidence(r) }
