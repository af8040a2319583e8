/* tally.h - a key and what to add to its sum: how keys that are counted reach the table. */
#ifndef PERI_MAPREDUCE_TALLY_H
#define PERI_MAPREDUCE_TALLY_H

#include <stdint.h>

#include "base/slice.h"

struct mr_tally {
    struct peri_slice string; /* the key, not encoded */
    int64_t integer;
};

#endif
