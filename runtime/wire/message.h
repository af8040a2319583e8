/* message.h - what peers say to each other: a header of 16 bytes and a MessagePack array.
 *
 *   0         1      2       4           8    16
 *   | version | kind | flags | budget_ms | id | array of the kind's fields (messages.def) |
 *
 * Integers of the header are little-endian. Decoding allocates nothing, lends slices of the bytes,
 * and believes no length that they cannot hold; values stay encoded. Pure. */
#ifndef PERI_WIRE_MESSAGE_H
#define PERI_WIRE_MESSAGE_H

#include <stdint.h>

#include "base/bits.h"
#include "base/buffer.h"
#include "base/error.h"

enum { WIRE_VERSION = 2, WIRE_MESSAGE_HEADER_SIZE = 16 };

/* Bits of flags. Unknown ones are kept and mean nothing. */
enum {
    WIRE_FLAG_LAST = 1,   /* CHUNK: nothing of the message follows */
    WIRE_FLAG_STREAM = 2, /* CALL: the answer is a stream of items */
};

enum wire_kind {
#define MESSAGE(name, number, member, what) WIRE_##name = (number),
#define FIELD(type, member, field)
#define MESSAGE_END(member)
#include "wire/messages.def"
};

typedef uint64_t wire_field_UINT;
typedef bool wire_field_BOOL;
typedef struct peri_slice wire_field_TEXT;
typedef struct peri_slice wire_field_BYTES;
typedef struct peri_slice wire_field_VALUE; /* encoded; empty stands for nil when encoding */

struct wire_message {
    uint8_t kind; /* enum wire_kind */
    uint16_t flags;
    uint32_t budget_ms; /* what is left of a call's time; 0: no deadline */
    uint64_t id;        /* of the call or stream; 0: of the connection */
    union {
#define MESSAGE(name, number, member, what) struct {
#define FIELD(type, member, field) wire_field_##type field;
#define MESSAGE_END(member)                                                                        \
    }                                                                                              \
    member;
#include "wire/messages.def"
    };
};

/* Starts a message to be sent: without flags or deadline, the fields of its kind to be filled in by
 * the caller. Cheaper than zeroing all fields of all kinds. */
static inline void wire_message_start(struct wire_message *message, enum wire_kind kind,
                                      uint64_t id)
{
    message->kind = (uint8_t)kind;
    message->flags = 0;
    message->budget_ms = 0;
    message->id = id;
}

/* The kind's name in capitals, or NULL when there is no such kind. Lent for ever. */
const char *wire_kind_name(unsigned kind);

/* Appends message to out, but for the bytes of its last field where that is BYTES or VALUE: these
 * may be large, and are lent as *tail (empty otherwise) for the sender to append. VALUE fields must
 * hold one encoded value each. Errors: PERI_ENOMEM; PERI_ETOOBIG for a field beyond 4 GiB; out is
 * then unchanged. */
int wire_message_encode(const struct wire_message *message, struct peri_buffer *out,
                        struct peri_slice *tail);

/* What wire_message_encode appends for a message whose one field is a VALUE of some bytes, without
 * flags or deadline: a REPLY, as half of all messages are. */
enum { WIRE_VALUE_HEAD_SIZE = WIRE_MESSAGE_HEADER_SIZE + 1 };
static inline void wire_value_head(char out[WIRE_VALUE_HEAD_SIZE], enum wire_kind kind, uint64_t id)
{
    enum { ARRAY_OF_ONE = 0x91 };
    bits_put_le64(out, WIRE_VERSION | (uint64_t)kind << 8);
    bits_put_le64(out + 8, id);
    out[WIRE_MESSAGE_HEADER_SIZE] = (char)ARRAY_OF_ONE;
}

/* Reads a message that takes up all of bytes; its slices are lent from them. Errors: PERI_EVERSION
 * for another version of the protocol (header fields other than the version are then unknown);
 * PERI_EFORMAT. */
int wire_message_decode(struct peri_slice bytes, struct wire_message *message,
                        struct peri_error *err);

/* Writes one line for people to out, like snprintf: size bytes at most with the final NUL, cut
 * where there is no room. "CALL id=7 budget=1000 name=echo args=12B". */
void wire_message_print(const struct wire_message *message, char *out, size_t size);

/* Bytes of the one MessagePack value at the front of bytes, however deep it is nested; 0 when it is
 * malformed, unfinished or of an extension type. */
size_t wire_value_size(struct peri_slice bytes);

#endif
