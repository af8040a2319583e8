#include "raft_random.h"

#include <inttypes.h>
#include <stdbool.h>
#include <string.h>

#include "raft_random_parts.h"

enum { PEACE_US = 20000000, SLEEP_US = 5000000 };

/* ---- what becomes due ---- */

/* A few slow packets come when everybody has forgotten them. */
static uint64_t latency_us(struct schedule *s)
{
    if (!schedule_chance(s, s->slow_percent))
        return 100 + schedule_draw(s, 2 * US_PER_MS);
    return schedule_draw(s, (schedule_chance(s, 20) ? 3000 : 200) * US_PER_MS);
}

/* Decides what becomes of packets that were just sent. */
static void assign_packets(struct schedule *s)
{
    struct group *group = s->group;
    for (size_t i = 0; i < group->packet_count;) {
        struct group_packet *packet = &group->packets[i];
        if (packet->at_us != 0) {
            i++;
            continue;
        }
        size_t from = packet->message.from - 1, to = packet->message.to - 1;
        if (s->cut[from][to] || schedule_chance(s, s->loss_percent)) {
            group_drop(group, i);
            continue;
        }
        packet->at_us = group->now_us + latency_us(s);
        i++;
    }
}

static void assign_work(struct schedule *s)
{
    struct group *group = s->group;
    for (size_t i = 0; i < group->count; i++) {
        struct group_replica *replica = &group->replicas[i];
        if (replica->raft == NULL)
            continue;
        if (replica->write_count > 0 && s->persist_at[i] == 0)
            s->persist_at[i] = group->now_us + 100 + schedule_draw(s, 3 * US_PER_MS);
        if (s->persist_at[i] != 0 && s->persist_at[i] < s->stalled_until[i])
            s->persist_at[i] = s->stalled_until[i];
        if (replica->apply_last != 0 && s->apply_at[i] == 0)
            s->apply_at[i] = group->now_us + schedule_draw(s, US_PER_MS);
        if (group_has_fetch(replica) && s->fetch_at[i] == 0)
            s->fetch_at[i] = group->now_us + schedule_draw(s, 5 * US_PER_MS);
        if (replica->health != GROUP_WHOLE && s->repair_at[i] == 0)
            s->repair_at[i] = group->now_us + schedule_draw(s, 100 * US_PER_MS);
    }
}

static void earliest(uint64_t *best, uint64_t at, int *what, int candidate)
{
    if (at != 0 && at < *best) {
        *best = at;
        *what = candidate;
    }
}

enum {
    DUE_PACKET,
    DUE_CLIENT,
    DUE_NEMESIS,
    DUE_TIME,
    DUE_PERSIST = 100,
    DUE_APPLY = 200,
    DUE_FETCH = 300,
    DUE_LOOK = 400,
    DUE_REPAIR = 500
};

/* What is due next; packets: which. */
static int next_due(struct schedule *s, uint64_t *at, size_t *packet)
{
    struct group *group = s->group;
    int what = -1;
    *at = UINT64_MAX;
    for (size_t i = 0; i < group->packet_count; i++)
        if (group->packets[i].at_us < *at) {
            *at = group->packets[i].at_us;
            *packet = i;
            what = DUE_PACKET;
        }
    earliest(at, s->client_at, &what, DUE_CLIENT);
    if (!s->is_peace)
        earliest(at, s->nemesis_at, &what, DUE_NEMESIS);
    for (size_t i = 0; i < group->count; i++) {
        struct group_replica *replica = &group->replicas[i];
        if (replica->raft == NULL)
            continue;
        uint64_t deadline = group_when_us(group, replica, raft_deadline_us(replica->raft));
        earliest(at, deadline, &what, DUE_TIME + (int)i);
        earliest(at, s->persist_at[i], &what, DUE_PERSIST + (int)i);
        earliest(at, s->apply_at[i], &what, DUE_APPLY + (int)i);
        earliest(at, s->fetch_at[i], &what, DUE_FETCH + (int)i);
        earliest(at, s->look_at[i], &what, DUE_LOOK + (int)i);
        earliest(at, s->repair_at[i], &what, DUE_REPAIR + (int)i);
    }
    return what;
}

/* ---- the run ---- */

static void act(struct schedule *s, int what, size_t packet)
{
    struct group *group = s->group;
    if (what == DUE_PACKET) {
        bool keep = schedule_chance(s, s->duplicate_percent);
        if (keep)
            group->packets[packet].at_us = group->now_us + latency_us(s) + 1;
        group_deliver(group, packet, keep);
    } else if (what == DUE_CLIENT) {
        schedule_client(s);
    } else if (what == DUE_NEMESIS) {
        schedule_nemesis(s);
    } else if (what >= DUE_REPAIR) {
        s->repair_at[what - DUE_REPAIR] = 0;
        schedule_repair(s, (size_t)(what - DUE_REPAIR));
    } else if (what >= DUE_LOOK) {
        schedule_look(s, (size_t)(what - DUE_LOOK));
    } else if (what >= DUE_FETCH) {
        s->fetch_at[what - DUE_FETCH] = 0;
        group_fetch(group, (uint64_t)(what - DUE_FETCH) + 1);
    } else if (what >= DUE_APPLY) {
        s->apply_at[what - DUE_APPLY] = 0;
        group_apply(group, (uint64_t)(what - DUE_APPLY) + 1);
    } else if (what >= DUE_PERSIST) {
        size_t at = (size_t)(what - DUE_PERSIST);
        s->persist_at[at] = 0;
        group_persist(group, at + 1, 1 + schedule_draw(s, group->replicas[at].write_count + 1));
    } else {
        struct raft_event event = {.type = RAFT_TIME};
        group_step(group, (uint64_t)(what - DUE_TIME) + 1, &event);
    }
}

/* The one replica that leads, or -1. */
static int leader_of(const struct schedule *s)
{
    int leader = -1;
    for (size_t i = 0; i < s->group->count; i++)
        if (schedule_is_up(s, i) && schedule_status_of(s, i).role == RAFT_LEADER) {
            if (leader >= 0)
                return -1;
            leader = (int)i;
        }
    return leader;
}

/* True when all members sleep. */
static bool is_asleep(const struct schedule *s)
{
    int leader = leader_of(s);
    if (leader < 0)
        return false;
    const struct raft_configuration *members = raft_members(s->group->replicas[leader].raft);
    for (size_t i = 0; i < members->count; i++)
        if (!schedule_status_of(s, members->ids[i] - 1).is_asleep)
            return false;
    return true;
}

/* True when there is one leader that everybody who belongs to the group has caught up with. */
static bool is_settled(const struct schedule *s)
{
    int at = leader_of(s);
    if (at < 0)
        return false;
    size_t leader = (size_t)at;
    struct raft_status best = schedule_status_of(s, leader);
    const struct raft_configuration *members = raft_members(s->group->replicas[leader].raft);
    if (best.last_applied != best.last_index || raft_configuration_is_joint(members) ||
        !raft_configuration_is_voter(members, best.id))
        return false;
    for (size_t i = 0; i < members->count; i++)
        if (s->group->replicas[members->ids[i] - 1].health != GROUP_WHOLE ||
            schedule_status_of(s, members->ids[i] - 1).last_applied != best.last_index ||
            s->group->replicas[members->ids[i] - 1].applied != best.last_index)
            return false;
    return true;
}

static void run_until(struct schedule *s, uint64_t end_us, bool until_settled)
{
    struct group *group = s->group;
    while (group->err.code == 0) {
        uint64_t at;
        size_t packet = 0;
        assign_packets(s);
        assign_work(s);
        int what = next_due(s, &at, &packet);
        if (what < 0 || at > end_us || (until_settled && is_settled(s)))
            return;
        if (group->now_us < at)
            group->now_us = at;
        act(s, what, packet);
        s->events++;
    }
}

static void choose_options(struct schedule *s, struct raft_options *options)
{
    raft_options_init(options, 1, s->random);
    options->message_max_bytes = 64 + schedule_draw(s, 2000);
    options->inflight_max_bytes = 100 + schedule_draw(s, 8000);
    options->unapplied_max_bytes = 50 + schedule_draw(s, 2000);
    options->uncommitted_max_bytes = 500 + schedule_draw(s, 20000);
    options->sizes_max = 16U << schedule_draw(s, 6);
    options->has_leases = schedule_chance(s, 50);
    options->sleep_after_us = schedule_chance(s, 50) ? (1 + schedule_draw(s, 100)) * US_PER_MS : 0;
}

static void begin_peace(struct schedule *s)
{
    schedule_heal(s);
    memset(s->stalled_until, 0, sizeof s->stalled_until);
    for (size_t i = 0; i < s->group->count; i++)
        if (schedule_is_up(s, i) && schedule_status_of(s, i).is_fenced)
            schedule_crash(s, i);
    schedule_restart_all(s);
    s->is_peace = true;
}

static void need_progress(struct schedule *s)
{
    uint64_t before = raft_watch_last(s->group->watch);
    begin_peace(s);
    run_until(s, s->group->now_us + PEACE_US / 4, false);
    s->client_at = 0;
    run_until(s, s->group->now_us + PEACE_US, true);
    if (s->group->err.code == 0 &&
        (!is_settled(s) || raft_watch_last(s->group->watch) <= before + 20))
        peri_fail_plain(&s->group->err, PERI_ECORRUPT,
                        "peace brought no progress: %" PRIu64 " entries, then %" PRIu64, before,
                        raft_watch_last(s->group->watch));
}

/* Without clients the group falls asleep, and when its leader stops then, it soon has another. */
static void need_sleep(struct schedule *s)
{
    s->client_at = 0;
    run_until(s, s->group->now_us + SLEEP_US, false);
    if (s->group->err.code == 0 && !is_asleep(s))
        peri_fail_plain(&s->group->err, PERI_ECORRUPT, "the group does not go to sleep");
    uint64_t elections = s->group->elections;
    schedule_crash_leaders(s);
    run_until(s, s->group->now_us + SLEEP_US, false);
    schedule_restart_all(s);
    run_until(s, s->group->now_us + SLEEP_US, true);
    if (s->group->err.code == 0 && (!is_settled(s) || s->group->elections == elections))
        peri_fail_plain(&s->group->err, PERI_ECORRUPT, "a sleeping group stays without leader");
}

static void add_totals(const struct schedule *s, struct raft_random_totals *totals)
{
    totals->events += s->events;
    totals->elections += s->group->elections;
    totals->commits += raft_watch_last(s->group->watch);
    totals->reads += s->group->reads_done;
    totals->snapshots += s->group->snapshots;
    totals->changes += s->group->changes;
    totals->crashes += s->crashes;
    totals->repairs += s->group->repairs;
}

/* In some schedules replicas differ. Peace needs one that may lead; the first always may. */
static void set_priority(struct schedule *s, uint64_t seed, uint64_t id)
{
    struct raft_event event = {.type = RAFT_PRIORITY};
    if (seed % 16 != 0)
        return;
    event.index = (seed / 16 * id + id) % RAFT_PRIORITY_MAX + 1;
    group_step(s->group, id, &event);
}

int raft_random_run(uint64_t seed, uint64_t duration_us, struct raft_random_totals *totals,
                    struct peri_error *err)
{
    struct schedule s = {.random = seed * 0x2545f4914f6cdd1d + 1,
                         .can_lose = seed % 7 == 0 || seed % 13 == 0,
                         .can_change = seed % 7 != 0};
    struct raft_options options;
    choose_options(&s, &options);
    size_t voters = 1 + schedule_draw(&s, 5),
           total = voters + schedule_draw(&s, GROUP_MAX - voters + 1);
    s.group = group_create(voters, total, seed, &options);
    s.group->checks_dumps = schedule_chance(&s, 5);
    for (size_t i = 0; i < total; i++) {
        s.group->replicas[i].skew_ppm = (int64_t)schedule_draw(&s, 2000) - 1000;
        group_start(s.group, i + 1);
        set_priority(&s, seed, i + 1);
        if (options.sleep_after_us != 0)
            s.look_at[i] = s.group->now_us + schedule_draw(&s, LOOK_US);
    }
    s.client_at = s.nemesis_at = s.group->now_us + US_PER_MS;
    run_until(&s, s.group->now_us + duration_us, false);
    if (s.group->err.code == 0)
        need_progress(&s);
    if (s.group->err.code == 0 && options.sleep_after_us != 0)
        need_sleep(&s);
    add_totals(&s, totals);
    int rc = s.group->err.code;
    if (rc != 0 && err != NULL)
        *err = s.group->err;
    group_close(s.group);
    return rc;
}

/* ---- partial connectivity ---- */

/* Cuts all links but these; true when a replica still hears a majority, itself included. */
static bool keep_links(struct schedule *s, unsigned links)
{
    size_t heard[GROUP_MAX] = {0};
    bool has_hub = false;
    unsigned bit = 0;
    for (size_t i = 0; i < s->group->count; i++)
        for (size_t j = i + 1; j < s->group->count; j++) {
            bool is_kept = (links >> bit++ & 1) != 0;
            s->cut[i][j] = s->cut[j][i] = !is_kept;
            heard[i] += is_kept;
            heard[j] += is_kept;
        }
    for (size_t i = 0; i < s->group->count; i++)
        has_hub |= heard[i] + 1 > s->group->count / 2;
    return has_hub;
}

static void need_leader(struct schedule *s, bool has_hub)
{
    uint64_t before = raft_watch_last(s->group->watch);
    s->client_at = 0;
    run_until(s, s->group->now_us + 4 * s->group->options.election_max_us, false);
    uint64_t elections = s->group->elections;
    s->client_at = s->group->now_us;
    run_until(s, s->group->now_us + 2000 * US_PER_MS, false);
    uint64_t after = raft_watch_last(s->group->watch);
    if (s->group->err.code != 0)
        return;
    if (has_hub && (s->group->elections != elections || after < before + 20))
        peri_fail(&s->group->err, PERI_ECORRUPT,
                  "%" PRIu64 " elections too late, and %" PRIu64 " entries",
                  s->group->elections - elections, after - before);
    else if (!has_hub && after != before)
        peri_fail_plain(&s->group->err, PERI_ECORRUPT, "committed without a majority");
}

int raft_random_links(uint64_t seed, unsigned links, struct peri_error *err)
{
    struct schedule s = {.random = seed * 0x2545f4914f6cdd1d + 1, .is_peace = true};
    struct raft_options options;
    raft_options_init(&options, 1, seed);
    options.has_leases = schedule_chance(&s, 50);
    s.group = group_create(5, 5, seed, &options);
    schedule_restart_all(&s);
    run_until(&s, s.group->now_us + 2000 * US_PER_MS, false);
    need_leader(&s, keep_links(&s, links));
    int rc = s.group->err.code;
    if (rc != 0 && err != NULL)
        *err = s.group->err;
    group_close(s.group);
    return rc;
}
