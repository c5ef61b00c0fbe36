/* amx.c - the table avx512 with products of bf16 in tiles: Sapphire Rapids (2023) and later.
 *
 * Eight tile registers of 16 rows x 64 bytes. tdpbf16ps adds the product of n x 32 and 32 x 16
 * values of bf16 to n x 16 sums of float32 in n cycles, but no fewer than 10 with four sums in
 * turn, as its latency is some 40; of 16 rows, 16 times what two FMA ports do. A tile load takes 8
 * cycles for 16 rows, each on one cache line (52 where they lie across two), a store 16, ldtilecfg
 * 190.
 *
 * dot_bf16: a block is 32 positions x one panel of 32 columns: four tiles of sums (so that four
 * products are under way), two of inputs, two of weights; per 32 taps four loads under four
 * products: bound by arithmetic. The inputs of 32 positions are gathered into rows of a scratch
 * block in the first-level cache, once for all panels, run of taps by run of taps. Taps beyond the
 * last are zeros. windows_bf16 reads them where they lie.
 *
 * vdpbf16ps takes 2 cycles on these machines, so that sums over winners are float32's.
 *
 * A rounded value is a word of 16 bits. A packed panel: 32 biases as floats, then for each 32 taps
 * and each 16 columns a tile of 16 rows (pairs of taps) x 16 columns x the two taps.
 */
#if (defined(__AMX_BF16__) || defined(__AMXBF16__)) && defined(__AVX512BF16__) /* GCC, Clang */
#define HAVE_BF16
#define WINDOWS_BF16 windows_bf16
#include "avx512.c"
#include "words.h"

enum {
    BLOCK_ROWS = 32,                       /* positions of a block: two tiles */
    TILE_TAPS = 32,                        /* of one product of tiles */
    MOST_TAPS = 384,                       /* gathered at once: 26 KB */
    GATHER_STRIDE = MOST_TAPS + TILE_TAPS, /* whole vectors are stored beyond a row's last tap */
    TILE_VALUES = 512
};
_Static_assert(PANEL_COLS == BLOCK_ROWS, "a panel is two tiles wide");

typedef uint16_t gathered[BLOCK_ROWS][GATHER_STRIDE];

/* A piece of a run of taps: words that lie together in x and in a gathered row. */
typedef struct {
    int32_t from, to;
    uint32_t mask;
} piece;

/* Not every compiler knows that tile instructions read memory. */
static inline void memory_barrier(void) {
    __asm__ volatile("" ::: "memory");
}

/* Tiles of so many positions: 0 to 3 of sums, 4 and 5 of inputs; 6 and 7 of weights. */
static void configure(uint8_t n) {
    const struct {
        uint8_t palette, start_row, reserved[14];
        uint16_t row_bytes[16];
        uint8_t rows[16];
    } tiles = {.palette = 1,
               .row_bytes = {64, 64, 64, 64, 64, 64, 64, 64},
               .rows = {n, n, n, n, n, n, 16, 16}};
    memory_barrier();
    _tile_loadconfig(&tiles);
}

static void begin_bf16(void) {
    configure(16);
}

static void end_bf16(void) {
    _tile_release();
}

static void pack_bf16(const float *panel, int n_taps, int run, float *out) {
    (void)run;
    memcpy(out, panel, PANEL_COLS * sizeof(float));
    char *tiles = (char *)(out + PANEL_COLS);
    const float *weight = panel + PANEL_COLS;
    const int end = (n_taps + TILE_TAPS - 1) / TILE_TAPS * TILE_TAPS;
    for (int t = 0; t < end; t += 2)
        for (int j = 0; j < 2; j++) {
            const float *at = weight + (ptrdiff_t)t * PANEL_COLS + j * VW;
            const __m512 even = t < n_taps ? _mm512_loadu_ps(at) : _mm512_setzero_ps();
            const __m512 odd =
                t + 1 < n_taps ? _mm512_loadu_ps(at + PANEL_COLS) : _mm512_setzero_ps();
            const int tile = t / TILE_TAPS * 2 + j, row = t % TILE_TAPS / 2;
            _mm512_storeu_si512(tiles + ((ptrdiff_t)tile * 16 + row) * 64, pair_words(even, odd));
        }
}

/* Taps first .. last - 1 in pieces of at most 32; returns how many. */
static int plan_pieces(const mc_product *d, int first, int last, piece *pieces) {
    int n = 0;
    for (int t = first; t < last;) {
        int end = (t / d->run + 1) * d->run;
        if (end > last) end = last;
        if (end > t + 32) end = t + 32;
        pieces[n++] = (piece){d->tap[t], t - first, 0xffffffffu >> (32 - (end - t))};
        t = end;
    }
    return n;
}

/* What the taps of these pieces see at `rows` positions. A store may run beyond its piece with
 * zeros: the next piece comes later. */
static void gather(const mc_product *d, int first, int n, int rows, const piece *pieces,
                   int n_pieces, int n_taps, gathered to) {
    const uint16_t *from[BLOCK_ROWS];
    for (int i = 0; i < rows; i++) /* surplus rows repeat the first */
        from[i] = (const uint16_t *)d->x + d->position[first + (i < n ? i : 0)];
    if (n_taps % TILE_TAPS)
        for (int i = 0; i < rows; i++)
            _mm512_storeu_si512(to[i] + n_taps / TILE_TAPS * TILE_TAPS, _mm512_setzero_si512());
    for (const piece *p = pieces; p < pieces + n_pieces; p++) {
        const ptrdiff_t k = p->from;
        if (p->mask < 256)
            for (int i = 0; i < rows; i++)
                _mm_storeu_si128((__m128i *)(to[i] + p->to),
                                 _mm_maskz_loadu_epi16((__mmask8)p->mask, from[i] + k));
        else
            for (int i = 0; i < rows; i++)
                _mm512_storeu_si512(to[i] + p->to, _mm512_maskz_loadu_epi16(p->mask, from[i] + k));
    }
}

/* end (rows, 32) = start (rows, 32) + rows gathered x one panel; strides in bytes. Of a `narrow`
 * panel the second half is left out. */
static void multiply(gathered a, int rows, int narrow, const char *tiles, int n_steps,
                     const float *start, ptrdiff_t start_stride, float *end, ptrdiff_t end_stride) {
    const int two = rows > 16;
    const char *second = (const char *)start + 16 * start_stride;
    memory_barrier();
    _tile_loadd(0, start, start_stride);
    _tile_loadd(1, start + 16, start_stride);
    if (two) {
        _tile_loadd(2, second, start_stride);
        _tile_loadd(3, second + 64, start_stride);
    }
    for (int k = 0; k < n_steps; k++, tiles += 4 * TILE_VALUES) {
        _tile_loadd(4, a[0] + k * TILE_TAPS, sizeof a[0]);
        _tile_loadd(6, tiles, 64);
        _tile_dpbf16ps(0, 4, 6);
        if (two) {
            _tile_loadd(5, a[16] + k * TILE_TAPS, sizeof a[0]);
            _tile_dpbf16ps(2, 5, 6);
        }
        if (narrow) continue;
        _tile_loadd(7, tiles + 2 * TILE_VALUES, 64);
        _tile_dpbf16ps(1, 4, 7);
        if (two) _tile_dpbf16ps(3, 5, 7);
    }
    _tile_stored(0, end, end_stride);
    _tile_stored(1, end + 16, end_stride);
    if (two) {
        _tile_stored(2, (char *)end + 16 * end_stride, end_stride);
        _tile_stored(3, (char *)end + 16 * end_stride + 64, end_stride);
    }
    memory_barrier();
}

/* Copy n rows of n_cols sums, negative ones as 0 if relu. */
static void copy_sums(const float *from, ptrdiff_t from_stride, float *to, ptrdiff_t to_stride,
                      int n, int n_cols, int relu) {
    const uint32_t mask = 0xffffffffu >> (PANEL_COLS - n_cols);
    const __m512 floor = _mm512_set1_ps(relu ? 0.0f : -__builtin_inff());
    for (int i = 0; i < n; i++, from += from_stride, to += to_stride) {
        const __m512 low = _mm512_maskz_loadu_ps((__mmask16)mask, from);
        const __m512 high = _mm512_maskz_loadu_ps((__mmask16)(mask >> 16), from + VW);
        _mm512_mask_storeu_ps(to, (__mmask16)mask, _mm512_max_ps(low, floor));
        _mm512_mask_storeu_ps(to + VW, (__mmask16)(mask >> 16), _mm512_max_ps(high, floor));
    }
}

/* A block against panel q, taps from `tap` on; between two gatherings the sums wait in `out`. */
static void block_panel(const mc_product *d, gathered a, int first, int n, int rows, int tap,
                        int n_taps, int q) {
    const float *panel = d->panels + (ptrdiff_t)q * (d->n_taps + 1 + MC_BF16_PAD) * PANEL_COLS;
    const char *tiles = (const char *)(panel + PANEL_COLS) + (ptrdiff_t)tap * PANEL_COLS * 2;
    float *out = d->out + q * d->out_panel + first * d->out_stride;
    const int left = d->n_cols - q * PANEL_COLS, n_cols = left < PANEL_COLS ? left : PANEL_COLS;
    const int relu = d->relu && tap + n_taps == d->n_taps;
    const int n_steps = (n_taps + TILE_TAPS - 1) / TILE_TAPS;
    const ptrdiff_t stride = d->out_stride * (ptrdiff_t)sizeof(float);
    const int goes_on = tap || d->add;
    if (n == rows && n_cols == PANEL_COLS && !relu) {
        multiply(a, rows, 0, tiles, n_steps, goes_on ? out : panel, goes_on ? stride : 0, out,
                 stride);
        return;
    }
    _Alignas(64) float sums[BLOCK_ROWS * PANEL_COLS];
    const ptrdiff_t row = PANEL_COLS * sizeof(float);
    if (goes_on) copy_sums(out, d->out_stride, sums, PANEL_COLS, n, n_cols, 0);
    multiply(a, rows, n_cols <= VW, tiles, n_steps, goes_on ? sums : panel, goes_on ? row : 0, sums,
             row);
    copy_sums(sums, PANEL_COLS, out, d->out_stride, n, n_cols, relu);
}

static void dot_bf16(const mc_product *d) {
    _Alignas(64) gathered a;
    piece pieces[MOST_TAPS];
    for (int tap = 0; tap < d->n_taps; tap += MOST_TAPS) {
        const int n_taps = d->n_taps - tap < MOST_TAPS ? d->n_taps - tap : MOST_TAPS;
        const int n_pieces = plan_pieces(d, tap, tap + n_taps, pieces);
        for (int first = 0; first < d->n_positions; first += BLOCK_ROWS) {
            const int left = d->n_positions - first, n = left < BLOCK_ROWS ? left : BLOCK_ROWS;
            const int rows = n > 16 ? 32 : 16;
            gather(d, first, n, rows, pieces, n_pieces, n_taps, a);
            for (int q = 0; q < d->n_panels; q++) block_panel(d, a, first, n, rows, tap, n_taps, q);
        }
    }
}

/* The positions of a row of windows lie side by side: those of its upper and of its lower row are a
 * tile each, read where they lie, as a pixel's channels are whole rows of tiles. */
enum { ROW_WINDOWS = 8 };

typedef float window_sums[2][2][2 * ROW_WINDOWS][VW]; /* upper and lower, halves of a panel */

/* Both rows x one panel. */
static void multiply_rows(const mc_product *d, const uint16_t *upper, const uint16_t *lower,
                          ptrdiff_t stride, const char *tiles, window_sums sums) {
    memory_barrier();
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (int t = 0; t < d->n_taps; t += TILE_TAPS, tiles += 4 * TILE_VALUES) {
        const ptrdiff_t at = d->tap[t];
        _tile_loadd(4, upper + at, stride);
        _tile_loadd(6, tiles, 64);
        _tile_loadd(5, lower + at, stride);
        _tile_loadd(7, tiles + 2 * TILE_VALUES, 64);
        _tile_dpbf16ps(0, 4, 6); /* all loads first: a fifth faster with ten rows */
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(1, 4, 7);
        _tile_dpbf16ps(3, 5, 7);
    }
    _tile_stored(0, sums[0][0], 64);
    _tile_stored(1, sums[0][1], 64);
    _tile_stored(2, sums[1][0], 64);
    _tile_stored(3, sums[1][1], 64);
    memory_barrier();
}

/* n windows' results, of the first n_cols columns of a panel. */
INLINE void pool_sums(window_sums sums, int n, const float *bias, vf floor, float *y,
                      uint8_t *winner, ptrdiff_t stride, int n_cols, const int vectors) {
    for (int i = 0; i < n; i++, y += stride) {
        vf best[2];
        vi index[2];
        UNROLL
        for (int j = 0; j < vectors; j++) {
            const float *upper = sums[0][j][2 * i], *lower = sums[1][j][2 * i];
            const vf most = largest_of(vload(upper), vload(upper + VW), vload(lower),
                                       vload(lower + VW), &index[j]);
            best[j] = vmax(vadd(most, vload(bias + j * VW)), floor);
        }
        store_window(best, index, n_cols == vectors * VW, y, winner, n_cols, vectors);
        if (winner) winner += stride;
    }
}

/* A row of more windows than a tile holds is cut into pieces of one size; the last may overlap. */
static void windows_bf16(const mc_product *d, int row_windows, uint8_t *winner) {
    const int pieces = (row_windows + ROW_WINDOWS - 1) / ROW_WINDOWS;
    const int n = (row_windows + pieces - 1) / pieces, n_windows = d->n_positions / 4;
    const vf floor = d->relu ? vzero() : vset(-__builtin_inff());
    const uint16_t *x = d->x;
    _Alignas(64) window_sums sums;
    configure((uint8_t)(2 * n));
    for (int q = 0; q < d->n_panels; q++) {
        const float *panel = d->panels + (ptrdiff_t)q * (d->n_taps + 1 + MC_BF16_PAD) * PANEL_COLS;
        const int c = q * PANEL_COLS, left = d->n_cols - c;
        for (int row = 0; row < n_windows; row += row_windows)
            for (int i = 0; i < row_windows; i += n) {
                const int w = row + (i + n <= row_windows ? i : row_windows - n);
                const int32_t *at = d->position + 4 * w;
                float *y = d->out + w * d->out_stride + c;
                uint8_t *index = winner ? winner + w * d->out_stride + c : NULL;
                multiply_rows(d, x + at[0], x + at[2], (at[1] - at[0]) * (ptrdiff_t)sizeof *x,
                              (const char *)(panel + PANEL_COLS), sums);
                if (left > VW)
                    pool_sums(sums, n, panel, floor, y, index, d->out_stride,
                              left < PANEL_COLS ? left : PANEL_COLS, 2);
                else
                    pool_sums(sums, n, panel, floor, y, index, d->out_stride, left, 1);
            }
    }
    begin_bf16();
}

MC_TABLE(mc_kernels_amx, "amx", VW);
#elif defined(__x86_64__)
#include "kernels.h"

/* The compiler does not know tiles: without a name the table is not there (cpu.c). */
const mc_kernels mc_kernels_amx = {0};
#else
typedef int mc_no_amx; /* ISO C wants a declaration */
#endif
