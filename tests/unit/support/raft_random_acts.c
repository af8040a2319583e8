#include <string.h>

#include "raft_random_parts.h"

uint64_t schedule_draw(struct schedule *s, uint64_t below)
{
    uint64_t z = s->random += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return (z ^ z >> 31) % below;
}

bool schedule_chance(struct schedule *s, unsigned percent)
{
    return schedule_draw(s, 100) < percent;
}

bool schedule_is_up(const struct schedule *s, size_t at)
{
    return s->group->replicas[at].raft != NULL;
}

struct raft_status schedule_status_of(const struct schedule *s, size_t at)
{
    struct raft_status status;
    raft_status(s->group->replicas[at].raft, &status);
    return status;
}

void schedule_crash(struct schedule *s, size_t at)
{
    if (!schedule_is_up(s, at))
        return;
    group_crash(s->group, at + 1, schedule_draw(s, s->group->replicas[at].write_count + 1));
    s->persist_at[at] = s->apply_at[at] = s->fetch_at[at] = s->repair_at[at] = 0;
    memset(s->seen[at], 0, sizeof s->seen[at]);
    s->crashes++;
}

/* ---- clients ---- */

static void change_members(struct schedule *s, size_t at)
{
    struct raft_change changes[2];
    size_t count = 1 + schedule_draw(s, 2);
    static const enum raft_change_type TYPES[] = {RAFT_ADD_MEMBER, RAFT_ADD_VOTER, RAFT_ADD_LEARNER,
                                                  RAFT_REMOVE};
    for (size_t i = 0; i < count; i++)
        changes[i] =
            (struct raft_change){TYPES[schedule_draw(s, 4)], 1 + schedule_draw(s, s->group->count)};
    struct raft_event event = {.type = RAFT_CHANGE, .changes = changes, .count = count};
    struct raft_configuration next;
    /* Nobody makes those voters who are ill, nor those the majority who are. */
    if (s->can_lose && (raft_configuration_change(raft_members(s->group->replicas[at].raft),
                                                  changes, count, &next, NULL) != 0 ||
                        !group_can_spare(s->group, 0, &next)))
        return;
    group_step(s->group, at + 1, &event);
}

static void ask(struct schedule *s, size_t at)
{
    struct raft_event event = {.type = RAFT_TRANSFER,
                               .peer = schedule_draw(s, s->group->count + 1)};
    uint64_t kind = schedule_draw(s, 1000);
    if (kind < 600) {
        group_propose(s->group, at + 1, ++s->next_payload, (uint32_t)schedule_draw(s, 100));
    } else if (kind < 900) {
        group_read(s->group, at + 1);
    } else if (kind < 950) {
        group_snapshot(s->group, at + 1, schedule_draw(s, 20));
    } else if (s->is_peace) {
        return;
    } else if (kind < 965) {
        if (s->can_change)
            change_members(s, at);
    } else if (kind < 975) {
        group_step(s->group, at + 1, &event);
    } else if (kind < 980) {
        event.type = RAFT_CAMPAIGN;
        group_step(s->group, at + 1, &event);
    } else if (kind < 985) {
        event.type = RAFT_FORGET_LEADER;
        group_step(s->group, at + 1, &event);
    } else if (kind < 990) {
        event.type = RAFT_UNREACHABLE;
        event.peer = 1 + schedule_draw(s, s->group->count);
        group_step(s->group, at + 1, &event);
    }
}

/* Proposals go to whoever thinks that it leads; the rest to anybody. */
void schedule_client(struct schedule *s)
{
    size_t at = schedule_draw(s, s->group->count);
    for (size_t i = 0; i < s->group->count && schedule_chance(s, 80); i++) {
        size_t candidate = schedule_draw(s, s->group->count);
        if (schedule_is_up(s, candidate) && schedule_status_of(s, candidate).role == RAFT_LEADER) {
            at = candidate;
            break;
        }
    }
    if (schedule_is_up(s, at))
        ask(s, at);
    s->client_at = s->group->now_us + 100 + schedule_draw(s, 8 * US_PER_MS);
}

/* ---- trouble ---- */

void schedule_heal(struct schedule *s)
{
    memset(s->cut, 0, sizeof s->cut);
    s->loss_percent = s->duplicate_percent = s->slow_percent = 0;
}

void schedule_restart_all(struct schedule *s)
{
    for (size_t i = 0; i < s->group->count; i++)
        group_start(s->group, i + 1);
}

static void split(struct schedule *s)
{
    bool side[GROUP_MAX];
    bool is_one_way = schedule_chance(s, 30);
    for (size_t i = 0; i < s->group->count; i++)
        side[i] = schedule_chance(s, 50);
    for (size_t i = 0; i < s->group->count; i++)
        for (size_t j = 0; j < s->group->count; j++)
            s->cut[i][j] = side[i] != side[j] && (!is_one_way || side[i]);
}

/* Any link may be cut, either way. */
static void cut_links(struct schedule *s)
{
    unsigned percent = (unsigned)schedule_draw(s, 60);
    for (size_t i = 0; i < s->group->count; i++)
        for (size_t j = 0; j < s->group->count; j++)
            s->cut[i][j] = i != j && schedule_chance(s, percent);
}

/* Whoever thinks that it leads is heard by nobody, and perhaps hears nobody. */
static void isolate_leaders(struct schedule *s)
{
    bool is_deaf = schedule_chance(s, 70);
    for (size_t i = 0; i < s->group->count; i++) {
        if (!schedule_is_up(s, i) || schedule_status_of(s, i).role != RAFT_LEADER)
            continue;
        for (size_t j = 0; j < s->group->count; j++) {
            s->cut[i][j] = true;
            s->cut[j][i] |= is_deaf;
        }
    }
}

void schedule_crash_leaders(struct schedule *s)
{
    for (size_t i = 0; i < s->group->count; i++)
        if (schedule_is_up(s, i) && schedule_status_of(s, i).role == RAFT_LEADER)
            schedule_crash(s, i);
}

/* So many may be ailing that the others still elect a leader; but all may, when none is damaged. */
static void lose(struct schedule *s)
{
    struct group *group = s->group;
    size_t at = schedule_draw(s, group->first.count), most = (group->first.count - 1) / 2;
    bool is_cut = schedule_chance(s, 50);
    unsigned losers = 0;
    size_t ailing = group_ailing(group, GROUP_SUSPECT);
    for (size_t i = 0; i < group->first.count; i++) {
        bool is_whole = group->replicas[i].health == GROUP_WHOLE;
        if (!schedule_chance(s, 70) ||
            (is_whole && group_ailing(group, GROUP_DAMAGED) > 0 && ailing >= most))
            continue;
        losers |= 1U << i;
        ailing += is_whole;
    }
    if (is_cut) {
        for (size_t i = 0; i < group->count; i++)
            schedule_crash(s, i);
        group_power_cut(group, losers);
        schedule_restart_all(s);
    } else if (group_ailing(group, GROUP_SUSPECT) <
               most + (group->replicas[at].health != GROUP_WHOLE)) {
        schedule_crash(s, at);
        group_damage(group, at + 1, schedule_draw(s, 30), schedule_chance(s, 50));
        group_start(group, at + 1);
    }
}

/* The same where members come and go. */
static void lose_among_changes(struct schedule *s)
{
    struct group *group = s->group;
    size_t at = schedule_draw(s, group->count);
    bool is_cut = schedule_chance(s, 50),
         is_anybody_damaged = group_ailing(group, GROUP_DAMAGED) > 0;
    unsigned losers = 0;
    for (size_t i = 0; is_cut && i < group->count; i++)
        if (schedule_chance(s, 70) &&
            (!is_anybody_damaged || group_can_spare(group, losers | 1U << i, NULL)))
            losers |= 1U << i;
    if (is_cut) {
        for (size_t i = 0; i < group->count; i++)
            schedule_crash(s, i);
        group_power_cut(group, losers);
        schedule_restart_all(s);
    } else if (group_can_spare(group, 1U << at, NULL)) {
        schedule_crash(s, at);
        group_damage(group, at + 1, schedule_draw(s, 30), schedule_chance(s, 50));
        group_start(group, at + 1);
    }
}

void schedule_nemesis(struct schedule *s)
{
    size_t at = schedule_draw(s, s->group->count);
    if (s->can_lose && schedule_chance(s, 30)) {
        (s->can_change ? lose_among_changes : lose)(s);
        s->nemesis_at = s->group->now_us + schedule_draw(s, 800 * US_PER_MS) + 1;
        return;
    }
    struct raft_event failed = {.type = RAFT_PERSIST_FAILED};
    switch (schedule_draw(s, 14)) {
    case 0:
    case 1:
        schedule_crash(s, at);
        break;
    case 2:
        for (size_t i = 0; i < s->group->count; i++)
            schedule_crash(s, i);
        schedule_restart_all(s);
        break;
    case 3:
    case 4:
        schedule_restart_all(s);
        break;
    case 5:
        split(s);
        break;
    case 6:
        s->loss_percent = (unsigned)schedule_draw(s, 30);
        s->duplicate_percent = (unsigned)schedule_draw(s, 20);
        s->slow_percent = (unsigned)schedule_draw(s, 20);
        break;
    case 7:
        s->stalled_until[at] = s->group->now_us + schedule_draw(s, 1000 * US_PER_MS);
        break;
    case 8:
        group_step(s->group, at + 1, &failed);
        if (schedule_chance(s, 50))
            schedule_crash(s, at);
        break;
    case 9:
    case 10:
        isolate_leaders(s);
        break;
    case 11:
        schedule_crash_leaders(s);
        break;
    case 12:
        cut_links(s);
        break;
    default:
        schedule_heal(s);
        schedule_restart_all(s);
        break;
    }
    s->nemesis_at = s->group->now_us + schedule_draw(s, 400 * US_PER_MS) + 1;
}

/* ---- the failure detector ---- */

/* A host looks who can be heard, and tells its replica; who has restarted was down. */
void schedule_look(struct schedule *s, size_t at)
{
    for (size_t i = 0; i < s->group->count; i++) {
        const struct group_replica *peer = &s->group->replicas[i];
        uint64_t seen = schedule_is_up(s, i) && !s->cut[i][at] ? peer->starts : 0;
        struct raft_event event = {.type = RAFT_PEER_DOWN, .peer = i + 1};
        if (seen != s->seen[at][i])
            group_step(s->group, at + 1, &event);
        event.type = seen != 0 ? RAFT_PEER_UP : RAFT_PEER_DOWN;
        group_step(s->group, at + 1, &event);
        s->seen[at][i] = seen;
    }
    s->look_at[at] = s->group->now_us + LOOK_US / 2 + schedule_draw(s, LOOK_US);
}

/* ---- what disks have lost ---- */

void schedule_repair(struct schedule *s, size_t at)
{
    for (size_t i = 0; i < s->group->count; i++) {
        group_repair_hear(s->group, at + 1, i + 1);
        if (!s->cut[at][i] && !s->cut[i][at] && schedule_chance(s, 70))
            group_repair_ask(s->group, at + 1, i + 1);
    }
}
