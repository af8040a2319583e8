#include "wire/message.h"

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

static const unsigned char field_counts[] = {
#define MESSAGE(name, number, member, what) [number] = 0
#define FIELD(type, member, field) +1
#define MESSAGE_END(member) ,
#include "wire/messages.def"
};

/* ---- encoding ---- */

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

/* Writes the type byte of the width that holds value, and value in big-endian. */
static size_t put_number(char *out, unsigned first_type, uint64_t value)
{
    unsigned form = value <= UINT8_MAX ? 0 : value <= UINT16_MAX ? 1 : value <= UINT32_MAX ? 2 : 3;
    size_t width = (size_t)1 << form;
    out[0] = (char)(first_type + form);
    for (size_t i = 0; i < width; i++)
        out[1 + i] = (char)(value >> (8 * (width - 1 - i)));
    return 1 + width;
}

static int append_number(struct peri_buffer *out, unsigned first_type, uint64_t value)
{
    char head[HEAD_MAX];
    return peri_buffer_append(out, head, put_number(head, first_type, value));
}

static int append_byte(struct peri_buffer *out, unsigned byte)
{
    char head = (char)byte;
    return peri_buffer_append(out, &head, 1);
}

static int append_string_head(struct peri_buffer *out, struct peri_slice bytes, bool is_text)
{
    if (bytes.size > UINT32_MAX)
        return PERI_ETOOBIG;
    if (!is_text || !peri_utf8_is_valid(bytes))
        return append_number(out, TYPE_BIN, bytes.size);
    if (bytes.size <= FIXSTR_MAX)
        return append_byte(out, TYPE_FIXSTR | (unsigned)bytes.size);
    return append_number(out, TYPE_STR, bytes.size);
}

/* Each encode_<type> first appends what the field before it left in tail, which thus is the last
 * field's. */
static inline int append_tail(struct peri_buffer *out, struct peri_slice *tail)
{
    if (tail->size == 0)
        return 0;
    int rc = peri_buffer_append(out, tail->data, tail->size);
    *tail = peri_slice_of(NULL, 0);
    return rc;
}

static inline int encode_UINT(struct peri_buffer *out, uint64_t number, struct peri_slice *tail)
{
    int rc = append_tail(out, tail);
    if (rc != 0)
        return rc;
    return number <= FIXINT_MAX ? append_byte(out, (unsigned)number)
                                : append_number(out, TYPE_UINT, number);
}

static inline int encode_BOOL(struct peri_buffer *out, bool flag, struct peri_slice *tail)
{
    int rc = append_tail(out, tail);
    return rc != 0 ? rc : append_byte(out, TYPE_FALSE + (unsigned)flag);
}

static inline int encode_TEXT(struct peri_buffer *out, struct peri_slice text,
                              struct peri_slice *tail)
{
    int rc = append_tail(out, tail);
    if (rc == 0)
        rc = append_string_head(out, text, true);
    return rc != 0 ? rc : peri_buffer_append(out, text.data, text.size);
}

static inline int encode_BYTES(struct peri_buffer *out, struct peri_slice bytes,
                               struct peri_slice *tail)
{
    int rc = append_tail(out, tail);
    if (rc == 0)
        rc = append_string_head(out, bytes, false);
    *tail = bytes;
    return rc;
}

static inline int encode_VALUE(struct peri_buffer *out, struct peri_slice value,
                               struct peri_slice *tail)
{
    int rc = append_tail(out, tail);
    *tail = value;
    if (value.size > UINT32_MAX)
        return PERI_ETOOBIG;
    return rc != 0 || value.size > 0 ? rc : append_byte(out, TYPE_NIL);
}

/* encode_call, encode_reply ...: the fields of a message of that kind. */
#define MESSAGE(name, number, member, what)                                                        \
    static inline int encode_##member(const struct wire_message *message, struct peri_buffer *out, \
                                      struct peri_slice *tail)                                     \
    {                                                                                              \
        int rc = 0;
#define FIELD(type, member, field)                                                                 \
    if (rc == 0)                                                                                   \
        rc = encode_##type(out, message->member.field, tail);
#define MESSAGE_END(member)                                                                        \
    return rc;                                                                                     \
    }
#include "wire/messages.def"

static int encode_fields(const struct wire_message *message, struct peri_buffer *out,
                         struct peri_slice *tail)
{
    switch (message->kind) {
#define MESSAGE(name, number, member, what)                                                        \
    case WIRE_##name:                                                                              \
        return encode_##member(message, out, tail);
#define FIELD(type, member, field)
#define MESSAGE_END(member)
#include "wire/messages.def"
    default:
        PERI_ASSERT(false);
        return PERI_EINVAL;
    }
}

static int encode(const struct wire_message *message, struct peri_buffer *out,
                  struct peri_slice *tail)
{
    enum { HEADS_SIZE = WIRE_MESSAGE_HEADER_SIZE + 1 };
    int rc = peri_buffer_reserve(out, HEADS_SIZE);
    if (rc != 0)
        return rc;
    char *at = out->data + out->size;
    bits_put_le32(at, WIRE_VERSION | (uint32_t)message->kind << 8 | (uint32_t)message->flags << 16);
    bits_put_le32(at + 4, message->budget_ms);
    bits_put_le64(at + 8, message->id);
    at[WIRE_MESSAGE_HEADER_SIZE] = (char)(TYPE_FIXARRAY | field_counts[message->kind]);
    out->size += HEADS_SIZE;
    *tail = peri_slice_of(NULL, 0);
    return encode_fields(message, out, tail);
}

int wire_message_encode(const struct wire_message *message, struct peri_buffer *out,
                        struct peri_slice *tail)
{
    PERI_ASSERT(wire_kind_name(message->kind) != NULL);
    size_t before = out->size;
    int rc = encode(message, out, tail);
    if (rc != 0)
        out->size = before;
    return rc;
}

/* ---- decoding ---- */

enum head_type {
    HEAD_WRONG, /* extension types, and the byte c1 */
    HEAD_SCALAR,
    HEAD_UINT,
    HEAD_BOOL,
    HEAD_STRING,
    HEAD_ARRAY,
    HEAD_MAP
};

/* A type byte and the number behind it: an integer, a length, a count. */
struct head {
    enum head_type type;
    uint64_t number;
};

/* Type bytes c0 .. df: what they are and how many bytes of number follow. A scalar's are skipped.
 */
static const struct {
    unsigned char type;
    unsigned char width;
} long_heads[32] = {
    {HEAD_SCALAR, 0}, {HEAD_WRONG, 0},  {HEAD_BOOL, 0},   {HEAD_BOOL, 0}, /* nil, -, false, true */
    {HEAD_STRING, 1}, {HEAD_STRING, 2}, {HEAD_STRING, 4}, {HEAD_WRONG, 0},
    {HEAD_WRONG, 0},  {HEAD_WRONG, 0},  {HEAD_SCALAR, 4}, {HEAD_SCALAR, 8}, /* float */
    {HEAD_UINT, 1},   {HEAD_UINT, 2},   {HEAD_UINT, 4},   {HEAD_UINT, 8},
    {HEAD_SCALAR, 1}, {HEAD_SCALAR, 2}, {HEAD_SCALAR, 4}, {HEAD_SCALAR, 8}, /* int */
    {HEAD_WRONG, 0},  {HEAD_WRONG, 0},  {HEAD_WRONG, 0},  {HEAD_WRONG, 0},
    {HEAD_WRONG, 0},  {HEAD_STRING, 1}, {HEAD_STRING, 2}, {HEAD_STRING, 4},
    {HEAD_ARRAY, 2},  {HEAD_ARRAY, 4},  {HEAD_MAP, 2},    {HEAD_MAP, 4},
};

static inline struct head short_head(unsigned byte)
{
    if (byte < 0x80)
        return (struct head){HEAD_UINT, byte};
    if (byte < 0x90)
        return (struct head){HEAD_MAP, byte & 0xf};
    if (byte < 0xa0)
        return (struct head){HEAD_ARRAY, byte & 0xf};
    if (byte < 0xc0)
        return (struct head){HEAD_STRING, byte & 0x1f};
    return (struct head){HEAD_SCALAR, 0}; /* e0 .. ff: -32 .. -1 */
}

static inline void skip(struct peri_slice *bytes, size_t size)
{
    bytes->data += size;
    bytes->size -= size;
}

static struct head read_long_head(struct peri_slice *bytes, unsigned byte)
{
    struct head head = {HEAD_WRONG, 0};
    size_t width = long_heads[byte - 0xc0].width;
    if (bytes->size - 1 < width)
        return head;
    head.type = long_heads[byte - 0xc0].type;
    head.number = head.type == HEAD_BOOL ? byte & 1 : 0;
    for (size_t i = 1; i <= width; i++)
        head.number = head.number << 8 | (unsigned char)bytes->data[i];
    skip(bytes, 1 + width);
    return head;
}

/* Takes a head from the front of bytes; HEAD_WRONG also when it is unfinished. */
static inline struct head read_head(struct peri_slice *bytes)
{
    if (bytes->size == 0)
        return (struct head){HEAD_WRONG, 0};
    unsigned byte = (unsigned char)bytes->data[0];
    if (byte >= 0xc0 && byte <= 0xdf)
        return read_long_head(bytes, byte);
    skip(bytes, 1);
    return short_head(byte);
}

/* Every item takes a byte at least, so no count beyond the bytes left is believed. */
size_t wire_value_size(struct peri_slice bytes)
{
    struct peri_slice rest = bytes;
    uint64_t pending = 1; /* values still to come; at most rest.size */
    while (pending > 0) {
        struct head head = read_head(&rest);
        pending--;
        if (head.type == HEAD_WRONG)
            return 0;
        if (head.type == HEAD_STRING) {
            if (head.number > rest.size)
                return 0;
            skip(&rest, head.number);
        } else if (head.type == HEAD_ARRAY || head.type == HEAD_MAP) {
            pending += head.type == HEAD_MAP ? 2 * head.number : head.number;
        }
        if (pending > rest.size)
            return 0;
    }
    return bytes.size - rest.size;
}

static inline bool decode_string(struct peri_slice *bytes, struct peri_slice *out)
{
    struct head head = read_head(bytes);
    if (head.type != HEAD_STRING || head.number > bytes->size)
        return false;
    *out = peri_slice_of(bytes->data, head.number);
    skip(bytes, head.number);
    return true;
}

static inline bool decode_TEXT(struct peri_slice *bytes, struct peri_slice *out)
{
    return decode_string(bytes, out);
}

static inline bool decode_BYTES(struct peri_slice *bytes, struct peri_slice *out)
{
    return decode_string(bytes, out);
}

static inline bool decode_VALUE(struct peri_slice *bytes, struct peri_slice *out)
{
    size_t size = wire_value_size(*bytes);
    *out = peri_slice_of(bytes->data, size);
    skip(bytes, size);
    return size > 0;
}

static inline bool decode_UINT(struct peri_slice *bytes, uint64_t *out)
{
    struct head head = read_head(bytes);
    *out = head.number;
    return head.type == HEAD_UINT;
}

static inline bool decode_BOOL(struct peri_slice *bytes, bool *out)
{
    struct head head = read_head(bytes);
    *out = head.number != 0;
    return head.type == HEAD_BOOL;
}

/* decode_call, decode_reply ...: the fields of a message of that kind; returns the name of the one
 * that is malformed, or NULL. */
#define MESSAGE(name, number, member, what)                                                        \
    static inline const char *decode_##member(struct peri_slice *body,                             \
                                              struct wire_message *message)                        \
    {
#define FIELD(type, member, field)                                                                 \
    if (!decode_##type(body, &message->member.field))                                              \
        return #field;
#define MESSAGE_END(member)                                                                        \
    return NULL;                                                                                   \
    }
#include "wire/messages.def"

static const char *decode_fields(struct peri_slice *body, struct wire_message *message)
{
    switch (message->kind) {
#define MESSAGE(name, number, member, what)                                                        \
    case WIRE_##name:                                                                              \
        return decode_##member(body, message);
#define FIELD(type, member, field)
#define MESSAGE_END(member)
#include "wire/messages.def"
    default:
        PERI_ASSERT(false);
        return "";
    }
}

static int decode_body(struct peri_slice body, struct wire_message *message, struct peri_error *err)
{
    const char *name = names[message->kind];
    struct head head = read_head(&body);
    if (head.type != HEAD_ARRAY || head.number != field_counts[message->kind])
        return peri_fail_plain(err, PERI_EFORMAT, "the body of a %s is no array of %u fields", name,
                               field_counts[message->kind]);
    const char *malformed = decode_fields(&body, message);
    if (malformed != NULL)
        return peri_fail_plain(err, PERI_EFORMAT, "field %s of a %s is malformed", malformed, name);
    if (body.size > 0)
        return peri_fail_plain(err, PERI_EFORMAT, "%zu bytes behind the fields of a %s", body.size,
                               name);
    return 0;
}

int wire_message_decode(struct peri_slice bytes, struct wire_message *message,
                        struct peri_error *err)
{
    if (bytes.size < WIRE_MESSAGE_HEADER_SIZE)
        return peri_fail_plain(err, PERI_EFORMAT, "a message of only %zu bytes", bytes.size);
    const unsigned char *at = (const unsigned char *)bytes.data;
    if (at[0] != WIRE_VERSION)
        return peri_fail_plain(err, PERI_EVERSION,
                               "the peer speaks version %u of the protocol, we speak %d", at[0],
                               WIRE_VERSION);
    message->kind = at[1];
    message->flags = (uint16_t)(at[2] | at[3] << 8);
    message->budget_ms = bits_get_le32(bytes.data + 4);
    message->id = bits_get_le64(bytes.data + 8);
    if (wire_kind_name(message->kind) == NULL)
        return peri_fail_plain(err, PERI_EFORMAT, "no kind of message has number %u",
                               message->kind);
    return decode_body(
        peri_slice_of(bytes.data + WIRE_MESSAGE_HEADER_SIZE, bytes.size - WIRE_MESSAGE_HEADER_SIZE),
        message, err);
}
