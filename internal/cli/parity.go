package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"hotpatch/internal/build"
)

type parityFlags struct {
	list, baseSuite, fixedSuite string
	installed                   bool
	dirs                        []string // BASE-DIR FIXED-DIR
	sources                     []string
	jobs, maxSize               int
	state, debs                 string
	debugDir, debuginfod        string
	html, markdown              string
	json                        bool
}

func (a *app) parityCmd() *cobra.Command {
	var f parityFlags
	cmd := &cobra.Command{
		Use:   "parity [BASE-DIR FIXED-DIR]",
		Short: "Say which pending security updates can be hotpatched, and why not the others",
		Long: `parity builds a hotpatch for every pending security update and says what came
out: clean, review, partial (review, for some of its files), nothing to patch,
refused (with the reasons) or not fetched. A source is as good as the hardest of
its packages. Nothing is installed, and no hotpatch is written.

The updates are those of the packages installed here (default), those between
two suites that apt knows, those of a list (tab-separated: source, package, base
version, fixed version), or those between two directories of .debs. Packages are
fetched with apt as any user may; what is not needed any more is removed, unless
--debs says where to keep it, and what is larger than --max-size is left out. An installed version that the archive no longer
has is taken from its files on this disk. Only packages with programs or
libraries for amd64 count.

Types are taken from debug files as hotpatch build does; without them a source is
at best one that needs review.

With --state finished results are kept, and the same command goes on where it
was interrupted. Results of other packages, with other debug files, or of another
version of hotpatch, are not used.

Exit code 0: every update was assessed. 4: some were not. 1: none was.`,
		Example: `  hotpatch parity
  hotpatch parity --base-suite bookworm --fixed-suite bookworm-security --state parity.state --html parity.html
  hotpatch parity --list docs/coverage.tsv --debs debs --json
  hotpatch parity --debuginfod https://debuginfod.debian.net --jobs 1
  hotpatch parity old-debs/ new-debs/ --source haproxy`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 0 && len(args) != 2 {
				return usage("parity: give two directories of .debs, or none")
			}
			return nil
		},
	}
	fl := cmd.Flags()
	fl.BoolVar(&f.installed, "installed", false, "the packages installed on this host (default)")
	fl.StringVar(&f.baseSuite, "base-suite", "", "the `SUITE` whose packages run")
	fl.StringVar(&f.fixedSuite, "fixed-suite", "", "the `SUITE` with the updates (with --installed: all that end in -security)")
	fl.StringVar(&f.list, "list", "", "`FILE` with a line per package: source, package, base version, fixed version")
	fl.StringSliceVar(&f.sources, "source", nil, "only this `SOURCE` package; may be given several times")
	fl.IntVar(&f.jobs, "jobs", 2, "`N` packages at a time")
	fl.IntVar(&f.maxSize, "max-size", 50, "leave out packages larger than this many `MB`, which need much memory; 0 is no limit")
	fl.StringVar(&f.state, "state", "", "keep finished results in `DIR`, and go on from there")
	fl.StringVar(&f.debs, "debs", "", "look for packages in `DIR` first, and keep there what is fetched")
	fl.StringVar(&f.debugDir, "debug-dir", "", debugDirWords)
	fl.StringVar(&f.debuginfod, "debuginfod", "", debuginfodWords)
	fl.StringVar(&f.html, "html", "", "also write a page for people to `FILE`")
	fl.StringVar(&f.markdown, "markdown", "", "also write the tables as Markdown to `FILE`")
	fl.BoolVar(&f.json, "json", false, "print the result as JSON")
	cmd.RunE = a.verb(func(ctx context.Context, args []string) error {
		f.dirs = args
		if err := f.check(); err != nil {
			return err
		}
		return a.parity(ctx, f)
	})
	return cmd
}

// check wants exactly one way of saying which updates.
func (f *parityFlags) check() error {
	ways := 0
	for _, given := range []bool{f.installed, f.baseSuite != "", f.list != "", len(f.dirs) > 0} {
		if given {
			ways++
		}
	}
	switch {
	case ways > 1:
		return usage("parity: --installed, --base-suite, --list and two directories exclude each other")
	case f.baseSuite != "" && f.fixedSuite == "":
		return usage("parity: --base-suite needs --fixed-suite")
	case f.fixedSuite != "" && (f.list != "" || len(f.dirs) > 0):
		return usage("parity: --fixed-suite goes with --base-suite or --installed")
	case f.jobs < 1:
		return usage("parity: --jobs %d is not at least 1", f.jobs)
	case f.maxSize < 0:
		return usage("parity: --max-size %d is negative", f.maxSize)
	}
	f.installed = ways == 0 || f.installed
	return nil
}

// parityJSON is the documented shape of `parity --json`.
type parityJSON struct {
	Compared string  `json:"compared"` // which updates, in words
	Tool     string  `json:"tool"`
	Seconds  float64 `json:"seconds"` // of building, over all packages
	*build.Parity
}

func (a *app) parity(ctx context.Context, f parityFlags) error {
	tool, err := toolVersion()
	if err != nil {
		return err
	}
	pairs, compared, err := f.pairs(ctx)
	if err != nil {
		return err
	}
	if err := a.makeDebs(f.debs); err != nil {
		return err
	}
	fetch, cleanup, err := f.fetcher()
	if err != nil {
		return err
	}
	defer cleanup()
	line := &parityLine{progressLine: progressLine{w: a.err, style: a.errStyle}}
	o := build.ParityOptions{Build: build.Options{DebugDirs: debugDirs(f.debugDir), Debuginfod: debuginfod(f.debuginfod)}, Jobs: f.jobs, State: f.state, Tool: tool, Fetch: fetch, MaxSize: int64(f.maxSize) * 1000_000}
	if a.progress {
		o.Progress = line.tell
	}
	as, err := build.AssessAll(ctx, pairs, o)
	line.clear()
	cleanup() // now: whoever reads the result may close the pipe, which ends this program
	if err != nil {
		hint := "with --state DIR, finished results are kept and the same command goes on from there"
		if f.state != "" {
			hint = "the same command goes on from there"
		}
		return &exitError{code: exitFailed, err: fmt.Errorf("parity: %d of %d packages done: %w", len(as), len(pairs), err), hint: hint}
	}
	p := &parityJSON{Compared: compared, Tool: tool, Parity: build.Summarise(as)}
	for _, x := range as {
		p.Seconds += x.Seconds
	}
	if err := a.parityResults(p, f); err != nil {
		return err
	}
	return done(parityCode(p.Parity))
}

// parityCode: whether what was asked for happened.
func parityCode(p *build.Parity) int {
	switch assessed(p) {
	case p.Sources:
		return exitDone
	case 0:
		return exitFailed
	}
	return exitPartly
}

// assessed is how many sources there is a verdict on.
func assessed(p *build.Parity) int {
	return p.Sources - p.Outcomes[build.OutcomeNotFetched] - p.Outcomes[build.OutcomeFailed]
}

// parityResults writes the files that were asked for, then the result.
func (a *app) parityResults(p *parityJSON, f parityFlags) error {
	for _, x := range []struct {
		file  string
		write func(io.Writer, *parityJSON) error
	}{{f.html, writeParityHTML}, {f.markdown, writeParityMarkdown}} {
		if x.file == "" {
			continue
		}
		var w strings.Builder
		if err := x.write(&w, p); err != nil {
			return fmt.Errorf("write %s: %w", x.file, err)
		}
		if err := os.WriteFile(x.file, []byte(w.String()), 0o644); err != nil {
			return err
		}
	}
	if f.json {
		return writeJSON(a.out, p)
	}
	return a.printParity(p)
}

// parityOrder is how people read the outcomes: what works first.
func parityOrder() []build.Outcome {
	return []build.Outcome{
		build.OutcomeClean, build.OutcomeReview, build.OutcomePartial, build.OutcomeNothing,
		build.OutcomeRefused, build.OutcomeNotFetched, build.OutcomeFailed,
	}
}

// byOutcome is the updates in that order, then by source.
func byOutcome(us []build.Update) []build.Update {
	return slices.SortedStableFunc(slices.Values(us), func(a, b build.Update) int {
		return slices.Index(parityOrder(), a.Outcome) - slices.Index(parityOrder(), b.Outcome)
	})
}

// printParity is the table, what stood in the way, and the summary.
func (a *app) printParity(p *parityJSON) error {
	var w strings.Builder
	if p.Sources == 0 {
		fmt.Fprintf(&w, "no pending security updates with programs or libraries (%s)\n%s", plain(p.Compared), parityTally(p.Parity))
		if p.NoCode > 0 {
			fmt.Fprintln(&w)
		}
		_, err := io.WriteString(a.out, w.String())
		return err
	}
	rows := [][]string{{"SOURCE", "VERDICT", "CVES", "UPDATE", "HOTPATCH", "TIME", "BECAUSE"}}
	for _, u := range byOutcome(p.Updates) {
		rows = append(rows, []string{
			plain(u.Source), string(u.Outcome), cvesShort(u.CVEs), sizeOrDash(u.UpdateSize), sizeOrDash(u.HotpatchSize),
			secondsText(u.Seconds), dashIfEmpty(plain(strings.Join(u.Because, ", "))),
		})
	}
	table(&w, rows)
	for _, r := range p.Reasons {
		if r.Outcome.Hotpatchable() {
			continue
		}
		alone := ""
		if r.Alone > 0 && r.Alone < r.Sources {
			alone = fmt.Sprintf(", %d of them for this alone", r.Alone)
		}
		fmt.Fprintf(&w, "\n%s  %s%s: %s\n", a.outStyle.warn(plain(r.Code)), count(r.Sources, "source"), alone, parityMeaning(r.Code))
		for _, line := range reasonExamples(p.Updates, r, 3) {
			fmt.Fprintf(&w, "  %s\n", plain(line))
		}
	}
	fmt.Fprintf(&w, "\n%s\n%s\n", a.outStyle.bold(paritySummary(p.Parity)), parityTally(p.Parity))
	_, err := io.WriteString(a.out, w.String())
	return err
}

// paritySummary is the one line to remember. What was not assessed says nothing
// about hotpatches, and is not counted.
func paritySummary(p *build.Parity) string {
	of := assessed(p)
	what := plural(of, "source is", "sources are")
	switch {
	case of == 0 && p.Sources > 0:
		return fmt.Sprintf("none of %s was assessed", count(p.Sources, "source"))
	case of < p.Sources:
		what = plural(of, "assessed source is", "assessed sources are")
	}
	text := fmt.Sprintf("%d of %s hotpatchable (%s)", p.Hotpatchable, what, percent(p.Hotpatchable, of))
	if n := p.Outcomes[build.OutcomePartial]; n > 0 {
		text += fmt.Sprintf(", %d more in part (together %s)", n, percent(p.Hotpatchable+n, of))
	}
	return text
}

// parityTally is how the sources are distributed.
func parityTally(p *build.Parity) string {
	var parts []string
	for _, o := range parityOrder() {
		if n := p.Outcomes[o]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, outcomeWords(o)))
		}
	}
	if p.NoCode > 0 {
		parts = append(parts, fmt.Sprintf("not counted: %s without programs", count(p.NoCode, "package")))
	}
	return strings.Join(parts, " · ")
}

func outcomeWords(o build.Outcome) string {
	switch o {
	case build.OutcomeReview:
		return "after review"
	case build.OutcomePartial:
		return "in part, after review"
	case build.OutcomeNothing:
		return "with nothing to patch"
	case build.OutcomeNotFetched:
		return "not fetched"
	}
	return string(o)
}

// parityMeaning explains a reason, or why there is no verdict.
func parityMeaning(code string) string {
	switch build.Outcome(code) {
	case build.OutcomeNotFetched:
		return "one of the two versions could not be fetched, or was left out for its size"
	case build.OutcomeFailed:
		return "it could not be assessed"
	}
	return meaningOf(code).means
}

// reasonExamples tells where a reason was found, once for each source.
func reasonExamples(us []build.Update, c build.ReasonCount, most int) []string {
	var out []string
	n := 0
	for _, u := range us {
		if u.Outcome != c.Outcome || !slices.Contains(u.Because, c.Code) {
			continue
		}
		n++
		if n > most {
			continue
		}
		out = append(out, u.Source+": "+firstReason(u, c.Code))
	}
	if n > most {
		out = append(out, fmt.Sprintf("and %d more", n-most))
	}
	return out
}

// firstReason is the first reason of a code in a source.
func firstReason(u build.Update, code string) string {
	for _, x := range u.Packages {
		for _, r := range x.Reasons {
			if x.Outcome == u.Outcome && r.Code == code {
				return reasonLine(r)
			}
		}
	}
	return ""
}

// cvesShort names the first CVE and counts the others.
func cvesShort(cves []string) string {
	switch len(cves) {
	case 0:
		return "-"
	case 1:
		return plain(cves[0])
	}
	return fmt.Sprintf("%s +%d", plain(cves[0]), len(cves)-1)
}

func sizeOrDash(n int64) string {
	if n == 0 {
		return "-"
	}
	return bytesText(n)
}

func dashIfEmpty(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func secondsText(s float64) string {
	if s == 0 {
		return "-"
	}
	return fmt.Sprintf("%.1f s", s)
}

func percent(n, of int) string {
	if of == 0 {
		return "0 %"
	}
	return fmt.Sprintf("%.0f %%", 100*float64(n)/float64(of))
}

func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// parityLine shows on one line of a terminal how far it is.
type parityLine struct {
	progressLine
	began time.Time
}

func (l *parityLine) tell(p build.ParityProgress) {
	if l.began.IsZero() {
		l.began = time.Now()
	}
	text := fmt.Sprintf("[%d/%d] %s", p.Done, p.Total, strings.Join(p.Running, ", "))
	if fresh := p.Done - p.Kept; fresh >= 5 && p.Done < p.Total {
		left := time.Since(l.began) / time.Duration(fresh) * time.Duration(p.Total-p.Done)
		text = fmt.Sprintf("[%d/%d, about %s left] %s", p.Done, p.Total, left.Round(time.Second), strings.Join(p.Running, ", "))
	}
	if r := []rune(text); len(r) > 76 {
		text = string(r[:76])
	}
	fmt.Fprintf(l.w, "\r\x1b[K%s", l.style.dim(plain(text)))
	l.dirty = true
}

// errNoUpdates says that --source named what has no update.
var errNoUpdates = errors.New("has no pending update here")
