/* Every case is one file that is compiled twice, the second time with -DFIXED.
   What follows is the same in both: code for the changes to stand out from. They
   call in loops what changes: what main calls once is a reason of its own. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KEEP __attribute__((noinline, noclone, used))

static int calls;
static long total = 7;
static char last[64];

KEEP int note(const char *what) {
	calls++;
	strncpy(last, what, sizeof last - 1);
	return puts(last);
}

KEEP long add(long n) {
	total += n * 3 + calls;
	return total;
}

KEEP int parse(const char *s) {
	int n = 0;
	for (; *s; s++) {
		if (*s < '0' || *s > '9')
			return -1;
		n = n * 10 + (*s - '0');
	}
	add(n);
	return n;
}

KEEP void show(void) { printf("%d calls, total %ld, last %s\n", calls, total, last); }
