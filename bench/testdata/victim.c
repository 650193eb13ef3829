// victim has N threads and one function to patch. One thread spins on
// clock_gettime, and only while it is told to, for the largest gap between two
// readings: that is how long the process was stopped, as it felt itself. The
// others wait, each in a system call, as the threads of a server mostly do.
//
// Lines on stdin: "spin" starts, "gap" stops and answers the largest gap in
// nanoseconds, "call" answers what the function returns.
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

static atomic_int spinning;
static int64_t largest;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static int wanted, running; // under lock

__attribute__((noinline)) int answer(int x)
{
#ifdef FIXED
	if (x < 0)
		return -2;
#endif
	for (int i = 0; i < 3; i++)
		x = x * 31 + i;
	return x;
}

static int64_t now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void *spin(void *unused)
{
	for (;;) {
		pthread_mutex_lock(&lock);
		while (!wanted)
			pthread_cond_wait(&changed, &lock);
		running = 1;
		largest = 0;
		atomic_store(&spinning, 1);
		pthread_cond_broadcast(&changed);
		pthread_mutex_unlock(&lock);

		int64_t last = now();
		while (atomic_load_explicit(&spinning, memory_order_relaxed)) {
			int64_t t = now();
			if (t - last > largest)
				largest = t - last;
			last = t;
		}
		pthread_mutex_lock(&lock);
		running = 0;
		pthread_cond_broadcast(&changed);
		pthread_mutex_unlock(&lock);
	}
	return unused;
}

static void *rest(void *unused)
{
	for (;;)
		pause();
	return unused;
}

int main(int argc, char **argv)
{
	int threads = argc > 1 ? atoi(argv[1]) : 2;
	char line[64];
	pthread_t t;

	prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY);
	pthread_create(&t, NULL, spin, NULL);
	for (int i = 2; i < threads; i++) // this one and the spinning one count too
		if (pthread_create(&t, NULL, rest, NULL) != 0)
			return 1;
	while (fgets(line, sizeof line, stdin)) {
		pthread_mutex_lock(&lock);
		if (!strcmp(line, "spin\n")) {
			wanted = 1;
			pthread_cond_broadcast(&changed);
			while (!running)
				pthread_cond_wait(&changed, &lock);
			printf("ok\n");
		} else if (!strcmp(line, "gap\n")) {
			wanted = 0;
			atomic_store(&spinning, 0);
			while (running)
				pthread_cond_wait(&changed, &lock);
			printf("%lld\n", (long long)largest);
		} else {
			printf("%d\n", answer(-1));
		}
		pthread_mutex_unlock(&lock);
		fflush(stdout);
	}
	return 0;
}
