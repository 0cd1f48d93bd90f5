/* The decoder's layers for a few tokens at once: what `Decoder._through` computes, in one call.

     x += o(attention(norm(x)));  x += down(ffn(norm(x)))     for every run of every layer

   A forward of few tokens reads each weight once and does little else; what it costs beside that is the code that runs between two
   products. Here that is a barrier. Cache and what a product reads are fp32 or bfloat16 (W); weights (M) are too, or integers of 8 bits
   with a factor for each row; sums and everything else are fp32.

   Every sum is added up in an order that depends on the shape alone, neither on how many tokens there are nor on the threads: a token's
   result is the same, to the bit, whatever is computed beside it.

   Limits: plain layers (`few_tokens.py` says which); products are not blocked for caches, so long prompts are read elsewhere. */

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "amx.h"
#include "vectors.h"

/* Of a tile: rows of a matrix, tokens, as many as their sums have registers; and keys that are scored at a time. */
enum { ROWS = LANES == 16 ? 6 : 3, TOKENS = 4, KEYS = 48 };

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

/* How a product is cut into tiles; what it reads lies with token t's value i at `at`, what it finds with row o's for token t at `sum`. */
template <class M, class W>
struct Tiles {
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
struct Tiles<bfloat16, bfloat16> {
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
#endif

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
INLINE void found(Matrix<M> m, int64_t o, const W *x, int64_t t, int64_t every, int64_t n, int64_t rows, int64_t tokens, float *out) {
  typedef Tiles<M, W> T;
  T::product(m.w + o * n, x + t * n, n, rows, tokens, t / T::TOKENS, (every + T::TOKENS - 1) / T::TOKENS, out);
  if (m.factor)
    for (int64_t j = 0; j < rows; j++)
      for (int64_t i = 0; i < tokens; i++) out[T::sum(j, i)] *= m.factor[o + j];
}

/* y[t, o] = m[o] . x[t], or y[t, o] += factor * m[o] . x[t]; rows of y lie y_row apart. */
template <bool add, class M, class W>
static void product(Matrix<M> m, int64_t outs, const W *x, int64_t ins, int64_t n, float *y, int64_t y_row, float factor = 1) {
  typedef Tiles<M, W> T;
  T::begin(ins);
#pragma omp for schedule(static)
  for (int64_t o = 0; o < outs; o += T::ROWS)
    for (int64_t t = 0; t < n; t += T::TOKENS) {
      const int64_t rows = least(T::ROWS, outs - o), tokens = least(T::TOKENS, n - t);
      float sums[T::ROWS * T::TOKENS];
      found(m, o, x, t, n, ins, rows, tokens, sums);
      for (int64_t i = 0; i < tokens; i++)
        for (int64_t j = 0; j < rows; j++) {
          float *to = y + (t + i) * y_row + o + j;
          *to = add ? *to + factor * sums[T::sum(j, i)] : sums[T::sum(j, i)];
        }
    }
}

/* y [n, d_ff]: silu(gate x) * up x, or lrelu(up x)^2 */
template <class M, class W>
static void feed(const Shape *s, const Layer<M, W> *l, const W *x, int64_t n, W *y) {
  typedef Tiles<M, W> T;
  enum { SPACE = (T::ROWS * T::TOKENS + LANES - 1) / LANES * LANES };
  T::begin(s->d);
#pragma omp for schedule(static)
  for (int64_t o = 0; o < s->d_ff; o += T::ROWS)
    for (int64_t t = 0; t < n; t += T::TOKENS) {
      const int64_t rows = least(T::ROWS, s->d_ff - o), tokens = least(T::TOKENS, n - t);
      float up[SPACE] = {}, gate[SPACE] = {};
      found(l->up, o, x, t, n, s->d, rows, tokens, up);
      if (l->gate.w) found(l->gate, o, x, t, n, s->d, rows, tokens, gate);
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
  const int64_t n = p->n, q = s->heads * s->d_head, kv = s->kv_heads * s->d_head, every = q + 2 * kv;
  const int64_t whole = (n + T::TOKENS - 1) / T::TOKENS * T::TOKENS; /* tokens of whole tiles */
  W *normed = (W *)room((size_t)(whole * (s->d + q + s->d_ff) + n * q) * sizeof(W) + (size_t)(n * every) * sizeof(float));
  if (!normed) return 1;
  W *y = normed + whole * s->d, *inner = y + whole * q, *heads = inner + whole * s->d_ff;
  float *all = (float *)(heads + n * q);
#pragma omp parallel num_threads((int)s->threads)
  {
    for (int64_t run = 0; run < runs; run++) {
      const Layer<M, W> *l = layers + run;
      norms<M>(s, x, l->attention_gain, n, normed);
      product<false>(l->q, q, normed, s->d, n, all, every);
      product<false>(l->k, kv, normed, s->d, n, all + q, every);
      product<false>(l->v, kv, normed, s->d, n, all + q + kv, every);
      turn(s, l, p, all, heads);
      attend(s, l, p, heads, all, y);
      product<true>(l->o, s->d, y, q, n, x, s->d, s->branch);
      norms<M>(s, x, l->ffn_gain, n, normed);
      feed(s, l, normed, n, inner);
      product<true>(l->down, s->d, inner, s->d_ff, n, x, s->d, s->branch);
    }
    T::end();
  }
  free(normed);
  return 0;
}

/* y [n, outs] = x [n, ins] m [outs, ins]^T */
template <class M, class W>
static int linear(const Matrix<M> *m, int64_t outs, const W *x, int64_t ins, int64_t n, float *y, int64_t threads) {
  typedef Tiles<M, W> T;
  const int64_t whole = (n + T::TOKENS - 1) / T::TOKENS * T::TOKENS;
  W *laid = (W *)room((size_t)(whole * ins) * sizeof *laid);
  if (!laid) return 1;
  for (int64_t t = 0; t < n; t++)
    for (int64_t i = 0; i < ins; i++) laid[T::at(t, i, ins)] = x[t * ins + i];
#pragma omp parallel num_threads((int)threads)
  {
    product<false>(*m, outs, laid, ins, n, y, outs);
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
DOOR(bfloat16, bfloat16)
DOOR(int8_t, float)
DOOR(int8_t, bfloat16)
