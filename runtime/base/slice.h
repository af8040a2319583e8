/* slice.h - bytes that somebody else owns. */
#ifndef PERI_BASE_SLICE_H
#define PERI_BASE_SLICE_H

#include <stddef.h>
#include <string.h>

/* size bytes at data; data may be NULL only when size is 0. Bytes need not be text. */
struct peri_slice {
    const char *data;
    size_t size;
};

/* The slice of size bytes at data, which stay where they are. */
static inline struct peri_slice peri_slice_of(const char *data, size_t size)
{
    return (struct peri_slice){data, size};
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
