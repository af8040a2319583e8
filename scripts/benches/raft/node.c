/* node.c - a node of Perilune whose state machine is in C, and the load inside it.
 *
 *      bench_raft_node [--keys] ID DIRECTORY GROUPS ADDRESS...     the addresses of nodes 1, 2, ...
 *
 * Reads lines: "load PROPOSERS BYTES MS" proposes to group 1, which must be led here, and answers
 * as load.h says; "put" proposes once and waits for a leader to be there; "status" and "stats".
 * With more than one group they sleep when at rest, and have no flight recorders. With --keys the
 * machine keeps what is proposed on disk, under a few ten thousand keys. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "env/uv.h"
#include "load.h"
#include "node/keys.h"
#include "node/node.h"

enum { NODES_MAX = 7, KEYS = 1 << 15, SLEEP_AFTER_US = 1000000, PUT_DEADLINE_US = 10000000 };
#define LOAD_DEADLINE_US UINT64_C(20000000)

struct proposal {
    struct node_request request;
    struct bench *bench;
};

struct bench {
    struct env *env;
    struct env_stream *in;
    struct node *node;
    struct node_group *group; /* the first */
    size_t groups, open_groups;
    struct node_member members[NODES_MAX];
    size_t member_count;
    struct node_machine machine;
    uint64_t applied, digest; /* of group 1 */
    struct load load;
    struct proposal proposals[LOAD_PROPOSERS_MAX];
    struct proposal put;
    struct node_keys_read progress;
    struct node_task *restoring;
    char *payloads; /* load.bytes for each proposer */
    char line[LOAD_LINE_MAX];
    size_t line_size;
};

/* With --keys: {applied, digest}, which travel with a snapshot like other keys. */
static const struct peri_slice progress_name = {"progress", 8};

static void must(int rc, const struct peri_error *err, const char *what)
{
    if (rc == 0)
        return;
    (void)fprintf(stderr, "bench_raft_node: %s: %s\n", what, err != NULL ? err->text : "");
    exit(1);
}

/* ---- the machine: how many commands, and a digest of their order ---- */

static struct bench *bench_of(struct node_task *task)
{
    return node_group_data(task->group);
}

static bool is_first(struct bench *bench, const struct node_task *task)
{
    return bench->group == NULL || task->group == bench->group;
}

static void apply(struct node_machine *machine, struct node_task *task)
{
    struct bench *bench = bench_of(task);
    (void)machine;
    if (is_first(bench, task)) {
        bench->applied++;
        bench->digest = load_digest(bench->digest, task->input.data, task->input.size);
    }
    node_task_done(task, 0);
}

static void apply_keys(struct node_machine *machine, struct node_task *task)
{
    struct bench *bench = bench_of(task);
    struct peri_error err = PERI_ERROR_INIT;
    (void)machine;
    bench->applied++;
    bench->digest = load_digest(bench->digest, task->input.data, task->input.size);
    uint64_t key = bench->digest % KEYS;
    struct peri_slice name = peri_slice_of((const char *)&key, sizeof key);
    const uint64_t progress[] = {bench->applied, bench->digest};
    must(node_keys_put(task->keys, name, task->input, &err), &err, "put");
    must(node_keys_put(task->keys, progress_name,
                       peri_slice_of((const char *)progress, sizeof progress), &err),
         &err, "put");
    node_task_done(task, 0);
}

/* The keys are those of a snapshot now, or of a start. */
static void on_progress(struct node_keys_read *read, int status)
{
    struct bench *bench = read->data;
    if (status == 0 && read->found.size == sizeof bench->applied + sizeof bench->digest) {
        memcpy(&bench->applied, read->found.data, sizeof bench->applied);
        memcpy(&bench->digest, read->found.data + sizeof bench->applied, sizeof bench->digest);
    }
    if (status == 0) /* else the replica has ended */
        node_task_done(bench->restoring, 0);
}

static void restore_keys(struct node_machine *machine, struct node_task *task)
{
    struct bench *bench = bench_of(task);
    struct node_keys_read *read = &bench->progress;
    struct peri_error err = PERI_ERROR_INIT;
    (void)machine;
    bench->restoring = task;
    read->found.size = 0;
    read->from = progress_name;
    read->on_done = on_progress;
    read->data = bench;
    int rc = node_keys_get(task->keys, read, &err);
    must(rc < 0 ? rc : 0, &err, "get");
    if (rc == 1)
        on_progress(read, 0);
}

static void query(struct node_machine *machine, struct node_task *task)
{
    (void)machine;
    node_task_done(task, 0);
}

static void snapshot(struct node_machine *machine, struct node_task *task)
{
    const struct bench *bench = bench_of(task);
    (void)machine;
    int rc =
        peri_buffer_append(&task->output, (const char *)&bench->applied, sizeof bench->applied);
    if (rc == 0)
        rc = peri_buffer_append(&task->output, (const char *)&bench->digest, sizeof bench->digest);
    node_task_done(task, rc);
}

static void restore(struct node_machine *machine, struct node_task *task)
{
    struct bench *bench = bench_of(task);
    (void)machine;
    if (task->input.size == sizeof bench->applied + sizeof bench->digest) {
        memcpy(&bench->applied, task->input.data, sizeof bench->applied);
        memcpy(&bench->digest, task->input.data + sizeof bench->applied, sizeof bench->digest);
    }
    node_task_done(task, 0);
}

/* ---- proposals ---- */

static void on_done(struct node_request *request, const struct node_outcome *outcome)
{
    struct proposal *proposal = (struct proposal *)(void *)request;
    struct bench *bench = proposal->bench;
    load_done(&bench->load, (size_t)(proposal - bench->proposals),
              outcome->code == 0 ? NULL : outcome->err->text);
}

static void propose(struct load *load, size_t proposer, uint64_t number)
{
    struct bench *bench = load->data;
    struct proposal *proposal = &bench->proposals[proposer];
    struct peri_error err = PERI_ERROR_INIT;
    char *payload = bench->payloads + proposer * load->bytes;
    memcpy(payload, &number, sizeof number);
    proposal->bench = bench;
    proposal->request =
        (struct node_request){.kind = NODE_PROPOSE,
                              .body = peri_slice_of(payload, load->bytes),
                              .due_us = load->started_us[proposer] + LOAD_DEADLINE_US,
                              .on_done = on_done};
    if (node_request_start(bench->group, &proposal->request, &err) != 0)
        load_done(load, proposer, err.text);
}

static void on_put(struct node_request *request, const struct node_outcome *outcome)
{
    struct bench *bench = ((struct proposal *)(void *)request)->bench;
    struct node_status status;
    node_group_status(bench->group, &status);
    (void)printf("put=%d leader=%" PRIu64 " %s\n", (int)outcome->certainty, status.raft.leader,
                 outcome->code != 0 ? peri_error_name(outcome->code) : "");
    (void)fflush(stdout);
}

static void put(struct bench *bench)
{
    static const char payload[LOAD_BYTES_MIN];
    struct peri_error err = PERI_ERROR_INIT;
    bench->put.bench = bench;
    bench->put.request = (struct node_request){.kind = NODE_PROPOSE,
                                               .body = peri_slice_of(payload, sizeof payload),
                                               .due_us = env_now_us(bench->env) + PUT_DEADLINE_US,
                                               .is_patient = true,
                                               .on_done = on_put};
    must(node_request_start(bench->group, &bench->put.request, &err), &err, "put");
}

/* ---- what it is asked ---- */

static void print_status(struct bench *bench)
{
    struct node_status status;
    size_t led = 0, asleep = 0;
    for (uint64_t id = 1; id <= bench->groups; id++) {
        node_group_status(node_group_find(bench->node, id), &status);
        led += status.raft.role == RAFT_LEADER;
        asleep += status.raft.is_asleep;
    }
    node_group_status(bench->group, &status);
    (void)printf("role=%d leader=%" PRIu64 " term=%" PRIu64 " commit=%" PRIu64 " applied=%" PRIu64
                 " digest=%" PRIu64 " led=%zu asleep=%zu\n",
                 (int)status.raft.role, status.raft.leader, status.raft.term,
                 status.raft.commit_index, bench->applied, bench->digest >> 12, led, asleep);
    (void)fflush(stdout);
}

static void print_stats(const struct bench *bench)
{
    struct node_stats stats;
    node_stats(bench->node, &stats);
    (void)printf("cpu_us=%" PRIu64 " now_us=%" PRIu64 " steps=%" PRIu64 " envelopes=%" PRIu64
                 " messages=%" PRIu64 " bytes=%" PRIu64 "\n",
                 load_cpu_us(), load_now_us(), stats.steps, stats.envelopes_sent,
                 stats.messages_sent, stats.bytes_sent);
    (void)fflush(stdout);
}

static void start_load(struct bench *bench, const char *line)
{
    size_t proposers = 0, bytes = 0;
    free(bench->payloads);
    bench->payloads = NULL;
    if (sscanf(line, "load %zu %zu", &proposers, &bytes) == 2 && proposers <= LOAD_PROPOSERS_MAX &&
        bytes <= LOAD_BYTES_MAX)
        bench->payloads = calloc(proposers, bytes);
    if (bench->payloads == NULL || !load_start(&bench->load, line))
        must(-1, NULL, line);
}

static void obey(struct bench *bench, const char *line)
{
    if (strcmp(line, "status") == 0)
        print_status(bench);
    else if (strcmp(line, "stats") == 0)
        print_stats(bench);
    else if (strcmp(line, "put") == 0)
        put(bench);
    else
        start_load(bench, line);
}

static void on_read(void *data, const char *bytes, int64_t size)
{
    struct bench *bench = data;
    if (size <= 0)
        env_stop(bench->env);
    for (int64_t i = 0; i < size; i++) {
        bool is_end = bytes[i] == '\n';
        if (is_end || bench->line_size + 1 == sizeof bench->line)
            bench->line[bench->line_size] = '\0';
        else
            bench->line[bench->line_size++] = bytes[i];
        if (!is_end)
            continue;
        bench->line_size = 0;
        obey(bench, bench->line);
    }
}

/* ---- opening ---- */

static void on_group_open(struct node_group *group, int status, const struct peri_error *err)
{
    struct bench *bench = node_group_data(group);
    must(status, err, "open a group");
    if (++bench->open_groups < bench->groups)
        return;
    (void)printf("ready\n");
    (void)fflush(stdout);
    must(env_stream_standard(bench->env, 0, &bench->in, NULL), NULL, "stdin");
    must(env_stream_read_start(bench->in, on_read, bench), NULL, "stdin");
}

static void on_open(void *data, int status, const struct peri_error *err)
{
    struct bench *bench = data;
    struct peri_error why = PERI_ERROR_INIT;
    struct node_group_options options = {.members = bench->members,
                                         .member_count = bench->member_count,
                                         .machine = &bench->machine,
                                         .data = bench};
    must(status, err, "open the node");
    for (options.id = 1; options.id <= bench->groups; options.id++) {
        struct node_group *group = NULL;
        must(node_group_open(bench->node, &options, on_group_open, &group, &why), &why,
             "open a group");
        if (options.id == 1)
            bench->group = group;
    }
}

static void open_node(struct bench *bench, uint64_t id, const char *directory)
{
    struct node_options options;
    struct peri_error err = PERI_ERROR_INIT;
    node_options_init(&options, id);
    options.path = directory;
    options.listen = bench->members[id - 1].address;
    options.self = (struct rpc_identity){.cluster = peri_slice_of("bench", 5),
                                         .body_max = 16 << 20,
                                         .inflight_max = 1024,
                                         .ping_ms = 2000};
    env_random(bench->env, &options.self.incarnation, sizeof options.self.incarnation);
    if (bench->groups > 1) {
        options.raft.sleep_after_us = SLEEP_AFTER_US;
        options.recorder_bytes = 0;
    }
    must(node_open(&bench->node, bench->env, &options, on_open, bench, &err), &err, "open");
}

int main(int argc, char **argv)
{
    static struct bench bench;
    bool keeps_keys = argc > 1 && strcmp(argv[1], "--keys") == 0;
    argc -= keeps_keys;
    argv += keeps_keys;
    uint64_t id = argc > 4 ? strtoull(argv[1], NULL, 10) : 0;
    bench.groups = argc > 4 ? strtoull(argv[3], NULL, 10) : 0;
    bench.member_count = argc > 4 ? (size_t)argc - 4 : 0;
    if (id == 0 || id > bench.member_count || bench.member_count > NODES_MAX || bench.groups == 0) {
        (void)fprintf(stderr, "usage: bench_raft_node [--keys] ID DIRECTORY GROUPS ADDRESS...\n");
        return 2;
    }
    for (size_t i = 0; i < bench.member_count; i++)
        bench.members[i] = (struct node_member){i + 1, argv[4 + i]};
    bench.load = (struct load){.propose = propose, .data = &bench};
    bench.machine = (struct node_machine){
        .apply = apply, .query = query, .snapshot = snapshot, .restore = restore};
    if (keeps_keys)
        bench.machine = (struct node_machine){
            .keeps_keys = true, .apply = apply_keys, .query = query, .restore = restore_keys};
    must(env_uv_create(&bench.env, NULL), NULL, "create the environment");
    open_node(&bench, id, argv[2]);
    env_run(bench.env);
    env_stream_close(bench.in);
    node_close(bench.node, NULL, NULL);
    env_close(bench.env);
    peri_buffer_deinit(&bench.progress.found);
    peri_buffer_deinit(&bench.progress.next);
    free(bench.payloads);
    free(bench.load.samples);
    return 0;
}
