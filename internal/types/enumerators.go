package types

import (
	"fmt"
	"math"
	"regexp"
	"sync"
)

// The last enumerator often only counts the others.
var sentinel = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`(?i)(max|last|count|num|total|nb|_n)[0-9]*_*$|^(num|nb|max|n|last)_`)
})

// perhapsSentinel are the names of those that may as well be a state like others.
var perhapsSentinel = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`(?i)(end|size)[0-9]*_*$`)
})

// enumDiffers names an enumerator whose value changed, or whose value another one took
// that is new: what it was may be called that now, or be something else. Other new ones
// are harmless. perhaps says that somebody has to look: it may be one that only counts
// the others, or has another name.
func enumDiffers(a, b *definition) (detail string, perhaps bool) {
	if detail, perhaps = enumMoved(a, b); detail != "" && !perhaps {
		return detail, false
	}
	if took := enumTaken(a, b); detail == "" {
		return took, took != ""
	}
	return detail, perhaps
}

// enumMoved names an enumerator whose value changed.
func enumMoved(a, b *definition) (detail string, perhaps bool) {
	wasLast, isLast := a.greatest(), b.greatest()
	for i := range a.members {
		m := &a.members[i]
		n := b.find(m.name)
		if n == nil || n.at == m.at {
			continue
		}
		counts := m.at == wasLast && n.at == isLast
		if counts && sentinel().MatchString(m.name) {
			continue
		}
		changed := fmt.Sprintf("%s is %d instead of %d", m.name, n.at, m.at)
		if counts && perhapsSentinel().MatchString(m.name) {
			detail, perhaps = changed, true
			continue
		}
		return changed, false
	}
	return detail, perhaps
}

// enumTaken names an enumerator that is gone and whose value a new one has. Where the
// value has a name that it had before, that tells what it is.
func enumTaken(a, b *definition) string {
	known := map[int64]bool{}
	came := map[int64]string{}
	for i := range b.members {
		n := &b.members[i]
		if m := a.find(n.name); m != nil {
			known[n.at] = known[n.at] || m.at == n.at
		} else if _, ok := came[n.at]; !ok {
			came[n.at] = n.name
		}
	}
	if len(came) == 0 {
		return ""
	}
	last := a.greatest()
	for i := range a.members {
		m := &a.members[i]
		name, taken := came[m.at]
		if taken && !known[m.at] && b.find(m.name) == nil && !(m.at == last && sentinel().MatchString(m.name)) {
			return fmt.Sprintf("%s took the value of %s, which is gone", name, m.name)
		}
	}
	return ""
}

// greatest is the greatest value of an enumeration.
func (d *definition) greatest() int64 {
	last := int64(math.MinInt64)
	for i := range d.members {
		last = max(last, d.members[i].at)
	}
	return last
}
