package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"unicode"

	"golang.org/x/sync/errgroup"
	"golang.org/x/term"
)

// isTerminal says whether people read w as it is written.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// palette colours words; the zero value leaves them as they are.
type palette struct{ on bool }

func paletteFor(w io.Writer) palette {
	return palette{on: isTerminal(w) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"}
}

// paint sets one attribute (ECMA-48 SGR) around s.
func (p palette) paint(attribute int, s string) string {
	if !p.on || s == "" {
		return s
	}
	return fmt.Sprintf("\x1b[%dm%s\x1b[m", attribute, s)
}

func (p palette) bold(s string) string { return p.paint(1, s) }
func (p palette) dim(s string) string  { return p.paint(2, s) }
func (p palette) bad(s string) string  { return p.paint(31, s) }
func (p palette) good(s string) string { return p.paint(32, s) }
func (p palette) warn(s string) string { return p.paint(33, s) }

// plain makes text from a file or another process harmless on a terminal:
// control and other unprintable characters become '?'.
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		if r == unicode.ReplacementChar || !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
}

// writeJSON writes v as the whole output of a command.
func writeJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("write result: %w", err)
	}
	return nil
}

// writeJSONList is writeJSON for a list that may be long: its elements are encoded
// on all processors.
func writeJSONList[T any](w io.Writer, list []T) error {
	if len(list) < 2*pieceSize {
		return writeJSON(w, list)
	}
	pieces := make([]bytes.Buffer, (len(list)+pieceSize-1)/pieceSize)
	err := inPieces(len(list), func(from, to int) error {
		b := &pieces[from/pieceSize]
		enc := json.NewEncoder(b)
		enc.SetIndent("  ", "  ")
		enc.SetEscapeHTML(false)
		for i := from; i < to; i++ {
			b.WriteString("  ")
			if err := enc.Encode(list[i]); err != nil {
				return err
			}
			b.Truncate(b.Len() - 1) // Encode ends the line
			if i < len(list)-1 {
				b.WriteByte(',')
			}
			b.WriteByte('\n')
		}
		return nil
	})
	if err == nil {
		all := bytes.NewBufferString("[\n")
		for i := range pieces {
			all.Write(pieces[i].Bytes())
		}
		all.WriteString("]\n")
		_, err = w.Write(all.Bytes())
	}
	if err != nil {
		return fmt.Errorf("write result: %w", err)
	}
	return nil
}

// pieceSize is how many elements of a list one goroutine takes at a time.
const pieceSize = 32

// inPieces calls f for the pieces of a list of n elements, as many at a time as
// there are processors. The error is one of those that f had.
func inPieces(n int, f func(from, to int) error) error {
	var all errgroup.Group
	all.SetLimit(runtime.GOMAXPROCS(0))
	for from := 0; from < n; from += pieceSize {
		all.Go(func() error { return f(from, min(from+pieceSize, n)) })
	}
	return all.Wait()
}

// bytesText is a size for people.
func bytesText(n int64) string {
	switch {
	case n < 1000:
		return fmt.Sprintf("%d bytes", n)
	case n < 1000_000:
		return fmt.Sprintf("%.1f kB", float64(n)/1000)
	default:
		return fmt.Sprintf("%.1f MB", float64(n)/1000_000)
	}
}

// count is "1 thread", "2 threads".
func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	if s, ok := strings.CutSuffix(noun, "ess"); ok { // process
		return fmt.Sprintf("%d %sesses", n, s)
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
