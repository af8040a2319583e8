/* log_fixture.h - a store_log on a real disk or a simulated one, with calls that wait,
 * and a model of what every group must hold. */
#ifndef PERI_TESTS_LOG_FIXTURE_H
#define PERI_TESTS_LOG_FIXTURE_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h> /* cmocka needs it */

#include <cmocka.h>

#include "base/assert.h"
#include "env/log.h"
#include "env/uv.h"
#include "sim/disk.h"
#include "sim/fault.h"
#include "sim/node.h"
#include "sim_fixture.h"
#include "store/configuration.h"
#include "store/log.h"

enum { MODEL_GROUPS = 3, MODEL_ENTRIES = 64, MODEL_STATES = 64, MODEL_PAYLOAD = 40 };

struct model_entry {
    uint64_t term;
    uint32_t size;
    unsigned char fill; /* every byte of the payload */
};

/* What a group holds after one of its requests. entries[i] stands at base + 1 + i. */
struct model_state {
    uint64_t term, vote, base, base_term, count;
    struct model_entry entries[MODEL_ENTRIES];
};

/* The states since the last one that is durable for certain, which is states[0]. */
struct model_group {
    bool is_there, is_created; /* asked for, acknowledged */
    bool is_found;
    uint64_t replica;
    struct model_state states[MODEL_STATES];
    size_t count;
};

struct log_fixture {
    struct env *env;
    struct sim_world *world; /* or NULL: the real one */
    struct sim_node *node;
    char path[512];
    struct store_log_options options;
    struct store_log *log;
    int status; /* of the open */
    bool is_done;
    struct peri_error err;
    struct model_group groups[MODEL_GROUPS + 1]; /* by id, from 1 */
    uint64_t acked[MODEL_GROUPS + 1];            /* states acknowledged but still in states */
    enum store_log_health health[MODEL_GROUPS + 1];
    bool has_forgotten[MODEL_GROUPS + 1];
    char why[160];                            /* of the last one that is not clean */
    struct raft_boot boots[MODEL_GROUPS + 1]; /* runs are in runs */
    struct raft_run runs[MODEL_GROUPS + 1][MODEL_ENTRIES];
    size_t found, writes_open, failures;
    bool checks_states; /* what is found is one of the states that may be */
    struct sim_stream stream;
    uint64_t positions;
};

static const struct raft_configuration fixture_members = {
    .ids = {1, 2, 3}, .members = {RAFT_VOTER, RAFT_VOTER, RAFT_VOTER}, .count = 3};

static int fixture_start(void *data, struct sim_node *node)
{
    (void)data;
    (void)node;
    return 0;
}

static void fixture_down(void *data, struct sim_node *node, enum sim_down how)
{
    struct log_fixture *fixture = data;
    (void)node;
    (void)how;
    store_log_close(fixture->log);
    fixture->log = NULL;
}

static void fixture_init(struct log_fixture *fixture, bool is_simulated, uint64_t seed)
{
    memset(fixture, 0, sizeof *fixture);
    fixture->checks_states = true;
    store_log_options_init(&fixture->options, 77, 5);
    if (is_simulated) {
        struct sim_options options = {.seed = seed};
        struct sim_node_events events = {.on_start = fixture_start, .on_down = fixture_down};
        assert_int_equal(sim_world_create(&fixture->world, &options, NULL), 0);
        assert_int_equal(
            sim_node_create(fixture->world, "n1", &events, fixture, &fixture->node, NULL), 0);
        assert_int_equal(sim_node_start(fixture->node, NULL), 0);
        advance(fixture->world, 1);
        fixture->env = sim_node_env(fixture->node);
        (void)snprintf(fixture->path, sizeof fixture->path, "/log");
    } else {
        char *directory = NULL;
        assert_int_equal(env_uv_create(&fixture->env, NULL), 0);
        env_log_set_level(fixture->env, ENV_LOG_ERROR + 1);
        struct env_stat shm; /* syncs there cost nothing */
        bool has_shm = env_path_stat(fixture->env, "/dev/shm", &shm, NULL) == 0;
        const char *prefix = has_shm ? "/dev/shm/peri-log-" : "/tmp/peri-log-";
        assert_int_equal(env_path_tempdir(fixture->env, prefix, &directory, NULL), 0);
        (void)snprintf(fixture->path, sizeof fixture->path, "%s/log", directory);
        free(directory);
    }
    sim_stream_init(&fixture->stream, seed, SIM_WORKLOAD, 0, 0, &fixture->positions);
}

static void fixture_remove(struct env *env, const char *path)
{
    char entry[1024];
    const char *name = NULL;
    enum env_file_type type;
    struct env_dir *dir = NULL;
    if (env_dir_open(env, path, &dir, NULL) != 0)
        return;
    while (env_dir_next(dir, &name, &type, NULL) == 1) {
        (void)snprintf(entry, sizeof entry, "%s/%s", path, name);
        if (type == ENV_TYPE_DIRECTORY)
            fixture_remove(env, entry);
        else
            assert_int_equal(env_path_remove(env, entry, NULL), 0);
    }
    env_dir_close(dir);
    assert_int_equal(env_path_remove(env, path, NULL), 0);
}

static inline void fixture_deinit(struct log_fixture *fixture)
{
    if (fixture->world != NULL) {
        sim_world_close(fixture->world);
        return;
    }
    *strrchr(fixture->path, '/') = '\0';
    fixture_remove(fixture->env, fixture->path);
    env_close(fixture->env);
}

/* Runs until is_done, which a callback sets. */
static void fixture_wait(struct log_fixture *fixture)
{
    if (fixture->world != NULL) {
        for (uint64_t i = 0; !fixture->is_done && i < 100000; i++)
            (void)sim_world_run(fixture->world, sim_world_now_us(fixture->world) + 1000);
    } else {
        while (!fixture->is_done)
            env_run(fixture->env);
    }
    assert_true(fixture->is_done);
}

static void fixture_done(struct log_fixture *fixture)
{
    fixture->is_done = true;
    if (fixture->world == NULL)
        env_stop(fixture->env);
}

/* ---- the model ---- */

static inline struct model_state *newest(struct log_fixture *fixture, uint64_t group)
{
    struct model_group *model = &fixture->groups[group];
    return &model->states[model->count - 1];
}

static inline bool is_same_boot(const struct model_state *state, const struct raft_boot *boot)
{
    if (state->term != boot->term || state->vote != boot->vote || state->base != boot->base_index ||
        state->base_term != boot->base_term || state->base + state->count != boot->last_index)
        return false;
    for (size_t i = 0, run = 0; i < state->count; i++) {
        uint64_t index = state->base + 1 + i;
        while (run + 1 < boot->run_count && boot->runs[run + 1].first <= index)
            run++;
        if (boot->runs[run].first > index || boot->runs[run].term != state->entries[i].term)
            return false;
    }
    return true;
}

static inline void on_open(void *data, int status, const struct store_log_found *groups,
                           size_t count, const struct peri_error *err)
{
    struct log_fixture *fixture = data;
    fixture->status = status;
    fixture->err = *err;
    fixture->found = count;
    for (size_t i = 0; i < count; i++) {
        const struct store_log_found *found = &groups[i];
        assert_in_range(found->group, 1, MODEL_GROUPS);
        struct model_group *model = &fixture->groups[found->group];
        fixture->health[found->group] = found->health;
        fixture->has_forgotten[found->group] = found->has_forgotten;
        model->is_found = true;
        fixture->boots[found->group] = found->boot;
        fixture->boots[found->group].runs = fixture->runs[found->group];
        if (found->boot.run_count > 0)
            memcpy(fixture->runs[found->group], found->boot.runs,
                   found->boot.run_count * sizeof found->boot.runs[0]);
        if (found->why[0] != '\0')
            (void)snprintf(fixture->why, sizeof fixture->why, "%s", found->why);
        assert_int_equal(found->why[0] != '\0', found->health != STORE_LOG_CLEAN);
        if (!fixture->checks_states)
            continue;
        size_t least = fixture->acked[found->group], at = model->count;
        while (at > least && !is_same_boot(&model->states[at - 1], &found->boot))
            at--;
        if (at == least) {
            (void)fprintf(stderr,
                          "group %d: term %d vote %d base %d last %d is none of %zu states from "
                          "%zu, %s: %s\n",
                          (int)found->group, (int)found->boot.term, (int)found->boot.vote,
                          (int)found->boot.base_index, (int)found->boot.last_index, model->count,
                          least, found->health == STORE_LOG_CLEAN ? "clean" : "not clean",
                          found->why);
            fixture->failures++;
            continue;
        }
        model->states[0] = model->states[at - 1];
        model->count = 1;
    }
    for (uint64_t group = 1; group <= MODEL_GROUPS; group++) {
        struct model_group *model = &fixture->groups[group];
        if (fixture->checks_states && status == 0 && !model->is_found && model->is_created) {
            (void)fprintf(stderr, "group %d is gone\n", (int)group);
            fixture->failures++;
        }
        model->is_there = model->is_created = model->is_found;
        model->is_found = false;
    }
    memset(fixture->acked, 0, sizeof fixture->acked);
    fixture_done(fixture);
}

static inline int fixture_open(struct log_fixture *fixture)
{
    fixture->is_done = false;
    memset(fixture->health, 0, sizeof fixture->health);
    memset(fixture->boots, 0, sizeof fixture->boots);
    int rc = store_log_open(&fixture->log, fixture->env, fixture->path, &fixture->options, on_open,
                            fixture, &fixture->err);
    if (rc != 0)
        return rc;
    fixture_wait(fixture);
    if (fixture->status != 0) {
        store_log_close(fixture->log);
        fixture->log = NULL;
    }
    return fixture->status;
}

static inline void fixture_close(struct log_fixture *fixture)
{
    store_log_close(fixture->log);
    fixture->log = NULL;
    if (fixture->world == NULL) {
        env_run(fixture->env); /* until nothing is left: the stores are closed */
    } else {
        advance(fixture->world, sim_world_now_us(fixture->world) + 100000);
    }
}

static inline void fixture_fault(struct log_fixture *fixture, enum env_fault fault, int64_t number)
{
    struct env_fault_value value = {.number = number};
    assert_int_equal(sim_fault_apply(fixture->world, fault, fixture->node, NULL, &value, NULL), 0);
}

/* The machine loses power, or only the process is killed, and it starts again. The simulated one.
 */
static inline void fixture_crash(struct log_fixture *fixture, enum env_fault how)
{
    fixture_fault(fixture, how, 0);
    fixture_fault(fixture, ENV_FAULT_RESTART, 0);
    advance(fixture->world, sim_world_now_us(fixture->world) + 1);
    assert_null(fixture->log);
}

/* ---- requests ---- */

struct fixture_write {
    struct store_log_write write;
    struct log_fixture *fixture;
    uint64_t group;
    size_t state; /* that it leads to */
    int status;
    bool is_awaited;
};

static inline void on_written(struct store_log_write *write, int status)
{
    struct fixture_write *request = container_of(write, struct fixture_write, write);
    struct log_fixture *fixture = request->fixture;
    fixture->writes_open--;
    if (status == 0)
        fixture->groups[request->group].is_created = true;
    if (status == 0 && request->state > fixture->acked[request->group])
        fixture->acked[request->group] = request->state; /* states before it are void */
    if (fixture->writes_open == 0)
        fixture_done(fixture);
    free(request);
}

static inline struct store_log_write *new_write(struct log_fixture *fixture, uint64_t group,
                                                size_t state)
{
    struct fixture_write *request = calloc(1, sizeof *request);
    assert_non_null(request);
    request->write.on_written = on_written;
    request->fixture = fixture;
    request->group = group;
    request->state = state;
    fixture->writes_open++;
    return &request->write;
}

static inline void cancel_write(struct store_log_write *write)
{
    struct fixture_write *request = container_of(write, struct fixture_write, write);
    request->fixture->writes_open--;
    free(request);
}

/* Waits until everything that was asked for is durable, or failed. */
static inline void fixture_flush(struct log_fixture *fixture)
{
    fixture->is_done = fixture->writes_open == 0;
    fixture_wait(fixture);
}

/* A state after the newest one, to be changed. Old ones go when there is no room and all is
 * acknowledged. */
static inline struct model_state *push_state(struct log_fixture *fixture, uint64_t group)
{
    struct model_group *model = &fixture->groups[group];
    if (model->count == MODEL_STATES) {
        fixture_flush(fixture);
        model->states[0] = model->states[model->count - 1];
        model->count = 1;
        fixture->acked[group] = 0;
    }
    model->states[model->count] = model->states[model->count - 1];
    return &model->states[model->count++];
}

static inline int fixture_create(struct log_fixture *fixture, uint64_t group, uint64_t replica)
{
    struct model_group *model = &fixture->groups[group];
    struct store_log_write *write = new_write(fixture, group, 0);
    int rc = store_log_create_group(fixture->log, write, group, replica, &fixture_members);
    if (rc != 0) {
        cancel_write(write);
        return rc;
    }
    memset(model, 0, sizeof *model);
    model->is_there = true;
    model->replica = replica;
    model->count = 1;
    fixture->acked[group] = 0;
    return 0;
}

/* Truncates from an index (0: nothing) and appends count entries of a term. */
static inline int fixture_write(struct log_fixture *fixture, uint64_t group, uint64_t term,
                                uint64_t vote, uint64_t truncate_from, size_t count)
{
    static char payloads[MODEL_ENTRIES][MODEL_PAYLOAD];
    struct store_log_entry entries[MODEL_ENTRIES];
    struct model_state *state = push_state(fixture, group);
    state->term = term;
    state->vote = vote;
    if (truncate_from != 0)
        state->count = truncate_from - state->base - 1;
    struct raft_record record = {.term = term, .vote = vote, .truncate_from = truncate_from};
    if (count > 0) {
        record.first = state->base + state->count + 1;
        record.last = record.first + count - 1;
    }
    for (size_t i = 0; i < count; i++) {
        uint64_t random = sim_stream_next(&fixture->stream);
        struct model_entry *entry = &state->entries[state->count++];
        *entry = (struct model_entry){term, (uint32_t)(random % MODEL_PAYLOAD),
                                      (unsigned char)(random >> 32)};
        memset(payloads[i], entry->fill, entry->size);
        entries[i] =
            (struct store_log_entry){term, RAFT_COMMAND, peri_slice_of(payloads[i], entry->size)};
    }
    struct store_log_write *write = new_write(fixture, group, fixture->groups[group].count - 1);
    int rc = store_log_write(fixture->log, write, group, &record, entries);
    if (rc != 0) {
        cancel_write(write);
        fixture->groups[group].count--;
    }
    return rc;
}

static inline int fixture_cut(struct log_fixture *fixture, uint64_t group, uint64_t index)
{
    struct model_state *state = push_state(fixture, group);
    uint64_t skip = index - state->base;
    uint64_t term = state->entries[skip - 1].term;
    memmove(state->entries, state->entries + skip,
            (state->count - skip) * sizeof state->entries[0]);
    state->count -= skip;
    state->base = index;
    state->base_term = term;
    int rc = store_log_cut(fixture->log, group, index, term, &fixture_members);
    if (rc != 0)
        fixture->groups[group].count--;
    return rc;
}

static inline int fixture_install(struct log_fixture *fixture, uint64_t group, uint64_t index,
                                  uint64_t term)
{
    struct model_state *state = push_state(fixture, group);
    state->base = index;
    state->base_term = state->term = term;
    state->count = 0;
    struct raft_record record = {.term = term,
                                 .vote = state->vote,
                                 .snapshot_index = index,
                                 .snapshot_term = term,
                                 .configuration = &fixture_members};
    struct store_log_write *write = new_write(fixture, group, fixture->groups[group].count - 1);
    int rc = store_log_write(fixture->log, write, group, &record, NULL);
    if (rc != 0) {
        cancel_write(write);
        fixture->groups[group].count--;
    }
    return rc;
}

/* ---- reading ---- */

struct fixture_read {
    struct store_log_read read;
    struct log_fixture *fixture;
    const struct model_state *state;
    uint64_t next; /* index that has to be read next */
    int status;
};

static inline bool is_same_entry(const struct model_entry *model,
                                 const struct store_log_entry *entry)
{
    char payload[MODEL_PAYLOAD];
    memset(payload, model->fill, model->size);
    return entry->term == model->term && entry->type == RAFT_COMMAND &&
           peri_slice_compare(entry->payload, peri_slice_of(payload, model->size)) == 0;
}

static inline void on_read(struct store_log_read *read, int status,
                           const struct store_log_entry *entries, size_t count)
{
    struct fixture_read *request = container_of(read, struct fixture_read, read);
    const struct model_state *state = request->state;
    request->status = status;
    for (size_t i = 0; i < count; i++, request->next++)
        if (!is_same_entry(&state->entries[request->next - state->base - 1], &entries[i]))
            request->status = PERI_EFORMAT;
    if (status == 0 && count == 0)
        request->status = PERI_EFORMAT;
    fixture_done(request->fixture);
}

/* Reads all entries of a group, in pieces of about max_bytes, and compares them with the newest
 * state. Returns 0, or what went wrong. */
static inline int fixture_check(struct log_fixture *fixture, uint64_t group, size_t max_bytes)
{
    const struct model_state *state = newest(fixture, group);
    struct fixture_read request = {.fixture = fixture, .state = state, .next = state->base + 1};
    while (request.next <= state->base + state->count && request.status == 0) {
        request.read = (struct store_log_read){.group = group,
                                               .first = request.next,
                                               .last = state->base + state->count,
                                               .max_bytes = max_bytes,
                                               .on_read = on_read};
        fixture->is_done = false;
        int rc = store_log_read(fixture->log, &request.read);
        if (rc != 0)
            return rc;
        fixture_wait(fixture);
    }
    return request.status;
}

#endif
