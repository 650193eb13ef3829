package deb

import (
	"context"
	"io"
)

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

// Raise puts a guard up and leaves it, as a killed run does.
func (s System) Raise(ctx context.Context) error {
	if err := s.prepare(); err != nil {
		return err
	}
	_, err := s.raise(ctx)
	return err
}
