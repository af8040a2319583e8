/* reader.h - the records of one map task's range of one input.
 *
 * A record belongs to the range in which its first byte lies (Hadoop's rule): a reader that starts
 * inside a record leaves it to the range before, and reads its own last record past its end. Any
 * way to cut a file into ranges therefore gives the same records once each.
 *
 * Bytes are read with pread into a window of 256 KiB that grows only for a longer record, and
 * records point into the window. Not mmap: a file that shrinks while mapped ends the process with
 * SIGBUS, while here it is an error; GFS too replaced mmap by pread, for its page faults. Blocking.
 */
#ifndef PERI_MAPREDUCE_READER_H
#define PERI_MAPREDUCE_READER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "env/env.h"
#include "mapreduce/record.h"
#include "mapreduce/split.h"

#define MR_RECORD_MAX ((size_t)64 << 20)

struct mr_reader;

/* Zeroed options are the defaults: plain lines. */
struct mr_reader_options {
    struct mr_format_spec format;
    size_t record_max_bytes; /* 0: MR_RECORD_MAX */
    char csv_separator;      /* 0: ',' */
    bool csv_header;         /* the first CSV record names the columns and is not a record */
};

/* Opens the range of split->path ("-" is standard input); split is borrowed, its path copied.
 * Compressed input is told by suffix or, except for FIXED records, by its first bytes. On success
 * the caller owns *out. Errors: errno codes of the open; PERI_EINVAL for a part of a file that can
 * only be read whole; PERI_EFORMAT for a file that is not what its suffix says; PERI_ENOMEM. */
int mr_reader_open(struct mr_reader **out, struct env *env, const struct mr_split *split,
                   const struct mr_reader_options *options, struct peri_error *err);

/* Reads the next record: 1 with *record set (its bytes lent until the next call), 0 at the end.
 * Errors: PERI_ETOOBIG for a record over the limit and PERI_EFORMAT for a malformed one; then
 * *record has its offset and its first bytes, and the next call goes on behind it. Other codes
 * (a damaged or shrunken file, a failing disk) end the reader: every later call fails likewise. */
int mr_reader_next(struct mr_reader *reader, struct mr_record *record, struct peri_error *err);

/* True when the error that mr_reader_next just gave concerned that record only. */
bool mr_reader_can_skip(const struct mr_reader *reader);

/* Bytes of the range passed so far: compressed bytes for compressed input. For progress. */
uint64_t mr_reader_consumed(const struct mr_reader *reader);

/* What the records share. Lent until the reader is closed. */
const struct mr_input *mr_reader_input(const struct mr_reader *reader);

void mr_reader_close(struct mr_reader *reader); /* accepts NULL */

/* Looks whether path must be read as one stream: compressed (by suffix or first bytes) or not a
 * regular file. Errors: errno codes. Blocking. */
int mr_reader_probe(struct env *env, const char *path, enum mr_format format, bool *is_stream,
                    struct peri_error *err);

#endif
