#include "check/edn.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>

#include "base/buffer.h"

enum { DEPTH_MAX = 64, NUMBER_SIZE = 64 };

static int read_value(struct check_values *values, struct peri_slice *text, int depth,
                      check_value *out, struct peri_error *err);

static bool is_blank(char byte)
{
    return byte == ' ' || byte == '\t' || byte == ',' || byte == '\r' || byte == '\n';
}

static void advance(struct peri_slice *text, size_t count)
{
    text->data += count;
    text->size -= count;
}

void check_edn_skip(struct peri_slice *text)
{
    while (text->size > 0 && is_blank(text->data[0]))
        advance(text, 1);
    if (text->size > 0 && text->data[0] == ';')
        advance(text, text->size);
}

static int read_string(struct check_values *values, struct peri_slice *text, check_value *out,
                       struct peri_error *err)
{
    static const char escapes[] = "nrt\"\\", bytes[] = "\n\r\t\"\\";
    struct peri_buffer buffer = {NULL, 0, 0};
    int rc = 0;
    advance(text, 1);
    while (rc == 0 && text->size > 0 && text->data[0] != '"') {
        char byte = text->data[0];
        if (byte == '\\') {
            const char *escape =
                text->size < 2 ? NULL : memchr(escapes, text->data[1], sizeof escapes - 1);
            if (escape == NULL) {
                rc = peri_fail_plain(err, PERI_EFORMAT, "unknown escape in a string");
                break;
            }
            byte = bytes[escape - escapes];
            advance(text, 1);
        }
        advance(text, 1);
        rc = peri_buffer_append(&buffer, &byte, 1);
    }
    if (rc == 0 && text->size == 0)
        rc = peri_fail_plain(err, PERI_EFORMAT, "a string does not end");
    if (rc == 0) {
        advance(text, 1);
        rc = check_value_string(values, peri_buffer_slice(&buffer), out);
    }
    peri_buffer_deinit(&buffer);
    return rc;
}

/* Reads items up to the closing bracket. */
static int read_items(struct check_values *values, struct peri_slice *text, char close, int depth,
                      struct peri_buffer *items, struct peri_error *err)
{
    for (;;) {
        check_edn_skip(text);
        if (text->size == 0)
            return peri_fail_plain(err, PERI_EFORMAT, "'%c' is missing", close);
        if (text->data[0] == close) {
            advance(text, 1);
            return 0;
        }
        check_value item;
        int rc = read_value(values, text, depth + 1, &item, err);
        if (rc == 0)
            rc = peri_buffer_append(items, &item, sizeof item);
        if (rc != 0)
            return rc;
    }
}

static int read_list(struct check_values *values, struct peri_slice *text, char close, int depth,
                     check_value *out, struct peri_error *err)
{
    struct peri_buffer items = {NULL, 0, 0};
    enum check_kind kind = close == '}' && text->data[0] == '{' ? CHECK_KIND_MAP : CHECK_KIND_LIST;
    advance(text, text->data[0] == '#' ? 2 : 1);
    int rc = depth == DEPTH_MAX
                 ? peri_fail_plain(err, PERI_ETOOBIG, "more than %d levels of nesting", DEPTH_MAX)
                 : read_items(values, text, close, depth, &items, err);
    size_t count = items.size / sizeof(check_value);
    if (rc == 0 && kind == CHECK_KIND_MAP && count % 2 != 0)
        rc = peri_fail_plain(err, PERI_EFORMAT, "a map has a key without a value");
    if (rc == 0)
        rc = check_value_list(values, kind, (const check_value *)(const void *)items.data, count,
                              out);
    peri_buffer_deinit(&items);
    return rc;
}

static int read_number(struct check_values *values, struct peri_slice token, check_value *out,
                       struct peri_error *err)
{
    char digits[NUMBER_SIZE], *end;
    size_t size = token.size;
    if (size >= sizeof digits)
        return peri_fail_plain(err, PERI_EFORMAT, "a number of %zu characters", size);
    memcpy(digits, token.data, size);
    if (digits[size - 1] == 'N' || digits[size - 1] == 'M') /* Clojure's marks of precision */
        size--;
    digits[size] = '\0';
    double real = strtod(digits, &end);
    if (*end != '\0')
        return peri_fail_plain(err, PERI_EFORMAT, "'%s' is no number", digits);
    errno = 0;
    long long integer = strtoll(digits, &end, 10);
    if (*end != '\0')
        return check_value_real(values, real, out);
    if (errno == ERANGE) /* as a real it would equal others that it is not */
        return peri_fail_plain(err, PERI_EFORMAT, "%s has more than 64 bits", digits);
    return check_value_integer(values, integer, out);
}

static int read_token(struct check_values *values, struct peri_slice *text, check_value *out,
                      struct peri_error *err)
{
    struct peri_slice token = {text->data, 0};
    while (token.size < text->size && !is_blank(token.data[token.size]) &&
           memchr("()[]{}\";", token.data[token.size], 8) == NULL)
        token.size++;
    if (token.size == 0)
        return peri_fail_plain(err, PERI_EFORMAT, "unexpected '%c'", text->data[0]);
    advance(text, token.size);
    char first = token.data[0], second = token.size > 1 ? token.data[1] : '\0';
    bool is_signed = first == '-' || first == '+';
    if ((first >= '0' && first <= '9') || (is_signed && second >= '0' && second <= '9'))
        return read_number(values, token, out, err);
    if (peri_slice_compare(token, peri_slice_of("nil", 3)) == 0) {
        *out = CHECK_NIL;
        return 0;
    }
    if (peri_slice_compare(token, peri_slice_of("true", 4)) == 0)
        return check_value_boolean(values, true, out);
    if (peri_slice_compare(token, peri_slice_of("false", 5)) == 0)
        return check_value_boolean(values, false, out);
    return check_value_string(values, token, out);
}

static int read_value(struct check_values *values, struct peri_slice *text, int depth,
                      check_value *out, struct peri_error *err)
{
    check_edn_skip(text);
    if (text->size == 0)
        return peri_fail_plain(err, PERI_EFORMAT, "a value is missing");
    switch (text->data[0]) {
    case '"':
        return read_string(values, text, out, err);
    case '[':
        return read_list(values, text, ']', depth, out, err);
    case '(':
        return read_list(values, text, ')', depth, out, err);
    case '{':
        return read_list(values, text, '}', depth, out, err);
    case '#':
        if (text->size > 1 && text->data[1] == '{')
            return read_list(values, text, '}', depth, out, err);
        return peri_fail_plain(err, PERI_EFORMAT, "unexpected '#'");
    default:
        return read_token(values, text, out, err);
    }
}

int check_edn_read(struct check_values *values, struct peri_slice *text, check_value *out,
                   struct peri_error *err)
{
    return read_value(values, text, 0, out, err);
}
