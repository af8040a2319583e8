/* The key/value store on three nodes that lose power: commands of a session are sent again until
 * they are answered, and each has happened once, over elections, snapshots and restarts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "kv/machine.h"
#include "kv_store.h"
#include "node/rounds.h"
#include "node_cluster.h"
#include "wire/pack.h"

enum { SEEDS = 6, COMMANDS = 80, MS = CLUSTER_MS, S = CLUSTER_S };

struct request {
    struct node_request request;
    bool is_done;
    enum node_certainty certainty;
    int code;
    struct peri_buffer result;
};

static struct cluster *cluster;
static struct kv_machine *machines[CLUSTER_MAX];
static unsigned applied;
static uint64_t random_state;

static uint64_t draw(uint64_t below)
{
    random_state = random_state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (random_state >> 33) % below;
}

/* ---- nodes ---- */

static void on_applied(void *data)
{
    (*(unsigned *)data)++;
}

/* A machine whose node starts: nothing is left in memory of the one before. */
static void renew(size_t at)
{
    kv_machine_close(machines[at]);
    machines[at] = NULL;
    assert_int_equal(kv_machine_create(&machines[at], on_applied, &applied), 0);
    cluster->machines[at] = kv_machine_node(machines[at]);
}

static void create(uint64_t seed, size_t count)
{
    random_state = seed * 7919;
    cluster = cluster_prepare(seed, count, count, 1);
    cluster->options.snapshot_entries = 25;
    cluster->options.trailing_entries = 5;
    for (size_t i = 0; i < count; i++)
        renew(i);
    cluster_start_all(cluster);
}

static void close_all(void)
{
    cluster_close(cluster);
    for (size_t i = 0; i < CLUSTER_MAX; i++) {
        kv_machine_close(machines[i]);
        machines[i] = NULL;
    }
}

static void restart(size_t at)
{
    renew(at);
    cluster_restart(&cluster->hosts[at]);
}

/* One node loses power, and comes back sooner or later; a majority runs all the time. */
static void disturb(void)
{
    size_t at = (size_t)draw(cluster->count);
    bool is_down = false;
    for (size_t i = 0; i < cluster->count; i++)
        if (cluster->hosts[i].node == NULL) {
            restart(i);
            is_down = true;
        }
    if (is_down && cluster->count > 1) {
        cluster_run(cluster, S);
        return;
    }
    cluster_crash(&cluster->hosts[at]);
    if (cluster->count == 1 || draw(2) == 0)
        restart(at);
}

/* ---- requests ---- */

static void on_done(struct node_request *node_request, const struct node_outcome *outcome)
{
    struct request *request = container_of(node_request, struct request, request);
    request->is_done = true;
    request->certainty = outcome->certainty;
    request->code = outcome->code;
    if (outcome->code == 0)
        assert_int_equal(
            peri_buffer_append(&request->result, outcome->result.data, outcome->result.size), 0);
}

/* Asks a node; true when it has answered. */
static bool ask(struct cluster_host *host, enum node_request_kind kind, struct peri_slice body,
                struct request *out)
{
    peri_buffer_deinit(&out->result);
    *out = (struct request){.request = {.kind = kind,
                                        .consistency = NODE_LINEARIZABLE,
                                        .body = body,
                                        .on_done = on_done,
                                        .due_us = env_now_us(sim_node_env(host->sim)) + S}};
    int rc = node_request_start(host->machines[0].group, &out->request, NULL);
    if (rc != 0)
        return false;
    while (!out->is_done)
        cluster_run(cluster, MS);
    if (out->certainty == NODE_OK && out->code != 0)
        fail_msg("%s", peri_error_name(out->code));
    return out->certainty == NODE_OK;
}

/* Has a command carried out, whatever happens. */
static void command(const struct kv_command *wanted, struct request *out)
{
    struct peri_buffer bytes = {NULL, 0, 0};
    kv_store_encode(wanted, &bytes);
    while (!ask(cluster_leader(cluster, NULL), NODE_PROPOSE, peri_buffer_slice(&bytes), out))
        if (draw(4) == 0)
            disturb();
    peri_buffer_deinit(&bytes);
}

static struct wire_unpacker result_of(const struct request *request)
{
    struct wire_unpacker in = wire_unpack(peri_buffer_slice(&request->result));
    (void)wire_unpack_array(&in);
    (void)wire_unpack_uint(&in); /* the revision */
    (void)wire_unpack_uint(&in); /* log time */
    return in;
}

static uint64_t open_session(struct request *request)
{
    static const struct kv_command wanted = {.kind = KV_OPEN, .number = 1000000};
    command(&wanted, request);
    struct wire_unpacker in = result_of(request);
    return wire_unpack_uint(&in);
}

/* ---- tests ---- */

/* The count that the node has. */
static int64_t read_count(struct cluster_host *host)
{
    const struct kv_query query = {.kind = KV_ASK_RANGE,
                                   .bounds = {.from = kv_text("count"), .limit = 10}};
    struct peri_buffer bytes = {NULL, 0, 0};
    struct request request = {.is_done = false};
    kv_store_encode_query(&query, &bytes);
    for (int tries = 0; tries < 100; tries++)
        if (ask(host, NODE_READ, peri_buffer_slice(&bytes), &request))
            break;
    struct wire_unpacker in = result_of(&request);
    assert_int_equal(wire_unpack_array(&in), 1);
    assert_int_equal(wire_unpack_array(&in), 6);
    assert_int_equal(peri_slice_compare(wire_unpack_bytes(&in), kv_text("count")), 0);
    struct peri_slice value = wire_unpack_bytes(&in);
    char text[24] = "";
    assert_in_range(value.size, 1, sizeof text - 1);
    memcpy(text, value.data, value.size);
    peri_buffer_deinit(&bytes);
    peri_buffer_deinit(&request.result);
    return strtoll(text, NULL, 10);
}

static void run_seed(uint64_t seed, size_t count)
{
    static struct kv_command wanted;
    struct request request = {.is_done = false};
    print_message("seed %" PRIu64 "\n", seed);
    create(seed, count);
    uint64_t session = open_session(&request);
    for (int i = 1; i <= COMMANDS; i++) {
        wanted = (struct kv_command){
            .kind = KV_DO, .session = session, .sequence = (uint64_t)i, .then_count = 1};
        wanted.then[0] =
            (struct kv_operation){.kind = KV_INCREMENT, .key = kv_text("count"), .delta = 1};
        if (draw(6) == 0)
            disturb();
        command(&wanted, &request);
        struct wire_unpacker in = result_of(&request);
        assert_true(wire_unpack_bool(&in));
        assert_int_equal(wire_unpack_array(&in), 1);
        assert_int_equal(wire_unpack_int(&in), i);
        assert_int_equal(wire_unpack_end(&in), 0);
        if (draw(4) == 0)
            cluster_run(cluster, draw(50 * MS));
    }
    for (size_t i = 0; i < count; i++)
        if (cluster->hosts[i].node == NULL)
            restart(i);
    cluster_run(cluster, 5 * S);
    for (size_t i = 0; i < count; i++)
        assert_int_equal(read_count(&cluster->hosts[i]), COMMANDS);
    assert_true(applied > COMMANDS);
    assert_true(cluster->events[NODE_SNAPSHOT_TAKEN] > 0);
    peri_buffer_deinit(&request.result);
    close_all();
}

static void test_once(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++)
        run_seed(seed, 3);
}

static void test_alone(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++)
        run_seed(seed, 1);
}

static int count_event(void *data, struct peri_slice name, struct peri_slice value)
{
    (void)value;
    if (name.data[0] != 'e')
        return 1;
    (*(unsigned *)data)++;
    return 0;
}

/* How many events a node has on its disk. */
static unsigned events_of(const struct cluster_host *host)
{
    struct peri_error err = PERI_ERROR_INIT;
    unsigned count = 0;
    assert_true(store_state_scan(host->node->rounds->state, NULL,
                                 &host->machines[0].group->keys->applied, kv_text("e"), count_event,
                                 &count, &err) >= 0);
    return count;
}

/* What is compacted leaves each disk by itself, also when power fails in between: in the end a key
 * has one event. */
static void test_sweep(void **state)
{
    static struct kv_command wanted;
    struct request request = {.is_done = false};
    (void)state;
    create(3, 3);
    for (int i = 1; i <= 40; i++) {
        wanted = (struct kv_command){.kind = KV_DO, .then_count = KV_OPERATIONS_MAX};
        for (uint32_t k = 0; k < wanted.then_count; k++)
            wanted.then[k] =
                (struct kv_operation){.kind = KV_PUT, .key = kv_text("key"), .value = kv_text("v")};
        command(&wanted, &request); /* perhaps twice */
        struct wire_unpacker in = wire_unpack(peri_buffer_slice(&request.result));
        (void)wire_unpack_array(&in);
        wanted = (struct kv_command){.kind = KV_COMPACT, .number = wire_unpack_uint(&in)};
        if (i % 10 == 0) {
            command(&wanted, &request);
            cluster_run(cluster, draw(20 * MS));
            disturb();
        }
    }
    for (size_t i = 0; i < 3; i++)
        if (cluster->hosts[i].node == NULL)
            restart(i);
    command(&wanted, &request);
    cluster_run(cluster, 5 * S);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(events_of(&cluster->hosts[i]), 1);
    peri_buffer_deinit(&request.result);
    close_all();
}

static void (*apply_well)(struct node_machine *machine, struct node_task *task);
static bool leaves_out; /* the next command */

static void apply_badly(struct node_machine *machine, struct node_task *task)
{
    if (!leaves_out) {
        apply_well(machine, task);
        return;
    }
    leaves_out = false;
    node_task_done(task, PERI_EINVAL);
}

static void increment(struct request *request, uint64_t session, uint64_t sequence)
{
    static struct kv_command wanted;
    wanted = (struct kv_command){
        .kind = KV_DO, .session = session, .sequence = sequence, .then_count = 1};
    wanted.then[0] =
        (struct kv_operation){.kind = KV_INCREMENT, .key = kv_text("count"), .delta = 1};
    command(&wanted, request);
}

/* A replica that has left out a command is found by its hash, set aside, and has the state of the
 * others then; a restart does not forget the hash. */
static void test_divergence(void **state)
{
    struct request request = {.is_done = false};
    (void)state;
    for (int restarts = 0; restarts < 2; restarts++) {
        create(4 + (uint64_t)restarts, 3);
        uint64_t session = open_session(&request), sequence = 0;
        while (sequence < COMMANDS)
            increment(&request, session, ++sequence);
        size_t bad = cluster_leader(cluster, NULL) == &cluster->hosts[0] ? 1 : 0;
        if (restarts == 1) {
            cluster_run(cluster, 2 * S); /* most of the state is durable */
            cluster_crash(&cluster->hosts[bad]);
            restart(bad);
            cluster_run(cluster, S);
        }
        apply_well = cluster->machines[bad]->apply;
        cluster->machines[bad]->apply = apply_badly;
        assert_int_equal(cluster->quarantined, 0);
        leaves_out = true;
        increment(&request, session, ++sequence);
        cluster_run(cluster, 20 * MS); /* too early for a comparison */
        assert_false(leaves_out);
        increment(&request, session, ++sequence);
        cluster_run(cluster, 2 * S);
        assert_int_equal(cluster->quarantined, 1);
        assert_int_equal(cluster->diverged_peer, cluster->hosts[bad].id);
        assert_int_equal(cluster->events[NODE_REBUILT], 1);
        for (size_t i = 0; i < 3; i++)
            assert_int_equal(read_count(&cluster->hosts[i]), sequence);
        peri_buffer_deinit(&request.result);
        close_all();
    }
}

/* What is no command is an answer like others. */
static void test_malformed(void **state)
{
    static struct kv_command wanted;
    struct request request = {.is_done = false};
    (void)state;
    create(1, 1);
    struct cluster_host *host = cluster_leader(cluster, NULL);
    for (int kind = NODE_PROPOSE; kind <= NODE_READ; kind += NODE_READ - NODE_PROPOSE) {
        request = (struct request){.request = {.kind = (enum node_request_kind)kind,
                                               .body = kv_text("nothing"),
                                               .on_done = on_done,
                                               .due_us = env_now_us(sim_node_env(host->sim)) + S}};
        assert_int_equal(node_request_start(host->machines[0].group, &request.request, NULL), 0);
        while (!request.is_done)
            cluster_run(cluster, MS);
        assert_int_equal(request.code, PERI_EINVAL);
    }
    wanted = (struct kv_command){.kind = KV_TICK};
    command(&wanted, &request);
    peri_buffer_deinit(&request.result);
    close_all();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_once), cmocka_unit_test(test_alone), cmocka_unit_test(test_sweep),
        cmocka_unit_test(test_divergence), cmocka_unit_test(test_malformed)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
