/* load.h - proposers inside a process: each has one proposal under way, and makes the next when
 * that has ended. Shared by all programs that scripts/bench raft loads, so that it is the same for
 * all of them. */
#ifndef BENCH_RAFT_LOAD_H
#define BENCH_RAFT_LOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    LOAD_PROPOSERS_MAX = 1024,
    LOAD_BYTES_MIN = 8,
    LOAD_BYTES_MAX = 1 << 20,
    LOAD_LINE_MAX = 256
};

struct load {
    /* The owner's: starts a proposal of load->bytes bytes, whose first eight are number. It ends
     * in load_done, perhaps before this returns. */
    void (*propose)(struct load *load, size_t proposer, uint64_t number);
    void *data;

    size_t proposers, bytes;
    size_t active; /* proposals under way; 0: there is no load */
    uint64_t begin_us, end_us, cpu_us;
    uint64_t started_us[LOAD_PROPOSERS_MAX];
    uint64_t number, entries, failed;
    uint32_t *samples;
    size_t sample_count, sample_capacity;
    char failure[LOAD_LINE_MAX];
};

uint64_t load_now_us(void);
/* Processor time of this process. */
uint64_t load_cpu_us(void);

/* Starts a load from a line "load PROPOSERS BYTES MILLISECONDS"; false when it is none. A fifth of
 * the time more goes before, uncounted. The end prints "entries=... per_second=..." on stdout. */
bool load_start(struct load *load, const char *line);

/* Proposal of a proposer has ended; failure: NULL, or what went wrong, which ends the load. */
void load_done(struct load *load, size_t proposer, const char *failure);

/* For who has no proposers: true when it is time to end, and then what was counted is to be
 * printed. At least one thing is counted, however long it takes. */
bool load_is_over(const struct load *load, uint64_t now_us);
/* Counts entries that ended together, now, and took so long; not those of the warm-up. */
void load_count(struct load *load, uint64_t now_us, uint64_t took_us, uint64_t entries);
void load_print(struct load *load);

/* What a state machine remembers of the commands: their number and order. */
uint64_t load_digest(uint64_t digest, const void *command, size_t size);

#endif
