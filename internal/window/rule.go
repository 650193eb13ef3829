package window

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/teambition/rrule-go"
)

const (
	maxOpeningsPerDay = 24
	maxInterval       = 1000
	maxCount          = 100_000
	minYear, maxYear  = 2000, 2199 // of From: a rule that counts is followed from there
)

// civil is a reading of a clock on a wall: a time whose zone is UTC and means
// nothing. Days that are counted on the wall need no zone; only the result is
// translated (see instant), so no change of the clocks can move a rule's days.
//
// The library that reads the rule could also expand it, but would do so in
// the zone, where it loses skipped hours, and its iterator does not end before
// the year 9999 for a rule that no day satisfies.
type civil = time.Time

// rule is an expanded RRULE, on civil days.
type rule struct {
	freq     rrule.Frequency
	interval int
	start    civil
	until    civil // zero: none
	count    int   // 0: none
	weekday  int   // first day of the week, 0 is Monday

	months, monthDays, yearDays, weeks, setPos []int
	days                                       []rrule.Weekday
	times                                      []time.Duration // since midnight, sorted
}

// parseRule reads an RRULE that starts at start; explicit says that the start's
// day was chosen by somebody.
func parseRule(text string, start civil, explicit bool, zone *time.Location) (*rule, error) {
	if text != strings.ToUpper(text) || strings.ContainsAny(text, " \t\r\n:") {
		return nil, fmt.Errorf("rule %.80q: only KEY=VALUE;… in capitals", text)
	}
	seen := map[string]bool{}
	for part := range strings.SplitSeq(text, ";") {
		key, value, _ := strings.Cut(part, "=")
		switch key {
		case "FREQ", "INTERVAL", "COUNT", "UNTIL", "WKST", "BYMONTH", "BYMONTHDAY", "BYYEARDAY",
			"BYWEEKNO", "BYDAY", "BYSETPOS", "BYHOUR", "BYMINUTE":
		default:
			return nil, fmt.Errorf("rule %.80q: %.20q has no meaning here", text, key)
		}
		if seen[key] {
			return nil, fmt.Errorf("rule %.80q: %s twice", text, key)
		}
		if len(value) > 2000 {
			return nil, fmt.Errorf("rule %.80q: %s is too long", text, key)
		}
		seen[key] = true
	}
	o, err := rrule.StrToROptionInLocation(text, zone)
	if err != nil {
		return nil, fmt.Errorf("rule %.80q: %w", text, err)
	}
	o.Dtstart = start
	if _, err := rrule.NewRRule(*o); err != nil {
		return nil, fmt.Errorf("rule %.80q: %w", text, err)
	}
	r := &rule{
		freq: o.Freq, interval: o.Interval, start: start, count: o.Count, weekday: o.Wkst.Day(),
		months: o.Bymonth, monthDays: o.Bymonthday, yearDays: o.Byyearday, weeks: o.Byweekno,
		setPos: o.Bysetpos, days: o.Byweekday,
	}
	if !o.Until.IsZero() {
		r.until = wall(o.Until, zone)
	}
	if err := r.check(seen, explicit); err != nil {
		return nil, fmt.Errorf("rule %.80q: %w", text, err)
	}
	r.interval = max(1, r.interval)
	r.times = timesOfDay(o.Byhour, o.Byminute, start)
	if len(r.times) > maxOpeningsPerDay {
		return nil, fmt.Errorf("rule %.80q: opens %d times a day, more than %d", text, len(r.times), maxOpeningsPerDay)
	}
	r.chooseDay()
	return r, nil
}

// check refuses what RFC 5545 forbids, what needs a start that nobody chose,
// and what would explode.
func (r *rule) check(seen map[string]bool, explicit bool) error {
	switch {
	case r.freq > rrule.DAILY:
		return fmt.Errorf("FREQ=%s opens more often than a window can: DAILY is the finest, with BYHOUR and BYMINUTE", r.freq)
	case seen["INTERVAL"] && (r.interval > maxInterval || r.interval < 1):
		return fmt.Errorf("INTERVAL is not 1 to %d", maxInterval)
	case seen["COUNT"] && (r.count < 1 || r.count > maxCount):
		return fmt.Errorf("COUNT is not 1 to %d", maxCount)
	case seen["COUNT"] && seen["UNTIL"]:
		return fmt.Errorf("COUNT and UNTIL exclude each other")
	case (r.interval > 1 || r.count > 0) && !explicit:
		return fmt.Errorf("a rule that counts needs a first day")
	case len(r.weeks) > 0 && (r.freq != rrule.YEARLY || r.weekday != 0):
		return fmt.Errorf("BYWEEKNO goes with FREQ=YEARLY and weeks from Monday")
	case len(r.yearDays) > 0 && r.freq != rrule.YEARLY:
		return fmt.Errorf("BYYEARDAY goes with FREQ=YEARLY")
	case len(r.monthDays) > 0 && r.freq == rrule.WEEKLY:
		return fmt.Errorf("BYMONTHDAY does not go with FREQ=WEEKLY")
	case seen["BYSETPOS"] && !(seen["BYDAY"] || seen["BYMONTHDAY"] || seen["BYYEARDAY"] || seen["BYWEEKNO"] || seen["BYMONTH"]):
		return fmt.Errorf("BYSETPOS needs another BY…")
	case slices.ContainsFunc(r.weeks, func(n int) bool { return n < 1 }):
		return fmt.Errorf("BYWEEKNO counts from the year's start only")
	case !explicit && !r.ownDay():
		return fmt.Errorf("it takes its day from a first day, which is missing")
	}
	for i := range r.days {
		if n := r.days[i].N(); n != 0 && (r.freq == rrule.DAILY || r.freq == rrule.WEEKLY || len(r.weeks) > 0) {
			return fmt.Errorf("BYDAY with a number goes with FREQ=MONTHLY or YEARLY")
		}
	}
	return nil
}

// ownDay: the rule says itself which days it means.
func (r *rule) ownDay() bool {
	return r.freq == rrule.DAILY || len(r.days)+len(r.monthDays)+len(r.yearDays)+len(r.weeks) > 0
}

// chooseDay takes from the start what the rule leaves open (RFC 5545
// §3.3.10: "information not specified … is taken from DTSTART").
func (r *rule) chooseDay() {
	if r.ownDay() {
		return
	}
	switch r.freq {
	case rrule.YEARLY:
		if len(r.months) == 0 {
			r.months = []int{int(r.start.Month())}
		}
		r.monthDays = []int{r.start.Day()}
	case rrule.MONTHLY:
		r.monthDays = []int{r.start.Day()}
	case rrule.WEEKLY:
		r.days = []rrule.Weekday{weekdays()[monday0(r.start)]}
	}
}

func weekdays() []rrule.Weekday {
	return []rrule.Weekday{rrule.MO, rrule.TU, rrule.WE, rrule.TH, rrule.FR, rrule.SA, rrule.SU}
}

func monday0(t civil) int { return (int(t.Weekday()) + 6) % 7 }

func timesOfDay(hours, minutes []int, start civil) []time.Duration {
	if len(hours) == 0 {
		hours = []int{start.Hour()}
	}
	if len(minutes) == 0 {
		minutes = []int{start.Minute()}
	}
	var out []time.Duration
	for _, h := range hours {
		for _, m := range minutes {
			out = append(out, time.Duration(h)*time.Hour+time.Duration(m)*time.Minute)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// between calls yield with every reading of the wall at which the rule opens,
// from ≤ it ≤ to, in order.
func (r *rule) between(from, to civil, yield func(civil)) {
	to = minTime(to, r.until)
	k, left := 0, r.count
	if r.count == 0 {
		k = r.periodBefore(from)
	}
	for ; ; k++ {
		first, last := r.period(k)
		if first.After(to) || first.Year() > maxYear+100 {
			return
		}
		for _, t := range r.inPeriod(first, last) {
			switch {
			case t.Before(r.start):
				continue
			case t.After(to):
				return
			case !t.Before(from):
				yield(t)
			}
			if left--; left == 0 {
				return
			}
		}
	}
}

func minTime(a, b time.Time) time.Time {
	if b.IsZero() || a.Before(b) {
		return a
	}
	return b
}

// period is the k-th day, week, month or year in which the rule looks, as its
// first and last day.
func (r *rule) period(k int) (first, last civil) {
	y, m, d := r.start.Date()
	n := k * r.interval
	switch r.freq {
	case rrule.YEARLY:
		first = date(y+n, 1, 1)
		return first, date(y+n, 12, 31)
	case rrule.MONTHLY:
		first = date(y, int(m)+n, 1)
		return first, first.AddDate(0, 1, -1)
	case rrule.WEEKLY:
		first = date(y, int(m), d-(monday0(r.start)-r.weekday+7)%7+7*n)
		return first, first.AddDate(0, 0, 6)
	default:
		first = date(y, int(m), d+n)
		return first, first
	}
}

func date(y, m, d int) civil { return time.Date(y, time.Month(m), d, 0, 0, 0, 0, time.UTC) }

// periodBefore is a period that ends before from, or the first: where a search
// may start. Estimated by the longest length of a period, so never too late.
func (r *rule) periodBefore(from civil) int {
	length := map[rrule.Frequency]int{rrule.YEARLY: 366, rrule.MONTHLY: 31, rrule.WEEKLY: 7, rrule.DAILY: 1}[r.freq]
	days := int(from.Sub(r.start).Hours()/24) - 2*length
	return max(0, days/(length*r.interval)-1)
}

// inPeriod is where the rule opens in one period, before COUNT and UNTIL.
func (r *rule) inPeriod(first, last civil) []civil {
	var out []civil
	for d := first; !d.After(last); d = d.AddDate(0, 0, 1) {
		if !r.day(d) {
			continue
		}
		for _, t := range r.times {
			out = append(out, d.Add(t))
		}
	}
	if len(r.setPos) == 0 {
		return out
	}
	var kept []civil
	for i, t := range out {
		if slices.Contains(r.setPos, i+1) || slices.Contains(r.setPos, i-len(out)) {
			kept = append(kept, t)
		}
	}
	return kept
}

// day says whether the rule opens on day d of a period.
func (r *rule) day(d civil) bool {
	monthDays, yearDays := date(d.Year(), int(d.Month())+1, 0).Day(), date(d.Year(), 12, 31).YearDay()
	in := func(list []int, n, length int) bool {
		return len(list) == 0 || slices.Contains(list, n) || slices.Contains(list, n-length-1)
	}
	if len(r.months) > 0 && !slices.Contains(r.months, int(d.Month())) ||
		!in(r.monthDays, d.Day(), monthDays) || !in(r.yearDays, d.YearDay(), yearDays) {
		return false
	}
	if len(r.weeks) > 0 {
		if _, week := d.ISOWeek(); !slices.Contains(r.weeks, week) {
			return false
		}
	}
	if len(r.days) == 0 {
		return true
	}
	place, length := d.YearDay(), yearDays // numbered in the year, or in the month
	if r.freq == rrule.MONTHLY || len(r.months) > 0 {
		place, length = d.Day(), monthDays
	}
	return slices.ContainsFunc(r.days, func(w rrule.Weekday) bool {
		if w.Day() != monday0(d) {
			return false
		}
		n := w.N()
		return n == 0 || n == (place-1)/7+1 || n == -((length-place)/7+1)
	})
}
