#include "mapreduce/typed.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "mapreduce/number.h"
#include "mapreduce/text.h"
#include "mapreduce/token.h"
#include "mapreduce/value.h"

enum { NUMBER_MAX = 40 };

static const char escaped[] = "\t\n\r\\";
static const char escapes[] = "tnr\\";

/* ---- writing ---- */

static size_t float_text(double number, char *out)
{
    if (isnan(number) || isinf(number))
        return (size_t)snprintf(out, NUMBER_MAX, "\\%c",
                                isnan(number) ? 'k'
                                : number > 0  ? 'i'
                                              : 'j');
    int size = snprintf(out, NUMBER_MAX, "%.17g", number);
    if (strpbrk(out, ".e") == NULL)
        size += snprintf(out + size, NUMBER_MAX - (size_t)size, ".0");
    return (size_t)size;
}

static int append_escaped(struct peri_buffer *out, struct peri_slice string)
{
    int rc = peri_buffer_reserve(out, string.size);
    for (size_t i = 0; rc == 0 && i < string.size; i++) {
        const char *found = memchr(escaped, string.data[i], sizeof escaped - 1);
        char pair[2] = {'\\', found != NULL ? escapes[found - escaped] : string.data[i]};
        rc =
            found != NULL ? peri_buffer_append(out, pair, 2) : peri_buffer_append(out, pair + 1, 1);
    }
    return rc;
}

static int append_hex(struct peri_buffer *out, struct peri_slice bytes)
{
    static const char digits[] = "0123456789abcdef";
    int rc = peri_buffer_append(out, "\\m", 2);
    for (size_t i = 0; rc == 0 && i < bytes.size; i++) {
        unsigned char byte = (unsigned char)bytes.data[i];
        char pair[2] = {digits[byte >> 4], digits[byte & 15]};
        rc = peri_buffer_append(out, pair, 2);
    }
    return rc;
}

static bool read_plain(struct peri_slice text, struct mr_datum *out);

int mr_typed_append(struct peri_buffer *out, const struct mr_datum *datum)
{
    char number[NUMBER_MAX];
    struct mr_datum other;
    switch (datum->type) {
    case MR_NIL:
        return peri_buffer_append(out, "\\z", 2);
    case MR_FALSE:
        return peri_buffer_append(out, "false", 5);
    case MR_TRUE:
        return peri_buffer_append(out, "true", 4);
    case MR_INTEGER:
        return peri_buffer_append(out, number, mr_number_text(datum, number));
    case MR_FLOAT:
        return peri_buffer_append(out, number, float_text(datum->number, number));
    case MR_TABLE:
        return append_hex(out, datum->string);
    case MR_STRING:
        break;
    }
    int rc = read_plain(datum->string, &other) ? peri_buffer_append(out, "\\s", 2) : 0;
    return rc == 0 ? append_escaped(out, datum->string) : rc;
}

/* ---- reading ---- */

static bool text_is(struct peri_slice text, const char *word)
{
    return peri_slice_compare(text, peri_slice_of(word, strlen(word))) == 0;
}

/* Reads what is written without a backslash and is no string. Numbers only in the one form that
 * writing gives, so that 007 stays a string. */
static bool read_plain(struct peri_slice text, struct mr_datum *out)
{
    struct mr_number number;
    char again[NUMBER_MAX];
    if (text_is(text, "true") || text_is(text, "false")) {
        out->type = text.size == 4 ? MR_TRUE : MR_FALSE;
        return true;
    }
    if (text.size == 0 || text.size >= NUMBER_MAX || !mr_number_parse(text, &number))
        return false;
    out->type = number.is_integer ? MR_INTEGER : MR_FLOAT;
    out->integer = number.integer;
    out->number = number.number;
    size_t size = number.is_integer ? mr_number_text(out, again) : float_text(number.number, again);
    return peri_slice_compare(text, peri_slice_of(again, size)) == 0;
}

static int hex_digit(char digit)
{
    if (digit >= '0' && digit <= '9')
        return digit - '0';
    return digit >= 'a' && digit <= 'f' ? digit - 'a' + 10 : -1;
}

/* Appends the bytes that the digits stand for; false when they are no hex. */
static bool read_hex(struct peri_slice digits, struct peri_buffer *scratch)
{
    if (digits.size == 0 || digits.size % 2 != 0)
        return false;
    for (size_t i = 0; i < digits.size; i += 2) {
        int high = hex_digit(digits.data[i]);
        int low = hex_digit(digits.data[i + 1]);
        char byte = (char)(high * 16 + low);
        if (high < 0 || low < 0 || peri_buffer_append(scratch, &byte, 1) != 0)
            return false;
    }
    return true;
}

/* Appends text without its escapes; a backslash that starts none stays one. */
static int unescape(struct peri_slice text, struct peri_buffer *scratch)
{
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < text.size; i++) {
        const char *found = NULL;
        if (text.data[i] == '\\' && i + 1 < text.size)
            found = memchr(escapes, text.data[i + 1], sizeof escapes - 1);
        i += found != NULL;
        rc = peri_buffer_append(scratch, found != NULL ? &escaped[found - escapes] : &text.data[i],
                                1);
    }
    return rc;
}

/* Reads \z \i \j \k \m...; false for the rest. */
static bool read_special(struct peri_slice text, struct mr_datum *out, struct peri_buffer *scratch)
{
    static const char letters[] = "zijk";
    size_t start = scratch->size;
    if (text.size == 2 && memchr(letters, text.data[1], sizeof letters - 1) != NULL) {
        out->type = text.data[1] == 'z' ? MR_NIL : MR_FLOAT;
        out->number = text.data[1] == 'k' ? NAN : text.data[1] == 'i' ? INFINITY : -INFINITY;
        return true;
    }
    if (text.data[1] == 'm' && read_hex(peri_slice_of(text.data + 2, text.size - 2), scratch)) {
        out->type = MR_TABLE;
        out->string = peri_slice_of(scratch->data + start, scratch->size - start);
        return true;
    }
    scratch->size = start;
    return false;
}

int mr_typed_read(struct peri_slice text, struct mr_datum *out, struct peri_buffer *scratch)
{
    if (peri_buffer_reserve(scratch, text.size) != 0)
        return PERI_ENOMEM;
    bool is_marked = text.size >= 2 && text.data[0] == '\\';
    if (is_marked ? read_special(text, out, scratch) : read_plain(text, out))
        return 0;
    if (is_marked && text.data[1] == 's')
        text = peri_slice_of(text.data + 2, text.size - 2);
    out->type = MR_STRING;
    out->string = text;
    if (text.size == 0 || memchr(text.data, '\\', text.size) == NULL)
        return 0;
    size_t start = scratch->size;
    int rc = unescape(text, scratch);
    out->string = peri_slice_of(scratch->data + start, scratch->size - start);
    return rc;
}

/* Cuts line at its TABs into at most three fields; more of them are one key and one raw value. */
static size_t cut(struct peri_slice line, struct peri_slice *fields, bool *is_foreign)
{
    struct mr_pieces pieces = mr_pieces_of(line, peri_slice_of("\t", 1));
    struct peri_slice piece;
    size_t count = 0;
    while (count < 4 && mr_pieces_next(&pieces, &piece)) {
        if (count < 3)
            fields[count] = piece;
        count++;
    }
    *is_foreign = count == 4;
    if (*is_foreign) {
        size_t used = fields[0].size + 1;
        fields[1] = peri_slice_of(line.data + used, line.size - used);
        count = 2;
    }
    return count;
}

int mr_typed_line(struct peri_slice line, struct peri_buffer *key, struct peri_buffer *value,
                  struct peri_buffer *scratch, struct peri_error *err)
{
    struct peri_slice fields[3];
    struct mr_datum data[3];
    bool is_foreign;
    size_t count = cut(line, fields, &is_foreign);
    scratch->size = 0;
    key->size = 0;
    value->size = 0;
    int rc = peri_buffer_reserve(scratch, line.size); /* so that nothing moves */
    for (size_t i = 0; rc == 0 && i < count; i++) {
        if (is_foreign && i == 1)
            data[1] = (struct mr_datum){.type = MR_STRING, .string = fields[1]};
        else
            rc = mr_typed_read(fields[i], &data[i], scratch);
    }
    if (count == 1)
        data[count++].type = MR_NIL;
    for (size_t i = 0; rc == 0 && i + 1 < count; i++) {
        if (data[i].type == MR_NIL)
            return peri_fail_plain(err, PERI_EINVAL, "a key is nil");
    }
    if (rc == 0)
        rc = mr_key_encode(data, count - 1, key, err);
    if (rc == 0)
        rc = mr_value_encode(&data[count - 1], value);
    return rc != PERI_ENOMEM ? rc : peri_fail(err, rc, "a line of %zu bytes", line.size);
}
