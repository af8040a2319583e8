#include "check/memo.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "check/hash.h"

enum { CAPACITY_MIN = 256 };

static uint64_t *make(size_t capacity, size_t width)
{
    if (capacity > SIZE_MAX / sizeof(uint64_t) / width)
        return NULL;
    uint64_t *words = malloc(capacity * width * sizeof *words);
    for (size_t i = 0; words != NULL && i < capacity; i++)
        words[i * width] = CHECK_MEMO_FREE;
    return words;
}

int check_memo_init(struct check_memo *memo, size_t width)
{
    *memo = (struct check_memo){make(CAPACITY_MIN, width), width, 0, CAPACITY_MIN};
    return memo->words == NULL ? PERI_ENOMEM : 0;
}

/* The slot of key, or the free one where it belongs. */
static uint64_t *find(const struct check_memo *memo, const uint64_t *key)
{
    size_t mask = memo->capacity - 1, width = memo->width;
    for (size_t at = check_hash_words(key, width) & mask;; at = (at + 1) & mask) {
        uint64_t *slot = memo->words + at * width;
        if (slot[0] == CHECK_MEMO_FREE)
            return slot;
        size_t same = 0;
        while (same < width && slot[same] == key[same])
            same++;
        if (same == width)
            return slot;
    }
}

static void put(uint64_t *slot, const uint64_t *key, size_t width)
{
    for (size_t i = 0; i < width; i++)
        slot[i] = key[i];
}

static int grow(struct check_memo *memo)
{
    struct check_memo larger = {NULL, memo->width, memo->count, memo->capacity * 2};
    larger.words = make(larger.capacity, larger.width);
    if (larger.words == NULL)
        return PERI_ENOMEM;
    for (size_t i = 0; i < memo->capacity; i++) {
        const uint64_t *key = memo->words + i * memo->width;
        if (key[0] != CHECK_MEMO_FREE)
            put(find(&larger, key), key, memo->width);
    }
    free(memo->words);
    *memo = larger;
    return 0;
}

int check_memo_add(struct check_memo *memo, const uint64_t *key)
{
    if (check_memo_is_full(memo)) {
        int rc = grow(memo);
        if (rc != 0)
            return rc;
    }
    uint64_t *slot = find(memo, key);
    if (slot[0] != CHECK_MEMO_FREE)
        return 0;
    put(slot, key, memo->width);
    memo->count++;
    return 1;
}

size_t check_memo_memory(const struct check_memo *memo)
{
    return memo->capacity * memo->width * sizeof *memo->words;
}

void check_memo_deinit(struct check_memo *memo)
{
    free(memo->words);
    *memo = (struct check_memo){0};
}
