// Command trim takes out of a hotpatch what can never be applied to processes
// that look like these: sites whose functions stay on a stack all the time
// (main, event loops, the bodies of threads).
//
//	trim FILE PID...
//
// A real fix that touches such a function is refused, and rightly so. The
// torture test redirects everything there is, and has to leave those out. What
// is left is accepted in the test's name and written back to FILE. The
// processes are left without the hotpatch.
package main

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"time"

	"hotpatch/internal/patch"
	"hotpatch/internal/txn"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "trim:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) < 2 {
		return fmt.Errorf("usage: trim FILE PID...")
	}
	file := args[0]
	b, err := patch.ReadFile(file)
	if err != nil {
		return err
	}
	all := sites(b)
	for _, arg := range args[1:] {
		pid, err := strconv.Atoi(arg)
		if err != nil {
			return err
		}
		if err := calm(b, pid); err != nil {
			return err
		}
	}
	if err := accept(b); err != nil {
		return err
	}
	if err := b.WriteFile(file); err != nil {
		return err
	}
	left := sites(b)
	fmt.Fprintf(os.Stderr, "%d functions redirected, %d that stay on a stack left out\n", left, all-left)
	if left*2 < all {
		return fmt.Errorf("only %d of %d functions are left: that is no torture", left, all)
	}
	return nil
}

// busy matches the reason that txn gives: the function comes first.
var busy = regexp.MustCompile(`^(.+) is (?:running in|on the stack of) thread \d+`)

// late matches reasons that pass by themselves.
var late = regexp.MustCompile("did not stop in time|gets no processor|no thread could be borrowed")

const maxDropped = 400

// calm drops sites until the bundle can be applied to the process, and reverts
// it there.
func calm(b *patch.Bundle, pid int) error {
	ctx := context.Background()
	for range maxDropped {
		if err := accept(b); err != nil {
			return err
		}
		r := txn.Apply(ctx, pid, b, txn.Options{Wait: 200 * time.Millisecond})
		switch r.Outcome {
		case txn.Applied:
			id, err := b.ID()
			if err != nil {
				return err
			}
			if r := txn.Revert(ctx, pid, id, txn.Options{Wait: 20 * time.Second}); r.Outcome != txn.Reverted {
				return fmt.Errorf("revert in %d: %s: %s", pid, r.Outcome, r.Reason)
			}
			return nil
		case txn.Busy:
			m := busy.FindStringSubmatch(r.Reason)
			if late.MatchString(r.Reason) {
				continue // of a host with more work than processors
			}
			if m == nil {
				return fmt.Errorf("apply to %d: busy for an unknown reason: %s", pid, r.Reason)
			}
			if !drop(b, m[1]) {
				return fmt.Errorf("apply to %d: %s is no site of the hotpatch", pid, m[1])
			}
		default:
			return fmt.Errorf("apply to %d: %s: %s", pid, r.Outcome, r.Reason)
		}
	}
	return fmt.Errorf("more than %d functions are on the stacks of %d", maxDropped, pid)
}

func drop(b *patch.Bundle, name string) bool {
	before := sites(b)
	for i := range b.Manifest.Images {
		im := &b.Manifest.Images[i]
		im.Sites = slices.DeleteFunc(im.Sites, func(s patch.Site) bool { return s.Name == name })
	}
	return sites(b) < before
}

func sites(b *patch.Bundle) int {
	n := 0
	for _, im := range b.Manifest.Images {
		n += len(im.Sites)
	}
	return n
}

func accept(b *patch.Bundle) error {
	b.Accepted = nil
	if b.Manifest.Verdict == patch.Clean {
		return nil
	}
	return b.Accept("torture@localhost", "end-to-end test", time.Now())
}
