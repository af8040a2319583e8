/* resp_write.c - the proposals of a connection: one at a time, so that they happen in their order
 * whatever becomes of leaders, and what a client has sent ahead together.
 *
 *      SET, INCR, DEL ...   [compares, then, else] each, all that wait: a batch
 *      EVAL, EXEC ...       alone
 *
 * A proposal that was proved not to have happened is tried again (forward.h) before the next one
 * leaves. */
#include "base/assert.h"
#include "kv/command.h"
#include "kv/resp_parts.h"

enum { BATCH_BYTES_MAX = 1 << 20, KEPT_MAX = 16 << 10 };

static struct resp_call *first_of(const struct peri_list *calls)
{
    return peri_list_is_empty(calls) ? NULL : container_of(calls->next, struct resp_call, queued);
}

/* ---- what leaves ---- */

/* Moves those that leave now to conn->batched: as many parts as stand in front, or one that is
 * none. */
static uint32_t gather(struct resp_conn *conn)
{
    struct resp_call *call = first_of(&conn->waiting);
    uint32_t count = 0;
    size_t bytes = 0;
    bool has_room = true;
    while (call != NULL && has_room) {
        peri_list_remove(&call->queued);
        peri_list_append(&conn->batched, &call->queued);
        bytes += call->body.size;
        count++;
        bool is_part = call->is_part;
        call = first_of(&conn->waiting);
        has_room = call != NULL && is_part && call->is_part && count < KV_BATCH_MAX &&
                   bytes + call->body.size <= BATCH_BYTES_MAX;
    }
    return count;
}

static int pack_part(struct wire_packer *out, const struct resp_call *call)
{
    return out->rc != 0 ? out->rc : peri_buffer_append(out->out, call->body.data, call->body.size);
}

/* One is proposed as if there were no batches. */
static int pack(struct resp_conn *conn, uint32_t count)
{
    struct wire_packer out = {&conn->proposed, 0};
    conn->proposed.size = 0;
    if (count == 1) {
        kv_command_begin(&out, 8, "do");
        return pack_part(&out, first_of(&conn->batched));
    }
    kv_command_begin(&out, 6, "batch");
    wire_pack_array(&out, count);
    for (struct peri_list *at = conn->batched.next; at != &conn->batched; at = at->next) {
        wire_pack_array(&out, 3);
        out.rc = pack_part(&out, container_of(at, struct resp_call, queued));
    }
    return out.rc;
}

/* ---- how it ended ---- */

static struct resp_call *take_off(struct resp_conn *conn)
{
    struct resp_call *call = first_of(&conn->batched);
    peri_list_remove(&call->queued);
    return call;
}

static void take_next(struct resp_conn *conn, const struct node_outcome *outcome)
{
    resp_call_take(take_off(conn), outcome);
}

/* All of them ended alike. */
static void take_all(struct resp_conn *conn, const struct node_outcome *outcome)
{
    while (!peri_list_is_empty(&conn->batched))
        take_next(conn, outcome);
}

/* Each has a result, but for those at the end that did not happen. */
static void take_results(struct resp_conn *conn, struct peri_slice result)
{
    struct wire_unpacker in = wire_unpack(result);
    struct peri_error err = PERI_ERROR_INIT;
    (void)wire_unpack_array(&in);
    (void)wire_unpack_uint(&in);
    (void)wire_unpack_uint(&in);
    uint32_t count = wire_unpack_array(&in);
    for (uint32_t i = 0; i < count && !peri_list_is_empty(&conn->batched); i++) {
        (void)wire_unpack_array(&in);
        int code = (int)wire_unpack_int(&in);
        struct peri_slice bytes = wire_unpack_bytes(&in);
        if (code != 0) {
            (void)peri_fail_plain(&err, code, "%.*s", (int)bytes.size, bytes.data);
            take_next(conn,
                      &(struct node_outcome){.certainty = NODE_OK, .code = code, .err = &err});
        } else {
            struct wire_unpacker answer = wire_unpack(bytes);
            resp_call_answer(take_off(conn), &answer);
        }
    }
    PERI_ASSERT(in.rc == 0 && count > 0); /* each replica's own writing */
}

static void put_back(struct resp_conn *conn)
{
    while (!peri_list_is_empty(&conn->batched)) {
        struct peri_list *last = conn->batched.prev;
        peri_list_remove(last);
        peri_list_append(conn->waiting.next, last) /* in front of the first */;
    }
}

static void on_proposed(struct kv_proposal *proposal, const struct node_outcome *outcome)
{
    struct resp_conn *conn = container_of(proposal, struct resp_conn, proposal);
    struct resp_call *call = first_of(&conn->batched);
    if (outcome->code == 0 && call->queued.next != &conn->batched)
        take_results(conn, outcome->result);
    else
        take_all(conn, outcome);
    put_back(conn);
    peri_buffer_reset(&conn->proposed, KEPT_MAX);
    resp_conn_wake(conn); /* the next one leaves later: nothing is proposed from inside of an end */
}

/* ---- calls ---- */

void resp_writes_go(struct resp_conn *conn)
{
    struct resp_call *call;
    while (peri_list_is_empty(&conn->batched) && (call = first_of(&conn->waiting)) != NULL) {
        uint64_t due_us = call->due_us;
        uint32_t count = gather(conn);
        int rc = call->is_part ? pack(conn, count) : 0;
        bool is_late = due_us <= env_now_us(conn->server->env);
        if (rc != 0 || is_late) {
            static const char late[] = "the commands before it took too long";
            struct peri_error err = PERI_ERROR_INIT;
            (void)peri_fail_plain(&err, is_late ? PERI_EDEADLINE : rc, "%s",
                                  is_late ? late : "no memory for the command");
            take_all(conn, &(struct node_outcome){
                               .certainty = NODE_NEVER, .code = err.code, .err = &err});
            continue;
        }
        conn->proposal = (struct kv_proposal){.body = call->is_part ? &conn->proposed : &call->body,
                                              .due_us = due_us,
                                              .on_done = on_proposed};
        kv_propose(conn->server->forwarder, &conn->proposal);
    }
}

void resp_writes_cancel(struct resp_conn *conn)
{
    kv_proposal_cancel(&conn->proposal);
}

static void enqueue(struct resp_call *call, const struct wire_packer *body, bool is_part)
{
    struct resp_conn *conn = call->conn;
    if (body->rc != 0) {
        resp_call_fail(call, "ERR", "no memory for the command");
        return;
    }
    call->is_part = is_part;
    call->due_us = env_now_us(conn->server->env) + RESP_DEADLINE_US;
    peri_list_append(&conn->waiting, &call->queued);
    resp_conn_wake(conn);
}

void resp_call_propose(struct resp_call *call, const struct wire_packer *body)
{
    enqueue(call, body, false);
}

void resp_call_propose_part(struct resp_call *call, const struct wire_packer *body)
{
    enqueue(call, body, true);
}
