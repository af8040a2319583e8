/* combine.h - a user's combiner: what runs it, and where its values go. */
#ifndef PERI_MAPREDUCE_COMBINE_H
#define PERI_MAPREDUCE_COMBINE_H

#include "mapreduce/merge.h"
#include "mapreduce/spill.h"

/* Takes combined values of the group's key; the key is not the combiner's to choose. */
struct mr_combine_out {
    struct mr_spill_writer *writer;
    uint32_t part;
    struct peri_slice key;
};

/* Combines one group: takes values with mr_values_next and gives values with mr_combine_add. May
 * run 0..n times for a value. Returns 0 or a code, which the call that made it run returns. */
typedef int (*mr_combine_cb)(void *data, struct peri_slice key, struct mr_values *values,
                             struct mr_combine_out *out, struct peri_error *err);

/* Gives one value; copies it. Errors: those of mr_spill_writer_add. */
static inline int mr_combine_add(struct mr_combine_out *out, struct peri_slice value,
                                 struct peri_error *err)
{
    return mr_spill_writer_add(out->writer, out->part, out->key, value, err);
}

#endif
