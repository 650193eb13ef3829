#include "common.h"
/* Enough functions for a share of them to mean something. */
KEEP int f0(int n, const char *s) {
	int v = 3;
	for (int i = 0; i < n; i++)
		v = v * 5 + s[i % 8] + (v >> 1);
	return n > 2 ? parse(s) + v : (int)add(v);
}
KEEP int f1(int n, const char *s) {
	int v = 10;
	for (int i = 0; i < n; i++)
		v = v * 6 + s[i % 8] + (v >> 2);
	return n > 3 ? parse(s) + v : (int)add(v);
}
KEEP int f2(int n, const char *s) {
	int v = 17;
	for (int i = 0; i < n; i++)
		v = v * 7 + s[i % 8] + (v >> 3);
	return n > 4 ? parse(s) + v : (int)add(v);
}
KEEP int f3(int n, const char *s) {
	int v = 24;
	for (int i = 0; i < n; i++)
		v = v * 8 + s[i % 8] + (v >> 4);
	return n > 5 ? parse(s) + v : (int)add(v);
}
KEEP int f4(int n, const char *s) {
	int v = 31;
	for (int i = 0; i < n; i++)
		v = v * 9 + s[i % 8] + (v >> 5);
	return n > 6 ? parse(s) + v : (int)add(v);
}
KEEP int f5(int n, const char *s) {
	int v = 38;
	for (int i = 0; i < n; i++)
		v = v * 10 + s[i % 8] + (v >> 6);
	return n > 7 ? parse(s) + v : (int)add(v);
}
KEEP int f6(int n, const char *s) {
	int v = 45;
	for (int i = 0; i < n; i++)
		v = v * 11 + s[i % 8] + (v >> 7);
	return n > 8 ? parse(s) + v : (int)add(v);
}
KEEP int f7(int n, const char *s) {
	int v = 52;
	for (int i = 0; i < n; i++)
		v = v * 12 + s[i % 8] + (v >> 1);
	return n > 9 ? parse(s) + v : (int)add(v);
}
KEEP int f8(int n, const char *s) {
	int v = 59;
	for (int i = 0; i < n; i++)
		v = v * 13 + s[i % 8] + (v >> 2);
	return n > 10 ? parse(s) + v : (int)add(v);
}
KEEP int f9(int n, const char *s) {
	int v = 66;
	for (int i = 0; i < n; i++)
		v = v * 14 + s[i % 8] + (v >> 3);
	return n > 11 ? parse(s) + v : (int)add(v);
}
KEEP int f10(int n, const char *s) {
	int v = 73;
	for (int i = 0; i < n; i++)
		v = v * 15 + s[i % 8] + (v >> 4);
	return n > 12 ? parse(s) + v : (int)add(v);
}
KEEP int f11(int n, const char *s) {
	int v = 80;
	for (int i = 0; i < n; i++)
		v = v * 16 + s[i % 8] + (v >> 5);
	return n > 13 ? parse(s) + v : (int)add(v);
}
KEEP int f12(int n, const char *s) {
	int v = 87;
	for (int i = 0; i < n; i++)
		v = v * 17 + s[i % 8] + (v >> 6);
	return n > 14 ? parse(s) + v : (int)add(v);
}
KEEP int f13(int n, const char *s) {
	int v = 94;
	for (int i = 0; i < n; i++)
		v = v * 18 + s[i % 8] + (v >> 7);
	return n > 15 ? parse(s) + v : (int)add(v);
}
KEEP int f14(int n, const char *s) {
	int v = 101;
	for (int i = 0; i < n; i++)
		v = v * 19 + s[i % 8] + (v >> 1);
	return n > 16 ? parse(s) + v : (int)add(v);
}
KEEP int f15(int n, const char *s) {
	int v = 108;
	for (int i = 0; i < n; i++)
		v = v * 20 + s[i % 8] + (v >> 2);
	return n > 17 ? parse(s) + v : (int)add(v);
}
KEEP int f16(int n, const char *s) {
	int v = 115;
	for (int i = 0; i < n; i++)
		v = v * 21 + s[i % 8] + (v >> 3);
	return n > 18 ? parse(s) + v : (int)add(v);
}
KEEP int f17(int n, const char *s) {
	int v = 122;
	for (int i = 0; i < n; i++)
		v = v * 22 + s[i % 8] + (v >> 4);
	return n > 19 ? parse(s) + v : (int)add(v);
}
KEEP int f18(int n, const char *s) {
	int v = 129;
	for (int i = 0; i < n; i++)
		v = v * 23 + s[i % 8] + (v >> 5);
	return n > 20 ? parse(s) + v : (int)add(v);
}
KEEP int f19(int n, const char *s) {
	int v = 136;
	for (int i = 0; i < n; i++)
		v = v * 24 + s[i % 8] + (v >> 6);
	return n > 21 ? parse(s) + v : (int)add(v);
}
KEEP int f20(int n, const char *s) {
	int v = 143;
	for (int i = 0; i < n; i++)
		v = v * 25 + s[i % 8] + (v >> 7);
	return n > 22 ? parse(s) + v : (int)add(v);
}
KEEP int f21(int n, const char *s) {
	int v = 150;
	for (int i = 0; i < n; i++)
		v = v * 26 + s[i % 8] + (v >> 1);
	return n > 23 ? parse(s) + v : (int)add(v);
}
KEEP int f22(int n, const char *s) {
	int v = 157;
	for (int i = 0; i < n; i++)
		v = v * 27 + s[i % 8] + (v >> 2);
	return n > 24 ? parse(s) + v : (int)add(v);
}
KEEP int f23(int n, const char *s) {
	int v = 164;
	for (int i = 0; i < n; i++)
		v = v * 28 + s[i % 8] + (v >> 3);
	return n > 25 ? parse(s) + v : (int)add(v);
}
KEEP int f24(int n, const char *s) {
	int v = 171;
	for (int i = 0; i < n; i++)
		v = v * 29 + s[i % 8] + (v >> 4);
	return n > 26 ? parse(s) + v : (int)add(v);
}
KEEP int f25(int n, const char *s) {
	int v = 178;
	for (int i = 0; i < n; i++)
		v = v * 30 + s[i % 8] + (v >> 5);
	return n > 27 ? parse(s) + v : (int)add(v);
}
KEEP int f26(int n, const char *s) {
	int v = 185;
	for (int i = 0; i < n; i++)
		v = v * 31 + s[i % 8] + (v >> 6);
	return n > 28 ? parse(s) + v : (int)add(v);
}
KEEP int f27(int n, const char *s) {
	int v = 192;
	for (int i = 0; i < n; i++)
		v = v * 32 + s[i % 8] + (v >> 7);
	return n > 29 ? parse(s) + v : (int)add(v);
}
KEEP int f28(int n, const char *s) {
	int v = 199;
	for (int i = 0; i < n; i++)
		v = v * 33 + s[i % 8] + (v >> 1);
	return n > 30 ? parse(s) + v : (int)add(v);
}
KEEP int f29(int n, const char *s) {
	int v = 206;
	for (int i = 0; i < n; i++)
		v = v * 34 + s[i % 8] + (v >> 2);
	return n > 31 ? parse(s) + v : (int)add(v);
}
KEEP int f30(int n, const char *s) {
	int v = 213;
	for (int i = 0; i < n; i++)
		v = v * 35 + s[i % 8] + (v >> 3);
	return n > 32 ? parse(s) + v : (int)add(v);
}
KEEP int f31(int n, const char *s) {
	int v = 220;
	for (int i = 0; i < n; i++)
		v = v * 36 + s[i % 8] + (v >> 4);
	return n > 33 ? parse(s) + v : (int)add(v);
}
KEEP int f32(int n, const char *s) {
	int v = 227;
	for (int i = 0; i < n; i++)
		v = v * 37 + s[i % 8] + (v >> 5);
	return n > 34 ? parse(s) + v : (int)add(v);
}
KEEP int f33(int n, const char *s) {
	int v = 234;
	for (int i = 0; i < n; i++)
		v = v * 38 + s[i % 8] + (v >> 6);
	return n > 35 ? parse(s) + v : (int)add(v);
}
KEEP int f34(int n, const char *s) {
	int v = 241;
	for (int i = 0; i < n; i++)
		v = v * 39 + s[i % 8] + (v >> 7);
	return n > 36 ? parse(s) + v : (int)add(v);
}
KEEP int f35(int n, const char *s) {
	int v = 248;
	for (int i = 0; i < n; i++)
		v = v * 40 + s[i % 8] + (v >> 1);
	return n > 37 ? parse(s) + v : (int)add(v);
}
KEEP int f36(int n, const char *s) {
	int v = 255;
	for (int i = 0; i < n; i++)
		v = v * 41 + s[i % 8] + (v >> 2);
	return n > 38 ? parse(s) + v : (int)add(v);
}
KEEP int f37(int n, const char *s) {
	int v = 262;
	for (int i = 0; i < n; i++)
		v = v * 42 + s[i % 8] + (v >> 3);
	return n > 39 ? parse(s) + v : (int)add(v);
}
KEEP int f38(int n, const char *s) {
	int v = 269;
	for (int i = 0; i < n; i++)
		v = v * 43 + s[i % 8] + (v >> 4);
	return n > 40 ? parse(s) + v : (int)add(v);
}
KEEP int f39(int n, const char *s) {
	int v = 276;
	for (int i = 0; i < n; i++)
		v = v * 44 + s[i % 8] + (v >> 5);
	return n > 41 ? parse(s) + v : (int)add(v);
}
KEEP int f40(int n, const char *s) {
	int v = 283;
	for (int i = 0; i < n; i++)
		v = v * 45 + s[i % 8] + (v >> 6);
	return n > 42 ? parse(s) + v : (int)add(v);
}
KEEP int f41(int n, const char *s) {
	int v = 290;
	for (int i = 0; i < n; i++)
		v = v * 46 + s[i % 8] + (v >> 7);
	return n > 43 ? parse(s) + v : (int)add(v);
}
KEEP int f42(int n, const char *s) {
	int v = 297;
	for (int i = 0; i < n; i++)
		v = v * 47 + s[i % 8] + (v >> 1);
	return n > 44 ? parse(s) + v : (int)add(v);
}
KEEP int f43(int n, const char *s) {
	int v = 304;
	for (int i = 0; i < n; i++)
		v = v * 48 + s[i % 8] + (v >> 2);
	return n > 45 ? parse(s) + v : (int)add(v);
}
KEEP int f44(int n, const char *s) {
	int v = 311;
	for (int i = 0; i < n; i++)
		v = v * 49 + s[i % 8] + (v >> 3);
	return n > 46 ? parse(s) + v : (int)add(v);
}
KEEP int f45(int n, const char *s) {
	int v = 318;
	for (int i = 0; i < n; i++)
		v = v * 50 + s[i % 8] + (v >> 4);
	return n > 47 ? parse(s) + v : (int)add(v);
}
KEEP int f46(int n, const char *s) {
	int v = 325;
	for (int i = 0; i < n; i++)
		v = v * 51 + s[i % 8] + (v >> 5);
	return n > 48 ? parse(s) + v : (int)add(v);
}
KEEP int f47(int n, const char *s) {
	int v = 332;
	for (int i = 0; i < n; i++)
		v = v * 52 + s[i % 8] + (v >> 6);
	return n > 49 ? parse(s) + v : (int)add(v);
}
int main(int argc, char **argv) {
	long sum = 0;
	sum += f0(argc, argv[0]);
	sum += f1(argc, argv[0]);
	sum += f2(argc, argv[0]);
	sum += f3(argc, argv[0]);
	sum += f4(argc, argv[0]);
	sum += f5(argc, argv[0]);
	sum += f6(argc, argv[0]);
	sum += f7(argc, argv[0]);
	sum += f8(argc, argv[0]);
	sum += f9(argc, argv[0]);
	sum += f10(argc, argv[0]);
	sum += f11(argc, argv[0]);
	sum += f12(argc, argv[0]);
	sum += f13(argc, argv[0]);
	sum += f14(argc, argv[0]);
	sum += f15(argc, argv[0]);
	sum += f16(argc, argv[0]);
	sum += f17(argc, argv[0]);
	sum += f18(argc, argv[0]);
	sum += f19(argc, argv[0]);
	sum += f20(argc, argv[0]);
	sum += f21(argc, argv[0]);
	sum += f22(argc, argv[0]);
	sum += f23(argc, argv[0]);
	sum += f24(argc, argv[0]);
	sum += f25(argc, argv[0]);
	sum += f26(argc, argv[0]);
	sum += f27(argc, argv[0]);
	sum += f28(argc, argv[0]);
	sum += f29(argc, argv[0]);
	sum += f30(argc, argv[0]);
	sum += f31(argc, argv[0]);
	sum += f32(argc, argv[0]);
	sum += f33(argc, argv[0]);
	sum += f34(argc, argv[0]);
	sum += f35(argc, argv[0]);
	sum += f36(argc, argv[0]);
	sum += f37(argc, argv[0]);
	sum += f38(argc, argv[0]);
	sum += f39(argc, argv[0]);
	sum += f40(argc, argv[0]);
	sum += f41(argc, argv[0]);
	sum += f42(argc, argv[0]);
	sum += f43(argc, argv[0]);
	sum += f44(argc, argv[0]);
	sum += f45(argc, argv[0]);
	sum += f46(argc, argv[0]);
	sum += f47(argc, argv[0]);
	printf("%ld\n", sum);
	show();
	return 0;
}
