/* Intel's matrix tiles: eight registers of up to 16 rows of 64 bytes, multiplied by one instruction. Only where the compiler has them. */

#pragma once

#ifdef __AMX_BF16__
#include <immintrin.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The shapes of a thread's registers; at first all are as large as can be. */
struct TileShapes {
  uint8_t palette = 1, start = 0, none[14] = {};
  uint16_t bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};

  void use() const {
    asm volatile("" ::"m"(*this) : "memory"); /* the instruction is not known to read all of it */
    _tile_loadconfig(this);
  }
};

/* What was written before is in memory when the tiles are loaded: some compilers do not know that loading reads it. */
static inline void settle() { asm volatile("" ::: "memory"); }

/* Tiles 0 to 3 as the sums of a block [32, 32] of floats, its rows c_row apart: what is there, or nothing yet. */
static inline __attribute__((always_inline)) void begin_sums(const float *c, int64_t c_row, bool add) {
  if (add) {
    _tile_loadd(0, c, (size_t)c_row * 4);
    _tile_loadd(1, c + 16, (size_t)c_row * 4);
    _tile_loadd(2, c + 16 * c_row, (size_t)c_row * 4);
    _tile_loadd(3, c + 16 * c_row + 16, (size_t)c_row * 4);
  } else {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
  }
}
static inline __attribute__((always_inline)) void end_sums(float *c, int64_t c_row) {
  _tile_stored(0, c, (size_t)c_row * 4);
  _tile_stored(1, c + 16, (size_t)c_row * 4);
  _tile_stored(2, c + 16 * c_row, (size_t)c_row * 4);
  _tile_stored(3, c + 16 * c_row + 16, (size_t)c_row * 4);
}
#endif

/* 0 where the machine lets this process use what the code was made for. */
extern "C" int allowed() {
#ifdef __AMX_BF16__
  return (int)syscall(SYS_arch_prctl, 0x1023 /* ARCH_REQ_XCOMP_PERM */, 18 /* the tiles' data */);
#else
  return 0;
#endif
}

extern "C" int tiles() { /* whether there are any: without them nothing is computed in bfloat16 */
#ifdef __AMX_BF16__
  return 1;
#else
  return 0;
#endif
}
