#include "kv/resp.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* ---- commands ---- */

struct reader {
    const char *at, *end;
    struct peri_error *err;
};

enum { DIGITS_MAX = 20 };

/* Reads "<mark><number>CRLF": 1, 0 when more must come, or an error. */
static int read_number(struct reader *reader, char mark, int64_t *out)
{
    size_t left = (size_t)(reader->end - reader->at);
    if (left == 0)
        return 0;
    if (*reader->at != mark)
        return peri_fail_plain(reader->err, PERI_EPROTOCOL, "expected '%c', got '%c'", mark,
                               *reader->at >= ' ' && *reader->at <= '~' ? *reader->at : '?');
    size_t looked_at = left - 1 < DIGITS_MAX + 2 ? left - 1 : DIGITS_MAX + 2;
    const char *line_end = memchr(reader->at + 1, '\r', looked_at);
    if (line_end == NULL && looked_at == left - 1)
        return 0;
    if (line_end != NULL && line_end + 1 == reader->end)
        return 0;
    if (line_end == NULL || line_end[1] != '\n' ||
        !resp_read_integer(peri_slice_of(reader->at + 1, (size_t)(line_end - reader->at) - 1), out))
        return peri_fail_plain(reader->err, PERI_EPROTOCOL, "%s",
                               mark == '*' ? "invalid multibulk length" : "invalid bulk length");
    reader->at = line_end + 2;
    return 1;
}

static int read_argument(struct reader *reader, struct peri_slice *out)
{
    int64_t size = 0;
    int rc = read_number(reader, '$', &size);
    if (rc != 1)
        return rc;
    if (size < 0 || size > RESP_ARG_MAX)
        return peri_fail_plain(reader->err, PERI_ETOOBIG,
                               "invalid bulk length: an argument has 0 to %d bytes", RESP_ARG_MAX);
    if (reader->end - reader->at < size + 2)
        return 0;
    if (reader->at[size] != '\r' || reader->at[size + 1] != '\n')
        return peri_fail_plain(reader->err, PERI_EPROTOCOL, "an argument has no end");
    *out = peri_slice_of(reader->at, (size_t)size);
    reader->at += size + 2;
    return 1;
}

static int read_array(struct reader *reader, struct resp_command *out)
{
    const char *begin = reader->at;
    int64_t count = 0;
    int rc = read_number(reader, '*', &count);
    if (rc != 1)
        return rc;
    if (count > RESP_ARGS_MAX)
        return peri_fail_plain(reader->err, PERI_ETOOBIG,
                               "invalid multibulk length: a command has at most %d arguments",
                               RESP_ARGS_MAX);
    out->count = count > 0 ? (uint32_t)count : 0;
    for (uint32_t i = 0; i < out->count && rc == 1; i++) {
        rc = read_argument(reader, &out->args[i]);
        if (rc >= 0 && reader->at - begin > RESP_COMMAND_MAX)
            return peri_fail_plain(reader->err, PERI_ETOOBIG, "a command has at most %d bytes",
                                   RESP_COMMAND_MAX);
    }
    return rc;
}

static int read_line(struct reader *reader, struct resp_command *out)
{
    const char *line_end = memchr(reader->at, '\n', (size_t)(reader->end - reader->at));
    size_t size = (size_t)((line_end != NULL ? line_end : reader->end) - reader->at);
    if (size > RESP_LINE_MAX)
        return peri_fail_plain(reader->err, PERI_ETOOBIG, "too big inline request");
    if (line_end == NULL)
        return 0;
    out->count = 0;
    for (const char *at = reader->at; at < line_end;) {
        const char *word = at;
        while (at < line_end && *at != ' ' && *at != '\t' && *at != '\r')
            at++;
        if (at > word && out->count == RESP_ARGS_MAX)
            return peri_fail_plain(reader->err, PERI_ETOOBIG, "too many words in a line");
        if (at > word)
            out->args[out->count++] = peri_slice_of(word, (size_t)(at - word));
        else
            at++;
    }
    reader->at = line_end + 1;
    return 1;
}

int resp_decode(struct peri_slice bytes, struct resp_command *out, size_t *size,
                struct peri_error *err)
{
    struct reader reader = {bytes.data, bytes.data + bytes.size, err};
    if (bytes.size == 0)
        return 0;
    int rc = *bytes.data == '*' ? read_array(&reader, out) : read_line(&reader, out);
    *size = (size_t)(reader.at - bytes.data);
    return rc;
}

/* ---- replies ---- */

static void append(struct resp_writer *writer, const char *bytes, size_t size)
{
    if (writer->rc == 0)
        writer->rc = peri_buffer_append(writer->out, bytes, size);
}

static void append_number(struct resp_writer *writer, char mark, int64_t number)
{
    char text[DIGITS_MAX + 5];
    int size = snprintf(text, sizeof text, "%c%" PRId64 "\r\n", mark, number);
    append(writer, text, (size_t)size);
}

void resp_status(struct resp_writer *writer, const char *text)
{
    append(writer, "+", 1);
    append(writer, text, strlen(text));
    append(writer, "\r\n", 2);
}

void resp_error(struct resp_writer *writer, const char *format, ...)
{
    char text[RESP_ERROR_MAX];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    for (char *at = text; *at != '\0'; at++)
        if (*at == '\r' || *at == '\n')
            *at = ' ';
    append(writer, "-", 1);
    append(writer, text, strlen(text));
    append(writer, "\r\n", 2);
}

void resp_integer(struct resp_writer *writer, int64_t number)
{
    append_number(writer, ':', number);
}

void resp_bulk(struct resp_writer *writer, struct peri_slice bytes)
{
    append_number(writer, '$', (int64_t)bytes.size);
    append(writer, bytes.data, bytes.size);
    append(writer, "\r\n", 2);
}

void resp_text(struct resp_writer *writer, const char *text)
{
    resp_bulk(writer, peri_slice_of(text, strlen(text)));
}

void resp_nil(struct resp_writer *writer)
{
    if (writer->version == 3)
        append(writer, "_\r\n", 3);
    else
        append(writer, "$-1\r\n", 5);
}

void resp_nil_array(struct resp_writer *writer)
{
    if (writer->version == 3)
        append(writer, "_\r\n", 3);
    else
        append(writer, "*-1\r\n", 5);
}

void resp_array(struct resp_writer *writer, size_t count)
{
    append_number(writer, '*', (int64_t)count);
}

void resp_map(struct resp_writer *writer, size_t count)
{
    if (writer->version == 3)
        append_number(writer, '%', (int64_t)count);
    else
        resp_array(writer, 2 * count);
}

void resp_push(struct resp_writer *writer, size_t count)
{
    append_number(writer, writer->version == 3 ? '>' : '*', (int64_t)count);
}

/* ---- words ---- */

bool resp_read_integer(struct peri_slice text, int64_t *out)
{
    bool is_negative = text.size > 0 && text.data[0] == '-';
    size_t at = is_negative;
    int64_t number = 0;
    if (text.size == at || text.size > DIGITS_MAX)
        return false;
    for (; at < text.size; at++) {
        int digit = text.data[at] - '0';
        if (digit < 0 || digit > 9 || __builtin_mul_overflow(number, 10, &number) ||
            __builtin_sub_overflow(number, digit, &number)) /* below 0: there is one more there */
            return false;
    }
    if (!is_negative && number == INT64_MIN)
        return false;
    *out = is_negative ? number : -number;
    return true;
}

bool resp_is_word(struct peri_slice text, const char *word)
{
    size_t at = 0;
    for (; at < text.size && word[at] != '\0'; at++) {
        char c = text.data[at];
        if ((c >= 'a' && c <= 'z' ? c - 32 : c) != word[at])
            return false;
    }
    return at == text.size && word[at] == '\0';
}

/* One character of the pattern against c; *at moves behind it. */
static bool matches_set(struct peri_slice pattern, size_t *at, unsigned char c)
{
    bool is_negated = *at < pattern.size && pattern.data[*at] == '^', is_in = false;
    *at += is_negated;
    while (*at < pattern.size && pattern.data[*at] != ']') {
        if (pattern.data[*at] == '\\' && *at + 1 < pattern.size)
            ++*at;
        unsigned char low = (unsigned char)pattern.data[*at], high = low;
        if (*at + 2 < pattern.size && pattern.data[*at + 1] == '-') {
            *at += 2;
            high = (unsigned char)pattern.data[*at];
        }
        ++*at;
        is_in = is_in || (low <= high ? c >= low && c <= high : c >= high && c <= low);
    }
    *at += *at < pattern.size;
    return is_in != is_negated;
}

static bool matches_one(struct peri_slice pattern, size_t *at, char c)
{
    char wanted = pattern.data[(*at)++];
    if (wanted == '?')
        return true;
    if (wanted == '[')
        return matches_set(pattern, at, (unsigned char)c);
    if (wanted == '\\' && *at < pattern.size)
        wanted = pattern.data[(*at)++];
    return wanted == c;
}

/* What follows the last * is tried at each place behind it: no more than the product of both sizes
 * in steps. */
bool resp_matches(struct peri_slice pattern, struct peri_slice text)
{
    size_t at = 0, in = 0, star = SIZE_MAX, tried = 0;
    while (in < text.size) {
        if (at < pattern.size && pattern.data[at] == '*') {
            star = ++at;
            tried = in;
            continue;
        }
        if (at < pattern.size && matches_one(pattern, &at, text.data[in])) {
            in++;
            continue;
        }
        if (star == SIZE_MAX)
            return false;
        at = star;
        in = ++tried;
    }
    while (at < pattern.size && pattern.data[at] == '*')
        at++;
    return at == pattern.size;
}
