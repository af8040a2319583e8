/* memo.h - the configurations that a search has been in: keys of a fixed number of words. */
#ifndef PERI_CHECK_MEMO_H
#define PERI_CHECK_MEMO_H

#include <stddef.h>
#include <stdint.h>

/* Open addressing; a slot whose first word is CHECK_MEMO_FREE is free. No key starts so. */
struct check_memo {
    uint64_t *words;
    size_t width, count, capacity; /* words of a key; keys; slots, a power of 2 */
};

#define CHECK_MEMO_FREE UINT64_MAX

/* Prepares for keys of width words. Errors: PERI_ENOMEM. */
int check_memo_init(struct check_memo *memo, size_t width);

/* True when one more key makes it grow, to twice its memory. */
static inline int check_memo_is_full(const struct check_memo *memo)
{
    return (memo->count + 1) * 3 > memo->capacity * 2;
}

/* Adds a key: 1 when it is new, 0 when it was there. Errors: PERI_ENOMEM. */
int check_memo_add(struct check_memo *memo, const uint64_t *key);

/* Bytes that it takes. */
size_t check_memo_memory(const struct check_memo *memo);

void check_memo_deinit(struct check_memo *memo);

#endif
