/* A variable, or a member of what it points to, of the type WAS in the base image
   and IS in the fixed one. The type holds @ as T(name). */
#include <stdio.h>
#include <stdlib.h>

#define KEEP __attribute__((noinline, noclone, used))

struct node { struct node *next; int v; };
struct buffer { int n; char text[60]; };
struct seconds { long n; };
struct millis { long n; };
enum mode { OFF, ON };
enum level { LOW, HIGH, TOP };

#ifdef FIXED
#define T(name) IS(name)
#else
#define T(name) WAS(name)
#endif
#define INT(name) int name
#define FLOAT(name) float name
#define LONG(name) long name
#define UNSIGNED(name) unsigned long name
#define NODE(name) struct node *name
#define NODES(name) struct node **name
#define TEXT(name) char *name
#define BUFFER(name) struct buffer *name
#define ANY(name) void *name
#define INTS(name) int name[4]
#define SHORTS(name) short name[8]
#define ONE(name) int (*name)(int)
#define TWO(name) int (*name)(int, int)
#define SECONDS(name) struct seconds name
#define MILLIS(name) struct millis name
#define MODE(name) enum mode name
#define LEVEL(name) enum level name
#define FROM_MILLIS(name) void (*name)(struct millis *)
#define FROM_SECONDS(name) void (*name)(struct seconds *)
/* Functions that take functions, 64 each: nobody may look at them one by one. */
#define P8(t) t, t, t, t, t, t, t, t
#define P64(t) P8(t), P8(t), P8(t), P8(t), P8(t), P8(t), P8(t), P8(t)
#define DEEP(t, a) \
	typedef int (*t##0)(a); typedef int (*t##1)(P64(t##0)); typedef int (*t##2)(P64(t##1)); \
	typedef int (*t##3)(P64(t##2)); typedef int (*t##4)(P64(t##3)); typedef int (*t##5)(P64(t##4))
DEEP(ofint, int);
DEEP(offloat, float);
#define DEEP_INT(name) ofint5 name
#define DEEP_FLOAT(name) offloat5 name

static T(variable);
static struct holder { T(member); int more; } *holder;

KEEP void *where(int n) {
	if (!holder)
		holder = calloc(1, sizeof *holder);
	printf("%d\n", n);
#ifdef FIXED
	holder->more += n;
#endif
#ifdef MEMBER
	return &holder->member;
#else
	return &variable;
#endif
}

int main(int argc, char **argv) {
	(void)argv;
	struct seconds s = {argc};
	struct millis m = {argc};
	enum mode mode = argc > 5;
	enum level level = argc > 6;
	while (where(argc--) > 9);
	return s.n + m.n + mode + level && sizeof variable + sizeof(struct buffer);
}
