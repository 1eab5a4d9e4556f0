/* What generated code calls: vectors of 4, 8 and 16 floats and functions of them.
 *
 * Vector extensions of GCC and Clang only, and no call of the C library. A compiler splits a vector
 * that is wider than the machine's registers. */
#include <stddef.h>
#include <stdint.h>
#if defined(__SSE2__) && (!defined(__clang__) || defined(__AVX512VNNI__))
#include <immintrin.h>
#endif
#if defined(__ARM_FEATURE_DOTPROD)
#include <arm_neon.h>
#endif

#define INLINE static inline __attribute__((always_inline, unused))
#define STEP static __attribute__((noinline))
#if defined(__clang__)
#define AS_WRITTEN _Pragma("clang loop unroll(disable)") /* loops whose body is long enough */
#else
#define AS_WRITTEN
#endif

/* Where the share of a thread begins. */
INLINE int share(int size, int granule, int part, int parts)
{
    int begin = (size + granule - 1) / granule * part / parts * granule;
    return begin < size ? begin : size;
}

#define PATIENCE 2000 /* turns of a waiting thread before it gives its core away */
INLINE void pause(void)
{
#if defined(__SSE2__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* sched_yield, where threads outnumber cores. */
INLINE void let_others_run(void)
{
#if defined(__linux__) && defined(__x86_64__)
    long number = 24;
    __asm__ volatile("syscall" : "+a"(number) : : "rcx", "r11", "memory");
#elif defined(__linux__) && defined(__aarch64__)
    register long number __asm__("x8") = 124;
    register long result __asm__("x0");
    __asm__ volatile("svc 0" : "=r"(result) : "r"(number) : "memory");
#endif
}

/* Threads that run a network together. */
struct team {
    int32_t waiting, round;
};

INLINE void wait_for_others(struct team *team, int parts)
{
    if (parts == 1) return;
    int32_t round = __atomic_load_n(&team->round, __ATOMIC_ACQUIRE);
    if (__atomic_add_fetch(&team->waiting, 1, __ATOMIC_ACQ_REL) == parts) {
        __atomic_store_n(&team->waiting, 0, __ATOMIC_RELAXED);
        __atomic_store_n(&team->round, round + 1, __ATOMIC_RELEASE);
        return;
    }
    for (int i = 0; __atomic_load_n(&team->round, __ATOMIC_ACQUIRE) == round; ++i)
        if (i < PATIENCE) pause();
        else let_others_run();
}

/* Of Phi(x) - 1/2 = x * P(2 (x / BOUND)^2 - 1), Phi the normal distribution, |x| <= BOUND: fitted
 * to the smallest largest error of x * Phi(x), 3e-7. */
#define PHI_BOUND 5.4f
#define PHI_COEFFICIENTS                                                                       \
    { 0.13092811405658722f, -0.06532768905162811f, 0.048498596996068954f,                      \
      -0.039219558238983154f, 0.032139599323272705f, -0.025621624663472176f,                   \
      0.019457796588540077f, -0.014477277174592018f, 0.010346522554755211f,                    \
      -0.005702930502593517f, 0.00237649935297668f, -0.002130964770913124f,                    \
      0.002018751110881567f, -0.0006932600517757237f }

#define VECTORS(N)                                                                             \
    typedef float F##N __attribute__((vector_size(4 * N)));                                    \
    typedef int32_t I##N __attribute__((vector_size(4 * N)));                                  \
    typedef float U##N __attribute__((vector_size(4 * N), aligned(4), may_alias));             \
    INLINE F##N load##N(const float *p) { return *(const U##N *)p; }                           \
    INLINE void store##N(float *p, F##N v) { *(U##N *)p = v; }                                 \
    INLINE F##N splat##N(float s) { return s - (F##N){0}; }                                    \
    INLINE F##N choose##N(I##N m, F##N a, F##N b)                                              \
    {                                                                                          \
        return (F##N)((m & (I##N)a) | (~m & (I##N)b));                                         \
    }

VECTORS(4)
VECTORS(8)
VECTORS(16)

/* Of two, NaN of the second is kept. */
#define MINMAX(N)                                                                              \
    INLINE F##N max##N(F##N a, F##N b) { return choose##N(a > b, a, b); }                      \
    INLINE F##N min##N(F##N a, F##N b) { return choose##N(a < b, a, b); }
#if defined(__GNUC__) && !defined(__clang__) && defined(__SSE2__)
/* GCC does not see a maximum in comparing and choosing. */
INLINE F4 max4(F4 a, F4 b) { return (F4)_mm_max_ps((__m128)a, (__m128)b); }
INLINE F4 min4(F4 a, F4 b) { return (F4)_mm_min_ps((__m128)a, (__m128)b); }
#else
MINMAX(4)
#endif
#if defined(__GNUC__) && !defined(__clang__) && defined(__AVX__)
INLINE F8 max8(F8 a, F8 b) { return (F8)_mm256_max_ps((__m256)a, (__m256)b); }
INLINE F8 min8(F8 a, F8 b) { return (F8)_mm256_min_ps((__m256)a, (__m256)b); }
#else
MINMAX(8)
#endif
#if defined(__GNUC__) && !defined(__clang__) && defined(__AVX512F__)
INLINE F16 max16(F16 a, F16 b) { return (F16)_mm512_max_ps((__m512)a, (__m512)b); }
INLINE F16 min16(F16 a, F16 b) { return (F16)_mm512_min_ps((__m512)a, (__m512)b); }
#else
MINMAX(16)
#endif

INLINE float sum4(F4 v) { return (v[0] + v[2]) + (v[1] + v[3]); }
INLINE float sum8(F8 v)
{
    F4 low = __builtin_shufflevector(v, v, 0, 1, 2, 3);
    F4 high = __builtin_shufflevector(v, v, 4, 5, 6, 7);
    return sum4(low + high);
}
INLINE float sum16(F16 v)
{
    F8 low = __builtin_shufflevector(v, v, 0, 1, 2, 3, 4, 5, 6, 7);
    F8 high = __builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15);
    return sum8(low + high);
}

/* Elements 0, 2, 4, ... of the two one behind the other, and 1, 3, 5, ... */
INLINE F4 even4(F4 a, F4 b) { return __builtin_shufflevector(a, b, 0, 2, 4, 6); }
INLINE F4 odd4(F4 a, F4 b) { return __builtin_shufflevector(a, b, 1, 3, 5, 7); }
INLINE F8 even8(F8 a, F8 b)
{
    return __builtin_shufflevector(a, b, 0, 2, 4, 6, 8, 10, 12, 14);
}
INLINE F8 odd8(F8 a, F8 b)
{
    return __builtin_shufflevector(a, b, 1, 3, 5, 7, 9, 11, 13, 15);
}
INLINE F16 even16(F16 a, F16 b)
{
    return __builtin_shufflevector(a, b, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
}
INLINE F16 odd16(F16 a, F16 b)
{
    return __builtin_shufflevector(a, b, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
}

#define FUNCTIONS(N)                                                                           \
    INLINE F##N strided##N(const float *p, int step)                                           \
    {                                                                                          \
        F##N v;                                                                                \
        for (int i = 0; i < N; ++i) v[i] = p[i * step];                                        \
        return v;                                                                              \
    }                                                                                          \
    INLINE F##N pairs##N(const float *p) { return even##N(load##N(p), load##N(p + N)); }       \
    INLINE F##N neg##N(F##N x) { return -x; }                                                  \
    INLINE F##N add##N(F##N a, F##N b) { return a + b; }                                       \
    INLINE F##N sub##N(F##N a, F##N b) { return a - b; }                                       \
    INLINE F##N mul##N(F##N a, F##N b) { return a * b; }                                       \
    INLINE F##N div##N(F##N a, F##N b) { return a / b; }                                       \
    INLINE F##N reciprocal##N(F##N x) { return 1.0f / x; }                                     \
    INLINE F##N relu##N(F##N x) { return max##N(splat##N(0.0f), x); }                          \
    INLINE F##N abs##N(F##N x) { return (F##N)((I##N)x & 0x7fffffff); }                        \
    INLINE F##N prelu##N(F##N x, F##N slope) { return choose##N(x > 0.0f, x, x * slope); }     \
    INLINE F##N clip##N(F##N x, float bound)                                                   \
    {                                                                                          \
        return min##N(splat##N(bound), max##N(splat##N(-bound), x));                           \
    }                                                                                          \
    /* Newton's iteration from a guess at half the exponent; x > 0. */                         \
    INLINE F##N rsqrt##N(F##N x)                                                               \
    {                                                                                          \
        F##N y = (F##N)(0x5f3759df - ((I##N)x >> 1)), half = 0.5f * x;                         \
        y = y * (1.5f - half * y * y);                                                         \
        y = y * (1.5f - half * y * y);                                                         \
        y = y * (1.5f - half * y * y);                                                         \
        return y + 0.5f * y * (1.0f - x * y * y);                                              \
    }                                                                                          \
    INLINE F##N sqrt##N(F##N x)                                                                \
    {                                                                                          \
        F##N root = x * rsqrt##N(x);                                                           \
        return choose##N(x == 0.0f, x, choose##N(x < 0.0f, (x - x) / (x - x), root));          \
    }                                                                                          \
    /* 2^n e^r, |r| <= ln(2) / 2. */                                                           \
    INLINE F##N exp##N(F##N x)                                                                 \
    {                                                                                          \
        F##N v = min##N(splat##N(88.7f), max##N(splat##N(-87.3f), x));                         \
        F##N n = v * 1.44269504f + 12582912.0f;                                                \
        I##N power = (I##N)n - 0x4b400000;                                                     \
        n = n - 12582912.0f;                                                                   \
        F##N r = v - n * 0.693145752f;                                                         \
        r = r - n * 1.42860677e-6f;                                                            \
        F##N p = r * 1.9875691500e-4f + 1.3981999507e-3f;                                      \
        p = p * r + 8.3334519073e-3f;                                                          \
        p = p * r + 4.1665795894e-2f;                                                          \
        p = p * r + 1.6666665459e-1f;                                                          \
        p = p * r + 5.0000001201e-1f;                                                          \
        p = p * r * r + r + 1.0f;                                                              \
        /* In two factors: 2^128 is no float. */                                               \
        I##N some = power >> 1;                                                                \
        return p * (F##N)((some + 127) << 23) * (F##N)((power - some + 127) << 23);            \
    }                                                                                          \
    INLINE F##N sigmoid##N(F##N x) { return 1.0f / (1.0f + exp##N(-x)); }                      \
    INLINE F##N tanh##N(F##N x)                                                                \
    {                                                                                          \
        /* Near zero e^2x - 1 loses digits: the odd series is taken. */                        \
        F##N s = x * x, v = clip##N(x, 9.1f);                                                  \
        F##N e = exp##N(v + v);                                                                \
        F##N far = (e - 1.0f) / (e + 1.0f);                                                    \
        F##N near = x * (1.0f + s * (-1.0f / 3 + s * (2.0f / 15 + s * (-17.0f / 315))));       \
        return choose##N(s < 0.04f, near, far);                                                \
    }                                                                                          \
    INLINE F##N phi##N(F##N x)                                                                 \
    {                                                                                          \
        static const float c[] = PHI_COEFFICIENTS;                                             \
        F##N v = clip##N(x, PHI_BOUND);                                                        \
        F##N u = v * v * (2.0f / (PHI_BOUND * PHI_BOUND)) - 1.0f;                              \
        F##N p = splat##N(c[13]);                                                              \
        for (int i = 12; i >= 0; --i) p = p * u + c[i];                                        \
        return v * p;                                                                          \
    }                                                                                          \
    INLINE F##N gelu##N(F##N x) { return x * (0.5f + phi##N(x)); }                             \
    INLINE F##N erf##N(F##N x) { return 2.0f * phi##N(x * 1.41421356f); }                      \
    INLINE F##N gelu_tanh##N(F##N x)                                                           \
    {                                                                                          \
        return x * sigmoid##N(1.59576912f * (x + 0.044715f * x * x * x));                      \
    }                                                                                          \
    INLINE F##N log##N(F##N x)                                                                 \
    {                                                                                          \
        /* x = 2^n m with m in [1/sqrt(2), sqrt(2)); ln(m) by s = (m - 1) / (m + 1). */        \
        I##N n = ((I##N)x - 0x3f3504f3) >> 23;                                                 \
        F##N m = (F##N)((I##N)x - (n << 23)), s = (m - 1.0f) / (m + 1.0f), q = s * s;          \
        F##N series = 1.0f + q * (1.0f / 3 + q * (0.2f + q * (1.0f / 7 + q * (1.0f / 9))));    \
        F##N y = 2.0f * s * series + __builtin_convertvector(n, F##N) * 0.693147181f;          \
        return choose##N(x > 0.0f, y, choose##N(x == 0.0f, -1.0f / (x * x), (x - x) / (x - x)));\
    }                                                                                          \
    INLINE F##N softplus##N(F##N x)                                                            \
    {                                                                                          \
        return max##N(splat##N(0.0f), x) + log##N(1.0f + exp##N(-abs##N(x)));                  \
    }                                                                                          \
    INLINE F##N mish##N(F##N x) { return x * tanh##N(softplus##N(x)); }                        \
    INLINE F##N elu##N(F##N x, F##N alpha)                                                     \
    {                                                                                          \
        F##N small = x + 0.5f * x * x * (1.0f + x * (1.0f / 3));                               \
        F##N below = choose##N(x > -0.01f, small, exp##N(x) - 1.0f);                           \
        return choose##N(x > 0.0f, x, alpha * below);                                          \
    }                                                                                          \
    /* What is true is one, and what is not is zero. */                                        \
    INLINE F##N truth##N(I##N m) { return (F##N)(m & (I##N)splat##N(1.0f)); }                  \
    INLINE F##N greater##N(F##N a, F##N b) { return truth##N(a > b); }                         \
    INLINE F##N at_least##N(F##N a, F##N b) { return truth##N(a >= b); }                       \
    INLINE F##N equal##N(F##N a, F##N b) { return truth##N(a == b); }                          \
    INLINE F##N select##N(F##N c, F##N a, F##N b) { return choose##N(c != 0.0f, a, b); }       \
    INLINE F##N sign##N(F##N x)                                                                \
    {                                                                                          \
        return choose##N(x == x, truth##N(x > 0.0f) - truth##N(x < 0.0f), x);                  \
    }                                                                                          \
    /* Beyond 2^23 all floats are integers; half goes to the even one. */                      \
    INLINE F##N round##N(F##N x)                                                               \
    {                                                                                          \
        F##N near = (abs##N(x) + 8388608.0f) - 8388608.0f;                                     \
        near = (F##N)((I##N)near | ((I##N)x & (int32_t)0x80000000));                           \
        return choose##N(abs##N(x) < 8388608.0f, near, x);                                     \
    }                                                                                          \
    INLINE F##N floor##N(F##N x)                                                               \
    {                                                                                          \
        F##N near = round##N(x);                                                               \
        return near - truth##N(near > x);                                                      \
    }                                                                                          \
    INLINE F##N pow##N(F##N x, F##N exponent) { return exp##N(exponent * log##N(x)); }         \
    INLINE F##N hard_swish##N(F##N x)                                                          \
    {                                                                                          \
        F##N ramp = max##N(splat##N(0.0f), x * (1.0f / 6) + 0.5f);                             \
        return x * min##N(splat##N(1.0f), ramp);                                               \
    }

FUNCTIONS(4)
FUNCTIONS(8)
FUNCTIONS(16)

/* Codes: four in a word, without a sign; those of weights have one. */
typedef int32_t word __attribute__((may_alias));
#define CODES(N)                                                                               \
    INLINE I##N words##N(const float *p) { return *(const word *)p - (I##N){0}; }              \
    INLINE I##N code##N(F##N x, float gain, float zero)                                        \
    {                                                                                          \
        /* Of a float beyond 2^23, the last bits are the nearest integer's. */                 \
        F##N v = x * gain + (zero + 12582912.0f);                                              \
        v = min##N(splat##N(12582912.0f + 255.0f), max##N(splat##N(12582912.0f), v));          \
        return (I##N)v & 255;                                                                  \
    }
CODES(4)
CODES(8)
CODES(16)
#if defined(__AVX512VNNI__)
INLINE I4 dot4(I4 a, F4 v, I4 w)
{
    return (I4)_mm_dpbusd_epi32((__m128i)a, (__m128i)v, (__m128i)w);
}
INLINE I8 dot8(I8 a, F8 v, I8 w)
{
    return (I8)_mm256_dpbusd_epi32((__m256i)a, (__m256i)v, (__m256i)w);
}
INLINE I16 dot16(I16 a, F16 v, I16 w)
{
    return (I16)_mm512_dpbusd_epi32((__m512i)a, (__m512i)v, (__m512i)w);
}
#elif defined(__ARM_FEATURE_DOTPROD)
/* The product of codes with a sign; what the other one lacks is in the weights' sums. */
INLINE I4 dot4(I4 a, F4 v, I4 w)
{
    int8x16_t codes = vreinterpretq_s8_s32((int32x4_t)((I4)v ^ (int32_t)0x80808080));
    return (I4)vdotq_s32((int32x4_t)a, codes, vreinterpretq_s8_s32((int32x4_t)w));
}
#endif

static __attribute__((noinline, unused)) void fill(float *p, int count, int32_t value)
{
    for (int i = 0; i < count; ++i) ((word *)p)[i] = value;
}

static __attribute__((noinline, unused)) void fill_rows(float *p, int channels, int plane,
                                                        int pitch, int from, int to, int32_t value)
{
    for (int c = 0; c < channels; ++c, p += plane) fill(p + from * pitch, (to - from) * pitch, value);
}

INLINE void zero(float *p, int count)
{
    int i = 0;
    AS_WRITTEN for (; i + 4 <= count; i += 4) store4(p + i, splat4(0.0f));
    AS_WRITTEN for (; i < count; ++i) p[i] = 0.0f;
}

static __attribute__((noinline, unused)) void largest_row(const float *p, float *q, int y,
    int kernel_y, int kernel_x, int stride_y, int stride_x, int dilation_y, int dilation_x,
    int before_y, int before_x, int height, int width, int pitch, int out_width)
{
    for (int x = 0; x < out_width; ++x) {
        float largest = -__builtin_inff();
        for (int i = 0; i < kernel_y; ++i) {
            int row = y * stride_y - before_y + i * dilation_y;
            if (row < 0 || row >= height) continue;
            for (int j = 0; j < kernel_x; ++j) {
                int column = x * stride_x - before_x + j * dilation_x;
                if (column < 0 || column >= width) continue;
                float v = p[row * pitch + column];
                largest = largest > v ? largest : v;
            }
        }
        q[x] = largest;
    }
}

static __attribute__((noinline, unused)) void product_row(
    const float *p, const float *q, float *r, int inner, int columns, int pitch)
{
    int x = 0;
    for (; x + 8 <= columns; x += 8) {
        F8 sum = splat8(0.0f);
        for (int k = 0; k < inner; ++k) sum += splat8(p[k]) * load8(q + k * pitch + x);
        store8(r + x, sum);
    }
    for (; x < columns; ++x) {
        float sum = 0.0f;
        for (int k = 0; k < inner; ++k) sum += p[k] * q[k * pitch + x];
        r[x] = sum;
    }
}

static __attribute__((noinline, unused)) void moments(
    const float *p, int height, int width, int pitch, float *sum, float *squares)
{
    double s = 0.0, r = 0.0;
    for (int y = 0; y < height; ++y, p += pitch) {
        F8 a = splat8(0.0f), b = splat8(0.0f);
        int x = 0;
        for (; x + 8 <= width; x += 8) {
            F8 v = load8(p + x);
            a += v;
            b += v * v;
        }
        float c = sum8(a), d = sum8(b);
        for (; x < width; ++x) {
            c += p[x];
            d += p[x] * p[x];
        }
        s += c;
        r += d;
    }
    *sum = (float)s;
    *squares = (float)r;
}

static __attribute__((noinline, unused)) float mean_of(
    const float *p, int height, int width, int pitch)
{
    float s, r;
    moments(p, height, width, pitch, &s, &r);
    return (float)((double)s / ((double)height * width));
}

static __attribute__((noinline, unused)) float largest_of(
    const float *p, int height, int width, int pitch)
{
    float v = -__builtin_inff();
    for (int y = 0; y < height; ++y, p += pitch)
        for (int x = 0; x < width; ++x) v = v > p[x] ? v : p[x];
    return v;
}

/* See GroupScale: variance = mean of squares - square of the mean, in double precision. */
static __attribute__((noinline, unused)) void group_scale(const float *sums, const float *squares,
    int pitch, const float *gamma, const float *beta, const float *signs, int channels, int groups,
    double count, double epsilon, float *scale, float *shift, int plane, int parts, int step)
{
    int each = channels / groups;
    for (int g = 0; g < groups; ++g) {
        double s = 0.0, r = 0.0;
        for (int c = g * each; c < (g + 1) * each; ++c)
            for (int part = 0; part < parts; ++part) {
                s += (double)signs[c] * sums[c * pitch + part * step];
                r += squares[c * pitch + part * step];
            }
        double mean = s / (count * each), variance = r / (count * each) - mean * mean;
        double factor = 1.0 / __builtin_sqrt((variance > 0.0 ? variance : 0.0) + epsilon);
        if (!(variance == variance)) factor = variance;
        for (int c = g * each; c < (g + 1) * each; ++c) {
            scale[c * plane] = (float)(signs[c] * gamma[c] * factor);
            shift[c * plane] = (float)(beta[c] - mean * gamma[c] * factor);
        }
    }
}

static __attribute__((noinline, unused)) void copy(float *to, const float *of, int count)
{
    int i = 0;
    for (; i + 4 <= count; i += 4) store4(to + i, load4(of + i));
    for (; i < count; ++i) to[i] = of[i];
}
