#include "wire/pack.h"

enum {
    TYPE_NIL = 0xc0,
    TYPE_FALSE = 0xc2,
    TYPE_TRUE = 0xc3,
    TYPE_BIN = 0xc4, /* and c5, c6: length of 1, 2, 4 bytes */
    TYPE_DOUBLE = 0xcb,
    TYPE_UINT = 0xcc,    /* .. cf: 1, 2, 4, 8 bytes */
    TYPE_INT = 0xd0,     /* .. d3 */
    TYPE_STR = 0xd9,     /* .. db */
    TYPE_ARRAY16 = 0xdc, /* and dd */
    TYPE_FIXARRAY = 0x90,
    TYPE_FIXSTR = 0xa0,
    TYPE_NEGATIVE = 0xe0,
    FIXINT_MAX = 0x7f,
    FIXSTR_MASK = 0x1f,
    FIXARRAY_MAX = 0x0f,
    HEAD_MAX = 9,
};

/* ---- writing ---- */

static void append(struct wire_packer *packer, const void *data, size_t size)
{
    if (packer->rc == 0)
        packer->rc = peri_buffer_append(packer->out, data, size);
}

/* A type byte and 2^form bytes of number. */
static void append_head(struct wire_packer *packer, unsigned type, unsigned form, uint64_t number)
{
    char head[HEAD_MAX];
    size_t width = (size_t)1 << form;
    head[0] = (char)type;
    for (size_t i = 0; i < width; i++)
        head[1 + i] = (char)(number >> (8 * (width - 1 - i)));
    append(packer, head, 1 + width);
}

static void append_byte(struct wire_packer *packer, unsigned byte)
{
    char head = (char)byte;
    append(packer, &head, 1);
}

static unsigned form_of(uint64_t number)
{
    return number <= UINT8_MAX ? 0 : number <= UINT16_MAX ? 1 : number <= UINT32_MAX ? 2 : 3;
}

void wire_pack_array(struct wire_packer *packer, uint32_t count)
{
    if (count <= FIXARRAY_MAX)
        append_byte(packer, TYPE_FIXARRAY | count);
    else if (count <= UINT16_MAX)
        append_head(packer, TYPE_ARRAY16, 1, count);
    else
        append_head(packer, TYPE_ARRAY16 + 1, 2, count);
}

void wire_pack_uint(struct wire_packer *packer, uint64_t number)
{
    unsigned form = form_of(number);
    if (number <= FIXINT_MAX)
        append_byte(packer, (unsigned)number);
    else
        append_head(packer, TYPE_UINT + form, form, number);
}

void wire_pack_int(struct wire_packer *packer, int64_t number)
{
    if (number >= 0) {
        wire_pack_uint(packer, (uint64_t)number);
        return;
    }
    unsigned form = number >= INT8_MIN ? 0 : number >= INT16_MIN ? 1 : number >= INT32_MIN ? 2 : 3;
    append_head(packer, TYPE_INT + form, form, (uint64_t)number);
}

void wire_pack_double(struct wire_packer *packer, double number)
{
    uint64_t bits;
    memcpy(&bits, &number, sizeof bits);
    append_head(packer, TYPE_DOUBLE, 3, bits);
}

void wire_pack_bytes(struct wire_packer *packer, struct peri_slice bytes)
{
    unsigned form = form_of(bytes.size);
    append_head(packer, TYPE_BIN + form, form, bytes.size); /* below 4 GiB: limits are far lower */
    append(packer, bytes.data, bytes.size);
}

void wire_pack_bool(struct wire_packer *packer, bool flag)
{
    append_byte(packer, flag ? TYPE_TRUE : TYPE_FALSE);
}

void wire_pack_nil(struct wire_packer *packer)
{
    append_byte(packer, TYPE_NIL);
}

/* ---- reading ---- */

static size_t bytes_left(const struct wire_unpacker *unpacker)
{
    return (size_t)(unpacker->end - unpacker->at);
}

static uint64_t fail(struct wire_unpacker *unpacker)
{
    unpacker->rc = PERI_EFORMAT;
    unpacker->at = unpacker->end;
    return 0;
}

/* The next byte; a failure at the end gives one that is no type. */
static unsigned next_byte(struct wire_unpacker *unpacker)
{
    if (bytes_left(unpacker) == 0) {
        (void)fail(unpacker);
        return 0xc1;
    }
    return (unsigned char)*unpacker->at++;
}

static uint64_t next_number(struct wire_unpacker *unpacker, unsigned form)
{
    size_t width = (size_t)1 << form;
    uint64_t number = 0;
    if (bytes_left(unpacker) < width)
        return fail(unpacker);
    for (size_t i = 0; i < width; i++)
        number = number << 8 | (unsigned char)*unpacker->at++;
    return number;
}

uint32_t wire_unpack_array(struct wire_unpacker *unpacker)
{
    unsigned type = next_byte(unpacker);
    uint64_t count = 0;
    if ((type & ~(unsigned)FIXARRAY_MAX) == TYPE_FIXARRAY)
        count = type & FIXARRAY_MAX;
    else if (type == TYPE_ARRAY16 || type == TYPE_ARRAY16 + 1)
        count = next_number(unpacker, type == TYPE_ARRAY16 ? 1 : 2);
    else
        return (uint32_t)fail(unpacker);
    return (uint32_t)(count <= bytes_left(unpacker) ? count : fail(unpacker));
}

uint64_t wire_unpack_uint(struct wire_unpacker *unpacker)
{
    int64_t number;
    if (unpacker->at < unpacker->end && (unsigned char)*unpacker->at == TYPE_UINT + 3) {
        unpacker->at++;
        return next_number(unpacker, 3);
    }
    number = wire_unpack_int(unpacker);
    return number >= 0 ? (uint64_t)number : fail(unpacker);
}

int64_t wire_unpack_int(struct wire_unpacker *unpacker)
{
    unsigned type = next_byte(unpacker);
    if (type <= FIXINT_MAX)
        return type;
    if (type >= TYPE_NEGATIVE)
        return (int8_t)type;
    if (type >= TYPE_UINT && type <= TYPE_UINT + 3) {
        uint64_t number = next_number(unpacker, type - TYPE_UINT);
        return (int64_t)(number <= INT64_MAX ? number : fail(unpacker));
    }
    if (type < TYPE_INT || type > TYPE_INT + 3)
        return (int64_t)fail(unpacker);
    unsigned form = type - TYPE_INT, spare = 64 - (8U << form);
    uint64_t number = next_number(unpacker, form);
    return (int64_t)(number << spare) >> spare; /* with its sign */
}

struct peri_slice wire_unpack_bytes(struct wire_unpacker *unpacker)
{
    unsigned type = next_byte(unpacker);
    uint64_t size = 0;
    if ((type & ~(unsigned)FIXSTR_MASK) == TYPE_FIXSTR)
        size = type & FIXSTR_MASK;
    else if (type >= TYPE_BIN && type <= TYPE_BIN + 2)
        size = next_number(unpacker, type - TYPE_BIN);
    else if (type >= TYPE_STR && type <= TYPE_STR + 2)
        size = next_number(unpacker, type - TYPE_STR);
    else
        size = fail(unpacker);
    if (size > bytes_left(unpacker))
        size = fail(unpacker);
    struct peri_slice bytes = peri_slice_of(unpacker->at, (size_t)size);
    unpacker->at += size;
    return bytes;
}

bool wire_unpack_bool(struct wire_unpacker *unpacker)
{
    unsigned type = next_byte(unpacker);
    if (type != TYPE_TRUE && type != TYPE_FALSE)
        (void)fail(unpacker);
    return type == TYPE_TRUE;
}

int wire_unpack_end(struct wire_unpacker *unpacker)
{
    if (bytes_left(unpacker) != 0)
        (void)fail(unpacker);
    return unpacker->rc;
}
