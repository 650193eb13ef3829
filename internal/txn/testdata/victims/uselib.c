// A program that uses libanswer, with a thread blocked inside the library.
#include "victim.h"
int answer_of(int n);
int blocked_in_library(int fd);
static int pipes[2];
static void *blocked(void *a) { (void)a; blocked_in_library(pipes[0]); return NULL; }
int main(void) {
	pthread_t t;
	if (pipe(pipes)) return 1;
	pthread_create(&t, NULL, blocked, NULL);
	usleep(20000);
	answer("ready %d", getpid());
	const char *q;
	while ((q = next())) if (*q == 'q') answer("%d", answer_of(1));
}
