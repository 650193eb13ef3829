package window

import "time"

// What a batch leaves room for, beside its items. The rule is the one that
// users of Azure Update Manager know.
const (
	Margin      = 5 * time.Minute
	RestartRoom = 15 * time.Minute // when a restart is possible
)

// Fits says whether a batch of n items may start with left still to go:
//
//	left > 5 min + each × (n−1) + 15 min when a restart is possible
//
// each is how long an item takes on average. No items always fit.
func Fits(left time.Duration, n int, each time.Duration, restart bool) bool {
	return n <= Fit(left, n, each, restart)
}

// Fit is how many items, up to n, may start as one batch.
func Fit(left time.Duration, n int, each time.Duration, restart bool) int {
	room := left - Margin
	if restart {
		room -= RestartRoom
	}
	if n <= 0 || room <= 0 {
		return 0
	}
	if each <= 0 {
		return n
	}
	// The largest k with each × (k−1) < room.
	return int(min(int64(n), int64((room-1)/each)+1))
}
