/* frame.h - messages in a stream of bytes.
 *
 *   0        4          8
 *   | size   | checksum | message: size bytes |
 *   | size * | checksum | length | message | length | message | ... |
 *
 * A frame has one message; or, where the highest bit of size is set (*), a burst of short ones,
 * each behind its length of two bytes, so that header and check are paid once for all of them.
 * Integers are little-endian. The checksum is the low half of XXH3-64 of all that follows. It finds
 * what the network damaged, not what an enemy changed. No message is empty. Pure. */
#ifndef PERI_WIRE_FRAME_H
#define PERI_WIRE_FRAME_H

#include <stdbool.h>

#include "base/bits.h"
#include "base/buffer.h"
#include "base/error.h"

enum {
    WIRE_FRAME_HEADER_SIZE = 8,
    WIRE_LENGTH_SIZE = 2,       /* of a message in a burst */
    WIRE_BURST_MAX = 4 << 10,   /* bytes of lengths and messages: none waits for many others */
    WIRE_FRAME_MAX = 0x7fffffff /* of size */
};

/* ---- sending ---- */

/* Frames that gather before they are sent. Starts zeroed, or with the capacity of bytes alone;
 * ended by peri_buffer_deinit of bytes. */
struct wire_frames {
    struct peri_buffer bytes;
    size_t open;   /* where the frame starts that may take more; the end of bytes: there is none */
    bool is_burst; /* that frame is */
    size_t burst_left; /* bytes that it may still have; there is room for them */
};

/* Is wire_frames_add for a message that finds no room in an open burst. */
int wire_frames_start(struct wire_frames *frames, const struct peri_slice *parts, size_t count);

static inline size_t wire_parts_size(const struct peri_slice *parts, size_t count)
{
    size_t size = 0;
    for (size_t i = 0; i < count; i++)
        size += parts[i].size;
    return size;
}

static inline void wire_parts_copy(char *to, const struct peri_slice *parts, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        peri_copy(to, parts[i].data, parts[i].size);
        to += parts[i].size;
    }
}

/* Appends a message of size bytes, which the caller writes to the place that this returns, to the
 * open burst; NULL when there is none or no room in it. */
static inline char *wire_frames_room(struct wire_frames *frames, size_t size)
{
    if (size - 1 >= WIRE_BURST_MAX || WIRE_LENGTH_SIZE + size > frames->burst_left)
        return NULL; /* also without bytes */
    char *at = frames->bytes.data + frames->bytes.size;
    bits_put_le16(at, (uint16_t)size);
    frames->bytes.size += WIRE_LENGTH_SIZE + size;
    frames->burst_left -= WIRE_LENGTH_SIZE + size;
    return at + WIRE_LENGTH_SIZE;
}

/* Appends a message, the count parts one behind the other: to the open frame where that is a burst,
 * or can become one, or in a frame of its own. Its checksum is missing until wire_frames_seal.
 * Errors: PERI_EINVAL when the parts are empty, PERI_ETOOBIG beyond WIRE_FRAME_MAX bytes,
 * PERI_ENOMEM; frames are then unchanged. */
static inline int wire_frames_add(struct wire_frames *frames, const struct peri_slice *parts,
                                  size_t count)
{
    char *at = wire_frames_room(frames, wire_parts_size(parts, count));
    if (at == NULL)
        return wire_frames_start(frames, parts, count);
    wire_parts_copy(at, parts, count);
    return 0;
}

/* The next message starts a new frame. */
void wire_frames_finish(struct wire_frames *frames);

/* Writes the checksums; the next message starts a new frame. Apart from wire_frames_add because
 * that happens once for a burst, and because summing up bytes the moment after they were stored in
 * other pieces makes the processor wait. */
void wire_frames_seal(struct wire_frames *frames);

/* ---- receiving ---- */

struct wire_frame {
    size_t size;            /* header and all; 0 while unknown */
    struct peri_slice body; /* the message, or the burst; lent from the bytes */
    bool is_burst;
};

/* Looks for a frame at the front of bytes. Returns 1 when it is all there, 0 when more bytes are
 * needed: only frame->size is then set. Errors: PERI_EFORMAT for an empty one or a wrong checksum;
 * PERI_ETOOBIG when the message is longer than message_max, or the burst than WIRE_BURST_MAX, told
 * from the header alone. */
int wire_frame_decode(struct peri_slice bytes, size_t message_max, struct wire_frame *frame,
                      struct peri_error *err);

/* Says what is wrong with the length in front of a burst; returns the error. */
int wire_burst_fail(struct peri_slice burst, size_t message_max, struct peri_error *err);

/* Takes the next message from the front of a burst that is not empty; lent. Errors: PERI_EFORMAT
 * for one that is empty or longer than the burst; PERI_ETOOBIG beyond message_max. */
static inline int wire_burst_next(struct peri_slice *burst, size_t message_max,
                                  struct peri_slice *message, struct peri_error *err)
{
    size_t room = burst->size - WIRE_LENGTH_SIZE; /* wraps around for a burst of one byte */
    size_t size = burst->size > WIRE_LENGTH_SIZE ? bits_get_le16(burst->data) : 0;
    *message = peri_slice_of(NULL, 0);
    if (size == 0 || size > room || size > message_max)
        return wire_burst_fail(*burst, message_max, err);
    *message = peri_slice_of(burst->data + WIRE_LENGTH_SIZE, size);
    *burst = peri_slice_of(message->data + size, room - size);
    return 0;
}

#endif
