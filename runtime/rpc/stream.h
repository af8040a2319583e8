/* stream.h - a caller's end of a stream.
 *
 * Items carry numbers: those that come early wait for those before them, repeated ones are dropped.
 * At most RPC_STREAM_WINDOW items are under way or wait to be taken; taking them asks for more. A
 * stream has no deadline as a whole, yet nobody waits for an item longer than told; while it is
 * open the client keeps saying so, and a server that hears nothing ends it. */
#ifndef PERI_RPC_STREAM_H
#define PERI_RPC_STREAM_H

#include "rpc/client.h"

/* Embedded by whoever reads, in place until rpc_stream_close. */
struct rpc_stream {
    struct rpc_request request;
    /* Something new can be taken; on the loop. */
    void (*on_change)(struct rpc_stream *stream);
    struct peri_buffer items[RPC_STREAM_WINDOW]; /* by number; without bytes: it has not come */
    uint64_t next;                               /* number of the item that is taken next */
    uint64_t count;                              /* of all items, once has_count */
    bool has_count;
    bool is_over;     /* the request has ended */
    bool is_expected; /* somebody waits for the next item */
    /* Why it ended, with code 0 while it has not failed. Lent until the close. */
    struct rpc_result failure;
    struct peri_buffer failure_text; /* what failure's slices are lent from */
};

enum rpc_stream_outcome { RPC_STREAM_WAIT, RPC_STREAM_ITEM, RPC_STREAM_END, RPC_STREAM_FAILED };

/* Opens a stream of the function name, which is lent until the close, as is owner (request.h).
 * Before due_us either an item has come or somebody waits for one. What rpc_client_call refuses is
 * a stream that has failed. */
void rpc_stream_open(struct rpc_stream *stream, struct rpc_client *client, struct peri_slice name,
                     struct peri_slice args, uint64_t due_us, bool may_wait, const void *owner,
                     void (*on_change)(struct rpc_stream *stream));

/* Takes the next item: *values is a MessagePack array that moves to the caller, who ends it with
 * peri_buffer_deinit. An error comes when it has happened, before items that are still there. */
enum rpc_stream_outcome rpc_stream_take(struct rpc_stream *stream, struct peri_buffer *values);

/* Somebody waits for the next item until due_us; UINT64_MAX: nobody does any more. */
void rpc_stream_expect(struct rpc_stream *stream, uint64_t due_us);

/* Ends the stream, on the other side as well when it is not over. */
void rpc_stream_close(struct rpc_stream *stream);

#endif
