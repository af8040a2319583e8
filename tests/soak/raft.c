/* raft.c - random schedules of the Raft core by their seeds, for scripts/soak and tests/mutations.
 *
 *      soak_raft FIRST LAST [SECONDS [stop]]
 *
 * Each seed: SECONDS (4) of virtual time in trouble, then peace (raft_random.h). Prints a line for
 * each that fails, and what happened in all; with stop ends at the first. Exit 1 when any failed.
 */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "raft_random.h"

enum { SECONDS = 4, US_PER_S = 1000000 };

static uint64_t first, seed;

/* PERI_ASSERT has said what does not hold; this says where. */
static void on_abort(int signal)
{
    (void)signal;
    char line[128];
    /* abort() calls it, in the middle of nothing. NOLINTNEXTLINE(bugprone-signal-handler,cert-*) */
    int size = snprintf(line, sizeof line,
                        "seed %" PRIu64 ": assertion failed\nseeds=%" PRIu64 " failures=1\n", seed,
                        seed - first + 1);
    _exit(size > 0 && write(STDOUT_FILENO, line, (size_t)size) == size ? 1 : 3);
}

int main(int argc, char **argv)
{
    if (argc < 3 || argc > 5) {
        fprintf(stderr, "usage: soak_raft FIRST LAST [SECONDS [stop]]\n");
        return 2;
    }
    first = strtoull(argv[1], NULL, 10);
    uint64_t last = strtoull(argv[2], NULL, 10);
    uint64_t seconds = argc > 3 ? strtoull(argv[3], NULL, 10) : SECONDS;
    struct raft_random_totals totals = {0};
    uint64_t failures = 0;
    (void)signal(SIGABRT, on_abort);
    for (seed = first; seed <= last && !(argc == 5 && failures > 0); seed++) {
        struct peri_error err = PERI_ERROR_INIT;
        if (raft_random_run(seed, seconds * US_PER_S, &totals, &err) == 0)
            continue;
        failures++;
        printf("seed %" PRIu64 ": %s\n", seed, err.text);
        (void)fflush(stdout);
    }
    printf("seeds=%" PRIu64 " failures=%" PRIu64 " events=%" PRIu64 " elections=%" PRIu64
           " committed=%" PRIu64 " reads=%" PRIu64 " installed=%" PRIu64 " members=%" PRIu64
           " crashes=%" PRIu64 " repairs=%" PRIu64 "\n",
           seed - first, failures, totals.events, totals.elections, totals.commits, totals.reads,
           totals.snapshots, totals.changes, totals.crashes, totals.repairs);
    return failures > 0;
}
