/* history.h - the events that no round has laid yet: commands tell them, and queries of the past
 * find them, as if they were records already.
 *
 *      a command --tell--> view.told --it ends well--> view.tail --a round: lay.h--> records e, v
 *
 * An item has its revision as tag, and the hash of its key. */
#ifndef PERI_KV_HISTORY_H
#define PERI_KV_HISTORY_H

#include "kv/view.h"

struct kv_told {
    uint64_t revision;
    uint32_t number; /* in the command of that revision */
    struct kv_event event;
};

/* Reads an item, whose bytes are lent. Errors: PERI_ECORRUPT. */
int kv_told_get(const struct node_keytail_item *item, struct kv_told *out);

/* Tells an event: counted as the records that it will be. Errors: as kv_view_put. */
int kv_history_tell(struct kv_view *view, const struct kv_told *told);

/* The last change of a key that was told from the revision first to last: 1, or 0 when there is
 * none. What the run has told itself comes in front. */
int kv_history_find(const struct kv_view *view, struct peri_slice key, uint64_t first,
                    uint64_t last, struct kv_told *out);

/* The event with that number at that revision: 1, or 0 when the tail has none. */
int kv_history_event(const struct kv_view *view, uint64_t revision, uint64_t number,
                     struct kv_told *out);

/* Counts the record that says where a told event is as one that was read. Errors: PERI_ETOOBIG. */
int kv_history_count(struct kv_view *view, const struct kv_told *told);

#endif
