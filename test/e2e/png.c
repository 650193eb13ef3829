/* A host of libpng: each round encodes an image, decodes it and compares. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include "host.h"

/* png.h of 1.6, the simplified API; declared here, so that no headers are needed. */
typedef struct {
	void *opaque;
	uint32_t version, width, height, format, flags, colormap_entries, warning_or_error;
	char message[64];
} png_image;
#define PNG_IMAGE_VERSION 1
#define PNG_FORMAT_RGBA 3
extern int png_image_begin_read_from_memory(png_image *, const void *, size_t);
extern int png_image_finish_read(png_image *, const void *, void *, int32_t, void *);
extern int png_image_write_to_memory(png_image *, void *, size_t *, int, const void *, int32_t, const void *);
extern void png_image_free(png_image *);

#define SIDE 48

static void round_of(int worker, unsigned n)
{
	unsigned char in[SIDE * SIDE * 4], out[sizeof in], file[65536];
	size_t size = sizeof file;
	png_image w = { .version = PNG_IMAGE_VERSION, .width = SIDE, .height = SIDE, .format = PNG_FORMAT_RGBA };
	png_image r = { .version = PNG_IMAGE_VERSION };

	for (size_t i = 0; i < sizeof in; i++)
		in[i] = i % 4 == 3 ? 255 : (unsigned char)(i * 7 + n * 13 + (unsigned)worker * 101);
	if (!png_image_write_to_memory(&w, file, &size, 0, in, 0, NULL))
		wrong(w.message);
	if (!png_image_begin_read_from_memory(&r, file, size))
		wrong(r.message);
	r.format = PNG_FORMAT_RGBA;
	if (!png_image_finish_read(&r, NULL, out, 0, NULL))
		wrong(r.message);
	png_image_free(&r);
	if (memcmp(in, out, sizeof in) != 0)
		wrong("the pixels differ");
	/* A file cut short must be refused, as it is by every version. */
	memset(&r, 0, sizeof r);
	r.version = PNG_IMAGE_VERSION;
	if (png_image_begin_read_from_memory(&r, file, 20))
		wrong("half a header was taken");
	png_image_free(&r);
}
