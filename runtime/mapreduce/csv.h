/* csv.h - RFC 4180: where a record ends, and what its fields hold. Pure.
 *
 * A quote opens only at the start of a field; elsewhere it is a letter (as most writers mean it).
 * Bytes between a closing quote and the next separator are kept. Line ends are LF or CRLF. */
#ifndef PERI_MAPREDUCE_CSV_H
#define PERI_MAPREDUCE_CSV_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "base/slice.h"

enum mr_csv_place {
    MR_CSV_FIELD_START,
    MR_CSV_PLAIN,
    MR_CSV_QUOTED,
    MR_CSV_QUOTE_SEEN, /* a quote inside a quoted field: the first of two, or the closing one */
};

/* Finds the end of the record that text continues: the offset behind its LF, or 0 when text ends
 * first; *place carries over to the next text, and starts as MR_CSV_FIELD_START. */
size_t mr_csv_record_end(struct peri_slice text, char separator, enum mr_csv_place *place);

/* Walks the fields of a record (without its line end). An empty record is one empty field. */
struct mr_csv_fields {
    const char *at; /* NULL after the last field */
    const char *end;
    char separator;
};

struct mr_csv_field {
    struct peri_slice raw; /* as written, quotes included */
    bool has_quotes;       /* when false, raw is the value */
};

/* Starts at the first field of a record, which stays lent to the walk. */
struct mr_csv_fields mr_csv_fields_of(struct peri_slice record, char separator);

/* Moves to the next field; false at the end. */
bool mr_csv_fields_next(struct mr_csv_fields *fields, struct mr_csv_field *field);

/* Writes the value of a field with quotes to out, which has room for raw.size bytes; returns its
 * size. */
size_t mr_csv_unquote(struct peri_slice raw, char *out);

/* The fields of a header, unquoted, in memory of their own. */
struct mr_csv_names {
    struct peri_slice *items;
    size_t count;
    char *text; /* holds the bytes of all items */
};

/* On success the caller ends *out with mr_csv_names_deinit. Errors: PERI_ENOMEM. */
int mr_csv_names_init(struct mr_csv_names *out, struct peri_slice record, char separator);
void mr_csv_names_deinit(struct mr_csv_names *names);

#endif
