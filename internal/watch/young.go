package watch

import (
	"context"
	"time"
)

// youth is how long a process counts as just started: its loader may still be
// at work, and what goes wrong then may go well a moment later.
const youth = 3 * time.Second

// WhileYoung calls try, which may ask for another try: it gets one, after pauses
// that grow, as long as the process is young by the clock now. since is when it
// was seen; the zero time is long ago, and gives a single try. false: ctx ended
// first.
func WhileYoung(ctx context.Context, now func() time.Time, since time.Time, try func() (again bool)) bool {
	for pause := time.Millisecond; try() && now().Sub(since) <= youth; pause *= 2 {
		select {
		case <-ctx.Done():
			return false
		case <-time.After(pause):
		}
	}
	return true
}
