#include "node/hashes.h"

enum { GAP_MAX = 64 }; /* entries in a row that are not the machine's */

void node_hashes_note(struct node_hashes *hashes, uint64_t index, uint64_t hash)
{
    hashes->at[index % NODE_HASHES] = (struct node_hash_at){index, hash};
    hashes->last = index;
    if (hashes->first == 0)
        hashes->first = index;
}

void node_hashes_forget(struct node_hashes *hashes)
{
    hashes->first = hashes->last = 0;
}

bool node_hashes_find(const struct node_hashes *hashes, uint64_t index, uint64_t *hash)
{
    uint64_t from = index < hashes->last ? index : hashes->last;
    for (uint64_t i = from; i > 0 && i >= hashes->first && index - i < GAP_MAX; i--) {
        const struct node_hash_at *at = &hashes->at[i % NODE_HASHES];
        *hash = at->hash;
        if (at->index >= i)
            return at->index == i;
    }
    return false;
}
