/* golden_test MODEL GOLDEN: the golden image gives the golden mask. In C, by the public headers. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "edgeseg_contract.h"
#include "segmenter.h"

enum { HEIGHT = @GOLDEN_HEIGHT@, WIDTH = @GOLDEN_WIDTH@, PIXELS = HEIGHT * WIDTH, RUNS = 20 };
enum { BYTES = @GOLDEN_BYTES@, FORMAT = BYTES == 2 ? SEGMENTER_BANDS16 : SEGMENTER_BANDS };
static const double MOST_DIFFERENCE = @MAX_ABS_DIFF@, MOST_FLIPS_PER_10K = @MAX_FLIPS@;

static unsigned char image[PIXELS * EDGESEG_IMAGE_CHANNELS * BYTES], wanted_labels[PIXELS], labels[PIXELS];
static float mask[EDGESEG_MASK_SIZE];
static float wanted[PIXELS * EDGESEG_MASK_CHANNELS], given[PIXELS * EDGESEG_MASK_CHANNELS];
static struct edgeseg_work work;

static int load(const char *folder, const char *name, void *to, size_t bytes)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "rb");
    const int is_whole = file && fread(to, 1, bytes, file) == bytes;
    if (file) fclose(file);
    if (!is_whole) fprintf(stderr, "Error: %s is missing or cut short.\n", path);
    return is_whole;
}

static int compare(const void *a, const void *b)
{
    const double one = *(const double *)a, other = *(const double *)b;
    return (one > other) - (one < other);
}

/* Median of a whole call, in milliseconds; negative where it fails. */
static double measure(segmenter *network)
{
    double times[RUNS];
    for (int i = 0; i < RUNS; ++i) {
        struct timespec start, end;
        timespec_get(&start, TIME_UTC);
        if (segmenter_run(network, image, FORMAT, HEIGHT, WIDTH, 0, labels, NULL))
            return -1.0;
        timespec_get(&end, TIME_UTC);
        times[i] = 1e3 * (double)(end.tv_sec - start.tv_sec)
            + 1e-6 * (double)(end.tv_nsec - start.tv_nsec);
    }
    qsort(times, RUNS, sizeof *times, compare);
    return times[RUNS / 2];
}

int main(int count, char **words)
{
    if (count != 3) {
        fprintf(stderr, "Usage: golden_test MODEL GOLDEN\n");
        return 2;
    }
    if (!load(words[2], "image.bin", image, sizeof image)) return 1;
    if (!load(words[2], "labels.bin", wanted_labels, sizeof wanted_labels)) return 1;
    if (!load(words[2], "mask.bin", mask, sizeof mask)) return 1;
    /* The golden mask has the network's size, and lies in planes whatever the network's layout. */
    static float tensor[EDGESEG_MASK_SIZE];
    for (int k = 0; k < EDGESEG_MASK_CHANNELS; ++k)
        for (int y = 0; y < EDGESEG_MASK_HEIGHT; ++y)
            for (int x = 0; x < EDGESEG_MASK_WIDTH; ++x)
                tensor[EDGESEG_MASK_AT(k, y, x)]
                    = mask[(k * EDGESEG_MASK_HEIGHT + y) * EDGESEG_MASK_WIDTH + x];
    if (edgeseg_restore(&work, tensor, HEIGHT, WIDTH, NULL, wanted)) return 1;

    segmenter *network = NULL;
    int code = segmenter_open(words[1], 1, &network);
    if (!code)
        code = segmenter_run(
            network, image, FORMAT, HEIGHT, WIDTH, 0, labels, given);
    if (code) {
        fprintf(stderr, "Error: %s\n", segmenter_last_error());
        segmenter_close(network);
        return code == SEGMENTER_NO_MACHINE ? 3 : 1;
    }
    double flips = 0, difference = 0;
    for (int i = 0; i < PIXELS; ++i) flips += labels[i] != wanted_labels[i];
    for (int i = 0; i < PIXELS * EDGESEG_MASK_CHANNELS; ++i)
        difference = fmax(difference, fabs((double)given[i] - (double)wanted[i]));
    flips *= 10000.0 / PIXELS;
    printf("flips_per_10k %.4f\nmax_abs_diff %.9g\nmilliseconds %.3f\n", flips, difference,
        measure(network));
    segmenter_close(network);
    return flips <= MOST_FLIPS_PER_10K && difference <= MOST_DIFFERENCE ? 0 : 1;
}
