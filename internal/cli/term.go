package cli

import (
	"encoding/json"
	"fmt"
	"image/color"
	"io"
	"os"
	"strings"
	"unicode"

	"charm.land/lipgloss/v2"
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

func (p palette) fg(c color.Color, s string) string {
	if !p.on {
		return s
	}
	return lipgloss.NewStyle().Foreground(c).Render(s)
}

func (p palette) good(s string) string { return p.fg(lipgloss.Green, s) }
func (p palette) warn(s string) string { return p.fg(lipgloss.Yellow, s) }
func (p palette) bad(s string) string  { return p.fg(lipgloss.Red, s) }

func (p palette) dim(s string) string {
	if !p.on {
		return s
	}
	return lipgloss.NewStyle().Faint(true).Render(s)
}

func (p palette) bold(s string) string {
	if !p.on {
		return s
	}
	return lipgloss.NewStyle().Bold(true).Render(s)
}

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
