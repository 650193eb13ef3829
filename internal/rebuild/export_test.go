package rebuild

import "io"

var (
	SplitDepends = splitDepends
	ParseNote    = parseNote
)

func (e *Evidence) Note() ([]byte, error) { return e.note() }

// EvidenceIn reads the note of a debug file that may be anything.
func EvidenceIn(r io.ReaderAt) (*Evidence, error) { return readEvidence(r) }

// MatchFiles compares two files and keeps what matches below dir.
func MatchFiles(shipped, rebuilt, dir string) (*Evidence, string, error) {
	m, err := matchFiles(shipped, rebuilt)
	if err != nil {
		return nil, "", err
	}
	path, err := m.keepTypes(shipped, rebuilt, dir)
	return &m.evidence, path, err
}
