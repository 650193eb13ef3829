package repo

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"
)

// Expiry is when a role's metadata expires.
type Expiry struct {
	Role    string    `json:"role"`
	Version int64     `json:"version"`
	Expires time.Time `json:"expires"`
}

// expiries lists every role that was verified, the soonest first.
func (t *trust) expiries() []Expiry {
	root, ts, snap := t.set.Root.Signed, t.set.Timestamp.Signed, t.set.Snapshot.Signed
	out := []Expiry{
		{Root, root.Version, root.Expires},
		{Timestamp, ts.Version, ts.Expires},
		{Snapshot, snap.Version, snap.Expires},
	}
	for _, role := range slices.Sorted(maps.Keys(t.set.Targets)) {
		m := t.set.Targets[role].Signed
		out = append(out, Expiry{role, m.Version, m.Expires})
	}
	slices.SortStableFunc(out, func(a, b Expiry) int { return a.Expires.Compare(b.Expires) })
	return out
}

// warnAhead is how long before its end a role's metadata wants attention: what
// it takes to bring its holders together.
func warnAhead(role string) time.Duration {
	const day = 24 * time.Hour
	switch role {
	case Root:
		return 60 * day
	case Targets:
		return 30 * day
	case Snapshot:
		return 2 * day
	case Timestamp:
		return 6 * time.Hour
	default:
		return 14 * day
	}
}

// warnings says in words what expired or soon will. life is what new metadata
// of a role gets; nobody is warned in the first three quarters of it. Zero:
// not known.
func warnings(es []Expiry, now time.Time, life func(role string) time.Duration) []string {
	var out []string
	for _, e := range es {
		ahead := warnAhead(e.Role)
		if l := life(e.Role); l > 0 {
			ahead = min(ahead, l/4)
		}
		left := e.Expires.Sub(now)
		switch {
		case left <= 0:
			out = append(out, fmt.Sprintf("%s expired on %s: clients refuse it; %s", e.Role, e.Expires.UTC().Format(time.DateTime), renewal(e.Role)))
		case left <= ahead:
			out = append(out, fmt.Sprintf("%s expires on %s, in %s; %s", e.Role, e.Expires.UTC().Format(time.DateTime), roughly(left), renewal(e.Role)))
		}
	}
	return out
}

func renewal(role string) string {
	switch role {
	case Snapshot, Timestamp:
		return "hotpatch repo refresh renews it"
	default:
		return "hotpatch repo refresh --role " + role + " renews it, with its keys"
	}
}

// roughly is a duration in its largest unit.
func roughly(d time.Duration) string {
	units := []struct {
		size time.Duration
		name string
	}{{24 * time.Hour, "day"}, {time.Hour, "hour"}, {time.Minute, "minute"}, {time.Second, "second"}}
	for _, u := range units {
		if n := int(d / u.size); n > 0 {
			return fmt.Sprintf("%d %s%s", n, u.name, map[bool]string{true: "s"}[n > 1])
		}
	}
	return cmp.Or(d.String(), "no time")
}
