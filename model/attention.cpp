/* The backward pass of causal attention in bfloat16, by the processor's matrix tiles (Intel AMX).

     P = exp(scale q k^T - L);  dV = P^T dO;  dS = P (dO V^T - D) scale;  dQ = dS K;  dK = dS^T Q      D = rowsum(dO o O)

   L is the log of the softmax's sums, which the forward pass leaves (FlashAttention-2, Dao 2023). Scores are made again, a block of EDGE keys
   by EDGE queries at a time, transposed: keys are rows, so that what the elementwise part writes is what the next products read. Blocks in
   which nothing is visible are left out. Products are of bfloat16 and add up in fp32, everything between is fp32.

   Limits: heads of a multiple of 32; parallel over rows and key/value heads, nothing finer. */

#include <stdint.h>

#ifndef __AMX_BF16__
extern "C" int allowed() { return 1; }
#else

#include <stdlib.h>
#include <string.h>

#include "amx.h"
#include "vectors.h"

enum { EDGE = 64 };

typedef uint32_t uvec __attribute__((vector_size(4 * LANES)));

extern "C" int allowed() { return ask_for_tiles(); }

/* c [m, n] (+)= a [m, k] b, b as pairs of rows [k / 2, n, 2]; m, n and k are multiples of 32, the widths what a row takes in memory. */
static void multiply(float *c, int64_t c_row, const bfloat16 *a, int64_t a_row, const bfloat16 *b, int64_t b_row, int64_t m, int64_t n, int64_t k,
                     bool add) {
  settle();
  for (int64_t i = 0; i < m; i += 32)
    for (int64_t j = 0; j < n; j += 32) {
      float *at = c + i * c_row + j;
      const size_t row = (size_t)c_row * 4;
      if (add) {
        _tile_loadd(0, at, row);
        _tile_loadd(1, at + 16, row);
        _tile_loadd(2, at + 16 * c_row, row);
        _tile_loadd(3, at + 16 * c_row + 16, row);
      } else {
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
      }
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
      _tile_stored(0, at, row);
      _tile_stored(1, at + 16, row);
      _tile_stored(2, at + 16 * c_row, row);
      _tile_stored(3, at + 16 * c_row + 16, row);
    }
}

/* A tensor [rows, heads, length, d_head] with its strides; a head's values lie side by side.
   The same fields, in the same order, as the structures of tiles.py. */
template <class W>
struct View {
  W *at;
  int64_t row, head, token;
};

struct Task {
  int64_t rows, heads, kv_heads, length, d_head, threads;
  float scale;
  View<bfloat16> q, k, v, o, d_o, d_q, d_k, d_v;
  View<float> sums; /* L [rows, heads, length] */
};

/* Memory of a thread, for heads of `length` padded to whole blocks. */
struct Space {
  bfloat16 *k, *v;                /* [length, d_head] */
  bfloat16 *k_turned;             /* [d_head, length] */
  bfloat16 *q_columns, *o_columns; /* queries and dO as pairs of values [d_head / 2, length, 2] */
  bfloat16 *q_rows, *o_rows;       /* and as pairs of tokens [length / 2, d_head, 2] */
  float *d_k, *d_v;                /* [length, d_head] */
  float *d_q;                      /* [d_head, EDGE], of one block */
  float *sums, *shared;            /* L and D [length] */
};

static int64_t space_bytes(int64_t length, int64_t dh) { return length * dh * (7 * 2 + 2 * 4) + dh * EDGE * 4 + 2 * length * 4; }

static Space divided(char *memory, int64_t length, int64_t dh) {
  Space s;
  float *f = (float *)memory;
  s.d_k = f, s.d_v = s.d_k + length * dh, s.d_q = s.d_v + length * dh, s.sums = s.d_q + dh * EDGE, s.shared = s.sums + length;
  bfloat16 *b = (bfloat16 *)(s.shared + length);
  bfloat16 **parts[] = {&s.k, &s.v, &s.k_turned, &s.q_columns, &s.o_columns, &s.q_rows, &s.o_rows};
  for (int i = 0; i < 7; i++) *parts[i] = b + i * length * dh;
  return s;
}

template <class W>
INLINE W *token(const View<W> &v, int64_t row, int64_t head, int64_t t) {
  return v.at + row * v.row + head * v.head + t * v.token;
}

/* rows [n, width] of words -> columns [width, n_all] from column `first` on; n is at most 16, so that a line is written at once */
template <class Word>
INLINE void turn(const Word *const *rows, int64_t n, int64_t width, Word *columns, int64_t n_all, int64_t first) {
  for (int64_t j = 0; j < width; j++)
    for (int64_t i = 0; i < n; i++) memcpy(columns + j * n_all + first + i, rows[i] + j, sizeof(Word));
}

/* Two rows [width] -> pairs [width, 2]; without the second, zeros. */
INLINE void pair(const bfloat16 *one, const bfloat16 *other, int64_t width, bfloat16 *to) {
  for (int64_t j = 0; j < width; j += LANES) {
    const ivec low = (ivec)((uvec)(ivec)load(one + j) >> 16), high = other ? (ivec)load(other + j) : low - low;
    const ivec both = low | high;
    memcpy(to + 2 * j, &both, sizeof both);
  }
}

static void read_keys(const Task &t, const Space &s, int64_t row, int64_t head, int64_t length) {
  const int64_t dh = t.d_head;
  for (int64_t first = 0; first < t.length; first += 16) {
    const int64_t n = least(16, t.length - first);
    const bfloat16 *rows[16];
    for (int64_t i = 0; i < n; i++) {
      rows[i] = token(t.k, row, head, first + i);
      memcpy(s.k + (first + i) * dh, rows[i], (size_t)dh * 2);
      memcpy(s.v + (first + i) * dh, token(t.v, row, head, first + i), (size_t)dh * 2);
    }
    turn(rows, n, dh, s.k_turned, length, first);
  }
}

static void read_queries(const Task &t, const Space &s, int64_t row, int64_t head, int64_t length) {
  const int64_t dh = t.d_head;
  for (int64_t first = 0; first < t.length; first += 16) {
    const int64_t n = least(16, t.length - first);
    const bfloat16 *q[17] = {}, *d_o[17] = {};
    for (int64_t i = 0; i < n; i++) {
      q[i] = token(t.q, row, head, first + i), d_o[i] = token(t.d_o, row, head, first + i);
      const bfloat16 *o = token(t.o, row, head, first + i);
      vec shared = {};
      for (int64_t j = 0; j < dh; j += LANES) shared += load(d_o[i] + j) * load(o + j);
      s.shared[first + i] = total(shared);
      s.sums[first + i] = *token(t.sums, row, head, first + i);
    }
    for (int64_t i = 0; i < n; i += 2) {
      pair(q[i], q[i + 1], dh, s.q_rows + (first + i) * dh);
      pair(d_o[i], d_o[i + 1], dh, s.o_rows + (first + i) * dh);
    }
    turn((const uint32_t **)q, n, dh / 2, (uint32_t *)s.q_columns, length, first);
    turn((const uint32_t **)d_o, n, dh / 2, (uint32_t *)s.o_columns, length, first);
  }
}

INLINE __m256i narrowed(vec x) { return (__m256i)_mm512_cvtneps_pbh((__m512)x); }

/* Between the products, on a block of keys by queries: scores -> P; dO V^T -> dS, in both the layouts that are read afterwards. */
static void weigh(const Task &t, const Space &s, int64_t key, int64_t query, const float *scores, const float *slopes, bfloat16 *p, bfloat16 *ds,
                  bfloat16 *ds_pairs) {
  const bool whole = key + EDGE <= query && query + EDGE <= t.length;
  ivec lane;
  for (int i = 0; i < LANES; i++) lane[i] = i;
  for (int64_t j = 0; j < EDGE; j += LANES) {
    const vec sums = load(s.sums + query + j), shared = load(s.shared + query + j);
    const ivec at = lane + (int32_t)(query + j);
    for (int64_t i = 0; i < EDGE; i += 2) {
      __m512i halves[2];
      for (int64_t k = 0; k < 2; k++) {
        const int64_t here = (i + k) * EDGE + j;
        vec weight = exponential(load(scores + here) * t.scale - sums);
        if (!whole) weight = at >= (int32_t)(key + i + k) && at < (int32_t)t.length ? weight : weight - weight;
        const vec slope = weight * (load(slopes + here) - shared) * t.scale;
        _mm256_storeu_si256((__m256i *)(p + here), narrowed(weight));
        const __m256i half = narrowed(slope);
        _mm256_storeu_si256((__m256i *)(ds + here), half);
        halves[k] = _mm512_cvtepu16_epi32(half);
      }
      _mm512_storeu_si512(ds_pairs + (i / 2 * EDGE + j) * 2, _mm512_or_si512(halves[0], _mm512_slli_epi32(halves[1], 16)));
    }
  }
}

/* The part of one query head in the gradients. */
static void queries_of(const Task &t, const Space &s, int64_t row, int64_t head, int64_t length) {
  const int64_t dh = t.d_head;
  alignas(64) float scores[EDGE * EDGE], slopes[EDGE * EDGE];
  alignas(64) bfloat16 p[EDGE * EDGE], ds[EDGE * EDGE], ds_pairs[EDGE * EDGE];
  for (int64_t query = 0; query < t.length; query += EDGE) {
    for (int64_t key = 0; key <= query; key += EDGE) {
      multiply(scores, EDGE, s.k + key * dh, dh, s.q_columns + 2 * query, 2 * length, EDGE, EDGE, dh, false);
      multiply(slopes, EDGE, s.v + key * dh, dh, s.o_columns + 2 * query, 2 * length, EDGE, EDGE, dh, false);
      weigh(t, s, key, query, scores, slopes, p, ds, ds_pairs);
      multiply(s.d_v + key * dh, dh, p, EDGE, s.o_rows + query * dh, 2 * dh, EDGE, dh, EDGE, true);
      multiply(s.d_k + key * dh, dh, ds, EDGE, s.q_rows + query * dh, 2 * dh, EDGE, dh, EDGE, true);
      multiply(s.d_q, EDGE, s.k_turned + key, length, ds_pairs, 2 * EDGE, dh, EDGE, EDGE, key > 0);
    }
    for (int64_t i = query; i < least(query + EDGE, t.length); i++)
      for (int64_t j = 0; j < dh; j++) narrow(s.d_q[j * EDGE + i - query], token(t.d_q, row, head, i) + j);
  }
}

/* Returns 1 where there is no memory, else 0. */
extern "C" int backward(const Task *task) {
  const Task &t = *task;
  const int64_t length = (t.length + EDGE - 1) / EDGE * EDGE, dh = t.d_head, group = t.heads / t.kv_heads;
  const int64_t bytes = (space_bytes(length, dh) + 63) / 64 * 64;
  int failed = 0;
#pragma omp parallel num_threads((int)t.threads) reduction(| : failed)
  {
    char *memory = (char *)aligned_alloc(64, (size_t)bytes);
    failed = !memory;
    if (memory) memset(memory, 0, (size_t)bytes);
    TileShapes().use();
#pragma omp for schedule(static)
    for (int64_t i = 0; i < t.rows * t.kv_heads; i++) {
      if (failed) continue;
      const int64_t row = i / t.kv_heads, of = i % t.kv_heads;
      const Space s = divided(memory, length, dh);
      read_keys(t, s, row, of, length);
      memset(s.d_k, 0, (size_t)(2 * length * dh) * 4);
      for (int64_t head = of * group; head < (of + 1) * group; head++) {
        read_queries(t, s, row, head, length);
        queries_of(t, s, row, head, length);
      }
      for (int64_t j = 0; j < t.length; j++)
        for (int64_t k = 0; k < dh; k++) {
          narrow(s.d_k[j * dh + k], token(t.d_k, row, of, j) + k);
          narrow(s.d_v[j * dh + k], token(t.d_v, row, of, j) + k);
        }
    }
    _tile_release();
    free(memory);
  }
  return failed;
}
#endif
