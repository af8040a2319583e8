/* kept.h - the emissions that are in memory: folded into states, or as they are.
 *
 * With a named reducer they are in a table, without one in an arena; whoever adds looks which of
 * the two it is. Everything else is the same for both and stands here. */
#ifndef PERI_MAPREDUCE_KEPT_H
#define PERI_MAPREDUCE_KEPT_H

#include "mapreduce/collect.h"
#include "mapreduce/combine.h"
#include "mapreduce/spill.h"
#include "mapreduce/table.h"

/* Embedded; starts by mr_kept_init. */
struct mr_kept {
    struct mr_table *table;    /* with a named reducer */
    struct mr_collect collect; /* without one */
    struct peri_buffer state;  /* scratch: the one being written */
};

/* limit_bytes is for table or arena. reducer is borrowed. Errors: PERI_ENOMEM. */
int mr_kept_init(struct mr_kept *kept, struct env *env, const struct mr_reducer *reducer,
                 size_t limit_bytes, struct peri_error *err);
void mr_kept_deinit(struct mr_kept *kept); /* accepts what was never or only half made, and twice */

/* True when nothing has been added since init or clear. */
bool mr_kept_is_empty(const struct mr_kept *kept);
/* What table or arena hold now, in bytes, as limit_bytes counts it. */
size_t mr_kept_used_bytes(const struct mr_kept *kept);
/* Forgets what was added and keeps the memory for what comes. */
void mr_kept_clear(struct mr_kept *kept);

/* Sorts everything and writes it; combine (or NULL) sees the groups of what is not in a table.
 * Errors: those of the writer and the combiner. */
int mr_kept_write(struct mr_kept *kept, struct mr_spill_writer *writer, mr_combine_cb combine,
                  void *combine_data, struct peri_error *err);

#endif
