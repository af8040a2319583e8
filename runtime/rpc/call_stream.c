/* call_stream.c - calls that are streams: items go out while the caller has given credit. */
#include "base/assert.h"
#include "rpc/server_state.h"

enum { STREAM_PATIENCE_PINGS = 4 };

int rpc_call_item(struct rpc_call *call, struct peri_slice values)
{
    PERI_ASSERT(call->kind == RPC_STREAM);
    if (call->items == call->granted || call->guest->conn.out.bytes > 0)
        return PERI_EBUSY;
    struct wire_message message;
    wire_message_start(&message, WIRE_ITEM, call->id);
    message.item.number = call->items;
    message.item.values = values;
    int rc = rpc_conn_send(&call->guest->conn, &message);
    if (rc != 0)
        return rc == PERI_EBUSY ? PERI_ENOMEM : rc; /* waiting for credit would not help */
    call->items++;
    call->answer_size += call->guest->conn.sent_size;
    return 0;
}

void rpc_call_end(struct rpc_call *call)
{
    struct wire_message message = {.kind = WIRE_END, .id = call->id};
    message.end.items = call->items;
    int rc = rpc_conn_send(&call->guest->conn, &message);
    if (rc != 0)
        rpc_call_fail_send(call, rc, 0);
    else
        rpc_call_release(call, peri_slice_of("", 0));
}

void rpc_calls_have_room(struct rpc_guest *guest)
{
    for (size_t i = 0; i < RPC_CALL_BUCKETS; i++)
        for (struct peri_list *link = guest->calls[i].next; link != &guest->calls[i];
             link = link->next)
            if (rpc_call_of(link)->kind == RPC_STREAM &&
                rpc_call_of(link)->handler->on_credit != NULL)
                rpc_call_of(link)->handler->on_credit(rpc_call_of(link));
}

/* A caller that is still there says so with CREDIT, also when that grants nothing new. */
uint64_t rpc_guest_stream_due_us(const struct rpc_guest *guest, uint64_t now_us)
{
    return now_us + STREAM_PATIENCE_PINGS * guest->conn.ping_us;
}

void rpc_guest_take_credit(struct rpc_guest *guest, const struct wire_message *message)
{
    struct rpc_call *call = rpc_guest_find(guest, message->id);
    if (call == NULL || call->kind != RPC_STREAM)
        return;
    call->due_us = rpc_guest_stream_due_us(guest, guest->conn.heard_us);
    if (message->credit.items <= call->granted)
        return;
    call->granted = message->credit.items;
    if (call->handler->on_credit != NULL)
        call->handler->on_credit(call);
}
