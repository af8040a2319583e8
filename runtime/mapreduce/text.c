#include "mapreduce/text.h"

#include <inttypes.h>
#include <math.h>
#include <mpack.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/utf8.h"

enum { DEPTH_MAX = 64 };

static int append_text(struct peri_buffer *out, const char *text)
{
    return peri_buffer_append(out, text, strlen(text));
}

/* ---- numbers ---- */

size_t mr_number_text(const struct mr_datum *number, char *out)
{
    if (number->type == MR_INTEGER)
        return (size_t)snprintf(out, MR_NUMBER_TEXT_MAX, "%" PRId64, number->integer);
    int size = snprintf(out, MR_NUMBER_TEXT_MAX, "%.14g", number->number);
    if (strspn(out, "-0123456789") == (size_t)size) { /* looks like an integer */
        out[size++] = '.';
        out[size++] = '0';
    }
    return (size_t)size;
}

/* JSON keeps floats exactly, so that a reader gets the number that was written. */
static int append_float(struct peri_buffer *out, double number)
{
    char text[MR_NUMBER_TEXT_MAX];
    if (!isfinite(number))
        return append_text(out, "null");
    int size = snprintf(text, sizeof text, "%.15g", number);
    if (strtod(text, NULL) != number)
        size = snprintf(text, sizeof text, "%.17g", number);
    if (strspn(text, "-0123456789") == (size_t)size)
        size += snprintf(text + size, sizeof text - (size_t)size, ".0");
    return peri_buffer_append(out, text, (size_t)size);
}

static int append_number(struct peri_buffer *out, const struct mr_datum *number)
{
    char text[MR_NUMBER_TEXT_MAX];
    if (number->type == MR_FLOAT)
        return append_float(out, number->number);
    return peri_buffer_append(out, text, mr_number_text(number, text));
}

/* ---- strings ---- */

static int append_escape(struct peri_buffer *out, unsigned char byte)
{
    static const char names[] = "\"\"\\\\\nn\rr\tt\bb\ff";
    char text[8];
    for (size_t i = 0; i + 1 < sizeof names; i += 2) {
        if ((unsigned char)names[i] == byte) {
            const char escape[2] = {'\\', names[i + 1]};
            return peri_buffer_append(out, escape, sizeof escape);
        }
    }
    (void)snprintf(text, sizeof text, "\\u%04x", byte);
    return append_text(out, text);
}

static int append_string(struct peri_buffer *out, struct peri_slice string)
{
    const unsigned char *at = (const unsigned char *)string.data;
    size_t left = string.size;
    int rc = append_text(out, "\"");
    while (rc == 0 && left > 0) {
        size_t size = peri_utf8_length(peri_slice_of((const char *)at, left));
        if (size == 0)
            rc = append_text(out, "\xef\xbf\xbd");
        else if (size == 1 && (*at < 0x20 || *at == '"' || *at == '\\'))
            rc = append_escape(out, *at);
        else
            rc = peri_buffer_append(out, at, size);
        at += size == 0 ? 1 : size;
        left -= size == 0 ? 1 : size;
    }
    return rc != 0 ? rc : append_text(out, "\"");
}

/* ---- MessagePack ---- */

/* Walks the tokens of one object. */
struct walk {
    mpack_tokbuf_t tokens;
    const char *at;
    size_t left;
};

static int append_object(struct peri_buffer *out, struct walk *walk, unsigned depth);

static bool next_token(struct walk *walk, mpack_token_t *token)
{
    return walk->left > 0 && mpack_read(&walk->tokens, &walk->at, &walk->left, token) == MPACK_OK;
}

/* A string of size bytes; all input is there, so its bytes come as one chunk. */
static int append_bytes(struct peri_buffer *out, struct walk *walk, size_t size)
{
    mpack_token_t chunk;
    if (size == 0)
        return append_text(out, "\"\"");
    if (!next_token(walk, &chunk) || chunk.length != size)
        return PERI_EFORMAT;
    return append_string(out, peri_slice_of(chunk.data.chunk_ptr, size));
}

static int append_array(struct peri_buffer *out, struct walk *walk, uint32_t count, unsigned depth)
{
    int rc = append_text(out, "[");
    for (uint32_t i = 0; rc == 0 && i < count; i++) {
        rc = i > 0 ? append_text(out, ",") : 0;
        if (rc == 0)
            rc = append_object(out, walk, depth + 1);
    }
    return rc != 0 ? rc : append_text(out, "]");
}

/* A key: what is not a string already is put into quotes. */
static int append_name(struct peri_buffer *out, struct walk *walk, unsigned depth)
{
    size_t start = out->size;
    int rc = append_object(out, walk, depth + 1);
    if (rc != 0 || out->data[start] == '"')
        return rc != 0 ? rc : append_text(out, ":");
    if (out->data[start] == '[' || out->data[start] == '{')
        return PERI_EFORMAT;
    rc = append_text(out, "\"\":");
    if (rc == 0) {
        size_t size = out->size - start - 3;
        memmove(out->data + start + 1, out->data + start, size);
        memcpy(out->data + start + 1 + size, "\":", 2);
        out->data[start] = '"';
    }
    return rc;
}

static int append_map(struct peri_buffer *out, struct walk *walk, uint32_t count, unsigned depth)
{
    int rc = append_text(out, "{");
    for (uint32_t i = 0; rc == 0 && i < count; i++) {
        rc = i > 0 ? append_text(out, ",") : 0;
        if (rc == 0)
            rc = append_name(out, walk, depth);
        if (rc == 0)
            rc = append_object(out, walk, depth + 1);
    }
    return rc != 0 ? rc : append_text(out, "}");
}

static int append_integer_token(struct peri_buffer *out, mpack_token_t token)
{
    char text[MR_NUMBER_TEXT_MAX];
    int size = token.type == MPACK_TOKEN_UINT
                   ? snprintf(text, sizeof text, "%" PRIu64, (uint64_t)mpack_unpack_uint(token))
                   : snprintf(text, sizeof text, "%" PRId64, (int64_t)mpack_unpack_sint(token));
    return peri_buffer_append(out, text, (size_t)size);
}

static int append_object(struct peri_buffer *out, struct walk *walk, unsigned depth)
{
    mpack_token_t token;
    if (depth > DEPTH_MAX || !next_token(walk, &token))
        return PERI_EFORMAT;
    switch (token.type) {
    case MPACK_TOKEN_NIL:
        return append_text(out, "null");
    case MPACK_TOKEN_BOOLEAN:
        return append_text(out, mpack_unpack_boolean(token) ? "true" : "false");
    case MPACK_TOKEN_UINT:
    case MPACK_TOKEN_SINT:
        return append_integer_token(out, token);
    case MPACK_TOKEN_FLOAT:
        return append_float(out, mpack_unpack_float(token));
    case MPACK_TOKEN_STR:
    case MPACK_TOKEN_BIN:
        return append_bytes(out, walk, token.length);
    case MPACK_TOKEN_ARRAY:
        return append_array(out, walk, token.length, depth);
    case MPACK_TOKEN_MAP:
        return append_map(out, walk, token.length, depth);
    default:
        return PERI_EFORMAT;
    }
}

static int append_table(struct peri_buffer *out, struct peri_slice msgpack)
{
    struct walk walk = {MPACK_TOKBUF_INITIAL_VALUE, msgpack.data, msgpack.size};
    int rc = append_object(out, &walk, 0);
    return rc == 0 && walk.left > 0 ? PERI_EFORMAT : rc;
}

int mr_json_append(struct peri_buffer *out, const struct mr_datum *datum)
{
    switch (datum->type) {
    case MR_NIL:
        return append_text(out, "null");
    case MR_FALSE:
        return append_text(out, "false");
    case MR_TRUE:
        return append_text(out, "true");
    case MR_STRING:
        return append_string(out, datum->string);
    case MR_TABLE:
        return append_table(out, datum->string);
    default:
        return append_number(out, datum);
    }
}
