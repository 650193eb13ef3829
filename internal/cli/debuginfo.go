package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"hotpatch/internal/deb"
	"hotpatch/internal/rebuild"
)

type debuginfoFlags struct {
	output, work, chroot string
	debs                 []string
	install, again, keep bool
	jobs                 int
	timeout              time.Duration
	markdown             string
	json                 bool
}

func (a *app) debuginfoCmd() *cobra.Command {
	var f debuginfoFlags
	cmd := &cobra.Command{
		Use:   "debuginfo PACKAGE=VERSION|FILE.dsc...",
		Short: "Rebuild Debian packages for the types and names that stripped files lack",
		Long: `debuginfo builds a Debian source package again, with Debian's own flags but not
stripped, and compares the result function by function with what Debian shipped.
The types and names of what matches are kept as debug files under the build-ids
of the shipped programs, where hotpatch build finds them by itself: with types
on both sides it can prove that no layout changed. What does not match is named.

A hotpatch needs two versions, base and fixed. PACKAGE is a source or a binary
package; its source is fetched with apt from the archives this host knows
(/etc/apt is read, never written). Archives usually keep the source of the
newest version of each suite only; an older one can be given as a .dsc file.

Nothing is installed: missing build dependencies are named, unless
--install-build-deps says to install them. With --chroot they are installed, and
the build is made, in a Debian root of its own instead of on this host, without
network (needs root). What a source package runs is run as you, or as nobody
when you are root.

Exit code 0: the types of every program are verified. 4: those of some are not.
1: nothing was rebuilt.`,
		Example: `  hotpatch debuginfo redis=5:7.0.15-1~deb12u7 redis=5:7.0.15-1~deb12u10
  hotpatch debuginfo --chroot /srv/bookworm --install-build-deps zlib1g=1:1.2.13.dfsg-1
  hotpatch debuginfo ./memcached_1.6.18-1.dsc --debs debs/ --output debug/
  mmdebstrap --variant=buildd --include=debhelper,fakeroot bookworm /srv/bookworm`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usage("debuginfo: no PACKAGE=VERSION given")
			}
			for _, t := range args {
				if err := rebuild.CheckTarget(t); err != nil {
					return usage("debuginfo: %v", err)
				}
			}
			return nil
		},
	}
	fl := cmd.Flags()
	fl.StringVarP(&f.output, "output", "o", "", "keep debug files below `DIR` (default: where hotpatch build looks by itself)")
	fl.StringVar(&f.work, "work", "", "`DIR` for sources, packages and logs (default: next to the debug files)")
	fl.StringVar(&f.chroot, "chroot", "", "build in the Debian root in `DIR`")
	fl.StringSliceVar(&f.debs, "debs", nil, "look for the shipped packages in `DIR` first; may be given several times")
	fl.BoolVar(&f.install, "install-build-deps", false, "install build dependencies that are missing (in the root of --chroot, or on this host)")
	fl.BoolVar(&f.again, "again", false, "rebuild what was rebuilt before, too")
	fl.BoolVar(&f.keep, "keep", false, "leave sources and rebuilt packages in the work directory")
	fl.IntVar(&f.jobs, "jobs", runtime.NumCPU(), "`N` parallel compilations")
	durationFlag(fl, &f.timeout, "timeout", 2*time.Hour, "give up a build that takes longer than `DURATION`")
	fl.StringVar(&f.markdown, "markdown", "", "also write the result as a Markdown table to `FILE`")
	fl.BoolVar(&f.json, "json", false, "print the result as JSON")
	cmd.RunE = a.verb(func(ctx context.Context, args []string) error {
		switch {
		case f.jobs < 1:
			return usage("debuginfo: --jobs %d is not at least 1", f.jobs)
		case f.timeout <= 0:
			return usage("debuginfo: --timeout %v is not positive", f.timeout)
		}
		return a.debuginfo(ctx, args, f)
	})
	return cmd
}

func (a *app) debuginfo(ctx context.Context, targets []string, f debuginfoFlags) error {
	o := rebuild.Options{
		Debs: f.debs, Install: f.install, Again: f.again, Keep: f.keep, Jobs: f.jobs, Timeout: f.timeout,
		Progress: func(pkg, step string) { fmt.Fprintf(a.err, "%s: %s\n", plain(pkg), plain(step)) },
	}
	if err := f.places(&o); err != nil {
		return fmt.Errorf("debuginfo: %w", err)
	}
	rep, err := rebuild.Run(ctx, targets, o)
	if err != nil {
		if rep != nil && len(rep.Packages) > 0 {
			fmt.Fprintf(a.err, "%s of %d done and kept\n", count(len(rep.Packages), "package"), len(targets))
		}
		return fmt.Errorf("debuginfo: %w", err)
	}
	if f.markdown != "" {
		if err := os.WriteFile(f.markdown, []byte(debuginfoMarkdown(rep)), 0o644); err != nil {
			return fmt.Errorf("debuginfo: %w", err)
		}
	}
	if f.json {
		err = writeJSON(a.out, rep)
	} else {
		err = a.printDebuginfo(rep, o.Output, f.output == "")
	}
	if err != nil {
		return err
	}
	return a.debuginfoExit(rep)
}

// places fills in the directories that were not given.
func (f *debuginfoFlags) places(o *rebuild.Options) error {
	cache, err := rebuild.CacheDir()
	if err != nil && (f.output == "" || f.work == "") {
		return err
	}
	for _, d := range []struct {
		to            *string
		given, byself string
	}{{&o.Output, f.output, filepath.Join(cache, "debug")}, {&o.Work, f.work, filepath.Join(cache, "rebuild")}, {&o.Chroot, f.chroot, ""}} {
		*d.to = d.byself
		if d.given != "" {
			if *d.to, err = filepath.Abs(d.given); err != nil {
				return err
			}
		}
	}
	return nil
}

// debuginfoExit picks the exit code and says what would help.
func (a *app) debuginfoExit(rep *rebuild.Report) error {
	rebuilt, doubt := 0, false
	for i := range rep.Packages {
		p := &rep.Packages[i]
		if p.Err() != nil {
			doubt = true
			a.explain(p.Err())
			continue
		}
		for j := range p.Images {
			if p.Images[j].DebugFile != "" {
				rebuilt++
			}
			doubt = doubt || !p.Images[j].Verified
		}
	}
	switch {
	case rebuilt == 0:
		return done(exitFailed)
	case doubt:
		return done(exitPartly)
	}
	return nil
}

// explain tells what to do about a package that failed.
func (a *app) explain(err error) {
	fmt.Fprintf(a.err, "hotpatch: debuginfo: %v\n", err)
	var step *rebuild.StepError
	if errors.As(err, &step) {
		for _, line := range step.Tail {
			fmt.Fprintf(a.err, "  | %s\n", plain(line))
		}
	}
	var missing *rebuild.MissingError
	switch {
	case errors.As(err, &missing):
		a.hint("install them with: " + plain(missing.Command))
		a.hint("or build apart from this host: --chroot DIR --install-build-deps")
	case errors.Is(err, deb.ErrNoSource):
		a.hint("give the .dsc file of this version, if you can get it elsewhere")
	case errors.Is(err, deb.ErrGone):
		a.hint("the archive lists this source but no longer has it; give its .dsc file, if you can get it elsewhere")
	}
}

// shownMismatches is how many functions that differ are listed per program.
const shownMismatches = 10

func (a *app) printDebuginfo(rep *rebuild.Report, output string, byItself bool) error {
	var w strings.Builder
	kept := 0
	for i := range rep.Packages {
		p := &rep.Packages[i]
		head := fmt.Sprintf("rebuilt in %.0f s", p.Seconds)
		switch {
		case p.Error != "":
			head = a.outStyle.bad("not rebuilt")
		case p.Cached:
			head = "rebuilt before"
		}
		name := strings.TrimSpace(p.Source + " " + p.Version)
		if name == "" {
			name = p.Target
		}
		fmt.Fprintf(&w, "%s  %s\n", a.outStyle.bold(plain(name)), head)
		for j := range p.Images {
			kept += a.printRebuilt(&w, &p.Images[j])
		}
		for _, x := range p.Absent {
			fmt.Fprintf(&w, "  %s  %s\n", a.outStyle.warn("not compared"), plain(x))
		}
	}
	if kept > 0 {
		use := "hotpatch build uses them by itself"
		if !byItself {
			use = "use them with hotpatch build --debug-dir " + output
		}
		fmt.Fprintf(&w, "%s in %s: %s\n", count(kept, "debug file"), output, use)
	}
	_, err := io.WriteString(a.out, w.String())
	return err
}

func (a *app) printRebuilt(w io.Writer, im *rebuild.Image) int {
	if im.DebugFile == "" {
		fmt.Fprintf(w, "  %s  %s: %s\n", a.outStyle.bad("nothing     "), plain(im.Path), plain(im.Error))
		return 0
	}
	word := a.outStyle.good("verified    ")
	if !im.Verified {
		word = a.outStyle.warn("not verified")
	}
	how := ""
	switch {
	case im.SameBuildID:
		how = ", same build-id"
	case !im.SameLayout:
		how = ", at other addresses"
	}
	fmt.Fprintf(w, "  %s  %s  %d of %d functions match%s\n", word, plain(im.Path), im.Identical, im.Functions, how)
	for k, m := range im.Unmatched {
		if k == shownMismatches {
			fmt.Fprintf(w, "                  and %d more\n", len(im.Unmatched)-k)
			break
		}
		fmt.Fprintf(w, "                  %s (%s): %s\n", plain(m.Function), m.Kind, plain(m.Why))
	}
	return 1
}

// debuginfoMarkdown is the result as a table for a document.
func debuginfoMarkdown(rep *rebuild.Report) string {
	cell := func(s string) string { return strings.ReplaceAll(plain(s), "|", "\\|") }
	var w strings.Builder
	fmt.Fprintf(&w, "| source | program or library | functions | match | same build-id | types |\n|---|---|---:|---:|---|---|\n")
	for i := range rep.Packages {
		p := &rep.Packages[i]
		name := cell(strings.TrimSpace(p.Source + " " + p.Version))
		if p.Error != "" {
			fmt.Fprintf(&w, "| %s | | | | | not rebuilt: %s |\n", name, cell(errorWords(p.Error)))
		}
		for j := range p.Images {
			im := &p.Images[j]
			if im.DebugFile == "" {
				fmt.Fprintf(&w, "| %s | `%s` | | | | none: %s |\n", name, cell(im.Path), cell(im.Error))
				continue
			}
			same, types := "no", "verified"
			if im.SameBuildID {
				same = "yes"
			}
			if !im.Verified {
				types = cell(im.String())
			}
			fmt.Fprintf(&w, "| %s | `%s` | %d | %d | %s | %s |\n", name, cell(im.Path), im.Functions, im.Identical, same, types)
		}
	}
	return w.String()
}

// errorWords leaves the place of the log out, which says nothing elsewhere.
func errorWords(text string) string {
	text, _, _ = strings.Cut(text, " (log: ")
	if _, last, ok := strings.Cut(text, ": "); ok {
		return last
	}
	return text
}
