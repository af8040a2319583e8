/* reader_state.h - what reader.c (records) and reader_open.c (ranges, opening, the end) share. */
#ifndef PERI_MAPREDUCE_READER_STATE_H
#define PERI_MAPREDUCE_READER_STATE_H

#include "mapreduce/csv.h"
#include "mapreduce/reader.h"
#include "mapreduce/source.h"
#include "mapreduce/window.h"

struct mr_reader {
    struct mr_source *source;
    struct mr_input input;
    char *path;
    size_t fixed_size;
    size_t record_max;
    size_t chunk_size; /* a chunk ends with the last line that begins in its first so many bytes */
    uint64_t start;    /* of the range */
    uint64_t end;      /* records begin before it */
    uint64_t step;     /* 0: the range is one split */

    struct mr_window window;
    size_t plain_end; /* lines that begin before this place of the window are whole, and ours */
    size_t scanned;   /* so many of the pending bytes hold no record end */
    enum mr_csv_place place; /* of the scan, for CSV */
    bool is_discarding;      /* the record in front is dropped as it comes, up to its end */
    bool is_finished;        /* the only record of a whole file has been read */
    bool can_skip;
    int failed; /* the error that ended the reader, or 0 */
    struct mr_csv_names names;
};

/* Reads more behind the pending bytes: 1 when there are more, 0 at the end of the input. Errors:
 * those of mr_window_fill. */
int mr_reader_fill(struct mr_reader *reader, struct peri_error *err);

/* Drops bytes up to the end of the record in front, without keeping them. Errors: those of
 * mr_reader_fill. */
int mr_reader_discard(struct mr_reader *reader, struct peri_error *err);

#endif
