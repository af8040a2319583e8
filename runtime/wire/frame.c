#include "wire/frame.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/bits.h"

static uint32_t checksum(struct peri_slice message)
{
    return (uint32_t)XXH3_64bits(message.data, message.size);
}

/* The sum of the sizes, or SIZE_MAX when it is more than that. */
static size_t total_size(const struct peri_slice *parts, size_t count)
{
    size_t size = 0;
    for (size_t i = 0; i < count; i++) {
        if (parts[i].size > SIZE_MAX - size)
            return SIZE_MAX;
        size += parts[i].size;
    }
    return size;
}

int wire_frame_encode(struct peri_buffer *out, const struct peri_slice *parts, size_t count)
{
    size_t size = total_size(parts, count);
    if (size == 0)
        return PERI_EINVAL;
    if (size > UINT32_MAX)
        return PERI_ETOOBIG;
    int rc = peri_buffer_reserve(out, WIRE_FRAME_HEADER_SIZE + size);
    if (rc != 0)
        return rc;
    char *header = out->data + out->size;
    char *at = header + WIRE_FRAME_HEADER_SIZE;
    for (size_t i = 0; i < count; i++) {
        if (parts[i].size > 0)
            memcpy(at, parts[i].data, parts[i].size);
        at += parts[i].size;
    }
    bits_put_le32(header, (uint32_t)size);
    out->size += WIRE_FRAME_HEADER_SIZE + size;
    return 0;
}

void wire_frames_seal(struct peri_buffer *frames)
{
    for (size_t at = 0; at < frames->size;) {
        char *header = frames->data + at;
        size_t size = bits_get_le32(header);
        bits_put_le32(header + 4, checksum(peri_slice_of(header + WIRE_FRAME_HEADER_SIZE, size)));
        at += WIRE_FRAME_HEADER_SIZE + size;
    }
}

int wire_frame_decode(struct peri_slice bytes, size_t message_max, struct peri_slice *message,
                      size_t *frame_size, struct peri_error *err)
{
    *frame_size = 0;
    if (bytes.size < 4)
        return 0;
    size_t size = bits_get_le32(bytes.data);
    if (size == 0)
        return peri_fail_plain(err, PERI_EFORMAT, "a frame without a message");
    if (size > message_max)
        return peri_fail_plain(err, PERI_ETOOBIG, "a message of %zu bytes, more than the limit %zu",
                               size, message_max);
    *frame_size = WIRE_FRAME_HEADER_SIZE + size;
    if (bytes.size < *frame_size)
        return 0;
    *message = peri_slice_of(bytes.data + WIRE_FRAME_HEADER_SIZE, size);
    if (checksum(*message) != bits_get_le32(bytes.data + 4))
        return peri_fail_plain(err, PERI_EFORMAT, "a message of %zu bytes with a wrong checksum",
                               size);
    return 1;
}
