/*
 * The frame of a host program: two threads call round() until SIGTERM; a round
 * that goes wrong ends the process at once with exit code 1. round() returns
 * between its calls, so the library's functions do leave the stacks.
 */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define WORKERS 2

static atomic_int leaving;
static atomic_long rounds;

static void round_of(int worker, unsigned n);

static void wrong(const char *what)
{
	printf("wrong: %s\n", what);
	fflush(stdout);
	_exit(1);
}

static void *work(void *arg)
{
	for (unsigned n = 0; !atomic_load(&leaving); n++) {
		round_of((int)(long)arg, n);
		atomic_fetch_add(&rounds, 1);
		usleep(500);
	}
	return NULL;
}

int main(void)
{
	pthread_t t[WORKERS];
	sigset_t set;
	int sig;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	for (long i = 0; i < WORKERS; i++)
		if (pthread_create(&t[i], NULL, work, (void *)i) != 0)
			wrong("no thread");
	sigwait(&set, &sig);
	atomic_store(&leaving, 1);
	for (int i = 0; i < WORKERS; i++)
		pthread_join(t[i], NULL);
	printf("%ld rounds, all right\n", atomic_load(&rounds));
	return atomic_load(&rounds) == 0;
}
