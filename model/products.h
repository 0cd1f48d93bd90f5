/* Products of blocks, [m, k] by [k, n], that add up in fp32: of fp32 by vectors, of bfloat16 by the processor's matrix tiles (Intel AMX).

   The second factor lies packed: [k / PACK, n, PACK], so that a row of it is a row of 4-byte words. */

#pragma once

#include <stdint.h>
#include <string.h>

#include "amx.h"
#include "vectors.h"

template <class W>
constexpr int64_t PACK = 4 / sizeof(W);

/* c [m, n] (+)= a [m, k] b, b packed; m, n and k are multiples of 32, the widths what a row takes in memory. */
static void multiply(float *c, int64_t c_row, const float *a, int64_t a_row, const float *b, int64_t b_row, int64_t m, int64_t n, int64_t k,
                     bool add) {
  enum { ROWS = LANES == 16 ? 8 : 4, VECTORS = 2 }; /* sums that fit in the registers */
  for (int64_t i = 0; i < m; i += ROWS)
    for (int64_t j = 0; j < n; j += VECTORS * LANES) {
      vec sums[ROWS][VECTORS] = {};
      if (add)
        for (int r = 0; r < ROWS; r++)
          for (int v = 0; v < VECTORS; v++) sums[r][v] = load(c + (i + r) * c_row + j + v * LANES);
      for (int64_t l = 0; l < k; l++) {
        vec factors[VECTORS];
        for (int v = 0; v < VECTORS; v++) factors[v] = load(b + l * b_row + j + v * LANES);
        for (int r = 0; r < ROWS; r++)
          for (int v = 0; v < VECTORS; v++) sums[r][v] += a[(i + r) * a_row + l] * factors[v];
      }
      for (int r = 0; r < ROWS; r++)
        for (int v = 0; v < VECTORS; v++) store(c + (i + r) * c_row + j + v * LANES, sums[r][v]);
    }
}

/* PACK rows side by side: [width, PACK]; one that is not there is zeros. */
INLINE void pack(const float *const *rows, int64_t width, float *to) { memcpy(to, rows[0], (size_t)width * 4); }

/* The same, of LANES fp32 values each. */
INLINE void pack(const vec *rows, float *to) { store(to, rows[0]); }

#ifdef __AMX_BF16__
static void multiply(float *c, int64_t c_row, const bfloat16 *a, int64_t a_row, const bfloat16 *b, int64_t b_row, int64_t m, int64_t n, int64_t k,
                     bool add) {
  settle();
  for (int64_t i = 0; i < m; i += 32)
    for (int64_t j = 0; j < n; j += 32) {
      float *at = c + i * c_row + j;
      begin_sums(at, c_row, add);
      for (int64_t l = 0; l < k; l += 32) {
        _tile_loadd(4, a + i * a_row + l, (size_t)a_row * 2);
        _tile_loadd(5, a + (i + 16) * a_row + l, (size_t)a_row * 2);
        _tile_loadd(6, b + l / 2 * b_row + 2 * j, (size_t)b_row * 2);
        _tile_loadd(7, b + l / 2 * b_row + 2 * j + 32, (size_t)b_row * 2);
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(1, 4, 7);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
      }
      end_sums(at, c_row);
    }
}

typedef uint32_t uvec __attribute__((vector_size(4 * LANES)));

INLINE void pack(const bfloat16 *const *rows, int64_t width, bfloat16 *to) {
  for (int64_t j = 0; j < width; j += LANES) {
    const ivec low = (ivec)load(rows[0] + j), high = rows[1] ? (ivec)load(rows[1] + j) : low - low;
    const ivec both = (ivec)((uvec)low >> 16) | high;
    memcpy(to + 2 * j, &both, sizeof both);
  }
}

INLINE void pack(const vec *rows, bfloat16 *to) {
  const __m512i low = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh((__m512)rows[0]));
  const __m512i high = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh((__m512)rows[1]));
  _mm512_storeu_si512(to, _mm512_or_si512(low, _mm512_slli_epi32(high, 16)));
}

INLINE void store(bfloat16 *to, vec x) { _mm256_storeu_si256((__m256i *)to, (__m256i)_mm512_cvtneps_pbh((__m512)x)); }
#endif

