/* snapshot.c - taking snapshots, and beginning from them.
 *
 * The file comes first, then the record or the cut that relies on it: after a crash in between the
 * file is a spare. At the start the newest one counts whose last entry is in the log, or is the
 * log's base: what a crash left of one that was never installed is not. */
#include "node/compare.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "env/log.h"
#include "node/rounds.h"

int node_snapshots_open(struct node_group *group)
{
    group->snapshots = calloc(1, sizeof *group->snapshots);
    if (group->snapshots == NULL)
        return PERI_ENOMEM;
    group->snapshots->group = group->snapshots->task.group = group;
    peri_list_init(&group->snapshots->sends);
    return 0;
}

void node_snapshots_close(struct node_group *group)
{
    struct node_snapshots *snapshots = group->snapshots;
    if (snapshots == NULL)
        return;
    node_stage_clear(&snapshots->stage);
    peri_buffer_deinit(&snapshots->task.output);
    peri_buffer_deinit(&snapshots->next);
    peri_buffer_deinit(&snapshots->current);
    free(snapshots);
    group->snapshots = NULL;
}

/* ---- background work on files ---- */

struct file_job {
    struct node_group *group;
    struct env *env;
    const char *directory; /* the node's, which outlives its groups */
    struct node_snapshot snapshot;
    struct peri_error err;
    int rc;
    bool drops_part; /* of a transfer that broke off, and that nobody needs any more */
};

static void end_job(struct file_job *job)
{
    struct node_group *group = job->group;
    node_snapshot_deinit(&job->snapshot);
    free(job);
    node_group_release(group);
}

/* Starts a job for the group; it owns what it is given. */
static struct file_job *new_job(struct node_group *group)
{
    struct file_job *job = calloc(1, sizeof *job);
    if (job != NULL) {
        job->group = group;
        job->env = group->node->env;
        job->directory = group->node->snapshots_path;
        job->snapshot.cluster = group->node->cluster;
        job->snapshot.group = group->id;
    }
    return job;
}

static int start_job(struct file_job *job, void (*run)(void *data),
                     void (*done)(void *data, int status))
{
    struct node_group *group = job->group;
    node_group_hold(group);
    int rc = env_work(job->env, run, done, job);
    if (rc != 0)
        end_job(job);
    return rc;
}

static void run_tidy(void *data)
{
    struct file_job *job = data;
    job->rc = node_snapshot_remove_below(job->env, job->directory, job->snapshot.group,
                                         job->snapshot.index, &job->err);
    if (job->drops_part && job->rc == 0)
        job->rc = node_part_remove(job->env, job->directory, job->snapshot.group, &job->err);
}

static void on_tidied(void *data, int status)
{
    struct file_job *job = data;
    if (status == 0 && job->rc != 0)
        env_log(job->env, ENV_LOG_WARN, "node", "old snapshots stay: %s", job->err.text);
    end_job(job);
}

void node_snapshots_tidy(struct node_group *group)
{
    struct file_job *job = new_job(group);
    if (job == NULL)
        return; /* the next one tidies */
    job->snapshot.index = group->snapshots->index;
    job->drops_part = !group->snapshots->stage.is_set;
    (void)start_job(job, run_tidy, on_tidied);
}

/* ---- taking ---- */

bool node_snapshots_are_due(const struct node_group *group)
{
    const struct node_snapshots *snapshots = group->snapshots;
    uint64_t entries = group->node->options.snapshot_entries;
    if (group->keys != NULL)
        return false; /* rounds.c makes the state durable */
    if (snapshots->is_taking || snapshots->is_writing || snapshots->has_next ||
        node_compare_is_quarantined(group))
        return false;
    if (snapshots->is_damaged)
        return group->applied_index >= snapshots->index;
    if (group->applied_index <= snapshots->index)
        return false;
    uint64_t last =
        snapshots->failed_index > snapshots->index ? snapshots->failed_index : snapshots->index;
    return snapshots->is_wanted || (entries > 0 && group->applied_index >= last + entries);
}

int node_group_snapshot(struct node_group *group, struct peri_error *err)
{
    if (group->raft == NULL)
        return peri_fail_plain(err, PERI_ECLOSED, "group %" PRIu64 " is not open", group->id);
    if (group->snapshots->is_wanted || group->snapshots->is_taking || group->snapshots->is_writing)
        return peri_fail_plain(err, PERI_EBUSY,
                               "a snapshot of group %" PRIu64 " is under way already", group->id);
    if (group->applied_index <= group->snapshots->index)
        return 0; /* the one that is there says it all */
    group->snapshots->is_wanted = true;
    if (group->keys != NULL)
        node_rounds_settle(group->node->rounds);
    else
        node_group_wake(group);
    return 0;
}

void node_snapshots_redo(struct node_group *group, uint64_t index)
{
    if (index != group->snapshots->index)
        return; /* there is a newer one by now */
    group->snapshots->is_damaged = true;
    node_group_wake(group);
}

/* There is a newer snapshot now. */
static void taken(struct node_group *group, uint64_t index, uint64_t term)
{
    group->snapshots->index = index;
    group->snapshots->term = term;
    node_compact(group);
    group->node->stats.snapshots_taken++;
    node_tell(group->node, &(struct node_event){
                               .type = NODE_SNAPSHOT_TAKEN, .group = group->id, .index = index});
    node_group_wake(group);
}

static void run_write(void *data)
{
    struct file_job *job = data;
    job->rc = node_snapshot_write(job->env, job->directory, &job->snapshot, &job->err);
}

static void on_own_written(void *data, int status)
{
    struct file_job *job = data;
    struct node_group *group = job->group;
    struct node_snapshots *snapshots = group->snapshots;
    snapshots->is_writing = false;
    if (status == 0 && job->rc != 0)
        env_log(job->env, ENV_LOG_ERROR, "node", "no snapshot of group %" PRIu64 ": %s", group->id,
                job->err.text);
    if (status == 0 && job->rc == 0 && !group->is_closing && group->raft != NULL &&
        job->snapshot.index > snapshots->index) {
        taken(group, job->snapshot.index, job->snapshot.term);
        node_snapshots_tidy(group);
    }
    end_job(job);
}

void node_snapshots_durable(struct node_group *group, uint64_t index)
{
    struct raft_status status;
    group->snapshots->is_wanted = false;
    if (group->is_closing || group->raft == NULL || group->snapshots->has_next)
        return;
    raft_status(group->raft, &status);
    if (index > status.last_applied)
        index = status.last_applied; /* the core hears of a window when all of it is applied */
    if (index > group->snapshots->index && index >= status.snapshot_index)
        taken(group, index, raft_term_at(group->raft, index));
}

void node_snapshots_take(struct node_group *group)
{
    struct node_snapshots *snapshots = group->snapshots;
    struct node_task *task = &snapshots->task;
    snapshots->is_taking = true;
    snapshots->is_wanted = snapshots->is_damaged = false;
    task->index = group->applied_index;
    task->term = group->applied_term;
    task->output.size = 0;
    peri_error_clear(&task->err);
    group->machine->snapshot(group->machine, task);
}

/* The next one is due after as many entries as if this one had been made. */
static void say_no_snapshot(const struct node_group *group, const struct peri_error *err)
{
    uint64_t index = group->snapshots->task.index;
    group->snapshots->failed_index = index;
    env_log(group->node->env, ENV_LOG_ERROR, "node",
            "no snapshot of group %" PRIu64 " at %" PRIu64 ": %s", group->id, index, err->text);
}

void node_snapshots_taken(struct node_group *group)
{
    struct node_snapshots *snapshots = group->snapshots;
    struct node_task *task = &snapshots->task;
    struct peri_error err = PERI_ERROR_INIT;
    snapshots->is_taking = snapshots->is_taken = false;
    if (snapshots->status != 0) {
        say_no_snapshot(group, &task->err);
        return;
    }
    const struct raft_configuration *members =
        group->raft != NULL ? raft_members_at(group->raft, task->index) : NULL;
    if (members == NULL || snapshots->has_next || node_compare_is_quarantined(group))
        return; /* a leader's snapshot comes, or the state is a wrong one */
    struct file_job *job = new_job(group);
    int rc = job == NULL ? PERI_ENOMEM : 0;
    if (rc == 0)
        rc = node_members_put(group->node, members, &job->snapshot.members);
    if (rc == 0 && task->output.size > group->node->options.snapshot_max_bytes)
        rc = PERI_ETOOBIG;
    if (rc != 0) {
        (void)peri_fail(&err, rc, "%zu bytes", task->output.size);
        say_no_snapshot(group, &err);
        if (job != NULL)
            node_snapshot_deinit(&job->snapshot);
        free(job);
        return;
    }
    job->snapshot.index = task->index;
    job->snapshot.term = task->term;
    job->snapshot.state = task->output;
    task->output = (struct peri_buffer){NULL, 0, 0};
    snapshots->is_writing = start_job(job, run_write, on_own_written) == 0;
}

/* ---- installing ---- */

void node_snapshots_install(struct node_group *group, const struct raft_record *record)
{
    struct node_snapshots *snapshots = group->snapshots;
    struct node_stage *stage = &snapshots->stage;
    peri_buffer_deinit(&snapshots->next);
    if (group->keys != NULL) {
        node_intake_accept(group->keys);
    } else {
        PERI_ASSERT(stage->is_set && stage->snapshot.index == record->snapshot_index);
        snapshots->next = stage->snapshot.state;
        stage->snapshot.state = (struct peri_buffer){NULL, 0, 0};
    }
    snapshots->next_index = record->snapshot_index;
    snapshots->next_term = record->snapshot_term;
    snapshots->next_seq = record->seq;
    snapshots->has_next = true;
}

bool node_snapshots_to_restore(struct node_group *group, struct peri_slice *state, uint64_t *index,
                               uint64_t *term)
{
    struct node_snapshots *snapshots = group->snapshots;
    if (!snapshots->has_next || snapshots->next_seq > group->durable_seq)
        return false;
    peri_buffer_deinit(&snapshots->current);
    snapshots->current = snapshots->next;
    snapshots->next = (struct peri_buffer){NULL, 0, 0};
    snapshots->has_next = false;
    *state = peri_buffer_slice(&snapshots->current);
    *index = snapshots->next_index;
    *term = snapshots->next_term;
    return true;
}

void node_snapshots_restored(struct node_group *group)
{
    struct node_snapshots *snapshots = group->snapshots;
    peri_buffer_deinit(&snapshots->current);
    if (group->task.index <= snapshots->index)
        return; /* the one that this replica began with */
    snapshots->index = group->task.index;
    snapshots->term = group->task.term;
    group->node->stats.snapshots_installed++;
    if (group->keys == NULL)
        node_snapshots_tidy(group);
    node_tell(group->node, &(struct node_event){.type = NODE_SNAPSHOT_INSTALLED,
                                                .group = group->id,
                                                .index = snapshots->index});
}

/* ---- beginning ---- */

struct boot_job {
    struct file_job file;
    struct raft_boot boot;
    const char *why;
    int rc;       /* of a file that may be intact */
    bool is_lost; /* no snapshot can be read that reaches to the log */
};

/* Of what fits to the log, the newest that can be read. */
static void try_file(void *data, uint64_t index, uint64_t term)
{
    struct boot_job *job = data;
    struct file_job *file = &job->file;
    struct node_snapshot found = {.cluster = file->snapshot.cluster,
                                  .group = file->snapshot.group,
                                  .index = index,
                                  .term = term};
    if (index <= file->snapshot.index || index == 0 ||
        node_disk_term_in(&job->boot, index) != term || job->rc != 0)
        return;
    int rc = node_snapshot_read(file->env, file->directory, &found, &file->err);
    if (rc == 0) {
        struct node_snapshot worse = file->snapshot;
        file->snapshot = found;
        found = worse;
    } else if (rc != PERI_ECORRUPT) {
        job->rc = rc; /* of a newer format, or nobody can say */
    }
    node_snapshot_deinit(&found);
}

static void run_boot(void *data)
{
    struct boot_job *job = data;
    struct file_job *file = &job->file;
    file->rc = node_snapshot_list(file->env, file->directory, file->snapshot.group, try_file, job,
                                  &file->err);
    if (file->rc == 0)
        file->rc = job->rc;
    job->is_lost =
        file->snapshot.index < job->boot.base_index || job->boot.configuration_count == 0;
}

static void begin(struct node_group *group, struct boot_job *job)
{
    struct node_snapshots *snapshots = group->snapshots;
    struct node_snapshot *found = &job->file.snapshot;
    struct raft_history first;
    if (job->is_lost) { /* the log alone says nothing of the state: all of it comes from a leader */
        int rc = node_disk_reset(group, &job->boot, &first);
        if (rc != 0) {
            (void)peri_fail(&job->file.err, rc, "group %" PRIu64, group->id);
            node_group_fail(group, &job->file.err);
            return;
        }
        if (job->why[0] == '\0')
            job->why = job->file.err.code != 0 ? job->file.err.text
                                               : "the snapshot that its log begins after is lost";
    } else if (found->index > 0) {
        job->boot.snapshot_index = job->boot.last_applied = found->index;
        job->boot.snapshot_term = found->term;
        snapshots->index = snapshots->next_index = found->index;
        snapshots->term = snapshots->next_term = found->term;
        snapshots->next = found->state;
        found->state = (struct peri_buffer){NULL, 0, 0};
        snapshots->has_next = true;
        (void)node_members_learn(group->node, peri_buffer_slice(&found->members), NULL);
    }
    job->boot.now_us = env_now_us(group->node->env);
    node_group_begin(group, &job->boot, job->why);
}

static void on_booted(void *data, int status)
{
    struct boot_job *job = data;
    struct node_group *group = job->file.group;
    if (group->is_closing || status != 0)
        ;
    else if (job->file.rc != 0)
        node_group_fail(group, &job->file.err);
    else
        begin(group, job);
    end_job(&job->file);
}

void node_snapshots_boot(struct node_group *group, const struct raft_boot *boot, const char *why)
{
    struct boot_job *job = calloc(1, sizeof *job);
    struct peri_error err = PERI_ERROR_INIT;
    if (job != NULL) {
        job->boot = *boot;
        job->why = why;
        job->file =
            (struct file_job){.group = group,
                              .env = group->node->env,
                              .directory = group->node->snapshots_path,
                              .snapshot = {.cluster = group->node->cluster, .group = group->id}};
        if (start_job(&job->file, run_boot, on_booted) == 0)
            return;
    }
    (void)peri_fail(&err, PERI_ENOMEM, "group %" PRIu64, group->id);
    node_group_fail(group, &err);
}
