package catalog

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"hotpatch/internal/window"
)

// Bounds of everything that is read.
const (
	MaxText      = 4096    // bytes of one text
	MaxList      = 1 << 17 // entries of one list
	maxReleases  = 10_000
	maxBases     = 256 // artifacts of one package in one release
	maxCVEs      = 4096
	maxRows      = 10_000
	maxOverrides = 1000
	maxYear      = 2200
)

// bounds walks everything decoded: texts are UTF-8 without control characters
// and not long, lists are not long, times are in this age. Windows have checks
// of their own. Where it was is added on the way up.
func bounds(v reflect.Value, depth int) error {
	if depth > 20 {
		return errors.New(": nested too deep")
	}
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			return bounds(v.Elem(), depth+1)
		}
	case reflect.String:
		return boundText(v.String())
	case reflect.Slice, reflect.Map:
		if v.Len() > MaxList {
			return fmt.Errorf(": %d entries, more than %d", v.Len(), MaxList)
		}
		return boundEntries(v, depth)
	case reflect.Struct:
		return boundStruct(v, depth)
	}
	return nil
}

func boundEntries(v reflect.Value, depth int) error {
	if v.Kind() == reflect.Map {
		for it := v.MapRange(); it.Next(); {
			if err := errors.Join(bounds(it.Key(), depth+1), bounds(it.Value(), depth+1)); err != nil {
				return err
			}
		}
		return nil
	}
	for i := range v.Len() {
		if err := bounds(v.Index(i), depth+1); err != nil {
			return fmt.Errorf("[%d]%w", i, err)
		}
	}
	return nil
}

func boundText(s string) error {
	switch {
	case len(s) > MaxText:
		return fmt.Errorf(": %d bytes, more than %d", len(s), MaxText)
	case !utf8.ValidString(s):
		return errors.New(": not UTF-8")
	case strings.ContainsFunc(s, unicode.IsControl):
		return fmt.Errorf(": a control character in %.80q", s)
	}
	return nil
}

func boundStruct(v reflect.Value, depth int) error {
	switch x := v.Interface().(type) {
	case time.Time:
		if y := x.Year(); !x.IsZero() && (y < 1970 || y > maxYear) {
			return fmt.Errorf(": year %d", y)
		}
		return nil
	case window.Window:
		return nil
	}
	for i := range v.NumField() {
		if err := bounds(v.Field(i), depth+1); err != nil {
			name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
			return fmt.Errorf(".%s%w", name, err)
		}
	}
	return nil
}

// oneOf wants a word of a list.
func oneOf[T ~string](at string, v T, words ...T) error {
	if !slices.Contains(words, v) {
		return fmt.Errorf("%s: %.40q is none of %v", at, string(v), words)
	}
	return nil
}

func (id ReleaseID) check(at string) error {
	if id == "" || len(id) > 80 || strings.ContainsFunc(string(id), func(r rune) bool {
		return !('a' <= r && r <= 'z' || '0' <= r && r <= '9' || r == '-' || r == '.')
	}) || id[0] == '.' || id[0] == '-' {
		return fmt.Errorf("%s: %.80q is no release id (a-z, 0-9, '-', '.'; at most 80)", at, string(id))
	}
	return nil
}

func (id ReleaseID) checkMaybe(at string) error {
	if id == "" {
		return nil
	}
	return id.check(at)
}

func (d Digest) check(at string) error {
	if !d.valid() {
		return fmt.Errorf("%s: %.80q is no hex SHA-256", at, string(d))
	}
	return nil
}

func (c *Catalog) check() error {
	if err := bounds(reflect.ValueOf(c), 0); err != nil {
		return fmt.Errorf("catalog%w", err)
	}
	switch {
	case c.Format != Format:
		return fmt.Errorf("format: %d, not %d", c.Format, Format)
	case c.Channel == "":
		return errors.New("channel: empty")
	case c.Issued.IsZero():
		return errors.New("issued: missing")
	case len(c.Releases) > maxReleases || len(c.Calendar.Rows) > maxRows || len(c.Overrides) > maxOverrides:
		return errors.New("too many releases, rows or overrides")
	}
	kinds := map[ReleaseID]Kind{}
	for i := range c.Releases {
		r := &c.Releases[i]
		if err := r.check(); err != nil {
			return fmt.Errorf("releases[%d] (%.80s): %w", i, r.ID, err)
		}
		if _, ok := kinds[r.ID]; ok {
			return fmt.Errorf("releases[%d]: a second %s", i, r.ID)
		}
		kinds[r.ID] = r.Kind
	}
	for i := range c.Releases {
		if err := c.Releases[i].checkReferences(kinds); err != nil {
			return fmt.Errorf("releases[%d] (%s): %w", i, c.Releases[i].ID, err)
		}
	}
	if err := c.Calendar.check(); err != nil {
		return fmt.Errorf("calendar: %w", err)
	}
	for i := range c.Overrides {
		o := &c.Overrides[i]
		if err := o.check(); err != nil {
			return fmt.Errorf("overrides[%d]: %w", i, err)
		}
		if _, ok := kinds[o.Release]; !ok {
			return fmt.Errorf("overrides[%d]: %w", i, unknownRelease(o.Release))
		}
	}
	return nil
}

func (r *Release) check() error {
	if err := errors.Join(r.ID.check("id"), oneOf("kind", r.Kind, Baseline, Hotpatch, Companion, Cold, Outside), r.Life.check(),
		r.Baseline.checkMaybe("baseline"), r.Fixes.checkMaybe("fixes")); err != nil {
		return err
	}
	onTop := r.Kind == Hotpatch || r.Kind == Companion || r.Kind == Cold
	switch {
	case onTop != (r.Baseline != ""):
		return fmt.Errorf("baseline: %q, on a %s release", r.Baseline, r.Kind)
	case r.Available.IsZero():
		return errors.New("available: missing")
	case r.Unplanned && r.Kind != Baseline:
		return errors.New("unplanned: only a baseline can be")
	case r.Fixes != "" && r.Kind != Companion && r.Kind != Hotpatch:
		return errors.New("fixes: only a companion or hotpatch can")
	case r.Without != nil && (r.Kind != Cold || r.Without.Text == "" || r.Without.By == ""):
		return errors.New("without: it needs a text and a name, on a cold release")
	case !r.Deadline.IsZero() && r.Deadline.Before(r.Available):
		return errors.New("deadline: before it is available")
	}
	for i, id := range r.Replaces {
		if err := id.check(fmt.Sprintf("replaces[%d]", i)); err != nil {
			return err
		}
	}
	bases := 0
	for i := range r.Artifacts {
		a := &r.Artifacts[i]
		if bases++; i > 0 && r.Artifacts[i-1].Package != a.Package {
			bases = 1
		}
		if bases > maxBases {
			return fmt.Errorf("artifacts[%d] (%.80s): more than %d of one package", i, a.Package, maxBases)
		}
		if err := a.check(); err != nil {
			return fmt.Errorf("artifacts[%d] (%.80s): %w", i, a.Package, err)
		}
		if i > 0 && r.Artifacts[i-1].compare(a) >= 0 {
			return fmt.Errorf("artifacts[%d] (%s): not sorted by package, architecture, base, bundle; or twice", i, a.Package)
		}
	}
	return nil
}

// checkReferences wants that what a release names is in the catalogue and of
// the right kind.
func (r *Release) checkReferences(kinds map[ReleaseID]Kind) error {
	if r.Baseline != "" && kinds[r.Baseline] != Baseline {
		return fmt.Errorf("baseline: %s is no baseline of the catalogue", r.Baseline)
	}
	if r.Fixes != "" && kinds[r.Fixes] != Cold {
		return fmt.Errorf("fixes: %s is no cold release of the catalogue", r.Fixes)
	}
	return nil
}

func (a *Artifact) compare(b *Artifact) int {
	return slices.Compare([]string{a.Package, a.Arch, a.Base, string(a.Bundle)}, []string{b.Package, b.Arch, b.Base, string(b.Bundle)})
}

func (a *Artifact) check() error {
	switch {
	case a.Package == "" || a.Fixed == "":
		return errors.New("no package or no fixed version")
	case a.Deb != "" && !a.Deb.valid(), a.Bundle != "" && !a.Bundle.valid():
		return errors.New("deb or bundle is no hex SHA-256")
	case len(a.CVEs) > maxCVEs:
		return fmt.Errorf("cves: %d, more than %d", len(a.CVEs), maxCVEs)
	case a.Size < 0:
		return errors.New("size: negative")
	}
	for i, g := range a.Images {
		switch {
		case !strings.HasPrefix(g.Path, "/"):
			return fmt.Errorf("images[%d].path: %.80q is not absolute", i, g.Path)
		case !isBuildID(g.Fixed) || g.Base != "" && !isBuildID(g.Base):
			return fmt.Errorf("images[%d]: a build-id is not hex", i)
		case g.Same && g.Base == "":
			return fmt.Errorf("images[%d].same: as what? it has no base", i)
		case i > 0 && slices.Compare([]string{a.Images[i-1].Path, a.Images[i-1].Base}, []string{g.Path, g.Base}) >= 0:
			return fmt.Errorf("images[%d]: not sorted by path and base, or twice", i)
		}
	}
	for i, c := range a.CVEs {
		if !isCVE(c) {
			return fmt.Errorf("cves[%d]: %.40q is not CVE-YEAR-NUMBER", i, c)
		}
		if i > 0 && a.CVEs[i-1] >= c {
			return fmt.Errorf("cves[%d]: not sorted, or twice", i)
		}
	}
	return nil
}

func isBuildID(s string) bool { return isHex(s, 2, 128) }

// isCVE: CVE-, four digits, -, four or more digits.
func isCVE(s string) bool {
	if len(s) < len("CVE-0000-0000") || len(s) > 32 || s[:4] != "CVE-" || s[8] != '-' {
		return false
	}
	return strings.Trim(s[4:8]+s[9:], "0123456789") == ""
}

func (l *Life) check() error {
	if err := oneOf("life.state", l.State, Draft, Validated, Previewed, Approved, InRing, Complete, Paused, Recalled); err != nil {
		return err
	}
	inRing := l.State == InRing || (l.State == Paused || l.State == Recalled) && l.Was == InRing
	switch {
	case inRing != (l.Ring > 0) || l.Ring > MaxRings || l.Ring < 0:
		return fmt.Errorf("life.ring: %d, of a release that is %s", l.Ring, l.State)
	case l.State == Paused || l.State == Recalled:
		return oneOf("life.was", l.Was, Draft, Validated, Previewed, Approved, InRing, Complete)
	case l.Was != "":
		return fmt.Errorf("life.was: %q, of a release that is %s", l.Was, l.State)
	}
	return nil
}

func (k *Calendar) check() error {
	if k.Cadence.Day != "" || len(k.Cadence.Baselines) > 0 {
		if _, _, ok := k.Cadence.day(); !ok || k.Cadence.Hour < 0 || k.Cadence.Hour > 23 {
			return fmt.Errorf("cadence: day %.20q, hour %d", k.Cadence.Day, k.Cadence.Hour)
		}
	}
	for i, m := range k.Cadence.Baselines {
		if m < 1 || m > 12 || i > 0 && k.Cadence.Baselines[i-1] >= m {
			return fmt.Errorf("cadence.baselines[%d]: %d is no month, or not in order", i, m)
		}
	}
	for i, w := range k.Rows {
		if err := errors.Join(oneOf("type", w.Type, TypeBaseline, TypeUnplanned, TypeHotpatch, TypeCold, TypeCompanion),
			w.Release.checkMaybe("release")); err != nil {
			return fmt.Errorf("rows[%d]: %w", i, err)
		}
		switch {
		case w.Available.IsZero() || w.Month != w.Available.UTC().Format("2006-01"):
			return fmt.Errorf("rows[%d].month: %.20q is not that of its day", i, w.Month)
		case w.Update == "":
			return fmt.Errorf("rows[%d].update: empty", i)
		case w.Replaces != "" && w.Type != TypeUnplanned:
			return fmt.Errorf("rows[%d].replaces: only an unplanned baseline does", i)
		}
	}
	return nil
}

func (o *Override) check() error {
	if err := errors.Join(o.Release.check("release"), o.Content.check("content"), o.Preview.check("preview")); err != nil {
		return err
	}
	return o.complete()
}

func (inv *Inventory) check() error {
	if inv.Format != Format {
		return fmt.Errorf("format: %d, not %d", inv.Format, Format)
	}
	if inv.Host == "" || inv.Taken.IsZero() {
		return errors.New("host or taken: missing")
	}
	for i, p := range inv.Packages {
		if p.Name == "" || p.Version == "" || p.Deb != "" && !p.Deb.valid() {
			return fmt.Errorf("packages[%d] (%.80s): no name, no version, or a deb that is no hex SHA-256", i, p.Name)
		}
		for k, g := range p.Images {
			if !strings.HasPrefix(g.Path, "/") || !isBuildID(g.BuildID) {
				return fmt.Errorf("packages[%d].images[%d]: %.80q %.80q", i, k, g.Path, g.BuildID)
			}
		}
	}
	for i, p := range inv.Processes {
		if p.PID <= 0 {
			return fmt.Errorf("processes[%d].pid: %d", i, p.PID)
		}
		for k, g := range p.Images {
			if !strings.HasPrefix(g.Path, "/") || !isBuildID(g.BuildID) || g.Next != "" && !isBuildID(g.Next) {
				return fmt.Errorf("processes[%d].images[%d]: %.80q %.80q", i, k, g.Path, g.BuildID)
			}
		}
		for k, d := range p.Patches {
			if err := d.check(fmt.Sprintf("processes[%d].patches[%d]", i, k)); err != nil {
				return err
			}
		}
	}
	for i, r := range inv.Receipts {
		if err := r.Release.check(fmt.Sprintf("receipts[%d].release", i)); err != nil {
			return err
		}
	}
	return nil
}

func (e *Enrolment) check() error {
	if err := errors.Join(oneOf("intent", e.Intent, NotEnrolled, Pending, Enrolled, Suspended, Cancelled), e.Joined.checkMaybe("joined")); err != nil {
		return err
	}
	if l := e.Left; l != nil {
		if l.Cause == "" || l.By == "" || l.At.IsZero() {
			return errors.New("left: cause, actor and date are all needed")
		}
		if err := l.Release.checkMaybe("left.release"); err != nil {
			return err
		}
	}
	if w := e.Work; w != nil {
		return errors.Join(w.Release.check("work.release"), w.Content.check("work.content"),
			oneOf("work.state", w.State, Staged, Applying, AppliedUnverified, RestartPending, Failed))
	}
	return nil
}

func (p *Policy) check() error {
	if err := errors.Join(oneOf("hotpatches", p.Hotpatches, "", AtOnce, InWindow), oneOf("disk", p.Disk, "", DiskFirst, MemoryOnly),
		p.Rebase.checkMaybe("rebase")); err != nil {
		return err
	}
	if d := time.Duration(p.PerItem); d < 0 || d > 24*time.Hour {
		return fmt.Errorf("per_item: %v", d)
	}
	if p.Ring < 0 || p.Ring > MaxRings {
		return fmt.Errorf("ring: %d", p.Ring)
	}
	for i, id := range p.Outside {
		if err := id.check(fmt.Sprintf("outside[%d]", i)); err != nil {
			return err
		}
	}
	return nil
}

func (a *Assessment) check() error {
	if a.Format != Format {
		return fmt.Errorf("format: %d, not %d", a.Format, Format)
	}
	if a.Host == "" || a.At.IsZero() {
		return errors.New("host or at: missing")
	}
	if err := errors.Join(oneOf("intent", a.Intent, NotEnrolled, Pending, Enrolled, Suspended, Cancelled),
		oneOf("track.state", a.Track.State, "", Ineligible, Current, HotpatchAvailable, Staged, Applying, AppliedUnverified,
			BaselineDue, RestartPending, CatchUp, OffTheTrack, Failed), a.State.ID.check("state.id")); err != nil {
		return err
	}
	for i := range a.Due {
		if err := oneOf(fmt.Sprintf("due[%d].action", i), a.Due[i].Action, DoRestart, DoRevert, DoApply, DoRebase, DoCatchUp); err != nil {
			return err
		}
	}
	for i := range a.Exposure {
		e := &a.Exposure[i]
		if err := oneOf(fmt.Sprintf("exposure[%d].status", i), e.Status, NotAffected, FixedOnDisk, FixedInMemory, Exposed, Undetermined); err != nil {
			return err
		}
	}
	if off := a.Track.OffTrack; (off != nil) != (a.Track.State == OffTheTrack) || off != nil &&
		(off.Cause == "" || off.Actor == "" || off.Since.IsZero() || off.Rejoin.At.IsZero() || len(off.Restarts) == 0) {
		return errors.New("track.off_track: cause, actor, date, rejoin baseline and restarts are all needed")
	}
	return nil
}

func (r *Run) check() error {
	if r.ID == "" || r.Host == "" {
		return errors.New("id or host: missing")
	}
	if err := errors.Join(r.Release.check("release"),
		oneOf("state", r.State, RunNotStarted, RunInProgress, RunSucceeded, RunFailed, RunWarnings, RunCancelled),
		oneOf("restart", r.Restart, RestartNotNeeded, RestartRequired, RestartStarted, RestartCompleted, RestartFailed)); err != nil {
		return err
	}
	for i, it := range r.Items {
		if err := oneOf(fmt.Sprintf("items[%d].state", i), it.State, ItemAvailable, ItemPending, ItemInstalled, ItemFailed, ItemExcluded, ItemNotSelected); err != nil {
			return err
		}
	}
	return nil
}
