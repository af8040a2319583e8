#include "base/buffer.h"

#include <stdint.h>
#include <stdlib.h>

#include "base/error.h"

int peri_buffer_reserve(struct peri_buffer *buffer, size_t more)
{
    enum { FIRST = 64 };
    if (more <= buffer->capacity - buffer->size)
        return 0;
    if (more > SIZE_MAX / 2 - buffer->size)
        return PERI_ENOMEM;
    size_t capacity = buffer->capacity < FIRST ? FIRST : buffer->capacity * 2;
    if (capacity < buffer->size + more)
        capacity = buffer->size + more;
    char *data = realloc(buffer->data, capacity);
    if (data == NULL)
        return PERI_ENOMEM;
    buffer->data = data;
    buffer->capacity = capacity;
    return 0;
}

int peri_buffer_append(struct peri_buffer *buffer, const void *data, size_t size)
{
    int rc = peri_buffer_reserve(buffer, size);
    if (rc != 0)
        return rc;
    if (size > 0)
        memcpy(buffer->data + buffer->size, data, size);
    buffer->size += size;
    return 0;
}

void peri_buffer_deinit(struct peri_buffer *buffer)
{
    free(buffer->data);
    *buffer = (struct peri_buffer){0};
}
