package cli

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"hotpatch/internal/patch"
)

type reviewFlags struct {
	accept, by string
	json       bool
}

func (a *app) reviewCmd() *cobra.Command {
	var f reviewFlags
	cmd := &cobra.Command{
		Use:   "review FILE [--accept REASON]",
		Short: "Show why a hotpatch needs review, and accept it",
		Long: `review shows what a hotpatch changes, why it is not clean and what each reason
means. With --accept it records in FILE who accepted it and why; apply refuses
a hotpatch that needs review until that was done.`,
		Example: `  hotpatch review redis.hotpatch
  hotpatch review redis.hotpatch --accept "read the diff: no struct is touched" --by alice@example.org`,
		Args: needs("FILE"),
	}
	cmd.Flags().StringVar(&f.accept, "accept", "", "accept it, for this `REASON`")
	cmd.Flags().StringVar(&f.by, "by", "", "who accepts (default: you, as `NAME`@host)")
	cmd.Flags().BoolVar(&f.json, "json", false, "print the review as JSON")
	cmd.RunE = a.verb(func(_ context.Context, args []string) error {
		accept, err := acceptReason(cmd, f.accept)
		if err != nil {
			return err
		}
		f.accept = accept
		return a.review(args[0], f)
	})
	return cmd
}

// reviewJSON is the documented shape of `review --json`.
type reviewJSON struct {
	ID           patch.ID          `json:"id"`
	Package      string            `json:"package"`
	BaseVersion  string            `json:"base_version"`
	FixedVersion string            `json:"fixed_version"`
	CVEs         []string          `json:"cves"`
	Changes      []string          `json:"changes"`
	Verdict      patch.Verdict     `json:"verdict"`
	Reasons      []reviewReason    `json:"reasons"`
	Images       []reviewImage     `json:"images"`
	Accepted     *patch.Acceptance `json:"accepted"` // null: nobody did
	Applicable   bool              `json:"applicable"`
}

type reviewReason struct {
	patch.Reason
	Means string `json:"means"`
	Todo  string `json:"todo"`
}

type reviewImage struct {
	Path      string           `json:"path"`
	Counts    patch.Counts     `json:"counts"`
	Functions []patch.Function `json:"functions"`
}

func (a *app) review(file string, f reviewFlags) error {
	b, err := readBundle(file)
	if err != nil {
		return err
	}
	id, err := b.ID()
	if err != nil {
		return fmt.Errorf("identify %s: %w", file, err)
	}
	if f.accept != "" {
		if err := a.accept(file, b, id, f); err != nil {
			return err
		}
	}
	if f.json {
		return writeJSON(a.out, reviewOf(b, id))
	}
	if f.accept != "" {
		return nil // accept said what happened
	}
	return a.printReview(file, b, id)
}

// accept records the acceptance in the file. A clean bundle needs none, and
// says so: no file is changed.
func (a *app) accept(file string, b *patch.Bundle, id patch.ID, f reviewFlags) error {
	if b.Manifest.Verdict != patch.Review {
		if !f.json {
			fmt.Fprintf(a.out, "%s  %s is %s: there is nothing to accept\n", a.verdictText(b.Manifest.Verdict), file, b.Manifest.Verdict)
		}
		return nil
	}
	if err := b.Accept(author(f.by), f.accept, time.Now()); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	if err := b.WriteFile(file); err != nil {
		return err
	}
	if !f.json {
		fmt.Fprintf(a.out, "%s  %s (id %s)\n", a.outStyle.good("accepted"), title(&b.Manifest), id.Short())
		fmt.Fprintf(a.out, "          by %s: %s\n", plain(b.Accepted.By), plain(b.Accepted.Reason))
		a.hint("hotpatch apply " + file)
	}
	return nil
}

func reviewOf(b *patch.Bundle, id patch.ID) reviewJSON {
	m := &b.Manifest
	r := reviewJSON{
		ID: id, Package: m.Package, BaseVersion: m.BaseVersion, FixedVersion: m.FixedVersion,
		CVEs: nonNil(m.CVEs), Changes: nonNil(m.Changes), Verdict: m.Verdict,
		Reasons: []reviewReason{}, Images: []reviewImage{},
		Accepted: b.Accepted, Applicable: b.Applicable() == nil,
	}
	for _, x := range m.Reasons {
		mean := meaningOf(x.Code)
		r.Reasons = append(r.Reasons, reviewReason{Reason: x, Means: mean.means, Todo: mean.todo})
	}
	for _, im := range m.Images {
		r.Images = append(r.Images, reviewImage{Path: im.Path, Counts: im.Counts, Functions: nonNil(im.Functions)})
	}
	return r
}

// printReview is the review in words: what it is, what it changes, why it needs
// somebody to look, and whether somebody did.
func (a *app) printReview(file string, b *patch.Bundle, id patch.ID) error {
	m := &b.Manifest
	var w strings.Builder
	fmt.Fprintf(&w, "%s  %s (id %s)\n", a.verdictText(m.Verdict), title(m), id.Short())
	if len(m.CVEs) > 0 {
		fmt.Fprintf(&w, "         fixes %s\n", plain(strings.Join(m.CVEs, ", ")))
	}
	if len(m.Changes) > 0 {
		fmt.Fprintf(&w, "\n%s\n", a.outStyle.bold("What the distribution says"))
		for i, line := range m.Changes {
			if i == shownChanges {
				fmt.Fprintf(&w, "  and %d more lines\n", len(m.Changes)-shownChanges)
				break
			}
			fmt.Fprintf(&w, "  %s\n", plain(line))
		}
	}
	fmt.Fprintf(&w, "\n%s\n", a.outStyle.bold("What changes"))
	for _, im := range m.Images {
		a.printImage(&w, im.Path, im.Counts, im.Functions, shownFunctions)
	}
	if len(m.Reasons) > 0 {
		fmt.Fprintf(&w, "\n%s\n", a.outStyle.bold("Why it needs review"))
		a.printReasons(&w, m.Reasons)
	}
	fmt.Fprintln(&w)
	switch {
	case b.Accepted != nil:
		fmt.Fprintf(&w, "%s by %s on %s: %s\n", a.outStyle.good("accepted"), plain(b.Accepted.By),
			b.Accepted.At.Format("2006-01-02 15:04 MST"), plain(b.Accepted.Reason))
	case m.Verdict == patch.Review:
		fmt.Fprintf(&w, "%s: nobody has accepted it, so nothing applies it\n", a.outStyle.warn("not accepted"))
	default:
		fmt.Fprintf(&w, "it needs no review\n")
	}
	if _, err := io.WriteString(a.out, w.String()); err != nil {
		return err
	}
	if m.Verdict == patch.Review && b.Accepted == nil {
		a.hint(fmt.Sprintf("hotpatch inspect %s --disassemble shows the code; hotpatch review %s --accept REASON accepts it", file, file))
	}
	return nil
}
