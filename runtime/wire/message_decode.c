/* message_decode.c - messages as peers sent them: nothing of them is believed before it is checked.
 */
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

/* The functions that take something read it at `at`, look at no byte from end on, and return where
 * it ends, or NULL when it is wrong or unfinished. */

/* A head of a type byte c0 .. df. */
static const char *take_long_head(const char *at, const char *end, struct head *head)
{
    unsigned byte = (unsigned char)*at++;
    size_t width = long_heads[byte - 0xc0].width;
    *head = (struct head){long_heads[byte - 0xc0].type, 0};
    if (head->type == HEAD_WRONG || (size_t)(end - at) < width)
        return NULL;
    head->number = head->type == HEAD_BOOL ? byte & 1 : 0;
    for (size_t i = 0; i < width; i++)
        head->number = head->number << 8 | (unsigned char)at[i];
    return at + width;
}

static inline struct head short_head(unsigned byte)
{
    if (byte < 0x80)
        return (struct head){HEAD_UINT, byte};
    if (byte < 0x90)
        return (struct head){HEAD_MAP, byte & 0xf};
    if (byte < 0xa0)
        return (struct head){HEAD_ARRAY, byte & 0xf};
    if (byte < 0xc0)
        return (struct head){HEAD_STRING, byte & FIXSTR_MAX};
    return (struct head){HEAD_SCALAR, 0}; /* e0 .. ff: -32 .. -1 */
}

static inline const char *take_head(const char *at, const char *end, struct head *head)
{
    if (at == end)
        return NULL;
    unsigned byte = (unsigned char)*at;
    if (byte >= 0xc0 && byte <= 0xdf)
        return take_long_head(at, end, head);
    *head = short_head(byte);
    return at + 1;
}

/* A value without its items, of which *items follow. */
static const char *take_flat(const char *at, const char *end, uint64_t *items)
{
    struct head head;
    at = take_head(at, end, &head);
    *items = 0;
    if (at == NULL)
        return NULL;
    if (head.type == HEAD_STRING)
        return head.number <= (uint64_t)(end - at) ? at + head.number : NULL;
    *items = head.type == HEAD_ARRAY ? head.number : head.type == HEAD_MAP ? 2 * head.number : 0;
    return at;
}

/* Every item takes a byte at least, so no count beyond the bytes left is believed. */
static const char *take_value(const char *at, const char *end)
{
    uint64_t pending = 1; /* values still to come */
    while (pending > 0) {
        size_t left = (size_t)(end - at);
        if (pending > left)
            return NULL;
        unsigned byte = (unsigned char)at[0];
        uint64_t items = 0;
        if (byte == TYPE_STR8 && left > 1 && left - 2 >= (unsigned char)at[1]) {
            at += 2 + (size_t)(unsigned char)at[1]; /* as texts are */
        } else if (byte >= TYPE_FIXARRAY && byte < TYPE_FIXSTR) {
            items = byte & 0xf; /* as arguments are */
            at++;
        } else {
            at = take_flat(at, end, &items);
            if (at == NULL)
                return NULL;
        }
        pending += items - 1;
    }
    return at;
}

size_t wire_value_size(struct peri_slice bytes)
{
    const char *end = bytes.size > 0 ? take_value(bytes.data, bytes.data + bytes.size) : NULL;
    return end != NULL ? (size_t)(end - bytes.data) : 0;
}

static inline const char *take_string(const char *at, const char *end, struct peri_slice *out)
{
    struct head head;
    if (at != end && ((unsigned char)*at & ~(unsigned)FIXSTR_MAX) == TYPE_FIXSTR) {
        head.number = (unsigned char)*at++ & FIXSTR_MAX; /* as names are */
    } else {
        at = take_head(at, end, &head);
        if (at == NULL || head.type != HEAD_STRING)
            return NULL;
    }
    if (head.number > (uint64_t)(end - at))
        return NULL;
    *out = peri_slice_of(at, head.number);
    return at + head.number;
}

static inline const char *take_TEXT(const char *at, const char *end, struct peri_slice *out)
{
    return take_string(at, end, out);
}

static inline const char *take_BYTES(const char *at, const char *end, struct peri_slice *out)
{
    return take_string(at, end, out);
}

static inline const char *take_VALUE(const char *at, const char *end, struct peri_slice *out)
{
    const char *after = take_value(at, end);
    *out = peri_slice_of(at, after != NULL ? (size_t)(after - at) : 0);
    return after;
}

static inline const char *take_UINT(const char *at, const char *end, uint64_t *out)
{
    struct head head;
    at = take_head(at, end, &head);
    if (at == NULL || head.type != HEAD_UINT)
        return NULL;
    *out = head.number;
    return at;
}

static inline const char *take_BOOL(const char *at, const char *end, bool *out)
{
    struct head head;
    at = take_head(at, end, &head);
    if (at == NULL || head.type != HEAD_BOOL)
        return NULL;
    *out = head.number != 0;
    return at;
}

/* The head of a body: an array of so many fields, fewer than 16. */
static inline const char *take_count(const char *at, const char *end, unsigned count)
{
    struct head head;
    if (at != end && (unsigned char)*at == (TYPE_FIXARRAY | count))
        return at + 1; /* as we write it */
    at = take_head(at, end, &head);
    return at != NULL && head.type == HEAD_ARRAY && head.number == count ? at : NULL;
}

/* take_call, take_reply ...: the body of a message of that kind. *field_name is the field that was
 * looked at last, or "". */
#define MESSAGE(name, number, member, what)                                                        \
    static inline const char *take_##member(const char *at, const char *end,                       \
                                            struct wire_message *message, const char **field_name) \
    {                                                                                              \
        *field_name = "";                                                                          \
        at = take_count(at, end, field_counts[number]);
#define FIELD(type, member, field)                                                                 \
    if (at == NULL)                                                                                \
        return NULL;                                                                               \
    *field_name = #field;                                                                          \
    at = take_##type(at, end, &message->member.field);
#define MESSAGE_END(member)                                                                        \
    return at;                                                                                     \
    }
#include "wire/messages.def"

/* at is NULL: the field of that name is wrong; or there are bytes behind the last. */
static int fail_body(const struct wire_message *message, const char *at, const char *end,
                     const char *field_name, struct peri_error *err)
{
    const char *name = wire_kind_name(message->kind);
    if (at != NULL)
        return peri_fail_plain(err, PERI_EFORMAT, "%zu bytes behind the fields of a %s",
                               (size_t)(end - at), name);
    if (field_name[0] == '\0')
        return peri_fail_plain(err, PERI_EFORMAT, "the body of a %s is no array of %u fields", name,
                               field_counts[message->kind]);
    return peri_fail_plain(err, PERI_EFORMAT, "field %s of a %s is malformed", field_name, name);
}

static int fail_header(struct peri_slice bytes, struct peri_error *err)
{
    if (bytes.size < WIRE_MESSAGE_HEADER_SIZE)
        return peri_fail_plain(err, PERI_EFORMAT, "a message of only %zu bytes", bytes.size);
    unsigned version = (unsigned char)bytes.data[0];
    if (version >= WIRE_AGAIN)
        return peri_fail_plain(err, PERI_EFORMAT, "a message that begins with byte %02x", version);
    if (version != WIRE_VERSION)
        return peri_fail_plain(err, PERI_EVERSION,
                               "the peer speaks version %u of the protocol, we speak %d", version,
                               WIRE_VERSION);
    return peri_fail_plain(err, PERI_EFORMAT, "no kind of message has number %u",
                           (unsigned char)bytes.data[1]);
}

int wire_message_decode(struct peri_slice bytes, struct wire_message *message,
                        struct peri_error *err)
{
    if (bytes.size < WIRE_MESSAGE_HEADER_SIZE || bytes.data[0] != WIRE_VERSION)
        return fail_header(bytes, err);
    const char *at = bytes.data + WIRE_MESSAGE_HEADER_SIZE;
    const char *end = bytes.data + bytes.size;
    const char *field_name;
    message->kind = (uint8_t)bytes.data[1];
    message->flags = bits_get_le16(bytes.data + 2);
    message->budget_ms = bits_get_le32(bytes.data + 4);
    message->id = bits_get_le64(bytes.data + 8);
    switch (message->kind) {
#define MESSAGE(name, number, member, what)                                                        \
    case WIRE_##name:                                                                              \
        at = take_##member(at, end, message, &field_name);                                         \
        break;
#define FIELD(type, member, field)
#define MESSAGE_END(member)
#include "wire/messages.def"
    default:
        return fail_header(bytes, err);
    }
    return at == end ? 0 : fail_body(message, at, end, field_name, err);
}

int wire_message_decode_again(struct peri_slice bytes, struct wire_message *message)
{
    struct peri_slice value = wire_again_bytes(bytes);
    if (!wire_can_be_again(message) || message->id == UINT64_MAX || value.size == 0 ||
        wire_value_size(value) != value.size)
        return PERI_EFORMAT;
    wire_message_say_again(message, value);
    return 0;
}
