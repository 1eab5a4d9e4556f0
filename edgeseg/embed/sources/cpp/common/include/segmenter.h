/* A segmentation network: pictures in, masks out. It runs on @RUNTIME_TITLE@.
 *
 *     segmenter *network;
 *     int code = segmenter_open("model", 1, &network);
 *     if (!code) code = segmenter_run(network, pixels, SEGMENTER_RGB, height, width, 0, labels, NULL);
 *     if (code) puts(segmenter_last_error());
 *     segmenter_close(network);
 *
 * One handle runs one picture at a time; several handles may run in several threads. No C++
 * exception leaves these functions. */
#ifndef SEGMENTER_H
#define SEGMENTER_H
#include <stddef.h>
#include <stdint.h>
#ifdef __cplusplus
extern "C" {
#endif

/* How the values of a pixel follow each other. Alpha is not looked at. */
enum segmenter_format {
    SEGMENTER_RGB = 1,
    SEGMENTER_RGBA = 2,
    SEGMENTER_BGR = 3, /* OpenCV's order */
    SEGMENTER_BGRA = 4,
    SEGMENTER_GREY = 5,
    SEGMENTER_BANDS = 6,   /* @CHANNELS@ in the order of the training pictures */
    SEGMENTER_RGB16 = 17,  /* two bytes a value, the low one first; white is @WHITE@ */
    SEGMENTER_GREY16 = 21,
    SEGMENTER_BANDS16 = 22,
};

enum segmenter_code {
    SEGMENTER_OK = 0,
    SEGMENTER_BAD_ARGUMENT = 1, /* a pointer is missing, or a size or format is impossible */
    SEGMENTER_BAD_MODEL = 2,    /* a file of the model is missing or damaged */
    SEGMENTER_NO_MACHINE = 3,   /* this machine cannot run the model */
    SEGMENTER_FAILED = 4,       /* the runtime failed, or the mask has NaN */
};

enum { SEGMENTER_CLASSES = @CLASS_COUNT@, SEGMENTER_PLANES = @PLANES@ };

typedef struct segmenter segmenter;

/* Load the network from the folder `model` of this kit. Give one thread per free core at most. */
int segmenter_open(const char *model_folder, int threads, segmenter **made);

/* Compute the mask of a picture.
 *
 * pixels         an upright picture, `height` rows of `width` pixels from the top
 * row_bytes      from a row to the next; 0 where rows have no gaps
 * labels         receives the class of each pixel, height * width bytes; may be NULL
 * probabilities  receives SEGMENTER_PLANES planes of height * width floats; may be NULL */
int segmenter_run(segmenter *network, const void *pixels, int format, int height, int width,
    size_t row_bytes, uint8_t *labels, float *probabilities);

void segmenter_close(segmenter *network);

/* Name of a class; empty for labels that are none. */
const char *segmenter_class_name(int label);

/* What went wrong in the last call of this thread, and what to do. */
const char *segmenter_last_error(void);

#ifdef __cplusplus
}
#endif
#endif
