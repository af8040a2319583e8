/* chunks.h - long messages in pieces, so that short ones need not wait behind them.
 *
 * A message longer than RPC_CHUNK_SIZE travels as CHUNK messages with the id of the call it belongs
 * to. Transfers take turns, one chunk each. Chunks may arrive twice, in another order, or never:
 * what is incomplete after RPC_TRANSFER_IDLE_US without news is forgotten. No more memory is taken
 * than what arrived. Pure, but for memory. */
#ifndef PERI_RPC_CHUNKS_H
#define PERI_RPC_CHUNKS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/error.h"
#include "base/list.h"
#include "wire/message.h"

enum {
    RPC_CHUNK_SIZE = 256 << 10,
    RPC_CHUNK_MESSAGE_MAX = RPC_CHUNK_SIZE + 128, /* a chunk with its header */
    RPC_TRANSFERS_MAX = 64,                       /* that one side receives at a time */
    RPC_STASH_MAX = 64,                           /* chunks that came too early, of a transfer */
};
#define RPC_TRANSFER_IDLE_US UINT64_C(30000000)

/* ---- sending ---- */

/* Transfers under way, the next one first. Zeroed, then rpc_outbox_init. */
struct rpc_outbox {
    struct peri_list transfers;
    size_t bytes;     /* of all transfers */
    size_t bytes_max; /* then rpc_outbox_add refuses */
    uint64_t next_number;
};

/* Starts empty. */
void rpc_outbox_init(struct rpc_outbox *outbox, size_t bytes_max);
void rpc_outbox_deinit(struct rpc_outbox *outbox);

/* Copies the parts, which together are one message of the call id. Errors: PERI_EBUSY when there is
 * no room for it; PERI_ENOMEM. */
int rpc_outbox_add(struct rpc_outbox *outbox, uint64_t id, const struct peri_slice *parts,
                   size_t count);

/* The same of a head, which is copied, and a body, which is taken: no bytes of it are moved, be it
 * 100 MB. body is empty afterwards; after an error it is as before. */
int rpc_outbox_take(struct rpc_outbox *outbox, uint64_t id, struct peri_slice head,
                    struct peri_buffer *body);

/* Makes the next chunk, if there is one; its bytes are lent until rpc_outbox_sent. */
bool rpc_outbox_next(struct rpc_outbox *outbox, struct wire_message *chunk);

/* The chunk of rpc_outbox_next is on its way: the next one is another transfer's. */
void rpc_outbox_sent(struct rpc_outbox *outbox);

/* Forgets what has not been sent of the messages of a call. */
void rpc_outbox_drop(struct rpc_outbox *outbox, uint64_t id);

/* ---- receiving ---- */

struct rpc_inbox {
    struct peri_list transfers;
    size_t count;
    size_t bytes;     /* received so far, of all transfers */
    size_t bytes_max; /* then chunks are refused */
};

/* Starts empty. */
void rpc_inbox_init(struct rpc_inbox *inbox, size_t bytes_max);
void rpc_inbox_deinit(struct rpc_inbox *inbox);

/* True when a chunk of that transfer was kept before. */
bool rpc_inbox_knows(const struct rpc_inbox *inbox, const struct wire_message *chunk);

/* Takes a chunk. Returns 1 when it completes its message, which moves to *whole (empty before): the
 * caller ends that with peri_buffer_deinit. Returns 0 while more is missing. Errors:
 * PERI_EPROTOCOL for places and sizes that contradict each other; PERI_EBUSY beyond the limits;
 * PERI_ENOMEM. The transfer is then forgotten. */
int rpc_inbox_add(struct rpc_inbox *inbox, const struct wire_message *chunk, uint64_t now_us,
                  struct peri_buffer *whole);

/* Forgets what arrived of the messages of a call. */
void rpc_inbox_drop(struct rpc_inbox *inbox, uint64_t id);

/* Forgets transfers without news. */
void rpc_inbox_expire(struct rpc_inbox *inbox, uint64_t now_us);

#endif
