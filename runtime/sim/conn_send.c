/* conn_send.c - packets, and what becomes of what a connection sends. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim/net_internal.h"
#include "wire/message.h"

enum { PRINTED_MAX = 256 };

/* ---- packets ---- */

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
    if (sim_event_init(world, &packet->event, &sim_packet_kind, to, payload) != 0) {
        free(packet);
        return PERI_ENOMEM;
    }
    *out = packet;
    return 0;
}

/* What rpc says is shown as such; other bytes by their number. */
void sim_packet_print(const struct sim_packet *packet, char *out, size_t size)
{
    static const char *const names[] = {"connect", "accepted", "refused", "message", "end"};
    struct wire_message message;
    char text[PRINTED_MAX] = "";
    if (packet->kind == SIM_PACKET_MESSAGE &&
        wire_message_decode(peri_slice_of(packet->bytes, packet->size), &message, NULL) == 0)
        wire_message_print(&message, text, sizeof text);
    (void)snprintf(out, size, "%s %s -> %s #%" PRIu64 " %zu bytes%s%s", names[packet->kind],
                   packet->from->name, packet->event.node->name, packet->conn->id, packet->size,
                   text[0] != '\0' ? ": " : "", text);
}

void sim_packet_uncount(struct sim_packet *packet)
{
    if (packet->is_counted)
        packet->conn->due_bytes -= packet->size;
    packet->is_counted = false;
}

void sim_packet_free(struct sim_world *world, struct sim_packet *packet)
{
    sim_packet_uncount(packet);
    sim_event_deinit(world, &packet->event);
    peri_list_remove(&packet->link);
    peri_list_remove(&packet->held);
    free(packet);
}

void sim_conn_free_packets(struct sim_world *world, struct peri_list *packets)
{
    while (!peri_list_is_empty(packets))
        sim_packet_free(world, sim_packet_at(packets->next));
}

void sim_conn_deliver_at(struct sim_conn *conn, struct sim_packet *packet, uint64_t at_us)
{
    if (!packet->is_late) {
        if (at_us < conn->arrives_us)
            at_us = conn->arrives_us;
        conn->arrives_us = at_us;
    }
    packet->is_counted = true;
    conn->due_bytes += packet->size;
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
        sim_conn_deliver_at(conn, packet, fate.at_us);
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
    sim_conn_deliver_at(conn, packet, sim_node_now_us(conn->node) + delay_us);
}

/* ---- sending ---- */

/* The network has no room of its own: what is not delivered waits at the sender. */
size_t sim_conn_queued_bytes(const struct env_conn *base)
{
    const struct sim_conn *conn = sim_conn_of(base);
    size_t queued = conn->peer != NULL ? conn->peer->due_bytes : 0;
    for (const struct peri_list *at = conn->outbox.next; at != &conn->outbox; at = at->next)
        queued += sim_packet_at(at)->size;
    return queued;
}

static void drop(struct sim_conn *conn, struct sim_packet *packet, const char *why)
{
    struct sim_world *world = conn->node->world;
    char text[PRINTED_MAX] = "";
    if (world->options.on_trace != NULL)
        sim_packet_print(packet, text, sizeof text);
    sim_world_note(world, conn->node, "drop", packet->event.payload, "%s: %s", why, text);
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
    sim_conn_deliver_at(to, copy, at_us);
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
    if (conn->peer != NULL && conn->peer->is_initiator)
        sim_conn_hear_of_cut(conn->peer); /* the caller's answer will not come */
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

/* What TCP makes of a packet's fate: late, but in its place. */
static void carry_stream(struct sim_conn *conn, struct sim_packet *packet, struct sim_fate *fate)
{
    enum { AGAIN_US = 200000 };
    if (fate->is_lost || packet->is_damaged)
        fate->at_us += AGAIN_US;
    fate->is_lost = fate->is_duplicated = packet->is_damaged = packet->is_late = false;
    conn->is_torn = fate->is_cut = conn->is_torn || fate->is_cut;
}

/* A stream without a piece is none: both sides hear that it has ended, the other one when it sends.
 */
static void tear(struct sim_conn *conn)
{
    enum { PATIENCE_US = 1000000 };
    if (!conn->is_reset)
        tell_itself(conn, PATIENCE_US, -ETIMEDOUT);
    conn->is_reset = true;
    if (conn->peer != NULL)
        conn->peer->is_torn = true;
}

/* Takes the packet over. */
int sim_conn_transmit(struct sim_conn *conn, struct sim_packet *packet)
{
    struct sim_world *world = conn->node->world;
    struct sim_net_counts *counts = &world->net.counts;
    struct sim_fate fate;
    int rc = sim_net_decide(world, packet, conn->peer_node, conn->is_initiator, &fate);
    counts->sent++;
    counts->bytes += packet->size;
    if (conn->base.carries_bytes) {
        carry_stream(conn, packet, &fate);
        if (conn->is_torn)
            tear(conn);
    }
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
        if (world->net.labs.is_on)
            rc = sim_labs_tell_lost(conn->is_initiator ? conn : conn->peer, packet, fate.at_us);
        drop(conn, packet, "lost");
    } else {
        packet->conn = conn->peer;
        counts->duplicated += fate.is_duplicated;
        sim_conn_deliver_at(conn->peer, packet, fate.at_us);
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

int sim_conn_send(struct env_conn *base, const struct peri_slice *parts, size_t count)
{
    struct sim_conn *conn = sim_conn_of(base);
    size_t size = 0;
    for (size_t i = 0; i < count; i++)
        size += parts[i].size;
    if (conn->state == SIM_CONN_ENDED || !sim_node_is_up(conn->node))
        return PERI_ECLOSED;
    if (size == 0)
        return PERI_EINVAL;
    if (size > INT32_MAX)
        return PERI_ETOOBIG;
    if (sim_conn_queued_bytes(base) > ENV_CONN_QUEUE_MAX)
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
        rc = sim_conn_transmit(conn, packet);
    conn->wants_writable =
        conn->wants_writable || sim_conn_queued_bytes(base) > ENV_CONN_QUEUE_MARK;
    return rc;
}

void sim_conn_make_room(struct sim_conn *conn)
{
    struct sim_conn *sender = conn->peer;
    if (sender != NULL && sender->wants_writable && sender->state == SIM_CONN_OPEN &&
        sim_conn_queued_bytes(&sender->base) < ENV_CONN_QUEUE_MARK / 2)
        sim_event_schedule(conn->node->world, &sender->writable, conn->node->world->now_us);
}

void sim_conn_on_writable_due(struct sim_world *world, struct sim_event *event)
{
    struct sim_conn *conn = container_of(event, struct sim_conn, writable);
    (void)world;
    conn->wants_writable = false;
    if (conn->events->on_writable != NULL)
        conn->events->on_writable(conn->data); /* last: it may close conn */
}
