package window

import (
	"slices"
	"time"
)

// Openings lists when the window opens, from ≤ Start ≤ to, in order of time
// and each instant once. Spans longer than Horizon are cut to it.
func (w Window) Openings(from, to time.Time) []Opening {
	if w.zone == nil {
		return nil
	}
	to = minTime(to, from.Add(Horizon))
	var starts []time.Time
	open := func(c civil) {
		t := instant(c, w.zone)
		if w.closed(c) || t.Before(from) || t.After(to) {
			return
		}
		starts = append(starts, t)
	}
	// Clocks are never changed by more than a day, so the wall's readings are
	// looked for with a day to spare.
	lo, hi := wall(from, w.zone).AddDate(0, 0, -2), wall(to, w.zone).AddDate(0, 0, 2)
	if w.rule != nil {
		w.rule.between(lo, hi, open)
	}
	for _, c := range w.extra {
		open(c)
	}
	slices.SortFunc(starts, time.Time.Compare)
	starts = slices.CompactFunc(starts, time.Time.Equal) // 02:30 and 03:30 may be one instant
	out := make([]Opening, len(starts))
	for i, t := range starts {
		out[i] = Opening{Window: w.spec.Name, Start: t, End: t.Add(w.length)}
	}
	return out
}

// closed says whether an exception takes the reading c away.
func (w Window) closed(c civil) bool {
	return w.except[c.Format(dayForm)] || slices.ContainsFunc(w.closing, c.Equal)
}
