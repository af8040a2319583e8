/* record.h - one input record, and the input that it came from. */
#ifndef PERI_MAPREDUCE_RECORD_H
#define PERI_MAPREDUCE_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/slice.h"

/* X(name, text): how the bytes of an input become records. */
#define MR_FORMATS(X)                                                                              \
    X(LINES, "lines") /* a line without its LF or CRLF; empty lines are records */                 \
    X(CHUNK, "chunk") /* whole lines, together about 64 KB, with their line ends */                \
    X(FILES, "files") /* a whole file; its key is the path */                                      \
    X(TSV, "tsv")     /* a line; the key ends before the first TAB, the value follows it */        \
    X(CSV, "csv")     /* RFC 4180; a quoted field may hold line ends */                            \
    X(JSONL, "jsonl") /* a line that is not blank; JSON is looked at only when asked for */        \
    X(FIXED, "fixed") /* fixed_size bytes: "fixed:100" */

enum mr_format {
#define MR_FORMAT_ENUM(name, text) MR_FORMAT_##name,
    MR_FORMATS(MR_FORMAT_ENUM)
#undef MR_FORMAT_ENUM
};

/* What a format name means. */
struct mr_format_spec {
    enum mr_format format;
    size_t fixed_size; /* bytes of a FIXED record, else 0 */
};

/* Reads "lines", "csv", "fixed:100" and so on. Errors: PERI_EINVAL, err lists the names. */
int mr_format_parse(const char *text, struct mr_format_spec *out, struct peri_error *err);

/* The name without a size. Lent for ever. */
const char *mr_format_name(enum mr_format format);

/* What all records of one input share. Lent by the reader until it is closed. */
struct mr_input {
    const char *path; /* "-" is standard input */
    enum mr_format format;
    char separator;                 /* between CSV fields */
    const struct peri_slice *names; /* names of the CSV columns, unescaped; NULL without a header */
    size_t name_count;
    /* Behind a record in memory lie others, each with its line end, up to lines_end, and will be
     * given from there as long as moves stays the same. NULL: no more is known. */
    const char *lines_end;
    uint64_t moves;
};

/* Whether data, a record's of input, stands behind the one that ended at done while the window had
 * moved so many times, and before lines_end. */
static inline bool mr_input_follows(const struct mr_input *input, uint64_t moves, const char *done,
                                    struct peri_slice data)
{
    enum { LINE_END_MAX = 2 }; /* CR LF */
    return moves == input->moves && input->lines_end != NULL && done != NULL && data.data >= done &&
           data.data - done <= LINE_END_MAX && data.data + data.size <= input->lines_end;
}

/* One record. Its bytes are lent until the next record is read. */
struct mr_record {
    struct peri_slice data; /* the whole record */
    struct peri_slice key;  /* part of data, or the path; empty unless has_key */
    struct peri_slice
        value;       /* what follows the key; equals data where the format has no key in it */
    uint64_t offset; /* of the first byte, in the (decompressed) input */
    bool has_key;
    const struct mr_input *input;
};

#endif
