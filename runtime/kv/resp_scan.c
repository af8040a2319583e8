/* resp_scan.c - commands that walk over keys. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "kv/command.h"
#include "kv/resp_parts.h"

enum { SCAN_DEFAULT = 10, FOUND_MAX = 64 << 20 };

/* Asks for the keys from `from` on; revision 0: as they are. */
static void ask_range(struct resp_call *call, struct peri_slice from, uint32_t limit,
                      uint64_t revision)
{
    struct wire_packer body = resp_query_begin(call, "range", 5);
    wire_pack_bytes(&body, from);
    wire_pack_bytes(&body, peri_slice_of("", 0));
    wire_pack_uint(&body, limit);
    wire_pack_uint(&body, KV_KEYS_ONLY);
    wire_pack_uint(&body, revision);
    resp_call_ask(call, &body);
}

/* Takes the keys of an answer that have the form of the call's pattern; false at the end, else they
 * go on at *next. */
static bool take_keys(struct resp_call *call, struct wire_unpacker *answer, struct peri_slice *next)
{
    enum { NIL = 0xc0, NUMBERS = 4 };
    struct resp_writer writer = {&call->found, 2, 0};
    struct peri_slice pattern = peri_buffer_slice(&call->text);
    uint32_t count = wire_unpack_array(answer);
    for (uint32_t i = 0; i < count; i++) {
        (void)wire_unpack_array(answer);
        struct peri_slice key = wire_unpack_bytes(answer);
        (void)wire_unpack_bytes(answer);
        for (int n = 0; n < NUMBERS; n++)
            (void)wire_unpack_uint(answer);
        if (call->takes_none || !resp_matches(pattern, key))
            continue;
        resp_bulk(&writer, key);
        call->found_count++;
    }
    if (writer.rc != 0)
        answer->rc = writer.rc;
    if (answer->rc != 0 || answer->at == answer->end || (unsigned char)*answer->at == NIL)
        return false;
    *next = wire_unpack_bytes(answer);
    return answer->rc == 0;
}

static void finish(struct resp_call *call, struct resp_writer *writer,
                   const struct wire_unpacker *answer)
{
    if (writer->rc == 0)
        writer->rc = peri_buffer_append(&call->reply, call->found.data, call->found.size);
    if (writer->rc != 0 || answer->rc != 0) {
        call->reply.size = 0;
        writer->rc = 0;
        resp_error(writer, "ERR no memory for the keys");
    }
    resp_call_done(call);
}

static bool keep_pattern(struct resp_call *call, struct peri_slice pattern)
{
    return peri_buffer_append(&call->text, pattern.data, pattern.size) == 0;
}

/* ---- KEYS ---- */

static void on_keys(struct resp_call *call, struct wire_unpacker *answer)
{
    struct resp_writer writer = resp_call_writer(call);
    struct peri_slice next;
    bool goes_on = take_keys(call, answer, &next);
    if (goes_on && call->found.size > FOUND_MAX) {
        resp_error(&writer, "ERR there are more than %d bytes of keys: use SCAN", FOUND_MAX);
        resp_call_done(call);
    } else if (goes_on) {
        char from[KV_KEY_MAX]; /* the answer goes with the next question */
        size_t size = next.size;
        memcpy(from, next.data, size);
        ask_range(call, peri_slice_of(from, size), KV_RANGE_MAX, call->revision);
    } else {
        resp_array(&writer, call->found_count);
        finish(call, &writer, answer);
    }
}

void resp_do_keys(struct resp_conn *conn)
{
    struct resp_call *call = resp_call_create(conn, RESP_ALONE);
    if (call == NULL)
        return;
    call->on_answer = on_keys;
    if (!keep_pattern(call, conn->server->command.args[1]))
        conn->is_ending = true;
    ask_range(call, peri_slice_of("", 0), KV_RANGE_MAX, 0);
}

/* ---- SCAN: cursors are numbers, which stand for keys ---- */

static uint64_t keep_cursor(struct resp_server *server, struct peri_slice key)
{
    uint64_t id = ++server->last_cursor;
    struct resp_cursor *cursor = &server->cursors[id % RESP_CURSORS_MAX];
    cursor->id = id;
    cursor->size = key.size;
    memcpy(cursor->key, key.data, key.size);
    return id;
}

static void on_scan(struct resp_call *call, struct wire_unpacker *answer)
{
    struct resp_writer writer = resp_call_writer(call);
    struct peri_slice next;
    char text[24] = "0";
    if (take_keys(call, answer, &next))
        (void)snprintf(text, sizeof text, "%" PRIu64, keep_cursor(call->conn->server, next));
    resp_array(&writer, 2);
    resp_text(&writer, text);
    resp_array(&writer, call->found_count);
    finish(call, &writer, answer);
}

struct scan {
    struct peri_slice from, pattern;
    int64_t count;
    bool is_empty; /* asks for what the store does not have */
};

/* Cursors are remembered by this server alone, and the last ones only. */
static bool read_cursor(struct resp_conn *conn, struct scan *out)
{
    struct resp_server *server = conn->server;
    int64_t id = 0;
    if (!resp_read_integer(server->command.args[1], &id) || id < 0) {
        resp_reply_error(conn, "ERR invalid cursor");
        return false;
    }
    const struct resp_cursor *cursor = &server->cursors[(uint64_t)id % RESP_CURSORS_MAX];
    if (id != 0 && cursor->id != (uint64_t)id) {
        resp_reply_error(conn,
                         "ERR invalid cursor: another node gave it, or %d newer ones were "
                         "given since; begin again with 0",
                         RESP_CURSORS_MAX);
        return false;
    }
    out->from = id == 0 ? peri_slice_of("", 0) : peri_slice_of(cursor->key, cursor->size);
    return true;
}

static bool read_scan(struct resp_conn *conn, struct scan *out)
{
    const struct resp_command *command = &conn->server->command;
    bool is_well = command->count % 2 == 0;
    if (!read_cursor(conn, out))
        return false;
    for (uint32_t at = 2; at + 1 < command->count && is_well; at += 2) {
        struct peri_slice word = command->args[at], value = command->args[at + 1];
        if (resp_is_word(word, "MATCH"))
            out->pattern = value;
        else if (resp_is_word(word, "COUNT"))
            is_well = resp_read_integer(value, &out->count) && out->count > 0;
        else if (resp_is_word(word, "TYPE"))
            out->is_empty = !resp_is_word(value, "STRING"); /* there is nothing else */
        else
            is_well = false;
    }
    if (!is_well)
        resp_reply_error(conn, "ERR syntax error");
    out->count = out->count < KV_RANGE_MAX ? out->count : KV_RANGE_MAX;
    return is_well;
}

void resp_do_scan(struct resp_conn *conn)
{
    struct scan scan = {.pattern = {"*", 1}, .count = SCAN_DEFAULT};
    if (!read_scan(conn, &scan))
        return;
    struct resp_call *call = resp_call_create(conn, RESP_ALONE);
    if (call == NULL)
        return;
    call->on_answer = on_scan;
    if (!keep_pattern(call, scan.pattern))
        conn->is_ending = true;
    call->takes_none = scan.is_empty;
    ask_range(call, scan.from, (uint32_t)scan.count, 0);
}

/* ---- all keys ---- */

static void on_status(struct resp_call *call, struct wire_unpacker *answer)
{
    struct resp_writer writer = resp_call_writer(call);
    (void)wire_unpack_uint(answer);
    resp_integer(&writer, (int64_t)wire_unpack_uint(answer));
    finish(call, &writer, answer);
}

void resp_do_dbsize(struct resp_conn *conn)
{
    struct resp_call *call = resp_call_create(conn, RESP_ALONE);
    if (call == NULL)
        return;
    call->on_answer = on_status;
    struct wire_packer body = resp_query_begin(call, "status", 0);
    resp_call_ask(call, &body);
}

static void flush_step(struct resp_call *call)
{
    struct wire_packer body = resp_command_begin(call, "do", 3);
    wire_pack_array(&body, 0);
    wire_pack_array(&body, 1);
    wire_pack_array(&body, 4);
    wire_pack_bytes(&body, peri_slice_of("delete_range", 12));
    wire_pack_bytes(&body, peri_slice_of("", 0));
    wire_pack_bytes(&body, peri_slice_of("", 0));
    wire_pack_uint(&body, KV_RANGE_MAX);
    wire_pack_array(&body, 0);
    resp_call_propose(call, &body);
}

static void on_flushed(struct resp_call *call, struct wire_unpacker *answer)
{
    struct resp_writer writer = resp_call_writer(call);
    (void)wire_unpack_bool(answer);
    (void)wire_unpack_array(answer);
    (void)wire_unpack_array(answer);
    (void)wire_unpack_uint(answer);
    if (wire_unpack_bool(answer)) {
        flush_step(call);
        return;
    }
    resp_status(&writer, "OK");
    finish(call, &writer, answer);
}

/* So many keys at a time: others see it happen. */
void resp_do_flush(struct resp_conn *conn)
{
    struct resp_call *call = resp_call_create(conn, RESP_ALONE);
    if (call == NULL)
        return;
    call->on_answer = on_flushed;
    flush_step(call);
}
