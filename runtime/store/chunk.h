/* chunk.h - a chunk of a snapshot as bytes (snapshot.h draws it). Pure. */
#ifndef PERI_STORE_CHUNK_H
#define PERI_STORE_CHUNK_H

#include "store/state.h"

struct store_chunk {
    bool is_last;
    uint64_t hash; /* of all pairs up to the end of this chunk */
    uint64_t group, index, term;
    uint64_t position; /* pairs before this chunk */
    uint64_t count;
    struct peri_slice about; /* of the first: members and extra, as state_applied_encode has them */
    struct peri_slice pairs;
};

/* Goes on with the hash of the pairs. */
uint64_t store_chunk_hash(uint64_t before, struct peri_slice pairs);

/* Appends a pair to the pairs of a chunk; takes the one at *at, moving it. Errors: PERI_ENOMEM;
 * PERI_EFORMAT. */
int store_chunk_put(struct peri_buffer *pairs, struct peri_slice key, struct peri_slice value);
int store_chunk_next(struct peri_slice pairs, size_t *at, struct peri_slice *key,
                     struct peri_slice *value);

/* Appends a chunk to out. Errors: PERI_ENOMEM. */
int store_chunk_encode(const struct store_chunk *chunk, struct peri_buffer *out);

/* Reads a chunk, which may come from anybody. Errors: PERI_EFORMAT. */
int store_chunk_decode(struct peri_slice bytes, struct store_chunk *out);

#endif
