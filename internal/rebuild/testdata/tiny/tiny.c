/* A program with something of everything that a rebuild is compared by. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifndef BUILT
#define BUILT "on Monday by builder-7"
#endif

struct account {
	int id;
	long balance;
	char name[16];
};

static struct account accounts[4];
static int used;

__attribute__((noinline)) static struct account *find(int id)
{
	for (int i = 0; i < used; i++)
		if (accounts[i].id == id)
			return &accounts[i];
	return NULL;
}

__attribute__((noinline)) struct account *open_account(int id, const char *name)
{
	struct account *a = find(id);
	if (a || used == 4)
		return a;
	a = &accounts[used++];
	a->id = id;
	strncpy(a->name, name, sizeof a->name - 1);
	return a;
}

__attribute__((noinline)) long deposit(struct account *a, long sum)
{
	if (sum < 0 || a->balance > 1000000)
		return -1;
	a->balance += sum;
	return a->balance;
}

__attribute__((noinline)) void show_build(void) { puts(BUILT); }

int main(int argc, char **argv)
{
	show_build();
	struct account *a = open_account(argc, argv[0]);
	if (!a)
		return EXIT_FAILURE;
	printf("%s has %ld\n", a->name, deposit(a, 5 * argc));
	return EXIT_SUCCESS;
}
