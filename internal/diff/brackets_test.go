package diff_test

import (
	"strings"
	"testing"
)

// edited compiles source, and source with edits (old and new text in turn).
func edited(t *testing.T, source string, edits []string, flags ...string) (base, fixed string) {
	t.Helper()
	text := source
	for i := 0; i < len(edits); i += 2 {
		next := strings.Replace(text, edits[i], edits[i+1], 1)
		if next == text {
			t.Fatalf("no %q", edits[i])
		}
		text = next
	}
	return compile(t, source, flags...), compile(t, text, flags...)
}

// What one version takes the other gives back, where two functions share the work.
func TestPairsThatWentToOtherFunctionsAreFound(t *testing.T) {
	const source = `
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>
#define API __attribute__((noinline, noipa, externally_visible))
struct node { int id, refs; }; struct watch { struct node *n; int armed; };
static pthread_mutex_t m; static int state, users;
API void node_put(struct node *n) { if (--n->refs == 0) free(n); }
API void helper(int n) { state += n; /*helper*/ }
API void attach(struct watch *w, struct node *n) { w->n = n; /*attach*/ }
API void detach(struct watch *w) { w->armed = 0; /*detach*/ w->n = 0; }
API void begin(int n) { pthread_mutex_lock(&m); /*begin*/ state += n; }
API int touch(int n) { state = n; /*touch*/ return state; }
API void finish(int n) { state -= n; pthread_mutex_unlock(&m); /*finish*/ }
API int both(int n) {
	pthread_mutex_lock(&m);
	if (n > 5) { pthread_mutex_unlock(&m); return 1; } /*early*/
	helper(n);
	pthread_mutex_unlock(&m);
	return 0;
}
API void enter(int n) { state ^= n; /*enter*/ }
API void leave(int n) { state |= n; /*leave*/ }
int main(int n, char **v) {
	struct watch *w = calloc(1, sizeof *w); struct node *o = calloc(1, sizeof *o);
	attach(w, o); detach(w); begin(n); touch(n); finish(n); helper(n); node_put(o); enter(n); leave(n);
	return both(n) + users;
}
`
	for _, c := range []struct {
		name         string
		edits        []string
		taker, giver string
	}{
		{"another number", []string{"/*touch*/", "state += 7;", "/*enter*/", "state += 3;"}, "", ""},
		{"a reference of its own", []string{"/*attach*/", "n->refs++;", "/*detach*/", "node_put(w->n);"}, "attach", "detach"},
		{"taken and dropped in one", []string{"/*attach*/", "n->refs++; helper(2); node_put(n);", "/*detach*/", "w->armed = 2;"}, "", ""},
		{"a lock only where it is needed", []string{"pthread_mutex_lock(&m); /*begin*/", "", "pthread_mutex_unlock(&m); /*finish*/", "",
			"state = n; /*touch*/", "pthread_mutex_lock(&m); state = n; pthread_mutex_unlock(&m);"}, "finish", "begin"},
		{"a lock around more", []string{"/*enter*/", "pthread_mutex_lock(&m);", "/*leave*/", "pthread_mutex_unlock(&m);"}, "enter", "leave"},
		{"another way out of a locked function", []string{"/*early*/", "if (n < -5) { pthread_mutex_unlock(&m); return 2; }", "/*touch*/", "state += 7;"}, "", ""},
		{"the caller's lock given by what it calls", []string{"helper(n);\n\tpthread_mutex_unlock(&m);", "helper(n);", "/*helper*/", "pthread_mutex_unlock(&m);"}, "", ""},
		{"a count of users", []string{"/*enter*/", "users++;", "/*leave*/", "users--;"}, "enter", "leave"},
		{"a count that only grows", []string{"/*enter*/", "users++;", "/*leave*/", "users++;"}, "", ""},
		{"another user meanwhile", []string{"/*enter*/", "seteuid(n);", "/*leave*/", "seteuid(0);"}, "enter", "leave"},
		{"another user in one", []string{"/*enter*/", "seteuid(n); helper(n); seteuid(0);", "/*leave*/", "state++;"}, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			x, y := edited(t, source, c.edits)
			for _, pair := range [][2]string{{x, y}, {strip(t, x), strip(t, y)}} {
				d := compare(t, pair[0], pair[1])
				names, found := funcs(t, y, d), d.Brackets()
				switch {
				case c.taker == "" && len(found) > 0:
					t.Errorf("%s: found %+v", pair[0], found)
				case c.taker != "" && len(found) == 0:
					t.Errorf("%s: found nothing", pair[0])
				case c.taker != "" && (found[0].Taker != names[c.taker] || found[0].Giver != names[c.giver]):
					t.Errorf("%s: found %s and %s", pair[0], found[0].Taker.Name(), found[0].Giver.Name())
				}
			}
		})
	}
}
