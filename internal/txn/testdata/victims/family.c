// A parent that waits for everything its child does, and counts it. The child
// works for as long as it lives and shows what its function returns.
#include "victim.h"
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

NOINLINE int fixed_function(int n) { ROOM; return OLD_NEW(n + 1, n + 1000); }

static struct shared { atomic_int value, rounds; } *child;
static atomic_int stops, continues, ends, signals;
static pid_t pid;

static void on_chld(int s) { (void)s; signals++; }
static void *waiter(void *a) {
	(void)a;
	for (;;) {
		int w;
		if (waitpid(pid, &w, WUNTRACED | WCONTINUED) < 0) { if (errno == EINTR) continue; return NULL; }
		if (WIFSTOPPED(w)) stops++;
		else if (WIFCONTINUED(w)) continues++;
		else ends++;
	}
}
int main(int argc, char **argv) {
	const char *how = argc > 1 ? argv[1] : "";
	pthread_t t;
	signal(SIGCHLD, on_chld);
	child = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if ((pid = fork()) == 0) {
		for (;;) { child->value = fixed_function(1); child->rounds++; usleep(500); }
	}
	if (!strcmp(how, "traces")) { if (ptrace(PTRACE_SEIZE, pid, 0, 0)) return 1; } // as a debugger does
	else pthread_create(&t, NULL, waiter, NULL);
	answer("ready %d", getpid());
	const char *q;
	while ((q = next()))
		switch (*q) {
		case 'p': answer("%d", pid); break;
		case 'q': answer("%d", fixed_function(1)); break;
		case 'c': { // what the child computes from now on
			int r = child->rounds;
			for (int i = 0; i < 2000 && child->rounds < r + 2; i++) usleep(1000);
			answer("%d", child->rounds < r + 2 ? -1 : child->value);
			break;
		}
		case 'w': answer("stops=%d continues=%d ends=%d signals=%d", stops, continues, ends, signals); break;
		case 's': kill(pid, SIGSTOP); for (int i = 0; i < 1000 && stops < 1; i++) usleep(1000); answer("stopped"); break;
		case 't': kill(pid, SIGCONT); for (int i = 0; i < 1000 && continues < 1; i++) usleep(1000); answer("continued"); break;
		case 'k': kill(pid, SIGKILL); answer("killed"); break;
		}
}
