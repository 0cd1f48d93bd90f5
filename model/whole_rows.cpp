/* Causal attention over whole rows, forward and backward: in bfloat16 by the processor's matrix tiles (Intel AMX), in fp32 by vectors.

     S = scale q k^T where first[q] <= k <= q;  P = exp(S - L);  O = P V;  L = log sum exp S
     dV = P^T dO;  dS = P (dO V^T - D) scale;  dQ = dS K;  dK = dS^T Q;    D = rowsum(dO o O)

   FlashAttention-2 (Dao 2023): a block of EDGE keys by EDGE queries at a time, transposed: keys are rows, so that what the elementwise part
   writes is what the next product reads. Blocks in which nothing is visible are left out. Products add up in fp32, everything between is fp32.

   Limits: heads of a multiple of 32; parallel over rows and key/value heads, nothing finer. */

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "products.h"

enum { EDGE = 64 };

static const float NOTHING = -1e30f; /* the score of what is not visible */

/* A tensor [rows, heads, length, d_head] with its strides; a head's values lie side by side.
   The same fields, in the same order, as the structures of whole_rows.py. */
struct View {
  void *at;
  int64_t row, head, token;

  template <class W>
  W *of(int64_t r, int64_t h, int64_t t) const {
    return (W *)at + r * row + h * head + t * token;
  }
};

struct Task {
  int64_t rows, heads, kv_heads, length, d_head, threads, is_narrow;
  const int32_t *first; /* the first key each query sees, [rows, length], first_row apart; none: 0 */
  int64_t first_row;
  float scale;
  View q, k, v, o, sums /* L [rows, heads, length], fp32 */, d_o, d_q, d_k, d_v;

  int64_t padded() const { return (length + EDGE - 1) / EDGE * EDGE; }
  int64_t words() const { return padded() * d_head; } /* of a head */
};

/* Memory of a thread, taken piece by piece; without any, what is taken is only counted. */
struct Memory {
  char *begin;
  int64_t taken = 0;

  template <class T>
  T *take(int64_t n) {
    T *piece = begin ? (T *)(begin + taken) : nullptr;
    taken += (n * (int64_t)sizeof(T) + 63) / 64 * 64;
    return piece;
  }
};

/* What the queries of a row see. */
struct Sight {
  int32_t *first;

  void read(const Task &t, int64_t row) {
    for (int64_t i = 0; i < t.padded(); i++) first[i] = i >= t.length ? INT32_MAX : t.first ? t.first[row * t.first_row + i] : 0;
  }
  /* The first block of keys that a block of queries has something in, as its first key. */
  int64_t begin(int64_t query) const {
    int32_t found = first[query];
    for (int64_t i = 1; i < EDGE; i++) found = first[query + i] < found ? first[query + i] : found;
    return found / EDGE * EDGE;
  }
  bool all(int64_t key, int64_t query) const {
    for (int64_t i = 0; i < EDGE; i++)
      if (first[query + i] > key) return false;
    return key + EDGE <= query;
  }
};

/* LANES queries from this one on, and which of them see a key: -1 or 0 each. */
struct Seers {
  ivec first, at;

  Seers(const Sight &sight, int64_t query) {
    memcpy(&first, sight.first + query, sizeof first);
    for (int i = 0; i < LANES; i++) at[i] = (int32_t)query + i;
  }
  ivec of(int64_t key) const { return (at >= (int32_t)key) & (first <= (int32_t)key); }
};

/* Tokens of a head -> columns of words [d_head, EDGE], a block of EDGE tokens behind the other; words that hold two values: packed by values.
   16 at a time: a line is written at once. */
template <class W, class Word>
static void turn(const Task &t, const View &view, int64_t row, int64_t head, int64_t begin, int64_t end, Word *columns) {
  const int64_t words = t.d_head * (int64_t)sizeof(W) / (int64_t)sizeof(Word);
  for (int64_t first = begin; first < end; first += 16) {
    const int64_t n = least(16, end - first), block = (first - begin) / EDGE;
    Word *to = columns + block * words * EDGE + (first - begin) % EDGE;
    const char *from[16];
    for (int64_t i = 0; i < n; i++) from[i] = (const char *)view.of<W>(row, head, first + i);
    for (int64_t j = 0; j < words; j++)
      for (int64_t i = 0; i < n; i++) memcpy(to + j * EDGE + i, from[i] + j * (int64_t)sizeof(Word), sizeof(Word));
  }
}

/* Tokens of a head one after another, [length, d_head]. */
template <class W>
static void copy(const Task &t, const View &view, int64_t row, int64_t head, W *rows) {
  for (int64_t i = 0; i < t.length; i++) memcpy(rows + i * t.d_head, view.of<W>(row, head, i), sizeof(W) * (size_t)t.d_head);
}

/* The same, packed by tokens. */
template <class W>
static void copy_packed(const Task &t, const View &view, int64_t row, int64_t head, W *rows) {
  for (int64_t i = 0; i < t.length; i += PACK<W>) {
    const W *from[2] = {};
    for (int64_t k = 0; k < least(PACK<W>, t.length - i); k++) from[k] = view.of<W>(row, head, i + k);
    pack(from, t.d_head, rows + i * t.d_head);
  }
}

/* Columns [d_head, EDGE] times a factor each -> a block of tokens. */
template <class W>
static void write(const Task &t, const float *columns, const float *factors, const View &view, int64_t row, int64_t head, int64_t query) {
  for (int64_t i = 0; i < least(EDGE, t.length - query); i++)
    for (int64_t j = 0; j < t.d_head; j++) narrow(columns[j * EDGE + i] * factors[i], view.of<W>(row, head, query + i) + j);
}

/* Scores of a block -> exp(scale S - highest), packed by keys; highest scores and sums so far go on, columns of O shrink where the highest grew. */
template <class W>
static void soften(const Task &t, const Sight &sight, int64_t key, int64_t query, float *scores, float *highest, float *sums, float *o, W *weights) {
  const bool all = sight.all(key, query);
  for (int64_t j = 0; j < EDGE; j += LANES) {
    const vec before = load(highest + j);
    const Seers seers(sight, query + j);
    vec most = before, sum = {};
    for (int64_t i = 0; i < EDGE; i++) {
      vec score = load(scores + i * EDGE + j) * t.scale;
      if (!all) score = seers.of(key + i) ? score : score - score + NOTHING;
      store(scores + i * EDGE + j, score);
      most = score > most ? score : most;
    }
    for (int64_t i = 0; i < EDGE; i += PACK<W>) {
      vec rows[2];
      for (int64_t k = 0; k < PACK<W>; k++) {
        const vec score = load(scores + (i + k) * EDGE + j);
        rows[k] = exponential(score - most);
        if (!all) rows[k] = score > NOTHING ? rows[k] : rows[k] - rows[k];
        sum += rows[k];
      }
      pack(rows, weights + i * EDGE + j * PACK<W>);
    }
    const vec less = exponential(before - most);
    store(highest + j, most);
    store(sums + j, load(sums + j) * less + sum);
    for (int64_t i = 0; i < t.d_head; i++) store(o + i * EDGE + j, load(o + i * EDGE + j) * less);
  }
}

template <class W>
struct Forward {
  const Task &t;
  W *k, *v, *q; /* keys as tokens, values in columns; queries of a block, packed by values */
  float *o;     /* of a block, in columns */
  Sight sight;

  Forward(const Task &task, Memory &memory) : t(task) {
    k = memory.take<W>(t.words()), v = memory.take<W>(t.words()), q = memory.take<W>(EDGE * t.d_head);
    o = memory.take<float>(EDGE * t.d_head);
    sight.first = memory.take<int32_t>(t.padded());
  }

  /* The heads that read one key/value head. */
  void heads_of(int64_t row, int64_t of) {
    alignas(64) float scores[EDGE * EDGE], highest[EDGE], sums[EDGE];
    alignas(64) W weights[EDGE * EDGE];
    sight.read(t, row);
    copy(t, t.k, row, of, k);
    turn<W>(t, t.v, row, of, 0, t.length, v);
    const int64_t dh = t.d_head, group = t.heads / t.kv_heads;
    for (int64_t head = of * group; head < (of + 1) * group; head++)
      for (int64_t query = 0; query < t.length; query += EDGE) {
        turn<W>(t, t.q, row, head, query, least(query + EDGE, t.length), (uint32_t *)q);
        for (int64_t i = 0; i < EDGE; i++) highest[i] = NOTHING, sums[i] = 0;
        memset(o, 0, (size_t)(EDGE * dh) * 4);
        for (int64_t key = sight.begin(query); key <= query; key += EDGE) {
          multiply(scores, EDGE, k + key * dh, dh, q, PACK<W> * EDGE, EDGE, EDGE, dh, false);
          soften(t, sight, key, query, scores, highest, sums, o, weights);
          multiply(o, EDGE, v + key * dh, EDGE, weights, PACK<W> * EDGE, dh, EDGE, EDGE, true);
        }
        for (int64_t i = 0; i < least(EDGE, t.length - query); i++) {
          *t.sums.of<float>(row, head, query + i) = highest[i] + logf(sums[i]);
          sums[i] = 1 / sums[i];
        }
        write<W>(t, o, sums, t.o, row, head, query);
      }
  }
};

/* Between the products of a block: scores -> P; dO V^T -> dS, also packed by keys. */
template <class W>
static void weigh(const Task &t, const Sight &sight, int64_t key, int64_t query, const float *sums, const float *shared, const float *scores,
                  const float *slopes, W *p, W *ds, W *ds_packed) {
  const bool all = sight.all(key, query);
  for (int64_t j = 0; j < EDGE; j += LANES) {
    const vec sum = load(sums + query + j), share = load(shared + query + j);
    const Seers seers(sight, query + j);
    for (int64_t i = 0; i < EDGE; i += PACK<W>) {
      vec rows[2];
      for (int64_t k = 0; k < PACK<W>; k++) {
        const int64_t here = (i + k) * EDGE + j;
        vec weight = exponential(load(scores + here) * t.scale - sum);
        if (!all) weight = seers.of(key + i + k) ? weight : weight - weight;
        rows[k] = weight * (load(slopes + here) - share) * t.scale;
        store(p + here, weight);
        store(ds + here, rows[k]);
      }
      if (PACK<W> > 1) pack(rows, ds_packed + i * EDGE + j * PACK<W>);
    }
  }
}

template <class W>
struct Backward {
  const Task &t;
  W *k, *v, *k_turned;      /* as tokens; in columns */
  W *q_columns, *o_columns; /* queries and dO, packed by values */
  W *q_rows, *o_rows;       /* and by tokens */
  float *d_k, *d_v, *d_q;   /* as tokens; of a block, in columns */
  float *sums, *shared;     /* L and D */
  Sight sight;

  Backward(const Task &task, Memory &memory) : t(task) {
    const int64_t words = t.words();
    W **const pieces[] = {&k, &v, &k_turned, &q_columns, &o_columns, &q_rows, &o_rows};
    for (W **piece : pieces) *piece = memory.take<W>(words);
    d_k = memory.take<float>(words), d_v = memory.take<float>(words), d_q = memory.take<float>(EDGE * t.d_head);
    sums = memory.take<float>(t.padded()), shared = memory.take<float>(t.padded());
    sight.first = memory.take<int32_t>(t.padded());
  }

  /* The heads that read one key/value head. */
  void heads_of(int64_t row, int64_t of) {
    const int64_t dh = t.d_head, group = t.heads / t.kv_heads;
    alignas(64) float scores[EDGE * EDGE], slopes[EDGE * EDGE], ones[EDGE];
    alignas(64) W narrower[3][PACK<W> > 1 ? EDGE * EDGE : 1];
    W *p = PACK<W> > 1 ? narrower[0] : (W *)scores, *ds = PACK<W> > 1 ? narrower[1] : (W *)slopes; /* in place where they fit */
    W *ds_packed = PACK<W> > 1 ? narrower[2] : ds;
    for (int64_t i = 0; i < EDGE; i++) ones[i] = 1;
    sight.read(t, row);
    copy(t, t.k, row, of, k);
    copy(t, t.v, row, of, v);
    turn<W>(t, t.k, row, of, 0, t.length, k_turned);
    memset(d_k, 0, (size_t)t.words() * 4);
    memset(d_v, 0, (size_t)t.words() * 4);
    for (int64_t head = of * group; head < (of + 1) * group; head++) {
      turn<W>(t, t.q, row, head, 0, t.length, (uint32_t *)q_columns);
      turn<W>(t, t.d_o, row, head, 0, t.length, (uint32_t *)o_columns);
      copy_packed(t, t.q, row, head, q_rows);
      copy_packed(t, t.d_o, row, head, o_rows);
      for (int64_t i = 0; i < t.length; i++) {
        const W *o = t.o.of<W>(row, head, i), *d_o = t.d_o.of<W>(row, head, i);
        vec share = {};
        for (int64_t j = 0; j < dh; j += LANES) share += load(d_o + j) * load(o + j);
        shared[i] = total(share);
        sums[i] = *t.sums.of<float>(row, head, i);
      }
      for (int64_t query = 0; query < t.length; query += EDGE) {
        memset(d_q, 0, (size_t)(EDGE * dh) * 4);
        for (int64_t key = sight.begin(query); key <= query; key += EDGE) {
          multiply(scores, EDGE, k + key * dh, dh, q_columns + query * dh, PACK<W> * EDGE, EDGE, EDGE, dh, false);
          multiply(slopes, EDGE, v + key * dh, dh, o_columns + query * dh, PACK<W> * EDGE, EDGE, EDGE, dh, false);
          weigh(t, sight, key, query, sums, shared, scores, slopes, p, ds, ds_packed);
          multiply(d_v + key * dh, dh, p, EDGE, o_rows + query * dh, PACK<W> * dh, EDGE, dh, EDGE, true);
          multiply(d_k + key * dh, dh, ds, EDGE, q_rows + query * dh, PACK<W> * dh, EDGE, dh, EDGE, true);
          multiply(d_q, EDGE, k_turned + key * dh, EDGE, ds_packed, PACK<W> * EDGE, dh, EDGE, EDGE, true);
        }
        write<W>(t, d_q, ones, t.d_q, row, head, query);
      }
    }
    for (int64_t i = 0; i < t.length; i++)
      for (int64_t j = 0; j < dh; j++) {
        narrow(d_k[i * dh + j], t.d_k.of<W>(row, of, i) + j);
        narrow(d_v[i * dh + j], t.d_v.of<W>(row, of, i) + j);
      }
  }
};

/* Every row and key/value head. Returns 1 where there is no memory, else 0. */
template <class Work>
static int over(const Task &t) {
  Memory counted{nullptr};
  Work(t, counted);
  const size_t bytes = (size_t)counted.taken;
  int failed = 0;
#pragma omp parallel num_threads((int)t.threads) reduction(| : failed)
  {
    Memory memory{(char *)aligned_alloc(64, bytes)};
    failed = !memory.begin;
    if (!failed) memset(memory.begin, 0, bytes); /* behind a row's end there are zeros */
    Work work(t, memory);
#ifdef __AMX_BF16__
    TileShapes().use();
#endif
#pragma omp for schedule(static)
    for (int64_t i = 0; i < t.rows * t.kv_heads; i++)
      if (!failed) work.heads_of(i / t.kv_heads, i % t.kv_heads);
#ifdef __AMX_BF16__
    _tile_release();
#endif
    free(memory.begin);
  }
  return failed;
}

template <template <class> class Work>
static int either(const Task &t) {
#ifdef __AMX_BF16__
  if (t.is_narrow) return over<Work<bfloat16>>(t);
#endif
  return over<Work<float>>(t);
}

extern "C" int forward(const Task *t) { return either<Forward>(*t); }
extern "C" int backward(const Task *t) { return either<Backward>(*t); }
