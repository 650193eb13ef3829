// A library with check in version V1, which -DFIXED mends, and with a new check in
// version V2, which all newly linked programs get.
#define KEEP __attribute__((noinline, noclone, used))

#ifdef FIXED
KEEP int check_new(const char *s)
{
	int n = 1;
	for (; *s; s++)
		n = n * 31 + *s;
	return n;
}
KEEP int check_old(const char *s)
{
	int n = 0;
	if (!s)
		return 0;
	for (; *s; s++)
		n = n * 31 + *s;
	return n;
}
__asm__(".symver check_old,check@V1");
__asm__(".symver check_new,check@@V2");
#else
KEEP int check_old(const char *s)
{
	int n = 0;
	for (; *s; s++)
		n = n * 31 + *s;
	return n;
}
__asm__(".symver check_old,check@@V1");
#endif
