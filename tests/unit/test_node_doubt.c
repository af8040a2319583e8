/* Replicas that have lost something while others are gone: whom they wait for, what they say, and
 * what helps. */
#include "node/recover.h"
#include "node_damage.h"

enum { S = CLUSTER_S, MS = CLUSTER_MS };

static void commit_all(struct cluster *cluster, const char *texts)
{
    for (const char *at = texts; *at != '\0'; at++) {
        const char text[] = {*at, '\0'};
        cluster_commit(cluster, text);
    }
}

static bool waits_for(const struct cluster_host *host, const struct cluster_host *other)
{
    return node_group_waits_for(host->machines[0].group, other->id);
}

/* What the host answers to a linearizable read. */
static const char *error_of(struct cluster_host *host, struct cluster_request *request)
{
    *request = (struct cluster_request){.host = NULL};
    cluster_read(host, request, NODE_LINEARIZABLE, S);
    cluster_await(host->cluster, request);
    print_message("  %s\n", request->error);
    return request->error;
}

/* ---- one is damaged, another gone ---- */

/* Five nodes. One goes for good, another loses a byte of its log, some way before the end. */
struct five {
    struct cluster *cluster;
    struct cluster_host *gone, *hurt, *other;
};

/* False when there is nothing so far before the end of the file. */
static bool five_begin(struct five *five, size_t before, bool has_majority)
{
    struct generation generation;
    struct cluster *cluster = cluster_create(1 + before, 5, 5);
    commit_all(cluster, "abcdef");
    (void)cluster_settle(cluster);
    cluster_run(cluster, 100 * (uint64_t)MS);
    struct cluster_host *leader = cluster_leader(cluster, NULL);
    *five = (struct five){.cluster = cluster,
                          .gone = &cluster->hosts[leader->id % 5],
                          .hurt = &cluster->hosts[(leader->id + 1) % 5],
                          .other = &cluster->hosts[(leader->id + 2) % 5]};
    list_generation(five->hurt, &generation);
    cluster_kill(five->gone);
    cluster_kill(five->hurt);
    if (!has_majority)
        cluster_kill(five->other);
    bool is_hurt = false;
    for (size_t i = 0; i < generation.count; i++)
        is_hurt = flip_before_end(five->hurt, generation.paths[i], before) || is_hurt;
    restart(five->hurt);
    assert_true(five->hurt->machines[0].is_open);
    return is_hurt;
}

/* It is whole again, and counts: one more goes, and the rest depends on it. */
static void five_end(struct five *five)
{
    assert_true(is_repaired(five->hurt));
    cluster_kill(five->other);
    cluster_commit(five->cluster, "y");
    assert_string_equal(cluster_settle(five->cluster), "a;b;c;d;e;f;x;y;");
    cluster_close(five->cluster);
}

/* Its last term and vote may be lost, and no leader can show that it may be heard. It says whom it
 * waits for; one more of them helps, not all. */
static void wait_for_majority(struct five *five)
{
    struct cluster_request request;
    char text[96];
    for (size_t i = 0; i < 5; i++) {
        const struct cluster_host *host = &five->cluster->hosts[i];
        assert_int_equal(waits_for(five->hurt, host), host == five->gone || host == five->other);
    }
    (void)snprintf(text, sizeof text, "waits to hear of node %d and of node %d, or of a leader",
                   (int)(five->gone->id < five->other->id ? five->gone->id : five->other->id),
                   (int)(five->gone->id < five->other->id ? five->other->id : five->gone->id));
    assert_non_null(strstr(error_of(five->hurt, &request), text));
}

/* With has_majority the others lead on without it, and nobody has to do anything. */
static void come_back(struct five *five, bool has_majority, int *waiting, int *repaired)
{
    bool is_unharmed = is_whole(five->hurt);
    cluster_run(five->cluster, 3 * (uint64_t)S);
    *repaired += has_majority && !is_unharmed && is_whole(five->hurt);
    if (!is_whole(five->hurt)) {
        assert_int_equal(health_of(five->hurt), STORE_LOG_DAMAGED);
        assert_false(has_majority);
        wait_for_majority(five);
        ++*waiting;
    }
    if (!has_majority)
        cluster_restart(five->other);
    assert_true(is_repaired(five->hurt));
    cluster_commit(five->cluster, "x");
    five_end(five);
}

static void test_damaged_and_gone(void **state)
{
    (void)state;
    enum { STEP = 23 };
    int waiting = 0, repaired = 0;
    size_t turn = 0;
    for (size_t before = 0;; before += STEP) {
        struct five five;
        if (!five_begin(&five, before, turn % 2 == 0)) {
            cluster_close(five.cluster);
            break;
        }
        come_back(&five, turn++ % 2 == 0, &waiting, &repaired);
    }
    print_message("  %d waited for a majority, %d did not need it\n", waiting, repaired);
    assert_true(waiting > 0 && repaired > 0);
}

/* ---- all are in doubt ---- */

/* As if the disk had never been told of what came behind the image: its witness is bad, too. */
static void forget_end(struct cluster_host *host, const struct generation *generation,
                       const struct peri_buffer *images)
{
    for (size_t i = 0; i < generation->count; i++)
        assert_int_equal(
            sim_disk_put(host->sim, generation->paths[i], peri_buffer_slice(&images[i]), NULL), 0);
}

static void lose_witness(struct cluster_host *host)
{
    static const char zeros[16384];
    assert_int_equal(
        sim_disk_put(host->sim, "/data/log/witness", peri_slice_of(zeros, sizeof zeros), NULL), 0);
}

/* Two of three hold "c", which was acknowledged. Power fails, all witnesses are lost, and one of
 * the two has lost "c" and does not know it. */
struct three {
    struct cluster *cluster;
    struct cluster_host *holds, *forgot, *behind;
};

static void three_begin(struct three *three, uint64_t seed)
{
    struct generation generation;
    struct peri_buffer images[GENERATION_FILES_MAX] = {{0}};
    struct cluster *cluster = cluster_create(seed, 3, 3);
    commit_all(cluster, "ab");
    (void)cluster_settle(cluster);
    struct cluster_host *leader = cluster_leader(cluster, NULL);
    *three = (struct three){.cluster = cluster,
                            .holds = leader,
                            .forgot = &cluster->hosts[leader->id % 3],
                            .behind = &cluster->hosts[(leader->id + 1) % 3]};
    cluster_kill(three->behind);
    list_generation(three->forgot, &generation);
    for (size_t i = 0; i < generation.count; i++)
        assert_int_equal(sim_disk_get(three->forgot->sim, generation.paths[i], &images[i]), 0);
    cluster_commit(cluster, "c");
    cluster_kill(three->holds);
    cluster_kill(three->forgot);
    forget_end(three->forgot, &generation, images);
    for (size_t i = 0; i < 3; i++)
        lose_witness(&cluster->hosts[i]);
    for (size_t i = 0; i < generation.count; i++)
        peri_buffer_deinit(&images[i]);
}

/* The two that do not have it wait for the third; then they compare, and go on with its log. */
static void test_all_in_doubt(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 10; seed++) {
        struct three three;
        three_begin(&three, seed);
        restart(three.forgot);
        restart(three.behind);
        cluster_run(three.cluster, 5 * (uint64_t)S);
        assert_false(has_leader(three.cluster));
        assert_int_equal(health_of(three.forgot), STORE_LOG_SUSPECT);
        assert_int_equal(health_of(three.behind), STORE_LOG_SUSPECT);
        assert_true(waits_for(three.forgot, three.holds) && waits_for(three.behind, three.holds));
        assert_false(waits_for(three.forgot, three.behind));
        restart(three.holds);
        assert_int_equal(health_of(three.holds), STORE_LOG_SUSPECT);
        cluster_commit(three.cluster, "d");
        for (size_t i = 0; i < 3; i++)
            assert_true(is_repaired(&three.cluster->hosts[i]));
        assert_string_equal(cluster_settle(three.cluster), "a;b;c;d;");
        cluster_close(three.cluster);
    }
}

/* ---- whoever holds what was lost votes no more ---- */

/* Two voters; the leader is removed, which the other one's disk forgets: nobody else holds the
 * removal. The old leader knows that it is committed, and leads once more when it is asked to. */
static void test_removed_and_needed(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 10; seed++) {
        struct generation generation;
        struct peri_buffer images[GENERATION_FILES_MAX] = {{0}};
        struct cluster_request request;
        struct cluster *cluster = cluster_create(seed, 2, 2);
        commit_all(cluster, "ab");
        (void)cluster_settle(cluster);
        struct cluster_host *removed = cluster_leader(cluster, NULL),
                            *stays = &cluster->hosts[removed->id % 2];
        const struct node_member_change leave = {{RAFT_REMOVE, removed->id}, NULL};
        list_generation(stays, &generation);
        for (size_t i = 0; i < generation.count; i++)
            assert_int_equal(sim_disk_get(stays->sim, generation.paths[i], &images[i]), 0);
        cluster_change(removed, &request, &leave, 5 * S);
        while (!request.is_done)
            cluster_run(cluster, 10);
        assert_int_equal(request.certainty, NODE_OK);
        cluster_kill(stays);
        forget_end(stays, &generation, images);
        lose_witness(stays);
        cluster_run(cluster, 2 * (uint64_t)S);
        assert_false(has_leader(cluster)); /* it was removed, and disturbs nobody */
        restart(stays);
        assert_int_equal(health_of(stays), STORE_LOG_SUSPECT);
        cluster_commit(cluster, "c");
        assert_true(is_repaired(stays));
        cluster_kill(removed);
        cluster_commit(cluster, "d");
        assert_string_equal(cluster_settle(cluster), "a;b;c;d;");
        for (size_t i = 0; i < generation.count; i++)
            peri_buffer_deinit(&images[i]);
        cluster_close(cluster);
    }
}

/* ---- and one never comes back ---- */

struct forcing {
    bool is_done;
    int status;
    uint64_t index;
};

static void on_forced(void *data, int status, const struct node_recovered *recovered,
                      const struct peri_error *err)
{
    struct forcing *forcing = data;
    (void)err;
    *forcing = (struct forcing){true, status, recovered->index};
}

/* perilune recover --members, for the host's data with itself as the only member. */
static void force(struct cluster_host *host)
{
    struct forcing forcing = {.is_done = false};
    const struct node_member alone = {host->id, host->name};
    cluster_kill(host);
    host->is_idle = true;
    cluster_restart(host);
    cluster_run(host->cluster, MS);
    assert_int_equal(node_recover(sim_node_env(host->sim), "/data", 1, &alone, 1, NULL, on_forced,
                                  &forcing, NULL),
                     0);
    cluster_run(host->cluster, 10 * (uint64_t)S);
    assert_true(forcing.is_done);
    assert_int_equal(forcing.status, 0);
    assert_true(forcing.index > 0);
    cluster_kill(host);
    host->is_idle = false;
}

/* The two that are left wait, and say for whom and what would help. The data that hold most are
 * forced to go on alone; nothing that was acknowledged is lost. */
static void test_one_never_returns(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 5; seed++) {
        struct three three;
        struct cluster_request request;
        three_begin(&three, seed);
        restart(three.holds);
        restart(three.forgot);
        cluster_run(three.cluster, 10 * (uint64_t)S);
        assert_false(has_leader(three.cluster));
        const char *error = error_of(three.holds, &request);
        char text[64];
        (void)snprintf(text, sizeof text, "waits to hear of node %d, or of a leader",
                       (int)three.behind->id);
        assert_non_null(strstr(error, text));
        assert_non_null(strstr(error, "see perilune recover"));
        force(three.holds);
        three.cluster->is_lied_to = true; /* the terms are beyond what the cluster notes */
        cluster_kill(three.forgot);
        restart(three.holds);
        cluster_commit(three.cluster, "d");
        assert_string_equal(cluster_settle(three.cluster), "a;b;c;d;");
        cluster_close(three.cluster);
    }
}

/* ---- nobody knows whose disk it is ---- */

/* Without an intact copy of its birth a node does not open, and says what to do; one that goes on
 * alone by force gets another birth. */
static void test_no_birth(void **state)
{
    (void)state;
    static const char nothing[8208];
    struct cluster *cluster = cluster_create(3, 3, 3);
    commit_all(cluster, "abc");
    (void)cluster_settle(cluster);
    for (size_t i = 0; i < 3; i++)
        cluster_kill(&cluster->hosts[i]);
    struct cluster_host *host = &cluster->hosts[1];
    assert_int_equal(
        sim_disk_put(host->sim, "/data/log/birth", peri_slice_of(nothing, sizeof nothing), NULL),
        0);
    cluster->may_fail = true;
    restart(host);
    assert_int_equal(host->open_status, PERI_ECORRUPT);
    print_message("  %s\n", host->open_error);
    assert_non_null(strstr(host->open_error, "remove member 2 from its groups"));
    assert_non_null(strstr(host->open_error, "perilune recover --force"));
    cluster->is_lied_to = true; /* the terms are beyond what the cluster notes */
    force(host);
    restart(host);
    assert_int_equal(host->open_status, 0);
    cluster_commit(cluster, "d");
    assert_string_equal(cluster_settle(cluster), "a;b;c;d;");
    cluster_close(cluster);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_damaged_and_gone),   cmocka_unit_test(test_all_in_doubt),
        cmocka_unit_test(test_removed_and_needed), cmocka_unit_test(test_one_never_returns),
        cmocka_unit_test(test_no_birth),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
