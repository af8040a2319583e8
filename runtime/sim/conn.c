/* conn.c - simulated connections. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim/net_internal.h"

static struct sim_conn *conn_of(const struct env_conn *conn)
{
    return container_of((struct env_conn *)(uintptr_t)conn, struct sim_conn, base);
}

static struct sim_packet *packet_at(struct peri_list *link)
{
    return container_of(link, struct sim_packet, link);
}

/* ---- packets ---- */

static void packet_on_due(struct sim_world *world, struct sim_event *event);

static void describe_packet(const struct sim_event *event, char *out, size_t size)
{
    static const char *const names[] = {"connect", "accepted", "refused", "message", "end"};
    const struct sim_packet *packet = container_of(event, struct sim_packet, event);
    (void)snprintf(out, size, "%s %s -> %s #%" PRIu64 " %zu bytes", names[packet->kind],
                   packet->from->name, event->node->name, packet->conn->id, packet->size);
}

static const struct sim_event_kind packet_kind = {SIM_EVENT_PACKET, "packet", packet_on_due,
                                                  describe_packet};

int sim_packet_create(struct sim_conn *conn, struct sim_node *from, struct sim_node *to,
                      enum sim_packet_kind kind, size_t size, struct sim_packet **out)
{
    struct sim_world *world = conn->node->world;
    struct sim_packet *packet = malloc(sizeof *packet + size);
    if (packet == NULL)
        return PERI_ENOMEM;
    memset(packet, 0, sizeof *packet);
    packet->conn = conn;
    packet->from = from;
    packet->kind = kind;
    packet->size = size;
    peri_list_init(&packet->held);
    peri_list_init(&packet->link);
    uint64_t payload = sim_mix(conn->id, (uint64_t)kind);
    if (sim_event_init(world, &packet->event, &packet_kind, to, payload) != 0) {
        free(packet);
        return PERI_ENOMEM;
    }
    *out = packet;
    return 0;
}

void sim_packet_free(struct sim_world *world, struct sim_packet *packet)
{
    sim_event_deinit(world, &packet->event);
    peri_list_remove(&packet->link);
    peri_list_remove(&packet->held);
    free(packet);
}

static void free_packets(struct sim_world *world, struct peri_list *packets)
{
    while (!peri_list_is_empty(packets))
        sim_packet_free(world, packet_at(packets->next));
}

/* The packet goes to conn, and arrives behind what was sent there before unless it may overtake. */
static void send_to(struct sim_conn *conn, struct sim_packet *packet, uint64_t at_us)
{
    if (!packet->is_late) {
        if (at_us < conn->arrives_us)
            at_us = conn->arrives_us;
        conn->arrives_us = at_us;
    }
    peri_list_remove(&packet->link);
    peri_list_append(&conn->packets, &packet->link);
    sim_net_travel(conn->node->world, packet, conn->node, at_us);
}

/* A world without memory cannot say so in the middle of a connection: the run is over. */
void sim_conn_tell(struct sim_conn *conn, struct sim_node *from, enum sim_packet_kind kind,
                   int status)
{
    struct sim_world *world = conn->node->world;
    struct sim_packet *packet = NULL;
    struct sim_fate fate;
    if (sim_packet_create(conn, from, conn->node, kind, 0, &packet) != 0) {
        sim_world_fail(world);
        return;
    }
    packet->status = status;
    if (sim_net_decide(world, packet, conn->node, !conn->is_initiator, &fate) != 0)
        sim_world_fail(world);
    if (fate.is_cut) {
        world->net.counts.cut++;
        sim_packet_free(world, packet);
    } else {
        send_to(conn, packet, fate.at_us);
    }
}

/* Like sim_conn_tell, but from the connection's own node, after a while. */
static void tell_itself(struct sim_conn *conn, uint64_t delay_us, int status)
{
    struct sim_world *world = conn->node->world;
    struct sim_packet *packet = NULL;
    if (sim_packet_create(conn, conn->node, conn->node, SIM_PACKET_END, 0, &packet) != 0) {
        sim_world_fail(world);
        return;
    }
    packet->status = status;
    packet->is_late = true;
    send_to(conn, packet, sim_node_now_us(conn->node) + delay_us);
}

/* ---- sending ---- */

static size_t queued_bytes(const struct env_conn *base)
{
    const struct sim_conn *conn = conn_of(base);
    size_t unread = conn->peer != NULL ? conn->peer->inbox_bytes : 0;
    for (const struct peri_list *at = conn->outbox.next; at != &conn->outbox; at = at->next)
        unread += packet_at((struct peri_list *)(uintptr_t)at)->size;
    return unread + (size_t)sim_net_backlog_bytes(conn->node->world, conn->node, conn->peer_node);
}

static void drop(struct sim_conn *conn, struct sim_packet *packet, const char *why)
{
    struct sim_world *world = conn->node->world;
    sim_world_note(world, conn->node, "drop", packet->event.payload,
                   "%s -> %s #%" PRIu64 " %zu bytes: %s", conn->node->name, conn->peer_node->name,
                   conn->id, packet->size, why);
    sim_packet_free(world, packet);
}

static int copy_packet(struct sim_conn *to, const struct sim_packet *packet, uint64_t at_us)
{
    struct sim_packet *copy = NULL;
    struct sim_node *node = packet->event.node;
    int rc = sim_packet_create(to, packet->from, node, packet->kind, packet->size, &copy);
    if (rc != 0)
        return rc;
    memcpy(copy->bytes, packet->bytes, packet->size);
    copy->event.payload = packet->event.payload;
    copy->is_late = true;
    send_to(to, copy, at_us);
    return 0;
}

/* The other side has gone without a word, and its machine is there again: it resets. */
static void send_into_void(struct sim_conn *conn, struct sim_packet *packet)
{
    enum { ROUND_TRIP_US = 1000 };
    bool is_answered = !conn->peer_node->is_crashed &&
                       !sim_net_is_cut(conn->node->world, conn->peer_node, conn->node);
    if (is_answered && !conn->is_reset) {
        conn->is_reset = true;
        tell_itself(conn, ROUND_TRIP_US, -ECONNRESET);
    }
    drop(conn, packet, "nobody is there");
}

void sim_conn_hear_of_cut(struct sim_conn *conn)
{
    uint64_t delay_us = sim_net_cut_delay_us(conn->node->world, conn->node);
    if (delay_us == 0 || conn->is_reset)
        return;
    conn->is_reset = true;
    tell_itself(conn, delay_us, -EHOSTUNREACH);
}

static void on_cut(struct sim_conn *conn, struct sim_packet *packet)
{
    conn->node->world->net.counts.cut++;
    sim_conn_hear_of_cut(conn);
    drop(conn, packet, "cut");
}

static void reset_both(struct sim_conn *conn, struct sim_packet *packet)
{
    if (!conn->is_reset)
        tell_itself(conn, 0, -ECONNRESET);
    conn->is_reset = true;
    sim_conn_tell(conn->peer, conn->node, SIM_PACKET_END, -ECONNRESET);
    drop(conn, packet, "reset");
}

/* Takes the packet over. */
static int transmit(struct sim_conn *conn, struct sim_packet *packet)
{
    struct sim_world *world = conn->node->world;
    struct sim_net_counts *counts = &world->net.counts;
    struct sim_fate fate;
    int rc = sim_net_decide(world, packet, conn->peer_node, conn->is_initiator, &fate);
    counts->sent++;
    counts->bytes += packet->size;
    if (rc != 0) {
        sim_packet_free(world, packet);
    } else if (fate.is_cut) {
        on_cut(conn, packet);
    } else if (conn->peer == NULL) {
        send_into_void(conn, packet);
    } else if (fate.is_reset) {
        reset_both(conn, packet);
    } else if (fate.is_lost) {
        counts->lost++;
        drop(conn, packet, "lost");
    } else {
        packet->conn = conn->peer;
        counts->duplicated += fate.is_duplicated;
        send_to(conn->peer, packet, fate.at_us);
        if (fate.is_duplicated)
            rc = copy_packet(conn->peer, packet, fate.at_us + (fate.at_us - world->now_us));
    }
    return rc;
}

static void gather(struct sim_packet *packet, const struct peri_slice *parts, size_t count)
{
    char *at = packet->bytes;
    for (size_t i = 0; i < count; i++) {
        if (parts[i].size > 0)
            memcpy(at, parts[i].data, parts[i].size);
        at += parts[i].size;
    }
    packet->event.payload =
        sim_mix(packet->event.payload, sim_hash_bytes(packet->bytes, packet->size));
}

static void watch_queue(struct sim_conn *conn)
{
    enum { RETRY_US = 1000 };
    if (queued_bytes(&conn->base) <= ENV_CONN_QUEUE_MARK || conn->wants_writable)
        return;
    conn->wants_writable = true;
    sim_event_schedule(conn->node->world, &conn->writable, conn->node->world->now_us + RETRY_US);
}

static int conn_send(struct env_conn *base, const struct peri_slice *parts, size_t count)
{
    struct sim_conn *conn = conn_of(base);
    size_t size = 0;
    for (size_t i = 0; i < count; i++)
        size += parts[i].size;
    if (conn->state == SIM_CONN_ENDED || !sim_node_is_up(conn->node))
        return PERI_ECLOSED;
    if (size == 0)
        return PERI_EINVAL;
    if (size > UINT32_MAX)
        return PERI_ETOOBIG;
    if (queued_bytes(base) > ENV_CONN_QUEUE_MAX)
        return PERI_EBUSY;
    struct sim_packet *packet = NULL;
    int rc =
        sim_packet_create(conn, conn->node, conn->peer_node, SIM_PACKET_MESSAGE, size, &packet);
    if (rc != 0)
        return rc;
    gather(packet, parts, count);
    sim_world_note(conn->node->world, conn->node, "send", packet->event.payload,
                   "-> %s #%" PRIu64 " %zu bytes", conn->peer_node->name, conn->id, size);
    if (conn->state == SIM_CONN_CONNECTING)
        peri_list_append(&conn->outbox, &packet->link);
    else
        rc = transmit(conn, packet);
    watch_queue(conn);
    return rc;
}

static void writable_on_due(struct sim_world *world, struct sim_event *event)
{
    enum { RETRY_US = 1000 };
    struct sim_conn *conn = container_of(event, struct sim_conn, writable);
    if (conn->state == SIM_CONN_ENDED)
        return;
    if (queued_bytes(&conn->base) >= ENV_CONN_QUEUE_MARK / 2) {
        sim_event_schedule(world, event, world->now_us + RETRY_US);
        return;
    }
    conn->wants_writable = false;
    if (conn->events->on_writable != NULL)
        conn->events->on_writable(conn->data); /* last: it may close conn */
}

/* ---- ending ---- */

static void detach(struct sim_conn *conn)
{
    if (conn->peer != NULL)
        conn->peer->peer = NULL;
    conn->peer = NULL;
}

static void stop(struct sim_conn *conn)
{
    struct sim_world *world = conn->node->world;
    conn->state = SIM_CONN_ENDED;
    detach(conn);
    conn->inbox_bytes = 0;
    sim_event_cancel(world, &conn->idle);
    sim_event_cancel(world, &conn->drain);
    sim_event_cancel(world, &conn->writable);
    free_packets(world, &conn->packets);
    free_packets(world, &conn->outbox);
    free_packets(world, &conn->inbox);
}

void sim_conn_fail(struct sim_conn *conn, int status, const char *text)
{
    bool was_connecting = conn->state == SIM_CONN_CONNECTING;
    if (conn->state == SIM_CONN_ENDED)
        return;
    (void)snprintf(conn->failure, sizeof conn->failure, "%s: %s", conn->peer_text, text);
    stop(conn);
    if (was_connecting)
        conn->events->on_open(conn->data, status);
    else
        conn->events->on_close(conn->data, status);
}

/* This side ends it: the other one hears of that, after what was sent before. */
static void hang_up(struct sim_conn *conn)
{
    if (conn->peer != NULL && sim_node_is_up(conn->node))
        sim_conn_tell(conn->peer, conn->node, SIM_PACKET_END, PERI_ECLOSED);
    detach(conn);
}

void sim_conn_free(struct sim_conn *conn)
{
    struct sim_world *world = conn->node->world;
    stop(conn);
    sim_event_deinit(world, &conn->idle);
    sim_event_deinit(world, &conn->drain);
    sim_event_deinit(world, &conn->writable);
    peri_list_remove(&conn->handle.link);
    free(conn);
}

static void conn_close(struct env_conn *base)
{
    struct sim_conn *conn = conn_of(base);
    hang_up(conn);
    sim_conn_free(conn);
}

static void conn_end(struct sim_handle *handle)
{
    sim_conn_free(container_of(handle, struct sim_conn, handle));
}

void sim_net_end_node(struct sim_node *node, enum sim_down how)
{
    for (struct peri_list *at = node->handles.next; at != &node->handles; at = at->next) {
        struct sim_handle *handle = container_of(at, struct sim_handle, link);
        if (handle->end != conn_end)
            continue;
        struct sim_conn *conn = container_of(handle, struct sim_conn, handle);
        if (conn->peer != NULL && how != SIM_DOWN_CRASH)
            sim_conn_tell(conn->peer, node, SIM_PACKET_END, PERI_ECLOSED);
        detach(conn);
    }
}

/* ---- receiving ---- */

static void deliver_message(struct sim_conn *conn, struct sim_packet *packet)
{
    struct sim_world *world = conn->node->world;
    if (packet->is_damaged || packet->size > conn->message_max) {
        bool is_damaged = packet->is_damaged;
        world->net.counts.corrupted += is_damaged;
        sim_packet_free(world, packet);
        hang_up(conn);
        if (is_damaged)
            sim_conn_fail(conn, PERI_EFORMAT, "a message is damaged");
        else
            sim_conn_fail(conn, PERI_ETOOBIG, "a message is longer than allowed");
        return;
    }
    world->net.counts.delivered++;
    conn->heard_us = world->now_us;
    conn->events->on_message(conn->data, peri_slice_of(packet->bytes, packet->size));
    sim_packet_free(world, packet); /* not in any list of conn, which may be gone */
}

static void open_accepted(struct sim_conn *conn)
{
    struct sim_world *world = conn->node->world;
    conn->state = SIM_CONN_OPEN;
    conn->heard_us = world->now_us;
    while (!peri_list_is_empty(&conn->outbox)) {
        struct sim_packet *packet = packet_at(conn->outbox.next);
        peri_list_remove(&packet->link);
        if (transmit(conn, packet) != 0)
            sim_world_fail(world);
    }
    if (!peri_list_is_empty(&conn->inbox) && !conn->is_paused)
        sim_event_schedule(world, &conn->drain, world->now_us);
    conn->events->on_open(conn->data, 0); /* last: it may close conn */
}

/* Last: the connection may be gone afterwards. */
static void receive(struct sim_conn *conn, struct sim_packet *packet)
{
    struct sim_world *world = conn->node->world;
    enum sim_packet_kind kind = packet->kind;
    int status = packet->status;
    peri_list_remove(&packet->link);
    if (kind == SIM_PACKET_MESSAGE) {
        deliver_message(conn, packet);
        return;
    }
    sim_packet_free(world, packet);
    if (kind == SIM_PACKET_ACCEPTED)
        open_accepted(conn);
    else if (kind == SIM_PACKET_REFUSED)
        sim_conn_fail(conn, status, "nobody listens");
    else
        sim_conn_fail(conn, status,
                      status == PERI_ECLOSED ? "the peer closed the connection"
                                             : peri_strerror(status));
}

static void packet_on_due(struct sim_world *world, struct sim_event *event)
{
    struct sim_packet *packet = container_of(event, struct sim_packet, event);
    struct sim_conn *conn = packet->conn;
    if (packet->kind == SIM_PACKET_CONNECT) {
        sim_listener_on_connect(world, packet);
        return;
    }
    bool is_early = conn->state == SIM_CONN_CONNECTING && packet->kind == SIM_PACKET_MESSAGE;
    bool is_orderly = packet->kind == SIM_PACKET_MESSAGE ||
                      (packet->kind == SIM_PACKET_END && packet->status == PERI_ECLOSED);
    bool waits = (conn->is_paused && packet->kind == SIM_PACKET_MESSAGE) ||
                 (is_orderly && !peri_list_is_empty(&conn->inbox));
    if (!is_early && !waits) {
        receive(conn, packet);
        return;
    }
    peri_list_remove(&packet->link);
    peri_list_append(&conn->inbox, &packet->link);
    conn->inbox_bytes += packet->size;
}

static void drain_on_due(struct sim_world *world, struct sim_event *event)
{
    struct sim_conn *conn = container_of(event, struct sim_conn, drain);
    if (conn->is_paused || peri_list_is_empty(&conn->inbox))
        return;
    struct sim_packet *packet = packet_at(conn->inbox.next);
    conn->inbox_bytes -= packet->size;
    peri_list_remove(&packet->link);
    if (!peri_list_is_empty(&conn->inbox))
        sim_event_schedule(world, event, world->now_us);
    receive(conn, packet);
}

static void idle_on_due(struct sim_world *world, struct sim_event *event)
{
    struct sim_conn *conn = container_of(event, struct sim_conn, idle);
    uint64_t due_us = conn->heard_us + conn->idle_limit_us;
    if (conn->is_paused)
        due_us = world->now_us + conn->idle_limit_us;
    if (due_us > world->now_us) {
        sim_event_schedule(world, event, due_us);
        return;
    }
    hang_up(conn);
    sim_conn_fail(conn, -ETIMEDOUT, "nothing was heard for too long");
}

/* ---- life and small things ---- */

static const struct sim_event_kind idle_kind = {SIM_EVENT_CONN_IDLE, "idle", idle_on_due,
                                                sim_event_describe_number};
static const struct sim_event_kind drain_kind = {SIM_EVENT_CONN_DRAIN, "drain", drain_on_due,
                                                 sim_event_describe_number};
static const struct sim_event_kind writable_kind = {SIM_EVENT_CONN_WRITABLE, "writable",
                                                    writable_on_due, sim_event_describe_number};

int sim_conn_create(struct sim_node *node, struct sim_node *peer_node, struct sim_conn **out)
{
    struct sim_world *world = node->world;
    struct sim_conn *conn = calloc(1, sizeof *conn);
    if (conn == NULL)
        return PERI_ENOMEM;
    *conn = (struct sim_conn){.base = {&node->base},
                              .id = ++world->net.last_conn_id,
                              .node = node,
                              .peer_node = peer_node,
                              .message_max = ENV_CONN_MESSAGE_MAX,
                              .heard_us = world->now_us,
                              .idle_limit_us = ENV_CONN_IDLE_LIMIT_US};
    peri_list_init(&conn->packets);
    peri_list_init(&conn->outbox);
    peri_list_init(&conn->inbox);
    struct sim_event *const events[] = {&conn->idle, &conn->drain, &conn->writable};
    const struct sim_event_kind *const kinds[] = {&idle_kind, &drain_kind, &writable_kind};
    for (size_t i = 0; i < 3; i++) {
        if (sim_event_init(world, events[i], kinds[i], node, conn->id) == 0)
            continue;
        while (i > 0)
            sim_event_deinit(world, events[--i]);
        free(conn);
        return PERI_ENOMEM;
    }
    (void)sim_node_add_handle(node, &conn->handle, conn_end);
    sim_event_schedule(world, &conn->idle, world->now_us + conn->idle_limit_us);
    *out = conn;
    return 0;
}

static void conn_accept(struct env_conn *base, const struct env_conn_events *events, void *data)
{
    struct sim_conn *conn = conn_of(base);
    conn->events = events;
    conn->data = data;
    conn->is_accepted = true;
}

static void set_message_max(struct env_conn *base, size_t size_max)
{
    conn_of(base)->message_max = size_max;
}

static void set_idle_limit(struct env_conn *base, uint64_t limit_us)
{
    struct sim_conn *conn = conn_of(base);
    struct sim_world *world = conn->node->world;
    conn->idle_limit_us = limit_us;
    if (limit_us == 0)
        sim_event_cancel(world, &conn->idle);
    else if (conn->state != SIM_CONN_ENDED)
        sim_event_schedule(world, &conn->idle, conn->heard_us + limit_us);
}

static void conn_pause(struct env_conn *base)
{
    conn_of(base)->is_paused = true;
}

static void conn_resume(struct env_conn *base)
{
    struct sim_conn *conn = conn_of(base);
    struct sim_world *world = conn->node->world;
    if (!conn->is_paused)
        return;
    conn->is_paused = false;
    conn->heard_us = world->now_us;
    if (conn->state == SIM_CONN_OPEN && !peri_list_is_empty(&conn->inbox))
        sim_event_schedule(world, &conn->drain, world->now_us);
}

static bool is_local(const struct env_conn *base)
{
    return conn_of(base)->node == conn_of(base)->peer_node;
}

static const char *peer(const struct env_conn *base)
{
    return conn_of(base)->peer_text;
}

static const char *failure(const struct env_conn *base)
{
    return conn_of(base)->failure;
}

const struct env_conn_ops sim_conn_ops = {
    .connect = sim_conn_connect,
    .accept = conn_accept,
    .send = conn_send,
    .queued_bytes = queued_bytes,
    .set_message_max = set_message_max,
    .set_idle_limit = set_idle_limit,
    .pause = conn_pause,
    .resume = conn_resume,
    .is_local = is_local,
    .peer = peer,
    .failure = failure,
    .close = conn_close,
};
