#include "mapreduce/value.h"

#include <math.h>

#include "base/bits.h"

enum {
    TAG_NIL = 0,
    TAG_FALSE = 1,
    TAG_TRUE = 2,
    TAG_INTEGER = 3,
    TAG_FLOAT = 4,
    TAG_STRING = 5,
    TAG_TABLE = 6,
    TAG_SMALL = 0x40, /* and up: the integer tag - TAG_SMALL */
    SMALL_MAX = 0xff - TAG_SMALL,
};

/* ---- encode ---- */

size_t mr_value_write_integer(int64_t value, char *out)
{
    if (value >= 0 && value <= SMALL_MAX) {
        out[0] = (char)(TAG_SMALL + value);
        return 1;
    }
    uint64_t zigzag = (uint64_t)value << 1 ^ (value < 0 ? UINT64_MAX : 0);
    out[0] = TAG_INTEGER;
    return (size_t)(bits_put_varint(out + 1, zigzag) - out);
}

static size_t write_float(double number, char *out)
{
    uint64_t bits;
    if (isnan(number))
        number = (double)NAN; /* one NaN, so that equal means equal bytes */
    memcpy(&bits, &number, sizeof bits);
    out[0] = TAG_FLOAT;
    bits_put_le64(out + 1, bits);
    return 1 + sizeof bits;
}

static int append_bytes(struct peri_buffer *out, char tag, struct peri_slice bytes)
{
    int rc = peri_buffer_reserve(out, 1 + bytes.size);
    if (rc != 0)
        return rc;
    (void)peri_buffer_append(out, &tag, 1);
    return peri_buffer_append(out, bytes.data, bytes.size);
}

int mr_value_encode(const struct mr_datum *value, struct peri_buffer *out)
{
    char bytes[MR_VALUE_SCALAR_MAX];
    switch (value->type) {
    case MR_INTEGER:
        return peri_buffer_append(out, bytes, mr_value_write_integer(value->integer, bytes));
    case MR_FLOAT:
        return peri_buffer_append(out, bytes, write_float(value->number, bytes));
    case MR_STRING:
        return append_bytes(out, TAG_STRING, value->string);
    case MR_TABLE:
        return append_bytes(out, TAG_TABLE, value->string);
    default: /* MR_NIL, MR_FALSE and MR_TRUE are their tags */
        bytes[0] = (char)value->type;
        return peri_buffer_append(out, bytes, 1);
    }
}

/* ---- decode ---- */

bool mr_value_read_integer(struct peri_slice value, int64_t *out)
{
    if (value.size == 0)
        return false;
    unsigned char tag = (unsigned char)value.data[0];
    if (tag >= TAG_SMALL && value.size == 1) {
        *out = tag - TAG_SMALL;
        return true;
    }
    const char *end = value.data + value.size;
    uint64_t zigzag;
    if (tag != TAG_INTEGER || bits_get_varint(value.data + 1, end, &zigzag) != end)
        return false;
    *out = (int64_t)(zigzag >> 1 ^ (~(zigzag & 1) + 1));
    return true;
}

static double read_float(const char *bytes)
{
    uint64_t bits = bits_get_le64(bytes);
    double number;
    memcpy(&number, &bits, sizeof number);
    return number;
}

int mr_value_decode(struct peri_slice value, struct mr_datum *out)
{
    *out = (struct mr_datum){.type = MR_NIL};
    if (mr_value_read_integer(value, &out->integer)) {
        out->type = MR_INTEGER;
        return 0;
    }
    if (value.size == 0)
        return PERI_EFORMAT;
    unsigned char tag = (unsigned char)value.data[0];
    if (tag <= TAG_TRUE && value.size == 1) {
        out->type = (enum mr_type)tag;
        return 0;
    }
    if (tag == TAG_FLOAT && value.size == 9) {
        out->type = MR_FLOAT;
        out->number = read_float(value.data + 1);
        return 0;
    }
    if (tag != TAG_STRING && tag != TAG_TABLE)
        return PERI_EFORMAT;
    out->type = tag == TAG_STRING ? MR_STRING : MR_TABLE;
    out->string = peri_slice_of(value.data + 1, value.size - 1);
    return 0;
}

int mr_value_compare(struct peri_slice a, struct peri_slice b)
{
    struct mr_datum x;
    struct mr_datum y;
    int order = 0;
    if (mr_value_decode(a, &x) == 0 && mr_value_decode(b, &y) == 0)
        order = mr_datum_compare(&x, &y);
    return order != 0 ? order : peri_slice_compare(a, b);
}

/* ---- MessagePack ---- */

static int append_be(struct peri_buffer *out, unsigned char type, uint64_t value, size_t size)
{
    char bytes[9];
    bytes[0] = (char)type;
    for (size_t i = 0; i < size; i++)
        bytes[1 + i] = (char)(value >> (8 * (size - 1 - i)));
    return peri_buffer_append(out, bytes, 1 + size);
}

static int append_msgpack_integer(struct peri_buffer *out, int64_t value)
{
    if (value >= -32 && value <= 127)
        return append_be(out, (unsigned char)value, 0, 0);
    return append_be(out, 0xd3, (uint64_t)value, 8);
}

static int append_msgpack_string(struct peri_buffer *out, struct peri_slice string)
{
    int rc;
    if (string.size < 32)
        rc = append_be(out, (unsigned char)(0xa0 | string.size), 0, 0);
    else if (string.size <= UINT8_MAX)
        rc = append_be(out, 0xd9, string.size, 1);
    else if (string.size <= UINT16_MAX)
        rc = append_be(out, 0xda, string.size, 2);
    else if (string.size <= UINT32_MAX)
        rc = append_be(out, 0xdb, string.size, 4);
    else
        rc = PERI_EFORMAT;
    return rc != 0 ? rc : peri_buffer_append(out, string.data, string.size);
}

int mr_value_to_msgpack(struct peri_slice value, struct peri_buffer *out)
{
    static const unsigned char plain[] = {0xc0, 0xc2, 0xc3}; /* nil, false, true */
    struct mr_datum datum;
    uint64_t bits;
    int rc = mr_value_decode(value, &datum);
    if (rc != 0)
        return rc;
    switch (datum.type) {
    case MR_INTEGER:
        return append_msgpack_integer(out, datum.integer);
    case MR_FLOAT:
        memcpy(&bits, &datum.number, sizeof bits);
        return append_be(out, 0xcb, bits, 8);
    case MR_STRING:
        return append_msgpack_string(out, datum.string);
    case MR_TABLE:
        return peri_buffer_append(out, datum.string.data, datum.string.size);
    default:
        return append_be(out, plain[datum.type], 0, 0);
    }
}
