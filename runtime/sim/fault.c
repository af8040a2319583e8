#include "sim/fault.h"

#include <string.h>

#include "sim/clock.h"
#include "sim/internal.h"

/* ---- settings of nodes ---- */

static void set_delays(struct sim_node_settings *settings, enum env_fault fault,
                       const struct env_fault_value *value)
{
    if (fault == ENV_FAULT_TURN_DELAY)
        settings->turn_delay = value->delay;
    else if (fault == ENV_FAULT_WORK_DELAY)
        settings->work_delay = value->delay;
    else if (fault == ENV_FAULT_DISK_DELAY)
        settings->disk_delay = value->delay;
    else if (fault == ENV_FAULT_DISK_SYNC_DELAY)
        settings->disk_sync_delay = value->delay;
    else if (fault == ENV_FAULT_DISK_WRITEBACK)
        settings->disk_writeback = value->delay;
}

/* Where a setting of parts of a million is kept, or NULL. */
static uint32_t *ppm_of(struct sim_node_settings *settings, enum env_fault fault)
{
    switch (fault) {
    case ENV_FAULT_DISK_READ_ERROR:
        return &settings->disk_read_error_ppm;
    case ENV_FAULT_DISK_WRITE_ERROR:
        return &settings->disk_write_error_ppm;
    case ENV_FAULT_DISK_PHANTOM:
        return &settings->disk_phantom_ppm;
    case ENV_FAULT_DISK_MISDIRECT:
        return &settings->disk_misdirect_ppm;
    case ENV_FAULT_DISK_SYNC_ERROR:
        return &settings->disk_sync_error_ppm;
    case ENV_FAULT_DISK_SYNC_LIE:
        return &settings->disk_sync_lie_ppm;
    case ENV_FAULT_DISK_KEEP:
        return &settings->disk_keep_ppm;
    case ENV_FAULT_DISK_TEAR:
        return &settings->disk_tear_ppm;
    case ENV_FAULT_DISK_GARBLE:
        return &settings->disk_garble_ppm;
    default:
        return NULL;
    }
}

static bool is_setting(enum env_fault fault)
{
    struct sim_node_settings any;
    return env_fault_info(fault)->unit == ENV_FAULT_UNIT_DELAY || ppm_of(&any, fault) != NULL ||
           fault == ENV_FAULT_DISK_CAPACITY;
}

static void set(struct sim_node_settings *settings, enum env_fault fault,
                const struct env_fault_value *value)
{
    uint32_t *ppm = ppm_of(settings, fault);
    if (ppm != NULL)
        *ppm = (uint32_t)value->number;
    else if (fault == ENV_FAULT_DISK_CAPACITY)
        settings->disk_capacity = (uint64_t)value->number;
    else
        set_delays(settings, fault, value);
}

/* ---- what happens to a node ---- */

static void stall(struct sim_node *node, uint64_t stall_us)
{
    uint64_t until_us = sim_node_now_us(node) + stall_us;
    if (until_us > node->disk_stalled_until_us)
        node->disk_stalled_until_us = until_us;
}

static int wipe(struct sim_node *node, struct peri_error *err)
{
    if (sim_node_is_up(node) || node->is_ending)
        return peri_fail_plain(err, PERI_EBUSY, "wipe: node %s is up; crash it first", node->name);
    int rc = sim_disk_wipe(node);
    return rc == 0 ? 0 : peri_fail(err, rc, "wipe the disk of node %s", node->name);
}

static int strike(struct sim_node *node, enum env_fault fault, const struct env_fault_value *value,
                  struct peri_error *err)
{
    switch (fault) {
    case ENV_FAULT_KILL:
        sim_node_kill(node);
        return 0;
    case ENV_FAULT_CRASH:
        sim_node_crash(node);
        return 0;
    case ENV_FAULT_PAUSE:
        sim_node_pause(node);
        return 0;
    case ENV_FAULT_RESUME:
        sim_node_resume(node);
        return 0;
    case ENV_FAULT_RESTART:
        return sim_node_start(node, err);
    case ENV_FAULT_WIPE:
        return wipe(node, err);
    case ENV_FAULT_CLOCK_SKEW:
        sim_clock_set_skew(node, value->number);
        return 0;
    case ENV_FAULT_CLOCK_JUMP:
        sim_clock_jump(node, value->number);
        return 0;
    case ENV_FAULT_CLOCK_DRIFT:
        sim_clock_set_drift(node, value->number);
        return 0;
    case ENV_FAULT_DISK_STALL:
        stall(node, (uint64_t)value->number);
        return 0;
    case ENV_FAULT_DISK_FLIP:
        sim_disk_flip(node, (uint64_t)value->number);
        return 0;
    default:
        set(&node->settings, fault, value);
        return 0;
    }
}

/* To every node; the first that cannot ends it. */
static int strike_all(struct sim_world *world, enum env_fault fault,
                      const struct env_fault_value *value, struct peri_error *err)
{
    int rc = 0;
    if (is_setting(fault))
        set(&world->settings, fault, value);
    for (size_t i = 0; rc == 0 && i < world->node_count; i++)
        rc = strike(world->nodes[i], fault, value, err);
    return rc;
}

/* ---- the one entry ---- */

static uint64_t hash_of(const struct env_fault_info *info, const struct sim_node *from,
                        const struct sim_node *to, const struct env_fault_value *value)
{
    const struct env_delay *delay = &value->delay;
    uint64_t hash = sim_mix(from != NULL ? from->index : 0, to != NULL ? to->index : 0);
    hash = sim_mix(hash, sim_hash_bytes(info->name, strlen(info->name)));
    if (info->unit != ENV_FAULT_UNIT_DELAY)
        return sim_mix(hash, (uint64_t)value->number);
    hash = sim_mix(hash, (uint64_t)delay->shape);
    return sim_mix(sim_mix(hash, delay->low_us), sim_mix(delay->high_us, delay->tail_us));
}

static void note(struct sim_world *world, const struct env_fault_info *info,
                 const struct sim_node *from, const struct sim_node *to,
                 const struct env_fault_value *value)
{
    bool is_link = info->target == ENV_FAULT_TARGET_LINK;
    char text[ENV_FAULT_TEXT_SIZE];
    env_fault_format(info->unit, value, text);
    sim_world_note(world, NULL, "fault", hash_of(info, from, to, value), "%s %s%s%s%s%s",
                   info->name, from != NULL ? from->name : "all", is_link ? " -> " : "",
                   is_link ? (to != NULL ? to->name : "all") : "", *text != '\0' ? " " : "", text);
}

int sim_fault_apply(struct sim_world *world, enum env_fault fault, struct sim_node *from,
                    struct sim_node *to, const struct env_fault_value *value,
                    struct peri_error *err)
{
    static const struct env_fault_value none = {0};
    const struct env_fault_info *info = env_fault_info(fault);
    if (value == NULL)
        value = &none;
    int rc = env_fault_check(fault, value, err);
    if (rc != 0)
        return rc;
    note(world, info, from, to, value);
    if (info->target == ENV_FAULT_TARGET_LINK) {
        rc = sim_net_set(world, fault, from, to, value);
        return rc == 0 ? 0 : peri_fail(err, rc, "fault %s", info->name);
    }
    return from != NULL ? strike(from, fault, value, err) : strike_all(world, fault, value, err);
}
