/* mr_seek.h - looking for one text in line after line.
 *
 * A filter asks the same of each line, and most lines are short: starting a search costs as much as
 * the search. Lines that follow one another are searched together, some way ahead, and a line is
 * then told by where the next place is. */
#ifndef PERI_MODULES_MR_SEEK_H
#define PERI_MODULES_MR_SEEK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"
#include "mapreduce/record.h"

enum { MR_SEEK_NEEDLE_MAX = 32, MR_SEEK_AHEAD = 1024 };

/* What is known about the lines that begin where the latest one ended. Zeros: nothing. */
struct mr_seek {
    size_t needle_size;
    const char *done;  /* the end of the latest line */
    uint64_t moves;    /* of the window that it lies in */
    const char *clear; /* needle does not begin between done and here */
    bool is_found;     /* it does begin here */
    char needle[MR_SEEK_NEEDLE_MAX];
};

/* Offset of needle in the record's data, or SIZE_MAX. */
size_t mr_seek_find(struct mr_seek *seek, const struct mr_record *record, struct peri_slice needle);

#endif
