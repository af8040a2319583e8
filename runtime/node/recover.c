#include "node/recover.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "env/log.h"
#include "node/parts.h"
#include "node/snapshot_file.h"
#include "store/configuration.h"

/* Terms of forced configurations are multiples of this, plus the place of the node among the new
 * members: replicas that are forced one after the other never write the same term. */
enum { TERM_STEP = 1024 };

struct recovery {
    struct env *env;
    char *path, *log_path, *snapshots_path;
    uint64_t group;
    struct raft_configuration members; /* to write; none: only look */
    struct node_recover_end end;       /* of the logs of all of them; 0: there is one */
    struct peri_buffer payload;        /* the same with addresses: members.c */
    struct store_log *log;
    struct store_log_write write;
    struct raft_record record;
    struct node_recover_found *groups;
    struct store_log_found *found; /* with copies of what they point to */
    struct node_recovered result;
    int status;
    struct peri_error err;
    void (*on_done)(void *data, int status, const struct node_recovered *recovered,
                    const struct peri_error *err);
    void *data;
};

/* ---- the end ---- */

static void free_found(struct store_log_found *found)
{
    free((void *)found->boot.runs);
    free((void *)found->boot.configurations);
    free((void *)found->why);
}

static void free_recovery(struct recovery *recovery)
{
    for (size_t i = 0; i < recovery->result.count; i++)
        free_found(&recovery->found[i]);
    free(recovery->found);
    free(recovery->groups);
    free(recovery->path);
    free(recovery->log_path);
    free(recovery->snapshots_path);
    peri_buffer_deinit(&recovery->payload);
    free(recovery);
}

static void on_closed(void *data)
{
    struct recovery *recovery = data;
    recovery->result.groups = recovery->groups;
    recovery->on_done(recovery->data, recovery->status, &recovery->result,
                      recovery->status == 0 ? NULL : &recovery->err);
    free_recovery(recovery);
}

static void finish(struct recovery *recovery, int status)
{
    if (status != 0 && recovery->err.code == 0)
        (void)peri_fail(&recovery->err, status, "%s", recovery->log_path);
    recovery->status = status;
    store_log_when_closed(recovery->log, on_closed, recovery);
    store_log_close(recovery->log);
}

/* ---- writing ---- */

static const struct store_log_found *find(const struct recovery *recovery)
{
    for (size_t i = 0; i < recovery->result.count; i++)
        if (recovery->found[i].group == recovery->group)
            return &recovery->found[i];
    return NULL;
}

static void run_renew(void *data)
{
    struct recovery *recovery = data;
    recovery->status = node_births_renew(recovery->env, recovery->path, &recovery->err);
}

static void on_renewed(void *data, int status)
{
    struct recovery *recovery = data;
    finish(recovery, status != 0 ? status : recovery->status);
}

static void on_written(struct store_log_write *write, int status)
{
    struct recovery *recovery = write->data;
    if (status == 0) {
        recovery->result.index = recovery->record.last;
        recovery->result.term = recovery->record.term;
        status = env_work(recovery->env, run_renew, on_renewed, recovery);
    }
    if (status != 0)
        finish(recovery, status);
}

struct node_recover_end node_recover_end_of(const struct node_recover_found *found)
{
    const struct raft_boot *boot = &found->log->boot;
    return (struct node_recover_end){
        .term = boot->run_count > 0 ? boot->runs[boot->run_count - 1].term : boot->base_term,
        .index = boot->last_index};
}

static int check_end(struct recovery *recovery, const struct store_log_found *found)
{
    const struct node_recover_found own = {.log = found};
    const struct node_recover_end end = node_recover_end_of(&own), *all = &recovery->end;
    if ((all->index == 0 && all->term == 0) || (end.index == all->index && end.term == all->term))
        return 0;
    return peri_fail_plain(&recovery->err, PERI_EINVAL,
                           "the log of node %" PRIu64 " ends with entry %" PRIu64
                           " of term %" PRIu64 ", not with entry %" PRIu64 " of term %" PRIu64
                           ": force the one that holds most alone, and add the others again, "
                           "empty and under new ids",
                           recovery->result.node, end.index, end.term, all->index, all->term);
}

static int write_members(struct recovery *recovery)
{
    const struct store_log_found *found = find(recovery);
    if (found == NULL)
        return peri_fail_plain(&recovery->err, -ENOENT, "%s holds no group %" PRIu64,
                               recovery->log_path, recovery->group);
    int at = raft_configuration_find(&recovery->members, recovery->result.node);
    if (at < 0)
        return peri_fail_plain(&recovery->err, PERI_EINVAL,
                               "these are the data of node %" PRIu64
                               ", which is none of the members",
                               recovery->result.node);
    int rc = check_end(recovery, found);
    if (rc != 0)
        return rc;
    uint64_t term = (found->boot.term / TERM_STEP + 1) * TERM_STEP + (uint64_t)at;
    recovery->record = (struct raft_record){.seq = 1,
                                            .term = term,
                                            .first = found->boot.last_index + 1,
                                            .last = found->boot.last_index + 1,
                                            .type = RAFT_CONFIGURATION,
                                            .configuration = &recovery->members};
    const struct store_log_entry entry = {
        .term = term, .type = RAFT_CONFIGURATION, .payload = peri_buffer_slice(&recovery->payload)};
    recovery->write = (struct store_log_write){.on_written = on_written, .data = recovery};
    /* Both stand in one batch: what is written is durable only together with the verdict. */
    rc = store_log_set_repaired(recovery->log, recovery->group);
    if (rc == 0)
        rc = store_log_write(recovery->log, &recovery->write, recovery->group, &recovery->record,
                             &entry);
    if (rc == 0)
        env_log(recovery->env, ENV_LOG_WARN, "node",
                "group %" PRIu64 " of node %" PRIu64
                " gets %zu members by force, with entry %" PRIu64 " of term %" PRIu64,
                recovery->group, recovery->result.node, recovery->members.count,
                recovery->record.last, term);
    return rc;
}

/* ---- snapshots ---- */

struct listing {
    const struct raft_boot *boot;
    uint64_t index;
};

static void note_snapshot(void *data, uint64_t index, uint64_t term)
{
    struct listing *listing = data;
    (void)term;
    if (index >= listing->boot->base_index && index <= listing->boot->last_index &&
        index > listing->index)
        listing->index = index;
}

static void run_list(void *data)
{
    struct recovery *recovery = data;
    for (size_t i = 0; i < recovery->result.count; i++) {
        struct listing listing = {.boot = &recovery->found[i].boot};
        if (node_snapshot_list(recovery->env, recovery->snapshots_path, recovery->found[i].group,
                               note_snapshot, &listing, NULL) == 0)
            recovery->groups[i].snapshot_index = listing.index;
    }
}

static void on_listed(void *data, int status)
{
    struct recovery *recovery = data;
    if (status == 0 && recovery->members.count > 0) {
        status = write_members(recovery);
        if (status == 0)
            return; /* on_written goes on */
    }
    finish(recovery, status);
}

/* ---- looking ---- */

static void *copy_of(const void *data, size_t size)
{
    void *copy = malloc(size + 1);
    if (copy != NULL && size > 0)
        memcpy(copy, data, size);
    return copy;
}

static int keep(struct recovery *recovery, const struct store_log_found *groups, size_t count)
{
    recovery->found = calloc(count + 1, sizeof *recovery->found);
    recovery->groups = calloc(count + 1, sizeof *recovery->groups);
    if (recovery->found == NULL || recovery->groups == NULL)
        return PERI_ENOMEM;
    for (size_t i = 0; i < count; i++) {
        struct store_log_found *found = &recovery->found[i];
        const struct raft_boot *boot = &groups[i].boot;
        *found = groups[i];
        found->boot.runs = copy_of(boot->runs, boot->run_count * sizeof *boot->runs);
        found->boot.configurations =
            copy_of(boot->configurations, boot->configuration_count * sizeof *boot->configurations);
        found->why = copy_of(groups[i].why, strlen(groups[i].why) + 1);
        recovery->groups[i].log = found;
        recovery->result.count = i + 1;
        if (found->boot.runs == NULL || found->boot.configurations == NULL || found->why == NULL)
            return PERI_ENOMEM;
    }
    return 0;
}

/* A directory without a log, or a path that is no directory, holds no node's data. */
static void explain_open(struct recovery *recovery, int status)
{
    if (status == -ENOENT || status == -ENOTDIR)
        (void)peri_fail_plain(&recovery->err, status,
                              "%s holds no data of a node: there is no directory %s",
                              recovery->path, recovery->log_path);
    else
        node_disk_explain(recovery->path, status, &recovery->err);
}

static void on_open(void *data, int status, const struct store_log_found *groups, size_t count,
                    const struct peri_error *err)
{
    struct recovery *recovery = data;
    if (status == 0) {
        store_log_owner(recovery->log, &recovery->result.cluster, &recovery->result.node);
        status = keep(recovery, groups, count);
    } else {
        recovery->err = *err;
        explain_open(recovery, status);
    }
    if (status == 0)
        status = env_work(recovery->env, run_list, on_listed, recovery);
    if (status != 0)
        finish(recovery, status);
}

static int encode_members(struct recovery *recovery, const struct node_member *members,
                          size_t count)
{
    int rc = store_configuration_encode(&recovery->members, &recovery->payload);
    for (size_t i = 0; i < recovery->members.count && rc == 0; i++) {
        const char *address = "";
        for (size_t k = 0; k < count; k++)
            if (members[k].id == recovery->members.ids[i] && members[k].address != NULL)
                address = members[k].address;
        const char size = (char)strlen(address);
        rc = peri_buffer_append(&recovery->payload, &size, 1);
        if (rc == 0)
            rc = peri_buffer_append(&recovery->payload, address, strlen(address));
    }
    return rc;
}

static int check_members(const struct node_member *members, size_t count,
                         struct raft_configuration *out, struct peri_error *err)
{
    uint64_t ids[RAFT_MEMBERS_MAX];
    if (count > RAFT_MEMBERS_MAX)
        return peri_fail_plain(err, PERI_ETOOBIG, "a group has at most %d members",
                               RAFT_MEMBERS_MAX);
    for (size_t i = 0; i < count; i++) {
        ids[i] = members[i].id;
        if (members[i].address != NULL && strlen(members[i].address) > NODE_ADDRESS_MAX)
            return peri_fail_plain(err, PERI_EINVAL,
                                   "the address of node %" PRIu64 " has more than %d bytes", ids[i],
                                   NODE_ADDRESS_MAX);
    }
    return count == 0 ? 0 : raft_configuration_init(out, ids, count, err);
}

static char *join(const char *a, const char *b)
{
    size_t size = strlen(a) + strlen(b) + 1;
    char *text = malloc(size);
    if (text != NULL)
        (void)snprintf(text, size, "%s%s", a, b);
    return text;
}

int node_recover(struct env *env, const char *path, uint64_t group,
                 const struct node_member *members, size_t member_count,
                 const struct node_recover_end *end,
                 void (*on_done)(void *data, int status, const struct node_recovered *recovered,
                                 const struct peri_error *err),
                 void *data, struct peri_error *err)
{
    struct store_log_options options;
    struct raft_configuration configuration = {.count = 0};
    int rc = check_members(members, member_count, &configuration, err);
    if (rc == 0 && member_count > 1 && end == NULL)
        rc = peri_fail_plain(err, PERI_EINVAL,
                             "%zu members may hold different logs, of which the longest has to "
                             "count: say where the logs of all of them end, or force one alone",
                             member_count);
    if (rc != 0)
        return rc;
    struct recovery *recovery = calloc(1, sizeof *recovery);
    if (recovery == NULL)
        return peri_fail(err, PERI_ENOMEM, "recover");
    recovery->env = env;
    recovery->group = group;
    recovery->members = configuration;
    if (end != NULL)
        recovery->end = *end;
    recovery->on_done = on_done;
    recovery->data = data;
    recovery->path = join(path, "");
    recovery->log_path = join(path, "/log");
    recovery->snapshots_path = join(path, "/snapshots");
    store_log_options_init(&options, 0, 0);
    if (recovery->path == NULL || recovery->log_path == NULL || recovery->snapshots_path == NULL ||
        encode_members(recovery, members, member_count) != 0)
        rc = peri_fail(err, PERI_ENOMEM, "recover");
    if (rc == 0)
        rc = store_log_open(&recovery->log, env, recovery->log_path, &options, on_open, recovery,
                            err);
    if (rc != 0)
        free_recovery(recovery);
    return rc;
}
