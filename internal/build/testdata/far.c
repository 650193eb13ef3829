/* A library of the large code model, which finds its variables by distances from
   the global offset table. */
static int counter = 5;
static int table[4] = {1, 2, 3, 4};

__attribute__((noinline)) int work(int n)
{
#ifdef FIXED
	if (n < 0 || n > 100)
		return -1;
#endif
	counter += n;
	table[n & 3]++;
	return counter + table[n & 3];
}

__attribute__((noinline)) int other(int n) { return counter * n + table[0]; }
