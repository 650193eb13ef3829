package watch

import (
	"container/heap"
	"time"
)

// candidate is a process that may be about to map an image.
type candidate struct {
	pid int
	via Signal
	at  time.Time
}

// When to look at a candidate, counted from the signal. A loader maps what it
// opened at once; on a host under load, or with a program that is slow to start,
// it takes longer.
var (
	soon = []time.Duration{200 * time.Microsecond, time.Millisecond, 3 * time.Millisecond, 10 * time.Millisecond,
		30 * time.Millisecond, 100 * time.Millisecond, 300 * time.Millisecond, time.Second, 3 * time.Second}
	once = []time.Duration{150 * time.Millisecond}
)

// pending is a candidate with its plan.
type pending struct {
	candidate
	noticed time.Time
	plan    []time.Duration // what is left of it
}

func (p pending) next() time.Time { return p.noticed.Add(p.plan[0]) }

// maxPending bounds what a storm of execs can make us remember.
const maxPending = 1 << 14

// queue is who to look at next. One entry a process: a loader opens several
// files, and only the first signal tells when it began.
type queue struct {
	entries entries
	in      map[int]bool
}

// add plans to look at c; false: there are too many.
func (q *queue) add(c candidate, plan []time.Duration, now time.Time) bool {
	return q.put(pending{candidate: c, noticed: now, plan: plan})
}

// put adds an entry, or makes one of it and of what was planned before.
func (q *queue) put(p pending) bool {
	if q.in == nil {
		q.in = map[int]bool{}
	}
	if q.in[p.pid] {
		for i, first := range q.entries {
			if first.pid == p.pid {
				q.entries[i] = first.then(p)
				heap.Fix(&q.entries, i)
			}
		}
		return true
	}
	if len(q.entries) >= maxPending {
		return false
	}
	q.in[p.pid] = true
	heap.Push(&q.entries, p)
	return true
}

// then makes one plan of two: a later signal begins the looking anew; when it all
// began stays.
func (p pending) then(later pending) pending {
	p.noticed = later.noticed
	if len(later.plan) > len(p.plan) {
		p.plan = later.plan
	}
	if p.via == Exec {
		p.via = later.via
	}
	return p
}

// due takes out those whose time has come, some of them if there are more than most.
func (q *queue) due(now time.Time, most int) []pending {
	var out []pending
	for len(out) < most && len(q.entries) > 0 && !q.entries[0].next().After(now) {
		p := heap.Pop(&q.entries).(pending)
		delete(q.in, p.pid)
		out = append(out, p)
	}
	return out
}

// again plans the next look, if one is left. Looks that are past are skipped. A
// signal may have come since it was taken out.
func (q *queue) again(p pending, now time.Time) {
	for p.plan = p.plan[1:]; len(p.plan) > 0; p.plan = p.plan[1:] {
		if len(p.plan) == 1 || p.next().After(now) {
			if !q.in[p.pid] {
				q.in[p.pid] = true
				heap.Push(&q.entries, p)
				return
			}
			for i, later := range q.entries {
				if later.pid == p.pid {
					q.entries[i] = p.then(later)
					heap.Fix(&q.entries, i)
				}
			}
			return
		}
	}
}

// wait is how long until somebody is due.
func (q *queue) wait(now time.Time) time.Duration {
	if len(q.entries) == 0 {
		return time.Hour
	}
	return max(0, q.entries[0].next().Sub(now))
}

// entries is a heap by time.
type entries []pending

func (e entries) Len() int           { return len(e) }
func (e entries) Less(i, j int) bool { return e[i].next().Before(e[j].next()) }
func (e entries) Swap(i, j int)      { e[i], e[j] = e[j], e[i] }
func (e *entries) Push(x any)        { *e = append(*e, x.(pending)) }
func (e *entries) Pop() any {
	old := *e
	last := old[len(old)-1]
	*e = old[:len(old)-1]
	return last
}
