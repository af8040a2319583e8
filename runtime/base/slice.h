/* slice.h - bytes that somebody else owns. */
#ifndef PERI_BASE_SLICE_H
#define PERI_BASE_SLICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* size bytes at data; data may be NULL only when size is 0. Bytes need not be text. */
struct peri_slice {
    const char *data;
    size_t size;
};

/* Is memcpy, which for 16 to 128 bytes, as most messages and their parts have, costs no call. The
 * pieces overlap in the middle. */
static inline void peri_copy(char *to, const char *from, size_t size)
{
    if (size - 16 > 112) { /* also below 16 */
        if (size > 0)
            memcpy(to, from, size);
        return;
    }
    size_t last = size - 16;
    memcpy(to, from, 16);
    if (size > 32) {
        memcpy(to + 16, from + 16, 16);
        memcpy(to + last - 16, from + last - 16, 16);
    }
    if (size > 64) {
        memcpy(to + 32, from + 32, 32);
        memcpy(to + last - 48, from + last - 48, 32);
    }
    memcpy(to + last, from + last, 16);
}

/* The slice of size bytes at data, which stay where they are. */
static inline struct peri_slice peri_slice_of(const char *data, size_t size)
{
    return (struct peri_slice){data, size};
}

/* The size bytes of a and of b, 4 to 8 of them, are the same: the first and the last 4, which
 * overlap. */
static inline bool peri_bytes_are_same(const char *a, const char *b, size_t size)
{
    uint32_t first[2];
    uint32_t last[2];
    memcpy(&first[0], a, 4);
    memcpy(&first[1], b, 4);
    memcpy(&last[0], a + size - 4, 4);
    memcpy(&last[1], b + size - 4, 4);
    return first[0] == first[1] && last[0] == last[1];
}

/* True for the same bytes; short ones, as most names are, cost no call. */
static inline bool peri_slice_is_same(struct peri_slice a, struct peri_slice b)
{
    if (a.size != b.size)
        return false;
    if (a.size - 4 <= 4)
        return peri_bytes_are_same(a.data, b.data, a.size);
    return a.size == 0 || memcmp(a.data, b.data, a.size) == 0;
}

/* Order by bytes, unsigned; a prefix comes first. Negative, 0 or positive like memcmp. */
static inline int peri_slice_compare(struct peri_slice a, struct peri_slice b)
{
    size_t common = a.size < b.size ? a.size : b.size;
    int order = common == 0 ? 0 : memcmp(a.data, b.data, common);
    if (order != 0)
        return order;
    return a.size < b.size ? -1 : a.size > b.size;
}

#endif
