#include "common.h"
/* A sentinel that begins like a string and changes: variables hold its address,
   and code compares with it. */
struct object { int kind, unused, parts[3]; };
#ifdef FIXED
#define PART 1
#else
#define PART 7
#endif
static const struct object nothing = { '@', 0, { 6, 0, PART } };
static const struct object some = { 300, 1, { 2, 3, 4 } };
static const struct object *latest = &nothing;
KEEP const struct object *find(int n) { return n & 1 ? &some : &nothing; }
KEEP long kind(const struct object *o) { return o->kind + o->parts[2]; }
KEEP long ask(int n) {
	long r = latest == &nothing ? 78 : add(n);
	latest = find(n);
	return r + kind(latest) + nothing.parts[2];
}
int main(int argc, char **argv) {
	(void)argv;
	printf("%ld\n", ask(argc));
	show();
	return 0;
}
