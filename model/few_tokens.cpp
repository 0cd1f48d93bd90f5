/* The decoder's layers for a few tokens at once: what `Decoder._through` computes, in one call.

     x += o(attention(norm(x)));  x += down(ffn(norm(x)))     for every run of every layer

   A forward of few tokens reads each weight once and does little else; what it costs beside that is the code that runs between two
   products. Here that is a barrier. Cache and what a product reads are fp32 or bfloat16 (W); weights (M) are too, or integers of 8 bits
   with a factor for each row; sums and everything else are fp32. How they are multiplied stands in `tiles.h`.

   Every sum is added up in an order that depends on the shape alone, neither on how many tokens there are nor on the threads: a token's
   result is the same, to the bit, whatever is computed beside it.

   Limits: plain layers (`few_tokens.py` says which); products are not blocked for caches, so long prompts are read elsewhere. */

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "tiles.h"
#include "vectors.h"

enum { KEYS = 48 }; /* that are scored at a time */

/* The same fields, in the same order, as the structures of few_tokens.py. */
struct Shape {
  int64_t d, heads, kv_heads, d_head, d_ff, half; /* half: pairs of a head that turn */
  int64_t normed, positions, threads;             /* normed: queries and keys are; positions: length of the rope's table */
  float eps, scale, softcap, branch, slope;       /* branch: factor of what joins the stream; slope: of a squared FFN */
};

template <class M>
struct Matrix { /* [out, in] */
  const M *w;
  const float *factor; /* [out] of each row; none: 1 */
};

template <class W>
struct Cached {
  W *keys, *values; /* [rows, kv_heads, capacity, d_head] */
  int64_t capacity, window, ring; /* window 0: all is seen; ring: position p lies at p mod ring, 0: at p */
  int64_t place(int64_t position) const { return ring ? position % ring : position; }
};

template <class M, class W>
struct Layer {
  Matrix<M> q, k, v, o, gate, up, down;      /* without a gate the FFN is down(lrelu(up)^2) */
  const float *attention_gain, *ffn_gain;    /* [d] */
  const float *head_gain;                    /* [heads + kv_heads, d_head] */
  Cached<W> cache;
};

/* The new tokens: where each lies in the cache, [n] each, and cos and sin of the positions, [2, positions, half]. */
struct Places {
  int64_t n;
  const int64_t *row, *position;
  const float *rope;
};

/* Everything down to `through` runs in all threads; each `omp for` ends with a barrier. */

/* out[T::sum(j, i)] = (row o + j of m) . (token t + i of x, which has `every`), rows of n */
template <class M, class W>
INLINE void found(Matrix<M> m, int64_t o, const typename Tiles<M, W>::Laid *x, int64_t t, int64_t every, int64_t n, int64_t rows,
                  int64_t tokens, float *out) {
  typedef Tiles<M, W> T;
  T::product(m.w + o * n, x + T::token_at(t, n), n, rows, tokens, t / T::TOKENS, (every + T::TOKENS - 1) / T::TOKENS, out);
  if (m.factor)
    for (int64_t j = 0; j < rows; j++)
      for (int64_t i = 0; i < tokens; i++) out[T::sum(j, i)] *= m.factor[o + j];
}

/* y[t, o] = m[o] . x[t], or y[t, o] += factor * m[o] . x[t]; rows of y lie y_row apart. */
template <bool add, class M, class W>
static void product(Matrix<M> m, int64_t outs, const typename Tiles<M, W>::Laid *x, int64_t ins, int64_t n, float *y, int64_t y_row,
                    float factor = 1) {
  typedef Tiles<M, W> T;
  T::begin(ins);
#pragma omp for schedule(static)
  for (int64_t o = 0; o < outs; o += T::ROWS)
    for (int64_t t = 0; t < n; t += T::TOKENS) {
      const int64_t rows = least(T::ROWS, outs - o), tokens = least(T::TOKENS, n - t);
      float sums[T::ROWS * T::TOKENS];
      found<M, W>(m, o, x, t, n, ins, rows, tokens, sums);
      for (int64_t i = 0; i < tokens; i++)
        for (int64_t j = 0; j < rows; j++) {
          float *to = y + (t + i) * y_row + o + j;
          *to = add ? *to + factor * sums[T::sum(j, i)] : sums[T::sum(j, i)];
        }
    }
}

/* y [n, d_ff]: silu(gate x) * up x, or lrelu(up x)^2 */
template <class M, class W>
static void feed(const Shape *s, const Layer<M, W> *l, const typename Tiles<M, W>::Laid *x, int64_t n, W *y) {
  typedef Tiles<M, W> T;
  enum { SPACE = (T::ROWS * T::TOKENS + LANES - 1) / LANES * LANES };
  T::begin(s->d);
#pragma omp for schedule(static)
  for (int64_t o = 0; o < s->d_ff; o += T::ROWS)
    for (int64_t t = 0; t < n; t += T::TOKENS) {
      const int64_t rows = least(T::ROWS, s->d_ff - o), tokens = least(T::TOKENS, n - t);
      float up[SPACE] = {}, gate[SPACE] = {};
      found<M, W>(l->up, o, x, t, n, s->d, rows, tokens, up);
      if (l->gate.w) found<M, W>(l->gate, o, x, t, n, s->d, rows, tokens, gate);
      for (int i = 0; i < SPACE; i += LANES) {
        vec u = load(up + i);
        const vec g = load(gate + i), sloped = u * s->slope;
        if (l->gate.w)
          u *= g / (1.0f + exponential(-g));
        else
          u = u > 0.0f ? u * u : sloped * sloped;
        store(up + i, u);
      }
      for (int64_t i = 0; i < tokens; i++)
        for (int64_t j = 0; j < rows; j++) narrow(up[T::sum(j, i)], y + T::at(t + i, o + j, s->d_ff));
    }
}

INLINE float norm_factor(const float *x, int64_t n, float eps) {
  vec squares = {};
  int64_t i = 0;
  for (; i + LANES <= n; i += LANES) squares += load(x + i) * load(x + i);
  float sum = total(squares);
  for (; i < n; i++) sum += x[i] * x[i];
  return 1 / sqrtf(sum / (float)n + eps);
}

template <class M, class W>
static void norms(const Shape *s, const float *x, const float *gain, int64_t n, W *y) {
#pragma omp for schedule(static)
  for (int64_t t = 0; t < n; t++) {
    const float factor = norm_factor(x + t * s->d, s->d, s->eps);
    for (int64_t i = 0; i < s->d; i++) narrow(x[t * s->d + i] * factor * gain[i], y + Tiles<M, W>::at(t, i, s->d));
  }
}

/* Queries and keys are normed and turned; keys and values go into the cache. all [n, heads + 2 kv_heads, d_head], q [n, heads, d_head] */
template <class M, class W>
static void turn(const Shape *s, const Layer<M, W> *l, const Places *p, float *all, W *q) {
  const int64_t turned = s->heads + s->kv_heads, every = turned + s->kv_heads, dh = s->d_head, half = s->half;
#pragma omp for schedule(static)
  for (int64_t i = 0; i < p->n * every; i++) {
    const int64_t t = i / every, h = i % every;
    float *x = all + i * dh;
    if (h < turned) {
      const float factor = s->normed ? norm_factor(x, dh, s->eps) : 1, *gain = l->head_gain + h * dh;
      for (int64_t j = 0; j < dh; j++) x[j] *= factor * gain[j];
      const float *cos = p->rope + p->position[t] * half, *sin = cos + s->positions * half;
      for (int64_t j = 0; j < half; j++) {
        const float a = x[j], b = x[half + j];
        x[j] = a * cos[j] - b * sin[j];
        x[half + j] = b * cos[j] + a * sin[j];
      }
    }
    const int64_t of = p->row[t] * s->kv_heads + (h < turned ? h - s->heads : h - turned);
    W *cached = (h < turned ? l->cache.keys : l->cache.values) + (of * l->cache.capacity + l->cache.place(p->position[t])) * dh;
    W *to = h < s->heads ? q + (t * s->heads + h) * dh : cached;
    for (int64_t j = 0; j < dh; j++) narrow(x[j], to + j);
  }
}

/* Some query heads of one key/value head, which begins at `base`, over the keys they see up to `last`: KEYS at a time, the softmax brought
   up to date behind each. q and y [heads, d_head] */
template <int heads, class W>
static void attend_some(const Shape *s, const Cached<W> *c, const W *q, int64_t base, int64_t last, float *y) {
  const int64_t dh = s->d_head;
  float most[heads], sums[heads] = {};
  for (int h = 0; h < heads; h++) most[h] = -INFINITY;
  memset(y, 0, (size_t)(heads * dh) * sizeof *y);
  int64_t count;
  for (int64_t at = c->window && last >= c->window ? last - c->window + 1 : 0; at <= last; at += count) {
    const int64_t from = c->place(at);
    count = least(KEYS, last - at + 1);
    if (c->ring) count = least(count, c->ring - from);
    const W *keys = c->keys + base + from * dh, *values = c->values + base + from * dh;
    float scores[heads][KEYS], kept[heads];
    for (int64_t j = 0; j < count; j += ROWS) {
      const int64_t rows = least(ROWS, count - j);
      float found[ROWS * TOKENS];
      tile(keys + j * dh, q, dh, rows, heads, values + j * dh, 0, 1, found);
      for (int h = 0; h < heads; h++)
        for (int64_t i = 0; i < rows; i++) scores[h][j + i] = found[h * ROWS + i] * s->scale;
    }
    for (int h = 0; h < heads; h++) {
      float *score = scores[h];
      if (s->softcap)
        for (int64_t j = 0; j < count; j++) score[j] = s->softcap * tanhf(score[j] / s->softcap);
      for (int64_t j = count; j < KEYS; j++) score[j] = -INFINITY; /* weighs e^-87 beside a sum of at least 1: nothing */
      vec top = load(score), weights = {};
      for (int j = LANES; j < KEYS; j += LANES) top = load(score + j) > top ? load(score + j) : top;
      const float highest = fmaxf(most[h], largest(top));
      for (int j = 0; j < KEYS; j += LANES) {
        const vec e = exponential(load(score + j) - highest);
        store(score + j, e);
        weights += e;
      }
      kept[h] = expf(most[h] - highest);
      sums[h] = sums[h] * kept[h] + total(weights);
      most[h] = highest;
    }
    int64_t k = 0;
    for (; k + LANES <= dh; k += LANES) {
      vec found[heads];
      for (int h = 0; h < heads; h++) found[h] = load(y + h * dh + k) * kept[h];
      for (int64_t j = 0; j < count; j++) {
        const vec value = load(values + j * dh + k);
        __builtin_prefetch(keys + (count + j) * dh + k);
        for (int h = 0; h < heads; h++) found[h] += scores[h][j] * value;
      }
      for (int h = 0; h < heads; h++) store(y + h * dh + k, found[h]);
    }
    for (; k < dh; k++)
      for (int h = 0; h < heads; h++) {
        float found = y[h * dh + k] * kept[h];
        for (int64_t j = 0; j < count; j++) found += scores[h][j] * wide(values[j * dh + k]);
        y[h * dh + k] = found;
      }
  }
  for (int h = 0; h < heads; h++)
    for (int64_t k = 0; k < dh; k++) y[h * dh + k] /= sums[h];
}

/* q [n, heads, d_head] -> y [n, heads * d_head]; all: room for as many floats */
template <class M, class W>
static void attend(const Shape *s, const Layer<M, W> *l, const Places *p, const W *q, float *all, W *y) {
  const int64_t dh = s->d_head, group = s->heads / s->kv_heads, parts = (group + TOKENS - 1) / TOKENS;
#pragma omp for schedule(static)
  for (int64_t i = 0; i < p->n * s->kv_heads * parts; i++) {
    const int64_t t = i / parts / s->kv_heads, of = i / parts % s->kv_heads, first = of * group + i % parts * TOKENS;
    const int64_t heads = least(TOKENS, (of + 1) * group - first), at = (t * s->heads + first) * dh;
    const int64_t base = (p->row[t] * s->kv_heads + of) * l->cache.capacity * dh;
    switch (heads) {
      case 1: attend_some<1>(s, &l->cache, q + at, base, p->position[t], all + at); break;
      case 2: attend_some<2>(s, &l->cache, q + at, base, p->position[t], all + at); break;
      case 3: attend_some<3>(s, &l->cache, q + at, base, p->position[t], all + at); break;
      default: attend_some<TOKENS>(s, &l->cache, q + at, base, p->position[t], all + at);
    }
    for (int64_t k = 0; k < heads * dh; k++) narrow(all[at + k], y + Tiles<M, W>::at(t, first * dh + k, s->heads * dh));
  }
}

/* Memory that begins with a line of the cache: a vector is not read from two. nullptr: there is none. */
static void *room(size_t bytes) { return aligned_alloc(64, (bytes + 63) / 64 * 64); }

/* x [n, d]: each token's embedding, and then the stream behind the last layer. Returns 1 where there is no memory, else 0. */
template <class M, class W>
static int through(const Shape *s, const Layer<M, W> *layers, int64_t runs, const Places *p, float *x) {
  typedef Tiles<M, W> T;
  typedef typename T::Laid Laid;
  const int64_t n = p->n, d = s->d, ff = s->d_ff, q = s->heads * s->d_head, kv = s->kv_heads * s->d_head, every = q + 2 * kv;
  const int64_t whole = (n + T::TOKENS - 1) / T::TOKENS * T::TOKENS; /* tokens of whole tiles */
  const int64_t space = T::space(n, greatest(greatest(d, q), ff)), written = whole * (d + q + ff) + n * q;
  Laid *laid = (Laid *)room((size_t)space * sizeof(Laid) + (size_t)written * sizeof(W) + (size_t)(n * every) * sizeof(float));
  if (!laid) return 1;
  W *normed = (W *)(laid + space), *y = normed + whole * d, *inner = y + whole * q, *heads = inner + whole * ff;
  float *all = (float *)(heads + n * q);
#pragma omp parallel num_threads((int)s->threads)
  {
    for (int64_t run = 0; run < runs; run++) {
      const Layer<M, W> *l = layers + run;
      norms<M>(s, x, l->attention_gain, n, normed);
      const Laid *read = T::lay(normed, n, d, laid);
      product<false, M, W>(l->q, q, read, d, n, all, every);
      product<false, M, W>(l->k, kv, read, d, n, all + q, every);
      product<false, M, W>(l->v, kv, read, d, n, all + q + kv, every);
      turn(s, l, p, all, heads);
      attend(s, l, p, heads, all, y);
      product<true, M, W>(l->o, d, T::lay(y, n, q, laid), q, n, x, d, s->branch);
      norms<M>(s, x, l->ffn_gain, n, normed);
      feed(s, l, T::lay(normed, n, d, laid), n, inner);
      product<true, M, W>(l->down, d, T::lay(inner, n, ff, laid), ff, n, x, d, s->branch);
    }
    T::end();
  }
  free(laid);
  return 0;
}

/* y [n, outs] = x [n, ins] m [outs, ins]^T */
template <class M, class W>
static int linear(const Matrix<M> *m, int64_t outs, const W *x, int64_t ins, int64_t n, float *y, int64_t threads) {
  typedef Tiles<M, W> T;
  typedef typename T::Laid Laid;
  const int64_t whole = (n + T::TOKENS - 1) / T::TOKENS * T::TOKENS, space = T::space(n, ins);
  Laid *laid = (Laid *)room((size_t)space * sizeof(Laid) + (size_t)(whole * ins) * sizeof(W));
  if (!laid) return 1;
  W *written = (W *)(laid + space);
  for (int64_t t = 0; t < n; t++)
    for (int64_t i = 0; i < ins; i++) written[T::at(t, i, ins)] = x[t * ins + i];
#pragma omp parallel num_threads((int)threads)
  {
    product<false, M, W>(*m, outs, T::lay(written, n, ins, laid), ins, n, y, outs);
    T::end();
  }
  free(laid);
  return 0;
}

#define DOOR(M, W)                                                                                                             \
  extern "C" int through_##M##_##W(const Shape *s, const Layer<M, W> *l, int64_t runs, const Places *p, float *x) {            \
    return through(s, l, runs, p, x);                                                                                          \
  }                                                                                                                            \
  extern "C" int linear_##M##_##W(const Matrix<M> *m, int64_t o, const W *x, int64_t i, int64_t n, float *y, int64_t threads) { \
    return linear(m, o, x, i, n, y, threads);                                                                                  \
  }
DOOR(float, float)
#ifdef __AMX_BF16__
DOOR(in_pieces, float)
#endif
DOOR(bfloat16, bfloat16)
DOOR(int8_t, float)
DOOR(int8_t, bfloat16)
