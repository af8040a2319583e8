/* mr_held.h - what one record puts out, held back until map has returned.
 *
 * While bad records may be skipped, a record that fails must leave no trace: neither the pairs nor
 * the counts from before its error. So they are kept here, encoded, in the order of the calls, and
 * done in one go when the record is good. Whoever adds has checked the pair already: doing it later
 * fails for reasons of the world or of the whole job, not of the record. Without a skip budget
 * nothing is held, and this costs one comparison an emission. */
#ifndef PERI_MODULES_MR_HELD_H
#define PERI_MODULES_MR_HELD_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/error.h"

enum mr_held_kind {
    MR_HELD_PAIR,  /* number: the partition that the user's function said, or -1 */
    MR_HELD_NAMED, /* name: of the output */
    MR_HELD_COUNT, /* name: of the counter; number: to add */
};

/* One call of out. The slices are lent: by the caller of mr_held_add, and until the next
 * mr_held_begin by mr_held_next. */
struct mr_held_item {
    enum mr_held_kind kind;
    int64_t number;
    struct peri_slice name, key, value;
};

/* Starts zeroed: holding nothing back. */
struct mr_held {
    struct peri_buffer bytes;
    size_t at;         /* of the next item to give back */
    size_t size_limit; /* 0: nothing is ever held */
    bool is_holding;
};

/* From now on records are held, with at most limit_bytes for each. Errors: PERI_ENOMEM. */
int mr_held_init(struct mr_held *held, size_t limit_bytes, struct peri_error *err);
void mr_held_deinit(struct mr_held *held);

/* A record begins: forgets what is held, and holds unless mr_held_init was never called. */
void mr_held_begin(struct mr_held *held);

/* Nothing is held back from now until the next mr_held_begin; what is held can be taken. */
void mr_held_end(struct mr_held *held);

/* Copies the item. Errors: PERI_EMEMORY when the record puts out more than the limit. */
int mr_held_add(struct mr_held *held, const struct mr_held_item *item, struct peri_error *err);

/* Takes the oldest item: false when all are taken. */
bool mr_held_next(struct mr_held *held, struct mr_held_item *item);

#endif
