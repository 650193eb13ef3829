package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/user"
	"path"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"hotpatch/internal/build"
	"hotpatch/internal/patch"
	"hotpatch/internal/rebuild"
)

// What build and parity say of the same flags.
const (
	debugDirWords   = "look for other debug files below `DIR`, by build-id (default: those of hotpatch debuginfo; none: nowhere)"
	debuginfodWords = "ask these debuginfod `URLS` for debug files that nothing else has (default: $DEBUGINFOD_URLS)"
)

type buildFlags struct {
	out, accept, by       string
	debugBase, debugFixed string
	debugDir              string
	debuginfod            string
	json, all             bool
	partial, downgrade    bool
}

func (a *app) buildCmd() *cobra.Command {
	var f buildFlags
	cmd := &cobra.Command{
		Use:   "build BASE FIXED -o FILE",
		Short: "Compare two packages and write the hotpatch that leads from one to the other",
		Long: `build compares BASE, what is running, with FIXED, what should run, and writes
what differs as a hotpatch. Both are .deb packages, directories or ELF files.

Exit code 0: clean and written, or nothing to patch (then no file is written).
4: written, but somebody has to accept it before it can be applied (see
hotpatch review). 3: refused, with reasons; nothing is written.

Some files of a package may be refused while others are not. --partial then
leaves these out, with those that need them, and processes that use them are
refused. It never is more than review; the hint after a refusal says where it
would do.`,
		Example: `  hotpatch build redis_7.0.15-1~deb12u7.deb redis_7.0.15-1~deb12u10.deb -o redis.hotpatch
  hotpatch build old/libpng16.so.16 new/libpng16.so.16 -o libpng.hotpatch --json
  hotpatch build old.deb new.deb -o x.hotpatch --debug-base old-dbgsym.deb --debug-fixed new-dbgsym.deb`,
		Args: needs("BASE", "FIXED"),
	}
	fl := cmd.Flags()
	fl.StringVarP(&f.out, "output", "o", "", "`FILE` to write (required)")
	fl.StringVar(&f.accept, "accept", "", "accept what needs review at once, for this `REASON`")
	fl.StringVar(&f.by, "by", "", "who accepts (default: you, as `NAME`@host)")
	fl.StringVar(&f.debugBase, "debug-base", "", "debug `FILE` of BASE, its -dbgsym package, or a directory of debug files by build-id")
	fl.StringVar(&f.debugFixed, "debug-fixed", "", "debug `FILE` of FIXED, its -dbgsym package, or a directory of debug files by build-id")
	fl.StringVar(&f.debugDir, "debug-dir", "", debugDirWords)
	fl.StringVar(&f.debuginfod, "debuginfod", "", debuginfodWords)
	fl.BoolVar(&f.json, "json", false, "print the report as JSON")
	fl.BoolVar(&f.downgrade, "downgrade", false, "build although FIXED is an older version than BASE")
	fl.BoolVar(&f.partial, "partial", false, "leave out the files that are refused, where others remain")
	fl.BoolVar(&f.all, "all", false, "carry every function that can be carried, changed or not")
	_ = fl.MarkHidden("all") // a test of the machinery
	cmd.RunE = a.verb(func(ctx context.Context, args []string) error {
		if f.out == "" {
			return usage("build: no output file given (-o FILE)")
		}
		accept, err := acceptReason(cmd, f.accept)
		if err != nil {
			return err
		}
		f.accept = accept
		return a.build(ctx, args[0], args[1], f)
	})
	return cmd
}

// build runs the builder, writes the bundle and reports.
func (a *app) build(ctx context.Context, base, fixed string, f buildFlags) error {
	for _, in := range []string{base, fixed} {
		info, err := os.Stat(in)
		if err != nil {
			return fmt.Errorf("build: %w", err)
		}
		if out, err := os.Stat(f.out); err == nil && os.SameFile(info, out) {
			return usage("build: output %s is also an input", f.out)
		}
		if err := checkInput(in, info); err != nil {
			return err
		}
	}
	if err := checkOutput(f.out); err != nil {
		return err
	}
	o := build.Options{Accept: f.accept, DebugBase: f.debugBase, DebugFixed: f.debugFixed, DebugDirs: debugDirs(f.debugDir), All: f.all, Partial: f.partial, Downgrade: f.downgrade,
		Debuginfod: debuginfod(f.debuginfod)}
	if f.accept != "" {
		o.By = author(f.by)
	}
	p := &progressLine{w: a.err, style: a.errStyle}
	if a.progress {
		o.Progress = p.event
	}
	report, bundle, err := build.Build(ctx, base, fixed, o)
	p.clear()
	if errors.Is(err, build.ErrDowngrade) {
		return &exitError{code: exitUsage, err: fmt.Errorf("build: %w", err), hint: "are they the wrong way round? --downgrade if you mean it"}
	}
	if err != nil {
		return fmt.Errorf("build: %w", err) // it names the file at fault
	}
	if report.Verdict == patch.Clean || report.Verdict == patch.Review {
		if bundle == nil {
			return fmt.Errorf("build %s → %s: verdict %s without a bundle", base, fixed, report.Verdict)
		}
		keepAcceptance(f.out, bundle)
		if err := bundle.WriteFile(f.out); err != nil {
			return err
		}
		if report.Bundle, err = bundleInfo(bundle, f.out); err != nil {
			return err
		}
	} else {
		report.Bundle = nil
	}
	if f.json {
		err = writeJSON(a.out, normalise(report))
	} else {
		err = a.printBuild(report, bundle, f.out)
	}
	if err != nil {
		return err
	}
	return a.buildExit(report, bundle, f.out)
}

// debuginfod are the servers given, or else those that the system is set up
// with: these may be out of reach.
func debuginfod(given string) build.Debuginfod {
	if given != "" {
		return build.Debuginfod{URLs: build.DebuginfodURLs(given)}
	}
	return build.Debuginfod{URLs: build.DebuginfodURLs(os.Getenv("DEBUGINFOD_URLS")), Optional: true}
}

// debugDirs are the directories that --debug-dir means.
func debugDirs(given string) []string {
	switch given {
	case "":
		return rebuild.DebugDirs()
	case "none":
		return nil
	}
	return []string{given}
}

// buildExit says what comes next and picks the exit code.
func (a *app) buildExit(r *build.Report, b *patch.Bundle, out string) error {
	switch r.Verdict {
	case patch.Clean:
		return nil
	case patch.Nothing:
		a.warnStale(out)
		return nil
	case patch.Review:
		if b.Accepted != nil {
			return nil
		}
		a.hint(fmt.Sprintf("hotpatch review %s", out))
		return done(exitPartly)
	default:
		a.warnStale(out)
		if len(r.LeftOut) > 0 {
			a.hint(fmt.Sprintf("--partial builds it without %s, for processes that do not use %s", plain(namesText(r.LeftOut)), itOrThem(r.LeftOut)))
		}
		return done(exitRefused)
	}
}

// namesText lists some files by their last names.
func namesText(paths []string) string {
	const most = 3
	var names []string
	for i, p := range paths {
		if i == most && len(paths) > most+1 {
			names = append(names, fmt.Sprintf("%d more", len(paths)-most))
			break
		}
		names = append(names, path.Base(p))
	}
	if n := len(names) - 1; n > 0 {
		return strings.Join(names[:n], ", ") + " and " + names[n]
	}
	return names[0]
}

func itOrThem(list []string) string {
	if len(list) == 1 {
		return "it"
	}
	return "them"
}

// warnStale tells of an output file that this build did not write: it could be
// taken for the result.
func (a *app) warnStale(out string) {
	if _, err := os.Stat(out); err == nil {
		fmt.Fprintf(a.err, "%s %s is from an earlier build and was left as it is\n", a.errStyle.warn("warning:"), out)
	}
}

func bundleInfo(b *patch.Bundle, file string) (*build.BundleInfo, error) {
	id, err := b.ID()
	if err != nil {
		return nil, fmt.Errorf("identify %s: %w", file, err)
	}
	info, err := os.Stat(file)
	if err != nil {
		return nil, fmt.Errorf("check what was written: %w", err)
	}
	return &build.BundleInfo{ID: id, Size: info.Size()}, nil
}

// normalise makes absent lists empty ones: a documented list is never null.
func normalise(r *build.Report) *build.Report {
	c := *r
	c.Reasons, c.LeftOut, c.GoesWith = nonNil(c.Reasons), nonNil(c.LeftOut), nonNil(c.GoesWith)
	c.Images = append([]build.ImageReport{}, c.Images...)
	for i := range c.Images {
		c.Images[i].Functions = nonNil(c.Images[i].Functions)
	}
	return &c
}

func nonNil[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}

// printBuild is the report in words.
func (a *app) printBuild(r *build.Report, b *patch.Bundle, out string) error {
	var w strings.Builder
	head := a.verdictText(r.Verdict)
	switch r.Verdict {
	case patch.Nothing:
		fmt.Fprintf(&w, "%s  no code differs; no file was written\n", head)
	case patch.Refused:
		fmt.Fprintf(&w, "%s  no hotpatch can be made that is certain to be right; nothing was written\n", head)
	default:
		fmt.Fprintf(&w, "%s  %s\n", head, title(&b.Manifest))
		fmt.Fprintf(&w, "         written to %s (id %s, %s)\n", out, r.Bundle.ID.Short(), bytesText(r.Bundle.Size))
		if b.Accepted != nil {
			fmt.Fprintf(&w, "         accepted by %s: %s\n", plain(b.Accepted.By), plain(b.Accepted.Reason))
		} else if r.Verdict == patch.Review {
			fmt.Fprintf(&w, "         nothing applies it until somebody has accepted it\n")
		}
		if text := fixesText(&b.Manifest); text != "" {
			fmt.Fprintf(&w, "         %s\n", text)
		}
	}
	for _, im := range r.Images {
		fmt.Fprintln(&w)
		a.printImage(&w, im.Path, im.Counts, im.Functions, shownFunctions)
		if im.Types != "" {
			fmt.Fprintf(&w, "  types  %s\n", plain(im.Types))
		}
		if from := typesFrom(&im); from != "" {
			fmt.Fprintf(&w, "  types  %s\n", plain(from))
		}
	}
	if len(r.Reasons) > 0 {
		fmt.Fprintln(&w)
		a.printWhy(&w, r)
	}
	_, err := io.WriteString(a.out, w.String())
	return err
}

// printWhy gives the reasons. Of a refusal those that refuse: what else would
// need a review is named alone, for there is nothing to accept.
func (a *app) printWhy(w io.Writer, r *build.Report) {
	if r.Verdict != patch.Refused {
		a.printReasons(w, r.Reasons)
		return
	}
	var refusing []patch.Reason
	var other []string
	for _, x := range r.Reasons {
		if build.Refuses(x.Code) {
			refusing = append(refusing, x)
		} else if !slices.Contains(other, x.Code) {
			other = append(other, x.Code)
		}
	}
	a.printReasons(w, refusing)
	if len(other) > 0 {
		slices.Sort(other)
		fmt.Fprintf(w, "\n%s\n", a.outStyle.dim("else it would need review: "+plain(strings.Join(other, ", "))))
	}
}

// fixesText says which CVEs a hotpatch fixes and how that is known, "" for none.
func fixesText(m *patch.Manifest) string {
	if len(m.CVEs) == 0 {
		return ""
	}
	text := "fixes " + plain(strings.Join(m.CVEs, ", ")) + ", says the changelog"
	if len(m.LeftOut) > 0 {
		text += ", as far as these are not in what is left out"
	}
	return text
}

// keepAcceptance takes over what was accepted of this very hotpatch, when it is
// built again into the same file.
func keepAcceptance(file string, b *patch.Bundle) {
	if b.Accepted != nil || b.Manifest.Verdict != patch.Review {
		return
	}
	was, err := patch.ReadFile(file)
	if err != nil {
		return // there is none, or it is no hotpatch
	}
	old, err := was.ID()
	if id, ierr := b.ID(); err == nil && ierr == nil && old == id {
		b.Accepted = was.Accepted
	}
}

// typesFrom says which files the types of an image came from, "" for none.
func typesFrom(im *build.ImageReport) string {
	if im.TypesBase == nil && im.TypesFixed == nil {
		return ""
	}
	side := func(s *build.TypesSource) string {
		switch {
		case s == nil:
			return "nowhere"
		case s.Missing != "":
			return s.File + ", which lacks " + s.Missing
		case s.Shared != "":
			return s.File + " with " + s.Shared
		}
		return s.File
	}
	return "of the base image from " + side(im.TypesBase) + ", of the fixed one from " + side(im.TypesFixed)
}

// progressLine shows a build's steps on one line of a terminal.
type progressLine struct {
	w     io.Writer
	style palette
	dirty bool // something is on the line
}

func (p *progressLine) event(e build.Event) {
	text := e.Step
	if e.Image != "" {
		text += " " + e.Image
	}
	if e.Total > 1 {
		text = fmt.Sprintf("[%d/%d] %s", e.Done, e.Total, text)
	}
	if r := []rune(plain(text)); len(r) > 76 {
		text = string(r[:76])
	}
	fmt.Fprintf(p.w, "\r\x1b[K%s", p.style.dim(plain(text)))
	p.dirty = true
}

// clear empties the line again, if anything was written to it.
func (p *progressLine) clear() {
	if p.dirty {
		fmt.Fprint(p.w, "\r\x1b[K")
		p.dirty = false
	}
}

// acceptReason is the value of --accept: an empty one is a mistake, for a
// reason is what it is there for.
func acceptReason(cmd *cobra.Command, value string) (string, error) {
	value = strings.TrimSpace(value)
	if cmd.Flags().Changed("accept") && value == "" {
		return "", usage("%s: --accept needs a reason", cmd.Name())
	}
	if by := cmd.Flags().Lookup("by"); by != nil && by.Changed && value == "" {
		return "", usage("%s: --by says who accepts, but there is no --accept", cmd.Name())
	}
	return value, nil
}

// author names who takes responsibility: as given, else the person at the
// keyboard, also behind sudo.
func author(given string) string {
	if given = strings.TrimSpace(given); given != "" {
		return given
	}
	name := os.Getenv("SUDO_USER")
	if os.Geteuid() != 0 || name == "" {
		if u, err := user.Current(); err == nil {
			name = u.Username
		} else {
			name = fmt.Sprintf("uid %d", os.Getuid())
		}
	}
	host, err := os.Hostname()
	if err != nil || host == "" {
		return name
	}
	return name + "@" + host
}

// readBundle reads a hotpatch file.
func readBundle(file string) (*patch.Bundle, error) {
	if info, err := os.Stat(file); err == nil && info.IsDir() {
		return nil, fmt.Errorf("read %s: is a directory, not a hotpatch file", file)
	}
	return patch.ReadFile(file)
}
