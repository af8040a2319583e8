/* hash.h - mixing of words, the same on every machine and in every run. */
#ifndef PERI_CHECK_HASH_H
#define PERI_CHECK_HASH_H

#include <stddef.h>
#include <stdint.h>

#define CHECK_HASH_SEED UINT64_C(0x9e3779b97f4a7c15)

/* The two halves of the product, folded: every bit of a and b reaches every bit of the result. */
static inline uint64_t check_mix(uint64_t a, uint64_t b)
{
    __extension__ unsigned __int128 product =
        (unsigned __int128)(a ^ CHECK_HASH_SEED) * (b ^ UINT64_C(0xe7037ed1a0b428db));
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

/* The hash of count words. */
static inline uint64_t check_hash_words(const uint64_t *words, size_t count)
{
    uint64_t hash = count;
    for (size_t i = 0; i < count; i++)
        hash = check_mix(hash, words[i]);
    return hash;
}

#endif
