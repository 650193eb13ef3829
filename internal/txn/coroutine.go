package txn

import (
	"path"
	"slices"
	"strings"
)

// A program that switches between stacks by itself (coroutines, fibres) has
// frames on stacks that belong to no thread at the moment. No check sees them,
// so a replaced function can be waiting there. Such programs are told by what
// they are made with; libcrypto, which can do it on request but hardly ever
// is asked to, links makecontext but not swapcontext.
const switchFunction = "swapcontext"

// The last two are Python's greenlet, on which gevent and eventlet are built: it
// keeps the stacks of those that wait on the heap.
var switchLibraries = []string{"libboost_context.so", "libcoro.so", "libpth.so", "_greenlet.", "greenlet."}

// noCoroutines refuses a process that may keep frames on stacks of its own.
func (t *target) noCoroutines() error {
	for _, m := range t.modules {
		if m.Path == "[vdso]" {
			continue
		}
		why := ""
		name := path.Base(m.Path)
		if slices.ContainsFunc(switchLibraries, func(l string) bool { return strings.HasPrefix(name, l) }) {
			why = name + " is loaded"
		} else if f, err := t.fileFacts(m); err != nil {
			return err
		} else if f.switches { // libc has the name, too: it defines it
			why = name + " calls " + switchFunction
		}
		if why != "" {
			return refuse("it switches stacks by itself (%s): what waits on a stack that is switched away cannot be seen", why)
		}
	}
	return nil
}
