// -DFIXED takes the realpath that allocates (glibc 2.3) in place of that which does
// not (2.2.5), called or through a pointer.
#include <stdio.h>
#include <stdlib.h>

#ifndef FIXED
__asm__(".symver realpath,realpath@GLIBC_2.2.5");
#endif

__attribute__((noinline)) char *resolve(const char *path) { return realpath(path, NULL); }
__attribute__((noinline)) void *way(void) { return (void *)realpath; }

int main(void)
{
	for (int c; (c = getchar()) != EOF;)
		printf("%s %d\n", resolve("/") ? "found" : "failed", way() != NULL);
	return 0;
}
