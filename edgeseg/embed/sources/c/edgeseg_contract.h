/* What happens to a picture before the network and to its output after it: as words, as constants
 * and as functions. C11 and C++17; nothing is allocated.
 *
 *     static struct edgeseg_work work;
 *     code = edgeseg_prepare(&work, pixels, EDGESEG_RGB, height, width, 0, input);
 *     ... run the network: `input` goes in, `output` comes out ...
 *     code = edgeseg_restore(&work, output, height, width, labels, NULL);
 *
 * INTO THE NETWORK
 *
@INPUT_WORDS@
 *
 * OUT OF THE NETWORK
 *
@OUTPUT_WORDS@
 *
 * EdgeSeg wrote this file for one network. It is not a medical device. */
#ifndef EDGESEG_CONTRACT_H
#define EDGESEG_CONTRACT_H
#include <float.h>
#include <stddef.h>
#include <stdint.h>

@CONSTANTS@

@FORMATS@
enum {
    EDGESEG_OK = 0,
    EDGESEG_MISSING = 4,    /* a pointer is NULL */
    EDGESEG_BAD_IMAGE = 5,  /* a side below 1 or above EDGESEG_LONGEST_SIDE, or rows too short */
    EDGESEG_NOT_FINITE = 6, /* the network gives NaN or infinity for this image */
    EDGESEG_BAD_FORMAT = 9, /* the network takes no pictures of this format */
};

/* Name of a class, as in labels. */
static inline const char *edgeseg_class_name(int label)
{
    switch (label) {
@CLASSES@
    default: return "";
    }
}

@PIXELS@
/* Turn a picture into the input tensor.
 *
 * pixels     an upright picture without a colour profile, rows from the top, of `format`
 * row_bytes  from a row to the next; 0 where rows have no gaps
 * tensor     EDGESEG_IMAGE_SIZE floats
 *
 * Returns EDGESEG_OK, or what is wrong. */
static inline int edgeseg_prepare(struct edgeseg_work *work, const void *pixels, int format,
    int height, int width, size_t row_bytes, float *tensor)
{
    const int code = edgeseg_check_picture(format, height, width, &row_bytes);
    if (!work || !pixels || !tensor) return EDGESEG_MISSING;
    if (code != EDGESEG_OK) return code;
    edgeseg_picture_in(work, pixels, format, height, width, row_bytes, tensor);
    return EDGESEG_OK;
}

/* Turn the output tensor into a mask of the picture's size.
 *
 * tensor         EDGESEG_MASK_SIZE floats
 * labels         the class of each pixel, `height` rows of `width` bytes; may be NULL
 * probabilities  EDGESEG_MASK_CHANNELS planes of that size; may be NULL
 *
 * Returns EDGESEG_OK, or what is wrong. */
static inline int edgeseg_restore(struct edgeseg_work *work, const float *tensor, int height,
    int width, uint8_t *labels, float *probabilities)
{
    if (!work || !tensor) return EDGESEG_MISSING;
    if (height < 1 || width < 1) return EDGESEG_BAD_IMAGE;
    if (height > EDGESEG_LONGEST_SIDE || width > EDGESEG_LONGEST_SIDE) return EDGESEG_BAD_IMAGE;
    const int is_finite =
        edgeseg_picture_out(work, tensor, height, width, labels, probabilities);
    return is_finite ? EDGESEG_OK : EDGESEG_NOT_FINITE;
}
#endif
