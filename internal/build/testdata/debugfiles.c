struct s { long a; int b; };

#ifdef FIXED
#define MORE 2
#else
#define MORE 1
#endif

__attribute__((noinline, noipa)) int work(struct s *s) { return s->b + MORE; }

int main(int n, char **v) {
	struct s s = {n, n};
	(void)v;
	while (work(&s) > 9);
	return 0;
}
