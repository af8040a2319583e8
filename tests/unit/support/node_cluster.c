#include "node_cluster.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "alloc.h"
#include "base/assert.h"
#include "node/snapshot_file.h"
#include "sim/fault.h"
#include "sim_fixture.h"

enum { STEP_US = 10 * CLUSTER_MS, LIMIT_US = 20 * CLUSTER_S };

static void must(int rc, const struct peri_error *err)
{
    if (rc != 0)
        (void)fprintf(stderr, "%s: %s\n", peri_error_name(rc), err->text);
    PERI_ASSERT(rc == 0);
}

/* ---- the machine: its own memory does not fail ---- */

static struct cluster_machine *machine_of(struct node_machine *machine)
{
    return container_of(machine, struct cluster_machine, machine);
}

static void append(struct peri_buffer *buffer, const char *data, size_t size)
{
    test_alloc_spare(true);
    PERI_ASSERT(peri_buffer_append(buffer, data, size) == 0);
    test_alloc_spare(false);
}

/* The text is the state: its hash says all. */
static void note_hash(struct cluster_machine *machine, uint64_t index)
{
    if (machine->hashes == NULL)
        return;
    struct peri_slice text = peri_buffer_slice(&machine->text);
    machine->hashes[index % CLUSTER_HASHES] =
        (struct cluster_hash){index, node_snapshot_hash(text)};
}

static bool on_hash_at(struct node_machine *machine, uint64_t index, uint64_t *hash)
{
    const struct cluster_machine *of = machine_of(machine);
    for (uint64_t i = index; i > 0 && index - i < 100; i--) {
        const struct cluster_hash *at = &of->hashes[i % CLUSTER_HASHES];
        *hash = at->hash;
        if (at->index >= i)
            return at->index == i;
    }
    return false;
}

static void on_apply(struct node_machine *machine, struct node_task *task)
{
    struct cluster_machine *of = machine_of(machine);
    struct peri_buffer *text = &of->text;
    char count[32];
    append(text, task->input.data, task->input.size);
    append(text, ";", 1);
    if (of->corrupt_at != 0 && task->index >= of->corrupt_at) {
        append(text, "!", 1);
        of->corrupt_at = 0;
    }
    note_hash(of, task->index);
    int size = snprintf(count, sizeof count, "%zu", text->size);
    append(&task->output, count, (size_t)size);
    node_task_done(task, 0);
}

static void on_copy(struct node_machine *machine, struct node_task *task)
{
    const struct peri_buffer *text = &machine_of(machine)->text;
    append(&task->output, text->data, text->size);
    node_task_done(task, 0);
}

static void on_restore(struct node_machine *machine, struct node_task *task)
{
    struct peri_buffer *text = &machine_of(machine)->text;
    text->size = 0;
    append(text, task->input.data, task->input.size);
    if (machine_of(machine)->hashes != NULL)
        memset(machine_of(machine)->hashes, 0, CLUSTER_HASHES * sizeof(struct cluster_hash));
    note_hash(machine_of(machine), task->index);
    node_task_done(task, 0);
}

/* ---- nodes ---- */

static void on_group_open(struct node_group *group, int status, const struct peri_error *err)
{
    struct cluster_machine *machine = node_group_data(group);
    machine->is_open = status == 0;
    machine->open_status = status;
    if (status != 0)
        (void)snprintf(machine->host->open_error, sizeof machine->host->open_error, "%s",
                       err->text);
}

static void open_group(struct cluster_host *host, size_t at)
{
    struct cluster *cluster = host->cluster;
    struct cluster_machine *machine = &host->machines[at];
    struct node_member members[CLUSTER_MAX];
    struct peri_error err = PERI_ERROR_INIT;
    for (size_t i = 0; i < cluster->voters; i++)
        members[i] = (struct node_member){cluster->hosts[i].id, cluster->hosts[i].name};
    struct node_machine *own = cluster->machines[host->id - 1];
    machine->machine = (struct node_machine){
        .apply = on_apply, .query = on_copy, .snapshot = on_copy, .restore = on_restore};
    free(machine->hashes);
    machine->hashes = NULL;
    machine->corrupt_at = 0;
    if (cluster->has_hashes) {
        test_alloc_spare(true);
        machine->hashes = calloc(CLUSTER_HASHES, sizeof *machine->hashes);
        test_alloc_spare(false);
        PERI_ASSERT(machine->hashes != NULL);
        machine->machine.hash_at = on_hash_at;
    }
    machine->host = host;
    machine->text.size = 0;
    machine->is_open = false;
    keys_machine_init(&machine->keys);
    const struct node_group_options options = {.id = at + 1,
                                               .members = members,
                                               .member_count = cluster->voters,
                                               .machine =
                                                   own != NULL                ? own
                                                   : cluster->machine != NULL ? cluster->machine
                                                   : cluster->keeps_keys ? &machine->keys.machine
                                                                         : &machine->machine,
                                               .data = machine};
    int rc = node_group_open(host->node, &options, on_group_open, &machine->group, &err);
    if (rc == 0 || !cluster->may_fail)
        must(rc, &err);
    else
        machine->open_status = rc;
}

static void on_node_open(void *data, int status, const struct peri_error *err)
{
    struct cluster_host *host = data;
    host->is_open = status == 0;
    host->open_status = status;
    if (status != 0)
        (void)snprintf(host->open_error, sizeof host->open_error, "%s", err->text);
    for (size_t i = 0; i < host->cluster->groups && status == 0; i++)
        open_group(host, i);
}

static void on_event(void *data, const struct node_event *event)
{
    struct cluster_host *host = data;
    struct cluster *cluster = host->cluster;
    cluster->events[event->type]++;
    if (event->type == NODE_DIVERGED && event->peer == host->id) {
        cluster->quarantined++;
        cluster->diverged_at = event->index;
        cluster->diverged_peer = event->peer;
    }
    if (event->type == NODE_FENCED)
        cluster->fenced_status = event->status;
    if (event->type != NODE_ROLE || event->role != RAFT_LEADER || event->group != 1 ||
        cluster->is_lied_to)
        return;
    PERI_ASSERT(event->term < CLUSTER_TERMS_MAX);
    struct cluster_host **leader = &cluster->leaders[event->term];
    PERI_ASSERT(*leader == NULL || *leader == host); /* at most one a term: Raft figure 3 */
    *leader = host;
}

static int on_start(void *data, struct sim_node *sim)
{
    struct cluster_host *host = data;
    struct cluster *cluster = host->cluster;
    struct peri_error err = PERI_ERROR_INIT;
    struct node_options options = cluster->options;
    static const char secret[] = "0123456789abcdef";
    host->self = (struct rpc_identity){
        .cluster = peri_slice_of(cluster->cluster_name, strlen(cluster->cluster_name)),
        .node = peri_slice_of(host->name, strlen(host->name)),
        .incarnation = sim_node_incarnation(sim),
        .secret = peri_slice_of(secret, sizeof secret - 1),
        .body_max = 16 << 20,
        .inflight_max = 1024,
        .ping_ms = 500};
    host->is_open = false;
    if (host->is_idle)
        return 0;
    options.id = host->id;
    options.path = "/data";
    options.listen = "0.0.0.0";
    options.self = host->self;
    options.on_event = on_event;
    options.data = host;
    host->open_status =
        node_open(&host->node, sim_node_env(sim), &options, on_node_open, host, &err);
    if (host->open_status != 0 && !cluster->may_fail)
        must(host->open_status, &err);
    return host->open_status;
}

static void on_down(void *data, struct sim_node *sim, enum sim_down how)
{
    struct cluster_host *host = data;
    (void)sim;
    (void)how;
    node_close(host->node, NULL, NULL);
    host->node = NULL;
    host->is_open = false;
    for (size_t i = 0; i < host->cluster->groups; i++) {
        host->machines[i].group = NULL;
        host->machines[i].open_status = 0;
        host->machines[i].is_open = false;
    }
}

/* ---- the world ---- */

struct cluster *cluster_prepare(uint64_t seed, size_t voters, size_t total, size_t groups)
{
    static const struct sim_node_events events = {on_start, on_down};
    struct cluster *cluster = calloc(1, sizeof *cluster);
    struct peri_error err = PERI_ERROR_INIT;
    PERI_ASSERT(cluster != NULL && total <= CLUSTER_MAX && groups <= CLUSTER_GROUPS_MAX);
    const struct sim_options options = {.seed = seed};
    must(sim_world_create(&cluster->world, &options, &err), &err);
    cluster->count = total;
    cluster->voters = voters;
    cluster->groups = groups;
    cluster->cluster_name = "test";
    node_options_init(&cluster->options, 1);
    for (size_t i = 0; i < total; i++) {
        struct cluster_host *host = &cluster->hosts[i];
        host->cluster = cluster;
        host->id = i + 1;
        (void)snprintf(host->name, sizeof host->name, "n%zu", i + 1);
        must(sim_node_create(cluster->world, host->name, &events, host, &host->sim, &err), &err);
    }
    return cluster;
}

void cluster_start_all(struct cluster *cluster)
{
    struct peri_error err = PERI_ERROR_INIT;
    for (size_t i = 0; i < cluster->count; i++)
        must(sim_node_start(cluster->hosts[i].sim, &err), &err);
}

struct cluster *cluster_create(uint64_t seed, size_t voters, size_t total)
{
    struct cluster *cluster = cluster_prepare(seed, voters, total, 1);
    cluster_start_all(cluster);
    return cluster;
}

void cluster_close(struct cluster *cluster)
{
    sim_world_close(cluster->world);
    for (size_t i = 0; i < cluster->count; i++)
        for (size_t g = 0; g < cluster->groups; g++) {
            keys_machine_deinit(&cluster->hosts[i].machines[g].keys);
            peri_buffer_deinit(&cluster->hosts[i].machines[g].text);
            free(cluster->hosts[i].machines[g].hashes);
        }
    free(cluster);
}

void cluster_run(struct cluster *cluster, uint64_t us)
{
    advance(cluster->world, sim_world_now_us(cluster->world) + us);
    cluster->is_void =
        sim_world_run(cluster->world, sim_world_now_us(cluster->world)) == SIM_END_FAILED;
}

static bool leads(const struct cluster_host *host, uint64_t *term)
{
    struct node_status status;
    if (host->node == NULL || host->machines[0].group == NULL || !host->machines[0].is_open)
        return false;
    node_group_status(host->machines[0].group, &status);
    if (status.raft.role != RAFT_LEADER || status.raft.term <= *term)
        return false;
    *term = status.raft.term;
    return true;
}

struct cluster_host *cluster_find_leader(struct cluster *cluster, const struct cluster_host *but)
{
    struct cluster_host *leader = NULL;
    uint64_t term = 0;
    for (size_t i = 0; i < cluster->count; i++)
        if (&cluster->hosts[i] != but && leads(&cluster->hosts[i], &term))
            leader = &cluster->hosts[i];
    return leader;
}

struct cluster_host *cluster_leader(struct cluster *cluster, const struct cluster_host *but)
{
    uint64_t limit = sim_world_now_us(cluster->world) + LIMIT_US;
    while (sim_world_now_us(cluster->world) < limit) {
        struct cluster_host *leader = cluster_find_leader(cluster, but);
        if (leader != NULL)
            return leader;
        cluster_run(cluster, STEP_US);
    }
    PERI_ASSERT(!"there is a leader");
    return NULL;
}

/* ---- requests ---- */

static void on_done(struct node_request *node_request, const struct node_outcome *outcome)
{
    struct cluster_request *request = container_of(node_request, struct cluster_request, request);
    size_t size = outcome->result.size < sizeof request->result - 1 ? outcome->result.size
                                                                    : sizeof request->result - 1;
    PERI_ASSERT(!request->is_done);
    PERI_ASSERT((outcome->code == 0) == (outcome->err == NULL));
    request->is_done = true;
    request->certainty = outcome->certainty;
    request->code = outcome->code;
    if (size > 0)
        memcpy(request->result, outcome->result.data, size);
    request->result[size] = '\0';
    if (outcome->err != NULL)
        (void)snprintf(request->error, sizeof request->error, "%s", outcome->err->text);
}

static void start(struct cluster_host *host, struct cluster_request *request, uint64_t limit_us)
{
    struct peri_error err = PERI_ERROR_INIT;
    request->host = host;
    request->request.on_done = on_done;
    request->request.due_us = env_now_us(sim_node_env(host->sim)) + limit_us;
    int rc = node_request_start(host->machines[0].group, &request->request, &err);
    if (rc == 0)
        return;
    request->is_done = true;
    request->certainty = NODE_NEVER;
    request->code = rc;
    (void)snprintf(request->error, sizeof request->error, "%s", err.text);
}

void cluster_propose(struct cluster_host *host, struct cluster_request *request, const char *text,
                     uint64_t limit_us)
{
    *request = (struct cluster_request){.request = {.kind = NODE_PROPOSE}};
    (void)snprintf(request->body, sizeof request->body, "%s", text);
    request->request.body = peri_slice_of(request->body, strlen(request->body));
    start(host, request, limit_us);
}

void cluster_read(struct cluster_host *host, struct cluster_request *request,
                  enum node_consistency consistency, uint64_t limit_us)
{
    *request = (struct cluster_request){.request = {.kind = NODE_READ, .consistency = consistency}};
    start(host, request, limit_us);
}

void cluster_change(struct cluster_host *host, struct cluster_request *request,
                    const struct node_member_change *change, uint64_t limit_us)
{
    *request = (struct cluster_request){
        .request = {.kind = NODE_CHANGE, .changes = change, .change_count = 1}};
    start(host, request, limit_us);
}

void cluster_await(struct cluster *cluster, struct cluster_request *request)
{
    uint64_t limit = sim_world_now_us(cluster->world) + 2 * (uint64_t)LIMIT_US;
    while (!request->is_done && !cluster->is_void && sim_world_now_us(cluster->world) < limit)
        cluster_run(cluster, CLUSTER_MS);
    PERI_ASSERT(request->is_done || cluster->is_void);
}

void cluster_commit(struct cluster *cluster, const char *text)
{
    uint64_t limit = sim_world_now_us(cluster->world) + LIMIT_US;
    while (sim_world_now_us(cluster->world) < limit) {
        struct cluster_request request;
        cluster_propose(cluster_leader(cluster, NULL), &request, text, 2 * CLUSTER_S);
        cluster_await(cluster, &request);
        if (request.certainty == NODE_OK)
            return;
        cluster_run(cluster, STEP_US);
    }
    PERI_ASSERT(!"it commits");
}

/* What the machine's keys hold becomes its text. False when it does not answer. */
static bool read_keys(struct cluster_host *host)
{
    struct cluster_request request;
    struct peri_buffer *text = &host->machines[0].text;
    cluster_read(host, &request, NODE_STALE, CLUSTER_S);
    cluster_await(host->cluster, &request);
    text->size = 0;
    return request.code == 0 &&
           peri_buffer_append(text, request.result, strlen(request.result)) == 0;
}

static bool is_settled(struct cluster *cluster, const struct peri_buffer **out)
{
    *out = NULL;
    for (size_t i = 0; i < cluster->count; i++) {
        struct cluster_machine *machine = &cluster->hosts[i].machines[0];
        struct node_status status;
        if (cluster->hosts[i].node == NULL)
            continue;
        if (!machine->is_open)
            return false;
        node_group_status(machine->group, &status);
        if (status.applied_index != status.raft.last_index || status.raft.last_index == 0)
            return false;
        if (cluster->keeps_keys && !read_keys(&cluster->hosts[i]))
            return false;
        if (*out != NULL &&
            peri_slice_compare(peri_buffer_slice(*out), peri_buffer_slice(&machine->text)) != 0)
            return false;
        *out = &machine->text;
    }
    return *out != NULL;
}

static void describe_members(const struct node_group *group)
{
    struct node_member_status member;
    for (size_t i = 0; i < CLUSTER_MAX; i++)
        if (node_group_member(group, i, &member))
            (void)fprintf(stderr,
                          "  n%" PRIu64 ": progress %d match %" PRIu64 " next %" PRIu64 "\n",
                          member.raft.id, (int)member.raft.state, member.raft.match_index,
                          member.raft.next_index);
}

/* How things stand, for whoever looks for the reason. */
static void describe(const struct cluster *cluster)
{
    for (size_t i = 0; i < cluster->count; i++) {
        const struct cluster_host *host = &cluster->hosts[i];
        struct node_status status = {.applied_index = 0};
        if (host->node != NULL && host->machines[0].group != NULL)
            node_group_status(host->machines[0].group, &status);
        (void)fprintf(stderr,
                      "%s: open %d (%s) role %d term %" PRIu64 " base %" PRIu64 " last %" PRIu64
                      " commit %" PRIu64 " applied %" PRIu64 " snapshot %" PRIu64 ": %.*s\n",
                      host->name, host->machines[0].is_open, host->open_error,
                      (int)status.raft.role, status.raft.term, status.raft.base_index,
                      status.raft.last_index, status.raft.commit_index, status.applied_index,
                      status.raft.snapshot_index, (int)host->machines[0].text.size,
                      host->machines[0].text.data);
        if (status.raft.role == RAFT_LEADER)
            describe_members(host->machines[0].group);
    }
}

const char *cluster_settle(struct cluster *cluster)
{
    const struct peri_buffer *text = NULL;
    uint64_t limit = sim_world_now_us(cluster->world) + LIMIT_US;
    bool is_done = is_settled(cluster, &text);
    while (!is_done && sim_world_now_us(cluster->world) < limit) {
        cluster_run(cluster, STEP_US);
        is_done = is_settled(cluster, &text); /* which may take time */
    }
    if (!is_done)
        describe(cluster);
    PERI_ASSERT(is_done);
    struct peri_buffer *bytes = (struct peri_buffer *)text;
    PERI_ASSERT(peri_buffer_reserve(bytes, 1) == 0);
    bytes->data[bytes->size] = '\0';
    return bytes->data;
}

/* ---- trouble ---- */

void cluster_kill(struct cluster_host *host)
{
    sim_node_kill(host->sim);
}

void cluster_crash(struct cluster_host *host)
{
    sim_node_crash(host->sim);
}

void cluster_restart(struct cluster_host *host)
{
    struct peri_error err = PERI_ERROR_INIT;
    must(sim_node_start(host->sim, &err), &err);
    cluster_run(host->cluster, 1); /* it starts in an event */
}

void cluster_reopen(struct cluster_host *host)
{
    node_group_close(host->machines[0].group);
    open_group(host, 0);
}

void cluster_fault(struct cluster_host *host, enum env_fault fault, int64_t number)
{
    struct peri_error err = PERI_ERROR_INIT;
    const struct env_fault_value value = {.number = number};
    must(sim_fault_apply(host->cluster->world, fault, host->sim, NULL, &value, &err), &err);
}
