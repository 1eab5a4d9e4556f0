/* A segmentation network, compiled. Several handles may run at the same time in several threads;
 * one handle runs one image at a time. No function allocates memory, prints or calls another
 * library. */
#ifndef EDGESEG_H
#define EDGESEG_H
#include <stddef.h>
#include <stdint.h>
#ifdef __cplusplus
extern "C" {
#endif

#define EDGESEG_VERSION @VERSION@
@SIZES@

enum {
    EDGESEG_OK = 0,
    EDGESEG_NO_MEMORY = 1,     /* the memory is missing, too small or not aligned to 64 bytes */
    EDGESEG_BAD_WEIGHTS = 2,   /* not a file of weights, cut short, or changed */
    EDGESEG_OTHER_NETWORK = 3, /* weights of another network or of another version */
    EDGESEG_NO_HANDLE = 4,     /* the handle, the image or the mask is missing */
    EDGESEG_BAD_IMAGE = 5,     /* a side of the image is below 1 or above EDGESEG_LONGEST_SIDE */
    EDGESEG_NOT_FINITE = 6,    /* the network gives NaN or infinity for this image */
    EDGESEG_NO_CONTRACT = 7,   /* it was built without saying how images are prepared */
    EDGESEG_BAD_THREADS = 8,   /* not 1 to EDGESEG_MOST_THREADS, or none of those of the handle */
    EDGESEG_BAD_FORMAT = 9,    /* the network takes no pictures of this format */
};

@FORMATS@
typedef struct edgeseg_network edgeseg_network;

/* What such a code means, in words. */
const char *edgeseg_error_text(int code);

/* EDGESEG_VERSION of the library. */
int edgeseg_version(void);

/* Channels, height and width of an image and of a mask, as above. */
void edgeseg_sizes(int32_t image[3], int32_t mask[3]);

/* Bytes of memory that a handle for so many threads needs. */
size_t edgeseg_memory_bytes(int32_t threads);

/* Make a handle in `memory`, which must be aligned to 64 bytes and stay until the handle is
 * destroyed; so must `weights`, the content of the file of weights, aligned to 16 bytes. */
int edgeseg_create(void *memory, size_t memory_bytes, int32_t threads, const void *weights,
    size_t weights_bytes, edgeseg_network **network);

/* Probabilities of a prepared image. Both are planes of channels, rows and columns, without gaps.
 * The calling thread computes alone. */
int edgeseg_run(edgeseg_network *network, const float *image, float *mask);

/* The same by all threads of the handle: each calls it with a `thread` of its own, from 0 on, and
 * the same image and mask. They wait for each other without sleeping, so that each needs a core of
 * its own; the mask is whole when thread 0 returns. */
int edgeseg_run_thread(edgeseg_network *network, int32_t thread, const float *image, float *mask);

/* The class of each pixel of a picture of any size: it is resized and normalised as the network was
 * trained, and the probabilities are brought back to its size. `rgb` has @PIXEL@ a pixel and
 * `row_bytes` bytes from a row to the next (0 for rows without gaps); `labels` has `height` times
 * `width` bytes. */
int edgeseg_run_picture(edgeseg_network *network, const uint8_t *rgb, int32_t height,
    int32_t width, size_t row_bytes, uint8_t *labels);

/* The same for a picture whose pixels have one of the formats above. Networks of one channel turn
 * colours into grey, those of three repeat grey; those of two and four take EDGESEG_BANDS only.
 * `probabilities` gets a plane of `height` times `width` floats for each of EDGESEG_MASK_CHANNELS;
 * it or `labels` may be NULL. Older libraries lack this function. */
int edgeseg_run_pixels(edgeseg_network *network, const void *pixels, int32_t format,
    int32_t height, int32_t width, size_t row_bytes, uint8_t *labels, float *probabilities);

/* Forget a handle. Its memory is the caller's again. */
void edgeseg_destroy(edgeseg_network *network);

#ifdef __cplusplus
}
#endif
#endif
