#include "raft/progress.h"

#include "base/assert.h"

void raft_progress_init(struct raft_progress *progress, uint64_t next_index)
{
    *progress = (struct raft_progress){.next_index = next_index, .state = RAFT_PROBE};
}

static void empty_window(struct raft_progress *progress)
{
    progress->inflight_first = progress->inflight_count = 0;
    progress->inflight_bytes = 0;
}

void raft_progress_probe(struct raft_progress *progress)
{
    progress->state = RAFT_PROBE;
    progress->next_index = progress->match_index + 1;
    progress->is_paused = false;
    empty_window(progress);
}

void raft_progress_sent(struct raft_progress *progress, uint64_t last, uint64_t size_bytes)
{
    PERI_ASSERT(progress->state == RAFT_REPLICATE);
    PERI_ASSERT(progress->inflight_count < RAFT_INFLIGHT_MAX && last >= progress->next_index);
    uint32_t at =
        (progress->inflight_first + progress->inflight_count++) & (RAFT_INFLIGHT_MAX - 1U);
    progress->window[at].last = last;
    progress->window[at].bytes = size_bytes;
    progress->inflight_bytes += size_bytes;
    progress->next_index = last + 1;
}

bool raft_progress_matched(struct raft_progress *progress, uint64_t index)
{
    while (progress->inflight_count > 0 &&
           progress->window[progress->inflight_first].last <= index) {
        progress->inflight_bytes -= progress->window[progress->inflight_first].bytes;
        progress->inflight_first = (progress->inflight_first + 1) & (RAFT_INFLIGHT_MAX - 1U);
        progress->inflight_count--;
    }
    if (progress->next_index <= index)
        progress->next_index = index + 1;
    if (index <= progress->match_index)
        return false;
    progress->match_index = index;
    return true;
}

bool raft_progress_rejected(struct raft_progress *progress, uint64_t rejected, uint64_t hint)
{
    if (progress->state == RAFT_REPLICATE) {
        if (rejected <= progress->match_index || rejected >= progress->next_index)
            return false;
        raft_progress_probe(progress);
        return true;
    }
    /* A probe asks about the entry before next_index; anything else answers an older question. */
    if (progress->state != RAFT_PROBE || rejected != progress->next_index - 1 ||
        rejected <= progress->match_index)
        return false;
    uint64_t next = hint + 1 < rejected ? hint + 1 : rejected;
    progress->next_index = next > progress->match_index ? next : progress->match_index + 1;
    progress->is_paused = false;
    return true;
}

bool raft_progress_may_send(const struct raft_progress *progress, uint64_t inflight_max_bytes)
{
    if (progress->is_fetching)
        return false;
    switch (progress->state) {
    case RAFT_PROBE:
        return !progress->is_paused;
    case RAFT_REPLICATE:
        return progress->inflight_count < RAFT_INFLIGHT_MAX &&
               progress->inflight_bytes < inflight_max_bytes;
    case RAFT_SNAPSHOT:
        break;
    }
    return false;
}
