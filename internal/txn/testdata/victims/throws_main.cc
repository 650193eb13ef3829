// A program that answers by throwing: see throws.h. It never changes.
#include "throws.h"
#include <cstring>
#include <pthread.h>
#include <unistd.h>

static int caught; // what the callers of this file caught: 0 nothing
template <typename F> static int call(F f) {
	caught = 0;
	try {
		return f();
	} catch (const Own &e) {
		caught = 100 + e.n;
	} catch (const std::invalid_argument &e) {
		caught = 200;
	} catch (const std::exception &e) {
		caught = 300;
	} catch (int i) {
		caught = 400 + i;
	} catch (...) {
		caught = 500;
	}
	return -1;
}
static const char *const names[] = {"throws_itself", "catches", "catches_base", "catches_hidden", "catches_all", "passes", "rethrows", "no_frame", "new_type", "nested"};
static int run(int which, int n) {
	switch (which) {
	case 0: return call([=] { return throws_itself(n); });
	case 1: return call([=] { return catches(n); });
	case 2: return call([=] { return catches_base(n); });
	case 3: return call([=] { return catches_hidden(n); });
	case 4: return call([=] { return catches_all(n); });
	case 5: return call([=] { return passes(n); });
	case 6: return call([=] { return rethrows(n); });
	case 7: return call([=] { return no_frame(raise_kind, n); });
	case 8: return call([=] { return new_type(n); });
	case 9: return call([=] { return nested(n); });
	}
	return 0;
}
static volatile bool stop;
static volatile long thrown;
static void *storm(void *) {
	for (int i = 0; !stop; i++) {
		try {
			if (nested(2) % 1000 != 102 || catches_hidden(5) % 1000 != 55 || catches_base(2) % 1000 != 32) abort();
			passes(1 + i % 4);
			abort();
		} catch (const Own &) {
		} catch (const std::runtime_error &) {
		} catch (int) {
		}
		thrown = thrown + 1;
		usleep(100); // a stack is clear now and then
	}
	return nullptr;
}
static bool line(char *b, size_t size) {
	size_t n = 0;
	for (; n + 1 < size; n++) {
		if (read(0, b + n, 1) <= 0) return false;
		if (b[n] == '\n') break;
	}
	b[n] = 0;
	return true;
}
int main() {
	pthread_t t;
	printf("ready %d\n", getpid());
	fflush(stdout);
	char q[64];
	while (line(q, sizeof q)) {
		char name[40];
		int n;
		long before;
		if (!strcmp(q, "storm")) {
			stop = false, pthread_create(&t, nullptr, storm, nullptr);
			printf("begun\n");
		} else if (!strcmp(q, "calm")) {
			for (before = thrown; thrown - before < 20;) usleep(1000); // it still works
			stop = true, pthread_join(t, nullptr);
			printf("thrown\n");
		} else if (sscanf(q, "%39s %d", name, &n) == 2) {
			for (int i = 0; i < 10; i++)
				if (!strcmp(name, names[i])) {
					int r = run(i, n), c = caught;
					printf("%d caught=%d gone=%d\n", r, c, cleanups());
				}
		}
		fflush(stdout);
	}
}
