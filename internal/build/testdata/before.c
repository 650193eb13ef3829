/* What a bundle records for its reviewers. */
#include <stdio.h>
#include <stdlib.h>

int limit = 10;
int handled;

#define NOINLINE __attribute__((noinline))

#ifndef FIXED
NOINLINE int obsolete(int n) { handled++; return n * 3 + limit; }
#endif

NOINLINE int check(int n)
{
#ifdef FIXED
	if (n > limit) {
		puts("refused: too large");
		return -1;
	}
#else
	if (n < 0)
		n = obsolete(n);
	puts("taken as it is");
#endif
	return n;
}

NOINLINE int one(const char *s) { return check(atoi(s)); }
NOINLINE int two(const char *s) { return check(atoi(s) + 1); }

int (*volatile table[])(int) = {check};

int main(int argc, char **argv)
{
	return argc > 1 ? one(argv[0]) + two(argv[1]) : table[0](argc);
}
