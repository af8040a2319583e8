/* Fuzzes the Raft core: bytes become events.
 *
 * The first byte chooses. A group of up to five replicas in memory, whose messages come twice,
 * late, in another order or never, whose disks lose what was not written, and in groups whose
 * members stay what was, too: all invariants and oracles of raft_group.h hold after every step, and
 * what a correct replica sends is never refused.
 * Or one replica against anything: it may refuse, and is then unchanged; it never breaks an
 * invariant of its own. The group's replicas meet anything, too, as copies (loaded from their
 * dumps). */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "raft_group.h"
#include "raft_hostile.h"

enum { US_PER_MS = 1000, DELIVERIES = 24, SMALL_SIZES = 16, SLEEP_AFTER_US = 60000 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* ---- choices ---- */

struct input {
    const uint8_t *data;
    size_t size;
};

static uint64_t take(struct input *input)
{
    if (input->size == 0)
        return 0;
    input->size--;
    return *input->data++;
}

static uint64_t draw(void *data, uint64_t below)
{
    return take(data) % below;
}

static void must_hold(const struct peri_error *err)
{
    if (err->code == 0)
        return;
    fprintf(stderr, "broken: %s\n", err->text);
    abort();
}

/* ---- one replica against anything ---- */

static struct raft *create(struct input *input)
{
    struct raft_options options;
    raft_options_init(&options, 1, 1);
    uint64_t choice = take(input);
    options.has_leases = choice % 2 == 0;
    options.sleep_after_us = choice / 8 % 2 * SLEEP_AFTER_US;
    options.sizes_max = SMALL_SIZES;
    options.message_max_bytes = choice;
    struct raft_history history = {0};
    uint64_t voters[] = {1, 2, 3};
    PERI_ASSERT(raft_configuration_init(&history.configuration, voters, 1 + choice / 2 % 3, NULL) ==
                0);
    struct raft_boot boot = {
        .configurations = &history, .configuration_count = 1, .is_impaired = choice / 16 % 4 == 3};
    struct raft *raft = NULL;
    PERI_ASSERT(raft_create(&raft, &options, &boot, NULL) == 0);
    return raft;
}

static void check_dump(const struct raft *raft, const struct raft_hostile_source *source)
{
    struct peri_error err = PERI_ERROR_INIT;
    struct raft *same = NULL;
    if (raft_hostile_copy(&same, raft, &err) == 0)
        raft_hostile_load(raft, source, &err);
    raft_close(same);
    must_hold(&err);
}

static void run_one(struct input *input)
{
    static struct raft_output out;
    struct raft_hostile_source source = {draw, input};
    struct peri_error err = PERI_ERROR_INIT;
    struct raft *raft = create(input);
    uint64_t now_us = 0;
    while (input->size > 0) {
        struct raft_hostile hostile;
        now_us += take(input) * 500;
        raft_hostile_make(&hostile, raft, now_us, &source);
        raft_hostile_step(raft, &hostile.event, &out, &err);
        must_hold(&err);
    }
    check_dump(raft, &source);
    raft_close(raft);
}

/* ---- a group ---- */

/* A replica meets a damaged message, or anything. It is a copy: the group goes on without. */
static void meet_anything(struct group *group, uint64_t id, struct input *input)
{
    static struct raft_output out;
    struct raft_hostile_source source = {draw, input};
    struct peri_error err = PERI_ERROR_INIT;
    struct raft *copy = NULL;
    const struct raft *raft = group_replica(group, id)->raft;
    if (raft == NULL || raft_hostile_copy(&copy, raft, &err) != 0) {
        must_hold(&err);
        return;
    }
    struct raft_hostile hostile;
    raft_hostile_make(&hostile, copy, group->now_us, &source);
    if (hostile.event.type == RAFT_MESSAGE && group->packet_count > 0) {
        hostile.message = group->packets[take(input) % group->packet_count].message;
        hostile.message.to = id;
        hostile.event.message = &hostile.message;
        raft_hostile_damage(&hostile.message, &source);
    }
    raft_hostile_step(copy, &hostile.event, &out, &err);
    must_hold(&err);
    raft_close(copy);
}

static void write_all(struct group *group)
{
    for (uint64_t id = 1; id <= group->count; id++)
        group_persist(group, id, SIZE_MAX);
}

/* Everything that is on its way arrives, in order, and so does what follows from it. */
static void come_to_rest(struct group *group)
{
    write_all(group);
    for (int i = 0; i < DELIVERIES && group->packet_count > 0; i++) {
        group_deliver(group, 0, false);
        write_all(group);
        for (uint64_t id = 1; id <= group->count; id++) {
            group_apply(group, id);
            group_fetch(group, id);
        }
    }
}

static void change(struct group *group, uint64_t id, struct input *input)
{
    struct raft_change changes[2];
    size_t count = 1 + take(input) % 2;
    for (size_t i = 0; i < count; i++) {
        uint64_t choice = take(input);
        changes[i] = (struct raft_change){(enum raft_change_type)(choice % 4),
                                          1 + choice / 4 % group->count};
    }
    struct raft_event event = {.type = RAFT_CHANGE, .changes = changes, .count = count};
    group_step(group, id, &event);
}

/* In a group whose disks lose things: they do, and who has lost something asks, and hears. */
static void lose(struct group *group, uint64_t id, struct input *input)
{
    uint64_t choice = take(input), peer = 1 + choice / 4 % group->count;
    switch (choice % 4) {
    case 0:
        group_damage(group, id, choice / 8, choice / 4 % 2 == 0);
        break;
    case 1:
        group_power_cut(group, (unsigned)choice / 4);
        break;
    case 2:
        group_repair_ask(group, id, peer);
        break;
    default:
        for (peer = 1; peer <= group->count; peer++) {
            group_repair_ask(group, id, peer);
            group_repair_hear(group, id, peer);
        }
    }
    if (choice % 4 == 2)
        group_repair_hear(group, id, peer);
}

static void ask(struct group *group, uint64_t id, struct input *input)
{
    static const enum raft_event_type TYPES[] = {
        RAFT_TRANSFER, RAFT_CAMPAIGN,  RAFT_FORGET_LEADER, RAFT_UNREACHABLE,
        RAFT_PEER_UP,  RAFT_PEER_DOWN, RAFT_PRIORITY,      RAFT_PEER_UP};
    uint64_t choice = take(input);
    struct raft_event event = {.type = TYPES[choice % 8], .peer = choice / 8 % (group->count + 1)};
    event.success = event.type == RAFT_CAMPAIGN && choice / 128 % 2 == 1;
    if (event.type == RAFT_PRIORITY)
        event.index = RAFT_PRIORITY_MAX - event.peer;
    group_step(group, id, &event);
}

static void let_time_pass(struct group *group, uint64_t id, struct input *input)
{
    struct group_replica *replica = group_replica(group, id);
    uint64_t choice = take(input);
    if (choice < 200 || replica->raft == NULL || raft_deadline_us(replica->raft) == UINT64_MAX)
        group->now_us += choice * US_PER_MS;
    else if (raft_deadline_us(replica->raft) > group->now_us)
        group->now_us = raft_deadline_us(replica->raft);
    struct raft_event event = {.type = RAFT_TIME};
    group_step(group, id, &event);
}

static void stop_or_start(struct group *group, uint64_t id, struct input *input)
{
    if (group_replica(group, id)->raft != NULL)
        group_crash(group, id, take(input));
    else
        group_start(group, id);
}

static void act(struct group *group, bool can_lose, struct input *input)
{
    uint64_t choice = take(input), id = 1 + choice / 16 % group->count;
    switch (choice % 16) {
    case 0:
    case 1:
    case 2:
    case 3:
        if (group->packet_count > 0)
            group_deliver(group, take(input) % group->packet_count, choice % 16 == 3);
        break;
    case 4:
        if (group->packet_count > 0)
            group_drop(group, take(input) % group->packet_count);
        break;
    case 5:
        let_time_pass(group, id, input);
        break;
    case 6:
        group_persist(group, id, 1 + choice / 128);
        break;
    case 7:
        group_apply(group, id);
        group_fetch(group, id);
        break;
    case 8:
        group_propose(group, id, choice, (uint32_t)take(input));
        break;
    case 9:
        group_read(group, id);
        break;
    case 10:
        if (can_lose)
            lose(group, id, input);
        else
            change(group, id, input);
        break;
    case 11:
        ask(group, id, input);
        break;
    case 12:
        stop_or_start(group, id, input);
        break;
    case 13:
        group_snapshot(group, id, take(input));
        break;
    case 14:
        meet_anything(group, id, input);
        break;
    default:
        come_to_rest(group);
    }
}

static void run_group(struct input *input)
{
    struct raft_options options;
    raft_options_init(&options, 1, 1);
    uint64_t choice = take(input), voters = 1 + choice % 4;
    options.has_leases = choice / 4 % 2 == 0;
    options.sleep_after_us = choice / 16 % 2 * SLEEP_AFTER_US;
    options.sizes_max = SMALL_SIZES;
    options.message_max_bytes = 1 + take(input);
    options.inflight_max_bytes = options.unapplied_max_bytes = 2 * options.message_max_bytes;
    struct group *group = group_create(voters, voters + choice / 8 % 2, choice, &options);
    for (uint64_t id = 1; id <= group->count; id++)
        group_start(group, id);
    while (input->size > 0 && group->err.code == 0)
        act(group, choice / 32 % 2 != 0, input);
    must_hold(&group->err);
    group_close(group);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input input = {data, size};
    if (take(&input) % 2 == 0)
        run_one(&input);
    else
        run_group(&input);
    return 0;
}
