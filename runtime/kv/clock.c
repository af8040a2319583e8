#include "kv/clock.h"

enum { US_PER_MS = 1000 };

uint64_t kv_clock_read(struct kv_clock *clock, uint64_t term, uint64_t applied_ms, uint64_t now_us)
{
    if (term == 0)
        return 0;
    if (term != clock->term)
        *clock = (struct kv_clock){.term = term, .base_us = now_us};
    uint64_t ms = clock->base_ms + (now_us - clock->base_us) / US_PER_MS;
    if (applied_ms <= ms)
        return ms;
    clock->base_ms = applied_ms;
    clock->base_us = now_us;
    return applied_ms;
}
