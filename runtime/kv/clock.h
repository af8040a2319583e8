/* clock.h - log time as whoever leads a group gives it to commands: what leases end by.
 *
 *      applied: 7000 ms ... 300 ms pass ... --> 7300       leads, term 4
 *                                           --> 0          does not lead: the time is not ours to
 * tell another term                         --> 7000       whatever this clock said in earlier ones
 *
 * Of each term it begins with what has been applied, and goes on as fast as time does. So log time
 * stands still while nobody leads, and no lease ends before its ttl has passed in the terms of
 * leaders. Pure. */
#ifndef PERI_KV_CLOCK_H
#define PERI_KV_CLOCK_H

#include <stdint.h>

/* Starts zeroed. */
struct kv_clock {
    uint64_t term; /* that it was last read in */
    uint64_t base_ms, base_us;
};

/* Log time in that term, which this replica leads; 0: it leads none, and gives 0, which changes no
 * log time. applied_ms: log time of what has been applied here. now_us: of env_now_us. */
uint64_t kv_clock_read(struct kv_clock *clock, uint64_t term, uint64_t applied_ms, uint64_t now_us);

#endif
