/* resp_call.c - commands that ask the group. */
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "kv/command.h"
#include "kv/resp_parts.h"

void resp_call_free(struct resp_call *call)
{
    node_request_cancel(&call->request);
    peri_list_remove(&call->queued);
    peri_buffer_deinit(&call->body);
    peri_buffer_deinit(&call->reply);
    peri_buffer_deinit(&call->text);
    peri_buffer_deinit(&call->found);
    free(call->plans);
    free(call);
}

void resp_call_fail(struct resp_call *call, const char *code, const char *text)
{
    struct resp_writer writer = resp_call_writer(call);
    call->reply.size = 0;
    resp_error(&writer, "%s%s%s", code, *code != '\0' ? " " : "", text);
    resp_call_done(call);
}

static void fail_without_memory(struct resp_call *call)
{
    resp_call_fail(call, "ERR", "no memory for the command");
}

/* ---- outcomes ---- */

/* The code in front of an error's text, by which programs tell them apart. */
static const char *code_of(const struct node_outcome *outcome)
{
    if (outcome->certainty == NODE_UNKNOWN)
        return "UNKNOWN the command may have happened:";
    if (outcome->certainty == NODE_OK || outcome->code == PERI_EINVAL ||
        outcome->code == PERI_ETOOBIG)
        return "ERR";
    return outcome->code == PERI_EFULL ? "OOM" : "CLUSTERDOWN";
}

void resp_call_answer(struct resp_call *call, struct wire_unpacker *answer)
{
    const struct resp_server *server = call->conn->server;
    call->plan.idle_ms = (int64_t)((env_now_us(server->env) - server->applied_us) / 1000);
    call->on_answer(call, answer);
}

void resp_call_take(struct resp_call *call, const struct node_outcome *outcome)
{
    struct wire_unpacker answer = wire_unpack(outcome->result);
    if (outcome->code == PERI_ELUA &&
        outcome->certainty == NODE_OK) { /* a script says itself what is wrong */
        resp_call_fail(call, "", outcome->err->text);
        return;
    }
    if (outcome->code != 0) {
        if (call->plans != NULL && outcome->certainty == NODE_OK) {
            resp_call_fail(
                call, "EXECABORT Transaction rolled back:", resp_error_text(outcome->err->text));
            return;
        }
        resp_call_fail(call, code_of(outcome), resp_error_text(outcome->err->text));
        return;
    }
    (void)wire_unpack_array(&answer);
    call->revision = wire_unpack_uint(&answer);
    (void)wire_unpack_uint(&answer);
    resp_call_answer(call, &answer);
}

static void on_read(struct node_request *request, const struct node_outcome *outcome)
{
    resp_call_take(container_of(request, struct resp_call, request), outcome);
}

/* ---- asking ---- */

struct wire_packer resp_query_begin(struct resp_call *call, const char *kind, uint32_t count)
{
    struct wire_packer out = {&call->body, 0};
    call->body.size = 0;
    wire_pack_array(&out, 2 + count);
    wire_pack_uint(&out, KV_COMMAND_VERSION);
    wire_pack_bytes(&out, peri_slice_of(kind, strlen(kind)));
    return out;
}

struct wire_packer resp_command_begin(struct resp_call *call, const char *kind, uint32_t parts)
{
    struct wire_packer out = {&call->body, 0};
    call->body.size = 0;
    kv_command_begin(&out, 5 + parts, kind);
    return out;
}

void resp_call_ask(struct resp_call *call, const struct wire_packer *body)
{
    struct resp_server *server = call->conn->server;
    struct peri_error err = PERI_ERROR_INIT;
    call->request = (struct node_request){.kind = NODE_READ,
                                          .consistency = NODE_LINEARIZABLE,
                                          .body = peri_buffer_slice(&call->body),
                                          .due_us = env_now_us(server->env) + RESP_DEADLINE_US,
                                          .is_patient = true,
                                          .on_done = on_read};
    if (body->rc != 0)
        fail_without_memory(call);
    else if (node_request_start(server->group, &call->request, &err) != 0)
        resp_call_fail(call, "CLUSTERDOWN", err.text);
}

static void append_all(struct wire_packer *out, const struct peri_buffer *bytes)
{
    if (out->rc == 0)
        out->rc = peri_buffer_append(out->out, bytes->data, bytes->size);
}

/* ---- commands on keys ---- */

static void finish(struct resp_call *call, struct resp_writer *writer,
                   const struct wire_unpacker *answer)
{
    if (answer->rc != 0 || writer->rc != 0)
        fail_without_memory(call);
    else
        resp_call_done(call);
}

static void on_read_answer(struct resp_call *call, struct wire_unpacker *answer)
{
    struct resp_writer writer = resp_call_writer(call);
    (void)wire_unpack_array(answer);
    resp_plan_answer(&call->plan, answer, &writer);
    finish(call, &writer, answer);
}

static void on_write_answer(struct resp_call *call, struct wire_unpacker *answer)
{
    struct resp_writer writer = resp_call_writer(call);
    bool holds = wire_unpack_bool(answer);
    (void)wire_unpack_array(answer);
    if (call->plan.b != 0) /* MSETNX */
        resp_integer(&writer, holds);
    else
        resp_plan_answer(&call->plan, answer, &writer);
    finish(call, &writer, answer);
}

int64_t resp_wall_ms(const struct resp_conn *conn)
{
    return env_wall_us(conn->server->env) / 1000;
}

/* The operations of a command; its error for the client, if it has one, is the reply. */
static bool plan(struct resp_conn *conn, const struct resp_word *word, struct resp_plan *out,
                 struct wire_packer *operations, struct wire_packer *absent, uint32_t *absent_count)
{
    struct peri_error err = PERI_ERROR_INIT;
    if (resp_plan_make(word, &conn->server->command, resp_wall_ms(conn), out, operations, absent,
                       absent_count, &err) == 0)
        return true;
    resp_reply_error(conn, "%s", err.code != 0 ? err.text : "ERR no memory for the command");
    return false;
}

static void read_keys(struct resp_conn *conn, const struct resp_plan *planned,
                      const struct peri_buffer *operations)
{
    struct resp_call *call = resp_call_create(conn, RESP_READS);
    if (call == NULL)
        return;
    call->plan = *planned;
    call->on_answer = on_read_answer;
    struct wire_packer body = resp_query_begin(call, "read", 1);
    wire_pack_array(&body, planned->operations);
    append_all(&body, operations);
    resp_call_ask(call, &body);
}

static void write_keys(struct resp_conn *conn, const struct resp_plan *planned,
                       const struct peri_buffer *operations, const struct peri_buffer *absent,
                       uint32_t absent_count)
{
    struct resp_call *call = resp_call_create(conn, RESP_WRITES);
    if (call == NULL)
        return;
    call->plan = *planned;
    if (absent_count > 0)
        call->plan.b = 1;
    call->on_answer = on_write_answer;
    struct wire_packer body = {&call->body, 0};
    wire_pack_array(&body, absent_count);
    append_all(&body, absent);
    wire_pack_array(&body, planned->operations);
    append_all(&body, operations);
    wire_pack_array(&body, 0);
    resp_call_propose_part(call, &body);
}

/* ---- transactions ---- */

static bool collect(struct resp_conn *conn, const struct resp_plan *planned,
                    const struct peri_buffer *operations)
{
    if (conn->multi_operations + planned->operations > KV_OPERATIONS_MAX)
        return false;
    if (conn->plans == NULL)
        conn->plans = calloc(KV_OPERATIONS_MAX, sizeof *conn->plans);
    if (conn->plans == NULL || conn->multi.size + operations->size > RESP_COMMAND_MAX ||
        peri_buffer_append(&conn->multi, operations->data, operations->size) != 0)
        return false;
    conn->plans[conn->plan_count++] = *planned;
    conn->multi_operations += planned->operations;
    return true;
}

void resp_do_plan(struct resp_conn *conn, const struct resp_word *word)
{
    struct peri_buffer operations = {NULL, 0, 0}, absent = {NULL, 0, 0};
    struct wire_packer out = {&operations, 0}, compares = {&absent, 0};
    struct resp_plan planned;
    uint32_t absent_count = 0;
    bool is_planned =
        plan(conn, word, &planned, &out, conn->in_multi ? NULL : &compares, &absent_count);
    if (!is_planned) {
        conn->is_multi_broken = true;
    } else if (conn->in_multi && collect(conn, &planned, &operations)) {
        resp_reply_status(conn, "QUEUED");
    } else if (conn->in_multi) {
        conn->is_multi_broken = true;
        resp_reply_error(conn, "ERR a transaction has at most %d operations and %d bytes",
                         KV_OPERATIONS_MAX, RESP_COMMAND_MAX);
    } else if ((word->flags & RESP_READS) != 0) {
        read_keys(conn, &planned, &operations);
    } else {
        write_keys(conn, &planned, &operations, &absent, absent_count);
    }
    peri_buffer_deinit(&operations);
    peri_buffer_deinit(&absent);
}

void resp_discard(struct resp_conn *conn)
{
    conn->in_multi = conn->is_multi_broken = false;
    conn->multi.size = conn->watched.size = 0;
    conn->multi_operations = conn->plan_count = conn->watched_count = 0;
}

static void on_exec_answer(struct resp_call *call, struct wire_unpacker *answer)
{
    struct resp_writer writer = resp_call_writer(call);
    bool holds = wire_unpack_bool(answer);
    (void)wire_unpack_array(answer);
    if (!holds)
        resp_nil_array(&writer);
    else
        resp_array(&writer, call->plan_count);
    for (uint32_t i = 0; holds && i < call->plan_count; i++)
        resp_plan_answer(&call->plans[i], answer, &writer);
    finish(call, &writer, answer);
}

void resp_do_exec(struct resp_conn *conn)
{
    bool is_broken = conn->is_multi_broken, has_begun = conn->in_multi;
    if (!has_begun || is_broken) {
        if (has_begun)
            resp_discard(conn);
        resp_reply_error(conn, "%s",
                         has_begun ? "EXECABORT Transaction discarded because of previous errors."
                                   : "ERR EXEC without MULTI");
        return;
    }
    struct resp_call *call = resp_call_create(conn, RESP_ALONE);
    if (call == NULL)
        return;
    struct wire_packer body = resp_command_begin(call, "do", 3);
    wire_pack_array(&body, conn->watched_count);
    append_all(&body, &conn->watched);
    wire_pack_array(&body, conn->multi_operations);
    append_all(&body, &conn->multi);
    wire_pack_array(&body, 0);
    call->plans = conn->plans;
    call->plan_count = conn->plan_count;
    call->on_answer = on_exec_answer;
    conn->plans = NULL;
    resp_discard(conn);
    if (call->plans == NULL)
        call->plans = calloc(1, sizeof *call->plans);
    resp_call_propose(call, &body);
}

/* EXEC compares when the keys changed last with what the store's revision is now. */
static void on_watch_answer(struct resp_call *call, struct wire_unpacker *answer)
{
    struct resp_conn *conn = call->conn;
    struct resp_writer writer = resp_call_writer(call);
    struct wire_packer out = {&conn->watched, 0};
    struct wire_unpacker keys = wire_unpack(peri_buffer_slice(&call->text));
    uint32_t count = wire_unpack_array(&keys);
    for (uint32_t i = 0; i < count; i++) {
        wire_pack_array(&out, 4);
        wire_pack_bytes(&out, peri_slice_of("changed", 7));
        wire_pack_bytes(&out, wire_unpack_bytes(&keys));
        wire_pack_bytes(&out, peri_slice_of("<", 1));
        wire_pack_uint(&out, call->revision + 1);
    }
    conn->watched_count += count;
    resp_status(&writer, "OK");
    finish(call, &writer, answer);
}

void resp_do_watch(struct resp_conn *conn)
{
    const struct resp_command *command = &conn->server->command;
    uint32_t count = command->count - 1;
    if (conn->in_multi) {
        resp_reply_error(conn, "ERR WATCH inside MULTI is not allowed");
        return;
    }
    if (conn->watched_count + count > KV_COMPARES_MAX) {
        resp_reply_error(conn, "ERR at most %d keys can be watched", KV_COMPARES_MAX);
        return;
    }
    struct resp_call *call = resp_call_create(conn, RESP_ALONE);
    if (call == NULL)
        return;
    struct wire_packer keys = {&call->text, 0};
    struct wire_packer body = resp_query_begin(call, "read", 1);
    wire_pack_array(&body, 0); /* the store's revision is all */
    wire_pack_array(&keys, count);
    for (uint32_t i = 1; i <= count; i++)
        wire_pack_bytes(&keys, command->args[i]);
    body.rc = body.rc != 0 ? body.rc : keys.rc;
    call->on_answer = on_watch_answer;
    resp_call_ask(call, &body);
}
