/* state.c - the whole state as bytes, for hashes, flight recorders and replays.
 *
 * One walk names every field; hashing, dumping and loading differ only in what they do with a word.
 * Words are 64 bits, little-endian. Capacities, what stands behind the end of an array, and the
 * fields of a step are no state. */
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "raft/invariants.h"
#include "raft/state.h"

enum { FORMAT = 3, WORD = 8 };
static const uint64_t MAGIC = 0x7466617269726570; /* "periraft" */

enum pass_mode { PASS_HASH, PASS_DUMP, PASS_LOAD };

struct pass {
    enum pass_mode mode;
    uint64_t hash;
    char *to;
    const char *from;
    size_t at, size; /* bytes passed; bytes there are */
    int rc;
};

static void pass_word(struct pass *pass, uint64_t *word)
{
    switch (pass->mode) {
    case PASS_HASH:
        pass->hash = (pass->hash ^ *word) * 0x9e3779b97f4a7c15;
        pass->hash ^= pass->hash >> 32;
        break;
    case PASS_DUMP:
        if (pass->at + WORD <= pass->size)
            bits_put_le64(pass->to + pass->at, *word);
        break;
    case PASS_LOAD:
        if (pass->at + WORD <= pass->size)
            *word = bits_get_le64(pass->from + pass->at);
        else
            pass->rc = PERI_EFORMAT;
        break;
    }
    pass->at += WORD;
}

#define PASS_NARROW(name, type)                                                                    \
    static void name(struct pass *pass, type *value)                                               \
    {                                                                                              \
        uint64_t word = (uint64_t)*value;                                                          \
        pass_word(pass, &word);                                                                    \
        if (pass->mode == PASS_LOAD)                                                               \
            *value = (type)word;                                                                   \
    }
PASS_NARROW(pass_bool, bool)
PASS_NARROW(pass_byte, uint8_t)
PASS_NARROW(pass_u32, uint32_t)
PASS_NARROW(pass_size, size_t)
PASS_NARROW(pass_role, enum raft_role)
PASS_NARROW(pass_progress_state, enum raft_progress_state)

static void pass_options(struct pass *pass, struct raft_options *options)
{
    pass_word(pass, &options->id);
    pass_word(pass, &options->seed);
    pass_word(pass, &options->election_min_us);
    pass_word(pass, &options->election_max_us);
    pass_word(pass, &options->heartbeat_us);
    pass_word(pass, &options->lease_margin_us);
    pass_word(pass, &options->message_max_bytes);
    pass_word(pass, &options->inflight_max_bytes);
    pass_word(pass, &options->uncommitted_max_bytes);
    pass_word(pass, &options->unapplied_max_bytes);
    pass_word(pass, &options->sleep_after_us);
    pass_u32(pass, &options->catchup_rounds_max);
    pass_u32(pass, &options->sizes_max);
    pass_u32(pass, &options->priority);
    pass_bool(pass, &options->has_leases);
}

/* Whether so many elements of so many words can follow: no length is believed beyond the bytes. */
static bool may_hold(struct pass *pass, uint64_t count, size_t words)
{
    if (pass->mode != PASS_LOAD)
        return true;
    if (pass->rc == 0 && count > (pass->size - pass->at) / (words * WORD))
        pass->rc = PERI_EFORMAT;
    return pass->rc == 0;
}

static void pass_runs(struct pass *pass, struct raft_log *log)
{
    size_t count = log->run_count;
    pass_size(pass, &count);
    if (!may_hold(pass, count, 2))
        return;
    if (pass->mode == PASS_LOAD)
        pass->rc = raft_log_reserve(log, 0, count);
    if (pass->rc != 0)
        return;
    log->run_count = count;
    for (size_t i = 0; i < count; i++) {
        pass_word(pass, &log->runs[i].term);
        pass_word(pass, &log->runs[i].first);
    }
}

static void pass_sums(struct pass *pass, struct raft_log *log)
{
    uint64_t sized = log->sized_index;
    pass_word(pass, &sized);
    if (pass->mode == PASS_LOAD) {
        uint64_t count = log->last_index - sized;
        if (sized > log->last_index || count >= log->sums_max || !may_hold(pass, count, 1)) {
            pass->rc = PERI_EFORMAT;
            return;
        }
        log->sized_index = log->last_index;
        pass->rc = raft_log_reserve(log, (size_t)count, 0);
        log->sized_index = sized;
    }
    for (uint64_t i = sized; pass->rc == 0 && i <= log->last_index; i++)
        pass_word(pass, &log->sums[i & (log->sums_capacity - 1)]);
}

static void pass_log(struct pass *pass, struct raft_log *log)
{
    pass_word(pass, &log->base_index);
    pass_word(pass, &log->base_term);
    pass_runs(pass, log);
    pass_word(pass, &log->last_index);
    if (pass->rc == 0)
        pass_sums(pass, log);
}

static void pass_history(struct pass *pass, struct raft *raft)
{
    size_t count = raft->history_count;
    pass_size(pass, &count);
    if (!may_hold(pass, count, 2))
        return;
    if (pass->mode == PASS_LOAD) {
        pass->rc = count == 0 ? PERI_EFORMAT : raft_history_reserve(raft, count);
        if (pass->rc == 0)
            memset(raft->history, 0, count * sizeof *raft->history);
    }
    if (pass->rc != 0)
        return;
    raft->history_count = count;
    for (size_t i = 0; i < count; i++) {
        struct raft_configuration *members = &raft->history[i].configuration;
        pass_word(pass, &raft->history[i].index);
        pass_size(pass, &members->count);
        if (members->count > RAFT_MEMBERS_MAX) {
            pass->rc = PERI_EFORMAT;
            return;
        }
        for (size_t j = 0; j < members->count; j++) {
            pass_word(pass, &members->ids[j]);
            pass_byte(pass, &members->members[j]);
        }
    }
}

static void pass_slot(struct pass *pass, struct raft_read_slot *slot)
{
    pass_word(pass, &slot->waiting);
    pass_word(pass, &slot->number);
    pass_word(pass, &slot->index);
    pass_word(pass, &slot->round);
}

static void pass_progress(struct pass *pass, struct raft_progress *peer)
{
    pass_word(pass, &peer->match_index);
    pass_word(pass, &peer->next_index);
    pass_word(pass, &peer->commit_sent);
    pass_word(pass, &peer->snapshot_index);
    pass_word(pass, &peer->acked_round);
    pass_word(pass, &peer->acked_us);
    pass_word(pass, &peer->heartbeat_match);
    pass_word(pass, &peer->catchup_index);
    pass_word(pass, &peer->catchup_us);
    pass_u32(pass, &peer->catchup_rounds);
    pass_slot(pass, &peer->reads);
    pass_word(pass, &peer->inflight_bytes);
    pass_u32(pass, &peer->inflight_first);
    pass_u32(pass, &peer->inflight_count);
    if (peer->inflight_count > RAFT_INFLIGHT_MAX) {
        pass->rc = PERI_EFORMAT;
        return;
    }
    for (uint32_t i = 0; i < peer->inflight_count; i++) {
        uint32_t at = (peer->inflight_first + i) & (RAFT_INFLIGHT_MAX - 1U);
        pass_word(pass, &peer->window[at].last);
        pass_word(pass, &peer->window[at].bytes);
    }
    pass_progress_state(pass, &peer->state);
    pass_bool(pass, &peer->is_paused);
    pass_bool(pass, &peer->is_fetching);
    pass_bool(pass, &peer->is_sleepy);
}

static void pass_reads(struct pass *pass, struct raft_reads *reads)
{
    pass_word(pass, &reads->last);
    pass_word(pass, &reads->closed);
    pass_word(pass, &reads->ready);
    pass_word(pass, &reads->ready_index);
    pass_word(pass, &reads->forwarded);
    pass_word(pass, &reads->forwarded_us);
    pass_slot(pass, &reads->own);
}

static void pass_volatile(struct pass *pass, struct raft *raft)
{
    pass_role(pass, &raft->role);
    pass_word(pass, &raft->leader);
    pass_word(pass, &raft->commit_index);
    pass_word(pass, &raft->last_applied);
    pass_word(pass, &raft->applying_index);
    pass_word(pass, &raft->verified_index);
    pass_word(pass, &raft->election_deadline_us);
    pass_word(pass, &raft->contact_us);
    pass_bool(pass, &raft->has_contact);
    pass_word(pass, &raft->lost_us);
    pass_bool(pass, &raft->is_asleep);
    pass_size(pass, &raft->up_count);
    if (raft->up_count > RAFT_MEMBERS_MAX) {
        pass->rc = PERI_EFORMAT;
        return;
    }
    for (size_t i = 0; i < raft->up_count; i++)
        pass_word(pass, &raft->up[i]);
    for (size_t i = 0; i < raft_active(raft)->count; i++)
        pass_byte(pass, &raft->votes[i]);
    pass_reads(pass, &raft->reads);
}

static void pass_leader(struct pass *pass, struct raft *raft)
{
    size_t count = raft->role == RAFT_LEADER ? raft_active(raft)->count : 0;
    if (pass->mode == PASS_LOAD)
        pass->rc = raft_peers_reserve(raft, count);
    if (pass->rc != 0)
        return;
    for (size_t i = 0; i < count; i++)
        pass_progress(pass, &raft->peers[i]);
    pass_word(pass, &raft->term_start);
    pass_word(pass, &raft->round);
    pass_word(pass, &raft->quorum_since_us);
    pass_word(pass, &raft->heartbeat_deadline_us);
    pass_word(pass, &raft->active_us);
    pass_word(pass, &raft->sleepy_round);
    pass_word(pass, &raft->transfer_to);
    pass_word(pass, &raft->transfer_deadline_us);
    pass_bool(pass, &raft->is_transfer_told);
    pass_bool(pass, &raft->is_lease_over);
}

static void pass_raft(struct pass *pass, struct raft *raft)
{
    pass_options(pass, &raft->options);
    if (pass->mode == PASS_LOAD)
        pass->rc = raft_log_init(&raft->log, 0, 0, raft->options.sizes_max);
    pass_word(pass, &raft->random);
    pass_word(pass, &raft->now_us);
    pass_word(pass, &raft->term);
    pass_word(pass, &raft->vote);
    if (pass->rc == 0)
        pass_log(pass, &raft->log);
    if (pass->rc == 0)
        pass_history(pass, raft);
    pass_word(pass, &raft->snapshot_index);
    pass_word(pass, &raft->snapshot_term);
    pass_word(pass, &raft->floor_index);
    pass_word(pass, &raft->floor_term);
    pass_word(pass, &raft->seq);
    pass_word(pass, &raft->durable_seq);
    pass_word(pass, &raft->hard_seq);
    pass_word(pass, &raft->install_seq);
    pass_word(pass, &raft->pending_since_us);
    pass_bool(pass, &raft->is_fenced);
    if (pass->rc == 0)
        pass_volatile(pass, raft);
    if (pass->rc == 0)
        pass_leader(pass, raft);
}

/* With the walk made part of it, the words cost no questions: tests hash before every event. */
__attribute__((flatten)) uint64_t raft_hash(const struct raft *raft)
{
    struct pass pass = {.mode = PASS_HASH};
    struct raft same = *raft; /* shares what pointers point to; nothing is written */
    pass_raft(&pass, &same);
    return pass.hash;
}

size_t raft_dump(const struct raft *raft, void *data, size_t size)
{
    struct pass pass = {.mode = PASS_DUMP, .to = data, .size = size};
    struct raft same = *raft;
    uint64_t magic = MAGIC, format = FORMAT;
    pass_word(&pass, &magic);
    pass_word(&pass, &format);
    pass_raft(&pass, &same);
    return pass.at;
}

int raft_load(struct raft **out, const void *data, size_t size, struct peri_error *err)
{
    struct pass pass = {.mode = PASS_LOAD, .from = data, .size = size};
    uint64_t magic = 0, format = 0;
    pass_word(&pass, &magic);
    pass_word(&pass, &format);
    if (pass.rc != 0 || magic != MAGIC || format != FORMAT)
        return peri_fail(err, PERI_EFORMAT, "dump of a replica");
    struct raft *raft = calloc(1, sizeof *raft);
    if (raft == NULL)
        return peri_fail(err, PERI_ENOMEM, "dump of a replica");
    pass_raft(&pass, raft);
    if (pass.rc == 0 && pass.at != size)
        pass.rc = PERI_EFORMAT;
    if (pass.rc != 0) {
        raft_close(raft);
        return peri_fail(err, pass.rc, "dump of a replica");
    }
    int rc = raft_check_options(&raft->options, err);
    if (rc == 0)
        rc = raft_check(raft, err);
    if (rc != 0) {
        raft_close(raft);
        return PERI_EFORMAT;
    }
    *out = raft;
    return 0;
}
