#include "wire/message.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>

#include "base/assert.h"
#include "base/bits.h"
#include "base/utf8.h"

enum field_type { FIELD_UINT, FIELD_BOOL, FIELD_TEXT, FIELD_BYTES, FIELD_VALUE };

struct field {
    const char *name;
    enum field_type type;
    size_t offset; /* in struct wire_message */
};

enum { FIELDS_MAX = 8 };

/* The tables are indexed by kind; numbers that are not used have no name. */
static const struct field fields[][FIELDS_MAX] = {
#define MESSAGE(name, number, member, what) [number] = {
#define FIELD(type, member, field)                                                                 \
    {#field, FIELD_##type, offsetof(struct wire_message, member.field)},
#define MESSAGE_END(member)                                                                        \
    }                                                                                              \
    ,
#include "wire/messages.def"
};

static const unsigned char field_counts[] = {
#define MESSAGE(name, number, member, what) [number] = 0
#define FIELD(type, member, field) +1
#define MESSAGE_END(member) ,
#include "wire/messages.def"
};

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

static const void *field_of(const struct wire_message *message, const struct field *field)
{
    return (const char *)message + field->offset;
}

static struct peri_slice slice_of(const struct wire_message *message, const struct field *field)
{
    return *(const struct peri_slice *)field_of(message, field);
}

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

static int append_head(struct peri_buffer *out, enum field_type type, struct peri_slice bytes)
{
    if (bytes.size > UINT32_MAX)
        return PERI_ETOOBIG;
    if (type == FIELD_VALUE)
        return bytes.size == 0 ? append_byte(out, TYPE_NIL) : 0;
    if (type == FIELD_BYTES || !peri_utf8_is_valid(bytes))
        return append_number(out, TYPE_BIN, bytes.size);
    if (bytes.size <= FIXSTR_MAX)
        return append_byte(out, TYPE_FIXSTR | (unsigned)bytes.size);
    return append_number(out, TYPE_STR, bytes.size);
}

static int encode_slice(struct peri_buffer *out, enum field_type type, struct peri_slice bytes)
{
    int rc = append_head(out, type, bytes);
    return rc != 0 ? rc : peri_buffer_append(out, bytes.data, bytes.size);
}

static int encode_field(const struct wire_message *message, const struct field *field,
                        struct peri_buffer *out)
{
    uint64_t number;
    switch (field->type) {
    case FIELD_UINT:
        number = *(const uint64_t *)field_of(message, field);
        return number <= FIXINT_MAX ? append_byte(out, (unsigned)number)
                                    : append_number(out, TYPE_UINT, number);
    case FIELD_BOOL:
        return append_byte(out, TYPE_FALSE + (unsigned)*(const bool *)field_of(message, field));
    default:
        return encode_slice(out, field->type, slice_of(message, field));
    }
}

static int encode_header(const struct wire_message *message, struct peri_buffer *out)
{
    int rc = peri_buffer_reserve(out, WIRE_MESSAGE_HEADER_SIZE);
    if (rc != 0)
        return rc;
    char *at = out->data + out->size;
    uint64_t id = message->id;
    bits_put_le32(at, WIRE_VERSION | (uint32_t)message->kind << 8 | (uint32_t)message->flags << 16);
    bits_put_le32(at + 4, message->budget_ms);
    bits_put_le64(at + 8, id);
    out->size += WIRE_MESSAGE_HEADER_SIZE;
    return append_byte(out, TYPE_FIXARRAY | field_counts[message->kind]);
}

static int encode(const struct wire_message *message, struct peri_buffer *out,
                  struct peri_slice *tail)
{
    const struct field *all = fields[message->kind];
    size_t last = field_counts[message->kind] - 1U;
    int rc = encode_header(message, out);
    for (size_t i = 0; rc == 0 && i < last; i++)
        rc = encode_field(message, &all[i], out);
    if (rc != 0)
        return rc;
    *tail = peri_slice_of(NULL, 0);
    if (all[last].type != FIELD_BYTES && all[last].type != FIELD_VALUE)
        return encode_field(message, &all[last], out);
    *tail = slice_of(message, &all[last]);
    return append_head(out, all[last].type, *tail);
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

static bool decode_string(struct peri_slice *bytes, struct peri_slice *out)
{
    struct head head = read_head(bytes);
    if (head.type != HEAD_STRING || head.number > bytes->size)
        return false;
    *out = peri_slice_of(bytes->data, head.number);
    skip(bytes, head.number);
    return true;
}

static bool decode_value(struct peri_slice *bytes, struct peri_slice *out)
{
    size_t size = wire_value_size(*bytes);
    *out = peri_slice_of(bytes->data, size);
    skip(bytes, size);
    return size > 0;
}

static bool decode_field(struct peri_slice *bytes, enum field_type type, void *out)
{
    struct head head;
    switch (type) {
    case FIELD_UINT:
        head = read_head(bytes);
        *(uint64_t *)out = head.number;
        return head.type == HEAD_UINT;
    case FIELD_BOOL:
        head = read_head(bytes);
        *(bool *)out = head.number != 0;
        return head.type == HEAD_BOOL;
    case FIELD_VALUE:
        return decode_value(bytes, out);
    default:
        return decode_string(bytes, out);
    }
}

static int decode_body(struct peri_slice body, struct wire_message *message, struct peri_error *err)
{
    const char *name = names[message->kind];
    struct head head = read_head(&body);
    if (head.type != HEAD_ARRAY || head.number != field_counts[message->kind])
        return peri_fail_plain(err, PERI_EFORMAT, "the body of a %s is no array of %u fields", name,
                               field_counts[message->kind]);
    for (size_t i = 0; i < field_counts[message->kind]; i++) {
        const struct field *field = &fields[message->kind][i];
        if (!decode_field(&body, field->type, (char *)message + field->offset))
            return peri_fail_plain(err, PERI_EFORMAT, "field %s of a %s is malformed", field->name,
                                   name);
    }
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

/* ---- printing ---- */

struct printer {
    char *at;
    size_t left; /* with the final NUL */
};

__attribute__((format(printf, 2, 3))) static void print(struct printer *printer, const char *format,
                                                        ...)
{
    va_list args;
    va_start(args, format);
    int size = vsnprintf(printer->at, printer->left, format, args);
    va_end(args);
    size_t used = size < 0 ? 0 : (size_t)size;
    if (used >= printer->left)
        used = printer->left - 1;
    printer->at += used;
    printer->left -= used;
}

/* Peers choose these bytes: what is no plain text must not reach a terminal. */
static void print_text(struct printer *printer, struct peri_slice text)
{
    enum { SHOWN_MAX = 64 };
    for (size_t i = 0; i < text.size && i < SHOWN_MAX; i++) {
        unsigned char byte = (unsigned char)text.data[i];
        if (isgraph(byte) && byte != '\\')
            print(printer, "%c", byte);
        else
            print(printer, "\\x%02x", byte);
    }
    if (text.size > SHOWN_MAX)
        print(printer, "...");
}

static void print_field(struct printer *printer, const struct wire_message *message,
                        const struct field *field)
{
    print(printer, " %s=", field->name);
    switch (field->type) {
    case FIELD_UINT:
        print(printer, "%" PRIu64, *(const uint64_t *)field_of(message, field));
        break;
    case FIELD_BOOL:
        print(printer, "%s", *(const bool *)field_of(message, field) ? "true" : "false");
        break;
    case FIELD_TEXT:
        print_text(printer, slice_of(message, field));
        break;
    default:
        print(printer, "%zuB", slice_of(message, field).size);
        break;
    }
}

void wire_message_print(const struct wire_message *message, char *out, size_t size)
{
    PERI_ASSERT(wire_kind_name(message->kind) != NULL && size > 0);
    struct printer printer = {out, size};
    print(&printer, "%s", names[message->kind]);
    if (message->id != 0)
        print(&printer, " id=%" PRIu64, message->id);
    if (message->budget_ms != 0)
        print(&printer, " budget=%" PRIu32, message->budget_ms);
    if (message->flags != 0)
        print(&printer, " flags=0x%x", message->flags);
    for (size_t i = 0; i < field_counts[message->kind]; i++)
        print_field(&printer, message, &fields[message->kind][i]);
}
