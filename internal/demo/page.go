package demo

import (
	"fmt"
	"image/color"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"charm.land/lipgloss/v2"
	"github.com/charmbracelet/colorprofile"
	"golang.org/x/term"
)

// page writes the show: a label on the left, what it did on the right, the rest
// indented below. On a terminal the line of the step in progress changes until
// the step is done; elsewhere only what was done is written.
type page struct {
	w     io.Writer
	live  bool
	width int // columns
	began time.Time
}

const (
	margin = "  "
	column = 10 // where the text starts, behind the margin
)

func newPage(w io.Writer, live bool) *page {
	p := &page{w: w, live: live, width: 96, began: time.Now()}
	if !live {
		return p
	}
	if f, ok := w.(*os.File); ok {
		if n, _, err := term.GetSize(int(f.Fd())); err == nil && n > 40 {
			p.width = min(n, 110)
		}
	}
	p.w = colorprofile.NewWriter(w, os.Environ()) // fewer colours where the terminal has fewer
	return p
}

func (p *page) style(s lipgloss.Style, text string) string {
	if !p.live {
		return text
	}
	return s.Render(text)
}

func (p *page) fg(c color.Color, text string) string {
	return p.style(lipgloss.NewStyle().Foreground(c), text)
}

func (p *page) good(s string) string { return p.fg(lipgloss.Green, s) }
func (p *page) bad(s string) string  { return p.fg(lipgloss.Red, s) }
func (p *page) warn(s string) string { return p.fg(lipgloss.Yellow, s) }
func (p *page) dim(s string) string  { return p.style(lipgloss.NewStyle().Faint(true), s) }
func (p *page) bold(s string) string { return p.style(lipgloss.NewStyle().Bold(true), s) }

func (p *page) title(s string) {
	fmt.Fprintf(p.w, "\n%s%s\n", margin, p.style(lipgloss.NewStyle().Bold(true).Foreground(lipgloss.Cyan), s))
}

func (p *page) gap() { fmt.Fprintln(p.w) }

// note is a sentence across the page.
func (p *page) note(s string) {
	p.clear()
	for _, line := range wrap(s, p.width-len(margin)) {
		fmt.Fprintf(p.w, "%s%s\n", margin, p.dim(line))
	}
}

// doing shows what is being done until the next line is written.
func (p *page) doing(label, what string) {
	if !p.live {
		return
	}
	line := what + " …"
	if room := p.width - len(margin) - column - 1; lipgloss.Width(line) > room {
		line = string([]rune(line)[:room-1]) + "…"
	}
	fmt.Fprintf(p.w, "\r\x1b[K%s%s%s", margin, p.fg(lipgloss.Cyan, pad(label, column)), p.dim(line))
}

// clear removes the line of the step in progress.
func (p *page) clear() {
	if p.live {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
}

// did says what a step came to; more are lines below it.
func (p *page) did(label, what string, more ...string) {
	p.clear()
	fmt.Fprintf(p.w, "%s%s%s\n", margin, p.fg(lipgloss.Cyan, pad(label, column)), what)
	indent := margin + strings.Repeat(" ", column)
	for _, m := range more {
		for _, line := range wrap(m, p.width-len(indent)) {
			fmt.Fprintf(p.w, "%s%s\n", indent, line)
		}
	}
}

func (p *page) table(rows [][2]string) {
	p.clear()
	left := 0
	for _, r := range rows {
		left = max(left, len(r[0]))
	}
	for _, r := range rows {
		fmt.Fprintf(p.w, "%s%s%s\n", margin, p.dim(pad(r[0], left+2)), r[1])
	}
}

// wrap breaks text at spaces so that no line is wider than width; colours do
// not count.
func wrap(text string, width int) []string {
	return strings.Split(lipgloss.Wrap(text, max(width, 20), " "), "\n")
}

func pad(s string, n int) string {
	return s + strings.Repeat(" ", max(1, n-lipgloss.Width(s)))
}

// round shortens a duration to what a reader takes in: 0.41 ms, 12 ms, 1.2 s.
func round(d time.Duration) string {
	switch {
	case d < 10*time.Millisecond:
		return fmt.Sprintf("%.2f ms", d.Seconds()*1000)
	case d < time.Second:
		return fmt.Sprintf("%.0f ms", d.Seconds()*1000)
	}
	return fmt.Sprintf("%.1f s", d.Seconds())
}

// thousands groups digits: 1,234,567.
func thousands(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// count is "1 thread" or "5 threads".
func count(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return thousands(int64(n)) + " " + what
}

func bytesOf(n int64) string {
	if n < 1<<20 {
		return fmt.Sprintf("%.0f KiB", float64(n)/(1<<10))
	}
	return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
}
