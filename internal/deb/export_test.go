package deb

import "io"

// For fuzzing and for tables, without files.
var (
	Read         = read
	ParseControl = parseControl
	ParseMadison = parseMadison
	AptError     = aptError
	CleanName    = cleanName
)

// MD5Names are the names in a list of digests.
func MD5Names(r io.Reader) ([]string, error) {
	files, err := parseMD5Sums(r)
	var names []string
	for _, f := range files {
		names = append(names, f.name)
	}
	return names, err
}
