/* hashes.h - the rolling hashes behind the last entries of a machine, for node_machine.hash_at. */
#ifndef PERI_NODE_HASHES_H
#define PERI_NODE_HASHES_H

#include <stdbool.h>
#include <stdint.h>

enum { NODE_HASHES = 32768 };

/* Starts zeroed. */
struct node_hashes {
    uint64_t first, last; /* noted; 0: none */
    struct node_hash_at {
        uint64_t index, hash;
    } at[NODE_HASHES]; /* by index, a ring */
};

/* The hash behind the entry at index, which comes after those noted before. */
void node_hashes_note(struct node_hashes *hashes, uint64_t index, uint64_t hash);

/* The machine has another state now: nothing is known of its entries. */
void node_hashes_forget(struct node_hashes *hashes);

/* The hash behind all entries up to that index, which the machine has come to: true when it is
 * still known, one of the last NODE_HASHES. Some indexes of a log are no entries of the machine. */
bool node_hashes_find(const struct node_hashes *hashes, uint64_t index, uint64_t *hash);

#endif
