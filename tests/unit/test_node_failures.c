/* Something fails, once, while three nodes start, elect, replicate, read, take and send snapshots,
 * and restart: an allocation, at each place where they ask for memory; a file call of one of them,
 * each in turn. Nothing crashes or leaks, no term has two leaders, what cannot go on says why and
 * goes on after a restart, and everything else goes on by itself; whatever was acknowledged is
 * there, once, on all nodes.
 *
 * The same callers allocate again and again: of those that ask from the same place the first, the
 * second, one in the middle and the last are failed. NODE_ALLOC=N fails the N-th alone,
 * NODE_ALLOC=all each of them, NODE_FILE=N the N-th file call. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "alloc.h"
#include "env_faults.h"
#include "node_cluster.h"

enum { S = CLUSTER_S, NOTED_MAX = 1 << 20, LETTERS = 26, ATTEMPTS = 200, PER_PLACE = 4 };

static bool keeps_keys; /* the machines' state is on disk */
static long current;    /* what is failed now, for who looks at a crash */
static int code;        /* and with what */
static long counted;    /* of the last story, when they were noted */

static char telling[64]; /* the same as a line */
static int telling_size;

static void on_abort(int number)
{
    (void)number;
    (void)!write(STDERR_FILENO, telling, (size_t)telling_size);
}

/* ---- what happens ---- */

struct story {
    struct cluster *cluster;
    const struct cluster_host *killed; /* on purpose; or NULL */
    bool was_acknowledged[LETTERS], is_unknown[LETTERS];
};

static bool is_explained(int why)
{
    return why == code || why == PERI_ENOTLEADER || why == PERI_EDEADLINE || why == PERI_ECLOSED ||
           why == PERI_EFENCED || why == PERI_EFULL || why == PERI_EBUSY;
}

static void restart(struct cluster_host *host)
{
    cluster_kill(host);
    cluster_run(host->cluster, 1);
    test_alloc_spare(true);
    cluster_restart(host);
    test_alloc_spare(false);
}

/* True for a node that said that it cannot go on. */
static bool has_ended(const struct cluster_host *host)
{
    const struct cluster_machine *machine = &host->machines[0];
    struct node_status status;
    if (host->node == NULL || host->open_status != 0 || machine->open_status != 0)
        return true;
    if (machine->group == NULL || !machine->is_open)
        return false;
    node_group_status(machine->group, &status);
    return !status.is_open || status.raft.is_fenced;
}

/* What an operator does. */
static void restart_ended(const struct story *story)
{
    struct cluster *cluster = story->cluster;
    for (size_t i = 0; i < cluster->count; i++) {
        struct cluster_host *host = &cluster->hosts[i];
        if (host == story->killed || !has_ended(host))
            continue;
        int status = host->open_status != 0 ? host->open_status : host->machines[0].open_status;
        if (status != 0 && status != code && status != PERI_EFENCED)
            fail_msg("number %ld: %s does not open: %s", current, host->name, host->open_error);
        restart(host);
    }
    if (cluster->fenced_status != 0 && cluster->fenced_status != code)
        fail_msg("number %ld: fenced by %s", current, peri_error_name(cluster->fenced_status));
}

/* Proposes a letter until it is acknowledged, or nobody knows. */
static void propose(struct story *story, char letter)
{
    for (int i = 0; i < ATTEMPTS && !story->cluster->is_void; i++) {
        static struct cluster_request request;
        const char text[] = {letter, '\0'};
        restart_ended(story);
        struct cluster_host *leader = cluster_find_leader(story->cluster, NULL);
        if (leader == NULL) {
            cluster_run(story->cluster, 100 * CLUSTER_MS);
            continue;
        }
        cluster_propose(leader, &request, text, S);
        cluster_await(story->cluster, &request);
        if (story->cluster->is_void)
            return;
        if (request.certainty == NODE_OK)
            assert_int_equal(request.code, 0);
        else
            assert_true(is_explained(request.code));
        story->was_acknowledged[letter - 'a'] = request.certainty == NODE_OK;
        story->is_unknown[letter - 'a'] = request.certainty == NODE_UNKNOWN;
        if (request.certainty != NODE_NEVER)
            return;
        cluster_run(story->cluster, 100 * CLUSTER_MS);
    }
    if (!story->cluster->is_void)
        fail_msg("number %ld: nothing can be proposed any more", current);
}

static void propose_all(struct story *story, char first, char last)
{
    for (char letter = first; letter <= last; letter++)
        propose(story, letter);
}

static void read_one(struct story *story)
{
    static struct cluster_request request;
    struct cluster_host *host = &story->cluster->hosts[1];
    if (host->node == NULL || !host->machines[0].is_open)
        return;
    cluster_read(host, &request, NODE_LINEARIZABLE, S);
    cluster_await(story->cluster, &request);
    assert_true(story->cluster->is_void || request.code == 0 || is_explained(request.code));
}

static void propose_and_read(struct story *story)
{
    struct cluster *cluster = story->cluster;
    propose_all(story, 'a', 'h');
    story->killed = &cluster->hosts[2];
    cluster_kill(&cluster->hosts[2]);
    propose_all(story, 'i', 'q');
    read_one(story);
    story->killed = NULL;
    restart(&cluster->hosts[2]); /* it needs a snapshot */
    propose_all(story, 'r', 't');
    restart(&cluster->hosts[0]);
    propose_all(story, 'u', 'w');
    cluster_run(cluster, S);
}

/* ---- what is left ---- */

static void judge(struct story *story)
{
    propose(story, 'x');
    assert_true(story->was_acknowledged['x' - 'a']);
    const char *text = cluster_settle(story->cluster);
    for (int letter = 'a'; letter <= 'x'; letter++) {
        size_t count = 0;
        for (const char *at = text; (at = strchr(at, letter)) != NULL; at++)
            count++;
        assert_in_range(count, story->was_acknowledged[letter - 'a'],
                        story->was_acknowledged[letter - 'a'] || story->is_unknown[letter - 'a']);
    }
}

/* Tells the story with the n-th allocation, or file call of the first node, failing by the code;
 * with 0 none does. True when it came to that, and it was not one of the simulated world's own. */
static bool tell(long n, int how)
{
    struct story story = {.cluster = cluster_prepare(7, 3, 3, 1)};
    struct env *env = sim_node_env(story.cluster->hosts[0].sim);
    current = n;
    code = how;
    telling_size = snprintf(telling, sizeof telling, "with number %ld failing by %d\n", n, how);
    story.cluster->may_fail = true;
    story.cluster->keeps_keys = keeps_keys;
    story.cluster->options.snapshot_entries = 5;
    story.cluster->options.trailing_entries = 2;
    env_faults_install(env);
    env_faults_install_paths(env);
    cluster_start_all(story.cluster);
    if (n > 0 && how == PERI_ENOMEM)
        test_alloc_fail(n);
    else if (n > 0)
        env_faults_fail(n, how);
    propose_and_read(&story);
    bool has_failed = how == PERI_ENOMEM ? test_alloc_end() : env_faults_end();
    counted = test_alloc_note(NULL, 0);
    if (!story.cluster->is_void) {
        restart_ended(&story);
        judge(&story);
    }
    has_failed = has_failed && !story.cluster->is_void;
    env_faults_remove(env);
    cluster_close(story.cluster);
    return has_failed;
}

/* ---- which to fail ---- */

struct place {
    uint64_t place;
    long n;
};

static int compare_places(const void *a, const void *b)
{
    const struct place *left = a, *right = b;
    if (left->place != right->place)
        return left->place < right->place ? -1 : 1;
    return left->n < right->n ? -1 : left->n > right->n;
}

/* All allocations, those of one place side by side. */
static struct place *note_places(long *count)
{
    uint64_t *noted = calloc(NOTED_MAX, sizeof *noted);
    assert_non_null(noted);
    test_alloc_note(noted, NOTED_MAX);
    tell(0, 0);
    *count = counted;
    assert_in_range(*count, 1000, NOTED_MAX);
    struct place *places = calloc((size_t)*count, sizeof *places);
    assert_non_null(places);
    for (long i = 0; i < *count; i++)
        places[i] = (struct place){noted[i], i + 1};
    free(noted);
    qsort(places, (size_t)*count, sizeof *places, compare_places);
    return places;
}

/* Fails some of the allocations places[first .. end), which are of one place. */
static long fail_some(const struct place *places, long first, long end)
{
    const long wanted[PER_PLACE] = {first, first + 1, first + (end - first) / 2, end - 1};
    long failed = 0;
    for (int i = 0; i < PER_PLACE; i++)
        if (wanted[i] < end && (i == 0 || wanted[i] > wanted[i - 1]))
            failed += tell(places[wanted[i]].n, PERI_ENOMEM);
    return failed;
}

static void fail_allocations(void)
{
    long count, failed = 0, different = 0;
    const char *only = getenv("NODE_ALLOC");
    if (only != NULL && strcmp(only, "all") != 0) {
        tell(strtol(only, NULL, 10), PERI_ENOMEM);
        return;
    }
    struct place *places = note_places(&count);
    for (long first = 0, end; first < count; first = end, different++) {
        for (end = first + 1; end < count && places[end].place == places[first].place;)
            end++;
        if (only == NULL)
            failed += fail_some(places, first, end);
    }
    for (long n = 1; only != NULL && n <= count; n++)
        failed += tell(n, PERI_ENOMEM);
    print_message("  %ld allocations at %ld places, %ld failed\n", count, different, failed);
    free(places);
    assert_true(failed > 300);
}

static void fail_file_calls(void)
{
    static const int codes[] = {-EIO, -ENOSPC};
    long n = 0;
    const char *only = getenv("NODE_FILE");
    if (only != NULL) {
        n = strtol(only, NULL, 10);
        tell(n, codes[(n - 1) % 2]);
        return;
    }
    while (tell(n + 1, codes[n % 2]))
        n++;
    print_message("  %ld file calls failed\n", n);
    assert_true(n > 100);
}

static void test_in_memory(void **state)
{
    (void)state;
    keeps_keys = false;
    fail_allocations();
    fail_file_calls();
}

static void test_on_disk(void **state)
{
    (void)state;
    keeps_keys = true;
    fail_allocations();
    fail_file_calls();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_in_memory),
        cmocka_unit_test(test_on_disk),
    };
    (void)signal(SIGABRT, on_abort);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
