/* Random schedules of the Raft core, with all invariants looked at after every event. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include "raft_random.h"

/* More: test_raft_random FIRST LAST [stop] runs those seeds, perhaps only up to the first that
 * fails. */
enum { SEEDS = 100, DURATION_US = 4000000 };

static uint64_t first = 1, last = SEEDS;
static bool stops;

static void test_random_schedules(void **state)
{
    (void)state;
    struct raft_random_totals totals = {0};
    struct peri_error err = PERI_ERROR_INIT;
    int failures = 0;
    for (uint64_t seed = first; seed <= last && !(stops && failures > 0); seed++)
        if (raft_random_run(seed, DURATION_US, &totals, &err) != 0) {
            printf("# seed %" PRIu64 ": %s\n", seed, err.text);
            (void)fflush(stdout);
            failures++;
        }
    printf("# seeds=%" PRIu64 " failures=%d events=%" PRIu64 " elections=%" PRIu64
           " committed=%" PRIu64 " reads=%" PRIu64 " installed=%" PRIu64 " members=%" PRIu64
           " crashes=%" PRIu64 "\n",
           last - first + 1, failures, totals.events, totals.elections, totals.commits,
           totals.reads, totals.snapshots, totals.changes, totals.crashes);
    assert_int_equal(failures, 0);
}

int main(int argc, char **argv)
{
    stops = argc == 4;
    if (argc >= 3) {
        first = strtoull(argv[1], NULL, 10);
        last = strtoull(argv[2], NULL, 10);
    }
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_random_schedules)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
