#include "wire/checksum.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

/* Shorter inputs take a path without vectors. */
enum { VECTORS_MIN = 241 };

uint32_t wire_checksum(struct peri_slice bytes)
{
#ifdef __x86_64__
    if (bytes.size >= VECTORS_MIN && __builtin_cpu_supports("avx2"))
        return wire_checksum_avx2(bytes);
#endif
    return (uint32_t)XXH3_64bits(bytes.data, bytes.size);
}
