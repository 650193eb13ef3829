#include "common.h"
/* -DTABLE: a table is no constant any more. -DOPS: nor is one that holds addresses.
   -DSPLIT: two names of a variable are two variables now. -DJOIN: the reverse. */
#if defined TABLE
#ifdef FIXED
static int weights[8] = {1, 2, 3, 4, 5, 6, 7, 8};
#else
static const int weights[8] = {1, 2, 3, 4, 5, 6, 7, 8};
#endif
KEEP int get(int n) { return weights[n & 7]; }
KEEP int set(int n)
{
#ifdef FIXED
	if (n > 90)
		weights[n & 7] = 100;
#endif
	return n & 1;
}
#elif defined OPS
typedef unsigned op(unsigned);
static KEEP unsigned one(unsigned n) { return n + 1; }
static KEEP unsigned two(unsigned n) { return n + 2; }
#ifdef FIXED
op *ops[2] = {one, two};
#else
op *const ops[2] = {one, two};
#endif
KEEP int get(int n) { return ops[n & 1](n); }
KEEP int set(int n)
{
#ifdef FIXED
	if (n > 90)
		ops[n & 1] = two;
#endif
	return n & 1;
}
#else
int first = 1;
#if defined FIXED == defined SPLIT
int second = 1;
#else
extern int second __attribute__((alias("first")));
#endif
KEEP int get(int n) { return n & 1 ? first : 0; }
KEEP int set(int n) { return second = n; }
#endif

int main(int argc, char **argv)
{
	printf("%d %d\n", get(argc), set(argc) + parse(*argv));
	show();
	return 0;
}
