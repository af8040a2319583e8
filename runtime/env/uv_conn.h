/* uv_conn.h - what the files of connections and listeners share.
 *
 * uv_conn.c     a connection's life: made, opened, ended, closed
 * uv_connect.c  finds the peer: looks its name up, tries its addresses
 * uv_read.c     takes frames from the bytes that arrive
 * uv_write.c    queues what is sent, and writes it once per round of the loop
 * uv_listener.c waits for others to connect */
#ifndef PERI_ENV_UV_CONN_H
#define PERI_ENV_UV_CONN_H

#include "base/buffer.h"
#include "env/address.h"
#include "env/uv_internal.h"
#include "wire/frame.h"

enum uv_conn_state {
    CONN_OPENING,   /* looks the name up, or tries one address after the other */
    CONN_OFFERED,   /* by a listener, whose owner has not accepted it yet */
    CONN_OPEN,      /* messages come and go */
    CONN_ENDED,     /* the owner has been told; only good for closing */
    CONN_LINGERING, /* the owner has closed it; what is queued leaves */
    CONN_CLOSED,    /* waits for libuv to forget it */
};

union uv_socket {
    uv_handle_t any;
    uv_stream_t stream;
    uv_tcp_t tcp;
    uv_pipe_t pipe;
};

enum {
    CONN_NAME_SIZE = 300, /* a host and a port, or a path, and their marks */
    CONN_FAILURE_SIZE = 512,
    CONN_BUFFER_KEPT = 64 << 10, /* larger buffers are freed when they are empty */
};

struct uv_conn {
    struct env_conn base;
    struct uv_owned owned;
    struct env_uv *uv;
    enum uv_conn_state state;
    unsigned references; /* of libuv: open handles, and a lookup; freed when CLOSED without any */
    const struct env_conn_events *events;
    void *data;
    union uv_socket socket;
    uv_timer_t timer; /* idle limit, then lingering */
    bool is_socket_open, is_timer_open;
    bool is_looking_up;         /* lookup runs */
    bool is_reading, is_paused; /* paused by the owner; not reading also until resume is served */
    bool is_delivering;         /* what came in a read; what is sent meanwhile leaves after it */
    bool is_above_mark;         /* on_writable is owed */
    bool is_shut;               /* the peer has been told that no more will come */
    char peer[CONN_NAME_SIZE];  /* env_conn_peer */
    char failure[CONN_FAILURE_SIZE]; /* env_conn_failure */

    /* uv_connect.c */
    struct env_address address;
    uv_connect_t connect;
    uv_getaddrinfo_t lookup;
    struct addrinfo *found;        /* by the lookup; owned */
    const struct addrinfo *next;   /* to be tried */
    struct addrinfo numeric;       /* in place of found */
    struct sockaddr_storage bytes; /* of numeric */

    /* uv_read.c */
    size_t message_max;
    struct peri_buffer rest; /* bytes that are no whole frame yet, or came before a pause */
    size_t offset;           /* bytes of rest at the front of the shared buffer */
    size_t burst_left;       /* bytes at the front of rest: of a checked burst, since a pause */
    uint64_t idle_limit_us;  /* 0: none */

    /* uv_write.c */
    struct peri_list due;      /* in uv_net.due, or alone */
    struct wire_frames out;    /* that nobody writes yet */
    struct peri_buffer flight; /* what write writes; size 0: nothing */
    uv_write_t write;
    uv_shutdown_t shutdown;
    size_t lingering_bytes; /* queued when the timer looked last */
    unsigned lingering_periods;

    int connect_status; /* of the last attempt to connect */
    int write_status;   /* why nothing can be sent any more; 0: it can */
};

/* What all connections of an environment share. */
struct uv_net {
    uv_idle_t idle;           /* active while something is due: the loop then does not sleep */
    struct peri_list due;     /* struct uv_conn that must be looked at before the loop sleeps */
    struct peri_buffer spare; /* what was written last: for whoever sends next, while it is warm */
    char buffer[64 << 10];
};

/* The libuv side of a connection. */
static inline struct uv_conn *uv_conn_of(const struct env_conn *conn)
{
    return container_of(conn, struct uv_conn, base);
}

/* ---- uv_conn.c ---- */

/* Makes a connection whose socket is not open yet. Errors: PERI_ENOMEM. */
int uv_conn_create(struct env_uv *uv, enum uv_conn_state state, struct uv_conn **out);

/* Initializes the socket; *out is what libuv's functions for TCP or pipes take. */
void uv_conn_open_socket(struct uv_conn *conn, bool is_unix);

/* Ends the connection and tells the owner, whose callback is the last that happens. The text says
 * what failed, for people; "" stands for the status' own text. */
void uv_conn_end(struct uv_conn *conn, int status, const char *what);

/* Has the connection end with write_status unless the peer ends it before, in a second. */
void uv_conn_end_soon(struct uv_conn *conn);

/* The connection is up: reads, and sends what is queued. */
void uv_conn_is_up(struct uv_conn *conn);

/* Closes socket and timer now; the connection is freed once libuv has forgotten both. */
void uv_conn_abandon(struct uv_conn *conn);

/* Closes the socket if it is open. A connection that is OPENING then tries the next address. */
void uv_conn_close_socket(struct uv_conn *conn);

/* libuv has forgotten one of its references. */
void uv_conn_unref(struct uv_conn *conn);

/* ---- uv_connect.c ---- */

/* Is env_conn_connect (env.h). */
int uv_conn_connect(struct env *env, const char *address, const struct env_conn_events *events,
                    void *data, struct env_conn **out, struct peri_error *err);

/* The attempt's socket has been closed: tries the next address. */
void uv_conn_try_next(struct uv_conn *conn);

/* True when the connected peer is on this machine. */
bool uv_conn_has_local_peer(const struct uv_conn *conn);

/* Fills bytes from a numeric host; false when it is a name. */
bool uv_numeric_address(const struct env_address *address, struct sockaddr_storage *bytes);

/* "127.0.0.1:7100", "[::1]:7100". */
void uv_address_print(const struct sockaddr_storage *bytes, char *out, size_t size);

/* ---- uv_read.c ---- */

/* Starts or goes on reading, after what came before a pause. */
void uv_conn_read(struct uv_conn *conn);

/* Reads no more. */
void uv_conn_read_stop(struct uv_conn *conn);

/* Reads and forgets: lingering. */
void uv_conn_read_away(struct uv_conn *conn);

/* ---- uv_write.c ---- */

/* Are the functions of env.h. */
int uv_conn_send(struct env_conn *base, const struct peri_slice *parts, size_t count);
size_t uv_conn_queued_bytes(const struct env_conn *base);

/* Has the connection served before the loop sleeps: what it holds back is delivered, what is queued
 * is written. */
void uv_conn_make_due(struct uv_conn *conn);

/* Hands what is queued to the kernel; may end the connection. */
void uv_conn_flush(struct uv_conn *conn);

/* The shared part of env, made at the first call. Errors: PERI_ENOMEM. */
int uv_net_get(struct env_uv *uv);

#endif
