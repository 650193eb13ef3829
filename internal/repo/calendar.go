package repo

import (
	_ "embed"
	"errors"
	"fmt"
	"html/template"
	"io"
	"slices"
	"strings"
	"time"

	ics "github.com/arran4/golang-ical"

	"hotpatch/internal/catalog"
)

// planAhead is how far a calendar that is shown goes.
const planAhead = 366 * 24 * time.Hour

// Schedule is the calendar of a channel as it is shown: what was published,
// and what is planned for the twelve months after now.
func Schedule(k *catalog.Catalog, now time.Time) []catalog.Row {
	rows := k.Calendar.Plan(now.Add(planAhead)).Rows
	return slices.DeleteFunc(slices.Clone(rows), func(w catalog.Row) bool {
		return w.Planned && w.Available.Before(now.AddDate(0, 0, -7)) // a plan that came to nothing
	})
}

//go:embed calendar.html.tmpl
var calendarPage string

// page is what the template sees.
type page struct {
	Name, Channel string
	Issued        time.Time
	Rows          []pageRow
}

type pageRow struct {
	catalog.Row
	Class    string // baseline, unplanned, hotpatch, cold, companion
	Recalled string // why
}

// WriteHTML writes the calendar as one page that needs nothing else.
func WriteHTML(w io.Writer, k *catalog.Catalog, now time.Time) error {
	t, err := template.New("calendar").Funcs(template.FuncMap{
		"day": func(t time.Time) string { return t.UTC().Format(time.DateOnly) },
	}).Parse(calendarPage)
	if err != nil {
		return fmt.Errorf("write calendar: %w", err)
	}
	p := page{Name: k.Calendar.Name, Channel: k.Channel, Issued: k.Issued}
	for _, row := range Schedule(k, now) {
		r := pageRow{Row: row, Class: strings.Fields(row.Type.String())[0]}
		if rel := k.Release(row.Release); row.Release != "" && rel != nil && rel.Life.State == catalog.Recalled {
			r.Recalled = rel.Life.Reason
		}
		p.Rows = append(p.Rows, r)
	}
	if err := t.Execute(w, p); err != nil {
		return fmt.Errorf("write calendar: %w", err)
	}
	return nil
}

// WriteICal writes the calendar as RFC 5545 text, for people's own calendars.
// Same catalogue, same bytes. Planned rows are tentative.
func WriteICal(w io.Writer, k *catalog.Catalog, now time.Time) error {
	rows := Schedule(k, now)
	cal := ics.NewCalendarFor("hotpatch")
	cal.SetMethod(ics.MethodPublish)
	cal.SetName(k.Calendar.Name + " " + k.Channel)
	for i, row := range rows {
		// The row's identity is its month and type: what is planned becomes
		// real under the same one. Several of a kind in a month are numbered.
		n := 0
		for _, o := range rows[:i] {
			if o.Month == row.Month && o.Type == row.Type {
				n++
			}
		}
		e := cal.AddEvent(fmt.Sprintf("%s-%s-%d.%s.%s@hotpatch", row.Month, row.Type, n, k.Channel, k.Calendar.Name))
		e.SetDtStampTime(k.Issued)
		e.SetStartAt(row.Available)
		e.SetEndAt(row.Available.Add(time.Hour))
		e.SetTimeTransparency(ics.TransparencyTransparent)
		e.SetSummary(summary(row))
		var lines []string
		for _, f := range []struct{ name, value string }{
			{"Type", row.Type.String()}, {"Build", row.Build}, {"Article", row.Article}, {"Release", string(row.Release)}, {"Takes the place of", row.Replaces},
		} {
			if f.value != "" {
				lines = append(lines, f.name+": "+f.value)
			}
		}
		status := ics.ObjectStatusConfirmed
		if row.Planned {
			status = ics.ObjectStatusTentative
			lines = append(lines, "Planned.")
		}
		if rel := k.Release(row.Release); row.Release != "" && rel != nil && rel.Life.State == catalog.Recalled {
			status = ics.ObjectStatusCancelled
			lines = append(lines, "Recalled: "+rel.Life.Reason)
		}
		e.SetStatus(status)
		e.SetDescription(strings.Join(lines, "\n"))
	}
	if len(rows) == 0 {
		return errors.New("write calendar: it is empty")
	}
	_, err := io.WriteString(w, cal.Serialize())
	return err
}

func summary(row catalog.Row) string {
	s := row.Update
	if row.Article != "" {
		s += " (" + row.Article + ")"
	}
	if row.Planned {
		s += ", planned"
	}
	return s
}
