/* values.h - the inside of struct mr_values, for those who make groups. */
#ifndef PERI_MAPREDUCE_VALUES_H
#define PERI_MAPREDUCE_VALUES_H

#include "base/error.h"
#include "base/slice.h"

struct mr_values {
    int (*next)(struct mr_values *values, struct peri_slice *value, struct peri_error *err);
    struct peri_slice key; /* of the value that came last */
};

#endif
