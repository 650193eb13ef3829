#include "common.h"
/* A third of the functions change, all others do not: a large fix. CHOSEN: the
   addresses of some are known to whoever asks, and only what chooses among them
   (and differs, too) tells which is which. */
KEEP int f0(int n, const char *s) {
	int v = 3;
	for (int i = 0; i < n; i++)
		v = v * 5 + s[i % 2] + (v >> 1);
	if (v & 1)
		v += printf("%d %s\n", v, s + 0);
	for (int i = n; i > 0; i -= 2)
		v ^= parse(s + i) * 3 + (int)strlen(s);
#ifdef FIXED
	if (n > 1000)
		v ^= add(n) + 0;
#endif
	switch (n) {
	case 1: v += add(v); break;
	case 2: v -= parse(s); break;
	case 9: v *= add(2); show(); break;
	}
	return n > 2 ? parse(s) + v : (int)add(v);
}
KEEP int f1(int n, const char *s) {
	int v = 10;
	for (int i = 0; i < n; i++)
		v = v * 6 + s[i % 3] + (v >> 2);
	if (v & 1)
		v += printf("%d %s\n", v, s + 1);
	for (int i = n; i > 1; i -= 2)
		v ^= parse(s + i) * 4 + (int)strlen(s);
	switch (n) {
	case 1: v += add(v); break;
	case 2: v -= parse(s); break;
	case 10: v *= add(3); show(); break;
	}
	return n > 3 ? parse(s) + v : (int)add(v);
}
KEEP int f2(int n, const char *s) {
	int v = 17;
	for (int i = 0; i < n; i++)
		v = v * 7 + s[i % 4] + (v >> 3);
	if (v & 1)
		v += printf("%d %s\n", v, s + 2);
	for (int i = n; i > 2; i -= 2)
		v ^= parse(s + i) * 5 + (int)strlen(s);
	switch (n) {
	case 1: v += add(v); break;
	case 2: v -= parse(s); break;
	case 11: v *= add(4); show(); break;
	}
	return n > 4 ? parse(s) + v : (int)add(v);
}
KEEP int f3(int n, const char *s) {
	int v = 24;
	for (int i = 0; i < n; i++)
		v = v * 8 + s[i % 5] + (v >> 4);
	if (v & 1)
		v += printf("%d %s\n", v, s + 3);
	for (int i = n; i > 3; i -= 2)
		v ^= parse(s + i) * 6 + (int)strlen(s);
#ifdef FIXED
	if (n > 1003)
		v ^= add(n) + 3;
#endif
	switch (n) {
	case 1: v += add(v); break;
	case 2: v -= parse(s); break;
	case 12: v *= add(5); show(); break;
	}
	return n > 5 ? parse(s) + v : (int)add(v);
}
KEEP int f4(int n, const char *s) {
	int v = 31;
	for (int i = 0; i < n; i++)
		v = v * 9 + s[i % 6] + (v >> 5);
	if (v & 1)
		v += printf("%d %s\n", v, s + 0);
	for (int i = n; i > 4; i -= 2)
		v ^= parse(s + i) * 7 + (int)strlen(s);
	switch (n) {
	case 1: v += add(v); break;
	case 2: v -= parse(s); break;
	case 13: v *= add(6); show(); break;
	}
	return n > 6 ? parse(s) + v : (int)add(v);
}
KEEP int f5(int n, const char *s) {
	int v = 38;
	for (int i = 0; i < n; i++)
		v = v * 10 + s[i % 7] + (v >> 1);
	if (v & 1)
		v += printf("%d %s\n", v, s + 1);
	for (int i = n; i > 5; i -= 2)
		v ^= parse(s + i) * 8 + (int)strlen(s);
	switch (n) {
	case 1: v += add(v); break;
	case 2: v -= parse(s); break;
	case 14: v *= add(7); show(); break;
	}
	return n > 7 ? parse(s) + v : (int)add(v);
}
KEEP int f6(int n, const char *s) {
	int v = 45;
	for (int i = 0; i < n; i++)
		v = v * 11 + s[i % 8] + (v >> 2);
	if (v & 1)
		v += printf("%d %s\n", v, s + 2);
	for (int i = n; i > 0; i -= 2)
		v ^= parse(s + i) * 9 + (int)strlen(s);
#ifdef FIXED
	if (n > 1006)
		v ^= add(n) + 6;
#endif
	switch (n) {
	case 1: v += add(v); break;
	case 2: v -= parse(s); break;
	case 15: v *= add(8); show(); break;
	}
	return n > 8 ? parse(s) + v : (int)add(v);
}
KEEP int f7(int n, const char *s) {
	int v = 52;
	for (int i = 0; i < n; i++)
		v = v * 12 + s[i % 2] + (v >> 3);
	if (v & 1)
		v += printf("%d %s\n", v, s + 3);
	for (int i = n; i > 1; i -= 2)
		v ^= parse(s + i) * 10 + (int)strlen(s);
	switch (n) {
	case 1: v += add(v); break;
	case 2: v -= parse(s); break;
	case 16: v *= add(9); show(); break;
	}
	return n > 9 ? parse(s) + v : (int)add(v);
}
KEEP int f8(int n, const char *s) {
	int v = 59;
	for (int i = 0; i < n; i++)
		v = v * 13 + s[i % 3] + (v >> 4);
	if (v & 1)
		v += printf("%d %s\n", v, s + 0);
	for (int i = n; i > 2; i -= 2)
		v ^= parse(s + i) * 11 + (int)strlen(s);
	switch (n) {
	case 1: v += add(v); break;
	case 2: v -= parse(s); break;
	case 17: v *= add(10); show(); break;
	}
	return n > 10 ? parse(s) + v : (int)add(v);
}
KEEP int f9(int n, const char *s) {
	int v = 66;
	for (int i = 0; i < n; i++)
		v = v * 14 + s[i % 4] + (v >> 5);
	if (v & 1)
		v += printf("%d %s\n", v, s + 1);
	for (int i = n; i > 3; i -= 2)
		v ^= parse(s + i) * 12 + (int)strlen(s);
#ifdef FIXED
	if (n > 1009)
		v ^= add(n) + 9;
#endif
	switch (n) {
	case 1: v += add(v); break;
	case 2: v -= parse(s); break;
	case 18: v *= add(11); show(); break;
	}
	return n > 11 ? parse(s) + v : (int)add(v);
}
KEEP int f10(int n, const char *s) {
	int v = 73;
	for (int i = 0; i < n; i++)
		v = v * 15 + s[i % 5] + (v >> 1);
	if (v & 1)
		v += printf("%d %s\n", v, s + 2);
	for (int i = n; i > 4; i -= 2)
		v ^= parse(s + i) * 13 + (int)strlen(s);
	switch (n) {
	case 1: v += add(v); break;
	case 2: v -= parse(s); break;
	case 19: v *= add(12); show(); break;
	}
	return n > 12 ? parse(s) + v : (int)add(v);
}
KEEP int f11(int n, const char *s) {
	int v = 80;
	for (int i = 0; i < n; i++)
		v = v * 16 + s[i % 6] + (v >> 2);
	if (v & 1)
		v += printf("%d %s\n", v, s + 3);
	for (int i = n; i > 5; i -= 2)
		v ^= parse(s + i) * 14 + (int)strlen(s);
	switch (n) {
	case 1: v += add(v); break;
	case 2: v -= parse(s); break;
	case 20: v *= add(13); show(); break;
	}
	return n > 13 ? parse(s) + v : (int)add(v);
}
KEEP int f12(int n, const char *s) {
	int v = 87;
	for (int i = 0; i < n; i++)
		v = v * 17 + s[i % 7] + (v >> 3);
	if (v & 1)
		v += printf("%d %s\n", v, s + 0);
	for (int i = n; i > 0; i -= 2)
		v ^= parse(s + i) * 15 + (int)strlen(s);
#ifdef FIXED
	if (n > 1012)
		v ^= add(n) + 12;
#endif
	switch (n) {
	case 1: v += add(v); break;
	case 2: v -= parse(s); break;
	case 21: v *= add(14); show(); break;
	}
	return n > 14 ? parse(s) + v : (int)add(v);
}
KEEP int f13(int n, const char *s) {
	int v = 94;
	for (int i = 0; i < n; i++)
		v = v * 18 + s[i % 8] + (v >> 4);
	if (v & 1)
		v += printf("%d %s\n", v, s + 1);
	for (int i = n; i > 1; i -= 2)
		v ^= parse(s + i) * 16 + (int)strlen(s);
	switch (n) {
	case 1: v += add(v); break;
	case 2: v -= parse(s); break;
	case 22: v *= add(15); show(); break;
	}
	return n > 15 ? parse(s) + v : (int)add(v);
}
KEEP int f14(int n, const char *s) {
	int v = 101;
	for (int i = 0; i < n; i++)
		v = v * 19 + s[i % 2] + (v >> 5);
	if (v & 1)
		v += printf("%d %s\n", v, s + 2);
	for (int i = n; i > 2; i -= 2)
		v ^= parse(s + i) * 17 + (int)strlen(s);
	switch (n) {
	case 1: v += add(v); break;
	case 2: v -= parse(s); break;
	case 23: v *= add(16); show(); break;
	}
	return n > 16 ? parse(s) + v : (int)add(v);
}
KEEP int f15(int n, const char *s) {
	int v = 108;
	for (int i = 0; i < n; i++)
		v = v * 20 + s[i % 3] + (v >> 1);
	if (v & 1)
		v += printf("%d %s\n", v, s + 3);
	for (int i = n; i > 3; i -= 2)
		v ^= parse(s + i) * 18 + (int)strlen(s);
#ifdef FIXED
	if (n > 1015)
		v ^= add(n) + 15;
#endif
	switch (n) {
	case 1: v += add(v); break;
	case 2: v -= parse(s); break;
	case 24: v *= add(17); show(); break;
	}
	return n > 17 ? parse(s) + v : (int)add(v);
}
KEEP int f16(int n, const char *s) {
	int v = 115;
	for (int i = 0; i < n; i++)
		v = v * 21 + s[i % 4] + (v >> 2);
	if (v & 1)
		v += printf("%d %s\n", v, s + 0);
	for (int i = n; i > 4; i -= 2)
		v ^= parse(s + i) * 19 + (int)strlen(s);
	switch (n) {
	case 1: v += add(v); break;
	case 2: v -= parse(s); break;
	case 25: v *= add(18); show(); break;
	}
	return n > 18 ? parse(s) + v : (int)add(v);
}
KEEP int f17(int n, const char *s) {
	int v = 122;
	for (int i = 0; i < n; i++)
		v = v * 22 + s[i % 5] + (v >> 3);
	if (v & 1)
		v += printf("%d %s\n", v, s + 1);
	for (int i = n; i > 5; i -= 2)
		v ^= parse(s + i) * 20 + (int)strlen(s);
	switch (n) {
	case 1: v += add(v); break;
	case 2: v -= parse(s); break;
	case 26: v *= add(19); show(); break;
	}
	return n > 19 ? parse(s) + v : (int)add(v);
}
KEEP int f18(int n, const char *s) {
	int v = 129;
	for (int i = 0; i < n; i++)
		v = v * 23 + s[i % 6] + (v >> 4);
	if (v & 1)
		v += printf("%d %s\n", v, s + 2);
	for (int i = n; i > 0; i -= 2)
		v ^= parse(s + i) * 21 + (int)strlen(s);
#ifdef FIXED
	if (n > 1018)
		v ^= add(n) + 18;
#endif
	switch (n) {
	case 1: v += add(v); break;
	case 2: v -= parse(s); break;
	case 27: v *= add(20); show(); break;
	}
	return n > 20 ? parse(s) + v : (int)add(v);
}
KEEP int f19(int n, const char *s) {
	int v = 136;
	for (int i = 0; i < n; i++)
		v = v * 24 + s[i % 7] + (v >> 5);
	if (v & 1)
		v += printf("%d %s\n", v, s + 3);
	for (int i = n; i > 1; i -= 2)
		v ^= parse(s + i) * 22 + (int)strlen(s);
	switch (n) {
	case 1: v += add(v); break;
	case 2: v -= parse(s); break;
	case 28: v *= add(21); show(); break;
	}
	return n > 21 ? parse(s) + v : (int)add(v);
}
KEEP int f20(int n, const char *s) {
	int v = 143;
	for (int i = 0; i < n; i++)
		v = v * 25 + s[i % 8] + (v >> 1);
	if (v & 1)
		v += printf("%d %s\n", v, s + 0);
	for (int i = n; i > 2; i -= 2)
		v ^= parse(s + i) * 23 + (int)strlen(s);
	switch (n) {
	case 1: v += add(v); break;
	case 2: v -= parse(s); break;
	case 29: v *= add(22); show(); break;
	}
	return n > 22 ? parse(s) + v : (int)add(v);
}
KEEP int f21(int n, const char *s) {
	int v = 150;
	for (int i = 0; i < n; i++)
		v = v * 26 + s[i % 2] + (v >> 2);
	if (v & 1)
		v += printf("%d %s\n", v, s + 1);
	for (int i = n; i > 3; i -= 2)
		v ^= parse(s + i) * 24 + (int)strlen(s);
#ifdef FIXED
	if (n > 1021)
		v ^= add(n) + 21;
#endif
	switch (n) {
	case 1: v += add(v); break;
	case 2: v -= parse(s); break;
	case 30: v *= add(23); show(); break;
	}
	return n > 23 ? parse(s) + v : (int)add(v);
}
KEEP int f22(int n, const char *s) {
	int v = 157;
	for (int i = 0; i < n; i++)
		v = v * 27 + s[i % 3] + (v >> 3);
	if (v & 1)
		v += printf("%d %s\n", v, s + 2);
	for (int i = n; i > 4; i -= 2)
		v ^= parse(s + i) * 25 + (int)strlen(s);
	switch (n) {
	case 1: v += add(v); break;
	case 2: v -= parse(s); break;
	case 31: v *= add(24); show(); break;
	}
	return n > 24 ? parse(s) + v : (int)add(v);
}
KEEP int f23(int n, const char *s) {
	int v = 164;
	for (int i = 0; i < n; i++)
		v = v * 28 + s[i % 4] + (v >> 4);
	if (v & 1)
		v += printf("%d %s\n", v, s + 3);
	for (int i = n; i > 5; i -= 2)
		v ^= parse(s + i) * 26 + (int)strlen(s);
	switch (n) {
	case 1: v += add(v); break;
	case 2: v -= parse(s); break;
	case 32: v *= add(25); show(); break;
	}
	return n > 25 ? parse(s) + v : (int)add(v);
}
KEEP int f24(int n, const char *s) {
	int v = 171;
	for (int i = 0; i < n; i++)
		v = v * 29 + s[i % 5] + (v >> 5);
	if (v & 1)
		v += printf("%d %s\n", v, s + 0);
	for (int i = n; i > 0; i -= 2)
		v ^= parse(s + i) * 27 + (int)strlen(s);
#ifdef FIXED
	if (n > 1024)
		v ^= add(n) + 24;
#endif
	switch (n) {
	case 1: v += add(v); break;
	case 2: v -= parse(s); break;
	case 33: v *= add(26); show(); break;
	}
	return n > 26 ? parse(s) + v : (int)add(v);
}
KEEP int f25(int n, const char *s) {
	int v = 178;
	for (int i = 0; i < n; i++)
		v = v * 30 + s[i % 6] + (v >> 1);
	if (v & 1)
		v += printf("%d %s\n", v, s + 1);
	for (int i = n; i > 1; i -= 2)
		v ^= parse(s + i) * 28 + (int)strlen(s);
	switch (n) {
	case 1: v += add(v); break;
	case 2: v -= parse(s); break;
	case 34: v *= add(27); show(); break;
	}
	return n > 27 ? parse(s) + v : (int)add(v);
}
KEEP int f26(int n, const char *s) {
	int v = 185;
	for (int i = 0; i < n; i++)
		v = v * 31 + s[i % 7] + (v >> 2);
	if (v & 1)
		v += printf("%d %s\n", v, s + 2);
	for (int i = n; i > 2; i -= 2)
		v ^= parse(s + i) * 29 + (int)strlen(s);
	switch (n) {
	case 1: v += add(v); break;
	case 2: v -= parse(s); break;
	case 35: v *= add(28); show(); break;
	}
	return n > 28 ? parse(s) + v : (int)add(v);
}
KEEP int f27(int n, const char *s) {
	int v = 192;
	for (int i = 0; i < n; i++)
		v = v * 32 + s[i % 8] + (v >> 3);
	if (v & 1)
		v += printf("%d %s\n", v, s + 3);
	for (int i = n; i > 3; i -= 2)
		v ^= parse(s + i) * 30 + (int)strlen(s);
#ifdef FIXED
	if (n > 1027)
		v ^= add(n) + 27;
#endif
	switch (n) {
	case 1: v += add(v); break;
	case 2: v -= parse(s); break;
	case 36: v *= add(29); show(); break;
	}
	return n > 29 ? parse(s) + v : (int)add(v);
}
KEEP int f28(int n, const char *s) {
	int v = 199;
	for (int i = 0; i < n; i++)
		v = v * 33 + s[i % 2] + (v >> 4);
	if (v & 1)
		v += printf("%d %s\n", v, s + 0);
	for (int i = n; i > 4; i -= 2)
		v ^= parse(s + i) * 31 + (int)strlen(s);
	switch (n) {
	case 1: v += add(v); break;
	case 2: v -= parse(s); break;
	case 37: v *= add(30); show(); break;
	}
	return n > 30 ? parse(s) + v : (int)add(v);
}
KEEP int f29(int n, const char *s) {
	int v = 206;
	for (int i = 0; i < n; i++)
		v = v * 34 + s[i % 3] + (v >> 5);
	if (v & 1)
		v += printf("%d %s\n", v, s + 1);
	for (int i = n; i > 5; i -= 2)
		v ^= parse(s + i) * 32 + (int)strlen(s);
	switch (n) {
	case 1: v += add(v); break;
	case 2: v -= parse(s); break;
	case 38: v *= add(31); show(); break;
	}
	return n > 31 ? parse(s) + v : (int)add(v);
}
KEEP int f30(int n, const char *s) {
	int v = 213;
	for (int i = 0; i < n; i++)
		v = v * 35 + s[i % 4] + (v >> 1);
	if (v & 1)
		v += printf("%d %s\n", v, s + 2);
	for (int i = n; i > 0; i -= 2)
		v ^= parse(s + i) * 33 + (int)strlen(s);
#ifdef FIXED
	if (n > 1030)
		v ^= add(n) + 30;
#endif
	switch (n) {
	case 1: v += add(v); break;
	case 2: v -= parse(s); break;
	case 39: v *= add(32); show(); break;
	}
	return n > 32 ? parse(s) + v : (int)add(v);
}
KEEP int f31(int n, const char *s) {
	int v = 220;
	for (int i = 0; i < n; i++)
		v = v * 36 + s[i % 5] + (v >> 2);
	if (v & 1)
		v += printf("%d %s\n", v, s + 3);
	for (int i = n; i > 1; i -= 2)
		v ^= parse(s + i) * 34 + (int)strlen(s);
	switch (n) {
	case 1: v += add(v); break;
	case 2: v -= parse(s); break;
	case 40: v *= add(33); show(); break;
	}
	return n > 33 ? parse(s) + v : (int)add(v);
}
KEEP int f32(int n, const char *s) {
	int v = 227;
	for (int i = 0; i < n; i++)
		v = v * 37 + s[i % 6] + (v >> 3);
	if (v & 1)
		v += printf("%d %s\n", v, s + 0);
	for (int i = n; i > 2; i -= 2)
		v ^= parse(s + i) * 35 + (int)strlen(s);
	switch (n) {
	case 1: v += add(v); break;
	case 2: v -= parse(s); break;
	case 41: v *= add(34); show(); break;
	}
	return n > 34 ? parse(s) + v : (int)add(v);
}
KEEP int f33(int n, const char *s) {
	int v = 234;
	for (int i = 0; i < n; i++)
		v = v * 38 + s[i % 7] + (v >> 4);
	if (v & 1)
		v += printf("%d %s\n", v, s + 1);
	for (int i = n; i > 3; i -= 2)
		v ^= parse(s + i) * 36 + (int)strlen(s);
#ifdef FIXED
	if (n > 1033)
		v ^= add(n) + 33;
#endif
	switch (n) {
	case 1: v += add(v); break;
	case 2: v -= parse(s); break;
	case 42: v *= add(35); show(); break;
	}
	return n > 35 ? parse(s) + v : (int)add(v);
}
KEEP int f34(int n, const char *s) {
	int v = 241;
	for (int i = 0; i < n; i++)
		v = v * 39 + s[i % 8] + (v >> 5);
	if (v & 1)
		v += printf("%d %s\n", v, s + 2);
	for (int i = n; i > 4; i -= 2)
		v ^= parse(s + i) * 37 + (int)strlen(s);
	switch (n) {
	case 1: v += add(v); break;
	case 2: v -= parse(s); break;
	case 43: v *= add(36); show(); break;
	}
	return n > 36 ? parse(s) + v : (int)add(v);
}
KEEP int f35(int n, const char *s) {
	int v = 248;
	for (int i = 0; i < n; i++)
		v = v * 40 + s[i % 2] + (v >> 1);
	if (v & 1)
		v += printf("%d %s\n", v, s + 3);
	for (int i = n; i > 5; i -= 2)
		v ^= parse(s + i) * 38 + (int)strlen(s);
	switch (n) {
	case 1: v += add(v); break;
	case 2: v -= parse(s); break;
	case 44: v *= add(37); show(); break;
	}
	return n > 37 ? parse(s) + v : (int)add(v);
}
KEEP int f36(int n, const char *s) {
	int v = 255;
	for (int i = 0; i < n; i++)
		v = v * 41 + s[i % 3] + (v >> 2);
	if (v & 1)
		v += printf("%d %s\n", v, s + 0);
	for (int i = n; i > 0; i -= 2)
		v ^= parse(s + i) * 39 + (int)strlen(s);
#ifdef FIXED
	if (n > 1036)
		v ^= add(n) + 36;
#endif
	switch (n) {
	case 1: v += add(v); break;
	case 2: v -= parse(s); break;
	case 45: v *= add(38); show(); break;
	}
	return n > 38 ? parse(s) + v : (int)add(v);
}
KEEP int f37(int n, const char *s) {
	int v = 262;
	for (int i = 0; i < n; i++)
		v = v * 42 + s[i % 4] + (v >> 3);
	if (v & 1)
		v += printf("%d %s\n", v, s + 1);
	for (int i = n; i > 1; i -= 2)
		v ^= parse(s + i) * 40 + (int)strlen(s);
	switch (n) {
	case 1: v += add(v); break;
	case 2: v -= parse(s); break;
	case 46: v *= add(39); show(); break;
	}
	return n > 39 ? parse(s) + v : (int)add(v);
}
KEEP int f38(int n, const char *s) {
	int v = 269;
	for (int i = 0; i < n; i++)
		v = v * 43 + s[i % 5] + (v >> 4);
	if (v & 1)
		v += printf("%d %s\n", v, s + 2);
	for (int i = n; i > 2; i -= 2)
		v ^= parse(s + i) * 41 + (int)strlen(s);
	switch (n) {
	case 1: v += add(v); break;
	case 2: v -= parse(s); break;
	case 47: v *= add(40); show(); break;
	}
	return n > 40 ? parse(s) + v : (int)add(v);
}
KEEP int f39(int n, const char *s) {
	int v = 276;
	for (int i = 0; i < n; i++)
		v = v * 44 + s[i % 6] + (v >> 5);
	if (v & 1)
		v += printf("%d %s\n", v, s + 3);
	for (int i = n; i > 3; i -= 2)
		v ^= parse(s + i) * 42 + (int)strlen(s);
#ifdef FIXED
	if (n > 1039)
		v ^= add(n) + 39;
#endif
	switch (n) {
	case 1: v += add(v); break;
	case 2: v -= parse(s); break;
	case 48: v *= add(41); show(); break;
	}
	return n > 41 ? parse(s) + v : (int)add(v);
}
KEEP int f40(int n, const char *s) {
	int v = 283;
	for (int i = 0; i < n; i++)
		v = v * 45 + s[i % 7] + (v >> 1);
	if (v & 1)
		v += printf("%d %s\n", v, s + 0);
	for (int i = n; i > 4; i -= 2)
		v ^= parse(s + i) * 43 + (int)strlen(s);
	switch (n) {
	case 1: v += add(v); break;
	case 2: v -= parse(s); break;
	case 49: v *= add(42); show(); break;
	}
	return n > 42 ? parse(s) + v : (int)add(v);
}
KEEP int f41(int n, const char *s) {
	int v = 290;
	for (int i = 0; i < n; i++)
		v = v * 46 + s[i % 8] + (v >> 2);
	if (v & 1)
		v += printf("%d %s\n", v, s + 1);
	for (int i = n; i > 5; i -= 2)
		v ^= parse(s + i) * 44 + (int)strlen(s);
	switch (n) {
	case 1: v += add(v); break;
	case 2: v -= parse(s); break;
	case 50: v *= add(43); show(); break;
	}
	return n > 43 ? parse(s) + v : (int)add(v);
}
KEEP int f42(int n, const char *s) {
	int v = 297;
	for (int i = 0; i < n; i++)
		v = v * 47 + s[i % 2] + (v >> 3);
	if (v & 1)
		v += printf("%d %s\n", v, s + 2);
	for (int i = n; i > 0; i -= 2)
		v ^= parse(s + i) * 45 + (int)strlen(s);
#ifdef FIXED
	if (n > 1042)
		v ^= add(n) + 42;
#endif
	switch (n) {
	case 1: v += add(v); break;
	case 2: v -= parse(s); break;
	case 51: v *= add(44); show(); break;
	}
	return n > 44 ? parse(s) + v : (int)add(v);
}
KEEP int f43(int n, const char *s) {
	int v = 304;
	for (int i = 0; i < n; i++)
		v = v * 48 + s[i % 3] + (v >> 4);
	if (v & 1)
		v += printf("%d %s\n", v, s + 3);
	for (int i = n; i > 1; i -= 2)
		v ^= parse(s + i) * 46 + (int)strlen(s);
	switch (n) {
	case 1: v += add(v); break;
	case 2: v -= parse(s); break;
	case 52: v *= add(45); show(); break;
	}
	return n > 45 ? parse(s) + v : (int)add(v);
}
KEEP int f44(int n, const char *s) {
	int v = 311;
	for (int i = 0; i < n; i++)
		v = v * 49 + s[i % 4] + (v >> 5);
	if (v & 1)
		v += printf("%d %s\n", v, s + 0);
	for (int i = n; i > 2; i -= 2)
		v ^= parse(s + i) * 47 + (int)strlen(s);
	switch (n) {
	case 1: v += add(v); break;
	case 2: v -= parse(s); break;
	case 53: v *= add(46); show(); break;
	}
	return n > 46 ? parse(s) + v : (int)add(v);
}
#ifdef CHOSEN
typedef int step(int, const char *);
static step *volatile chosen;
KEEP step *choose(int n, const char *s) {
	step *r = f0;
#ifdef FIXED
	if (n > 500)
		n = parse(s) ^ add(n);
#endif
	n ^= parse(s);
	if (n & 1)
		r = n & 2 ? f1 : f3;
	if (n & 4)
		r = n & 8 ? f6 : f9;
	return r;
}
#endif
int main(int argc, char **argv) {
	int v = 0;
#ifndef CHOSEN
	v += f0(argc, argv[0]);
	v += f1(argc, argv[0]);
	v += f2(argc, argv[0]);
	v += f3(argc, argv[0]);
	v += f4(argc, argv[0]);
	v += f5(argc, argv[0]);
	v += f6(argc, argv[0]);
	v += f7(argc, argv[0]);
	v += f8(argc, argv[0]);
	v += f9(argc, argv[0]);
	v += f10(argc, argv[0]);
	v += f11(argc, argv[0]);
	v += f12(argc, argv[0]);
	v += f13(argc, argv[0]);
	v += f14(argc, argv[0]);
	v += f15(argc, argv[0]);
	v += f16(argc, argv[0]);
	v += f17(argc, argv[0]);
	v += f18(argc, argv[0]);
	v += f19(argc, argv[0]);
	v += f20(argc, argv[0]);
	v += f21(argc, argv[0]);
	v += f22(argc, argv[0]);
	v += f23(argc, argv[0]);
	v += f24(argc, argv[0]);
	v += f25(argc, argv[0]);
	v += f26(argc, argv[0]);
	v += f27(argc, argv[0]);
	v += f28(argc, argv[0]);
	v += f29(argc, argv[0]);
	v += f30(argc, argv[0]);
	v += f31(argc, argv[0]);
	v += f32(argc, argv[0]);
	v += f33(argc, argv[0]);
	v += f34(argc, argv[0]);
	v += f35(argc, argv[0]);
	v += f36(argc, argv[0]);
	v += f37(argc, argv[0]);
	v += f38(argc, argv[0]);
	v += f39(argc, argv[0]);
	v += f40(argc, argv[0]);
	v += f41(argc, argv[0]);
	v += f42(argc, argv[0]);
	v += f43(argc, argv[0]);
	v += f44(argc, argv[0]);
#else
	chosen = choose(argc, argv[0]);
	v += chosen(argc, argv[0]);
#endif
	printf("%d\n", v);
	show();
	return 0;
}
