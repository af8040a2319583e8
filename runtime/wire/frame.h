/* frame.h - one message among others in a stream of bytes.
 *
 *   0        4          8
 *   | size   | checksum | message: size bytes |      integers are little-endian
 *
 * The checksum is the low half of XXH3-64 of the message. It finds what the network damaged, not
 * what an enemy changed. No message is empty. Pure. */
#ifndef PERI_WIRE_FRAME_H
#define PERI_WIRE_FRAME_H

#include "base/buffer.h"
#include "base/error.h"

enum { WIRE_FRAME_HEADER_SIZE = 8 };

/* Appends to out a frame whose message is the count parts, one behind the other. Its checksum is
 * missing until wire_frames_seal. Errors: PERI_EINVAL when the parts are empty, PERI_ETOOBIG beyond
 * 2^32 - 1 bytes, PERI_ENOMEM; out is then unchanged. */
int wire_frame_encode(struct peri_buffer *out, const struct peri_slice *parts, size_t count);

/* Writes the checksums of the frames that frames consists of. Apart from wire_frame_encode because
 * summing up bytes the moment after they were stored in other pieces makes the processor wait. */
void wire_frames_seal(struct peri_buffer *frames);

/* Looks for a frame at the front of bytes. Returns 1 when it is all there: *message is lent from
 * bytes, *frame_size is header and message. Returns 0 when more bytes are needed: *frame_size is
 * how many the frame has, or 0 while that is unknown. Errors: PERI_EFORMAT for an empty message or
 * a wrong checksum; PERI_ETOOBIG when the message is longer than message_max, told from the header
 * alone. */
int wire_frame_decode(struct peri_slice bytes, size_t message_max, struct peri_slice *message,
                      size_t *frame_size, struct peri_error *err);

#endif
