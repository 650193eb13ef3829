// -DFIXED is built at another date and time (-DBOTH), or shows another date
// (-DONLYDATE) or time (-DONLYTIME), which then is none of the build; -DOTHER: there
// is another date that changed, so that either may be no stamp.
#include "common.h"

#if defined FIXED && !defined ONLYTIME
#define DATE "Jan 10 2026"
#else
#define DATE "Nov 12 2025"
#endif
#if defined FIXED && !defined ONLYDATE
#define TIME "09:08:07"
#else
#define TIME "10:11:12"
#endif
#if defined FIXED && defined OTHER
#define EXPIRES "Jan 10 2028"
#else
#define EXPIRES "Jan 10 2027"
#endif

KEEP int expired(const char *s) { return strcmp(s, EXPIRES) > 0; }
KEEP void version(void) { printf("%s, %s\n", DATE, TIME); }
int main(int argc, char **argv)
{
	version();
	note(expired(argv[argc > 1]) ? "yes" : "no");
	show();
	return 0;
}
