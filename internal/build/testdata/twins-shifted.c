#include "common.h"
/* Getters and setters with the same code. One pair goes, another comes: as many
 * of each as before, but not in the same places. */
#define VARIABLE(v) static int v
#define GET(v) KEEP static int get_##v(void) { return v; }
#define SET(v) KEEP static void set_##v(int n) { v = n; }
/* What is between them is known by its code. */
#define OTHER(k) KEEP int other_##k(int n) { for (int i = 0; i < k; i++) n = n * (30 + k) + (i ^ k); return n; }
VARIABLE(apple);
#ifndef FIXED
VARIABLE(plum);
#endif
VARIABLE(pear);
VARIABLE(cherry);
#ifdef FIXED
VARIABLE(quince);
#endif
VARIABLE(grape);
GET(apple)
#ifndef FIXED
GET(plum)
#endif
OTHER(1)
GET(pear)
OTHER(2)
SET(apple)
SET(cherry)
#ifdef FIXED
SET(quince)
#endif
GET(cherry)
#ifdef FIXED
GET(quince)
#endif
OTHER(3)
GET(grape)
SET(grape)
OTHER(4)
SET(pear)
OTHER(5)
#ifndef FIXED
SET(plum)
#endif
OTHER(6)
KEEP int fill(int n) {
	for (int i = 0; i < 5; i++) n = n * 31 + i;
#ifdef FIXED
	set_quince(n);
#endif
	return n;
}
KEEP int basket(int n) {
#ifdef FIXED
	n += get_quince();
#endif
	return n * 7;
}
int main(int argc, char **argv) {
	(void)argv;
	printf("%d\n", basket(fill(argc)));
	show();
	return 0;
}
