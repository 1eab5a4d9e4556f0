"""The C interface of a compiled network: a header, and what stands behind it."""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Sequence

import numpy as np

from .ir import Program
from .source import Source

VERSION = 1
MAGIC = b"ESNW"
# Magic, version, network, floats and their checksum; bytes and CRC-32 of library and header.
HEADER = struct.Struct("<4sIQQQQI20x")
ALIGNMENT = 64


def network_key(source: Source) -> int:
    """What ties weights to the code that reads them."""
    return int.from_bytes(hashlib.sha256(source.text.encode()).digest()[:8], "little")


def checksum(content: bytes) -> int:
    """FNV-1a over 64-bit words, as `checksum` in C computes it."""
    total = 0xCBF29CE484222325
    for word in np.frombuffer(content, "<u8").tolist():
        total = ((total ^ word) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return total


def weights_file(source: Source, beside: Sequence[bytes]) -> bytes:
    """What `edgeseg_create` takes.

    Args:
        beside: Content of the library and the header, so that who loads them sees whether they are
            whole.
    """
    content = source.weights.astype("<f4").tobytes()
    count = source.weights.size
    known = (MAGIC, VERSION, network_key(source), count, checksum(content))
    others = b"".join(beside)
    return HEADER.pack(*known, len(others), zlib.crc32(others)) + content


def header(program: Program) -> str:
    """The header file, which says what the functions do."""
    sizes = {"IMAGE": program.image.shape, "MASK": program.mask.shape}
    lines = [
        f"#define EDGESEG_{name}_{axis} {size}"
        for name, shape in sizes.items()
        for axis, size in zip(("CHANNELS", "HEIGHT", "WIDTH"), shape, strict=True)
    ]
    return HEADER_TEXT.replace("@SIZES@", "\n".join(lines)).replace("@VERSION@", str(VERSION))


def implementation(program: Program, source: Source) -> str:
    """The C text behind the header; it follows the network's."""
    arena = -(-4 * source.arena_floats // ALIGNMENT) * ALIGNMENT
    values = {
        "@KEY@": f"0x{network_key(source):016x}u",
        "@COUNT@": str(source.weights.size),
        "@ARENA@": str(arena),
        "@HEADER@": str(HEADER.size),
        "@IMAGE@": ", ".join(map(str, program.image.shape)),
        "@MASK@": ", ".join(map(str, program.mask.shape)),
        "@VERSION@": str(VERSION),
    }
    text = IMPLEMENTATION_TEXT
    for name, value in values.items():
        text = text.replace(name, value)
    return text


HEADER_TEXT = """\
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
};

typedef struct edgeseg_network edgeseg_network;

/* What such a code means, in words. */
const char *edgeseg_error_text(int code);

/* EDGESEG_VERSION of the library. */
int edgeseg_version(void);

/* Channels, height and width of an image and of a mask, as above. */
void edgeseg_sizes(int32_t image[3], int32_t mask[3]);

/* Bytes of memory that a handle needs. */
size_t edgeseg_memory_bytes(void);

/* Make a handle in `memory`, which must be aligned to 64 bytes and stay until the handle is
 * destroyed; so must `weights`, the content of the file of weights, aligned to 16 bytes. */
int edgeseg_create(void *memory, size_t memory_bytes, const void *weights, size_t weights_bytes,
    edgeseg_network **network);

/* Probabilities of an image. Both are planes of channels, rows and columns, without gaps. */
int edgeseg_run(edgeseg_network *network, const float *image, float *mask);

/* Forget a handle. Its memory is the caller's again. */
void edgeseg_destroy(edgeseg_network *network);

#ifdef __cplusplus
}
#endif
#endif
"""

IMPLEMENTATION_TEXT = """\
#define EXPORT __attribute__((visibility("default")))
#define LIVES 0x7365676f65646765u

/* Compilers call these by themselves, for arrays that begin with zeros. */
__attribute__((weak)) void *memset(void *to, int value, size_t count)
{
    unsigned char *p = to;
    while (count--) *p++ = (unsigned char)value;
    return to;
}
__attribute__((weak)) void *memcpy(void *restrict to, const void *restrict of, size_t count)
{
    unsigned char *p = to;
    const unsigned char *q = of;
    while (count--) *p++ = *q++;
    return to;
}

struct edgeseg_network {
    uint64_t state;
    const float *weights;
    float *arena;
};

EXPORT const char *edgeseg_error_text(int code)
{
    switch (code) {
    case 0: return "all is well";
    case 1: return "the memory is missing, too small or not aligned to 64 bytes";
    case 2: return "these are no weights, or they are damaged";
    case 3: return "these are the weights of another network or of another version";
    case 4: return "the handle, the image or the mask is missing";
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

EXPORT size_t edgeseg_memory_bytes(void) { return 64 + @ARENA@; }

EXPORT int edgeseg_create(void *memory, size_t memory_bytes, const void *weights,
    size_t weights_bytes, struct edgeseg_network **network)
{
    const struct {
        char magic[4];
        uint32_t version;
        uint64_t key, count, sum, rest[4];
    } *head = weights;
    if (!network) return 4;
    *network = 0;
    if (!memory || (uintptr_t)memory % 64 || memory_bytes < 64 + @ARENA@) return 1;
    if (!weights || (uintptr_t)weights % 16 || weights_bytes < @HEADER@) return 2;
    if (head->magic[0] != 'E' || head->magic[1] != 'S' || head->magic[2] != 'N'
        || head->magic[3] != 'W')
        return 2;
    if (head->version != @VERSION@ || head->key != @KEY@) return 3;
    if (head->count != @COUNT@ || weights_bytes != @HEADER@ + 4 * (size_t)@COUNT@) return 2;
    const uint64_t *words = (const uint64_t *)((const char *)weights + @HEADER@);
    uint64_t sum = 0xcbf29ce484222325u;
    for (size_t i = 0; i < @COUNT@ / 2; ++i) sum = (sum ^ words[i]) * 0x100000001b3u;
    if (sum != head->sum) return 2;
    struct edgeseg_network *made = memory;
    made->weights = (const float *)words;
    made->arena = (float *)((char *)memory + 64);
    for (size_t i = 0; i < @ARENA@ / 4; ++i) made->arena[i] = 0.0f;
    made->state = LIVES;
    *network = made;
    return 0;
}

EXPORT int edgeseg_run(struct edgeseg_network *network, const float *image, float *mask)
{
    if (!network || network->state != LIVES || !image || !mask) return 4;
    edgeseg_network_run(network->arena, network->weights, image, mask);
    return 0;
}

EXPORT void edgeseg_destroy(struct edgeseg_network *network)
{
    if (network) network->state = 0;
}
"""
