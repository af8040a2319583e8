/* message_decode.c - messages as peers sent them: nothing of them is believed before it is checked.
 */
#include "base/assert.h"
#include "base/bits.h"
#include "wire/message.h"

/* Of each kind, which has one field at least; 0: there is no such kind. */
static const unsigned char field_counts[] = {
#define MESSAGE(name, number, member, what) [number] = 0
#define FIELD(type, member, field) +1
#define MESSAGE_END(member) ,
#include "wire/messages.def"
};

enum { TYPE_STR8 = 0xd9, TYPE_FIXARRAY = 0x90, TYPE_FIXSTR = 0xa0, FIXSTR_MAX = 31 };

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
    size_t size; /* of the number, where it has bytes of its own */
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

/* The number behind a type byte c0 .. df; size is the number's. */
static struct head long_head(unsigned type_byte, struct peri_slice bytes)
{
    size_t width = long_heads[type_byte - 0xc0].width;
    struct head head = {HEAD_WRONG, 0, width};
    if (bytes.size < width)
        return head;
    head.type = long_heads[type_byte - 0xc0].type;
    head.number = head.type == HEAD_BOOL ? type_byte & 1 : 0;
    for (size_t i = 0; i < width; i++)
        head.number = head.number << 8 | (unsigned char)bytes.data[i];
    return head;
}

static inline struct head short_head(unsigned byte)
{
    if (byte < 0x80)
        return (struct head){HEAD_UINT, byte, 0};
    if (byte < 0x90)
        return (struct head){HEAD_MAP, byte & 0xf, 0};
    if (byte < 0xa0)
        return (struct head){HEAD_ARRAY, byte & 0xf, 0};
    if (byte < 0xc0)
        return (struct head){HEAD_STRING, byte & 0x1f, 0};
    return (struct head){HEAD_SCALAR, 0, 0}; /* e0 .. ff: -32 .. -1 */
}

static inline void skip(struct peri_slice *bytes, size_t size)
{
    bytes->data += size;
    bytes->size -= size;
}

/* Takes a head from the front of bytes; HEAD_WRONG also when it is unfinished. */
static inline struct head take_head(struct peri_slice *bytes)
{
    if (bytes->size == 0)
        return (struct head){HEAD_WRONG, 0, 0};
    unsigned byte = (unsigned char)bytes->data[0];
    skip(bytes, 1);
    if (byte < 0xc0 || byte > 0xdf)
        return short_head(byte);
    struct head head = long_head(byte, *bytes);
    if (head.type != HEAD_WRONG)
        skip(bytes, head.size);
    return head;
}

/* What a value of a type byte c0 .. df at the front of bytes takes without its items, of which
 * *items follow; SIZE_MAX when it is wrong or unfinished. */
static size_t long_size(struct peri_slice bytes, uint64_t *items)
{
    struct head head = take_head(&bytes);
    *items = head.type == HEAD_ARRAY ? head.number : head.type == HEAD_MAP ? 2 * head.number : 0;
    if (head.type == HEAD_WRONG)
        return SIZE_MAX;
    return 1 + head.size + (head.type == HEAD_STRING ? head.number : 0);
}

/* Every item takes a byte at least, so no count beyond the bytes left is believed. */
size_t wire_value_size(struct peri_slice bytes)
{
    const unsigned char *at = (const unsigned char *)bytes.data;
    size_t left = bytes.size;
    uint64_t pending = 1; /* values still to come */
    while (pending > 0) {
        if (pending > left)
            return 0;
        unsigned byte = at[0];
        size_t size = 1;
        pending--;
        if (byte == TYPE_STR8 && left > 1) {
            size = 2 + (size_t)at[1];
        } else if (byte >= 0xc0 && byte < 0xe0) {
            uint64_t items;
            size = long_size(peri_slice_of((const char *)at, left), &items);
            pending += items;
        } else if (byte >= TYPE_FIXSTR && byte < 0xc0) {
            size = 1 + (byte & FIXSTR_MAX);
        } else if (byte >= 0x80 && byte < TYPE_FIXSTR) {
            pending += byte < TYPE_FIXARRAY ? 2 * (byte & 0xf) : byte & 0xf;
        }
        if (size > left)
            return 0;
        at += size;
        left -= size;
    }
    return bytes.size - left;
}

static inline bool decode_string(struct peri_slice *bytes, struct peri_slice *out)
{
    struct head head = {HEAD_STRING, 0, 0};
    if (bytes->size > 0 && ((unsigned char)bytes->data[0] & ~(unsigned)FIXSTR_MAX) == TYPE_FIXSTR) {
        head.number = (unsigned char)bytes->data[0] & FIXSTR_MAX; /* as names are */
        skip(bytes, 1);
    } else {
        head = take_head(bytes);
    }
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
    struct head head = take_head(bytes);
    *out = head.number;
    return head.type == HEAD_UINT;
}

static inline bool decode_BOOL(struct peri_slice *bytes, bool *out)
{
    struct head head = take_head(bytes);
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

/* The body is an array of so many fields, fewer than 16; takes its head. */
static inline bool has_count(struct peri_slice *body, unsigned count)
{
    if (body->size > 0 && (unsigned char)body->data[0] == (TYPE_FIXARRAY | count)) {
        skip(body, 1); /* as we write it */
        return true;
    }
    struct head head = take_head(body);
    return head.type == HEAD_ARRAY && head.number == count;
}

static int fail_body(const struct wire_message *message, const char *malformed, size_t left,
                     struct peri_error *err)
{
    const char *name = wire_kind_name(message->kind);
    if (malformed == NULL)
        return peri_fail_plain(err, PERI_EFORMAT, "%zu bytes behind the fields of a %s", left,
                               name);
    if (malformed[0] == '\0')
        return peri_fail_plain(err, PERI_EFORMAT, "the body of a %s is no array of %u fields", name,
                               field_counts[message->kind]);
    return peri_fail_plain(err, PERI_EFORMAT, "field %s of a %s is malformed", malformed, name);
}

static int decode_body(struct peri_slice body, struct wire_message *message, struct peri_error *err)
{
    const char *malformed = "";
    if (has_count(&body, field_counts[message->kind]))
        malformed = decode_fields(&body, message);
    if (malformed != NULL || body.size > 0)
        return fail_body(message, malformed, body.size, err);
    return 0;
}

static int fail_header(struct peri_slice bytes, struct peri_error *err)
{
    if (bytes.size < WIRE_MESSAGE_HEADER_SIZE)
        return peri_fail_plain(err, PERI_EFORMAT, "a message of only %zu bytes", bytes.size);
    unsigned version = (unsigned char)bytes.data[0];
    if (version != WIRE_VERSION)
        return peri_fail_plain(err, PERI_EVERSION,
                               "the peer speaks version %u of the protocol, we speak %d", version,
                               WIRE_VERSION);
    return peri_fail_plain(err, PERI_EFORMAT, "no kind of message has number %u",
                           (unsigned char)bytes.data[1]);
}

static inline bool is_kind(unsigned kind)
{
    return kind < sizeof field_counts && field_counts[kind] > 0;
}

int wire_message_decode(struct peri_slice bytes, struct wire_message *message,
                        struct peri_error *err)
{
    if (bytes.size < WIRE_MESSAGE_HEADER_SIZE || bytes.data[0] != WIRE_VERSION ||
        !is_kind((unsigned char)bytes.data[1]))
        return fail_header(bytes, err);
    uint32_t head = bits_get_le32(bytes.data);
    message->kind = (uint8_t)(head >> 8);
    message->flags = (uint16_t)(head >> 16);
    message->budget_ms = bits_get_le32(bytes.data + 4);
    message->id = bits_get_le64(bytes.data + 8);
    return decode_body(
        peri_slice_of(bytes.data + WIRE_MESSAGE_HEADER_SIZE, bytes.size - WIRE_MESSAGE_HEADER_SIZE),
        message, err);
}
