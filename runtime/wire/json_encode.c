#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "wire/json.h"
#include "wire/walk.h"

struct json_writer {
    struct peri_buffer *out;
    bool is_pretty, is_lossy;
    size_t depth;
    bool is_after_key;
    bool is_first; /* of the array or object that was opened last */
};

static int put(struct json_writer *writer, const char *bytes, size_t size)
{
    return peri_buffer_append(writer->out, bytes, size);
}

static int put_line(struct json_writer *writer)
{
    int rc = put(writer, "\n", 1);
    for (size_t i = 0; i < writer->depth && rc == 0; i++)
        rc = put(writer, "  ", 2);
    return rc;
}

/* What stands between the item before and this one. */
static int put_separator(struct json_writer *writer)
{
    int rc = 0;
    if (!writer->is_after_key && writer->depth > 0) {
        rc = writer->is_first ? 0 : put(writer, ",", 1);
        if (rc == 0 && writer->is_pretty)
            rc = put_line(writer);
    }
    writer->is_first = false;
    writer->is_after_key = false;
    return rc;
}

/* The escape of a byte that may not stand for itself, or NULL. */
static const char *escape_of(unsigned char byte, char scratch[8])
{
    static const char names[] = "btn?fr"; /* \b to \r; \v has no short form */
    if (byte >= ' ' && byte != '"' && byte != '\\')
        return NULL;
    if (byte == '"' || byte == '\\')
        (void)snprintf(scratch, 8, "\\%c", byte);
    else if (byte >= '\b' && byte <= '\r' && byte != '\v')
        (void)snprintf(scratch, 8, "\\%c", names[byte - '\b']);
    else
        (void)snprintf(scratch, 8, "\\u%04x", byte);
    return scratch;
}

/* Text that is valid, without its quotes. */
static int put_plain(struct json_writer *writer, struct peri_slice text)
{
    char scratch[8];
    size_t start = 0;
    int rc = 0;
    for (size_t i = 0; i < text.size && rc == 0; i++) {
        const char *escape = escape_of((unsigned char)text.data[i], scratch);
        if (escape == NULL)
            continue;
        rc = put(writer, text.data + start, i - start);
        if (rc == 0)
            rc = put(writer, escape, strlen(escape));
        start = i + 1;
    }
    return rc == 0 ? put(writer, text.data + start, text.size - start) : rc;
}

/* Bytes of which some are not valid: each of those is a replacement character. */
static int put_mended(struct json_writer *writer, struct peri_slice text)
{
    int rc = 0;
    while (text.size > 0 && rc == 0) {
        size_t size = peri_utf8_length(text);
        rc = size > 0 ? put_plain(writer, peri_slice_of(text.data, size))
                      : put(writer, "\xef\xbf\xbd", 3);
        size = size > 0 ? size : 1;
        text = peri_slice_of(text.data + size, text.size - size);
    }
    return rc;
}

static int put_string(struct json_writer *writer, struct peri_slice text, const char **why)
{
    bool is_valid = peri_utf8_is_valid(text);
    if (!is_valid && !writer->is_lossy) {
        *why = "is not valid UTF-8, so no JSON text";
        return PERI_EFORMAT;
    }
    int rc = put(writer, "\"", 1);
    if (rc == 0)
        rc = is_valid ? put_plain(writer, text) : put_mended(writer, text);
    return rc == 0 ? put(writer, "\"", 1) : rc;
}

/* The shortest of three precisions that reads back as the same number, and reads as a float. */
static int put_float(struct json_writer *writer, double number, const char **why)
{
    char text[40];
    if (!isfinite(number) && writer->is_lossy)
        return put(writer, "null", 4);
    if (!isfinite(number)) {
        *why = "is infinite or NaN, so no JSON number";
        return PERI_EFORMAT;
    }
    for (int precision = 15; precision <= 17; precision++) {
        (void)snprintf(text, sizeof text, "%.*g", precision, number);
        if (strtod(text, NULL) == number)
            break;
    }
    int rc = put(writer, text, strlen(text));
    return rc == 0 && strpbrk(text, ".e") == NULL ? put(writer, ".0", 2) : rc;
}

static int put_text(struct json_writer *writer, const char *text)
{
    return put(writer, text, strlen(text));
}

static int put_value(struct json_writer *writer, const struct wire_scalar *scalar, const char **why)
{
    char text[32];
    switch (scalar->type) {
    case LUA_TBOOLEAN:
        return put_text(writer, scalar->boolean ? "true" : "false");
    case LUA_TNUMBER:
        if (scalar->is_float)
            return put_float(writer, scalar->number, why);
        (void)snprintf(text, sizeof text, LUA_INTEGER_FMT, scalar->integer);
        return put_text(writer, text);
    case LUA_TSTRING:
        return put_string(writer, scalar->string, why);
    default:
        return put_text(writer, "null");
    }
}

static int put_scalar(void *data, const struct wire_scalar *scalar, const char **why)
{
    int rc = put_separator(data);
    return rc == 0 ? put_value(data, scalar, why) : rc;
}

static int put_key(void *data, const struct wire_scalar *key, const char **why)
{
    struct json_writer *writer = data;
    bool is_string = key->type == LUA_TSTRING;
    if (!is_string && !writer->is_lossy) {
        *why = "has a key that is not a string, in a table that is not an array";
        return PERI_EFORMAT;
    }
    int rc = put_separator(writer);
    if (rc == 0 && !is_string)
        rc = put_text(writer, "\"");
    if (rc == 0)
        rc = put_value(writer, key, why);
    if (rc == 0 && !is_string)
        rc = put_text(writer, "\"");
    writer->is_after_key = true;
    return rc == 0 ? put_text(writer, writer->is_pretty ? ": " : ":") : rc;
}

static int put_begin(void *data, bool is_array, uint32_t count)
{
    struct json_writer *writer = data;
    (void)count;
    int rc = put_separator(writer);
    writer->depth++;
    writer->is_first = true;
    return rc == 0 ? put_text(writer, is_array ? "[" : "{") : rc;
}

static int put_end(void *data, bool is_array)
{
    struct json_writer *writer = data;
    bool was_empty = writer->is_first;
    writer->depth--;
    writer->is_first = false;
    int rc = writer->is_pretty && !was_empty ? put_line(writer) : 0;
    return rc == 0 ? put_text(writer, is_array ? "]" : "}") : rc;
}

int wire_json_encode(lua_State *L, int index, const struct wire_json_options *options,
                     struct peri_buffer *out, struct peri_error *err)
{
    size_t before = out->size;
    struct json_writer writer = {
        .out = out, .is_pretty = options->is_pretty, .is_lossy = options->is_lossy};
    struct wire_sink sink = {.scalar = put_scalar,
                             .key = put_key,
                             .begin = put_begin,
                             .end = put_end,
                             .data = &writer,
                             .array_mark = WIRE_JSON_ARRAY};
    int rc = wire_walk(L, index, options->name, &sink, err);
    if (rc != 0)
        out->size = before;
    return rc;
}
