package cli

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"os"

	"hotpatch/internal/patch"
)

//go:embed review.html.tmpl
var reviewPage string

// reviewView is what the page shows.
type reviewView struct {
	*reviewJSON
	Title, Summary, Applies string
	Fixes                   string // which CVEs, and how that is known
	LeftOut                 []patch.LeftOut
	NotMarked               string
	Kinds                   []reviewKind
	Parts                   []reviewPart
}

// reviewKind is a reason with the places where it was found.
type reviewKind struct {
	Code, Means, Todo string
	Places            []string
}

type reviewPart struct {
	reviewImage
	Index     int
	Noise     int
	Functions []reviewEntry
}

type reviewEntry struct {
	reviewFunction
	ID, Head, CalledBy, Unmoved string
	Minus, Plus                 int
	Open                        bool
	Concerns                    []reviewReason
	Hunks                       []reviewHunk
}

// reviewHunk is a stretch of the diff, side by side; folded when nothing in it
// differs.
type reviewHunk struct {
	Folded int
	Rows   []reviewRow
}

// reviewRow has a line of the code before on its left and one of the code after
// on its right; nil: none.
type reviewRow struct{ Left, Right *reviewLine }

// openRows is how long the diff of a function may be to be open at first.
const openRows = 120

// writeReviewPage writes the review as one HTML page that needs nothing else.
func writeReviewPage(path string, b *patch.Bundle, r *reviewJSON) error {
	var out bytes.Buffer
	page, err := template.New("review").Funcs(template.FuncMap{"hex": func(a uint64) string { return fmt.Sprintf("%x", a) }}).Parse(reviewPage)
	if err == nil {
		err = page.Execute(&out, viewOf(b, r))
	}
	if err == nil {
		err = os.WriteFile(path, out.Bytes(), 0o644)
	}
	if err != nil {
		return fmt.Errorf("write page: %w", err)
	}
	return nil
}

func viewOf(b *patch.Bundle, r *reviewJSON) *reviewView {
	v := &reviewView{reviewJSON: r, Title: title(&b.Manifest), Summary: summary(&b.Manifest), Fixes: fixesText(&b.Manifest),
		LeftOut: b.Manifest.LeftOut, NotMarked: notMarked}
	switch {
	case r.Accepted != nil:
		v.Applies = fmt.Sprintf("Accepted by %s on %s: %s", r.Accepted.By, r.Accepted.At.Format("2006-01-02 15:04 MST"), r.Accepted.Reason)
	case r.Verdict == patch.Review:
		v.Applies = "Nobody has accepted it, so nothing applies it."
	default:
		v.Applies = "It needs no review."
	}
	v.Kinds = kindsOf(r.Reasons)
	for i := range r.Images {
		im := &r.Images[i]
		p := reviewPart{reviewImage: *im, Index: i}
		for k, f := range im.shownWithCode() {
			p.Functions = append(p.Functions, entryOf(r, im.Path, fmt.Sprintf("f%d-%d", i, k), f))
		}
		p.Noise = len(im.Functions) - len(p.Functions)
		v.Parts = append(v.Parts, p)
	}
	return v
}

func kindsOf(rs []reviewReason) []reviewKind {
	var out []reviewKind
	at := map[string]int{}
	for _, r := range rs {
		i, ok := at[r.Code]
		if !ok {
			i = len(out)
			at[r.Code] = i
			out = append(out, reviewKind{Code: r.Code, Means: r.Means, Todo: r.Todo})
		}
		out[i].Places = append(out[i].Places, reasonLine(r.Reason))
	}
	return out
}

func entryOf(r *reviewJSON, image, id string, f reviewFunction) reviewEntry {
	e := reviewEntry{reviewFunction: f, ID: id, Head: f.head(), CalledBy: f.callers(), Unmoved: f.unmoved(), Concerns: r.reasonsOf(image, f.Name)}
	e.Minus, e.Plus = f.tally()
	shown := 0
	for _, h := range hunks(f.Code, f.State == "changed") {
		x := reviewHunk{Folded: h.same, Rows: sideBySide(h.lines)}
		if h.same == 0 {
			shown += len(x.Rows)
		}
		e.Hunks = append(e.Hunks, x)
	}
	e.Open = shown <= openRows
	return e
}

// sideBySide puts the lines that go next to those that come.
func sideBySide(lines []reviewLine) []reviewRow {
	var out []reviewRow
	for i := 0; i < len(lines); {
		if l := &lines[i]; l.Op == " " {
			out = append(out, reviewRow{l, l})
			i++
			continue
		}
		first := len(out)
		for ; i < len(lines) && lines[i].Op == "-"; i++ {
			out = append(out, reviewRow{Left: &lines[i]})
		}
		for k := first; i < len(lines) && lines[i].Op == "+"; i, k = i+1, k+1 {
			if k < len(out) {
				out[k].Right = &lines[i]
			} else {
				out = append(out, reviewRow{Right: &lines[i]})
			}
		}
	}
	return out
}
