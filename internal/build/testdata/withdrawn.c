/* The fixed library exports one function less. PRIVATE: that calls one which takes
   other arguments from now on; PUBLIC: one that both export; ALONE: nothing that
   changes; KEPT: it is there still, but others do not see it. */
#include "common.h"
static char out[64];
#ifdef FIXED
KEEP static int put(int room, const char *s) { out[0] = room > 1 ? s[0] : 0; return s[0] ? 1 : 0; }
#define PUT(s) put(sizeof out, s)
#define LIMIT 10
KEEP int shared(int n) { return n > 9 ? 9 : n * 3; }
#else
KEEP static int put(const char *s) { out[0] = s[0]; return s[0] ? 1 : 0; }
#define PUT(s) put(s)
#define LIMIT 100
KEEP int shared(int n) { return n * 3; }
#endif
KEEP int write_new(const char *s) { return PUT(s) + out[0]; }
#if defined KEPT
#ifdef FIXED
__attribute__((visibility("hidden")))
#endif
KEEP int write_old(int n) { return n > LIMIT ? -1 : n * 7 + out[1]; }
KEEP int again(int n) { return write_old(n) + 1; }
#elif !defined FIXED
#if defined PRIVATE
KEEP static int way(const char *s) { return put(s) ^ 5; }
KEEP int write_old(const char *s) { return way(s) + out[1]; }
#elif defined PUBLIC
KEEP int write_old(int n) { return shared(n) ^ out[2]; }
#elif defined ALONE
KEEP int write_old(int n) { return (n * 7) ^ out[2]; }
#elif defined WEAK
__attribute__((weak)) KEEP int write_old(int n) { return (n * 7) ^ out[2]; }
#endif
#endif
