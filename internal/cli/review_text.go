package cli

import (
	"fmt"
	"io"
	"strings"

	"hotpatch/internal/patch"
)

const (
	contextLines   = 4 // shown around what differs
	shownConstants = 10
)

// notMarked is what a reviewer must not take the absence of a mark for.
const notMarked = "not marked: other targets of a jump table, constants behind their first 64 bytes, versions and line numbers in strings"

// printReview is the review for people: what it is, what it changes, why it
// needs somebody to look, whether somebody did, and then the code.
func (a *app) printReview(file string, b *patch.Bundle, r *reviewJSON, f reviewFlags) error {
	var w strings.Builder
	a.reviewWords(&w, b, r)
	if !f.summary {
		for i := range r.Images {
			a.reviewCode(&w, r, &r.Images[i])
		}
	}
	if err := a.page(w.String(), f.noPager || f.summary); err != nil {
		return err
	}
	if r.Verdict == patch.Review && b.Accepted == nil {
		a.hint(fmt.Sprintf("hotpatch review %s --accept REASON accepts it", file))
	}
	return nil
}

func (a *app) reviewWords(w io.Writer, b *patch.Bundle, r *reviewJSON) {
	m := &b.Manifest
	fmt.Fprintf(w, "%s  %s (id %s)\n", a.verdictText(m.Verdict), title(m), r.ID.Short())
	if text := fixesText(m); text != "" {
		fmt.Fprintf(w, "         %s\n", text)
	}
	fmt.Fprintf(w, "         %s\n", summary(m))
	if len(m.Changes) > 0 {
		fmt.Fprintf(w, "\n%s\n", a.outStyle.bold("What the distribution says"))
		for i, line := range m.Changes {
			if i == shownChanges {
				fmt.Fprintf(w, "  and %d more lines\n", len(m.Changes)-shownChanges)
				break
			}
			fmt.Fprintf(w, "  %s\n", plain(line))
		}
	}
	fmt.Fprintf(w, "\n%s\n", a.outStyle.bold("What changes"))
	for i, im := range m.Images {
		a.printImage(w, im.Path, im.Counts, im.Functions, shownFunctions)
		if text := r.Images[i].Exceptions; text != "" {
			fmt.Fprintf(w, "  exceptions %s\n", text)
		}
	}
	for _, l := range m.LeftOut {
		fmt.Fprintf(w, "%s  left out: it differs and stays as it is\n", plain(l.Path))
	}
	if len(m.Reasons) > 0 {
		fmt.Fprintf(w, "\n%s\n", a.outStyle.bold("Why it needs review"))
		a.printReasons(w, m.Reasons)
	}
	fmt.Fprintln(w)
	switch {
	case b.Accepted != nil:
		fmt.Fprintf(w, "%s by %s on %s: %s\n", a.outStyle.good("accepted"), plain(b.Accepted.By),
			b.Accepted.At.Format("2006-01-02 15:04 MST"), plain(b.Accepted.Reason))
	case m.Verdict == patch.Review:
		fmt.Fprintf(w, "%s: nobody has accepted it, so nothing applies it\n", a.outStyle.warn("not accepted"))
	default:
		fmt.Fprintf(w, "it needs no review\n")
	}
}

// summary is the size of a bundle in one sentence.
func summary(m *patch.Manifest) string {
	var sites int
	var c patch.Counts
	for _, im := range m.Images {
		sites += len(im.Sites)
		c.Changed += im.Counts.Changed
		c.New += im.Counts.New
		c.Gone += im.Counts.Gone
	}
	text := fmt.Sprintf("replaces %s in %s", count(sites, "function"), count(len(m.Images), "image"))
	if c.New > 0 {
		text += fmt.Sprintf(", brings %d new", c.New)
	}
	if c.Gone > 0 {
		text += fmt.Sprintf(", drops %d", c.Gone)
	}
	return text
}

// reviewCode shows the functions of one image.
func (a *app) reviewCode(w io.Writer, r *reviewJSON, im *reviewImage) {
	fmt.Fprintf(w, "\n%s\n", a.outStyle.bold("The code of "+plain(im.Path)))
	fmt.Fprintln(w, a.outStyle.dim("- before, at addresses of the base image; + after, at addresses of the fixed one; names and labels stand for addresses"))
	fmt.Fprintln(w, a.outStyle.dim(notMarked))
	if !im.Recorded {
		fmt.Fprintln(w, a.outStyle.warn("the file does not record the code before: only the code after is shown"))
	}
	for _, f := range im.shownWithCode() {
		a.reviewFunction(w, r, im.Path, &f)
	}
}

func (a *app) reviewFunction(w io.Writer, r *reviewJSON, image string, f *reviewFunction) {
	fmt.Fprintf(w, "\n%s  %s\n", a.outStyle.bold(plain(f.Name)), f.head())
	row := func(name, text string) {
		if text != "" {
			fmt.Fprintf(w, "  %s %s\n", a.outStyle.dim(name+":"), text)
		}
	}
	row("why", plain(f.Why))
	row("called by", plain(f.callers()))
	list := func(name string, texts []string) {
		for i, s := range texts {
			if i == shownConstants {
				row(name, fmt.Sprintf("and %d more", len(texts)-i))
				break
			}
			row(name, plain(s))
		}
	}
	list("no longer uses", f.Removed)
	list("now uses", f.Added)
	for _, x := range r.reasonsOf(image, f.Name) {
		fmt.Fprintf(w, "  %s %s\n", a.outStyle.warn(plain(x.Code)+":"), plain(x.Detail))
	}
	if note := f.unmoved(); note != "" {
		fmt.Fprintf(w, "  %s\n", a.outStyle.dim(note))
	}
	fmt.Fprintln(w)
	for _, h := range hunks(f.Code, f.State == "changed") {
		if h.same > 0 {
			fmt.Fprintf(w, "  %s\n", a.outStyle.dim(fmt.Sprintf("        … %s …", count(h.same, "equal instruction"))))
			continue
		}
		for _, l := range h.lines {
			a.reviewLine(w, &l)
		}
	}
}

// head is what a function is, in a few words.
func (f *reviewFunction) head() string {
	text := fmt.Sprintf("%s, %d bytes", f.State, f.Size)
	switch {
	case f.BaseAddr != 0 && f.FixedAddr != 0:
		text += fmt.Sprintf(" (%#x → %#x)", f.BaseAddr, f.FixedAddr)
	case f.BaseAddr != 0:
		text += fmt.Sprintf(" (%#x)", f.BaseAddr)
	default:
		text += fmt.Sprintf(" (→ %#x)", f.FixedAddr)
	}
	if n, m := f.tally(); n+m > 0 && f.State == "changed" {
		text += fmt.Sprintf(", -%d +%d instructions", n, m)
	}
	return text
}

// unmoved says where to look when no instruction differs.
func (f *reviewFunction) unmoved() string {
	if n, m := f.tally(); f.State != "changed" || n+m > 0 || !f.Proved {
		return ""
	}
	return "its instructions are the same: what differs is something they lead to"
}

func (f *reviewFunction) tally() (removed, added int) {
	for _, l := range f.Code {
		switch l.Op {
		case "-":
			removed++
		case "+":
			added++
		}
	}
	return removed, added
}

func (f *reviewFunction) callers() string {
	text := strings.Join(f.Callers, ", ")
	if f.MoreCallers > 0 {
		text += fmt.Sprintf(" and %d more", f.MoreCallers)
	}
	return text
}

func (a *app) reviewLine(w io.Writer, l *reviewLine) {
	at, paint := l.Fixed, func(s string) string { return s }
	switch l.Op {
	case "-":
		at, paint = l.Base, a.outStyle.bad
	case "+":
		paint = a.outStyle.good
	}
	label := ""
	if l.Label != "" {
		label = l.Label + ":"
	}
	text := fmt.Sprintf("%s %8x %5s  %s", l.Op, at, label, l.Text)
	if l.Note != "" {
		text = fmt.Sprintf("%-54s  # %s", text, plain(l.Note))
	}
	fmt.Fprintf(w, "%s\n", paint(text))
}

// hunk is a run of lines to show, or a number of equal ones to leave out.
type hunk struct {
	lines []reviewLine
	same  int
}

// hunks cuts a diff into what differs, with some lines around it, and the rest.
// A diff that is not to be folded, or has nothing that differs, is one hunk.
func hunks(code []reviewLine, fold bool) []hunk {
	near := make([]bool, len(code)) // close to a difference
	any := false
	for i := range code {
		if code[i].Op == " " {
			continue
		}
		any = true
		for k := max(0, i-contextLines); k <= min(len(code)-1, i+contextLines); k++ {
			near[k] = true
		}
	}
	if !fold || !any {
		if len(code) == 0 {
			return nil
		}
		return []hunk{{lines: code}}
	}
	var out []hunk
	for i := 0; i < len(code); {
		j := i
		for j < len(code) && near[j] == near[i] {
			j++
		}
		h := hunk{lines: code[i:j]}
		if !near[i] && j-i > 1 {
			h.same = j - i
		}
		out = append(out, h)
		i = j
	}
	return out
}
