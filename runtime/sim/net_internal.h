/* net_internal.h - the insides of the simulated network.
 *
 * net.c       settings of links, shapes, fates: what becomes of a packet, and when it arrives
 * conn.c      connections: delivering, ending
 * conn_send.c packets, and what becomes of what a connection sends
 * labs.c      the network of the MIT labs
 * listener.c  addresses, listeners, how connections begin */
#ifndef PERI_SIM_NET_INTERNAL_H
#define PERI_SIM_NET_INTERNAL_H

#include "sim/internal.h"
#include "sim/net.h"

enum sim_packet_kind {
    SIM_PACKET_CONNECT,  /* to a listener; conn is the one that connects */
    SIM_PACKET_ACCEPTED, /* to the one that connects */
    SIM_PACKET_REFUSED,
    SIM_PACKET_MESSAGE,
    SIM_PACKET_END, /* the other side is gone, with status */
};

/* What travels. It belongs to the connection in whose list it is, and goes with it. */
struct sim_packet {
    struct sim_event event; /* its arrival; its node is where it arrives */
    struct peri_list link;  /* in sim_conn.packets, .outbox or .inbox */
    struct peri_list held;  /* in sim_net.held while its link holds */
    struct sim_conn *conn;  /* for which it is; of SIM_PACKET_CONNECT, the one that connects */
    struct sim_node *from;
    enum sim_packet_kind kind;
    int status;
    bool is_damaged;
    bool is_counted;   /* among the due_bytes of conn */
    bool is_late;      /* the network of the labs has decided that it does not wait for its turn */
    bool is_uncounted; /* the network's own word, which no node has sent */
    size_t size;
    char bytes[];
};

enum sim_conn_state { SIM_CONN_CONNECTING, SIM_CONN_OPEN, SIM_CONN_ENDED };

enum { SIM_ADDRESS_SIZE = 128, SIM_FAILURE_SIZE = 192 };

struct sim_conn {
    struct env_conn base;
    struct sim_handle handle;
    uint64_t id;
    struct sim_node *node;
    struct sim_node *peer_node;
    struct sim_conn *peer; /* NULL before it is accepted, and once the other side is gone */
    enum sim_conn_state state;
    bool is_initiator;
    bool is_accepted; /* has events */
    bool is_paused;
    bool wants_writable; /* has been above the mark */
    bool is_reset;       /* its end is on the way */
    bool is_torn;        /* of a stream of bytes a piece was cut out: nothing more leaves */
    const struct env_conn_events *events;
    void *data;
    size_t message_max;
    uint64_t idle_limit_us;
    uint64_t heard_us;   /* when the last message came, on the world's clock */
    uint64_t arrives_us; /* when what was sent here last arrives: what is sent later, not before */
    size_t due_bytes;    /* of messages that were sent here and not delivered yet */
    struct sim_event idle;     /* the idle limit */
    struct sim_event drain;    /* the next of the inbox */
    struct sim_event writable; /* the queue is short again */
    struct peri_list packets;  /* on their way here */
    struct peri_list outbox;   /* sent while connecting */
    struct peri_list inbox;    /* arrived while paused, or not open yet */
    uint16_t port;             /* where a connecting one connects to */
    char peer_text[SIM_ADDRESS_SIZE];
    char failure[SIM_FAILURE_SIZE];
};

static inline struct sim_conn *sim_conn_of(const struct env_conn *conn)
{
    return container_of((struct env_conn *)(uintptr_t)conn, struct sim_conn, base);
}

static inline struct sim_packet *sim_packet_at(const struct peri_list *link)
{
    return container_of((struct peri_list *)(uintptr_t)link, struct sim_packet, link);
}

/* ---- net.c ---- */

/* What becomes of a packet sent now. */
struct sim_fate {
    bool is_lost;
    bool is_duplicated;
    bool is_reset; /* ends the connection */
    bool is_cut;   /* lost because the link is cut */
    uint64_t at_us;
};

/* Decides about the packet on the way to conn's node, and draws for it. Of packets that are not
 * messages, only cuts, holds and delays concern it. Errors: PERI_ENOMEM. */
int sim_net_decide(struct sim_world *world, struct sim_packet *packet, struct sim_node *to,
                   bool is_request, struct sim_fate *fate);

/* Puts the packet on its way: it arrives at at_us, or after that when the link holds. */
void sim_net_travel(struct sim_world *world, struct sim_packet *packet, struct sim_node *to,
                    uint64_t at_us);

/* True when nothing passes from one node to the other. */
bool sim_net_is_cut(const struct sim_world *world, const struct sim_node *from,
                    const struct sim_node *to);

/* ---- labs.c ---- */

/* Decides like sim_net_decide, in the network of the labs. Returns how long the packet travels, or,
 * when it is lost, how long until the caller hears of that. */
uint64_t sim_labs_decide(struct sim_stream *stream, const struct sim_net_labs *labs,
                         struct sim_packet *packet, bool is_request, struct sim_fate *fate);

/* The caller's end hears at at_us that the call, or the answer, in the lost packet is lost. Errors:
 * PERI_ENOMEM. */
int sim_labs_tell_lost(struct sim_conn *caller, const struct sim_packet *lost, uint64_t at_us);

/* How long until somebody hears that the link is cut: in the network of the labs; 0: never. */
uint64_t sim_net_cut_delay_us(struct sim_world *world, struct sim_node *from);

/* ---- conn_send.c ---- */

/* A packet that is for conn once it arrives at to. Errors: PERI_ENOMEM. */
int sim_packet_create(struct sim_conn *conn, struct sim_node *from, struct sim_node *to,
                      enum sim_packet_kind kind, size_t size, struct sim_packet **out);
void sim_packet_free(struct sim_world *world, struct sim_packet *packet);

/* Writes a line about the packet, for traces. */
void sim_packet_print(const struct sim_packet *packet, char *out, size_t size);

/* The packet is delivered now: it burdens its connection no more. */
void sim_packet_uncount(struct sim_packet *packet);

/* Frees the packets of a list. */
void sim_conn_free_packets(struct sim_world *world, struct peri_list *packets);

/* Puts a packet that is for conn on its way: it arrives at at_us, behind those sent there before
 * unless it may overtake. Takes the packet. */
void sim_conn_deliver_at(struct sim_conn *conn, struct sim_packet *packet, uint64_t at_us);

/* Sends a packet without bytes to conn, behind what was sent there before. */
void sim_conn_tell(struct sim_conn *conn, struct sim_node *from, enum sim_packet_kind kind,
                   int status);

/* What conn sends, or should get, is cut off: in the network of the labs it hears of that, after a
 * while. */
void sim_conn_hear_of_cut(struct sim_conn *conn);

/* Sends a message of an open connection; takes the packet, also on errors: PERI_ENOMEM. */
int sim_conn_transmit(struct sim_conn *conn, struct sim_packet *packet);

/* Are env_conn_send and env_conn_queued_bytes. */
int sim_conn_send(struct env_conn *base, const struct peri_slice *parts, size_t count);
size_t sim_conn_queued_bytes(const struct env_conn *base);

/* Something was delivered to conn: the other end hears of that when its queue has become short. */
void sim_conn_make_room(struct sim_conn *conn);

/* Of sim_conn.writable: on_writable. */
void sim_conn_on_writable_due(struct sim_world *world, struct sim_event *event);

/* ---- conn.c ---- */

/* A connection of node to peer_node that is connecting. Errors: PERI_ENOMEM. */
int sim_conn_create(struct sim_node *node, struct sim_node *peer_node, struct sim_conn **out);

/* The connection has ended: on_open or on_close hears of it. Last: it may close conn. */
void sim_conn_fail(struct sim_conn *conn, int status, const char *text);

/* Frees without a word. */
void sim_conn_free(struct sim_conn *conn);

extern const struct sim_event_kind sim_packet_kind;

/* ---- listener.c ---- */

/* A packet of kind SIM_PACKET_CONNECT has arrived. */
void sim_listener_on_connect(struct sim_world *world, struct sim_packet *packet);

/* Starts to connect. */
int sim_conn_connect(struct env *env, const char *address, const struct env_conn_events *events,
                     void *data, struct env_conn **out, struct peri_error *err);

#endif
