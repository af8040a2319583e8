/* message.h - what peers say to each other: a header of 16 bytes and a MessagePack array.
 *
 *   0         1      2       4           8    16
 *   | version | kind | flags | budget_ms | id | array of the kind's fields (messages.def) |
 *
 *   0      1
 *   | 0x80 | the last field |
 *
 * Integers of the header are little-endian. Calls of one function that leave together, and their
 * answers, mostly differ in the last field alone, so a message in a burst (frame.h) may have the
 * second form: it is the message before it in the burst, again, with another last field and an id
 * that is one more. Decoding allocates nothing, lends slices of the bytes, and believes no length
 * that they cannot hold; values stay encoded. Pure. */
#ifndef PERI_WIRE_MESSAGE_H
#define PERI_WIRE_MESSAGE_H

#include <stdint.h>

#include "base/bits.h"
#include "base/buffer.h"
#include "base/error.h"

enum {
    WIRE_VERSION = 3,
    WIRE_MESSAGE_HEADER_SIZE = 16,
    WIRE_AGAIN = 0x80, /* the first byte of the second form; versions are less */
    WIRE_AGAIN_HEAD_SIZE = 1,
    WIRE_AGAIN_NAME_MAX = 64 /* a message with a longer name is not said again */
};

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

/* Bytes of the one MessagePack value at the front of bytes, however deep it is nested; 0 when it is
 * malformed, unfinished or of an extension type. */
size_t wire_value_size(struct peri_slice bytes);

/* True for an array of one text of up to 255 bytes and nothing behind it, as arguments often are.
 */
static inline bool wire_is_one_text(struct peri_slice bytes)
{
    enum { ARRAY_OF_ONE = 0x91, STR8 = 0xd9, HEADS_SIZE = 3 };
    return bytes.size >= HEADS_SIZE && bits_get_le16(bytes.data) == (ARRAY_OF_ONE | STR8 << 8) &&
           bytes.size - HEADS_SIZE == (unsigned char)bytes.data[2];
}

/* ---- messages said again: CALL, CAST and REPLY ---- */

static inline bool wire_is_again(struct peri_slice bytes)
{
    return (unsigned char)bytes.data[0] == WIRE_AGAIN;
}

/* True for a message that can be said again: all but the last field is short. */
static inline bool wire_can_be_again(const struct wire_message *message)
{
    return message->kind == WIRE_REPLY ||
           ((message->kind == WIRE_CALL || message->kind == WIRE_CAST) &&
            message->call.name.size <= WIRE_AGAIN_NAME_MAX); /* cast has the same fields */
}

/* Its last field. */
static inline struct peri_slice wire_again_value(const struct wire_message *message)
{
    return message->kind == WIRE_REPLY ? message->reply.values : message->call.args;
}

/* Makes *message the next one, which has that last field; its id was not the last number. */
static inline void wire_message_say_again(struct wire_message *message, struct peri_slice value)
{
    if (message->kind == WIRE_REPLY)
        message->reply.values = value;
    else
        message->call.args = value;
    message->id++;
}

/* The last field in the bytes of a message that is said again. */
static inline struct peri_slice wire_again_bytes(struct peri_slice bytes)
{
    return peri_slice_of(bytes.data + WIRE_AGAIN_HEAD_SIZE, bytes.size - WIRE_AGAIN_HEAD_SIZE);
}

/* Makes *message, which came before in the burst, the one that bytes say: another id, and another
 * last field, which is lent. Errors, with nothing changed: PERI_EFORMAT, also for a message that
 * cannot be said again. */
int wire_message_decode_again(struct peri_slice bytes, struct wire_message *message);

/* What a sender knows of the last message in the open burst. Zeroed: of none. */
struct wire_again {
    uint8_t kind; /* 0: cannot be said again */
    uint16_t flags;
    uint32_t budget_ms;
    uint64_t id; /* of the one that can be said again */
    size_t name_size;
    char name[WIRE_AGAIN_NAME_MAX];
};

/* That message was put into the burst. */
void wire_again_note(struct wire_again *again, const struct wire_message *message);

/* True when message is that of again but for the last field. */
bool wire_again_fits(const struct wire_again *again, const struct wire_message *message);

/* Writes one line for people to out, like snprintf: size bytes at most with the final NUL, cut
 * where there is no room. "CALL id=7 budget=1000 name=echo args=12B". */
void wire_message_print(const struct wire_message *message, char *out, size_t size);

#endif
