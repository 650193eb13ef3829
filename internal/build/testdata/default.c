#include "common.h"
/* What is not the default is freed. The function is so different that nothing but
   its content tells which string it is. TWICE: another has that, too. */
static const char standard[] = "localhost";
#ifdef TWICE
static const char other[] = "localhost";
KEEP const char *others(void) { return other; }
#endif
#ifdef FIXED
KEEP int release(char **p, int n) {
	long sum = 0;
	for (int i = 0; i < n; i++) {
		if (p[i] && p[i] != standard) {
			sum += strlen(p[i]);
			free(p[i]);
		}
		p[i] = (char *)standard;
	}
	if (sum > 100) {
		note("long");
		total ^= sum;
	}
	return sum > 5 ? (int)(sum % 7) : parse("5") + (int)add(sum);
}
#else
KEEP int release(char **p, int n) {
	if (*p != standard)
		free(*p);
	*p = (char *)standard;
	return n;
}
#endif
int main(int argc, char **argv) {
	char *host = 0;
	printf("%d %s %d\n", release(&host, argc), host, parse(*argv));
	show();
	return 0;
}
