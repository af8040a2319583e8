#include "wire/frame.h"

#include "wire/checksum.h"

#define BURST_BIT UINT32_C(0x80000000)

/* ---- sending ---- */

/* The sum of the sizes, or SIZE_MAX when it is more than that. */
static inline size_t total_size(const struct peri_slice *parts, size_t count)
{
    size_t size = 0;
    for (size_t i = 0; i < count; i++) {
        if (parts[i].size > SIZE_MAX - size)
            return SIZE_MAX;
        size += parts[i].size;
    }
    return size;
}

static inline size_t body_size(const struct wire_frames *frames)
{
    return frames->bytes.size - frames->open - WIRE_FRAME_HEADER_SIZE;
}

static inline bool has_open(const struct wire_frames *frames)
{
    return frames->open < frames->bytes.size;
}

/* The open frame is one message, and another one of size bytes may follow in a burst. */
static inline bool may_become_burst(const struct wire_frames *frames, size_t size)
{
    return has_open(frames) && !frames->is_burst && size < WIRE_BURST_MAX &&
           WIRE_LENGTH_SIZE + body_size(frames) + WIRE_LENGTH_SIZE + size <= WIRE_BURST_MAX;
}

/* The open frame's message becomes the first of a burst. Errors: PERI_ENOMEM. */
static int become_burst(struct wire_frames *frames)
{
    int rc = peri_buffer_reserve(&frames->bytes, WIRE_BURST_MAX);
    if (rc != 0)
        return rc;
    char *message = frames->bytes.data + frames->open + WIRE_FRAME_HEADER_SIZE;
    size_t size = body_size(frames);
    memmove(message + WIRE_LENGTH_SIZE, message, size);
    bits_put_le16(message, (uint16_t)size);
    frames->bytes.size += WIRE_LENGTH_SIZE;
    frames->is_burst = true;
    frames->burst_left = WIRE_BURST_MAX - WIRE_LENGTH_SIZE - size;
    return 0;
}

static void finish_open(const struct wire_frames *frames)
{
    if (!has_open(frames))
        return;
    size_t size = body_size(frames);
    bits_put_le32(frames->bytes.data + frames->open,
                  (uint32_t)size | (frames->is_burst ? BURST_BIT : 0));
}

static int start_frame(struct wire_frames *frames, const struct peri_slice *parts, size_t count,
                       size_t size)
{
    int rc = peri_buffer_reserve(&frames->bytes, WIRE_FRAME_HEADER_SIZE + size);
    if (rc != 0)
        return rc;
    finish_open(frames);
    frames->open = frames->bytes.size;
    frames->is_burst = false;
    frames->burst_left = 0;
    wire_parts_copy(frames->bytes.data + frames->open + WIRE_FRAME_HEADER_SIZE, parts, count);
    frames->bytes.size += WIRE_FRAME_HEADER_SIZE + size;
    return 0;
}

int wire_frames_start(struct wire_frames *frames, const struct peri_slice *parts, size_t count)
{
    size_t size = total_size(parts, count);
    if (size == 0)
        return PERI_EINVAL;
    if (size > WIRE_FRAME_MAX)
        return PERI_ETOOBIG;
    if (!may_become_burst(frames, size))
        return start_frame(frames, parts, count, size);
    int rc = become_burst(frames);
    return rc != 0 ? rc : wire_frames_add(frames, parts, count);
}

void wire_frames_finish(struct wire_frames *frames)
{
    finish_open(frames);
    frames->open = frames->bytes.size;
    frames->burst_left = 0;
}

void wire_frames_seal(struct wire_frames *frames)
{
    wire_frames_finish(frames);
    for (size_t at = 0; at < frames->bytes.size;) {
        char *header = frames->bytes.data + at;
        size_t size = bits_get_le32(header) & ~BURST_BIT;
        bits_put_le32(header + 4,
                      wire_checksum(peri_slice_of(header + WIRE_FRAME_HEADER_SIZE, size)));
        at += WIRE_FRAME_HEADER_SIZE + size;
    }
}

/* ---- receiving ---- */

static int check_size(size_t size, bool is_burst, size_t message_max, struct peri_error *err)
{
    size_t size_max = is_burst ? WIRE_BURST_MAX : message_max;
    const char *what = is_burst ? "burst" : "message";
    if (size == 0)
        return peri_fail_plain(err, PERI_EFORMAT, "a frame without a message");
    if (size > size_max)
        return peri_fail_plain(err, PERI_ETOOBIG, "a %s of %zu bytes, more than the limit %zu",
                               what, size, size_max);
    return 0;
}

int wire_frame_decode(struct peri_slice bytes, size_t message_max, struct wire_frame *frame,
                      struct peri_error *err)
{
    frame->size = 0;
    if (bytes.size < 4)
        return 0;
    uint32_t head = bits_get_le32(bytes.data);
    size_t size = head & ~BURST_BIT;
    frame->is_burst = (head & BURST_BIT) != 0;
    int rc = check_size(size, frame->is_burst, message_max, err);
    if (rc != 0)
        return rc;
    frame->size = WIRE_FRAME_HEADER_SIZE + size;
    if (bytes.size < frame->size)
        return 0;
    frame->body = peri_slice_of(bytes.data + WIRE_FRAME_HEADER_SIZE, size);
    if (wire_checksum(frame->body) != bits_get_le32(bytes.data + 4))
        return peri_fail_plain(err, PERI_EFORMAT, "a %s of %zu bytes with a wrong checksum",
                               frame->is_burst ? "burst" : "message", size);
    return 1;
}

int wire_burst_fail(struct peri_slice burst, size_t message_max, struct peri_error *err)
{
    if (burst.size <= WIRE_LENGTH_SIZE)
        return peri_fail_plain(err, PERI_EFORMAT, "a burst that ends in a length");
    size_t size = bits_get_le16(burst.data);
    if (size == 0)
        return peri_fail_plain(err, PERI_EFORMAT, "a burst with an empty message");
    size_t room = burst.size - WIRE_LENGTH_SIZE;
    if (size > room)
        return peri_fail_plain(err, PERI_EFORMAT,
                               "a message of %zu bytes in the last %zu of a burst", size, room);
    return peri_fail_plain(err, PERI_ETOOBIG, "a message of %zu bytes, more than the limit %zu",
                           size, message_max);
}
