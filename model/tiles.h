/* Products of a matrix with a few tokens, which wait for the matrix to come from memory: cut into tiles whose sums have registers.

   A sum is added up in an order that depends on the widths alone, not on how many tokens there are: a token's result is the same, to the
   bit, whatever is computed beside it. Floats, bfloat16 and, with either of them, integers of 8 bits by vectors; where the processor has
   matrix tiles (Intel AMX), bfloat16 by those, and floats in pieces, if they do not come from a cache: then vectors are faster. */

#pragma once

#include <stdint.h>

#include "amx.h"
#include "pieces.h"
#include "vectors.h"

/* Of a tile: rows of a matrix, tokens, as many as their sums have registers. */
enum { ROWS = LANES == 16 ? 6 : 3, TOKENS = 4 };

/* out[t * ROWS + o] = w[o] . x[t], rows of n. Meanwhile `lines` of the cache are fetched from `ahead` on, at every step `step` further. */
template <int rows, int tokens, int lines, class M, class W>
INLINE void dots(const M *w, const W *x, int64_t n, const M *ahead, int64_t step, float *out) {
  vec sums[tokens][rows] = {};
  int64_t i = 0;
  for (; i + LANES <= n; i += LANES, ahead += step) {
    vec right[tokens];
    for (int t = 0; t < tokens; t++) right[t] = load(x + t * n + i);
    for (int l = 0; l < lines; l++) __builtin_prefetch((const char *)ahead + 64 * l, 0, 2);
    for (int o = 0; o < rows; o++) {
      const vec left = load(w + o * n + i);
      for (int t = 0; t < tokens; t++) sums[t][o] += left * right[t];
    }
  }
  float found[tokens * rows];
  totals<tokens * rows>(sums[0], found);
  for (int t = 0; t < tokens; t++)
    for (int o = 0; o < rows; o++) {
      float sum = found[t * rows + o];
      for (int64_t j = i; j < n; j++) sum += wide(w[o * n + j]) * wide(x[t * n + j]);
      out[t * ROWS + o] = sum;
    }
}

/* The same for up to TOKENS tokens, in one of several passes over these rows: each fetches its share of as many rows that lie `ahead`. */
template <int rows, class M, class W>
INLINE void strip(const M *w, const W *x, int64_t n, int64_t tokens, const M *ahead, int64_t pass, int64_t passes, float *out) {
  enum { LINES = (rows * LANES * sizeof(M) + 63) / 64, SHARE = LINES < 2 ? LINES : 2 };
  ahead += rows * n * pass / passes;
  const int64_t step = rows * LANES / passes;
#define STRIP(tokens)                                                     \
  passes == 1 ? dots<rows, tokens, LINES>(w, x, n, ahead, step, out)      \
              : dots<rows, tokens, SHARE>(w, x, n, ahead, step, out)
  switch (tokens) {
    case 1: return STRIP(1);
    case 2: return STRIP(2);
    case 3: return STRIP(3);
    default: return STRIP(TOKENS);
  }
#undef STRIP
}

/* The same for up to ROWS rows too. */
template <class M, class W>
static __attribute__((noinline)) void tile(const M *w, const W *x, int64_t n, int64_t rows, int64_t tokens, const M *ahead, int64_t pass,
                                           int64_t passes, float *out) {
  if (rows == ROWS)
    strip<ROWS>(w, x, n, tokens, ahead, pass, passes, out);
  else
    for (int64_t o = 0; o < rows; o++) strip<1>(w + o * n, x, n, tokens, ahead + o * n, pass, passes, out + o);
}

/* What a product reads as it is written: token t's values begin at `token_at`, and there is nothing to be laid out. */
template <class W>
struct AsWritten {
  typedef W Laid;
  static int64_t space(int64_t, int64_t) { return 0; }
  INLINE const W *lay(const W *x, int64_t, int64_t, W *) { return x; }
  INLINE int64_t token_at(int64_t t, int64_t n) { return t * n; }
};

/* How a product is cut into tiles. Tokens are written with token t's value i at `at`, and then laid out by `lay`, in `space` values, as the
   product reads them; what it finds lies with row o's for token t at `sum`. */
template <class M, class W>
struct Tiles : AsWritten<W> {
  enum { ROWS = ::ROWS, TOKENS = ::TOKENS };
  static void begin(int64_t) {}
  static void end() {}
  INLINE int64_t at(int64_t t, int64_t i, int64_t n) { return t * n + i; }
  INLINE int64_t sum(int64_t o, int64_t t) { return t * ROWS + o; }
  INLINE void product(const M *w, const W *x, int64_t n, int64_t rows, int64_t tokens, int64_t pass, int64_t passes, float *out) {
    tile(w, x, n, rows, tokens, w + ROWS * n, pass, passes, out);
  }
};

#ifdef __AMX_BF16__
/* Matrices of 16 rows by 32 values are multiplied by one instruction, with 16 tokens that lie side by side in pairs of values. */
template <>
struct Tiles<bfloat16, bfloat16> : AsWritten<bfloat16> {
  enum { ROWS = 16, TOKENS = 16, WIDTH = 32 };
  /* Registers: 0 sums, 1 and 2 a matrix and its tokens, 3 and 4 the same for what is left over of a row of n (an even number). */
  static void configure(int64_t n, int64_t rows) {
    TileShapes shapes;
    const int64_t rest = n % WIDTH ? n % WIDTH : 2;
    shapes.bytes[3] = (uint16_t)(2 * rest);
    shapes.rows[0] = shapes.rows[1] = shapes.rows[3] = (uint8_t)rows;
    shapes.rows[4] = (uint8_t)(rest / 2);
    shapes.use();
  }
  static void begin(int64_t n) { configure(n, ROWS); }
  static void end() { _tile_release(); }
  INLINE int64_t at(int64_t t, int64_t i, int64_t n) { return ((t / TOKENS * n + i / 2 * 2) * TOKENS) + t % TOKENS * 2 + i % 2; }
  INLINE int64_t sum(int64_t o, int64_t t) { return o * TOKENS + t; }
  static void product(const bfloat16 *w, const bfloat16 *x, int64_t n, int64_t rows, int64_t, int64_t pass, int64_t, float *out) {
    settle();
    if (rows < ROWS) configure(n, rows);
    _tile_zero(0);
    int64_t i = 0;
    for (; i + WIDTH <= n; i += WIDTH) {
      if (!pass)
        for (int o = 0; o < ROWS; o++) __builtin_prefetch(w + (ROWS + o) * n + i);
      _tile_loadd(1, w + i, (size_t)n * sizeof *w);
      _tile_loadd(2, x + i * TOKENS, TOKENS * 4);
      _tile_dpbf16ps(0, 1, 2);
    }
    if (i < n) {
      _tile_loadd(3, w + i, (size_t)n * sizeof *w);
      _tile_loadd(4, x + i * TOKENS, TOKENS * 4);
      _tile_dpbf16ps(0, 3, 4);
    }
    _tile_stored(0, out, TOKENS * 4);
    if (rows < ROWS) configure(n, ROWS);
  }
};

/* A float of a matrix that goes through the same tiles in pieces (`pieces.h`). While one block of it, 32 rows by 32 values, is multiplied the
   next one is cut, some rows behind every product: one after the other they would take longer than the weights take to come from memory. */
struct in_pieces {
  float value;
};
template <>
struct Tiles<in_pieces, float> {
  enum { ROWS = 32, TOKENS = 32, WIDTH = 32 };
  typedef bfloat16 Laid;
  INLINE int64_t steps(int64_t n) { return (n + WIDTH - 1) / WIDTH; }
  static int64_t space(int64_t tokens, int64_t n) { return (tokens + 15) / 16 * steps(n) * THREE; }
  INLINE int64_t token_at(int64_t t, int64_t n) { return space(t, n); }
  static void begin(int64_t) { TileShapes().use(); }
  static void end() { _tile_release(); }
  INLINE int64_t at(int64_t t, int64_t i, int64_t n) { return t * n + i; }
  INLINE int64_t sum(int64_t o, int64_t t) { return o * TOKENS + t; }

  static const bfloat16 *lay(const float *x, int64_t tokens, int64_t n, bfloat16 *laid) {
#pragma omp for schedule(static)
    for (int64_t k = 0; k < steps(n); k++)
      for (int64_t t = 0; t < tokens; t += 16) {
        bfloat16 *to = laid + token_at(t, n) + k * THREE;
        for (int64_t i = 0; i < 16; i++) cut<true>(x + (t + i) * n + k * WIDTH, t + i < tokens ? n - k * WIDTH : 0, to + i * WIDTH);
        for (int p = 0; p < THREE; p += TILE) turn(to + p);
      }
    return laid;
  }

  /* Rows `from` to `upto` of a block are cut; whole: all of it is there, else so many rows and values. */
  template <bool whole>
  INLINE void cut_rows(const float *w, int64_t n, int64_t rows, int64_t values, int from, int upto, bfloat16 *pieces) {
    for (int o = from; o < upto; o++)
      cut<false>(w + o * n, whole ? WIDTH : o < rows ? values : 0, pieces + o / 16 * THREE + o % 16 * WIDTH);
  }

  /* A block in pieces times up to 16 tokens, or 32, the second 16 `second` behind the first. Meanwhile the block at `next` is cut. */
  template <bool two, bool whole>
  INLINE void multiply_block(const bfloat16 *w, const bfloat16 *x, int64_t second, const float *next, int64_t n, int64_t rows, int64_t values,
                             bfloat16 *pieces) {
    multiply_pieces<two>(w, THREE, x, second, [&](int number) __attribute__((always_inline)) {
      cut_rows<whole>(next, n, rows, values, number * ROWS / 6, (number + 1) * ROWS / 6, pieces);
    });
  }

  template <bool two>
  INLINE void multiply(const float *w, const bfloat16 *x, int64_t n, int64_t rows, float *out) {
    alignas(64) bfloat16 pieces[2][2 * THREE];
    const int64_t second = steps(n) * THREE;
    begin_sums(out, TOKENS, false);
    cut_rows<false>(w, n, rows, n, 0, ROWS, pieces[0]);
    for (int64_t k = 0; k < steps(n); k++, x += THREE) {
      settle();
      const int64_t at = (k + 1) * WIDTH; /* of the next block */
      if (rows == ROWS && at + WIDTH <= n)
        multiply_block<two, true>(pieces[k % 2], x, second, w + at, n, rows, WIDTH, pieces[(k + 1) % 2]);
      else
        multiply_block<two, false>(pieces[k % 2], x, second, w + at, n, rows, n - at, pieces[(k + 1) % 2]);
    }
    end_sums(out, TOKENS);
    settle();
  }

  static __attribute__((noinline)) void product(const in_pieces *w, const bfloat16 *x, int64_t n, int64_t rows, int64_t tokens, int64_t, int64_t,
                                                float *out) {
    if (tokens > 16)
      multiply<true>(&w->value, x, n, rows, out);
    else
      multiply<false>(&w->value, x, n, rows, out);
  }
};
#endif
