/* Snapshots of machines that keep their state on disk, on their way: crashes, cuts, and chunks that
 * go bad. */
#include "node_keys.h"
#include "store/chunk.h"
#include "store/snapshot.h"

static struct cluster_host *join(struct cluster *cluster, size_t at)
{
    struct cluster_host *host = &cluster->hosts[at];
    const struct node_member_change change = {{RAFT_ADD_MEMBER, host->id}, host->name};
    struct cluster_request request;
    do {
        cluster_change(cluster_leader(cluster, NULL), &request, &change, 2 * S);
        cluster_await(cluster, &request);
    } while (request.certainty != NODE_OK);
    return host;
}

/* Texts, and paddings of some chunks; the log begins behind them. */
static void make_state(struct cluster *cluster, size_t paddings, char *expected)
{
    commit_many(cluster, "a", 10, expected);
    commit_many(cluster, "pad", paddings, expected);
    commit_many(cluster, "b", 30, expected);
    cluster_run(cluster, 3 * S);
    assert_true(cluster->events[NODE_SNAPSHOT_TAKEN] > 0);
}

/* A member that joins gets the state in chunks, while others write. */
static void test_join(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 5; seed++) {
        struct cluster *cluster = create(seed, 3, 4);
        char expected[TEXT_MAX] = "";
        make_state(cluster, 12, expected);
        struct cluster_host *host = join(cluster, 3);
        commit_many(cluster, "c", 10, expected);
        assert_string_equal(cluster_settle(cluster), expected);
        assert_int_equal(cluster->events[NODE_SNAPSHOT_INSTALLED], 1);
        assert_in_range(applied_by(host), 0, 40);
        cluster_crash(host); /* what was installed is there */
        cluster_restart(host);
        commit_many(cluster, "d", 3, expected);
        assert_string_equal(cluster_settle(cluster), expected);
        cluster_close(cluster);
    }
}

/* Whoever goes down at whatever moment of a transfer: old or new, never a mixture. */
static void test_crash_in_transfer(void **state)
{
    (void)state;
    for (uint64_t step = 0; step < 60; step++) {
        struct cluster *cluster = create(7, 3, 4);
        char expected[TEXT_MAX] = "";
        make_state(cluster, 6, expected);
        struct cluster_host *host = join(cluster, 3);
        cluster_run(cluster, step * 2 * MS);
        struct cluster_host *victim = step % 3 == 2 ? cluster_leader(cluster, NULL) : host;
        stop(victim, step % 3 != 0);
        cluster_run(cluster, step % 5 * 100 * MS);
        cluster_restart(victim);
        commit_many(cluster, "c", 5, expected);
        assert_string_equal(cluster_settle(cluster), expected);
        cluster_close(cluster);
    }
}

/* ---- chunks that go bad on their way ---- */

/* Of the chunks that a sink gets, these many have a byte changed, behind those that have not. */
static struct {
    size_t whole, bad, seen, changed, at;
    bool has_other; /* its sink holds another view of the snapshot: only the first chunk helps */
} chunks;

int __real_store_sink_write(struct store_sink *sink, struct peri_slice chunk,
                            struct peri_error *err);
int __wrap_store_sink_write(struct store_sink *sink, struct peri_slice chunk,
                            struct peri_error *err);

int __wrap_store_sink_write(struct store_sink *sink, struct peri_slice chunk,
                            struct peri_error *err)
{
    size_t number = chunks.seen++;
    struct store_chunk fields;
    if (chunks.has_other && store_chunk_decode(chunk, &fields) == 0) {
        chunks.has_other = chunks.seen <= 2 || fields.position > 0;
        if (chunks.has_other && fields.position > 0)
            return PERI_EFORMAT;
    }
    if (number < chunks.whole || number >= chunks.whole + chunks.bad)
        return __real_store_sink_write(sink, chunk, err);
    char *bytes = malloc(chunk.size);
    assert_non_null(bytes);
    memcpy(bytes, chunk.data, chunk.size);
    size_t at = chunk.size * chunks.at / 100;
    bytes[at] = (char)(bytes[at] ^ 1);
    int rc = __real_store_sink_write(sink, peri_slice_of(bytes, chunk.size), err);
    free(bytes);
    assert_int_equal(rc, PERI_EFORMAT);
    chunks.changed++;
    return rc;
}

/* A chunk that is damaged, wherever it is, is asked for again, and nothing but it; when that does
 * not help, the transfer ends and goes on later from there. */
static void test_damaged_chunks(void **state)
{
    (void)state;
    enum { CHUNKS = 3 /* when none is damaged */ };
    static const size_t BAD[] = {0, 1, 3, 25 /* more than a sender sends */};
    for (size_t step = 0; step < 20; step++) {
        size_t bad = BAD[step % 4];
        struct cluster *cluster = create(300 + step, 3, 4);
        struct node_stats stats;
        char expected[TEXT_MAX] = "";
        make_state(cluster, 12, expected);
        memset(&chunks, 0, sizeof chunks);
        chunks.whole = step / 4 % CHUNKS;
        chunks.bad = bad;
        chunks.at = step * 5;
        struct cluster_host *host = join(cluster, 3);
        commit_many(cluster, "c", 3, expected);
        assert_string_equal(cluster_settle(cluster), expected);
        assert_int_equal(cluster->events[NODE_SNAPSHOT_INSTALLED], 1);
        assert_int_equal(chunks.changed, bad);
        assert_int_equal(chunks.seen, CHUNKS + bad);
        node_stats(cluster_leader(cluster, NULL)->node, &stats);
        assert_int_equal(stats.snapshots_sent, 1);
        cluster_crash(host);
        cluster_restart(host);
        assert_string_equal(cluster_settle(cluster), expected);
        cluster_close(cluster);
    }
}

/* A receiver that goes on with a view that is not there any more gets all from the beginning. */
static void test_another_view(void **state)
{
    (void)state;
    struct cluster *cluster = create(12, 3, 4);
    char expected[TEXT_MAX] = "";
    make_state(cluster, 12, expected);
    memset(&chunks, 0, sizeof chunks);
    chunks.has_other = true;
    (void)join(cluster, 3);
    assert_string_equal(cluster_settle(cluster), expected);
    assert_false(chunks.has_other);
    assert_int_equal(cluster->events[NODE_SNAPSHOT_INSTALLED], 1);
    assert_in_range(chunks.seen, 6, 12);
    cluster_close(cluster);
}

/* A connection that breaks off at whatever moment: the transfer goes on behind it. */
static void test_cut_in_transfer(void **state)
{
    (void)state;
    for (uint64_t step = 0; step < 20; step++) {
        struct cluster *cluster = create(8, 3, 4);
        char expected[TEXT_MAX] = "";
        make_state(cluster, 12, expected);
        struct cluster_host *host = join(cluster, 3);
        cluster_run(cluster, step * 3 * MS);
        sim_node_pause(host->sim);
        cluster_run(cluster, 2 * S); /* connections are given up */
        sim_node_resume(host->sim);
        commit_many(cluster, "c", 3, expected);
        assert_string_equal(cluster_settle(cluster), expected);
        assert_int_equal(cluster->events[NODE_SNAPSHOT_INSTALLED], 1);
        cluster_close(cluster);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_join),
        cmocka_unit_test(test_crash_in_transfer),
        cmocka_unit_test(test_cut_in_transfer),
        cmocka_unit_test(test_another_view),
        cmocka_unit_test(test_damaged_chunks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
