/* raft_random_parts.h - a schedule: raft_random.c says when, raft_random_acts.c what clients,
 * trouble and the failure detector do. */
#ifndef PERI_TEST_RAFT_RANDOM_PARTS_H
#define PERI_TEST_RAFT_RANDOM_PARTS_H

#include "raft_group.h"

enum { US_PER_MS = 1000, LOOK_US = 200000 /* between two looks of a host at its peers */ };

struct schedule {
    struct group *group;
    uint64_t random, events, crashes, next_payload;
    bool is_peace;
    bool can_lose;                  /* disks lose what was durable */
    bool can_change;                /* members come and go */
    bool cut[GROUP_MAX][GROUP_MAX]; /* [from][to] */
    unsigned loss_percent, duplicate_percent, slow_percent;
    uint64_t persist_at[GROUP_MAX], apply_at[GROUP_MAX], fetch_at[GROUP_MAX];
    uint64_t stalled_until[GROUP_MAX];
    uint64_t repair_at[GROUP_MAX]; /* when a replica that has lost something asks, and hears */
    uint64_t client_at, nemesis_at;
    uint64_t look_at[GROUP_MAX];         /* when a host looks at its peers */
    uint64_t seen[GROUP_MAX][GROUP_MAX]; /* [of][peer]: the start that it has seen; 0: down */
};

/* The next choice. */
uint64_t schedule_draw(struct schedule *s, uint64_t below);
bool schedule_chance(struct schedule *s, unsigned percent);

bool schedule_is_up(const struct schedule *s, size_t at);
struct raft_status schedule_status_of(const struct schedule *s, size_t at);

/* What is due: a client asks for something, something breaks, a host looks who can be heard, or
 * asks for what its disk has lost. */
void schedule_client(struct schedule *s);
void schedule_nemesis(struct schedule *s);
void schedule_look(struct schedule *s, size_t at);
void schedule_repair(struct schedule *s, size_t at);

void schedule_crash(struct schedule *s, size_t at);
void schedule_crash_leaders(struct schedule *s);
void schedule_restart_all(struct schedule *s);

/* Ends cuts, losses and delays. */
void schedule_heal(struct schedule *s);

#endif
