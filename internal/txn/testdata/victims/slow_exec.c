// A thread starts another program, and the kernel waits for its file: somebody has
// a lease on that. The argument: a directory for the files.
// e: begin; s: is the kernel still at it? f: give the file free, and wait until the
// thread has failed to start it.
#include "victim.h"
#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

NOINLINE int fixed_function(int n) { ROOM; return OLD_NEW(n + 1, n + 1000); }

static atomic_int begin, failed;
static char script[200];

static void *starter(void *a) {
	(void)a;
	while (!begin) usleep(1000);
	execl(script, script, NULL);
	failed = errno;
	for (;;) pause();
}

static pid_t lease(const char *file) { // returns who has it
	int ready[2];
	char c;
	if (pipe(ready)) exit(9);
	pid_t p = fork();
	if (p == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		signal(SIGIO, SIG_IGN);
		int fd = open(file, O_RDWR);
		if (write(ready[1], fcntl(fd, F_SETLEASE, F_WRLCK) ? "n" : "y", 1) != 1) _exit(1);
		for (;;) pause();
	}
	return read(ready[0], &c, 1) == 1 && c == 'y' ? p : -1;
}

int main(int argc, char **argv) {
	char interpreter[200], line[256];
	pthread_t t;
	if (argc < 2) return 1;
	snprintf(interpreter, sizeof interpreter, "%s/interpreter", argv[1]);
	snprintf(script, sizeof script, "%s/script", argv[1]);
	snprintf(line, sizeof line, "#!%s\n", interpreter);
	int fd = open(interpreter, O_RDWR | O_CREAT, 0755);
	if (write(fd, "not a program", 13) != 13 || close(fd)) return 1;
	fd = open(script, O_RDWR | O_CREAT, 0755);
	if (write(fd, line, strlen(line)) != (ssize_t)strlen(line) || close(fd)) return 1;
	pid_t holder = lease(interpreter);
	if (holder < 0) { answer("unsupported"); return 0; }
	pthread_create(&t, NULL, starter, NULL);
	usleep(20000);
	answer("ready %d", getpid());
	const char *q;
	while ((q = next()))
		switch (*q) {
		case 'q': answer("%d", fixed_function(1)); break;
		case 'e': begin = 1; usleep(100000); answer("begun"); break;
		case 's': answer("%s", failed ? "failed" : "starting"); break;
		case 'f':
			kill(holder, SIGKILL);
			waitpid(holder, NULL, 0);
			for (int i = 0; i < 1000 && !failed; i++) usleep(10000);
			answer("%s", failed ? "failed" : "starting");
			break;
		}
	exit(0);
}
