// A function that loops back into its first five bytes, which a jump replaces:
// while *flag is set, a thread is there.
#include "victim.h"

#ifdef FIXED
#define VALUE "1000"
#else
#define VALUE "1"
#endif
int fixed_function(const volatile char *flag);
__asm__(".text\n.globl fixed_function\n.type fixed_function, @function\n"
	"fixed_function:\n\t.cfi_startproc\n"
	"\tnop\n1:\tcmpb $0, (%rdi)\n\tjne 1b\n\t"
	"mov $" VALUE ", %eax\n\tret\n\t"
	".cfi_endproc\n.size fixed_function, . - fixed_function\n");

static volatile char hold, clear;
// spun waits until the worker has used some processor time: it is in the loop.
static void spun(pthread_t t) {
	clockid_t c; struct timespec ts = {0, 0};
	pthread_getcpuclockid(t, &c);
	while (clock_gettime(c, &ts) == 0 && ts.tv_sec == 0 && ts.tv_nsec < 3000000) usleep(1000);
}
static pthread_t worker;
static void *work(void *a) { (void)a; fixed_function(&hold); return NULL; }

int main(void) {
	answer("ready %d", getpid());
	const char *q;
	while ((q = next()))
		switch (*q) {
		case 'q': answer("%d", fixed_function(&clear)); break;
		case 'h': hold = 1; pthread_create(&worker, NULL, work, NULL); spun(worker); answer("held"); break;
		case 'g': hold = 0; pthread_join(worker, NULL); answer("gone"); break;
		}
}
