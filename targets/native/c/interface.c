/* What stands behind edgeseg.h; it follows the text of the network and of its pictures. */
#ifdef _WIN32
#define EXPORT __declspec(dllexport)
int _fltused; /* compilers ask for it where floats are used */
int DllMainCRTStartup(void *library, unsigned reason, void *reserved)
{
    (void)library, (void)reason, (void)reserved;
    return 1;
}
#else
#define EXPORT __attribute__((visibility("default")))
#endif
#define LIVES 0x7365676f65646765u
#define MOST_THREADS @MOST_THREADS@

struct edgeseg_network {
    uint64_t state;
    const float *weights;
    float *arena, *strips;
    struct edgeseg_work *work;
    struct team team;
    int32_t threads;
};

EXPORT const char *edgeseg_error_text(int code)
{
    switch (code) {
    case 0: return "all is well";
    case 1: return "the memory is missing, too small or not aligned to 64 bytes";
    case 2: return "these are no weights, or they are damaged";
    case 3: return "these are the weights of another network or of another version";
    case 4: return "the handle, the image or the mask is missing";
    case 5: return "a side of the image is below 1 or too long";
    case 6: return "the network gives NaN or infinity for this image";
    case 7: return "the network was built without saying how images are prepared";
    case 8: return "this number of threads, or this thread, is none of the handle's";
    case 9: return "the network takes no pictures of this format";
    default: return "an unknown error";
    }
}

EXPORT int edgeseg_version(void) { return @VERSION@; }

EXPORT void edgeseg_sizes(int32_t image[3], int32_t mask[3])
{
    static const int32_t images[3] = {@IMAGE@}, masks[3] = {@MASK@};
    for (int i = 0; i < 3; ++i) {
        image[i] = images[i];
        mask[i] = masks[i];
    }
}

EXPORT size_t edgeseg_memory_bytes(int32_t threads)
{
    const size_t one = 64 + @ARENA@ + PICTURE_BYTES;
    return threads < 1 || threads > MOST_THREADS ? 0 : one + threads * (size_t)@STRIPS@;
}

EXPORT int edgeseg_create(void *memory, size_t memory_bytes, int32_t threads, const void *weights,
    size_t weights_bytes, struct edgeseg_network **network)
{
    const struct {
        char magic[4];
        uint32_t version;
        uint64_t key, count, sum, rest[4];
    } *head = weights;
    if (!network) return 4;
    *network = 0;
    if (threads < 1 || threads > MOST_THREADS) return 8;
    if (!memory || (uintptr_t)memory % 64 || memory_bytes < edgeseg_memory_bytes(threads)) return 1;
    if (!weights || (uintptr_t)weights % 16 || weights_bytes < @HEADER@) return 2;
    if (head->magic[0] != 'E' || head->magic[1] != 'S' || head->magic[2] != 'N'
        || head->magic[3] != 'W')
        return 2;
    if (head->version != @VERSION@ || head->key != @KEY@) return 3;
    if (head->count != @COUNT@ || weights_bytes != @HEADER@ + 4 * (size_t)@COUNT@) return 2;
    const uint64_t *words = (const uint64_t *)((const char *)weights + @HEADER@);
    uint64_t sum = 0xcbf29ce484222325u;
    for (size_t i = 0; i < @COUNT@ / 2; ++i) {
        sum = (sum ^ words[i]) * 0x100000001b3u;
        sum ^= sum >> 32;
    }
    if (sum != head->sum || head->rest[0] || head->rest[1] || head->rest[2] || head->rest[3])
        return 2;
    struct edgeseg_network *made = memory;
    made->weights = (const float *)words;
    made->arena = (float *)((char *)memory + 64);
    made->strips = made->arena + @ARENA@ / 4;
    made->work = (struct edgeseg_work *)(made->strips + threads * (size_t)(@STRIPS@ / 4));
    made->team = (struct team){0, 0};
    made->threads = threads;
    const size_t floats = (@ARENA@ + threads * (size_t)@STRIPS@) / 4;
    for (size_t i = 0; i < floats; ++i) made->arena[i] = 0.0f;
    made->state = LIVES;
    *network = made;
    return 0;
}

EXPORT int edgeseg_run(struct edgeseg_network *network, const float *image, float *mask)
{
    if (!network || network->state != LIVES || !image || !mask) return 4;
    network_put(network->arena, image);
    network_run(network->arena, network->weights, network->strips, &network->team, 0, 1);
    network_get(network->arena, mask);
    return 0;
}

EXPORT int edgeseg_run_thread(struct edgeseg_network *network, int32_t thread, const float *image,
    float *mask)
{
    if (!network || network->state != LIVES || !image || !mask) return 4;
    if (thread < 0 || thread >= network->threads) return 8;
    if (thread == 0) network_put(network->arena, image);
    network_run(network->arena, network->weights, network->strips + thread * (size_t)(@STRIPS@ / 4),
        &network->team, thread, network->threads);
    if (thread == 0) network_get(network->arena, mask);
    return 0;
}

EXPORT int edgeseg_run_pixels(struct edgeseg_network *network, const void *pixels, int32_t format,
    int32_t height, int32_t width, size_t row_bytes, uint8_t *labels, float *probabilities)
{
    if (!network || network->state != LIVES || !pixels) return 4;
    const int code = edgeseg_check_picture(format, height, width, &row_bytes);
    if (code) return code;
    edgeseg_picture_in(network->work, pixels, format, height, width, row_bytes, network->arena);
    network_run(network->arena, network->weights, network->strips, &network->team, 0, 1);
    return edgeseg_picture_out(network->work, network->arena, height, width, labels, probabilities)
        ? 0
        : 6;
}

EXPORT int edgeseg_run_picture(struct edgeseg_network *network, const uint8_t *rgb, int32_t height,
    int32_t width, size_t row_bytes, uint8_t *labels)
{
    if (!labels) return 4;
    return edgeseg_run_pixels(network, rgb, EDGESEG_BANDS, height, width, row_bytes, labels, 0);
}

EXPORT void edgeseg_destroy(struct edgeseg_network *network)
{
    if (network) network->state = 0;
}
