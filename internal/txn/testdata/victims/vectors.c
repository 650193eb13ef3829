// Every register that XSAVE knows must survive: x87, SSE with MXCSR, AVX, and
// where the processor has them the AVX-512 registers and masks. One thread keeps
// them while it runs, one while it sleeps in a system call.
#include "victim.h"
#include <cpuid.h>

NOINLINE int fixed_function(int n) { ROOM; return OLD_NEW(n + 1, n + 1000); }

enum { AREA = 4096 };
static uint64_t mask; // the components looked at: x87 0, SSE 1, AVX 2, AVX-512 5 to 7
static struct { unsigned at, size; } part[8];
static atomic_long running, sleeping, corrupt;

static void components(void) {
	unsigned a, b, c, d;
	uint32_t lo, hi;
	__asm__("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
	mask = lo & 0xe7;
	for (unsigned i = 2; i < 8; i++)
		if (mask >> i & 1) { __cpuid_count(0xd, i, a, b, c, d); part[i].size = a; part[i].at = b; }
}
static void fill(uint8_t *area, uint8_t seed) {
	memset(area, 0, AREA);
	*(uint16_t *)area = 0x37f;                        // FCW
	area[4] = 0xff;                                   // abridged FTW: all in use
	*(uint32_t *)(area + 24) = 0x1f80 | (seed & 3) << 13; // MXCSR with a rounding mode
	for (int i = 0; i < 8; i++) for (int k = 0; k < 10; k++) area[32 + 16 * i + k] = seed + i + k;
	for (int i = 0; i < 256; i++) area[160 + i] = seed * 3 + i;
	for (int c = 2; c < 8; c++) for (unsigned k = 0; k < part[c].size; k++) area[part[c].at + k] = seed * 5 + k + c;
	*(uint64_t *)(area + 512) = mask;
}
static int same(const uint8_t *a, const uint8_t *b) {
	if (memcmp(a, b, 2) || memcmp(a + 24, b + 24, 4) || memcmp(a + 160, b + 160, 256)) return 0;
	for (int i = 0; i < 8; i++) if (memcmp(a + 32 + 16 * i, b + 32 + 16 * i, 10)) return 0;
	for (int c = 2; c < 8; c++) if (memcmp(a + part[c].at, b + part[c].at, part[c].size)) return 0;
	return 1;
}
// keep loads all registers, runs for a while or sleeps, and stores them again.
NOINLINE void keep(const uint8_t *from, uint8_t *to, const struct timespec *sleep) {
	long nr = 35, n = 200000;
	if (sleep)
		__asm__ volatile("mov %2, %%eax\n\tmov %3, %%edx\n\txrstor64 (%1)\n\tmov %5, %%rdi\n\txor %%esi, %%esi\n\tmov %4, %%rax\n\tsyscall\n\tmov %2, %%eax\n\tmov %3, %%edx\n\txsave64 (%0)"
			: : "r"(to), "r"(from), "r"((uint32_t)mask), "r"((uint32_t)(mask >> 32)), "r"(nr), "r"(sleep)
			: "rax", "rdx", "rdi", "rsi", "rcx", "r11", "memory");
	else
		__asm__ volatile("mov %2, %%eax\n\tmov %3, %%edx\n\txrstor64 (%1)\n\tmov %4, %%rcx\n1:\tdec %%rcx\n\tjnz 1b\n\tmov %2, %%eax\n\tmov %3, %%edx\n\txsave64 (%0)"
			: : "r"(to), "r"(from), "r"((uint32_t)mask), "r"((uint32_t)(mask >> 32)), "r"(n)
			: "rax", "rdx", "rcx", "memory");
	__asm__ volatile("fninit\n\tldmxcsr %0" : : "m"((uint32_t){0x1f80}));
}
static void *runs(void *a) {
	static uint8_t from[AREA] __attribute__((aligned(64))), to[AREA] __attribute__((aligned(64))); (void)a;
	for (uint8_t seed = 1;; seed++, running++) { fill(from, seed); memset(to, 0, AREA); keep(from, to, NULL); if (!same(from, to)) corrupt++; }
}
static void *questions(void *a) {
	const char *q; (void)a;
	answer("ready %d", getpid());
	while ((q = next()))
		switch (*q) {
		case 'q': answer("%d", fixed_function(1)); break;
		case 'c': answer("corrupt=%ld", corrupt); break;
		case 'a': answer("%d", running > 20 && sleeping > 20); break;
		case 'm': answer("%llx", (unsigned long long)mask); break;
		}
	exit(0);
}
// main is the thread that is borrowed first: it sleeps most of the time.
int main(void) {
	static uint8_t from[AREA] __attribute__((aligned(64))), to[AREA] __attribute__((aligned(64)));
	struct timespec d = {0, 3000000};
	pthread_t t;
	components();
	pthread_create(&t, NULL, questions, NULL);
	pthread_create(&t, NULL, runs, NULL);
	for (uint8_t seed = 1;; seed++, sleeping++) { fill(from, seed); memset(to, 0, AREA); keep(from, to, &d); if (!same(from, to)) corrupt++; }
}
