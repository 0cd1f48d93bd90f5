/* Products in fp32, y = x w^T, by the processor's matrix tiles (Intel AMX), each number in three pieces of bfloat16 (`pieces.h`).

   The six products take less than half the time that vectors take for one, if nobody else uses the processor's tiles; cutting a number
   into pieces takes as long as some tens of products by vectors. So it pays from hundreds of tokens on; few tokens, which wait for the
   numbers to come from memory, are multiplied elsewhere (`tiles.h`). A tile's instruction adds up 32 products before it adds them to the sum.

   A result hangs on its own row and token alone, to the bit. The threads share rows, 32 at least each. */

#include <stdint.h>
#include <stdlib.h>

#include "pieces.h"

#ifdef __AMX_BF16__
enum {
  ROWS = 128,    /* of w that a thread holds in pieces, */
  WIDTH = 1024,  /* of which so many values at a time: near, in its second cache */
  TOKENS = 2048, /* that all threads hold in pieces */
};

/* Up to 16 rows of n values -> tiles; rows and values that are not there are zeros. */
template <bool nearest>
static void cut_rows(const float *x, int64_t row, int64_t rows, int64_t n, bfloat16 *tiles) {
  for (int64_t i = 0; i < 16; i++)
    for (int64_t j = 0; j < n; j += 32) cut<nearest>(x + i * row + j, i < rows ? n - j : 0, tiles + j / 32 * THREE + i * 32);
}

/* y [32, 32] (+)= x w^T of `steps` tiles' widths; of x and of w two rows of tiles, the second `x_next` and `w_next` behind the first.
   Meanwhile FETCHED bytes a step are fetched from `ahead` on. */
enum { FETCHED = 24 * 64 };
static void multiply(float *y, int64_t y_row, const bfloat16 *x, int64_t x_next, const bfloat16 *w, int64_t w_next, int64_t steps, bool add,
                     const char *ahead) {
  settle();
  begin_sums(y, y_row, add);
  for (int64_t t = 0; t < 32; t++) { /* what is written at the end */
    _m_prefetchw(y + t * y_row);
    _m_prefetchw(y + t * y_row + 16);
  }
  for (int64_t k = 0; k < steps; k++, x += THREE, w += THREE)
    multiply_pieces<true>(x, x_next, w, w_next, [&](int) __attribute__((always_inline)) {
      for (int i = 0; i < FETCHED; i += 6 * 64, ahead += 64) _mm_prefetch(ahead, _MM_HINT_T0);
    });
  end_sums(y, y_row);
}

/* The same at the edge of y, of which `tokens` rows and `rows` columns are there. */
static void multiply_edge(float *y, int64_t y_row, int64_t tokens, int64_t rows, const bfloat16 *x, int64_t x_next, const bfloat16 *w,
                          int64_t w_next, int64_t steps, bool add, const char *ahead) {
  alignas(64) float whole[32 * 32];
  for (int64_t t = 0; add && t < tokens; t++) memcpy(whole + t * 32, y + t * y_row, sizeof *y * (size_t)rows);
  multiply(whole, 32, x, x_next, w, w_next, steps, add, ahead);
  for (int64_t t = 0; t < tokens; t++) memcpy(y + t * y_row, whole + t * 32, sizeof *y * (size_t)rows);
}

/* Rows of w, already in pieces, times all tokens in pieces: y [tokens, rows] (+)= x w^T. */
static void multiply_all(float *y, int64_t y_row, int64_t tokens, int64_t rows, const bfloat16 *x, int64_t x_next, const bfloat16 *w,
                         int64_t w_next, int64_t steps, bool add) {
  for (int64_t t = 0; t < tokens; t += 32)
    for (int64_t o = 0; o < rows; o += 32) {
      float *at = y + t * y_row + o;
      const bfloat16 *left = x + t / 16 * x_next, *right = w + o / 16 * w_next;
      const char *ahead = (const char *)(left + 2 * x_next) + o / 32 * steps * FETCHED; /* the next tokens, in shares */
      if (t + 32 <= tokens && o + 32 <= rows)
        multiply(at, y_row, left, x_next, right, w_next, steps, add, ahead);
      else
        multiply_edge(at, y_row, least(32, tokens - t), least(32, rows - o), left, x_next, right, w_next, steps, add, ahead);
    }
}

/* n cut into equal parts of at most `most`, as multiples of 32: the length of one. */
static int64_t part(int64_t n, int64_t most) {
  const int64_t parts = (n + most - 1) / most;
  return ((n + parts - 1) / parts + 31) / 32 * 32;
}

/* y [tokens, rows] = x [tokens, n] w^T, w [rows, n]. Returns 1 where there is no memory, else 0. */
extern "C" int product(const float *x, const float *w, float *y, int64_t tokens, int64_t rows, int64_t n, int64_t threads) {
  const int64_t width = part(n, WIDTH), some = part(tokens, TOKENS), few = part(rows, least(ROWS, rows / threads + 1)), tiles = (n + 31) / 32;
  bfloat16 *x_pieces = (bfloat16 *)aligned_alloc(64, sizeof(bfloat16) * (size_t)(some / 16 * tiles * THREE));
  int failed = !x_pieces;
#pragma omp parallel num_threads((int)threads) reduction(| : failed)
  {
    bfloat16 *w_pieces = (bfloat16 *)aligned_alloc(64, sizeof(bfloat16) * (size_t)(few / 16 * width / 32 * THREE));
    failed |= !w_pieces || !x_pieces;
    TileShapes().use();
    for (int64_t t = 0; t < tokens; t += some) {
      const int64_t here = least(some, tokens - t);
#pragma omp for schedule(static)
      for (int64_t i = 0; i < (here + 31) / 32 * 32; i += 16)
        if (!failed) cut_rows<true>(x + (t + i) * n, n, here - i, n, x_pieces + i / 16 * tiles * THREE);
#pragma omp for schedule(dynamic)
      for (int64_t o = 0; o < rows; o += few) {
        const int64_t these = least(few, rows - o);
        for (int64_t k = 0; k < n && !failed; k += width) {
          const int64_t values = least(width, n - k), steps = (values + 31) / 32;
          for (int64_t i = 0; i < (these + 31) / 32 * 32; i += 16) {
            bfloat16 *to = w_pieces + i / 16 * steps * THREE;
            cut_rows<false>(w + (o + i) * n + k, n, these - i, values, to);
            for (int64_t j = 0; j < steps * 3; j++) turn(to + j * TILE);
          }
          multiply_all(y + t * rows + o, rows, here, these, x_pieces + k / 32 * THREE, tiles * THREE, w_pieces, steps * THREE, steps, k > 0);
        }
      }
    }
    _tile_release();
    free(w_pieces);
  }
  free(x_pieces);
  return failed;
}
#endif
