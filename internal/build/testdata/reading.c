/* A variable, or a member of what it points to, of the type WAS in the base image
   and IS in the fixed one. The type holds @ as T(name). */
#include <stdio.h>
#include <stdlib.h>

#define KEEP __attribute__((noinline, noclone, used))

struct node { struct node *next; int v; };
struct buffer { int n; char text[60]; };

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
	return where(argc) == 0 && sizeof variable + sizeof(struct buffer);
}
