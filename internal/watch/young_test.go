package watch_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"hotpatch/internal/watch"
)

func TestYoungProcessIsTriedAgain(t *testing.T) {
	for name, c := range map[string]struct {
		old   time.Duration // when it is first tried
		until int           // the try that goes well, 0: none does
		tries int
	}{
		"well at once":      {0, 1, 1},
		"well in the end":   {0, 7, 7},
		"never":             {0, 0, 13}, // 1 + 2 + 4 + … ms until more than 3 s have passed
		"not young":         {time.Minute, 0, 1},
		"just not young":    {3*time.Second + 1, 0, 1},
		"old after a while": {2 * time.Second, 0, 11},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tries := 0
				whole := watch.WhileYoung(context.Background(), time.Now, time.Now().Add(-c.old), func() bool {
					tries++
					return tries != c.until
				})
				if !whole || tries != c.tries {
					t.Errorf("tried %d times, want %d", tries, c.tries)
				}
			})
		})
	}
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
		defer cancel()
		if watch.WhileYoung(ctx, time.Now, time.Now(), func() bool { return true }) {
			t.Error("a cancelled watch came to an end of its own")
		}
	})
}
