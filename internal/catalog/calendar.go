package catalog

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Type is the letter of a calendar row.
type Type string

const (
	TypeBaseline  Type = "B"
	TypeUnplanned Type = "U"
	TypeHotpatch  Type = "H"
	TypeCold      Type = "C"
	TypeCompanion Type = "N"
)

// Calendar is the months of a channel, past and planned.
type Calendar struct {
	Name    string  `json:"name"`
	Cadence Cadence `json:"cadence"`
	Rows    []Row   `json:"rows"` // by Available, then Type
}

// Cadence is the plan: baselines in some months, hotpatches in the others, on
// one day of the month. The zero Cadence plans nothing.
type Cadence struct {
	Baselines []int  `json:"baselines"` // months, 1 to 12
	Day       string `json:"day"`       // "2TU": the second Tuesday; first to fourth
	Hour      int    `json:"hour"`      // UTC
}

// Row is one release, or a plan for one.
type Row struct {
	Month     string    `json:"month"`  // "2025-10"
	Update    string    `json:"update"` // "2025.10 baseline"
	Type      Type      `json:"type"`
	Available time.Time `json:"available"`
	Build     string    `json:"build,omitempty"`
	Article   string    `json:"article,omitempty"`
	Release   ReleaseID `json:"release,omitempty"`
	Planned   bool      `json:"planned,omitempty"`  // in the future, not published
	Replaces  string    `json:"replaces,omitempty"` // on an unplanned baseline: Update of the hotpatch whose place it takes
}

// CalendarChange is what entering a release into the calendar means to others.
type CalendarChange struct {
	Row      Row       `json:"row"`
	Replaced *Row      `json:"replaced,omitempty"` // the hotpatch whose place it takes
	Notice   string    `json:"notice"`             // one sentence, for everybody
	Deadline time.Time `json:"deadline,omitzero"`
}

// Words for a row's type.
func (t Type) String() string {
	switch t {
	case TypeBaseline:
		return "baseline"
	case TypeUnplanned:
		return "unplanned baseline"
	case TypeHotpatch:
		return "hotpatch"
	case TypeCold:
		return "cold"
	case TypeCompanion:
		return "companion"
	}
	return string(t)
}

// baseline: machines on the track restart for it.
func (t Type) baseline() bool { return t == TypeBaseline || t == TypeUnplanned }

func typeOf(r *Release) (Type, bool) {
	switch r.Kind {
	case Baseline:
		if r.Unplanned {
			return TypeUnplanned, true
		}
		return TypeBaseline, true
	case Hotpatch:
		return TypeHotpatch, true
	case Cold:
		return TypeCold, true
	case Companion:
		return TypeCompanion, true
	}
	return "", false
}

// NewRow is the row of a release on a day.
func NewRow(t Type, available time.Time) Row {
	available = available.UTC()
	return Row{
		Month: available.Format("2006-01"), Update: available.Format("2006.01 ") + t.String(),
		Type: t, Available: available,
	}
}

func (k *Calendar) sort() {
	slices.SortStableFunc(k.Rows, func(a, b Row) int {
		return cmp.Or(a.Available.Compare(b.Available), cmp.Compare(a.Type, b.Type), cmp.Compare(a.Article, b.Article))
	})
}

// Publish enters a release: the planned row of its month becomes real. An
// unplanned baseline takes the place of its month's hotpatch, says so, and
// needs a deadline (invariant 9). Releases outside the program have no row.
func (k Calendar) Publish(r *Release) (Calendar, CalendarChange, error) {
	t, ok := typeOf(r)
	if !ok {
		return k, CalendarChange{Notice: fmt.Sprintf("%s is outside the program: the calendar stays as it is.", r.ID)}, nil
	}
	if t == TypeUnplanned && r.Deadline.IsZero() {
		return k, CalendarChange{}, fmt.Errorf("publish %s: an unplanned baseline needs a deadline", r.ID)
	}
	if i := slices.IndexFunc(k.Rows, func(w Row) bool { return w.Release == r.ID }); i >= 0 {
		return k, CalendarChange{}, fmt.Errorf("publish %s: it is in the calendar already", r.ID)
	}
	row := NewRow(t, r.Available)
	row.Build, row.Article, row.Release = r.Version, r.Article, r.ID
	k.Rows = slices.Clone(k.Rows)
	change := CalendarChange{Deadline: r.Deadline}
	switch {
	case t == TypeUnplanned:
		// The month's hotpatch, planned or real, is what it replaces.
		if i := k.rowOf(row.Month, TypeHotpatch, false); i >= 0 {
			old := k.Rows[i]
			change.Replaced, row.Replaces = &old, old.Update
			if old.Planned {
				k.Rows = slices.Delete(k.Rows, i, i+1)
			}
		}
	case !r.OutOfBand:
		if i := k.rowOf(row.Month, t, true); i >= 0 {
			k.Rows = slices.Delete(k.Rows, i, i+1)
		}
	}
	k.Rows = append(k.Rows, row)
	k.sort()
	change.Row, change.Notice = row, notice(r, row)
	return k, change, nil
}

// rowOf finds a row of a month; planned: only one that is still a plan.
func (k *Calendar) rowOf(month string, t Type, planned bool) int {
	return slices.IndexFunc(k.Rows, func(w Row) bool {
		return w.Month == month && w.Type == t && (w.Planned || !planned)
	})
}

func notice(r *Release, row Row) string {
	s := fmt.Sprintf("%s (%s) is available.", row.Update, cmp.Or(r.Article, string(r.ID)))
	if row.Type == TypeUnplanned {
		what := cmp.Or(row.Replaces, "no hotpatch")
		s = fmt.Sprintf("%s (%s) takes the place of %s: machines on the track restart once until %s.",
			row.Update, cmp.Or(r.Article, string(r.ID)), what, r.Deadline.UTC().Format("2006-01-02"))
	}
	return s
}

// MaxPlan is how many months ahead a plan goes.
const MaxPlan = 60

// Plan adds planned rows for the months after the last row (and for its own,
// when that has only releases out of band), up to and with until's.
func (k Calendar) Plan(until time.Time) Calendar {
	if len(k.Rows) == 0 {
		return k
	}
	last := k.Rows[0].Available
	for _, w := range k.Rows {
		last = maxTime(last, w.Available)
	}
	return k.plan(last, until)
}

// plan adds the regular release of every month from's to until's that has
// none.
func (k Calendar) plan(from, until time.Time) Calendar {
	weekday, nth, ok := k.Cadence.day()
	if !ok {
		return k
	}
	k.Rows = slices.Clone(k.Rows)
	from = from.UTC()
	for n := range MaxPlan {
		first := time.Date(from.Year(), from.Month()+time.Month(n), 1, k.Cadence.Hour, 0, 0, 0, time.UTC)
		if first.After(until) {
			break
		}
		month := first.Format("2006-01")
		if slices.ContainsFunc(k.Rows, func(w Row) bool {
			return w.Month == month && w.Type != TypeCold && w.Type != TypeCompanion
		}) {
			continue
		}
		t := TypeHotpatch
		if slices.Contains(k.Cadence.Baselines, int(first.Month())) {
			t = TypeBaseline
		}
		ahead := (int(weekday) - int(first.Weekday()) + 7) % 7
		row := NewRow(t, first.AddDate(0, 0, ahead+7*(nth-1)))
		row.Planned = true
		k.Rows = append(k.Rows, row)
	}
	k.sort()
	return k
}

// ahead is the calendar with its plan, seen from t: also one that has no row
// yet.
func (k Calendar) ahead(t, until time.Time) Calendar {
	if len(k.Rows) == 0 {
		return k.plan(t, until)
	}
	return k.Plan(until)
}

// day reads "2TU".
func (c Cadence) day() (time.Weekday, int, bool) {
	if len(c.Day) != 3 || c.Day[0] < '1' || c.Day[0] > '4' {
		return 0, 0, false
	}
	i := slices.Index(strings.Fields("SU MO TU WE TH FR SA"), c.Day[1:])
	return time.Weekday(max(0, i)), int(c.Day[0] - '0'), i >= 0
}

// NextBaseline is the first baseline, real or planned, after t.
func (k Calendar) NextBaseline(t time.Time) (Row, bool) {
	for _, w := range k.ahead(t, t.AddDate(2, 0, 0)).Rows {
		if w.Type.baseline() && w.Available.After(t) {
			return w, true
		}
	}
	return Row{}, false
}

// between lists the rows with from < Available ≤ to, planned ones with them.
func (k Calendar) between(from, to time.Time) []Row {
	var out []Row
	for _, w := range k.ahead(from, to).Rows {
		if w.Available.After(from) && !w.Available.After(to) {
			out = append(out, w)
		}
	}
	return out
}
