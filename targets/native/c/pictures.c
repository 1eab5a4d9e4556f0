/* From a picture to the network's input and back, as `contract.py` does it. */
#define LONGEST_SIDE @LONGEST@
#define IMAGE_H @IMAGE_H@
#define IMAGE_W @IMAGE_W@
#define MASK_C @MASK_C@
#define MASK_H @MASK_H@
#define MASK_W @MASK_W@
#define LARGER(A, B) ((A) > (B) ? (A) : (B))

/* Of a line that is resized: each output is a sum over some neighbours. */
struct taps {
    int32_t first, count, place; /* the first neighbour; `place` in the shares */
};

struct picture {
    struct taps taps[LARGER(LONGEST_SIDE, IMAGE_W)];
    float shares[4 * LARGER(LONGEST_SIDE, LARGER(IMAGE_W, MASK_W)) + 8];
    float row[LARGER(@IMAGE_C@ * LARGER(LONGEST_SIDE, IMAGE_W), MASK_C * MASK_W) + 16];
};
#define PICTURE_BYTES ((sizeof(struct picture) + 63) / 64 * 64)

/* The triangle of one output, one source pixel wide to either side or the scale when shrinking. */
static struct taps taps_of(int index, int size_in, int size_out, float *shares)
{
    const double scale = (double)size_in / size_out, support = scale > 1.0 ? scale : 1.0;
    const double centre = (index + 0.5) * scale;
    const double low = centre - support + 0.5, high = centre + support + 0.5;
    struct taps taps = {low > 0.0 ? (int32_t)low : 0, 0, 0};
    const int32_t last = high < size_in ? (int32_t)high : size_in;
    taps.count = last - taps.first;
    double sum = 0.0;
    for (int pass = 0; pass < 2; ++pass)
        for (int i = 0; i < taps.count; ++i) {
            double distance = (taps.first + i + 0.5 - centre) / support;
            double share = 1.0 - (distance < 0.0 ? -distance : distance);
            if (share < 0.0) share = 0.0;
            if (pass == 0) sum += share;
            else shares[i] = (float)(share / sum);
        }
    return taps;
}

static void taps_of_line(struct picture *work, int size_in, int size_out)
{
    int32_t place = 0;
    for (int i = 0; i < size_out; ++i) {
        work->taps[i] = taps_of(i, size_in, size_out, work->shares + place);
        work->taps[i].place = place;
        place += work->taps[i].count;
    }
}

typedef uint8_t B16 __attribute__((vector_size(16), aligned(1), may_alias));

static void add_bytes(float *row, const uint8_t *of, int count, float share, int is_first)
{
    int i = 0;
    for (; i + 16 <= count; i += 16) {
        F16 v = splat16(share) * __builtin_convertvector(*(const B16 *)(of + i), F16);
        store16(row + i, is_first ? v : load16(row + i) + v);
    }
    for (; i < count; ++i) row[i] = (is_first ? 0.0f : row[i]) + share * of[i];
}

static void add_floats(float *row, const float *of, int count, float share, int is_first)
{
    for (int i = 0; i < count; ++i) row[i] = (is_first ? 0.0f : row[i]) + share * of[i];
}

/* The shares of one row come behind those of the line, which leaves room for them. */
static void picture_in(struct picture *work, float *m, const uint8_t *rgb, int height, int width,
    size_t row_bytes)
{
    float least = __builtin_inff(), most = -__builtin_inff();
    float down[2 * LONGEST_SIDE / IMAGE_H + 4];
    taps_of_line(work, width, IMAGE_W);
    for (int y = 0; y < IMAGE_H; ++y) {
        if (height == IMAGE_H) add_bytes(work->row, rgb + y * row_bytes, @IMAGE_C@ * width, 1.0f, 1);
        else {
            struct taps rows = taps_of(y, height, IMAGE_H, down);
            for (int i = 0; i < rows.count; ++i)
                add_bytes(work->row, rgb + (size_t)(rows.first + i) * row_bytes, @IMAGE_C@ * width,
                    down[i], i == 0);
        }
        float *to = m + @IMAGE_FIRST@ + y * @IMAGE_PITCH@;
        for (int x = 0; x < IMAGE_W; ++x) {
            struct taps taps = work->taps[x];
            const float *p = work->row + @IMAGE_C@ * taps.first, *share = work->shares + taps.place;
            float c[@IMAGE_C@] = {@ZEROS@};
            for (int i = 0; i < taps.count; ++i, p += @IMAGE_C@)
                for (int k = 0; k < @IMAGE_C@; ++k) c[k] += share[i] * p[k];
            for (int k = 0; k < @IMAGE_C@; ++k) {
                to[k * @IMAGE_PLANE@ + x] = c[k];
                least = c[k] < least ? c[k] : least;
                most = c[k] > most ? c[k] : most;
            }
        }
    }
    @NORMALIZATION@
    for (int k = 0; k < @IMAGE_C@; ++k)
        for (int y = 0; y < IMAGE_H; ++y) {
            float *to = m + @IMAGE_FIRST@ + k * @IMAGE_PLANE@ + y * @IMAGE_PITCH@;
            for (int x = 0; x < IMAGE_W; ++x) to[x] = NORMALIZED(to[x], k);
        }
}

/* False where a probability is no number. */
static int picture_out(struct picture *work, const float *m, int height, int width, uint8_t *labels)
{
    float down[2 * MASK_H + 4];
    for (int c = 0; c < MASK_C; ++c)
        for (int y = 0; y < MASK_H; ++y) {
            const float *p = m + @MASK_FIRST@ + c * @MASK_PLANE@ + y * @MASK_PITCH@;
            for (int x = 0; x < MASK_W; ++x)
                if (!(p[x] - p[x] == 0.0f)) return 0;
        }
    taps_of_line(work, MASK_W, width);
    for (int y = 0; y < height; ++y) {
        struct taps rows = {y, 1, 0};
        down[0] = 1.0f;
        if (height != MASK_H) rows = taps_of(y, MASK_H, height, down);
        for (int c = 0; c < MASK_C; ++c)
            for (int i = 0; i < rows.count; ++i)
                add_floats(work->row + c * MASK_W,
                    m + @MASK_FIRST@ + c * @MASK_PLANE@ + (rows.first + i) * @MASK_PITCH@, MASK_W,
                    down[i], i == 0);
        for (int x = 0; x < width; ++x) {
            struct taps taps = work->taps[x];
            float best = 0.0f;
            int label = 0;
            for (int c = 0; c < MASK_C; ++c) {
                const float *p = work->row + c * MASK_W + taps.first;
                float v = 0.0f;
                for (int i = 0; i < taps.count; ++i) v += work->shares[taps.place + i] * p[i];
                if (MASK_C == 1) label = v >= @THRESHOLD@;
                else if (c == 0 || v > best) {
                    best = v;
                    label = c;
                }
            }
            labels[(size_t)y * width + x] = (uint8_t)label;
        }
    }
    return 1;
}
