package window

import (
	"fmt"
	"strings"
	"time"
)

// loadZone takes IANA names only: "Local" and "" would mean another zone on
// another machine.
func loadZone(name string) (*time.Location, error) {
	if name == "" || name == "Local" || len(name) > 64 || strings.HasPrefix(name, "/") || strings.Contains(name, "..") ||
		strings.ContainsFunc(name, func(r rune) bool {
			return r > 126 || r < '+' || !(r == '/' || r == '_' || r == '-' || r == '+' ||
				'0' <= r && r <= '9' || 'A' <= r && r <= 'Z' || 'a' <= r && r <= 'z')
		}) {
		return nil, fmt.Errorf("in %.64q: not the name of a time zone like Europe/Berlin", name)
	}
	zone, err := time.LoadLocation(name)
	if err != nil {
		return nil, fmt.Errorf("in %.64q: %w", name, err)
	}
	return zone, nil
}

// wall is what a clock on the wall shows at instant t.
func wall(t time.Time, zone *time.Location) civil {
	l := t.In(zone)
	return time.Date(l.Year(), l.Month(), l.Day(), l.Hour(), l.Minute(), l.Second(), l.Nanosecond(), time.UTC)
}

// instant is when the wall shows c: the first time when it does so twice, and
// c reckoned with the offset from before the jump when it never does.
//
// time.Date leaves both cases open ("does not guarantee which"), hence this.
func instant(c civil, zone *time.Location) time.Time {
	// The two offsets that can apply: those of the day before and after. No
	// zone changes twice within two days around a reading, but for changes of
	// the date line, which are single changes too.
	_, before := c.Add(-36 * time.Hour).In(zone).Zone()
	_, after := c.Add(36 * time.Hour).In(zone).Zone()
	early := c.Add(-time.Duration(before) * time.Second)
	late := c.Add(-time.Duration(after) * time.Second)
	if before == after || wall(early, zone).Equal(c) {
		// Twice: the offset from before is the first showing.
		return early.UTC()
	}
	if wall(late, zone).Equal(c) {
		return late.UTC()
	}
	return early.UTC() // never: counted on from before the jump
}
