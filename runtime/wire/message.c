#include "wire/message.h"

#include <stddef.h>

#include "base/assert.h"
#include "base/bits.h"
#include "base/utf8.h"

/* Indexed by kind; numbers that are not used have no name. */
static const char *const names[] = {
#define MESSAGE(name, number, member, what) [number] = #name,
#define FIELD(type, member, field)
#define MESSAGE_END(member)
#include "wire/messages.def"
};

const char *wire_kind_name(unsigned kind)
{
    return kind < sizeof names / sizeof names[0] ? names[kind] : NULL;
}

/* count_call, count_reply ...: how many fields the kind has. */
enum {
#define MESSAGE(name, number, member, what) count_##member = 0
#define FIELD(type, member, field) +1
#define MESSAGE_END(member) ,
#include "wire/messages.def"
};

enum {
    TYPE_NIL = 0xc0,
    TYPE_FALSE = 0xc2,
    TYPE_BIN = 0xc4,  /* and c5, c6: length of 1, 2, 4 bytes */
    TYPE_UINT = 0xcc, /* .. cf: 1, 2, 4, 8 bytes */
    TYPE_STR = 0xd9,  /* .. db */
    TYPE_FIXARRAY = 0x90,
    TYPE_FIXSTR = 0xa0,
    FIXSTR_MAX = 31,
    FIXINT_MAX = 127,
    HEAD_MAX = 9, /* type byte and number */
};

/* Writes the type byte of the width that holds value, and value in big-endian; returns the end. */
static char *put_number(char *out, unsigned first_type, uint64_t value)
{
    unsigned form = value <= UINT8_MAX ? 0 : value <= UINT16_MAX ? 1 : value <= UINT32_MAX ? 2 : 3;
    size_t width = (size_t)1 << form;
    out[0] = (char)(first_type + form);
    for (size_t i = 0; i < width; i++)
        out[1 + i] = (char)(value >> (8 * (width - 1 - i)));
    return out + 1 + width;
}

static char *put_byte(char *out, unsigned byte)
{
    *out = (char)byte;
    return out + 1;
}

static char *put_string_head(char *out, struct peri_slice bytes, bool is_text)
{
    if (!is_text || !peri_utf8_is_valid(bytes))
        return put_number(out, TYPE_BIN, bytes.size);
    if (bytes.size <= FIXSTR_MAX)
        return put_byte(out, TYPE_FIXSTR | (unsigned)bytes.size);
    return put_number(out, TYPE_STR, bytes.size);
}

/* ROOM_NONE: the field is too big. */
#define ROOM_NONE (SIZE_MAX / 16)

/* How much room a field needs, at most. */
static inline size_t room_UINT(uint64_t number)
{
    (void)number;
    return HEAD_MAX;
}

static inline size_t room_BOOL(bool flag)
{
    (void)flag;
    return 1;
}

static inline size_t room_TEXT(struct peri_slice text)
{
    return text.size <= UINT32_MAX ? HEAD_MAX + text.size : ROOM_NONE;
}

/* Of these, which are the last fields of a message, only the head is written. */
static inline size_t room_BYTES(struct peri_slice bytes)
{
    return bytes.size <= UINT32_MAX ? HEAD_MAX : ROOM_NONE;
}

static inline size_t room_VALUE(struct peri_slice value)
{
    return value.size <= UINT32_MAX ? 1 : ROOM_NONE;
}

static inline char *put_UINT(char *out, uint64_t number, struct peri_slice *tail)
{
    (void)tail;
    return number <= FIXINT_MAX ? put_byte(out, (unsigned)number)
                                : put_number(out, TYPE_UINT, number);
}

static inline char *put_BOOL(char *out, bool flag, struct peri_slice *tail)
{
    (void)tail;
    return put_byte(out, TYPE_FALSE + (unsigned)flag);
}

static inline char *put_TEXT(char *out, struct peri_slice text, struct peri_slice *tail)
{
    (void)tail;
    out = put_string_head(out, text, true);
    if (text.size > 0)
        memcpy(out, text.data, text.size);
    return out + text.size;
}

static inline char *put_BYTES(char *out, struct peri_slice bytes, struct peri_slice *tail)
{
    *tail = bytes;
    return put_string_head(out, bytes, false);
}

static inline char *put_VALUE(char *out, struct peri_slice value, struct peri_slice *tail)
{
    *tail = value;
    return value.size > 0 ? out : put_byte(out, TYPE_NIL);
}

static inline char *put_header(char *out, const struct wire_message *message, unsigned count)
{
    bits_put_le32(out,
                  WIRE_VERSION | (uint32_t)message->kind << 8 | (uint32_t)message->flags << 16);
    bits_put_le32(out + 4, message->budget_ms);
    bits_put_le64(out + 8, message->id);
    return put_byte(out + WIRE_MESSAGE_HEADER_SIZE, TYPE_FIXARRAY | count);
}

/* room_of_call, room_of_reply ...: of a message of that kind. */
#define MESSAGE(name, number, member, what)                                                        \
    static inline size_t room_of_##member(const struct wire_message *message)                      \
    {                                                                                              \
        size_t room = WIRE_MESSAGE_HEADER_SIZE + 1;
#define FIELD(type, member, field) room += room_##type(message->member.field);
#define MESSAGE_END(member)                                                                        \
    return room;                                                                                   \
    }
#include "wire/messages.def"

/* encode_call, encode_reply ...: a message of that kind; returns the end. */
#define MESSAGE(name, number, member, what)                                                        \
    static inline char *encode_##member(char *out, const struct wire_message *message,             \
                                        struct peri_slice *tail)                                   \
    {                                                                                              \
        out = put_header(out, message, count_##member);
#define FIELD(type, member, field) out = put_##type(out, message->member.field, tail);
#define MESSAGE_END(member)                                                                        \
    return out;                                                                                    \
    }
#include "wire/messages.def"

/* Makes room, then encodes. */
#define MESSAGE(name, number, member, what)                                                        \
    static inline int append_##member(const struct wire_message *message, struct peri_buffer *out, \
                                      struct peri_slice *tail)                                     \
    {                                                                                              \
        size_t room = room_of_##member(message);                                                   \
        int rc = room < ROOM_NONE ? peri_buffer_reserve(out, room) : PERI_ETOOBIG;                 \
        if (rc == 0)                                                                               \
            out->size =                                                                            \
                (size_t)(encode_##member(out->data + out->size, message, tail) - out->data);       \
        return rc;                                                                                 \
    }
#define FIELD(type, member, field)
#define MESSAGE_END(member)
#include "wire/messages.def"

int wire_message_encode(const struct wire_message *message, struct peri_buffer *out,
                        struct peri_slice *tail)
{
    *tail = peri_slice_of(NULL, 0);
    switch (message->kind) {
#define MESSAGE(name, number, member, what)                                                        \
    case WIRE_##name:                                                                              \
        return append_##member(message, out, tail);
#define FIELD(type, member, field)
#define MESSAGE_END(member)
#include "wire/messages.def"
    default:
        PERI_ASSERT(false);
        return PERI_EINVAL;
    }
}

/* ---- messages said again ---- */

_Static_assert(offsetof(struct wire_message, call.args) == offsetof(struct wire_message, cast.args),
               "wire_again_value takes one for the other");

static struct peri_slice name_of(const struct wire_message *message)
{
    return message->kind == WIRE_REPLY ? peri_slice_of(NULL, 0) : message->call.name;
}

void wire_again_note(struct wire_again *again, const struct wire_message *message)
{
    again->kind = 0;
    if (!wire_can_be_again(message) || message->id == UINT64_MAX)
        return;
    struct peri_slice name = name_of(message);
    again->kind = message->kind;
    again->flags = message->flags;
    again->budget_ms = message->budget_ms;
    again->id = message->id + 1;
    again->name_size = name.size;
    if (name.size > 0)
        memcpy(again->name, name.data, name.size);
}

bool wire_again_fits(const struct wire_again *again, const struct wire_message *message)
{
    return again->kind == message->kind && again->id == message->id &&
           again->flags == message->flags && again->budget_ms == message->budget_ms &&
           peri_slice_is_same(name_of(message), peri_slice_of(again->name, again->name_size)) &&
           wire_again_value(message).size > 0;
}
