/* The most that this CPU can do: multiply-adds from registers, and bytes read from each level.
 * Built and called by peak.py. Every function returns a number that depends on all its work, so
 * that no compiler can drop it. */
#include <stddef.h>
#include <stdint.h>

#define CHAINS 12 /* independent sums: more than latency (4 or 5) x units (2) */

/* rounds x CHAINS multiply-adds of LANES floats each. */
#define PEAK(name, isa, lanes)                                                                     \
    typedef float name##_vector __attribute__((vector_size(4 * lanes)));                           \
    __attribute__((target(isa))) float name(int64_t rounds) {                                      \
        name##_vector sum[CHAINS], a = {0}, b = {0}, total = {0};                                  \
        for (int i = 0; i < CHAINS; i++)                                                           \
            for (int j = 0; j < lanes; j++) sum[i][j] = (float)(i + j);                            \
        a += 0.999f;                                                                               \
        b += 0.001f;                                                                               \
        __asm__ volatile("" : "+x"(a), "+x"(b));                                                   \
        for (int64_t r = 0; r < rounds; r++) {                                                     \
            _Pragma("GCC unroll 12") for (int i = 0; i < CHAINS; i++) sum[i] = sum[i] * a + b;     \
        }                                                                                          \
        for (int i = 0; i < CHAINS; i++) total += sum[i];                                          \
        return total[0] + total[lanes - 1];                                                        \
    }                                                                                              \
    /* repeats x bytes read, in order; bytes is a multiple of 1024. */                             \
    __attribute__((target(isa))) float name##_read(const float *x, int64_t bytes,                  \
                                                   int64_t repeats) {                              \
        name##_vector sum[8] = {{0}}, total = {0};                                                 \
        for (int64_t r = 0; r < repeats; r++) {                                                    \
            const name##_vector *v = (const name##_vector *)x;                                     \
            const name##_vector *end = (const name##_vector *)(x + bytes / 4);                     \
            for (; v < end; v += 8) {                                                              \
                _Pragma("GCC unroll 8") for (int i = 0; i < 8; i++) sum[i] += v[i];                \
            }                                                                                      \
            __asm__ volatile("" ::: "memory");                                                     \
        }                                                                                          \
        for (int i = 0; i < 8; i++) total += sum[i];                                               \
        return total[0];                                                                           \
    }

#if defined(__x86_64__)
PEAK(sse2, "sse2", 4)
PEAK(avx2, "avx2,fma", 8)
PEAK(avx512, "avx512f", 16)
#else
/* Vectors of four floats are NEON's; the multiply-add is fused there. */
typedef float neon_vector __attribute__((vector_size(16)));
float neon(int64_t rounds) {
    neon_vector sum[CHAINS], a = {0}, b = {0}, total = {0};
    for (int i = 0; i < CHAINS; i++)
        for (int j = 0; j < 4; j++) sum[i][j] = (float)(i + j);
    a += 0.999f;
    b += 0.001f;
    __asm__ volatile("" : "+w"(a), "+w"(b));
    for (int64_t r = 0; r < rounds; r++)
        for (int i = 0; i < CHAINS; i++) sum[i] = sum[i] * a + b;
    for (int i = 0; i < CHAINS; i++) total += sum[i];
    return total[0] + total[3];
}
float neon_read(const float *x, int64_t bytes, int64_t repeats) {
    neon_vector sum[8] = {{0}}, total = {0};
    for (int64_t r = 0; r < repeats; r++) {
        for (int64_t i = 0; i < bytes / 4; i += 32)
            for (int k = 0; k < 8; k++) sum[k] += *(const neon_vector *)(x + i + 4 * k);
        __asm__ volatile("" ::: "memory");
    }
    for (int i = 0; i < 8; i++) total += sum[i];
    return total[0];
}
#endif

#if defined(MNISTC_AMX)
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>

/* rounds x 4 tile products of 16 x 16 x 32 bf16 multiply-adds; -1 if the system refuses tiles. */
__attribute__((target("amx-tile,amx-bf16"))) float amx(int64_t rounds) {
    enum { ARCH_REQ_XCOMP_PERM = 0x1023, XTILE_DATA = 18 };
    static const struct {
        uint8_t palette, start_row, reserved[14];
        uint16_t columns[16];
        uint8_t rows[16];
    } config = {1, 0, {0}, {64, 64, 64, 64, 64, 64, 64, 64}, {16, 16, 16, 16, 16, 16, 16, 16}};
    if (syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XTILE_DATA)) return -1.0f;
    _tile_loadconfig(&config);
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    _tile_zero(4);
    _tile_zero(5);
    _tile_zero(6);
    _tile_zero(7);
    for (int64_t r = 0; r < rounds; r++) {
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(1, 4, 7);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
    }
    float out[256];
    _tile_stored(0, out, 64);
    _tile_release();
    return out[0];
}
#endif
