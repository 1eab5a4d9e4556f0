/* A line that is resized: each output is a sum over some neighbours. */
struct edgeseg_taps {
    int32_t first, count, place; /* the first neighbour; where its share lies */
};

#define EDGESEG_LONGER(A, B) ((A) > (B) ? (A) : (B))
#define EDGESEG_LONGEST_LINE EDGESEG_LONGER(EDGESEG_LONGEST_SIDE, EDGESEG_IMAGE_WIDTH)

/* What is computed with; it holds nothing from one call to the next. */
struct edgeseg_work {
    struct edgeseg_taps taps[EDGESEG_LONGEST_LINE];
    float shares[4 * EDGESEG_LONGER(EDGESEG_LONGEST_LINE, EDGESEG_MASK_WIDTH) + 8];
    float down[2 * EDGESEG_LONGER(EDGESEG_LONGEST_SIDE / EDGESEG_IMAGE_HEIGHT, EDGESEG_MASK_HEIGHT)
        + 8];
    float row[EDGESEG_LONGER(4 * EDGESEG_LONGEST_LINE, EDGESEG_MASK_CHANNELS * EDGESEG_MASK_WIDTH)
        + 16];
    float grey[EDGESEG_LONGEST_SIDE];
};

/* The triangle of one output, one source pixel wide to either side or the scale when shrinking. */
static inline struct edgeseg_taps edgeseg_taps_of(int index, int size_in, int size_out,
    float *shares)
{
    const double scale = (double)size_in / size_out, support = scale > 1.0 ? scale : 1.0;
    const double centre = (index + 0.5) * scale;
    const double low = centre - support + 0.5, high = centre + support + 0.5;
    struct edgeseg_taps taps = {low > 0.0 ? (int32_t)low : 0, 0, 0};
    taps.count = (high < size_in ? (int32_t)high : size_in) - taps.first;
    double sum = 0.0;
    for (int pass = 0; pass < 2; ++pass)
        for (int i = 0; i < taps.count; ++i) {
            const double distance = (taps.first + i + 0.5 - centre) / support;
            double share = 1.0 - (distance < 0.0 ? -distance : distance);
            if (share < 0.0) share = 0.0;
            if (pass == 0) sum += share;
            else shares[i] = (float)(share / sum);
        }
    return taps;
}

static inline void edgeseg_taps_of_line(struct edgeseg_work *work, int size_in, int size_out)
{
    int32_t place = 0;
    for (int i = 0; i < size_out; ++i) {
        work->taps[i] = edgeseg_taps_of(i, size_in, size_out, work->shares + place);
        work->taps[i].place = place;
        place += work->taps[i].count;
    }
}

/* Add a line, times its share, to that which is made. Compilers make vectors of plain loops. */
static inline void edgeseg_add_floats(float *__restrict row, const float *__restrict of, int count,
    float share, int is_first)
{
    if (is_first)
        for (int i = 0; i < count; ++i) row[i] = share * of[i];
    else
        for (int i = 0; i < count; ++i) row[i] += share * of[i];
}

static inline void edgeseg_add_bytes(float *__restrict row, const uint8_t *__restrict of,
    int count, float share, int is_first)
{
    if (is_first)
        for (int i = 0; i < count; ++i) row[i] = share * (float)of[i];
    else
        for (int i = 0; i < count; ++i) row[i] += share * (float)of[i];
}

/* A value of 8 or 16 bits, the low byte first. */
static inline uint32_t edgeseg_value(const uint8_t *of, size_t index, int is_deep)
{
    return is_deep ? of[2 * index] | (uint32_t)of[2 * index + 1] << 8 : of[index];
}

static inline float edgeseg_cut(uint32_t value, int is_deep)
{
    return (float)(is_deep && value > EDGESEG_WHITE ? EDGESEG_WHITE : value);
}

static inline void edgeseg_add_words(float *row, const uint8_t *of, int count, float share,
    int is_first)
{
    for (int i = 0; i < count; ++i)
        row[i] = (is_first ? 0.0f : row[i])
            + share * edgeseg_cut(edgeseg_value(of, (size_t)i, 1), 1);
}

/* Values of a pixel in a format; 0 where the network takes no such pictures. */
static inline int edgeseg_picture_channels(int format)
{
    switch (format & ~EDGESEG_16_BITS) {
#if EDGESEG_IMAGE_CHANNELS == 1 || EDGESEG_IMAGE_CHANNELS == 3
    case EDGESEG_RGB:
    case EDGESEG_BGR: return 3;
    case EDGESEG_RGBA:
    case EDGESEG_BGRA: return 4;
    case EDGESEG_GREY: return 1;
#endif
    case EDGESEG_BANDS: return EDGESEG_IMAGE_CHANNELS;
    default: return 0;
    }
}

/* Add a row of the picture, times its share, to that which is made. */
static inline void edgeseg_add_row(struct edgeseg_work *work, const uint8_t *of, int format,
    int width, float share, int is_first)
{
    const int is_deep = (format & EDGESEG_16_BITS) != 0;
    const int channels = edgeseg_picture_channels(format);
    if (EDGESEG_IMAGE_CHANNELS == 1 && channels > 1) {
        /* Brightness by ITU-R BT.601, rounded to a whole number. */
        const int order = format & ~EDGESEG_16_BITS;
        const size_t red = order == EDGESEG_BGR || order == EDGESEG_BGRA ? 2 : 0;
        for (int x = 0; x < width; ++x) {
            const size_t first = (size_t)x * (size_t)channels;
            const uint32_t sum = 19595u * edgeseg_value(of, first + red, is_deep)
                + 38470u * edgeseg_value(of, first + 1, is_deep)
                + 7471u * edgeseg_value(of, first + 2 - red, is_deep);
            work->grey[x] = edgeseg_cut((sum + 32768u) >> 16, is_deep);
        }
        edgeseg_add_floats(work->row, work->grey, width, share, is_first);
    } else if (is_deep) edgeseg_add_words(work->row, of, channels * width, share, is_first);
    else edgeseg_add_bytes(work->row, of, channels * width, share, is_first);
}

/* Bring the values of a row that was made into the network's order. */
static inline void edgeseg_arrange(float *row, int format, int width)
{
#if EDGESEG_IMAGE_CHANNELS == 3
    switch (format & ~EDGESEG_16_BITS) {
    case EDGESEG_RGBA:
        for (int x = 0; x < width; ++x)
            for (int k = 0; k < 3; ++k) row[3 * x + k] = row[4 * x + k];
        break;
    case EDGESEG_BGR:
    case EDGESEG_BGRA: {
        const int step = (format & ~EDGESEG_16_BITS) == EDGESEG_BGR ? 3 : 4;
        for (int x = 0; x < width; ++x) {
            const float blue = row[step * x], green = row[step * x + 1], red = row[step * x + 2];
            row[3 * x] = red;
            row[3 * x + 1] = green;
            row[3 * x + 2] = blue;
        }
        break;
    }
    case EDGESEG_GREY:
        for (int x = width - 1; x >= 0; --x)
            row[3 * x] = row[3 * x + 1] = row[3 * x + 2] = row[x];
        break;
    default: break;
    }
#else
    (void)row, (void)format, (void)width;
#endif
}

/* From a picture of any size to the input tensor. See edgeseg_check_picture for its sizes. */
static inline void edgeseg_picture_in(struct edgeseg_work *work, const void *pixels, int format,
    int height, int width, size_t row_bytes, float *tensor)
{
    const int C = EDGESEG_IMAGE_CHANNELS, H = EDGESEG_IMAGE_HEIGHT, W = EDGESEG_IMAGE_WIDTH;
    const uint8_t *const bytes = (const uint8_t *)pixels;
    const int is_deep = (format & EDGESEG_16_BITS) != 0;
    const float unit = (float)(EDGESEG_WHITE / 255.0);
    float least = FLT_MAX, most = -FLT_MAX;
    edgeseg_taps_of_line(work, width, W);
    for (int y = 0; y < H; ++y) {
        struct edgeseg_taps rows = {y, 1, 0};
        work->down[0] = 1.0f;
        if (height != H) rows = edgeseg_taps_of(y, height, H, work->down);
        for (int i = 0; i < rows.count; ++i)
            edgeseg_add_row(work, bytes + (size_t)(rows.first + i) * row_bytes, format, width,
                work->down[i], i == 0);
        edgeseg_arrange(work->row, format, width);
        for (int x = 0; x < W; ++x) {
            const struct edgeseg_taps taps = work->taps[x];
            const float *p = work->row + C * taps.first, *share = work->shares + taps.place;
            float sums[EDGESEG_IMAGE_CHANNELS] = {0.0f};
            for (int i = 0; i < taps.count; ++i, p += C)
                for (int k = 0; k < C; ++k) sums[k] += share[i] * p[k];
            for (int k = 0; k < C; ++k) {
                const float sum = is_deep ? sums[k] / unit : sums[k];
                tensor[EDGESEG_IMAGE_AT(k, y, x)] = sum;
                least = sum < least ? sum : least;
                most = sum > most ? sum : most;
            }
        }
    }
    @NORMALIZATION@
    for (int k = 0; k < C; ++k)
        for (int y = 0; y < H; ++y)
            for (int x = 0; x < W; ++x) {
                const float value = tensor[EDGESEG_IMAGE_AT(k, y, x)];
                tensor[EDGESEG_IMAGE_AT(k, y, x)] = @NORMALIZED@;
            }
}

/* From the output tensor to classes and probabilities at a picture's size, of which each may be
 * missing. Returns 0 where a probability is no number. */
static inline int edgeseg_picture_out(struct edgeseg_work *work, const float *tensor, int height,
    int width, uint8_t *labels, float *probabilities)
{
    const int C = EDGESEG_MASK_CHANNELS, H = EDGESEG_MASK_HEIGHT, W = EDGESEG_MASK_WIDTH;
    /* A row of the tensor is a line for each channel, or one with all of them side by side. */
    const int lines = EDGESEG_MASK_STEP == 1 ? C : 1, size = C * W / lines;
    const int plane = EDGESEG_MASK_STEP == 1 ? W : 1, step = EDGESEG_MASK_STEP;
    for (int k = 0; k < C; ++k)
        for (int y = 0; y < H; ++y)
            for (int x = 0; x < W; ++x) {
                /* By its bits: -ffast-math takes all numbers for finite. */
                const union {
                    float value;
                    uint32_t bits;
                } one = {tensor[EDGESEG_MASK_AT(k, y, x)]};
                if ((one.bits & 0x7f800000u) == 0x7f800000u) return 0;
            }
    edgeseg_taps_of_line(work, W, width);
    for (int y = 0; y < height; ++y) {
        struct edgeseg_taps rows = {y, 1, 0};
        work->down[0] = 1.0f;
        if (height != H) rows = edgeseg_taps_of(y, H, height, work->down);
        for (int k = 0; k < lines; ++k)
            for (int i = 0; i < rows.count; ++i)
                edgeseg_add_floats(work->row + k * size,
                    tensor + EDGESEG_MASK_AT(k, rows.first + i, 0), size, work->down[i], i == 0);
        for (int x = 0; x < width; ++x) {
            const struct edgeseg_taps taps = work->taps[x];
            const float *const shares = work->shares + taps.place;
            const size_t pixel = (size_t)y * (size_t)width + (size_t)x;
            float best = 0.0f;
            int label = 0;
            for (int k = 0; k < C; ++k) {
                const float *p = work->row + k * plane + taps.first * step;
                float value = 0.0f;
                for (int i = 0; i < taps.count; ++i) value += shares[i] * p[i * step];
                if (C == 1) label = value >= EDGESEG_THRESHOLD;
                else if (k == 0 || value > best) {
                    best = value;
                    label = k;
                }
                if (probabilities)
                    probabilities[(size_t)k * (size_t)height * (size_t)width + pixel] = value;
            }
            if (labels) labels[pixel] = (uint8_t)label;
        }
    }
    return 1;
}

/* EDGESEG_OK, or what is wrong with a picture. Sets `row_bytes` where it is 0. */
static inline int edgeseg_check_picture(int format, int height, int width, size_t *row_bytes)
{
    const int channels = edgeseg_picture_channels(format);
    if (channels == 0) return EDGESEG_BAD_FORMAT;
    if (height < 1 || width < 1) return EDGESEG_BAD_IMAGE;
    if (height > EDGESEG_LONGEST_SIDE || width > EDGESEG_LONGEST_SIDE) return EDGESEG_BAD_IMAGE;
    const size_t least = (size_t)channels * (size_t)width * (format & EDGESEG_16_BITS ? 2u : 1u);
    if (*row_bytes == 0) *row_bytes = least;
    return *row_bytes < least ? EDGESEG_BAD_IMAGE : EDGESEG_OK;
}
