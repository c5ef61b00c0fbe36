/* rows.h - weighted sums of rows and of patches, and their transposes: the sparse loops; and sums
 * of columns. Part of tiles.h.
 */

/* Whether a half vector follows the whole ones of a strip. */
#ifdef HAVE_HALF
#define ENDS_IN_HALF(rest) ((rest) == VW / 2)
#else
#define ENDS_IN_HALF(rest) 0
#endif

#ifndef vterm
#define vterm(term, to) (*(to) = (term)->offset, vset((term)->value))
#endif

/* One strip of row_sum, `vectors` wide and half a one more if `half`, all of it in registers. */
INLINE void row_sum_strip(const float *rows, const mc_term *terms, int n, float *sum,
                          const int half, const int vectors) {
    vf acc[SUM_VECTORS];
    UNROLL
    for (int j = 0; j < vectors; j++) acc[j] = vload(sum + j * VW);
#ifdef HAVE_HALF
    const int end = vectors * VW;
    hf last = half ? hload(sum + end) : hzero();
#else
    (void)half;
#endif
    for (int i = 0; i < n; i++) {
        ptrdiff_t offset;
        const vf v = vterm(terms + i, &offset);
        const float *row = rows + offset;
        UNROLL
        for (int j = 0; j < vectors; j++) acc[j] = vfma(v, vload(row + j * VW), acc[j]);
#ifdef HAVE_HALF
        if (half) last = hfma(hlow(v), hload(row + end), last);
#endif
    }
    UNROLL
    for (int j = 0; j < vectors; j++) vstore(sum + j * VW, acc[j]);
#ifdef HAVE_HALF
    if (half) hstore(sum + end, last);
#endif
}

/* One strip of row_spread: the row stays in registers. */
INLINE void row_spread_strip(const float *row, const mc_term *terms, int n, float *sums,
                             const int half, const int vectors) {
    vf r[SUM_VECTORS];
    UNROLL
    for (int j = 0; j < vectors; j++) r[j] = vload(row + j * VW);
#ifdef HAVE_HALF
    const int end = vectors * VW;
    const hf last = half ? hload(row + end) : hzero();
#else
    (void)half;
#endif
    for (int i = 0; i < n; i++) {
        ptrdiff_t offset;
        const vf v = vterm(terms + i, &offset);
        float *sum = sums + offset;
        UNROLL
        for (int j = 0; j < vectors; j++) vstore(sum + j * VW, vfma(v, r[j], vload(sum + j * VW)));
#ifdef HAVE_HALF
        if (half) hstore(sum + end, hfma(hlow(v), last, hload(sum + end)));
#endif
    }
}

/* The last columns of rows of at least VW, as a whole vector whose first lanes are not kept. */
static void row_sum_tail(const float *rows, const mc_term *terms, int n, float *sum, int tail) {
    const int skip = VW - tail;
    vf acc[2] = {vload(sum - skip), vzero()}; /* two chains, to hide latency */
    int i = 0;
    for (; i + 2 <= n; i += 2)
        for (int j = 0; j < 2; j++)
            acc[j] =
                vfma(vset(terms[i + j].value), vload(rows + terms[i + j].offset - skip), acc[j]);
    if (i < n) acc[0] = vfma(vset(terms[i].value), vload(rows + terms[i].offset - skip), acc[0]);
    float lanes[VW];
    vstore(lanes, vadd(acc[0], acc[1]));
    for (int j = 0; j < tail; j++) sum[j] = lanes[skip + j];
}

static void row_sum(const float *rows, const mc_term *terms, int n, float *sum, int length) {
    const int has_vector = length >= VW;
    for (int some; length >= VW; rows += some, sum += some, length -= some) {
        const int vectors = length / VW < SUM_VECTORS ? length / VW : SUM_VECTORS;
        some = vectors * VW;
        if (ENDS_IN_HALF(length - some)) { /* sums in the same order wherever rows are cut */
            STRIPS(row_sum_strip, SUM_VECTORS, vectors, rows, terms, n, sum, 1)
            return;
        }
        STRIPS(row_sum_strip, SUM_VECTORS, vectors, rows, terms, n, sum, 0)
    }
#ifdef HAVE_HALF
    if (length == VW / 2) {
        half_row_sum(rows, terms, n, sum, length);
        return;
    }
#endif
    if (length && has_vector)
        row_sum_tail(rows, terms, n, sum, length);
    else
        for (int i = 0; i < n; i++)
            for (int j = 0; j < length; j++) sum[j] += terms[i].value * rows[terms[i].offset + j];
}

/* The lowest of a block's bits, which is left out then. The second word, whose bits count from 64,
 * takes the place of the first when that is empty: by moves, as a compiler may make jumps of it. */
static inline uint64_t take_bit(uint64_t *bits, uint64_t *first, uint64_t next) {
#ifdef __BMI__
    const uint64_t bit = *first + _tzcnt_u64(*bits);
    uint64_t second;
    __asm__("mov $64, %k2\n\tblsr %0, %0\n\tcmovz %3, %0\n\tcmovz %2, %1"
            : "+r"(*bits), "+r"(*first), "=&r"(second)
            : "r"(next)
            : "cc");
#else
    const uint64_t bit = *first + (uint64_t)__builtin_ctzll(*bits);
    *bits &= *bits - 1;
    *first = *bits ? *first : 64;
    *bits = *bits ? *bits : next;
#endif
    return bit;
}

/* Ink has no pattern: where it ends is guessed wrong, so there is nothing else to guess. */
INLINE void inked_strip(const float *rows, const float *x, const uint64_t *words, const float *from,
                        float *sum, int length, const int vectors) {
    const uint64_t next = words[1], is_empty = -(uint64_t)(words[0] == 0);
    uint64_t bits = words[0] | (next & is_empty), first = 64 & is_empty;
    vf acc[SUM_VECTORS];
    UNROLL
    for (int j = 0; j < vectors; j++) acc[j] = vload(from + j * VW);
    for (int left = __builtin_popcountll(words[0]) + __builtin_popcountll(next); left; left--) {
        const uint64_t pixel = take_bit(&bits, &first, next);
        const vf v = vset(x[pixel]);
        const float *row = rows + pixel * (uint64_t)length;
        UNROLL
        for (int j = 0; j < vectors; j++) acc[j] = vfma(v, vload(row + j * VW), acc[j]);
    }
    UNROLL
    for (int j = 0; j < vectors; j++) vstore(sum + j * VW, acc[j]);
}

INLINE void row_sums_strip(const float *rows, const mc_inked *ink, const float *from, size_t step,
                           float *sums, int length, size_t more, const int vectors) {
    const float *x = ink->x;
    const uint64_t *bits = ink->bits;
    const char *ahead = ink->ahead;
    for (int i = 0; i < ink->n; i++, x += ink->pixels, bits += ink->words, from += step) {
        for (size_t at = 0; at < more; at += 64) __builtin_prefetch(ahead + at, 0, 2);
        inked_strip(rows, x, bits, from, sums, length, vectors);
        sums += length;
        ahead += more;
    }
}

static void row_sums(const float *rows, const mc_inked *ink, const float *from, size_t step,
                     float *sums, int length) {
    size_t more = ink->more;
    for (int left = length / VW; left > 0; more = 0) {
        const int vectors = left < SUM_VECTORS ? left : SUM_VECTORS;
        STRIPS(row_sums_strip, SUM_VECTORS, vectors, rows, ink, from, step, sums, length, more)
        rows += vectors * VW;
        from += vectors * VW;
        sums += vectors * VW;
        left -= vectors;
    }
}

/* Some rows of patch_sum, all of them in registers. The last vector of a row ends with the row and
 * may overlap the one before it: the lanes that they share hold the same sums. */
INLINE void patch_strip(const float *patches, const mc_term *terms, int n, ptrdiff_t row_stride,
                        float *sum, ptrdiff_t sum_stride, ptrdiff_t last, const int vectors,
                        const int rows) {
    vf acc[5][6];
    UNROLL
    for (int y = 0; y < rows; y++) UNROLL
    for (int j = 0; j < vectors; j++)
        acc[y][j] = vload(sum + y * sum_stride + (j < vectors - 1 ? j * VW : last));
    for (int i = 0; i < n; i++) {
        const float *patch = patches + terms[i].offset;
        const vf v = vset(terms[i].value);
        UNROLL
        for (int y = 0; y < rows; y++) UNROLL
        for (int j = 0; j < vectors; j++)
            acc[y][j] = vfma(v, vload(patch + y * row_stride + (j < vectors - 1 ? j * VW : last)),
                             acc[y][j]);
    }
    UNROLL
    for (int y = 0; y < rows; y++) UNROLL
    for (int j = 0; j < vectors; j++)
        vstore(sum + y * sum_stride + (j < vectors - 1 ? j * VW : last), acc[y][j]);
}

/* The same for rows shorter than a vector: what is read beyond them is not kept. */
INLINE void patch_short_strip(const float *patches, const mc_term *terms, int n,
                              ptrdiff_t row_stride, float *sum, ptrdiff_t sum_stride, int length,
                              const int rows) {
    vf acc[13];
    UNROLL
    for (int y = 0; y < rows; y++) acc[y] = vzero();
    for (int i = 0; i < n; i++) {
        const float *patch = patches + terms[i].offset;
        const vf v = vset(terms[i].value);
        UNROLL
        for (int y = 0; y < rows; y++) acc[y] = vfma(v, vload(patch + y * row_stride), acc[y]);
    }
    UNROLL
    for (int y = 0; y < rows; y++) {
        float lanes[VW];
        vstore(lanes, acc[y]);
        for (int j = 0; j < length; j++) sum[y * sum_stride + j] += lanes[j];
    }
}

/* Rows of 1 to 6 vectors, in groups that leave no register idle: `strip` takes `some` of them,
 * `step` goes on. */
#ifndef ROW_GROUPS
#define ROW_CASE(strip, step, vectors, ...)                                                        \
    case vectors:                                                                                  \
        for (int groups = (rows + PATCH_ROWS(vectors) - 1) / PATCH_ROWS(vectors); groups > 0;      \
             groups--) {                                                                           \
            const int some = (rows + groups - 1) / groups;                                         \
            STRIPS(strip, PATCH_ROWS(vectors), some, __VA_ARGS__, vectors)                         \
            step;                                                                                  \
            rows -= some;                                                                          \
        }                                                                                          \
        break;
#define ROW_GROUPS(strip, step, ...)                                                               \
    ROW_CASE(strip, step, 1, __VA_ARGS__)                                                          \
    ROW_CASE(strip, step, 2, __VA_ARGS__)                                                          \
    ROW_CASE(strip, step, 3, __VA_ARGS__)                                                          \
    ROW_CASE(strip, step, 4, __VA_ARGS__)                                                          \
    ROW_CASE(strip, step, 5, __VA_ARGS__)                                                          \
    ROW_CASE(strip, step, 6, __VA_ARGS__)
#ifndef PATCH_VECTORS
#define PATCH_VECTORS SUM_VECTORS
#endif
#define PATCH_ROWS(vectors) (PATCH_VECTORS / (vectors) < 5 ? PATCH_VECTORS / (vectors) : 5)
#endif

/* Longer rows one by one. */
static void patch_sum(const float *patches, const mc_term *terms, int n, int rows,
                      ptrdiff_t row_stride, float *sum, ptrdiff_t sum_stride, int length) {
#ifdef HAVE_HALF
    if (HALF_PATCH(length)) {
        half_patch_sum(patches, terms, n, rows, row_stride, sum, sum_stride, length);
        return;
    }
#endif
    switch ((length + VW - 1) / VW * (length >= VW)) {
    case 0:
        for (int some; rows > 0; rows -= some) {
            some = rows < 5 ? rows : 5;
            STRIPS(patch_short_strip, 5, some, patches, terms, n, row_stride, sum, sum_stride,
                   length)
            patches += some * row_stride;
            sum += some * sum_stride;
        }
        break;
        ROW_GROUPS(patch_strip, (patches += some * row_stride, sum += some * sum_stride), patches,
                   terms, n, row_stride, sum, sum_stride, length - VW)
    default:
        for (int y = 0; y < rows; y++)
            row_sum(patches + y * row_stride, terms, n, sum + y * sum_stride, length);
    }
}

#ifndef HAVE_HALF
/* Some filters of winner_sum, `rows` short rows each, all of them in registers. */
INLINE void winner_strip(const float *x, ptrdiff_t row, const int32_t *position, int n_windows,
                         const float *dy, const uint8_t *winner, int n_out, float *dw, int length,
                         const int rows, const int filters) {
    vf acc[SUM_VECTORS][5];
    UNROLL
    for (int f = 0; f < filters; f++) UNROLL
    for (int y = 0; y < rows; y++) acc[f][y] = vzero();
    for (int w = 0; w < n_windows; w++, position += 4, dy += n_out, winner += n_out) {
        UNROLL
        for (int f = 0; f < filters; f++) {
            const float *patch = x + position[winner[f]];
            const vf v = vset(dy[f]);
            UNROLL
            for (int y = 0; y < rows; y++) acc[f][y] = vfma(v, vload(patch + y * row), acc[f][y]);
        }
    }
    UNROLL
    for (int f = 0; f < filters; f++) UNROLL
    for (int y = 0; y < rows; y++, dw += length) {
        float lanes[VW];
        vstore(lanes, acc[f][y]);
        for (int j = 0; j < length; j++) dw[j] += lanes[j];
    }
}

#define WINNERS(rows)                                                                              \
    case rows:                                                                                     \
        for (int some; filters > 0; filters -= some) {                                             \
            some = filters < PATCH_VECTORS / rows ? filters : PATCH_VECTORS / rows;                \
            STRIPS(winner_strip, PATCH_VECTORS / rows, some, x, row, position, n_windows, dy,      \
                   winner, n_out, dw, length, rows)                                                \
            dy += some;                                                                            \
            winner += some;                                                                        \
            dw += some * rows * length;                                                            \
        }                                                                                          \
        break;

static void winner_sum(const float *x, ptrdiff_t row, const int32_t *position, int n_windows,
                       const float *dy, const uint8_t *winner, int n_out, float *dw, int rows,
                       int length) {
    int filters = n_out;
    switch (length <= VW ? rows : 0) {
        WINNERS(3)
        WINNERS(5)
    default:
        for (int c = 0; c < n_out; c++, dy++, winner++, dw += rows * length)
            for (int w = 0; w < n_windows; w++)
                for (int i = 0; i < rows * length; i++)
                    dw[i] += dy[w * n_out] *
                             x[position[4 * w + winner[w * n_out]] + i / length * row + i % length];
    }
}
#endif

static void row_spread(const float *row, const mc_term *terms, int n, float *sums, int length) {
    for (int some; length >= VW; row += some, sums += some, length -= some) {
        const int vectors = length / VW < SUM_VECTORS ? length / VW : SUM_VECTORS;
        some = vectors * VW;
        if (ENDS_IN_HALF(length - some)) {
            STRIPS(row_spread_strip, SUM_VECTORS, vectors, row, terms, n, sums, 1)
            return;
        }
        STRIPS(row_spread_strip, SUM_VECTORS, vectors, row, terms, n, sums, 0)
    }
#ifdef HAVE_HALF
    if (length == VW / 2) {
        half_row_spread(row, terms, n, sums, length);
        return;
    }
#endif
    for (int i = 0; i < n; i++)
        for (int j = 0; j < length; j++) sums[terms[i].offset + j] += terms[i].value * row[j];
}

/* Some rows of patch_spread: all of them stay in registers, so that a list ends but once. */
INLINE void patch_spread_strip(const float *patch, const mc_term *terms, int n, float *sums,
                               ptrdiff_t sum_stride, const int vectors, const int rows) {
    vf r[5][6];
    UNROLL
    for (int y = 0; y < rows; y++) UNROLL
    for (int j = 0; j < vectors; j++) r[y][j] = vload(patch + (y * vectors + j) * VW);
    for (int i = 0; i < n; i++) {
        float *sum = sums + terms[i].offset;
        const vf v = vset(terms[i].value);
        UNROLL
        for (int y = 0; y < rows; y++, sum += sum_stride) UNROLL
        for (int j = 0; j < vectors; j++)
            vstore(sum + j * VW, vfma(v, r[y][j], vload(sum + j * VW)));
    }
}

static void patch_spread(const float *patch, int rows, const mc_term *terms, int n, float *sums,
                         ptrdiff_t sum_stride, int length) {
#ifdef HAVE_HALF
    if (length % VW == VW / 2) {
        half_patch_spread(patch, rows, terms, n, sums, sum_stride, length);
        return;
    }
#endif
    switch (length % VW ? 0 : length / VW) {
        ROW_GROUPS(patch_spread_strip, (patch += some * length, sums += some * sum_stride), patch,
                   terms, n, sums, sum_stride)
    default:
        for (int y = 0; y < rows; y++)
            row_spread(patch + y * length, terms, n, sums + y * sum_stride, length);
    }
}

/* Column sums of n rows, `vectors` wide. */
INLINE void column_strip(const float *x, int n, ptrdiff_t stride, float *sum, const int vectors) {
    vf acc[SUM_VECTORS];
    UNROLL
    for (int j = 0; j < vectors; j++) acc[j] = vload(sum + j * VW);
    for (int p = 0; p < n; p++, x += stride) UNROLL
    for (int j = 0; j < vectors; j++) acc[j] = vadd(acc[j], vload(x + j * VW));
    UNROLL
    for (int j = 0; j < vectors; j++) vstore(sum + j * VW, acc[j]);
}

static void column_strips(const float *x, int n, ptrdiff_t stride, float *sum, int vectors) {
    for (int some; vectors > 0; vectors -= some, x += some * VW, sum += some * VW) {
        some = vectors < SUM_VECTORS ? vectors : SUM_VECTORS;
        STRIPS(column_strip, SUM_VECTORS, some, x, n, stride, sum)
    }
}

/* Of few columns, rows are taken several at a time, side by side: whole vectors, and enough of them
 * that no sum waits for the one before it. */
static void column_sums(const float *x, int n, int n_cols, float *sum) {
    enum { ENOUGH = 6 * VW };
    int side = 1;
    while (n_cols < ENOUGH && (side * n_cols < ENOUGH || side * n_cols % VW)) side *= 2;
    const int width = side * n_cols, blocks = side > 1 ? n / side : 0;
    if (blocks > 1) {
        float part[ENOUGH * VW];
        memset(part, 0, (size_t)width * sizeof(float));
        column_strips(x, blocks, width, part, width / VW);
        for (int i = 0; i < side; i++)
            for (int c = 0; c < n_cols; c++) sum[c] += part[i * n_cols + c];
        x += blocks * width;
        n -= blocks * side;
    }
    column_strips(x, n, n_cols, sum, n_cols / VW);
    for (int p = 0; p < n; p++)
        for (int c = n_cols / VW * VW; c < n_cols; c++) sum[c] += x[p * n_cols + c];
}
