package cli

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"hotpatch/internal/patch"
)

type reviewFlags struct {
	accept, by, html       string
	json, summary, noPager bool
}

func (a *app) reviewCmd() *cobra.Command {
	var f reviewFlags
	cmd := &cobra.Command{
		Use:   "review FILE [--accept REASON]",
		Short: "Show what a hotpatch changes and why it needs review, and accept it",
		Long: `review shows what a hotpatch changes: first in words, with the reasons why it is
not clean, what each means and what to do about it; then function by function,
the code before against the code after, with the strings and constants that
come and go and the callers. FILE alone is enough: it records the code that it
replaces, and review checks that against the digests that a process must have.

In a diff, names and labels stand for addresses, so that only what differs in
meaning is marked. On a terminal the output goes through $PAGER, or less.

With --accept it records in FILE who accepted it and why; apply refuses a
hotpatch that needs review until that was done.`,
		Example: `  hotpatch review redis.hotpatch
  hotpatch review redis.hotpatch --summary
  hotpatch review redis.hotpatch --html redis.html
  hotpatch review redis.hotpatch --accept "read the diff: no struct is touched" --by alice@example.org`,
		Args: needs("FILE"),
	}
	cmd.Flags().StringVar(&f.accept, "accept", "", "accept it, for this `REASON`")
	cmd.Flags().StringVar(&f.by, "by", "", "who accepts (default: you, as `NAME`@host)")
	cmd.Flags().StringVar(&f.html, "html", "", "write the review as one self-contained page to `FILE`")
	cmd.Flags().BoolVar(&f.json, "json", false, "print the review as JSON")
	cmd.Flags().BoolVar(&f.summary, "summary", false, "only in words, without the code")
	cmd.Flags().BoolVar(&f.noPager, "no-pager", false, "do not pipe the output through a pager")
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
		if !f.json && f.html == "" {
			return nil // accept said what happened
		}
	}
	r, err := reviewOf(b, id)
	if err != nil {
		return fmt.Errorf("review %s: %w", file, err)
	}
	if f.html != "" {
		if err := writeReviewPage(f.html, b, r); err != nil {
			return err
		}
	}
	switch {
	case f.json:
		return writeJSON(a.out, r)
	case f.html != "":
		if f.accept == "" {
			fmt.Fprintf(a.err, "the review is in %s\n", f.html)
		}
		return nil
	}
	return a.printReview(file, b, r, f)
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
	before := b.Accepted
	if err := b.Accept(author(f.by), f.accept, time.Now()); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	if err := b.WriteFile(file); err != nil {
		return err
	}
	if !f.json {
		fmt.Fprintf(a.out, "%s  %s (id %s)\n", a.outStyle.good("accepted"), title(&b.Manifest), id.Short())
		fmt.Fprintf(a.out, "          by %s: %s\n", plain(b.Accepted.By), plain(b.Accepted.Reason))
		if before != nil {
			fmt.Fprintf(a.out, "          in the place of %s, who said: %s\n", plain(before.By), plain(before.Reason))
		}
		a.hint("hotpatch apply " + file)
	}
	return nil
}

func reviewOf(b *patch.Bundle, id patch.ID) (*reviewJSON, error) {
	m := &b.Manifest
	r := &reviewJSON{
		ID: id, Package: m.Package, BaseVersion: m.BaseVersion, FixedVersion: m.FixedVersion,
		CVEs: nonNil(m.CVEs), Changes: nonNil(m.Changes), Verdict: m.Verdict,
		Reasons: []reviewReason{}, Images: []reviewImage{},
		Accepted: b.Accepted, Applicable: b.Applicable() == nil,
	}
	for _, x := range m.Reasons {
		mean := meaningOf(x.Code)
		r.Reasons = append(r.Reasons, reviewReason{Reason: x, Means: mean.means, Todo: mean.todo})
	}
	for i := range m.Images {
		im, err := reviewOfImage(b, i)
		if err != nil {
			return nil, err
		}
		r.Images = append(r.Images, im)
	}
	return r, nil
}

// reasonsOf are the reasons of a review that concern one function of an image.
func (r *reviewJSON) reasonsOf(image, function string) []reviewReason {
	var out []reviewReason
	for _, x := range r.Reasons {
		if x.Image == image && x.Function == function && function != "" {
			out = append(out, x)
		}
	}
	return out
}

// shownWithCode are the functions whose code a review shows.
func (im *reviewImage) shownWithCode() []reviewFunction {
	return slices.DeleteFunc(slices.Clone(im.Functions), func(f reviewFunction) bool { return f.State == "noise" })
}
