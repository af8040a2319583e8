#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/utf8.h"
#include "wire/codec.h"

static int put_bytes(struct wire_encoder *encoder, const char *bytes, size_t size)
{
    encoder->is_full = size > encoder->size_max || encoder->out->size > encoder->size_max - size;
    if (encoder->is_full)
        return PERI_ETOOBIG;
    return peri_buffer_append(encoder->out, bytes, size);
}

static int put_token(struct wire_encoder *encoder, mpack_token_t token)
{
    mpack_tokbuf_t state = MPACK_TOKBUF_INITIAL_VALUE;
    char bytes[MPACK_MAX_TOKEN_LEN];
    char *at = bytes;
    size_t room = sizeof bytes;
    int rc = mpack_write(&state, &at, &room, &token);
    PERI_ASSERT(rc == MPACK_OK); /* no token is longer than MPACK_MAX_TOKEN_LEN */
    return put_bytes(encoder, bytes, sizeof bytes - room);
}

/* libmpack 1.0.5 writes -129 as 127, -32769 as 32767 and -4294967297 as -1, so integers are written
 * here: the shortest form, big-endian. */
static int put_integer(struct wire_encoder *encoder, int64_t value)
{
    static const struct {
        int64_t min, max;
        unsigned char signed_type, unsigned_type;
        size_t size;
    } forms[] = {
        {INT8_MIN, UINT8_MAX, 0xD0, 0xCC, 1},
        {INT16_MIN, UINT16_MAX, 0xD1, 0xCD, 2},
        {INT32_MIN, UINT32_MAX, 0xD2, 0xCE, 4},
        {INT64_MIN, INT64_MAX, 0xD3, 0xCF, 8},
    };
    char bytes[MPACK_MAX_TOKEN_LEN];
    size_t form = 0;
    if (value >= -32 && value <= 127) {
        bytes[0] = (char)value;
        return put_bytes(encoder, bytes, 1);
    }
    while (value < forms[form].min || value > forms[form].max)
        form++;
    size_t size = forms[form].size;
    bytes[0] = (char)(value < 0 ? forms[form].signed_type : forms[form].unsigned_type);
    for (size_t i = 0; i < size; i++)
        bytes[1 + i] = (char)((uint64_t)value >> (8 * (size - 1 - i)));
    return put_bytes(encoder, bytes, 1 + size);
}

static int put_string(struct wire_encoder *encoder, struct peri_slice string, const char **why)
{
    if (string.size > UINT32_MAX) {
        *why = "is longer than 4 GiB";
        return PERI_ETOOBIG;
    }
    uint32_t size = (uint32_t)string.size;
    int rc = put_token(encoder,
                       peri_utf8_is_valid(string) ? mpack_pack_str(size) : mpack_pack_bin(size));
    return rc != 0 ? rc : put_bytes(encoder, string.data, string.size);
}

static int put_scalar(void *data, const struct wire_scalar *scalar, const char **why)
{
    struct wire_encoder *encoder = data;
    switch (scalar->type) {
    case LUA_TBOOLEAN:
        return put_token(encoder, mpack_pack_boolean(scalar->boolean));
    case LUA_TNUMBER:
        return scalar->is_float ? put_token(encoder, mpack_pack_float(scalar->number))
                                : put_integer(encoder, scalar->integer);
    case LUA_TSTRING:
        return put_string(encoder, scalar->string, why);
    default:
        return put_token(encoder, mpack_pack_nil());
    }
}

static int put_begin(void *data, bool is_array, uint32_t count)
{
    return put_token(data, is_array ? mpack_pack_array(count) : mpack_pack_map(count));
}

static int put_end(void *data, bool is_array)
{
    (void)data;
    (void)is_array;
    return 0;
}

void wire_encoder_init(struct wire_encoder *encoder, struct peri_buffer *out, size_t size_max,
                       struct wire_sink *sink)
{
    size_t before = out->size;
    *encoder = (struct wire_encoder){
        .out = out, .size_max = size_max < SIZE_MAX - before ? before + size_max : SIZE_MAX};
    *sink = (struct wire_sink){.scalar = put_scalar,
                               .key = put_scalar,
                               .begin = put_begin,
                               .end = put_end,
                               .data = encoder};
}

int wire_encode_standing(lua_State *L, int index, const char *name, size_t size_max,
                         const void *standing, struct peri_buffer *out, struct peri_error *err)
{
    size_t before = out->size;
    struct wire_encoder encoder;
    struct wire_sink sink;
    wire_encoder_init(&encoder, out, size_max, &sink);
    sink.standing = standing;
    int rc = wire_walk(L, index, name, &sink, err);
    if (rc != 0)
        out->size = before;
    return rc;
}

int wire_encode(lua_State *L, int index, const char *name, size_t size_max, struct peri_buffer *out,
                struct peri_error *err)
{
    return wire_encode_standing(L, index, name, size_max, NULL, out, err);
}

static int encode_item(lua_State *L, int index, const char *what, int number,
                       const struct wire_sink *sink, struct peri_error *err)
{
    enum { NAME_SIZE = 32 };
    struct wire_scalar scalar;
    const char *why = NULL;
    char name[NAME_SIZE];
    if (wire_read_scalar(L, index, &scalar)) { /* most items are: no walk */
        int rc = put_scalar(sink->data, &scalar, &why);
        return rc == 0 ? 0 : peri_fail(err, rc, "%s %d", what, number);
    }
    (void)snprintf(name, sizeof name, "%s %d", what, number);
    return wire_walk(L, index, name, sink, err);
}

int wire_encode_list(lua_State *L, int first, int count, const char *what, size_t size_max,
                     const char *limit, struct peri_buffer *out, struct peri_error *err)
{
    size_t before = out->size;
    struct wire_encoder encoder;
    struct wire_sink sink;
    wire_encoder_init(&encoder, out, size_max, &sink);
    int rc = put_token(&encoder, mpack_pack_array((uint32_t)count));
    if (rc != 0)
        (void)peri_fail(err, rc, "%ss", what);
    for (int i = 0; rc == 0 && i < count; i++)
        rc = encode_item(L, first + i, what, i + 1, &sink, err);
    if (encoder.is_full)
        rc =
            peri_fail_plain(err, rc, "the %ss have more than %zu bytes, %s", what, size_max, limit);
    if (rc != 0)
        out->size = before;
    return rc;
}
