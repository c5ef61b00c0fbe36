/* arena.h - one aligned block, carved by the same code that counted it.
 *
 * A layout function runs twice: over an empty arena to count (every pointer it gets is NULL and
 * must not be followed), then over the allocated block. The sum is overflow-checked once, here.
 */
#ifndef MNISTC_ARENA_H
#define MNISTC_ARENA_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { MC_ALIGN = 64 };

typedef struct {
    char *base; /* NULL while counting */
    size_t used;
    int overflow;
} mc_arena;

static inline void *mc_take(mc_arena *arena, size_t count, size_t size) {
    size_t bytes, end;
    if (__builtin_mul_overflow(count, size, &bytes) ||
        __builtin_add_overflow(bytes, (size_t)(MC_ALIGN - 1), &bytes)) {
        arena->overflow = 1;
        return NULL;
    }
    bytes &= ~(size_t)(MC_ALIGN - 1);
    if (__builtin_add_overflow(arena->used, bytes, &end) || end > PTRDIFF_MAX) {
        arena->overflow = 1;
        return NULL;
    }
    void *at = arena->base ? arena->base + arena->used : NULL;
    arena->used = end;
    return at;
}

static inline float *mc_take_floats(mc_arena *arena, size_t count) {
    return mc_take(arena, count, sizeof(float));
}

/* A block of the counted size, filled with a byte unless that is negative: pages that nobody writes
 * are then never made. NULL if it cannot be had. */
static inline void *mc_arena_allocate(const mc_arena *counted, int fill) {
    void *block = NULL;
    if (counted->overflow || posix_memalign(&block, MC_ALIGN, counted->used ? counted->used : 1))
        return NULL;
    if (fill >= 0) memset(block, fill, counted->used);
    return block;
}

#endif
