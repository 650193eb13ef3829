// What every victim shares: it answers questions read from standard input,
// one line each, until end of file. Compiled twice: as it is, and with -DFIXED.
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#ifdef FIXED
#define OLD_NEW(o, n) n
#else
#define OLD_NEW(o, n) o
#endif

// NOINLINE keeps a change of one function from changing its callers.
#define NOINLINE __attribute__((noipa))
// ROOM makes a small function large enough for a jump. With -DWIDE its first
// instruction alone is, with -DSHORT that has room for a short one.
#if defined(WIDE)
#define ROOM __asm__ volatile(".byte 0x66, 0x0f, 0x1f, 0x44, 0, 0")
#elif defined(SHORT)
#define ROOM __asm__ volatile(".byte 0x66, 0x90, 0x0f, 0x1f, 0x44, 0, 0")
#else
#define ROOM __asm__ volatile("nop\n\tnop\n\tnop\n\tnop")
#endif

static char line_[256];
// next reads a question without stdio: no lock is held while it blocks.
static __attribute__((unused)) const char *next(void) {
	size_t n = 0;
	while (n + 1 < sizeof line_) {
		ssize_t r = read(0, line_ + n, 1);
		if (r < 0 && errno == EINTR) continue;
		if (r <= 0) return NULL;
		if (line_[n] == '\n') break;
		n++;
	}
	line_[n] = 0;
	return line_;
}
// answer writes a line without stdio: it takes no lock and no memory.
#define answer(...) do { \
	char a_[512]; \
	int n_ = snprintf(a_, sizeof a_ - 1, __VA_ARGS__); \
	a_[n_++] = '\n'; \
	if (write(1, a_, (size_t)n_) != n_) _exit(1); \
} while (0)
