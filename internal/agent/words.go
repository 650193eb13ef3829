package agent

import (
	"fmt"
	"strings"

	"hotpatch/internal/catalog"
)

// trackWords says in one sentence where a host stands.
func trackWords(t *catalog.Track) string {
	on := string(t.Baseline)
	if t.Hotpatch != "" {
		on += " with " + string(t.Hotpatch)
	}
	switch t.State {
	case "":
		return "not in the program: updated the ordinary way"
	case catalog.Ineligible:
		var what []string
		for _, g := range t.Gates {
			what = append(what, g.What)
		}
		return "not eligible: " + strings.Join(what, "; ")
	case catalog.Current:
		return "current: " + on + ", on disk and in memory"
	case catalog.HotpatchAvailable:
		return fmt.Sprintf("%s is available on %s", t.Release, on)
	case catalog.Staged:
		return fmt.Sprintf("%s is staged, nothing is applied yet", t.Release)
	case catalog.Applying:
		return fmt.Sprintf("%s is being applied", t.Release)
	case catalog.AppliedUnverified:
		return fmt.Sprintf("%s is applied and not verified yet", t.Release)
	case catalog.BaselineDue:
		kind := "planned"
		if !t.Planned {
			kind = "unplanned"
		}
		text := fmt.Sprintf("the %s baseline %s is due", kind, t.Release)
		if !t.Deadline.IsZero() {
			text += " until " + t.Deadline.UTC().Format("2006-01-02 15:04 MST")
		}
		return text
	case catalog.RestartPending:
		return "a restart is pending: " + strings.Join(t.Restarts, ", ")
	case catalog.CatchUp:
		return fmt.Sprintf("a baseline was missed: %s with one restart, then the latest hotpatch", t.Release)
	case catalog.OffTheTrack:
		if o := t.OffTrack; o != nil {
			return fmt.Sprintf("off the track since %s: %s (by %s); on it again with the baseline of %s, or at once by rebasing to %s",
				o.Since.UTC().Format("2006-01-02"), o.Cause, o.Actor, o.Rejoin.Month, o.Rebase.Baseline)
		}
		return "off the track"
	case catalog.Failed:
		return "failed: " + t.Reason
	}
	return string(t.State)
}

// runWords says in one line how a piece of work ended.
func runWords(action catalog.Action, r *catalog.Run) string {
	done, bad := 0, 0
	for _, i := range r.Items {
		switch i.State {
		case catalog.ItemInstalled:
			done++
		case catalog.ItemFailed:
			bad++
		}
	}
	text := fmt.Sprintf("%s %s: %s (%d done, %d failed)", action, r.Release, r.State, done, bad)
	if r.Reason != "" {
		text += ": " + r.Reason
	}
	if len(r.Warnings) > 0 {
		text += "; " + strings.Join(r.Warnings, "; ")
	}
	return text
}
