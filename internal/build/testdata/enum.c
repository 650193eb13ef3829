#include "common.h"
#ifdef FIXED
enum state { IDLE, BLOCKED, BUSY, DONE };
#else
enum state { IDLE, BUSY, DONE };
#endif
struct job {
	enum state state;
	long id;
};
KEEP int finish(struct job *j) {
	if (j->state != BUSY)
		return -1;
	j->state = DONE;
	return 0;
}
KEEP void start(struct job *j) { j->state = BUSY; }
int main(int argc, char **argv) {
	do {
		struct job j = {IDLE, argc};
		(void)argv;
		start(&j);
		printf("%d\n", finish(&j));
		show();
	} while (puts("") < 0);
	return 0;
}
