#include "base/buffer.h"

#include <stdint.h>
#include <stdlib.h>

#include "base/error.h"

int peri_buffer_grow(struct peri_buffer *buffer, size_t more)
{
    enum { FIRST = 64 };
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

void peri_buffer_reset(struct peri_buffer *buffer, size_t kept_max)
{
    buffer->size = 0;
    if (buffer->capacity > kept_max)
        peri_buffer_deinit(buffer);
}

void peri_buffer_deinit(struct peri_buffer *buffer)
{
    free(buffer->data);
    *buffer = (struct peri_buffer){0};
}
