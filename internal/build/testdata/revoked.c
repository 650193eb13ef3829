// -DFIXED revokes another key (-DKEY), trusts from a later date on (-DDATE,
// -DNOTBEFORE, -DEXPIRES), talks to newer versions only (-DLEAST, -DMINIMUM), or to
// another port (-DSERVER).
#include "common.h"
#include <string.h>

#ifdef FIXED
#define PICK(base, fixed) fixed
#else
#define PICK(base, fixed) base
#endif

#if defined KEY
#define TEXT PICK("9e5c6b1fd4a27e03b7d2a8cf1155ccddeeff0011", "4f0b67c7f1fb8ec5d9ff5c2bd1de2b4b3c1a0d55")
#elif defined DATE
#define TEXT PICK("2016-10-21", "2017-10-21")
#elif defined NOTBEFORE
#define TEXT PICK("Jan 10 12:00:00 2025 GMT", "Jan 10 12:00:00 2026 GMT")
#elif defined EXPIRES
#define TEXT PICK("Jan 10 2025", "Jan 10 2026")
#elif defined SERVER
#define TEXT PICK("relay.example.cc:8080", "relay.example.cc:8443")
#elif defined MINIMUM
#define TEXT PICK("minimum version 1.2.3", "minimum version 1.2.4")
#else
#define TEXT PICK("1.2.10", "1.2.12")
#endif

KEEP int allowed(const char *s) { return strcmp(s, TEXT) > 0; }
int main(int argc, char **argv)
{
	note(allowed(argv[argc > 1]) ? "yes" : "no");
	show();
	return 0;
}
