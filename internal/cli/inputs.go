package cli

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// checkInput is an error for what cannot be compared at all.
func checkInput(path string, info os.FileInfo) error {
	if info.IsDir() {
		return nil
	}
	var head string
	if info.Mode().IsRegular() { // opening a pipe would wait for its writer
		f, err := os.Open(path)
		if err != nil {
			return fmt.Errorf("build: %w", err)
		}
		defer f.Close()
		var first [8]byte
		n, err := io.ReadFull(f, first[:])
		if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
			return fmt.Errorf("build: %w", err)
		}
		head = string(first[:n])
	}
	if !strings.HasPrefix(head, "\x7fELF") && head != "!<arch>\n" {
		return fmt.Errorf("build: %s is neither a .deb, a directory nor an ELF file", path)
	}
	return nil
}

// checkOutput finds out before any work that a file cannot be written.
func checkOutput(file string) error {
	dir := filepath.Dir(file)
	info, err := os.Stat(dir)
	switch {
	case os.IsNotExist(err):
		return fmt.Errorf("build: write %s: directory %s does not exist", file, dir)
	case err != nil:
		return fmt.Errorf("build: write %s: %w", file, err)
	case !info.IsDir():
		return fmt.Errorf("build: write %s: %s is not a directory", file, dir)
	}
	return nil
}
