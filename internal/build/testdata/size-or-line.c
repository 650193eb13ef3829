// -DFIXED moves everything down by one line. By as much grows a size that main hands
// over, with a line (-DSIZE) or without one (-DONLYSIZE), to what helper never calls
// (-DUNLIKE), or in another place than the line of another call (-DPLACES).
#include "common.h"

KEEP void *get(size_t n, const char *file, int line)
{
	if (calls < 0)
		fprintf(stderr, "%s:%d\n", file, line);
	return malloc(n);
}
KEEP void *take(const char *file, size_t n)
{
	if (calls < 0)
		fputs(file, stderr);
	return malloc(n);
}

#ifdef FIXED
#define N 65
#line 48
#else
#define N 64
#line 50
#endif
KEEP void helper(void) { free(get(8, "main.c", __LINE__)); }
int main(void)
{
	helper();
#if defined SIZE
	char *p = get(N, "main.c", __LINE__);
#elif defined ONLYSIZE
	char *p = get(N, "main.c", 12);
#elif defined UNLIKE
	char *p = take("main.c", N);
#elif defined PLACES
	char *p = get(80, "main.c", __LINE__);
	free(get(N, "main.c", 12));
#else
	char *p = get(80, "main.c", __LINE__);
#endif
	strcpy(p, "main");
	note(p);
	show();
	return 0;
}
