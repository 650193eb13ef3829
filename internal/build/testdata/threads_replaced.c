#include "common.h"
/* A thread-local variable goes, and another comes in its place. RENAMED: it has
   another name now. NUMBERED: both are static ones of functions, and numbers that
   are given by place tell them apart. */
#if defined(NUMBERED)
KEEP int first(int n) { static __thread int count; return count += n; }
#ifndef FIXED
KEEP int second(int n) { static __thread int count; return count -= n; }
#define third(n) 0
#else
KEEP int third(int n) { static __thread int count; return count += n * 7; }
#define second(n) 0
#endif
#elif defined(RENAMED)
#ifdef FIXED
#define sum level
#endif
static __thread int sum;
KEEP int first(int n) { return sum += n; }
KEEP int second(int n) { return sum -= n; }
#define third(n) 0
#elif defined(FIXED)
static __thread int level;
KEEP int first(int n) { return n < 0 ? level = 0 : ++level; }
KEEP int second(int n) { return level > 0 ? --level : n; }
#define third(n) 0
#else
static __thread int sum;
KEEP int first(int n) { return sum += n; }
KEEP int second(int n) { return sum -= n; }
#define third(n) 0
#endif
static __thread int stays;
KEEP int other(int n) {
#ifdef FIXED
	if (n > 100)
		return -1;
#endif
	return stays += n * 5;
}
int main(int argc, char **argv) {
	printf("%d %d %d %d\n", first(argc), second(argc), third(argc), other(argc));
	return parse(*argv);
}
