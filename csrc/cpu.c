/* cpu.c - which kernel tables this machine can run. The one place that lists what each needs.
 *
 *   table       CPU (CPUID)                         operating system (XGETBV after OSXSAVE)
 *   ref         anything                            -
 *   baseline    anything (SSE2 is part of x86-64)   -
 *   avx2        AVX, AVX2, FMA, BMI1                saves XMM and YMM (XCR0 bits 1, 2)
 *   avx512      avx2 + AVX512 F, BW, DQ, VL         and opmask, ZMM (bits 5, 6, 7)
 *   avx512bf16  avx512 + AVX512 BF16                as avx512
 *   amx         avx512bf16 + AMX TILE, BF16         and tiles (bits 17, 18), which Linux gives to a
 *                                                   process that asks for them
 *   neon        arm64                               -
 *
 * CPUID alone is not enough: a virtual machine may show AVX2 while its kernel does not save the
 * registers.
 */
#include <string.h>

#include "kernels/kernels.h"

enum {
    AVX = 1,
    AVX2 = 2,
    FMA = 4,
    BMI = 8,
    AVX512 = 16,
    AVX512_BF16 = 32,
    AMX_BF16 = 64,
    OS_YMM = 128,
    OS_ZMM = 256,
    OS_TILES = 512,
    NEEDS_AVX2 = AVX | AVX2 | FMA | BMI | OS_YMM,
    NEEDS_AVX512 = NEEDS_AVX2 | AVX512 | OS_ZMM,
    NEEDS_AVX512BF16 = NEEDS_AVX512 | AVX512_BF16,
    NEEDS_AMX = NEEDS_AVX512BF16 | AMX_BF16 | OS_TILES
};

static const struct {
    const char *name;
    int bit;
} features[] = {
    {"avx", AVX},           {"avx2", AVX2},     {"fma", FMA},
    {"bmi", BMI},           {"avx512", AVX512}, {"avx512_bf16", AVX512_BF16},
    {"amx_bf16", AMX_BF16}, {"os_ymm", OS_YMM}, {"os_zmm", OS_ZMM},
    {"os_tiles", OS_TILES},
};

#if defined(__x86_64__)
#include <cpuid.h>
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>

/* Linux keeps tiles from a process until it asks; threads made later, and children, have them. */
static int may_use_tiles(void) {
    const long request = 0x1023, tile_data = 18; /* ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA */
    return syscall(SYS_arch_prctl, request, tile_data) == 0;
}
#else
static int may_use_tiles(void) {
    return 0;
}
#endif

static int detect(void) {
    enum { BIT_AMX_BF16 = 1 << 22, BIT_AMX_TILE = 1 << 24, BIT_AVX512_BF16 = 1 << 5 };
    unsigned a, b, c, d, low = 0, high = 0;
    int found = 0;
    if (!__get_cpuid(1, &a, &b, &c, &d)) return 0;
    if (c & bit_AVX) found |= AVX;
    if (c & bit_FMA) found |= FMA;
    if (c & bit_OSXSAVE) {
        __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
        if ((low & 0x06) == 0x06) found |= OS_YMM;
        if ((low & 0xe6) == 0xe6) found |= OS_ZMM;
    }
    if (__get_cpuid_count(7, 0, &a, &b, &c, &d)) {
        const unsigned wanted = bit_AVX512F | bit_AVX512BW | bit_AVX512DQ | bit_AVX512VL;
        if (b & bit_AVX2) found |= AVX2;
        if (b & bit_BMI) found |= BMI;
        if ((b & wanted) == wanted) found |= AVX512;
        if (d & BIT_AMX_BF16 && d & BIT_AMX_TILE) found |= AMX_BF16;
    }
    if (__get_cpuid_count(7, 1, &a, &b, &c, &d) && a & BIT_AVX512_BF16) found |= AVX512_BF16;
    if (found & AMX_BF16 && (low & 0x60000) == 0x60000 && may_use_tiles()) found |= OS_TILES;
    return found;
}
#else
static int detect(void) {
    return 0;
}
#endif

static const struct {
    const mc_kernels *table;
    int needs;
} tables[] = {
    {&mc_kernels_ref, 0},
    {&mc_kernels_baseline, 0},
#if defined(__x86_64__)
    {&mc_kernels_avx2, NEEDS_AVX2},
    {&mc_kernels_avx512, NEEDS_AVX512},
    {&mc_kernels_avx512bf16, NEEDS_AVX512BF16},
    {&mc_kernels_amx, NEEDS_AMX},
#elif defined(__aarch64__)
    {&mc_kernels_neon, 0},
#endif
};

enum { N_TABLES = sizeof tables / sizeof *tables, N_FEATURES = sizeof features / sizeof *features };

int mc_kernels_available(const mc_kernels **out, int most) {
    const int found = detect();
    int n = 0;
    for (int i = 0; i < N_TABLES && n < most; i++)
        if (tables[i].table->name && (found & tables[i].needs) == tables[i].needs)
            out[n++] = tables[i].table;
    return n;
}

const mc_kernels *mc_kernels_find(const char *name) {
    const mc_kernels *list[N_TABLES];
    const int n = mc_kernels_available(list, N_TABLES);
    for (int i = 0; i < n; i++)
        if (!strcmp(list[i]->name, name)) return list[i];
    return NULL;
}

/* vdpbf16ps does twice the work of FMAs in a cycle on AMD's cores. On Intel's, whose bf16 is AMX's,
 * it does less than half. */
static int is_slow(const mc_kernels *table) {
#if defined(__x86_64__)
    unsigned a, b, c, d;
    return table == &mc_kernels_avx512bf16 && __get_cpuid(0, &a, &b, &c, &d) &&
           b == signature_INTEL_ebx;
#else
    (void)table;
    return 0;
#endif
}

const mc_kernels *mc_kernels_best(void) {
    const mc_kernels *list[N_TABLES];
    const int last = mc_kernels_available(list, N_TABLES) - 1;
    return list[is_slow(list[last]) ? last - 1 : last];
}

const char *mc_kernels_name(const mc_kernels *kernels) {
    return kernels->name;
}

const char *mc_cpu_feature(int index, int *has) {
    if (index < 0 || index >= N_FEATURES) return NULL;
    *has = (detect() & features[index].bit) != 0;
    return features[index].name;
}
