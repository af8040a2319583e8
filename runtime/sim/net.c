#include "sim/net.h"

#include <stdlib.h>

#include "sim/net_internal.h"

enum { LINKS_MIN = 64 };

/* ---- links: an open hash table of those that have settings of their own ---- */

static uint64_t key_of(const struct sim_node *from, const struct sim_node *to)
{
    uint64_t from_index = from != NULL ? from->index : 0;
    return from_index << 32 | (to != NULL ? to->index : 0);
}

static size_t slot_of(const struct sim_net *net, uint64_t key)
{
    size_t slot = (size_t)sim_mix(0, key) & (net->capacity - 1);
    while (net->links[slot].is_used && net->links[slot].key != key)
        slot = (slot + 1) & (net->capacity - 1);
    return slot;
}

static struct sim_link *find_link(const struct sim_net *net, const struct sim_node *from,
                                  const struct sim_node *to)
{
    if (net->count == 0)
        return NULL;
    struct sim_link *link = &net->links[slot_of(net, key_of(from, to))];
    return link->is_used ? link : NULL;
}

static int grow(struct sim_net *net)
{
    struct sim_net bigger = *net;
    bigger.capacity = net->capacity == 0 ? LINKS_MIN : net->capacity * 2;
    bigger.links = calloc(bigger.capacity, sizeof *bigger.links);
    if (bigger.links == NULL)
        return PERI_ENOMEM;
    for (size_t i = 0; i < net->capacity; i++)
        if (net->links[i].is_used)
            bigger.links[slot_of(&bigger, net->links[i].key)] = net->links[i];
    free(net->links);
    *net = bigger;
    return 0;
}

static struct sim_link *need_link(struct sim_net *net, const struct sim_node *from,
                                  const struct sim_node *to)
{
    if (net->count * 2 >= net->capacity && grow(net) != 0)
        return NULL;
    struct sim_link *link = &net->links[slot_of(net, key_of(from, to))];
    if (!link->is_used) {
        *link = (struct sim_link){.is_used = true, .key = key_of(from, to)};
        net->count++;
    }
    return link;
}

static void copy_setting(struct sim_link_settings *to, const struct sim_link_settings *from,
                         enum env_fault fault)
{
    if (fault == ENV_FAULT_LATENCY)
        to->latency = from->latency;
    else if (fault >= ENV_FAULT_LOSS && fault <= ENV_FAULT_RESET)
        to->ppm[fault] = from->ppm[fault];
    else if (fault == ENV_FAULT_BANDWIDTH)
        to->bandwidth = from->bandwidth;
    else if (fault == ENV_FAULT_CUT)
        to->is_cut = from->is_cut;
    else
        to->is_held = from->is_held;
}

static void overlay(struct sim_link_settings *settings, const struct sim_link *link)
{
    if (link == NULL)
        return;
    for (int fault = ENV_FAULT_LATENCY; fault <= ENV_FAULT_HOLD; fault++)
        if ((link->mask & 1U << fault) != 0)
            copy_setting(settings, &link->settings, (enum env_fault)fault);
}

/* The settings that hold between two nodes: the world's, but for those of all links to the one, of
 * all links from the other, and of this link. */
static struct sim_link_settings settings_of(const struct sim_net *net, const struct sim_node *from,
                                            const struct sim_node *to)
{
    struct sim_link_settings settings = net->settings;
    if (net->count > 0) {
        overlay(&settings, find_link(net, NULL, to));
        overlay(&settings, find_link(net, from, NULL));
        overlay(&settings, find_link(net, from, to));
    }
    return settings;
}

static void set(struct sim_link_settings *settings, enum env_fault fault,
                const struct env_fault_value *value)
{
    settings->latency = fault == ENV_FAULT_LATENCY ? value->delay : settings->latency;
    if (fault >= ENV_FAULT_LOSS && fault <= ENV_FAULT_RESET)
        settings->ppm[fault] = (uint32_t)value->number;
    if (fault == ENV_FAULT_BANDWIDTH)
        settings->bandwidth = (uint64_t)value->number;
    if (fault == ENV_FAULT_CUT)
        settings->is_cut = value->number != 0;
    if (fault == ENV_FAULT_HOLD)
        settings->is_held = value->number != 0;
}

static bool is_held(const struct sim_net *net, const struct sim_node *from,
                    const struct sim_node *to)
{
    return settings_of(net, from, to).is_held;
}

/* What was held and is not any more leaves in the order in which it was sent. */
/* When a held packet comes after all: a piece of a stream not before those that were sent before.
 */
static uint64_t release_us(const struct sim_world *world, const struct sim_packet *packet)
{
    bool is_piece = packet->kind == SIM_PACKET_MESSAGE && packet->conn->base.carries_bytes;
    return is_piece && packet->conn->arrives_us > world->now_us ? packet->conn->arrives_us
                                                                : world->now_us;
}

static void release_held(struct sim_world *world)
{
    struct sim_net *net = &world->net;
    for (struct peri_list *at = net->held.next; at != &net->held;) {
        struct sim_packet *packet = container_of(at, struct sim_packet, held);
        struct sim_node *to = packet->event.node;
        at = at->next;
        if (is_held(net, packet->from, to))
            continue;
        peri_list_remove(&packet->held);
        sim_event_schedule(world, &packet->event, release_us(world, packet));
    }
}

int sim_net_set(struct sim_world *world, enum env_fault fault, struct sim_node *from,
                struct sim_node *to, const struct env_fault_value *value)
{
    struct sim_net *net = &world->net;
    struct sim_link *link = NULL;
    if (from != NULL || to != NULL) {
        link = need_link(net, from, to);
        if (link == NULL)
            return PERI_ENOMEM;
        link->mask |= 1U << fault;
    }
    set(link != NULL ? &link->settings : &net->settings, fault, value);
    if (fault == ENV_FAULT_HOLD)
        release_held(world);
    return 0;
}

bool sim_net_is_cut(const struct sim_world *world, const struct sim_node *from,
                    const struct sim_node *to)
{
    return from != to && settings_of(&world->net, from, to).is_cut;
}

/* ---- shapes ---- */

static void cut_one_way(struct sim_world *world, struct sim_node *from, struct sim_node *to)
{
    static const struct env_fault_value on = {.number = 1};
    if (from != to && sim_fault_apply(world, ENV_FAULT_CUT, from, to, &on, NULL) != 0)
        sim_world_fail(world);
}

static void cut(struct sim_world *world, struct sim_node *a, struct sim_node *b)
{
    cut_one_way(world, a, b);
    cut_one_way(world, b, a);
}

void sim_net_partition(struct sim_world *world, struct sim_node *const *left, size_t left_count,
                       struct sim_node *const *right, size_t right_count)
{
    for (size_t i = 0; i < left_count; i++)
        for (size_t j = 0; j < right_count; j++)
            cut(world, left[i], right[j]);
}

void sim_net_isolate(struct sim_world *world, struct sim_node *node)
{
    cut(world, node, NULL);
}

void sim_net_bridge(struct sim_world *world, struct sim_node *const *nodes, size_t count)
{
    size_t middle = count / 2;
    if (count > 0)
        sim_net_partition(world, nodes, middle, nodes + middle + 1, count - middle - 1);
}

void sim_net_ring(struct sim_world *world, struct sim_node *const *nodes, size_t count)
{
    size_t reach = (count / 2 + 1) / 2; /* to each side; with the node itself, a majority */
    if (count <= 3) {                   /* no ring is that small: all would see all */
        sim_net_bridge(world, nodes, count);
        return;
    }
    for (size_t i = 0; i < count; i++)
        for (size_t j = i + 1; j < count; j++) {
            size_t distance = j - i < count - (j - i) ? j - i : count - (j - i);
            if (distance > reach)
                cut(world, nodes[i], nodes[j]);
        }
}

void sim_net_heal(struct sim_world *world)
{
    struct sim_net *net = &world->net;
    for (size_t i = 0; i < net->capacity; i++)
        net->links[i].mask &= ~(1U << ENV_FAULT_CUT | 1U << ENV_FAULT_HOLD);
    net->settings.is_cut = net->settings.is_held = false;
    sim_world_note(world, NULL, "heal", 0, "%s", "");
    release_held(world);
}

void sim_net_set_labs(struct sim_world *world, const struct sim_net_labs *labs)
{
    world->net.labs = *labs;
}

struct sim_net_counts sim_net_counts(const struct sim_world *world)
{
    return world->net.counts;
}

/* ---- fates ---- */

static void decide_message(struct sim_stream *stream, const struct sim_link_settings *settings,
                           struct sim_packet *packet, struct sim_fate *fate)
{
    const uint32_t *ppm = settings->ppm;
    fate->is_lost = sim_stream_chance(stream, ppm[ENV_FAULT_LOSS]);
    fate->is_reset = sim_stream_chance(stream, ppm[ENV_FAULT_RESET]);
    fate->is_duplicated = sim_stream_chance(stream, ppm[ENV_FAULT_DUPLICATE]);
    packet->is_damaged = sim_stream_chance(stream, ppm[ENV_FAULT_CORRUPT]);
    packet->is_late = sim_stream_chance(stream, ppm[ENV_FAULT_REORDER]);
}

/* The time that the packet waits for those before it, and itself takes, at the link's bandwidth. */
static int queue(struct sim_net *net, const struct sim_packet *packet, struct sim_node *to,
                 uint64_t bandwidth, uint64_t now_us, uint64_t *delay_us)
{
    enum { US_PER_S = 1000000, HEADER_BYTES = 64 };
    if (bandwidth == 0)
        return 0;
    struct sim_link *link = need_link(net, packet->from, to);
    if (link == NULL)
        return PERI_ENOMEM;
    uint64_t takes_us = (packet->size + HEADER_BYTES) * US_PER_S / bandwidth;
    link->free_us = (link->free_us > now_us ? link->free_us : now_us) + takes_us;
    *delay_us += link->free_us - now_us;
    return 0;
}

int sim_net_decide(struct sim_world *world, struct sim_packet *packet, struct sim_node *to,
                   bool is_request, struct sim_fate *fate)
{
    enum { LOOPBACK_US = 10 };
    struct sim_net *net = &world->net;
    struct sim_stream *stream = &packet->from->streams[SIM_NET];
    uint64_t now_us = sim_node_now_us(packet->from);
    uint64_t delay_us = LOOPBACK_US;
    *fate = (struct sim_fate){.at_us = now_us + delay_us};
    if (packet->from == to)
        return 0;
    const struct sim_link_settings settings = settings_of(net, packet->from, to);
    fate->is_cut = settings.is_cut;
    if (fate->is_cut)
        return 0;
    if (net->labs.is_on) {
        delay_us = sim_labs_decide(stream, &net->labs, packet, is_request, fate);
    } else {
        if (packet->kind == SIM_PACKET_MESSAGE)
            decide_message(stream, &settings, packet, fate);
        delay_us = sim_stream_delay(stream, &settings.latency);
    }
    int rc = queue(net, packet, to, settings.bandwidth, now_us, &delay_us);
    fate->at_us = now_us + delay_us;
    return rc;
}

void sim_net_travel(struct sim_world *world, struct sim_packet *packet, struct sim_node *to,
                    uint64_t at_us)
{
    if (packet->from != to && is_held(&world->net, packet->from, to))
        peri_list_append(&world->net.held, &packet->held);
    else
        sim_event_schedule(world, &packet->event, at_us);
}

void sim_net_init(struct sim_world *world)
{
    peri_list_init(&world->net.held);
    world->net.settings.latency = (struct env_delay){ENV_DELAY_UNIFORM, 500, 1500, 0};
}

void sim_net_deinit(struct sim_world *world)
{
    PERI_ASSERT(peri_list_is_empty(&world->net.held));
    free(world->net.links);
}
