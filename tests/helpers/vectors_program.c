/* Works through requests of vectors.py with edgeseg_contract.h, in C11 and in C++17.
 *
 *     vectors_program FOLDER FORMAT
 *
 * FORMAT is 0 for the format that the number of channels tells, or one that each picture is brought
 * to before, which must change nothing. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "edgeseg_contract.h"

static struct edgeseg_work work;
static float tensor[EDGESEG_IMAGE_SIZE];

static void *load(const char *folder, const char *name, const char *suffix, size_t bytes)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s%s", folder, name, suffix);
    FILE *file = fopen(path, "rb");
    void *content = malloc(bytes + 1);
    if (!file || !content || fread(content, 1, bytes + 1, file) != bytes) exit(90);
    fclose(file);
    return content;
}

static void save(const char *folder, const char *name, const char *suffix, const void *content,
    size_t bytes)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s%s", folder, name, suffix);
    FILE *file = fopen(path, "wb");
    if (!file || fwrite(content, 1, bytes, file) != bytes || fclose(file) != 0) exit(91);
}

/* Pixels of the order `to`, made of RGB, with gaps behind the rows. */
static unsigned char *ordered(const unsigned char *rgb, int height, int width, size_t bytes, int to,
    size_t *row_bytes)
{
    const size_t channels = to == EDGESEG_RGBA || to == EDGESEG_BGRA ? 4 : 3;
    const size_t red = to == EDGESEG_BGR || to == EDGESEG_BGRA ? 2 : 0;
    *row_bytes = channels * (size_t)width * bytes + 5;
    unsigned char *made = (unsigned char *)malloc((size_t)height * *row_bytes);
    if (!made) exit(92);
    memset(made, 0xEE, (size_t)height * *row_bytes); /* gaps and alpha must not be looked at */
    for (size_t y = 0; y < (size_t)height; ++y)
        for (size_t x = 0; x < (size_t)width; ++x) {
            const unsigned char *from = rgb + (y * (size_t)width + x) * 3 * bytes;
            unsigned char *pixel = made + y * *row_bytes + x * channels * bytes;
            memcpy(pixel + red * bytes, from, bytes);
            memcpy(pixel + bytes, from + bytes, bytes);
            memcpy(pixel + (2 - red) * bytes, from + 2 * bytes, bytes);
        }
    return made;
}

int main(int count, char **words)
{
    if (count != 3) return 93;
    const char *folder = words[1];
    const int wanted = atoi(words[2]);
    char path[4096], name[256];
    int height, width, channels, bits;
    float *output = (float *)load(folder, "probabilities", ".f32",
        EDGESEG_MASK_SIZE * sizeof(float));
    snprintf(path, sizeof path, "%s/requests.txt", folder);
    FILE *requests = fopen(path, "r");
    if (!requests) return 94;
    while (fscanf(requests, "%255s %d %d %d %d", name, &height, &width, &channels, &bits) == 5) {
        const size_t values = (size_t)height * (size_t)width * (size_t)channels;
        const size_t bytes = (size_t)bits / 8;
        unsigned char *pixels = (unsigned char *)load(folder, name, ".pixels", values * bytes);
        int format = channels == 1 ? EDGESEG_GREY : EDGESEG_RGB;
        size_t row_bytes = 0;
        if (wanted && channels == 3) {
            unsigned char *other = ordered(pixels, height, width, bytes, wanted, &row_bytes);
            free(pixels);
            pixels = other;
            format = wanted;
        }
        if (bits == 16) format += EDGESEG_16_BITS;
        int code = edgeseg_prepare(&work, pixels, format, height, width, row_bytes, tensor);
        if (code) return code;
        uint8_t *labels = (uint8_t *)malloc((size_t)height * (size_t)width);
        float *planes = (float *)malloc(
            (size_t)height * (size_t)width * EDGESEG_MASK_CHANNELS * sizeof(float));
        if (!labels || !planes) return 95;
        code = edgeseg_restore(&work, output, height, width, labels, planes);
        if (code) return code;
        save(folder, name, ".tensor", tensor, sizeof tensor);
        save(folder, name, ".mask", labels, (size_t)height * (size_t)width);
        save(folder, name, ".planes", planes,
            (size_t)height * (size_t)width * EDGESEG_MASK_CHANNELS * sizeof(float));
        free(planes);
        free(labels);
        free(pixels);
    }
    fclose(requests);
    free(output);
    return 0;
}
