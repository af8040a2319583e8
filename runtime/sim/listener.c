/* listener.c - where simulated nodes listen, and how connections begin. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "env/address.h"
#include "sim/net_internal.h"

enum { FREE_PORT_FIRST = 49152 };

struct sim_listener {
    struct env_listener base;
    struct sim_handle handle;
    struct peri_list link; /* in sim_node.listeners */
    uint16_t port;         /* 0: a Unix socket, text is its path */
    char text[SIM_ADDRESS_SIZE];
    void (*on_connection)(void *data, struct env_conn *conn);
    void *data;
};

/* ---- addresses ---- */

/* Reads an address; a Unix socket's port is 0, its path is the text. */
static int parse(struct sim_node *node, const char *text, struct env_address *out,
                 struct peri_error *err)
{
    if (!sim_node_is_up(node)) {
        (void)peri_fail(err, PERI_ECANCELLED, "address %s", text);
        return PERI_ECANCELLED;
    }
    int rc = env_address_parse(text, out, err);
    if (rc == 0 && out->is_unix)
        out->port = 0;
    return rc;
}

/* The node that an address means on a node: itself, or the one of that name. */
static struct sim_node *host_of(struct sim_node *node, const struct env_address *address)
{
    static const char *const own[] = {"127.0.0.1", "::1", "0.0.0.0", "::"};
    if (address->is_unix)
        return node;
    for (size_t i = 0; i < sizeof own / sizeof own[0]; i++)
        if (strcmp(address->host, own[i]) == 0)
            return node;
    return sim_world_node(node->world, address->host);
}

/* ---- listeners ---- */

static struct sim_listener *listener_at(struct peri_list *link)
{
    return container_of(link, struct sim_listener, link);
}

static struct sim_listener *find_listener(struct sim_node *node, uint16_t port, const char *path)
{
    for (struct peri_list *at = node->listeners.next; at != &node->listeners; at = at->next) {
        struct sim_listener *listener = listener_at(at);
        if (listener->port == port && (port != 0 || strcmp(listener->text, path) == 0))
            return listener;
    }
    return NULL;
}

static void listener_free(struct sim_listener *listener)
{
    peri_list_remove(&listener->link);
    peri_list_remove(&listener->handle.link);
    free(listener);
}

static void listener_end(struct sim_handle *handle)
{
    listener_free(container_of(handle, struct sim_listener, handle));
}

static uint16_t free_port(struct sim_node *node)
{
    do
        node->last_port =
            node->last_port < FREE_PORT_FIRST ? FREE_PORT_FIRST : (uint16_t)(node->last_port + 1);
    while (find_listener(node, node->last_port, "") != NULL);
    return node->last_port;
}

static int prepare(struct sim_node *node, const char *text, struct sim_listener *listener,
                   struct peri_error *err)
{
    struct env_address address;
    int rc = parse(node, text, &address, err);
    if (rc != 0)
        return rc;
    if (host_of(node, &address) != node)
        return peri_fail(err, -EADDRNOTAVAIL, "listen on %s", text);
    if (!address.is_unix && address.port == 0)
        address.port = free_port(node);
    if (find_listener(node, address.port, text) != NULL)
        return peri_fail(err, -EADDRINUSE, "listen on %s", text);
    listener->port = address.port;
    if (address.is_unix)
        (void)snprintf(listener->text, sizeof listener->text, "%s", text);
    else
        (void)snprintf(listener->text, sizeof listener->text, "%s:%u", node->name, address.port);
    return 0;
}

static int listener_open(struct env *env, const char *address,
                         void (*on_connection)(void *data, struct env_conn *conn), void *data,
                         struct env_listener **out, struct peri_error *err)
{
    struct sim_node *node = sim_node_cast(env);
    struct sim_listener *listener = calloc(1, sizeof *listener);
    if (listener == NULL)
        return peri_fail(err, PERI_ENOMEM, "listen on %s", address);
    int rc = prepare(node, address, listener, err);
    if (rc != 0) {
        free(listener);
        return rc;
    }
    listener->base.env = env;
    listener->on_connection = on_connection;
    listener->data = data;
    peri_list_append(&node->listeners, &listener->link);
    (void)sim_node_add_handle(node, &listener->handle, listener_end);
    *out = &listener->base;
    return 0;
}

static const char *listener_address(const struct env_listener *base)
{
    return container_of((struct env_listener *)(uintptr_t)base, struct sim_listener, base)->text;
}

static void listener_close(struct env_listener *base)
{
    listener_free(container_of(base, struct sim_listener, base));
}

const struct env_listener_ops sim_listener_ops = {listener_open, listener_address, listener_close};

/* ---- connecting ---- */

/* The network takes the packet that asks to be connected, or loses it: then the idle limit ends the
 * wait. */
static int ask(struct sim_conn *conn)
{
    struct sim_world *world = conn->node->world;
    struct sim_packet *packet = NULL;
    struct sim_fate fate;
    int rc = sim_packet_create(conn, conn->node, conn->peer_node, SIM_PACKET_CONNECT, 0, &packet);
    if (rc != 0)
        return rc;
    world->net.counts.connects++;
    rc = sim_net_decide(world, packet, conn->peer_node, true, &fate);
    if (rc != 0 || fate.is_cut) {
        world->net.counts.cut += fate.is_cut;
        sim_packet_free(world, packet);
        return rc;
    }
    peri_list_append(&conn->packets, &packet->link);
    sim_net_travel(world, packet, conn->peer_node, fate.at_us);
    return 0;
}

static int connect_to(struct sim_node *node, const char *text, struct sim_conn **out,
                      struct peri_error *err)
{
    struct env_address address;
    int rc = parse(node, text, &address, err);
    if (rc != 0)
        return rc;
    struct sim_node *peer_node = host_of(node, &address);
    if (peer_node == NULL) {
        (void)peri_fail_plain(err, PERI_EINVAL, "connect to %s: there is no node of that name",
                              text);
        return PERI_EINVAL;
    }
    rc = sim_conn_create(node, peer_node, out);
    if (rc != 0) {
        (void)peri_fail(err, rc, "connect to %s", text);
        return rc;
    }
    (*out)->is_initiator = true;
    (*out)->port = address.port;
    (void)snprintf((*out)->peer_text, sizeof(*out)->peer_text, "%s", text);
    rc = ask(*out);
    if (rc == 0 && sim_net_is_cut(node->world, node, peer_node))
        sim_conn_hear_of_cut(*out);
    if (rc == 0)
        return 0;
    sim_conn_free(*out);
    (void)peri_fail(err, rc, "connect to %s", text);
    return rc;
}

int sim_conn_connect(struct env *env, const char *address, const struct env_conn_events *events,
                     void *data, struct env_conn **out, struct peri_error *err)
{
    struct sim_conn *conn = NULL;
    int rc = connect_to(sim_node_cast(env), address, &conn, err);
    if (rc != 0)
        return rc;
    conn->events = events;
    conn->data = data;
    *out = &conn->base;
    return 0;
}

/* Makes the other end, tells the one that connects, and only then lets the listener speak. */
static void accept_conn(struct sim_listener *listener, struct sim_node *node,
                        struct sim_conn *connecting)
{
    struct sim_conn *conn = NULL;
    if (sim_conn_create(node, connecting->node, &conn) != 0) {
        sim_world_fail(node->world);
        return;
    }
    conn->state = SIM_CONN_OPEN;
    conn->peer = connecting;
    connecting->peer = conn;
    (void)snprintf(conn->peer_text, sizeof conn->peer_text, "%s", connecting->node->name);
    sim_conn_tell(connecting, node, SIM_PACKET_ACCEPTED, 0);
    listener->on_connection(listener->data, &conn->base); /* last: it may close both */
}

void sim_listener_on_connect(struct sim_world *world, struct sim_packet *packet)
{
    struct sim_conn *connecting = packet->conn;
    struct sim_node *node = packet->event.node;
    sim_packet_free(world, packet);
    if (node->is_crashed)
        return; /* nobody hears it */
    struct sim_listener *listener =
        sim_node_is_up(node) ? find_listener(node, connecting->port, connecting->peer_text) : NULL;
    if (listener == NULL) {
        world->net.counts.refused++;
        sim_conn_tell(connecting, node, SIM_PACKET_REFUSED, -ECONNREFUSED);
        return;
    }
    accept_conn(listener, node, connecting);
}
