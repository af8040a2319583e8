/* snapshot.h - a group's state on its way from one node's store to another's, in checked chunks.
 *
 *      source: a snapshot of the store, and in it the index that it is of; nobody waits for it
 *        chunk 0 .. chunk n, each of about 1 MiB, each made anew from the key that it begins behind
 *      sink:   a new epoch; a chunk's keys and how far it has come are one batch
 *        complete, durable -> (the log has its record) -> store_sink_install: one batch, one
 * barrier
 *
 * A chunk carries the hash of everything up to it, so that one that is lost, doubled or mixed from
 * two snapshots does not pass. A transfer that broke off goes on at store_sink_position, also after
 * a restart of the receiver, as long as the sender still has that snapshot.
 *
 *      chunk: magic u32 | check u64 | last u8 | hash u64 | group index term position | [members,
 * extra of the first] | count | count x (key size, key, value size, value)   numbers varints
 *
 * Functions block, as those of state.h. */
#ifndef PERI_STORE_SNAPSHOT_H
#define PERI_STORE_SNAPSHOT_H

#include "store/state.h"

enum { STORE_CHUNK_BYTES = 1 << 20 }; /* a chunk ends with the pair that reaches it */

struct store_source;
struct store_sink;

/* Takes a snapshot of a group. It holds disk space as long as it lives: give it a deadline. On
 * success the caller owns *out. Errors: -ENOENT for an unknown group, and those of store_get. */
int store_source_open(struct store_source **out, struct store_state *state, uint64_t group,
                      struct peri_error *err);
void store_source_close(struct store_source *source); /* accepts NULL */

/* What it is a snapshot of; lent while it lives. */
const struct store_applied *store_source_applied(const struct store_source *source);

/* Appends the chunk at a position, 0 or where the last one ended, to out; *next is where it ends,
 * UINT64_MAX for the last one. In whatever order positions are asked for, the same position gives
 * the same bytes. Errors: PERI_EINVAL for a position at which no chunk has ended, and those of
 * store_get; PERI_ECANCELLED after store_state_reopen. */
int store_source_read(struct store_source *source, uint64_t position, struct peri_buffer *out,
                      uint64_t *next, struct peri_error *err);

/* Begins or goes on to receive a snapshot of (index, term), in the place of a group's state: of,
 * whose epoch counts also when no round has written it yet. One of another (index, term) that was
 * begun before is given up. On success the caller owns *out; one sink a group at a time. Errors: as
 * store_write. */
int store_sink_open(struct store_sink **out, struct store_state *state,
                    const struct store_applied *of, uint64_t index, uint64_t term,
                    struct peri_error *err);
void store_sink_close(struct store_sink *sink); /* accepts NULL; what was received stays */

/* The position that the next chunk has to have; UINT64_MAX once the last has come. */
uint64_t store_sink_position(const struct store_sink *sink);

/* Receives a chunk. One that came before is accepted again, unless it is the first, which begins
 * anew: views of a state at one index need not be the same in what its machine sweeps. Errors,
 * after which nothing was changed: PERI_EFORMAT for bytes that are no chunk, or whose hash does not
 * continue what came before; PERI_EINVAL for one of another snapshot or a later position; as
 * store_write. */
int store_sink_write(struct store_sink *sink, struct peri_slice bytes, struct peri_error *err);

/* Makes a complete snapshot durable: it will be there after a restart. Errors: PERI_EINVAL while
 * chunks are missing; as store_write. */
int store_sink_finish(struct store_sink *sink, struct peri_error *err);

/* Reads what is being installed for a group: *is_complete says that the last chunk has come.
 * Returns 1, or 0 when nothing is. out->extra points into extra. Errors: as store_state_applied. */
int store_state_staged(struct store_state *state, uint64_t group, struct store_applied *out,
                       bool *is_complete, struct peri_buffer *extra, struct peri_error *err);

/* Makes the complete snapshot of a group its state, durably: afterwards, and after any restart,
 * either the old state is there or the new one. For once the log has begun behind it, and for a
 * start that finds the log there already. Errors: -ENOENT when none is complete, and those of
 * store_write. */
int store_state_install(struct store_state *state, uint64_t group, struct peri_error *err);

#endif
