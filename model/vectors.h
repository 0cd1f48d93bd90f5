/* Vectors of floats, bfloat16 and bytes, and e^x, by the compiler's own vector types: any processor. */

#pragma once

#include <stdint.h>
#include <string.h>
#ifdef __AVX2__
#include <immintrin.h>
#endif

#define INLINE static inline __attribute__((always_inline))

#ifdef __AVX512F__
enum { LANES = 16 };
#else
enum { LANES = 8 };
#endif

typedef float vec __attribute__((vector_size(4 * LANES)));
typedef int32_t ivec __attribute__((vector_size(4 * LANES)));

struct bfloat16 {
  uint16_t bits;
};

INLINE float wide(float w) { return w; }
INLINE float wide(int8_t w) { return w; }
INLINE float wide(bfloat16 w) {
  const uint32_t bits = (uint32_t)w.bits << 16;
  float x;
  memcpy(&x, &bits, sizeof x);
  return x;
}

INLINE void narrow(float x, float *to) { *to = x; }
INLINE void narrow(float x, bfloat16 *to) { /* to the nearest, ties to even */
  uint32_t bits;
  memcpy(&bits, &x, sizeof bits);
  to->bits = (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

INLINE vec load(const float *x) {
  vec v;
  memcpy(&v, x, sizeof v);
  return v;
}
INLINE vec load(const bfloat16 *w) {
  typedef uint16_t packed __attribute__((vector_size(2 * LANES)));
  packed bits;
  memcpy(&bits, w, sizeof bits);
  return (vec)(__builtin_convertvector(bits, ivec) << 16);
}
INLINE vec load(const int8_t *w) {
#if defined __AVX512F__ /* by name: some compilers take bytes apart one by one */
  return __builtin_convertvector((ivec)_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)w)), vec);
#elif defined __AVX2__
  return __builtin_convertvector((ivec)_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)w)), vec);
#else
  typedef int8_t packed __attribute__((vector_size(LANES)));
  packed bytes;
  memcpy(&bytes, w, sizeof bytes);
  return __builtin_convertvector(__builtin_convertvector(bytes, ivec), vec);
#endif
}
INLINE void store(float *x, vec v) { memcpy(x, &v, sizeof v); }

INLINE float total(vec v) { /* by halves, in registers */
  typedef float half __attribute__((vector_size(2 * LANES)));
  typedef float quarter __attribute__((vector_size(LANES)));
  half h[2];
  quarter q[2];
  memcpy(h, &v, sizeof v);
  h[0] += h[1];
  memcpy(q, h, sizeof h[0]);
  q[0] += q[1];
  return LANES == 16 ? (q[0][0] + q[0][2]) + (q[0][1] + q[0][LANES / 4 - 1]) : q[0][0] + q[0][1];
}

INLINE float largest(vec v) { /* by halves too */
  float all[LANES];
  store(all, v);
  for (int half = LANES / 2; half; half /= 2)
    for (int i = 0; i < half; i++) all[i] = all[i] > all[i + half] ? all[i] : all[i + half];
  return all[0];
}

/* out[k] = total(v[k]), to the bit. */
template <int n>
INLINE void totals(const vec *v, float *out) {
  int k = 0;
#ifdef __AVX512F__
  for (; k + 4 < n; k += 16) { /* sixteen at once: of two vectors the halves are added side by side, then their quarters, and so on */
    __m512 s[16];
    for (int i = 0; i < 16; i++) s[i % 4 * 4 + i / 4] = k + i < n ? (__m512)v[k + i] : _mm512_setzero_ps();
    for (int i = 0; i < 8; i++) {
      const __m512 a = s[2 * i], b = s[2 * i + 1];
      s[i] = _mm512_shuffle_f32x4(a, b, 0x44) + _mm512_shuffle_f32x4(a, b, 0xee);
    }
    for (int i = 0; i < 4; i++) {
      const __m512 a = s[2 * i], b = s[2 * i + 1];
      s[i] = _mm512_shuffle_f32x4(a, b, 0x88) + _mm512_shuffle_f32x4(a, b, 0xdd);
    }
    for (int i = 0; i < 2; i++) {
      const __m512d a = (__m512d)s[2 * i], b = (__m512d)s[2 * i + 1];
      s[i] = (__m512)_mm512_unpacklo_pd(a, b) + (__m512)_mm512_unpackhi_pd(a, b);
    }
    s[0] = _mm512_shuffle_ps(s[0], s[1], 0x88) + _mm512_shuffle_ps(s[0], s[1], 0xdd);
    memcpy(out + k, s, sizeof *out * (n - k < 16 ? n - k : 16));
  }
#endif
  for (; k < n; k++) out[k] = total(v[k]);
}

/* e^x by 2^n e^r, |r| <= ln(2)/2, to 2 units in the last place; x is held within -87 and 88. */
INLINE vec exponential(vec x) {
  const vec zero = {}, least = zero - 87.0f, most = zero + 88.0f;
  x = x < least ? least : x > most ? most : x;
  const float round = 12582912.0f; /* 1.5 * 2^23: what is added to it becomes an integer */
  const vec n = (x * 1.44269504f + round) - round;
  const vec r = x - n * 0.693359375f + n * 2.12194440e-4f;
  vec p = r * 1.9875691500e-4f + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * (r * r) + r + 1.0f;
  return p * (vec)((__builtin_convertvector(n, ivec) + 127) << 23);
}

INLINE int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
INLINE int64_t greatest(int64_t a, int64_t b) { return a > b ? a : b; }
