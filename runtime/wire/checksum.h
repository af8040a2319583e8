/* checksum.h - the check of a frame: the low half of XXH3-64. Pure. */
#ifndef PERI_WIRE_CHECKSUM_H
#define PERI_WIRE_CHECKSUM_H

#include <stdint.h>

#include "base/slice.h"

/* The checksum of bytes, computed as fast as the processor that runs us can. */
uint32_t wire_checksum(struct peri_slice bytes);

/* checksum_avx2.c: the same, for processors with AVX2; wire_checksum knows when. */
uint32_t wire_checksum_avx2(struct peri_slice bytes);

#endif
