#include "common.h"
/* A constant changes. Old code may hold its address if it is RETURNED or PASSED on,
   and would not find it equal to that of the copy; if it is only read, nobody can. */
struct record { long key, value; };
#ifdef FIXED
static const struct record records[4] = { {3, 30}, {5, 50}, {7, 71}, {9, 90} };
#else
static const struct record records[4] = { {3, 30}, {5, 50}, {7, 70}, {9, 90} };
#endif
KEEP long keep(const struct record *r) { total += r->key; return r->value * 3; }
#ifdef RETURNED
KEEP const struct record *find(long n) { return &records[n & 3]; }
#elif defined(PASSED)
KEEP long find(long n) { return keep(&records[n & 3]) + n; }
#else
KEEP long find(long n) { return records[n & 3].value + records[n >> 2 & 3].key; }
#endif
int main(int argc, char **argv) {
	printf("%ld %d\n", (long)find(argc), parse(*argv));
	show();
	return 0;
}
