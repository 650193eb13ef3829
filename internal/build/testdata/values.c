/* Variables that start with another value in the fixed program, each in a way of
   its own: which one is said on the command line. */
#include <stdio.h>

#define KEEP __attribute__((noinline, noclone, used))

KEEP int lax(int n) { return n * 37 + 1000002; }
KEEP int strict(int n) { return n * 39 + 1000003 + (n >> 3); }
int (*volatile kept[])(int) = {lax, strict};
volatile int sink;

#ifdef FIXED
#define NOW(was, is) is
#else
#define NOW(was, is) was
#endif

#if defined(TABLE) /* only a changed function uses it */
static int table[8] = {1, 2, 3, NOW(4, 40), 5, 6, 7, 8};
KEEP int get(int i) {
#ifdef FIXED
	if (i < 0)
		return -1;
#endif
	return table[i & 7]++;
}

#elif defined(TWINS) /* several have the name */
KEEP int other(int i) { static int count[4] = {1, 2, 3, 4}; return count[i & 3]++; }
KEEP int get(int i) { static int count[4] = {1, NOW(2, 5), 3, 4}; return other(i) + NOW(0, i) + count[i & 3]--; }

#elif defined(OPERATIONS)
struct ops { int flags; int (*open)(int), (*check)(int); };
static struct ops ops = {1, lax, NOW(lax, strict)};
KEEP int get(int i) {
#ifdef FIXED
	if (i > 10000)
		return -1;
#endif
	if (i == 77)
		ops.flags++, ops.check = strict;
	return ops.check(i) + ops.open(i + ops.flags);
}

#elif defined(BEHIND) || defined(CHAIN) /* a pointer in data leads to it */
struct ops { int flags; int (*check)(int); struct ops *next; };
#ifdef CHAIN
struct ops last = {1, NOW(lax, strict), 0};
struct ops first = {1, lax, &last};
#else
struct ops first = {1, NOW(lax, strict), &first};
#endif
struct ops *volatile current = &first;
KEEP int get(int i) { struct ops *o = current; if (i == 77) o->flags++; return o->check(i) + o->next->check(i); }

#elif defined(RENAMED) || defined(OUTGROWN) /* equal code uses it under another name */
#ifdef OUTGROWN
#define SIZE NOW(4, 8)
#else
#define SIZE 4
#endif
static int before[4] = {3};
static int NOW(limits, bounds)[SIZE] = {1, 2, 3, NOW(5, 7)};
static int after[4] = {4};
KEEP int get(int i) { return NOW(limits, bounds)[i] + before[i]; }
KEEP void set(int i, int n) { NOW(limits, bounds)[i] = n * 2 - after[i]; }
KEEP int all(int n) {
	for (int i = 0; i < SIZE; i++)
		set(i, n);
	return get(n & 3);
}

#elif defined(THREAD) || defined(THREAD_RENAMED) || defined(THREAD_POINTER) || defined(THREAD_LARGE)
#ifdef THREAD_LARGE
static int one = 1;
static __thread struct { char text[(1 << 24) + 64]; int level, *one; } large = { .text = "x", .level = NOW(5, 7), .one = &one };
#define level large.level
KEEP int *unit(void) { return large.one; }
#elif defined(THREAD_RENAMED)
static __thread int NOW(level, depth) = NOW(5, 7);
#define level NOW(level, depth)
#elif defined(THREAD_POINTER)
static int one = 1, two = 2;
static __thread int *place = NOW(&one, &two);
#define level (*place)
KEEP void turn(int n) { place = n ? &one : &two; }
#else
static __thread int level = NOW(5, 7);
#endif
KEEP int get(int i) { return level + i; }
KEEP void set(int i) { level = i; }

#elif defined(SET)
struct entry { const char *name; int (*check)(int); };
#define ENTRY(f) static struct entry entry_##f __attribute__((section("entries"), used)) = {#f, f}
int one(int n) { return n * 31 + 1000001; }
ENTRY(one);
#ifdef FIXED
ENTRY(strict);
#else
ENTRY(lax);
#endif
extern struct entry __start_entries[], __stop_entries[];
KEEP int get(int i) {
	for (struct entry *e = __start_entries; e < __stop_entries; e++)
		printf("%s %d\n", e->name, e->check(i));
	return i;
}

#elif defined(SLOT) /* a table is all that says that one function replaces another */
struct entry { const char *name; int (*check)(int); };
static int NOW(narrow, wide)(int n) {
#ifdef FIXED
	for (int i = 0; i < n; i++)
		n ^= i << 3;
	return (n ^ 0x5555) * 41;
#else
	return n * 37 + 1000002;
#endif
}
static struct entry entries[] = {{"lax", lax}, {"check", NOW(narrow, wide)}};
KEEP int get(int i) { return entries[i & 1].check(i); }
KEEP void set(int i) { entries[i & 1].check = lax; }
#endif

KEEP int fix(int n) {
	for (int i = 0; i < n; i++)
		n ^= i * NOW(33, 77);
	return n * 3 + 1234567;
}

int main(int argc, char **argv) {
	(void)argv;
	while (get(argc) + fix(argc--) > 9);
	return sink;
}
