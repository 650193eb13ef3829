package cli

import (
	"fmt"
	"io"
	"sort"
	"strings"

	"hotpatch/internal/patch"
)

// How much a listing for people shows before it says "and N more".
const (
	shownFunctions = 20
	shownReasons   = 5 // of one code
	shownChanges   = 30
)

// verdictText is the verdict as first word of a line, padded.
func (a *app) verdictText(v patch.Verdict) string {
	word := fmt.Sprintf("%-7s", v)
	switch v {
	case patch.Clean, patch.Nothing:
		return a.outStyle.good(word)
	case patch.Review:
		return a.outStyle.warn(word)
	default:
		return a.outStyle.bad(word)
	}
}

// title names what a bundle is for: "redis-server 5:7.0.15-1 → 5:7.0.15-2".
func title(m *patch.Manifest) string {
	switch {
	case m.Package != "":
		return plain(fmt.Sprintf("%s %s → %s", m.Package, m.BaseVersion, m.FixedVersion))
	case len(m.Images) == 1:
		return plain(m.Images[0].Path)
	default:
		return count(len(m.Images), "image")
	}
}

// printImage shows one image: counts, then its functions that differ, no more
// than most of them. Noise (a line number, a version inside a string) is only counted.
func (a *app) printImage(w io.Writer, path string, c patch.Counts, fs []patch.Function, most int) {
	shown, noise := fs[:0:0], 0
	for _, f := range fs {
		if f.State == "noise" {
			noise++
		} else {
			shown = append(shown, f)
		}
	}
	fmt.Fprintf(w, "%s  %d same, %d changed, %d new, %d gone", a.outStyle.bold(plain(path)), c.Same, c.Changed, c.New, c.Gone)
	if noise > 0 {
		fmt.Fprintf(w, " (+ %d that differ only in noise)", noise)
	}
	fmt.Fprintln(w)
	width := 0
	for _, f := range shown[:min(len(shown), most)] {
		width = max(width, min(len([]rune(f.Name)), 40))
	}
	for i, f := range shown {
		if i == most {
			fmt.Fprintf(w, "  and %d more\n", len(shown)-most)
			break
		}
		why := ""
		if f.Why != "" {
			why = "  " + a.outStyle.dim(plain(f.Why))
		}
		fmt.Fprintf(w, "  %-7s  %-*s%s\n", f.State, width, plain(f.Name), why)
	}
}

// printReasons shows reasons by code: what the code means, where it was found,
// and what can be done about it.
func (a *app) printReasons(w io.Writer, rs []patch.Reason) {
	byCode := map[string][]patch.Reason{}
	for _, r := range rs {
		byCode[r.Code] = append(byCode[r.Code], r)
	}
	codes := make([]string, 0, len(byCode))
	for code := range byCode {
		codes = append(codes, code)
	}
	sort.Strings(codes)
	for i, code := range codes {
		if i > 0 {
			fmt.Fprintln(w)
		}
		m := meaningOf(code)
		fmt.Fprintf(w, "%s  %s\n", a.outStyle.warn(plain(code)), m.means)
		for i, r := range byCode[code] {
			if i == shownReasons {
				fmt.Fprintf(w, "  and %d more\n", len(byCode[code])-shownReasons)
				break
			}
			fmt.Fprintf(w, "  %s\n", plain(reasonLine(r)))
		}
		fmt.Fprintf(w, "  %s %s\n", a.outStyle.dim("what to do:"), m.todo)
	}
}

// reasonLine is "image function: detail" with what is known of it.
func reasonLine(r patch.Reason) string {
	where := strings.TrimSpace(r.Image + " " + r.Function)
	if where == "" {
		return r.Detail
	}
	if r.Detail == "" {
		return where
	}
	return where + ": " + r.Detail
}
