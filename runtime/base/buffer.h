/* buffer.h - bytes that grow at the end. */
#ifndef PERI_BASE_BUFFER_H
#define PERI_BASE_BUFFER_H

#include "base/slice.h"

/* size bytes of the capacity at data are in use. Starts zeroed; ended by peri_buffer_deinit. */
struct peri_buffer {
    char *data;
    size_t size, capacity;
};

/* Is peri_buffer_reserve for more bytes than there is room for. */
int peri_buffer_grow(struct peri_buffer *buffer, size_t more);

/* Makes room for more bytes behind size. Errors: PERI_ENOMEM, the buffer unchanged. */
static inline int peri_buffer_reserve(struct peri_buffer *buffer, size_t more)
{
    return more <= buffer->capacity - buffer->size ? 0 : peri_buffer_grow(buffer, more);
}

/* Appends size bytes, which it copies. Errors: PERI_ENOMEM, the buffer unchanged. */
static inline int peri_buffer_append(struct peri_buffer *buffer, const void *data, size_t size)
{
    int rc = peri_buffer_reserve(buffer, size);
    if (rc != 0)
        return rc;
    if (size > 0)
        memcpy(buffer->data + buffer->size, data, size);
    buffer->size += size;
    return 0;
}

/* Empties the buffer between two uses. It keeps its memory for the next one, unless that is more
 * than kept_max bytes: a large use among small ones would hold it for good. */
void peri_buffer_reset(struct peri_buffer *buffer, size_t kept_max);

/* Frees the bytes; the buffer is empty and usable again. */
void peri_buffer_deinit(struct peri_buffer *buffer);

/* The bytes appended so far; lent until the buffer changes. */
static inline struct peri_slice peri_buffer_slice(const struct peri_buffer *buffer)
{
    return peri_slice_of(buffer->data, buffer->size);
}

#endif
