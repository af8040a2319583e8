/* sink.c - the receiving half of a snapshot: a new epoch, chunk by chunk, and one flip. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "base/bits.h"
#include "store/chunk.h"
#include "store/snapshot.h"
#include "store/state_internal.h"

/* In front of the extra of a G value. */
enum { PROGRESS_BYTES = 1 + 8 + 8 };

struct store_sink {
    struct store_state *state;
    struct store_applied applied; /* extra with the progress in front; from about */
    struct peri_buffer extra;
    uint64_t position, hash;
    bool is_complete, has_begun;
};

/* ---- what is staged ---- */

/* Reads a G value: progress apart from the caller's extra. */
static int read_staged(struct store_state *state, uint64_t group, struct store_applied *out,
                       uint64_t *position, uint64_t *hash, bool *is_complete,
                       struct peri_buffer *bytes, struct peri_error *err)
{
    char name[STATE_NAME_BYTES];
    bytes->size = 0;
    int rc = store_get(state->store, NULL, state_name(STATE_KEY_STAGED, group, name), bytes, err);
    if (rc != 1)
        return rc;
    rc = state_applied_decode(peri_buffer_slice(bytes), group, out);
    if (rc == 0 && out->extra.size < PROGRESS_BYTES)
        rc = PERI_ECORRUPT;
    if (rc != 0)
        return peri_fail(err, rc, "snapshot being installed for group %" PRIu64, group);
    *is_complete = out->extra.data[0] != 0;
    *position = bits_get_le64(out->extra.data + 1);
    *hash = bits_get_le64(out->extra.data + 9);
    out->extra.data += PROGRESS_BYTES;
    out->extra.size -= PROGRESS_BYTES;
    return 1;
}

int store_state_staged(struct store_state *state, uint64_t group, struct store_applied *out,
                       bool *is_complete, struct peri_buffer *extra, struct peri_error *err)
{
    uint64_t position, hash;
    return read_staged(state, group, out, &position, &hash, is_complete, extra, err);
}

/* ---- opening ---- */

static int resume(struct store_sink *sink, uint64_t index, uint64_t term, struct peri_error *err)
{
    struct store_applied staged;
    struct peri_buffer bytes = {0};
    uint64_t position = 0, hash = 0;
    bool is_complete = false;
    int rc = read_staged(sink->state, sink->applied.group, &staged, &position, &hash, &is_complete,
                         &bytes, err);
    if (rc == 1 && staged.index == index && staged.term == term) {
        rc = peri_buffer_append(&sink->extra, staged.extra.data, staged.extra.size);
        sink->applied = staged;
        sink->applied.extra = peri_slice_of(NULL, 0); /* it is in sink->extra */
        sink->position = position;
        sink->hash = hash;
        sink->is_complete = is_complete;
        sink->has_begun = true;
    }
    peri_buffer_deinit(&bytes);
    return rc < 0 ? rc : 0;
}

int store_sink_open(struct store_sink **out, struct store_state *state,
                    const struct store_applied *of, uint64_t index, uint64_t term,
                    struct peri_error *err)
{
    struct store_sink *sink = calloc(1, sizeof *sink);
    if (sink == NULL)
        return peri_fail(err, PERI_ENOMEM, "install a snapshot for group %" PRIu64, of->group);
    sink->state = state;
    sink->applied = (struct store_applied){.group = of->group, .index = index, .term = term};
    int rc = resume(sink, index, term, err);
    if (rc == 0 && !sink->has_begun)
        rc = store_state_fresh_epoch(state, of, &sink->applied.epoch, err);
    if (rc != 0) {
        store_sink_close(sink);
        return rc;
    }
    *out = sink;
    return 0;
}

void store_sink_close(struct store_sink *sink)
{
    if (sink == NULL)
        return;
    peri_buffer_deinit(&sink->extra);
    free(sink);
}

uint64_t store_sink_position(const struct store_sink *sink)
{
    return sink->is_complete ? UINT64_MAX : sink->position;
}

/* ---- receiving ---- */

/* What the first chunk says of the whole. */
static int take_about(struct store_sink *sink, const struct store_chunk *chunk)
{
    struct store_applied about;
    if (state_applied_decode(chunk->about, chunk->group, &about) != 0 ||
        about.index != chunk->index || about.term != chunk->term ||
        about.extra.size > STORE_EXTRA_MAX)
        return PERI_EFORMAT;
    sink->extra.size = 0;
    sink->applied.members = about.members;
    return peri_buffer_append(&sink->extra, about.extra.data, about.extra.size);
}

static int put_pairs(const struct store_sink *sink, const struct store_chunk *chunk,
                     struct store_batch *out)
{
    char prefix[STATE_PREFIX_BYTES];
    struct peri_slice front = state_prefix(sink->applied.group, sink->applied.epoch, prefix);
    struct peri_slice key, value;
    size_t at = 0;
    int rc = 0;
    for (uint64_t i = 0; rc == 0 && i < chunk->count; i++) {
        rc = store_chunk_next(chunk->pairs, &at, &key, &value);
        if (rc == 0)
            rc = state_put(out, front, key, value);
    }
    return rc == 0 && at != chunk->pairs.size ? PERI_EFORMAT : rc;
}

static int put_progress(const struct store_sink *sink, const struct store_chunk *chunk,
                        struct store_batch *out)
{
    char name[STATE_NAME_BYTES], progress[PROGRESS_BYTES];
    struct peri_buffer extra = {0}, value = {0};
    struct store_applied staged = sink->applied;
    progress[0] = (char)chunk->is_last;
    bits_put_le64(progress + 1, chunk->position + chunk->count);
    bits_put_le64(progress + 9, chunk->hash);
    int rc = peri_buffer_append(&extra, progress, sizeof progress);
    if (rc == 0)
        rc = peri_buffer_append(&extra, sink->extra.data, sink->extra.size);
    staged.extra = peri_buffer_slice(&extra);
    if (rc == 0)
        rc = state_applied_encode(&staged, &value);
    if (rc == 0)
        rc = store_batch_put(out, state_name(STATE_KEY_STAGED, staged.group, name),
                             peri_buffer_slice(&value));
    peri_buffer_deinit(&extra);
    peri_buffer_deinit(&value);
    return rc;
}

static int check_chunk(const struct store_sink *sink, const struct store_chunk *chunk)
{
    if (chunk->group != sink->applied.group || chunk->index != sink->applied.index ||
        chunk->term != sink->applied.term || chunk->position > sink->position)
        return PERI_EINVAL;
    if (sink->is_complete || (chunk->position > 0 && chunk->position < sink->position))
        return 0;
    uint64_t before = chunk->position > 0 ? sink->hash : 0;
    return chunk->hash == store_chunk_hash(before, chunk->pairs) ? 0 : PERI_EFORMAT;
}

static bool came_before(const struct store_sink *sink, const struct store_chunk *chunk)
{
    bool is_last = chunk->position + chunk->count == sink->position && chunk->hash == sink->hash;
    return sink->is_complete || is_last ||
           (chunk->position > 0 && chunk->position < sink->position);
}

/* The sender begins anew: what came is rubbish. */
static int begin_anew(struct store_sink *sink, struct peri_error *err)
{
    const struct store_applied of = {.group = sink->applied.group, .epoch = sink->applied.epoch};
    sink->position = sink->hash = 0;
    return store_state_fresh_epoch(sink->state, &of, &sink->applied.epoch, err);
}

int store_sink_write(struct store_sink *sink, struct peri_slice bytes, struct peri_error *err)
{
    struct store_chunk chunk;
    struct store_batch batch = {0};
    int rc = store_chunk_decode(bytes, &chunk);
    if (rc == 0)
        rc = check_chunk(sink, &chunk);
    if (rc != 0)
        return peri_fail(err, rc, "chunk of a snapshot for group %" PRIu64, sink->applied.group);
    if (came_before(sink, &chunk))
        return 0;
    if (chunk.position < sink->position)
        rc = begin_anew(sink, err);
    if (rc == 0 && chunk.position == 0)
        rc = take_about(sink, &chunk);
    if (rc == 0)
        rc = put_pairs(sink, &chunk, &batch);
    if (rc == 0)
        rc = put_progress(sink, &chunk, &batch);
    if (rc != 0)
        (void)peri_fail(err, rc, "chunk of a snapshot for group %" PRIu64, sink->applied.group);
    else
        rc = store_write(sink->state->store, &batch, false, err);
    store_batch_deinit(&batch);
    if (rc != 0)
        return rc;
    sink->has_begun = true;
    sink->position += chunk.count;
    sink->hash = chunk.hash;
    sink->is_complete = chunk.is_last;
    return 0;
}

int store_sink_finish(struct store_sink *sink, struct peri_error *err)
{
    if (!sink->is_complete)
        return peri_fail_plain(err, PERI_EINVAL,
                               "snapshot for group %" PRIu64 ": chunks are missing",
                               sink->applied.group);
    return store_state_barrier(sink->state, err);
}

int store_state_install(struct store_state *state, uint64_t group, struct peri_error *err)
{
    char name[STATE_NAME_BYTES];
    struct store_applied staged;
    struct peri_buffer bytes = {0};
    struct store_round round = {0};
    bool is_complete = false;
    int rc = store_state_staged(state, group, &staged, &is_complete, &bytes, err);
    if (rc == 0 || (rc == 1 && !is_complete))
        rc = peri_fail_plain(err, -ENOENT, "no complete snapshot for group %" PRIu64, group);
    if (rc == 1)
        rc = store_round_applied(&round, &staged);
    if (rc == 0)
        rc = store_batch_delete(&round.changes, state_name(STATE_KEY_STAGED, group, name));
    if (rc == 0)
        rc = store_state_write(state, &round, err);
    if (rc == 0)
        rc = store_state_barrier(state, err);
    store_batch_deinit(&round.changes);
    peri_buffer_deinit(&bytes);
    return rc;
}
