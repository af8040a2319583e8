#include "raft/invariants.h"

#include <inttypes.h>
#include <stdlib.h>

#include "raft/state.h"

/* ---- one replica, one state ---- */

#define HOLDS(fact)                                                                                \
    do {                                                                                           \
        if (!(fact))                                                                               \
            return peri_fail(err, PERI_ECORRUPT, "replica %" PRIu64 " breaks \"%s\"",              \
                             raft->options.id, #fact);                                             \
    } while (0)

static int check_log(const struct raft *raft, struct peri_error *err)
{
    const struct raft_log *log = &raft->log;
    uint64_t term = log->base_term, index = log->base_index;
    HOLDS(log->base_index <= log->last_index);
    HOLDS((log->run_count == 0) == (log->last_index == log->base_index));
    for (size_t i = 0; i < log->run_count; i++) {
        HOLDS(i == 0 ? log->runs[i].first == index + 1 : log->runs[i].first > index);
        HOLDS(i == 0 ? log->runs[i].term >= term : log->runs[i].term > term);
        index = log->runs[i].first;
        term = log->runs[i].term;
    }
    HOLDS(index <= log->last_index || log->run_count == 0);
    HOLDS(term <= raft->term); /* an entry is never newer than its log's owner */
    HOLDS(log->sized_index >= log->base_index && log->sized_index <= log->last_index);
    HOLDS(log->last_index - log->sized_index < log->sums_capacity);
    return 0;
}

static int check_history(const struct raft *raft, struct peri_error *err)
{
    HOLDS(raft->history_count > 0);
    HOLDS(raft->history[0].index <= raft->log.base_index);
    for (size_t i = 0; i < raft->history_count; i++) {
        uint64_t index = raft->history[i].index;
        HOLDS(i == 0 || index > raft->history[i - 1].index);
        HOLDS(i == 0 || index > raft->log.base_index);
        HOLDS(index <= raft->log.last_index);
        HOLDS(raft_configuration_check(&raft->history[i].configuration, NULL) == 0);
    }
    return 0;
}

static int check_indexes(const struct raft *raft, struct peri_error *err)
{
    HOLDS(raft->log.base_index <= raft->snapshot_index);
    HOLDS(raft->snapshot_index <= raft->last_applied);
    HOLDS(raft->last_applied <= raft->applying_index);
    HOLDS(raft->applying_index <= raft->commit_index);
    HOLDS(raft->commit_index <= raft->verified_index);
    HOLDS(raft->verified_index <= raft->log.last_index);
    HOLDS(raft->durable_seq <= raft->seq && raft->hard_seq <= raft->seq);
    HOLDS(raft->install_seq <= raft->seq);
    HOLDS(raft_log_matches(&raft->log, raft->snapshot_index, raft->snapshot_term));
    HOLDS(raft->reads.closed <= raft->reads.last && raft->reads.ready <= raft->reads.closed);
    return 0;
}

static int check_role(const struct raft *raft, struct peri_error *err)
{
    uint64_t id = raft->options.id;
    HOLDS(raft->vote == 0 || raft->term > 0);
    HOLDS(raft->options.priority > 0 || raft->role == RAFT_FOLLOWER);
    switch (raft->role) {
    case RAFT_FOLLOWER:
        HOLDS(raft->leader != id);
        HOLDS(raft->transfer_to == 0);
        return 0;
    case RAFT_CANDIDATE:
        HOLDS(raft->vote == id);
        HOLDS(raft->leader == 0);
        return 0;
    case RAFT_PRE_CANDIDATE:
        HOLDS(raft->leader == 0);
        return 0;
    case RAFT_LEADER:
        HOLDS(raft->leader == id && raft->vote == id);
        /* Who was removed leads only until that is committed (Thesis 4.2.2). */
        HOLDS(raft_configuration_is_voter(raft_active(raft), id) ||
              raft->history[raft->history_count - 1].index > raft->commit_index ||
              raft->commit_index < raft->term_start);
        HOLDS(!raft->is_fenced);
        HOLDS(raft->term_start > 0 && raft->term_start <= raft->log.last_index);
        HOLDS(raft->term_start <= raft->log.base_index ||
              raft_log_term(&raft->log, raft->term_start) == raft->term);
        return 0;
    }
    return peri_fail(err, PERI_ECORRUPT, "replica %" PRIu64 " is in role %d", id, (int)raft->role);
}

static int check_sleep(const struct raft *raft, struct peri_error *err)
{
    HOLDS(raft->up_count < RAFT_MEMBERS_MAX);
    for (size_t i = 0; i < raft->up_count; i++)
        HOLDS(raft_configuration_find(raft_active(raft), raft->up[i]) >= 0);
    if (!raft->is_asleep)
        return 0;
    HOLDS(raft->commit_index == raft->log.last_index);
    HOLDS(raft->role == RAFT_LEADER || raft_is_up(raft, raft->leader));
    HOLDS(raft->role != RAFT_LEADER || raft->sleepy_round != 0);
    return 0;
}

static int check_peer(const struct raft *raft, const struct raft_progress *peer,
                      struct peri_error *err)
{
    HOLDS(peer->match_index <= raft->log.last_index);
    HOLDS(peer->inflight_count <= RAFT_INFLIGHT_MAX && peer->inflight_first < RAFT_INFLIGHT_MAX);
    HOLDS(peer->inflight_count == 0 || peer->state == RAFT_REPLICATE);
    HOLDS(peer->acked_round <= raft->round && peer->acked_us <= raft->now_us);
    uint64_t bytes = 0, last = peer->match_index;
    for (uint32_t i = 0; i < peer->inflight_count; i++) {
        uint32_t at = (peer->inflight_first + i) & (RAFT_INFLIGHT_MAX - 1U);
        HOLDS(peer->window[at].last > last && peer->window[at].last < peer->next_index);
        last = peer->window[at].last;
        bytes += peer->window[at].bytes;
    }
    HOLDS(bytes == peer->inflight_bytes);
    return 0;
}

static int check_peers(const struct raft *raft, struct peri_error *err)
{
    const struct raft_configuration *members = raft_active(raft);
    for (size_t i = 0; i < members->count; i++) {
        const struct raft_progress *peer = &raft->peers[i];
        if (members->ids[i] != raft->options.id) {
            HOLDS(peer->next_index > peer->match_index);
            HOLDS(peer->next_index <= raft->log.last_index + 1);
        }
        int rc = check_peer(raft, peer, err);
        if (rc != 0)
            return rc;
    }
    return 0;
}

int raft_check(const struct raft *raft, struct peri_error *err)
{
    int rc = check_log(raft, err);
    if (rc == 0)
        rc = check_history(raft, err);
    if (rc == 0)
        rc = check_indexes(raft, err);
    if (rc == 0)
        rc = check_role(raft, err);
    if (rc == 0)
        rc = check_sleep(raft, err);
    if (rc == 0 && raft->role == RAFT_LEADER)
        rc = check_peers(raft, err);
    return rc;
}

/* ---- all replicas, over time ---- */

enum { REPLICAS_MAX = 64 };

/* What a replica was after its last event. */
struct seen {
    uint64_t id, term, vote, commit_index, last_index, last_term;
    enum raft_role role;
};

/* The entry at an index: its term, and a term in which it was certainly committed. */
struct committed {
    uint64_t term, in_term;
};

struct raft_watch {
    struct seen seen[REPLICAS_MAX];
    size_t seen_count;
    struct raft_run *leaders; /* term, and in first the id */
    size_t leader_count, leader_capacity;
    struct committed *committed; /* [i]: of entry i + 1 */
    size_t committed_count, committed_capacity;
};

int raft_watch_create(struct raft_watch **out)
{
    struct raft_watch *watch = calloc(1, sizeof *watch);
    if (watch == NULL)
        return PERI_ENOMEM;
    *out = watch;
    return 0;
}

void raft_watch_close(struct raft_watch *watch)
{
    if (watch == NULL)
        return;
    free(watch->leaders);
    free(watch->committed);
    free(watch);
}

void raft_watch_stop(struct raft_watch *watch, uint64_t id)
{
    for (size_t i = 0; i < watch->seen_count; i++)
        if (watch->seen[i].id == id)
            watch->seen[i] = watch->seen[--watch->seen_count];
}

uint64_t raft_watch_committed(const struct raft_watch *watch, uint64_t index)
{
    return index == 0 || index > watch->committed_count ? 0 : watch->committed[index - 1].term;
}

uint64_t raft_watch_last(const struct raft_watch *watch)
{
    return watch->committed_count;
}

static struct seen *seen_of(struct raft_watch *watch, uint64_t id)
{
    for (size_t i = 0; i < watch->seen_count; i++)
        if (watch->seen[i].id == id)
            return &watch->seen[i];
    if (watch->seen_count == REPLICAS_MAX)
        return NULL;
    struct seen *seen = &watch->seen[watch->seen_count++];
    *seen = (struct seen){.id = id};
    return seen;
}

static int check_growth(const struct seen *before, const struct raft *raft, struct peri_error *err)
{
    HOLDS(raft->term >= before->term);
    HOLDS(raft->term > before->term || before->vote == 0 || raft->vote == before->vote);
    HOLDS(raft->commit_index >= before->commit_index);
    /* A leader only appends (Raft figure 3). */
    if (before->role == RAFT_LEADER && raft->role == RAFT_LEADER && before->term == raft->term)
        HOLDS(raft->log.last_index >= before->last_index &&
              raft_log_matches(&raft->log, before->last_index, before->last_term));
    return 0;
}

static int add_leader(struct raft_watch *watch, uint64_t term, uint64_t id)
{
    if (watch->leader_count == watch->leader_capacity) {
        size_t capacity = 2 * watch->leader_capacity + 16;
        struct raft_run *leaders = realloc(watch->leaders, capacity * sizeof *leaders);
        if (leaders == NULL)
            return PERI_ENOMEM;
        watch->leaders = leaders;
        watch->leader_capacity = capacity;
    }
    watch->leaders[watch->leader_count++] = (struct raft_run){term, id};
    return 0;
}

/* What was committed in an earlier term is in this leader's log (Raft 5.4.3). */
static int check_complete(const struct raft_watch *watch, const struct raft *raft,
                          struct peri_error *err)
{
    for (uint64_t i = raft->log.base_index + 1; i <= watch->committed_count; i++) {
        const struct committed *entry = &watch->committed[i - 1];
        if (entry->in_term < raft->term && raft_log_term(&raft->log, i) != entry->term)
            return peri_fail(err, PERI_ECORRUPT,
                             "leader %" PRIu64 " of term %" PRIu64 " lacks committed %" PRIu64
                             "@%" PRIu64,
                             raft->options.id, raft->term, i, entry->term);
    }
    return 0;
}

static int check_leader(struct raft_watch *watch, const struct raft *raft, struct peri_error *err)
{
    if (raft->role != RAFT_LEADER)
        return 0;
    for (size_t i = watch->leader_count; i-- > 0;)
        if (watch->leaders[i].term == raft->term) {
            if (watch->leaders[i].first == raft->options.id)
                return 0;
            return peri_fail(err, PERI_ECORRUPT,
                             "term %" PRIu64 " has leaders %" PRIu64 " and %" PRIu64, raft->term,
                             watch->leaders[i].first, raft->options.id);
        }
    int rc = check_complete(watch, raft, err);
    return rc != 0 ? rc : add_leader(watch, raft->term, raft->options.id);
}

static int add_committed(struct raft_watch *watch, uint64_t term, uint64_t in_term)
{
    if (watch->committed_count == watch->committed_capacity) {
        size_t capacity = 2 * watch->committed_capacity + 64;
        struct committed *committed = realloc(watch->committed, capacity * sizeof *committed);
        if (committed == NULL)
            return PERI_ENOMEM;
        watch->committed = committed;
        watch->committed_capacity = capacity;
    }
    watch->committed[watch->committed_count++] = (struct committed){term, in_term};
    return 0;
}

static int check_committed(struct raft_watch *watch, const struct raft *raft, uint64_t from,
                           struct peri_error *err)
{
    if (from < raft->log.base_index)
        from = raft->log.base_index;
    for (uint64_t i = from == 0 ? 1 : from; i <= raft->commit_index; i++) {
        uint64_t term = raft_log_term(&raft->log, i), known = raft_watch_committed(watch, i);
        if (known == 0 && i == watch->committed_count + 1) {
            int rc = add_committed(watch, term, raft->term);
            if (rc != 0)
                return rc;
        } else if (known != term) {
            return peri_fail(err, PERI_ECORRUPT,
                             "replica %" PRIu64 " commits %" PRIu64 "@%" PRIu64
                             ", another committed @%" PRIu64 " there",
                             raft->options.id, i, term, known);
        }
    }
    return 0;
}

static uint64_t max_of(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* Two logs that agree at an index agree on all before it (Raft 5.3). Walks from run to run. */
static int check_matching(const struct raft *raft, const struct raft *other, struct peri_error *err)
{
    const struct raft_log *a = &raft->log, *b = &other->log;
    uint64_t end = max_of(a->base_index, b->base_index);
    uint64_t i = a->last_index < b->last_index ? a->last_index : b->last_index;
    bool agree = false;
    while (i > end) {
        uint64_t term_a = raft_log_term(a, i), term_b = raft_log_term(b, i);
        if (agree && term_a != term_b)
            return peri_fail(err, PERI_ECORRUPT,
                             "logs of %" PRIu64 " and %" PRIu64 " differ at %" PRIu64
                             " and agree behind it",
                             raft->options.id, other->options.id, i);
        agree = term_a == term_b;
        i = max_of(raft_log_conflict(a, i, term_a - 1), raft_log_conflict(b, i, term_b - 1));
    }
    return 0;
}

int raft_watch_step(struct raft_watch *watch, const struct raft *raft,
                    const struct raft *const *all, size_t count, struct peri_error *err)
{
    struct seen *before = seen_of(watch, raft->options.id);
    if (before == NULL)
        return peri_fail(err, PERI_ENOMEM, "more than %d replicas", REPLICAS_MAX);
    uint64_t last_term = raft_log_term(&raft->log, raft->log.last_index);
    bool has_changed = before->last_index != raft->log.last_index || before->last_term != last_term;
    int rc = raft_check(raft, err);
    if (rc == 0)
        rc = check_growth(before, raft, err);
    if (rc == 0)
        rc = check_leader(watch, raft, err);
    if (rc == 0)
        rc = check_committed(watch, raft, before->commit_index, err);
    for (size_t i = 0; rc == 0 && has_changed && i < count; i++)
        if (all[i] != raft)
            rc = check_matching(raft, all[i], err);
    *before = (struct seen){raft->options.id,     raft->term, raft->vote, raft->commit_index,
                            raft->log.last_index, last_term,  raft->role};
    return rc;
}
