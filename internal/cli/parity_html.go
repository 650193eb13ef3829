package cli

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"math"
	"slices"
	"strings"

	"hotpatch/internal/build"
	"hotpatch/internal/patch"
)

//go:embed parity.html.tmpl
var parityPage string

// parityView is what the page shows.
type parityView struct {
	*parityJSON
	Summary, Tally string
	Bar            []barPart
	Rows           []parityRow
	Why            []parityWhy
}

// barPart is one stretch of the bar, in thousandths of its width.
type barPart struct {
	Outcome build.Outcome
	Words   string
	N       int
	X, W    float64
}

type parityRow struct {
	build.Update
	Order       int    // of the outcome, for sorting
	Text        string // what the filter looks at, lower case
	Size, Patch string // of the update and the hotpatch
	Time        string
	Why         []parityReason // over all its packages
}

type parityReason struct {
	Code, Means string
	Lines       []string
	More        int
}

type parityWhy struct {
	build.ReasonCount
	Means, Todo string
}

func writeParityHTML(w io.Writer, p *parityJSON) error {
	t, err := template.New("parity").Parse(parityPage)
	if err != nil {
		return err
	}
	return t.Execute(w, parityViewOf(p))
}

func parityViewOf(p *parityJSON) *parityView {
	v := &parityView{parityJSON: p, Summary: paritySummary(p.Parity), Tally: parityTally(p.Parity)}
	x := 0.0
	for _, o := range parityOrder() {
		n := p.Outcomes[o]
		if n == 0 {
			continue
		}
		width := math.Round(1e5*float64(n)/float64(p.Sources)) / 100
		v.Bar = append(v.Bar, barPart{o, outcomeWords(o), n, x, width})
		x += width
	}
	for _, u := range byOutcome(p.Updates) {
		r := parityRow{Update: u, Order: orderOf(u.Outcome), Why: reasonsOf(u)}
		r.Size, r.Patch, r.Time = sizeOrDash(u.UpdateSize), sizeOrDash(u.HotpatchSize), secondsText(u.Seconds)
		text := []string{u.Source, string(u.Outcome), u.FixedVersion, strings.Join(u.Because, " "), strings.Join(u.CVEs, " ")}
		for _, a := range u.Packages {
			text = append(text, a.Package)
		}
		r.Text = strings.ToLower(strings.Join(text, " "))
		v.Rows = append(v.Rows, r)
	}
	for _, c := range p.Reasons {
		m := meaningOf(c.Code)
		why := parityWhy{ReasonCount: c, Means: parityMeaning(c.Code), Todo: m.todo}
		if c.Outcome == build.OutcomeNotFetched || c.Outcome == build.OutcomeFailed {
			why.Todo = "see the details of the source"
		}
		v.Why = append(v.Why, why)
	}
	return v
}

func orderOf(o build.Outcome) int {
	return slices.Index(parityOrder(), o)
}

// reasonsOf groups a source's reasons by code, those that decided first.
func reasonsOf(u build.Update) []parityReason {
	const most = 6
	var out []parityReason
	at := map[string]int{}
	add := func(r patch.Reason) {
		i, ok := at[r.Code]
		if !ok {
			i = len(out)
			at[r.Code] = i
			out = append(out, parityReason{Code: r.Code, Means: parityMeaning(r.Code)})
		}
		if len(out[i].Lines) == most {
			out[i].More++
			return
		}
		out[i].Lines = append(out[i].Lines, reasonLine(r))
	}
	for _, decided := range []bool{true, false} {
		for _, a := range u.Packages {
			for _, r := range a.Reasons {
				if decides(u, a, r) == decided {
					add(r)
				}
			}
		}
	}
	return out
}

func decides(u build.Update, a build.Assessment, r patch.Reason) bool {
	if a.Outcome != u.Outcome {
		return false
	}
	return slices.Contains(u.Because, r.Code)
}

// parityLegend explains the words of the table.
const parityLegend = `
A source counts when one of its packages has programs or libraries; its verdict is that of the hardest of them:

- **clean**: a hotpatch can be applied as it is
- **review**: a hotpatch can be applied once a person has read what changes and taken responsibility
- **partial**: the same, but only without some of its programs and libraries (hotpatch build --partial): a process that uses one of these is refused and needs the ordinary update and a restart
- **nothing**: no code of any program or library differs, so there is nothing to patch: the fix is in scripts or data, or the update changes no code at all
- **refused**: no hotpatch is written, because none is certain to be right; the ordinary update and a restart are needed
- **not-fetched**: one of the two versions is no longer in the archive, it cannot be reached, or the package is too large for this machine
`

// writeParityMarkdown writes the summary, the reasons and the table.
func writeParityMarkdown(w io.Writer, p *parityJSON) error {
	var b strings.Builder
	fmt.Fprintf(&b, "# Coverage: pending security updates as hotpatches\n\n**%s.** %s.\n", paritySummary(p.Parity), parityTally(p.Parity))
	fmt.Fprintf(&b, "\nWritten by `hotpatch parity`. Compared: %s; %s of building in all.\n", cell(p.Compared), secondsText(p.Seconds))
	b.WriteString(parityLegend)
	if len(p.Reasons) > 0 {
		fmt.Fprint(&b, "\n## Reasons\n\nA source can have several; *alone* counts those where it is the only one.\n\n| reason | verdict | sources | alone | means |\n|---|---|---|---|---|\n")
		for _, r := range p.Reasons {
			fmt.Fprintf(&b, "| `%s` | %s | %d | %d | %s |\n", cell(r.Code), r.Outcome, r.Sources, r.Alone, cell(parityMeaning(r.Code)))
		}
	}
	fmt.Fprint(&b, "\n## Sources\n\n| source | from → to | verdict | CVEs | functions changed | update | hotpatch | time | because |\n|---|---|---|---|---|---|---|---|---|\n")
	for _, u := range byOutcome(p.Updates) {
		var n patch.Counts
		for _, a := range u.Packages {
			n.Changed += a.Counts.Changed + a.Counts.New
			n.Same += a.Counts.Same
		}
		fmt.Fprintf(&b, "| %s | %s → %s | %s | %s | %d of %d | %s | %s | %s | %s |\n",
			cell(u.Source), cell(u.BaseVersion), cell(u.FixedVersion), u.Outcome, cell(cvesListed(u.CVEs)),
			n.Changed, n.Changed+n.Same, sizeOrDash(u.UpdateSize), sizeOrDash(u.HotpatchSize), secondsText(u.Seconds),
			dashIfEmpty(cell(strings.Join(u.Because, ", "))))
	}
	if p.Hotpatchable+p.Outcomes[build.OutcomeNothing] < p.Sources {
		fmt.Fprint(&b, "\n## Why not\n\nThe first place where each reason was found.\n")
	}
	for _, u := range byOutcome(p.Updates) {
		if u.Outcome.Hotpatchable() || u.Outcome == build.OutcomeNothing {
			continue
		}
		fmt.Fprintf(&b, "\n**%s** (%s)\n\n", cell(u.Source), u.Outcome)
		for _, code := range u.Because {
			if u.Outcome == build.OutcomePartial {
				break
			}
			fmt.Fprintf(&b, "- `%s` %s\n", cell(code), cell(firstReason(u, code)))
		}
		for _, line := range leftOutOf(u) {
			fmt.Fprintf(&b, "- %s\n", cell(line))
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// leftOutOf are the images that hotpatches of packages of a source leave out, with why.
func leftOutOf(u build.Update) []string {
	var out []string
	for _, a := range u.Packages {
		for _, r := range a.Reasons {
			if a.Outcome == build.OutcomePartial && r.Code == "image-left-out" {
				out = append(out, reasonLine(r))
			}
		}
	}
	return out
}

// cvesListed names the first CVEs and counts the others.
func cvesListed(cves []string) string {
	const most = 4
	switch {
	case len(cves) == 0:
		return "-"
	case len(cves) > most+1:
		return fmt.Sprintf("%s and %d more", strings.Join(cves[:most], ", "), len(cves)-most)
	}
	return strings.Join(cves, ", ")
}

// cell makes text from outside harmless in a Markdown table.
func cell(s string) string {
	return strings.NewReplacer("|", "\\|", "<", "&lt;", "`", "'", "*", "\\*", "[", "\\[").Replace(plain(s))
}
