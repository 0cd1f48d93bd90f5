/* Numbers in three pieces of bfloat16, a = h + m + l, for the processor's matrix tiles (Intel AMX), which multiply nothing wider.

   Each piece is 8 bits of what is left, so nothing is lost. Of the nine products of two numbers' pieces six are computed, lh mh mm hm hh hl.
   The three left out are less than 2^-22 of the product, and 2^-25 as a rule, with either sign, if one number's pieces are the nearest ones;
   the other's may be what lies above, which is cut faster. fp32 rounds to 2^-24.

   Limits: what is smaller than 2^-126 counts as nothing, also as a piece; an infinity becomes NaN. */

#pragma once

#include "amx.h"
#include "vectors.h"

#ifdef __AMX_BF16__
enum {
  TILE = 16 * 32,   /* values of a tile: 16 rows or tokens by 32 */
  THREE = 3 * TILE, /* its h, m and l, one behind the other */
};

/* 32 values, of which n are there -> a row of each piece's tile. Values 16 apart become neighbours, of both factors alike. */
template <bool nearest>
INLINE void cut(const float *x, int64_t n, bfloat16 *row) {
  const uint32_t there = n >= 32 ? ~0u : n > 0 ? (1u << n) - 1 : 0;
  const __m512i upper = _mm512_set1_epi32((int)0xffff0000), half = _mm512_set1_epi32(0x8000);
  __m512i low = (__m512i)_mm512_maskz_loadu_ps((__mmask16)there, x), high = (__m512i)_mm512_maskz_loadu_ps((__mmask16)(there >> 16), x + 16);
  for (int p = 0; p < THREE; p += TILE) {
    const bool round = nearest && p < 2 * TILE; /* of l there is nothing to round */
    const __m512i a = _mm512_and_si512(round ? _mm512_add_epi32(low, half) : low, upper);
    const __m512i b = _mm512_and_si512(round ? _mm512_add_epi32(high, half) : high, upper);
    _mm512_store_si512(row + p, _mm512_or_si512(_mm512_srli_epi32(a, 16), b));
    low = (__m512i)((__m512)low - (__m512)a);
    high = (__m512i)((__m512)high - (__m512)b);
  }
}

/* A tile as the second factor: its [16, 16] pairs of values turned. Twice by pairs of rows, twice by quarters. */
INLINE void turn(bfloat16 *tile) {
  __m512i a[16], b[16];
  for (int i = 0; i < 16; i++) a[i] = _mm512_load_si512(tile + i * 32);
  for (int i = 0; i < 16; i += 2) b[i] = _mm512_unpacklo_epi32(a[i], a[i + 1]), b[i + 1] = _mm512_unpackhi_epi32(a[i], a[i + 1]);
  for (int i = 0; i < 16; i += 4)
    for (int j = 0; j < 2; j++) {
      a[i + 2 * j] = _mm512_unpacklo_epi64(b[i + j], b[i + j + 2]);
      a[i + 2 * j + 1] = _mm512_unpackhi_epi64(b[i + j], b[i + j + 2]);
    }
  for (int i = 0; i < 16; i += 8)
    for (int j = 0; j < 4; j++) {
      b[i + j] = _mm512_shuffle_i32x4(a[i + j], a[i + j + 4], 0x88);
      b[i + j + 4] = _mm512_shuffle_i32x4(a[i + j], a[i + j + 4], 0xdd);
    }
  for (int j = 0; j < 8; j++) {
    _mm512_store_si512(tile + j * 32, _mm512_shuffle_i32x4(b[j], b[j + 8], 0x88));
    _mm512_store_si512(tile + (j + 8) * 32, _mm512_shuffle_i32x4(b[j], b[j + 8], 0xdd));
  }
}


/* Tiles 0 to 3, the sums [2, 2], += left [2] right [2], the second of each `next` behind the first, or, if not two, left [2] right. Six
   products of pieces, from one to the next of which one factor changes; behind each, with its number, the processor has time for `meanwhile`. */
template <bool two, class Work>
INLINE void multiply_pieces(const bfloat16 *left, int64_t left_next, const bfloat16 *right, int64_t right_next, Work meanwhile) {
  enum { H = 0, M = TILE, L = 2 * TILE };
#define PRODUCT(sum, a, b) \
  if (two || sum % 2 == 0) _tile_dpbf16ps(sum, a, b);
#define LEFT(piece, number)                     \
  _tile_loadd(4, left + piece, 64);             \
  PRODUCT(0, 4, 6) PRODUCT(1, 4, 7)             \
  _tile_loadd(5, left + left_next + piece, 64); \
  PRODUCT(2, 5, 6) PRODUCT(3, 5, 7)             \
  meanwhile(number);
#define RIGHT(piece, number)                               \
  _tile_loadd(6, right + piece, 64);                       \
  PRODUCT(0, 4, 6) PRODUCT(2, 5, 6)                        \
  if (two) _tile_loadd(7, right + right_next + piece, 64); \
  PRODUCT(1, 4, 7) PRODUCT(3, 5, 7)                        \
  meanwhile(number);
  _tile_loadd(6, right + H, 64);
  if (two) _tile_loadd(7, right + right_next + H, 64);
  LEFT(L, 0) LEFT(M, 1) RIGHT(M, 2) LEFT(H, 3) RIGHT(H, 4) RIGHT(L, 5)
#undef RIGHT
#undef LEFT
#undef PRODUCT
}
#endif
