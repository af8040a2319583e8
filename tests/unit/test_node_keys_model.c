/* Keys of a machine compared with a model: random writes, reads and ranges, in the middle of
 * commands, between rounds, after crashes, and when memory has let go of them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "node_cluster.h"
#include "store/chunk.h"

enum { SEEDS = 12, COMMANDS = 150, KEYS = 60, INDEXES = 1000, MS = CLUSTER_MS, S = CLUSTER_S };

/* What every key holds after the command at an index; 0: it is not there. */
static uint16_t model[INDEXES][KEYS];

struct checker {
    struct node_machine machine;
    struct node_task *task;
    struct node_keys_read read;
    struct peri_buffer from;
    uint64_t random;
    uint16_t now[KEYS];
    int at, to; /* of the range that is read */
    unsigned reads;
};

static struct checker checker;

static uint64_t step(uint64_t *random, uint64_t below)
{
    *random = *random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (*random >> 33) % below;
}

static uint64_t draw(uint64_t below)
{
    return step(&checker.random, below);
}

static struct peri_slice name_of(int key, char out[16])
{
    int size = snprintf(out, 16, "key%03d", key);
    return peri_slice_of(out, (size_t)size);
}

static void write_some(void)
{
    char name[16], value[16];
    uint64_t count = 1 + draw(12);
    for (uint64_t i = 0; i < count; i++) {
        int key = (int)draw(KEYS), size;
        checker.now[key] = draw(3) == 0 ? 0 : (uint16_t)(1 + draw(60000));
        size = snprintf(value, sizeof value, "%u", checker.now[key]);
        int rc = checker.now[key] == 0
                     ? node_keys_delete(checker.task->keys, name_of(key, name), NULL)
                     : node_keys_put(checker.task->keys, name_of(key, name),
                                     peri_slice_of(value, (size_t)size), NULL);
        assert_int_equal(rc, 0);
    }
}

static struct peri_slice copy_of(struct peri_slice key)
{
    checker.from.size = 0;
    assert_int_equal(peri_buffer_append(&checker.from, key.data, key.size), 0);
    checker.read.found.size = 0;
    return peri_buffer_slice(&checker.from);
}

static void check_value(int key, struct peri_slice value)
{
    char text[16];
    int size = snprintf(text, sizeof text, "%u", checker.now[key]);
    assert_int_equal(peri_slice_compare(value, peri_slice_of(text, (size_t)size)), 0);
}

static void next_read(void);

/* The next key that the range has to give: from at on, or from to back. */
static int next_key(void)
{
    bool is_reverse = checker.read.is_reverse;
    while (checker.at < checker.to && checker.now[is_reverse ? checker.to - 1 : checker.at] == 0)
        checker.at += is_reverse ? 0 : 1, checker.to -= is_reverse ? 1 : 0;
    assert_true(checker.at < checker.to);
    return is_reverse ? --checker.to : checker.at++;
}

/* The page has all keys that are there, in order. */
static void on_page(struct node_keys_read *read, int status)
{
    struct peri_slice key, value;
    size_t at = 0;
    char name[16];
    assert_int_equal(status, 0);
    for (uint32_t i = 0; i < read->count; i++) {
        assert_int_equal(store_chunk_next(peri_buffer_slice(&read->found), &at, &key, &value), 0);
        int expected = next_key();
        assert_int_equal(peri_slice_compare(key, name_of(expected, name)), 0);
        check_value(expected, value);
    }
    if (read->is_more) {
        assert_true(read->count > 0);
        *(read->is_reverse ? &read->to : &read->from) = copy_of(peri_buffer_slice(&read->next));
        assert_int_equal(node_keys_range(checker.task->keys, read, NULL), 0);
        return;
    }
    while (checker.at < checker.to)
        assert_int_equal(checker.now[checker.at++], 0);
    next_read();
}

static void start_range(void)
{
    static char name[16], end[16];
    checker.at = (int)draw(KEYS);
    checker.to = checker.at + (int)draw((uint64_t)(KEYS - checker.at) + 1);
    checker.read.found.size = 0;
    checker.read.from = name_of(checker.at, name);
    checker.read.to = name_of(checker.to, end);
    checker.read.is_reverse = draw(2) == 0;
    checker.read.count_max = 1 + (uint32_t)draw(5);
    checker.read.size_max = draw(2) == 0 ? 20 : 100000;
    checker.read.on_done = on_page;
    assert_int_equal(node_keys_range(checker.task->keys, &checker.read, NULL), 0);
}

static void check_get(void)
{
    assert_int_equal(checker.read.count, checker.now[checker.at] != 0);
    if (checker.read.count > 0)
        check_value(checker.at, peri_buffer_slice(&checker.read.found));
    next_read();
}

static void on_got(struct node_keys_read *read, int status)
{
    (void)read;
    assert_int_equal(status, 0);
    check_get();
}

static void next_read(void)
{
    char name[16];
    if (checker.reads-- == 0) {
        node_task_done(checker.task, 0);
        return;
    }
    if (draw(2) == 0) {
        start_range();
        return;
    }
    checker.at = (int)draw(KEYS);
    checker.read.from = copy_of(name_of(checker.at, name));
    checker.read.to = peri_slice_of(NULL, 0);
    checker.read.on_done = on_got;
    if (node_keys_get(checker.task->keys, &checker.read, NULL) == 1)
        check_get();
}

/* The command is a seed; "f" in front: it fails. */
static void on_apply(struct node_machine *machine, struct node_task *task)
{
    char text[32] = "";
    PERI_ASSERT(task->index < INDEXES && task->input.size < sizeof text);
    memcpy(text, task->input.data, task->input.size);
    bool fails = text[0] == 'f';
    (void)machine;
    checker.task = task;
    checker.random = strtoull(text + fails, NULL, 10);
    /* Entries of the core's own change nothing. */
    uint64_t before = task->index - 1;
    memcpy(checker.now, model[before], sizeof checker.now);
    write_some();
    memcpy(model[task->index], fails ? model[before] : checker.now, sizeof checker.now);
    for (uint64_t i = task->index + 1; i < INDEXES; i++)
        memcpy(model[i], model[task->index], sizeof checker.now);
    if (fails) {
        node_task_done(task, PERI_EINVAL);
        return;
    }
    checker.reads = (unsigned)draw(4);
    next_read();
}

static void on_query(struct node_machine *machine, struct node_task *task)
{
    (void)machine;
    node_task_done(task, 0);
}

static struct cluster *create(uint64_t seed)
{
    struct cluster *cluster = cluster_prepare(seed, 1, 1, 1);
    memset(model, 0, sizeof model);
    checker.machine =
        (struct node_machine){.keeps_keys = true, .apply = on_apply, .query = on_query};
    cluster->machine = &checker.machine;
    cluster->options.snapshot_entries = 30;
    cluster->options.trailing_entries = 10;
    cluster_start_all(cluster);
    return cluster;
}

static void test_model(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct cluster *cluster = create(seed);
        uint64_t random = seed * 1234567;
        for (size_t i = 0; i < COMMANDS; i++) {
            struct cluster_request request;
            char text[32];
            (void)snprintf(text, sizeof text, "%s%" PRIu64, step(&random, 8) == 0 ? "f" : "",
                           step(&random, 1u << 30));
            do {
                cluster_propose(cluster_leader(cluster, NULL), &request, text, 2 * S);
                cluster_await(cluster, &request);
            } while (request.certainty != NODE_OK);
            if (step(&random, 4) == 0)
                cluster_run(cluster, step(&random, 30 * MS));
            if (step(&random, 30) == 0) {
                cluster_crash(&cluster->hosts[0]);
                cluster_restart(&cluster->hosts[0]);
            }
        }
        cluster_close(cluster);
        peri_buffer_deinit(&checker.from);
        peri_buffer_deinit(&checker.read.found);
        peri_buffer_deinit(&checker.read.next);
        checker = (struct checker){.reads = 0};
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_model)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
