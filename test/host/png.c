// A service that uses libpng, over and over: makes a read structure and looks
// at a signature. No headers of the library are needed.
#include <stdio.h>
#include <unistd.h>

extern void *png_create_read_struct(const char *version, void *p, void *error, void *warn);
extern void png_destroy_read_struct(void **png, void **info, void **end);
extern int png_sig_cmp(const unsigned char *sig, unsigned long start, unsigned long n);

int main(void) {
	static const unsigned char sig[8] = {0x89, 'P', 'N', 'G', 13, 10, 26, 10};
	for (;;) {
		void *png = png_create_read_struct("1.6.39", 0, 0, 0);
		if (!png || png_sig_cmp(sig, 0, 8)) {
			fprintf(stderr, "libpng does not work\n");
			return 1;
		}
		png_destroy_read_struct(&png, 0, 0);
		usleep(10000);
	}
}
