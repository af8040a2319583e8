/* create.c - how a replica begins: with what its disk holds, if that can be. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "raft/state.h"

void raft_options_init(struct raft_options *options, uint64_t id, uint64_t seed)
{
    *options = (struct raft_options){
        .id = id,
        .seed = seed,
        .election_min_us = 150000,
        .election_max_us = 300000,
        .heartbeat_us = 50000,
        .priority = RAFT_PRIORITY_MAX,
        .lease_margin_us = 15000,
        .message_max_bytes = 256 << 10,
        .inflight_max_bytes = 4 << 20,
        .uncommitted_max_bytes = 64 << 20,
        .unapplied_max_bytes = 1 << 20,
        .catchup_rounds_max = 10,
        .sizes_max = 1 << 16,
    };
}

int raft_check_options(const struct raft_options *options, struct peri_error *err)
{
    if (options->id == 0)
        return peri_fail_plain(err, PERI_EINVAL, "a replica's id is not 0");
    if (options->heartbeat_us == 0 || options->election_min_us <= options->heartbeat_us ||
        options->election_max_us <= options->election_min_us ||
        options->election_max_us > UINT64_MAX / 4)
        return peri_fail_plain(err, PERI_EINVAL,
                               "heartbeat, election_min and election_max do not grow");
    if (options->priority > RAFT_PRIORITY_MAX)
        return peri_fail_plain(err, PERI_EINVAL, "a priority is at most %d", RAFT_PRIORITY_MAX);
    if (options->catchup_rounds_max == 0)
        return peri_fail_plain(err, PERI_EINVAL, "new members have no round to catch up in");
    if (options->lease_margin_us >= options->election_min_us)
        return peri_fail_plain(err, PERI_EINVAL, "the lease margin leaves no lease");
    return 0;
}

static int check_boot(const struct raft_boot *boot, struct peri_error *err)
{
    if (boot->configuration_count == 0)
        return peri_fail_plain(err, PERI_EINVAL, "no configuration");
    for (size_t i = 0; i < boot->configuration_count; i++) {
        const struct raft_history *entry = &boot->configurations[i];
        bool is_inside = i == 0 ? entry->index <= boot->base_index
                                : entry->index > boot->base_index &&
                                      entry->index > boot->configurations[i - 1].index;
        if (!is_inside || entry->index > boot->last_index)
            return peri_fail_plain(err, PERI_EINVAL,
                                   "configuration %zu stands at %" PRIu64 " of log (%" PRIu64
                                   ", %" PRIu64 "]",
                                   i, entry->index, boot->base_index, boot->last_index);
        int rc = raft_configuration_check(&entry->configuration, err);
        if (rc != 0)
            return rc;
    }
    if (boot->snapshot_index < boot->base_index || boot->last_applied < boot->snapshot_index ||
        boot->last_index < boot->last_applied)
        return peri_fail_plain(err, PERI_EINVAL,
                               "base %" PRIu64 ", snapshot %" PRIu64 ", applied %" PRIu64
                               " and last %" PRIu64 " do not follow each other",
                               boot->base_index, boot->snapshot_index, boot->last_applied,
                               boot->last_index);
    uint64_t term = boot->base_term, index = boot->base_index;
    for (size_t i = 0; i < boot->run_count; i++) {
        const struct raft_run *run = &boot->runs[i];
        if (run->term < term || run->term > boot->term || run->first > boot->last_index ||
            (i == 0 ? run->first != index + 1 : run->first <= index))
            return peri_fail_plain(err, PERI_EINVAL, "the log has a hole, or terms that shrink");
        term = run->term;
        index = run->first;
    }
    if ((boot->run_count == 0) != (boot->last_index == boot->base_index) ||
        boot->base_term > boot->term)
        return peri_fail_plain(err, PERI_EINVAL, "the log's terms are not all known");
    return 0;
}

static int load_log(struct raft *raft, const struct raft_boot *boot)
{
    struct raft_log *log = &raft->log;
    int rc = raft_log_init(log, boot->base_index, boot->base_term, raft->options.sizes_max);
    if (rc == 0)
        rc = raft_log_reserve(log, 0, boot->run_count);
    if (rc != 0)
        return rc;
    if (boot->run_count > 0)
        memcpy(log->runs, boot->runs, boot->run_count * sizeof *log->runs);
    log->run_count = boot->run_count;
    log->last_index = log->sized_index = boot->last_index;
    return 0;
}

static int load(struct raft *raft, const struct raft_boot *boot)
{
    int rc = load_log(raft, boot);
    if (rc == 0)
        rc = raft_history_reserve(raft, boot->configuration_count);
    if (rc != 0)
        return rc;
    memcpy(raft->history, boot->configurations, boot->configuration_count * sizeof *raft->history);
    raft->history_count = boot->configuration_count;
    raft->now_us = raft->lost_us = boot->now_us;
    raft->term = boot->term;
    raft->vote = boot->vote;
    raft->snapshot_index = boot->snapshot_index;
    raft->snapshot_term = boot->snapshot_term;
    raft->floor_index = raft->floor_term = boot->is_impaired ? UINT64_MAX : 0;
    raft->commit_index = raft->last_applied = raft->applying_index = raft->verified_index =
        boot->last_applied;
    return 0;
}

/* A group of one has nobody to wait for. With leases this replica may have answered a leader just
 * before it stopped, and must keep that promise. */
static void begin(struct raft *raft)
{
    const struct raft_configuration *members = raft_active(raft);
    raft_election_arm(raft);
    if (members->count == 1 && members->ids[0] == raft->options.id)
        raft->election_deadline_us = raft->now_us;
    else if (raft->options.has_leases && raft->term > 0) {
        raft->has_contact = true;
        raft->contact_us = raft->now_us;
    }
    /* An answer meant for this replica before its restart must not fit a read of today. */
    raft->reads.last = raft->reads.closed = (raft_random(raft) & 0xffffffff) << 24;
}

int raft_create(struct raft **out, const struct raft_options *options, const struct raft_boot *boot,
                struct peri_error *err)
{
    int rc = raft_check_options(options, err);
    if (rc == 0)
        rc = check_boot(boot, err);
    if (rc != 0)
        return rc;
    struct raft *raft = calloc(1, sizeof *raft);
    if (raft == NULL)
        return peri_fail(err, PERI_ENOMEM, "raft");
    raft->options = *options;
    raft->random = options->seed;
    rc = load(raft, boot);
    if (rc != 0) {
        raft_close(raft);
        return peri_fail(err, rc, "raft");
    }
    begin(raft);
    *out = raft;
    return 0;
}

void raft_describe(const struct raft *raft, struct raft_boot *out)
{
    *out = (struct raft_boot){
        .now_us = raft->now_us,
        .term = raft->term,
        .vote = raft->vote,
        .base_index = raft->log.base_index,
        .base_term = raft->log.base_term,
        .snapshot_index = raft->log.base_index,
        .snapshot_term = raft->log.base_term,
        .last_index = raft->log.last_index,
        .runs = raft->log.runs,
        .run_count = raft->log.run_count,
        .configurations = raft->history,
        .configuration_count = raft->history_count,
        .last_applied = raft->log.base_index,
    };
}

void raft_close(struct raft *raft)
{
    if (raft == NULL)
        return;
    raft_log_deinit(&raft->log);
    free(raft->history);
    raft_peers_release(raft);
    free(raft);
}
