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
