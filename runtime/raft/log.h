/* log.h - what the core knows of its log: the term of every entry, and the size of recent ones.
 *
 * The entries themselves are the host's. Terms never decrease along a log, so they are kept as runs
 * of equal terms; sizes are kept as running sums, which answer "how many bytes from here to there"
 * and "how far do so many bytes reach" at once.
 *
 *      base_index            sized_index             last_index
 *   ...----|---- runs: term 3 ----|---- term 5 ----------|      sums reach from sized_index on */
#ifndef PERI_RAFT_LOG_H
#define PERI_RAFT_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Entries from first up to the next run, or the end of the log, have this term. */
struct raft_run {
    uint64_t term, first;
};

struct raft_log {
    uint64_t base_index, base_term; /* the last entry that was cut off; 0 when none was */
    uint64_t last_index;
    struct raft_run *runs; /* of ascending term and first */
    size_t run_count, run_capacity;
    uint64_t *sums;       /* sums[i % capacity]: bytes up to entry i, counted from somewhere */
    size_t sums_capacity; /* a power of two */
    size_t sums_max;      /* that it grows to */
    uint64_t sized_index; /* sums are known from here on */
};

enum { RAFT_ENTRY_OVERHEAD = 16 }; /* that an entry takes besides its bytes; so none is free */

/* Makes an empty log that begins after base. Errors: PERI_ENOMEM. */
int raft_log_init(struct raft_log *log, uint64_t base_index, uint64_t base_term, size_t sums_max);
void raft_log_deinit(struct raft_log *log);

/* Makes room for count more entries in so many runs of equal terms, without which raft_log_append
 * may not be called. Errors: PERI_ENOMEM; nothing that the log says changes either way. */
int raft_log_reserve(struct raft_log *log, size_t count, size_t runs);

/* Appends an entry; its term is not below the last one. */
void raft_log_append(struct raft_log *log, uint64_t term, uint64_t size_bytes);

/* Removes the entries from first on; first is above base_index. */
void raft_log_truncate(struct raft_log *log, uint64_t first);

/* Cuts off the entries up to index, which lies in the log. */
void raft_log_compact(struct raft_log *log, uint64_t index);

/* Gives back memory for sizes that are no longer known. What the log says does not change. */
void raft_log_trim(struct raft_log *log);

/* Forgets the sizes of all entries, and gives back their memory. */
void raft_log_forget_sizes(struct raft_log *log);

/* Empties the log, which then begins after index. */
void raft_log_reset(struct raft_log *log, uint64_t index, uint64_t term);

/* The term of the entry at index; 0 when the log does not know: it is cut off, or not there yet. */
uint64_t raft_log_term(const struct raft_log *log, uint64_t index);

/* True when the log holds, or has just cut off, the entry (index, term). */
bool raft_log_matches(const struct raft_log *log, uint64_t index, uint64_t term);

/* The last index, at most index and at least base_index, whose term is at most term: the next place
 * where two logs may agree after they did not at index. */
uint64_t raft_log_conflict(const struct raft_log *log, uint64_t index, uint64_t term);

/* True when the sizes of the entries from first on are known. */
bool raft_log_is_sized(const struct raft_log *log, uint64_t first);

/* Bytes of the entries first..last with their overhead; they are sized. */
uint64_t raft_log_bytes(const struct raft_log *log, uint64_t first, uint64_t last);

/* The last entry, at least first and at most last, up to which they take at most size_bytes. */
uint64_t raft_log_fit(const struct raft_log *log, uint64_t first, uint64_t last,
                      uint64_t size_bytes);

#endif
