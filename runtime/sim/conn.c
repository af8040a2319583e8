/* conn.c - simulated connections. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim/net_internal.h"

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
    sim_event_cancel(world, &conn->idle);
    sim_event_cancel(world, &conn->drain);
    sim_event_cancel(world, &conn->writable);
    sim_conn_free_packets(world, &conn->packets);
    sim_conn_free_packets(world, &conn->outbox);
    sim_conn_free_packets(world, &conn->inbox);
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
    struct sim_conn *conn = sim_conn_of(base);
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
    world->net.counts.delivered += !packet->is_uncounted;
    conn->heard_us = world->now_us;
    conn->base.heard_us = env_now_us(conn->base.env); /* the node's clock; events take no time */
    conn->events->on_message(conn->data, peri_slice_of(packet->bytes, packet->size));
    sim_packet_free(world, packet); /* not in any list of conn, which may be gone */
}

static void open_accepted(struct sim_conn *conn)
{
    struct sim_world *world = conn->node->world;
    conn->state = SIM_CONN_OPEN;
    conn->heard_us = world->now_us;
    while (!peri_list_is_empty(&conn->outbox)) {
        struct sim_packet *packet = sim_packet_at(conn->outbox.next);
        peri_list_remove(&packet->link);
        if (sim_conn_transmit(conn, packet) != 0)
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
    sim_packet_uncount(packet);
    sim_conn_make_room(conn);
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
}

static void describe_packet(const struct sim_event *event, char *out, size_t size)
{
    sim_packet_print(container_of(event, struct sim_packet, event), out, size);
}

const struct sim_event_kind sim_packet_kind = {SIM_EVENT_PACKET, "packet", packet_on_due,
                                               describe_packet};

static void drain_on_due(struct sim_world *world, struct sim_event *event)
{
    struct sim_conn *conn = container_of(event, struct sim_conn, drain);
    if (conn->is_paused || peri_list_is_empty(&conn->inbox))
        return;
    struct sim_packet *packet = sim_packet_at(conn->inbox.next);
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
static const struct sim_event_kind writable_kind = {
    SIM_EVENT_CONN_WRITABLE, "writable", sim_conn_on_writable_due, sim_event_describe_number};

int sim_conn_create(struct sim_node *node, struct sim_node *peer_node, struct sim_conn **out)
{
    struct sim_world *world = node->world;
    struct sim_conn *conn = calloc(1, sizeof *conn);
    if (conn == NULL)
        return PERI_ENOMEM;
    *conn = (struct sim_conn){.base = {.env = &node->base,
                                       .peer = conn->peer_text,
                                       .failure = conn->failure,
                                       .is_local = node == peer_node},
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
    struct sim_conn *conn = sim_conn_of(base);
    conn->events = events;
    conn->data = data;
    conn->is_accepted = true;
}

static void set_message_max(struct env_conn *base, size_t size_max)
{
    sim_conn_of(base)->message_max = size_max;
}

static void set_idle_limit(struct env_conn *base, uint64_t limit_us)
{
    struct sim_conn *conn = sim_conn_of(base);
    struct sim_world *world = conn->node->world;
    conn->idle_limit_us = limit_us;
    if (limit_us == 0)
        sim_event_cancel(world, &conn->idle);
    else if (conn->state != SIM_CONN_ENDED)
        sim_event_schedule(world, &conn->idle, conn->heard_us + limit_us);
}

static void conn_pause(struct env_conn *base)
{
    sim_conn_of(base)->is_paused = true;
}

static void conn_resume(struct env_conn *base)
{
    struct sim_conn *conn = sim_conn_of(base);
    struct sim_world *world = conn->node->world;
    if (!conn->is_paused)
        return;
    conn->is_paused = false;
    conn->heard_us = world->now_us;
    if (conn->state == SIM_CONN_OPEN && !peri_list_is_empty(&conn->inbox))
        sim_event_schedule(world, &conn->drain, world->now_us);
}

const struct env_conn_ops sim_conn_ops = {
    .connect = sim_conn_connect,
    .accept = conn_accept,
    .send = sim_conn_send,
    .queued_bytes = sim_conn_queued_bytes,
    .set_message_max = set_message_max,
    .set_idle_limit = set_idle_limit,
    .pause = conn_pause,
    .resume = conn_resume,
    .close = conn_close,
};
