#include "mapreduce/csv.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"

/* Moves over a field that did not open with a quote: to its separator or LF, or to end. */
static const char *skip_plain(const char *at, const char *end, char separator)
{
    while (at < end && *at != separator && *at != '\n')
        at++;
    return at;
}

size_t mr_csv_record_end(struct peri_slice text, char separator, enum mr_csv_place *place)
{
    const char *at = text.data;
    const char *end = text.data + text.size;
    while (at < end) {
        switch (*place) {
        case MR_CSV_FIELD_START:
            *place = *at == '"' ? MR_CSV_QUOTED : MR_CSV_PLAIN;
            at += *at == '"';
            break;
        case MR_CSV_PLAIN:
            at = skip_plain(at, end, separator);
            if (at == end)
                break;
            *place = MR_CSV_FIELD_START;
            if (*at++ == '\n')
                return (size_t)(at - text.data);
            break;
        case MR_CSV_QUOTED:
            at = memchr(at, '"', (size_t)(end - at));
            if (at == NULL)
                return 0;
            at++;
            *place = MR_CSV_QUOTE_SEEN;
            break;
        case MR_CSV_QUOTE_SEEN:
            *place = *at == '"' ? MR_CSV_QUOTED : MR_CSV_PLAIN;
            at += *at == '"';
            break;
        }
    }
    return 0;
}

struct mr_csv_fields mr_csv_fields_of(struct peri_slice record, char separator)
{
    const char *data = record.size == 0 ? "" : record.data;
    return (struct mr_csv_fields){data, data + record.size, separator};
}

/* The byte behind the closing quote of the field whose opening quote is at `at`, or end. */
static const char *skip_quoted(const char *at, const char *end)
{
    for (at++;; at += 2) {
        at = at < end ? memchr(at, '"', (size_t)(end - at)) : NULL;
        if (at == NULL)
            return end;
        if (at + 1 == end || at[1] != '"')
            return at + 1;
    }
}

bool mr_csv_fields_next(struct mr_csv_fields *fields, struct mr_csv_field *field)
{
    const char *start = fields->at;
    const char *end = fields->end;
    if (start == NULL)
        return false;
    field->has_quotes = start < end && *start == '"';
    const char *at = field->has_quotes ? skip_quoted(start, end) : start;
    at = at < end ? memchr(at, fields->separator, (size_t)(end - at)) : NULL;
    field->raw = peri_slice_of(start, (size_t)((at != NULL ? at : end) - start));
    fields->at = at != NULL ? at + 1 : NULL;
    return true;
}

size_t mr_csv_unquote(struct peri_slice raw, char *out)
{
    const char *end = raw.data + raw.size;
    const char *close = skip_quoted(raw.data, end);
    bool is_closed = close > raw.data + 1 && close[-1] == '"';
    const char *inner_end = is_closed ? close - 1 : close;
    char *put = out;
    for (const char *at = raw.data + 1; at < inner_end; at++) {
        *put++ = *at;
        at += *at == '"'; /* the second of two quotes */
    }
    size_t rest = (size_t)(end - close);
    memcpy(put, close, rest);
    return (size_t)(put - out) + rest;
}

static size_t count_fields(struct peri_slice record, char separator)
{
    struct mr_csv_fields fields = mr_csv_fields_of(record, separator);
    struct mr_csv_field field;
    size_t count = 0;
    while (mr_csv_fields_next(&fields, &field))
        count++;
    return count;
}

int mr_csv_names_init(struct mr_csv_names *out, struct peri_slice record, char separator)
{
    struct mr_csv_names names = {.count = count_fields(record, separator)};
    PERI_ASSERT(names.count > 0); /* an empty record is one empty field */
    names.items = calloc(names.count, sizeof *names.items);
    names.text = malloc(record.size + 1);
    if (names.items == NULL || names.text == NULL) {
        mr_csv_names_deinit(&names);
        return PERI_ENOMEM;
    }
    struct mr_csv_fields fields = mr_csv_fields_of(record, separator);
    struct mr_csv_field field;
    char *put = names.text;
    for (size_t i = 0; mr_csv_fields_next(&fields, &field); i++) {
        size_t size = field.raw.size;
        if (field.has_quotes)
            size = mr_csv_unquote(field.raw, put);
        else
            memcpy(put, field.raw.data, size);
        names.items[i] = peri_slice_of(put, size);
        put += size;
    }
    *out = names;
    return 0;
}

void mr_csv_names_deinit(struct mr_csv_names *names)
{
    free(names->items);
    free(names->text);
    *names = (struct mr_csv_names){0};
}
