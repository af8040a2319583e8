/* conn_send.h - how a connection's messages leave: what conn_send.c has for conn.c. */
#ifndef PERI_RPC_CONN_SEND_H
#define PERI_RPC_CONN_SEND_H

#include "rpc/conn.h"

enum { RPC_MESSAGE_EXTRA = 1 << 10 }; /* what a message may have besides its body */

/* Fills the queue with chunks as far as it is meant for bulk; on_writable goes on. Errors:
 * PERI_ENOMEM, those of env_conn_send but PERI_EBUSY. */
int rpc_conn_pump(struct rpc_conn *conn);

/* The other side does not take our answers, though there is room for a long one or two. */
bool rpc_conn_is_full(const struct rpc_conn *conn);

#endif
