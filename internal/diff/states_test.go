package diff_test

import "testing"

// What a live object keeps to go on at means the same to new code, or it is told.
func TestNumbersOfStatesThatMovedAreFound(t *testing.T) {
	const source = `
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#define N __attribute__((noipa))
struct conn { int state, authed; char user[32]; } *all;
enum { FIRST = 11, SECOND = 14 + MORE, THIRD = 17 + MORE };
N int step(struct conn *c, const char *line) {
	switch (c->state) {
	case 0: c->state = FIRST; return 0;
	case FIRST:
		if (CHECK && strlen(line) >= sizeof c->user) return -1;
		strcpy(c->user, line); printf("user %s\n", c->user);
		c->state = SECOND; return 0;
	case SECOND:
		c->authed = !strncmp(line, "secret", 6); printf("password %s\n", line);
		c->state = THIRD; return 0;
	case THIRD: printf("command %s %d\n", line, c->authed);
	}
	c->state = 0; puts("closed"); return 1;
}
int main(int n, char **v) { all = calloc(1, sizeof *all); step(all, ""); return step(all, *v); }
`
	for _, how := range []string{"-O0", "-O2"} {
		base := compile(t, source, how, "-DMORE=0", "-DCHECK=0")
		for _, more := range []string{"0", "1"} {
			d := compare(t, base, compile(t, source, how, "-DCHECK=1", "-DMORE="+more))
			found := false
			for _, f := range d.Fixed.Funcs {
				_, ok := d.Renumbered(f)
				found = found || ok
			}
			if found != (more == "1") {
				t.Errorf("%s, %s more: found %v", how, more, found)
			}
		}
	}
}
