/* resp_eval.c - scripts: EVAL is one command of the group, and EVALSHA the same by the script's
 * SHA-1.
 *
 * A node remembers the scripts that it was asked to run or to load, the last ones. Clients try
 * EVALSHA first, and send the script when the node they ask says NOSCRIPT. */
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>

#include "kv/command.h"
#include "kv/resp_parts.h"

enum { SHA_BYTES = 20, SHA_DIGITS = 40 };

struct script {
    struct peri_list link;
    char sha[SHA_DIGITS];
    size_t size;
    char text[];
};

/* ---- what is remembered ---- */

static bool make_sha(struct peri_slice text, char out[SHA_DIGITS])
{
    static const char digits[] = "0123456789abcdef";
    unsigned char sum[SHA_BYTES];
    if (EVP_Digest(text.data, text.size, sum, NULL, EVP_sha1(), NULL) != 1)
        return false;
    for (size_t i = 0; i < SHA_BYTES; i++) {
        out[2 * i] = digits[sum[i] >> 4];
        out[2 * i + 1] = digits[sum[i] & 15];
    }
    return true;
}

static bool is_sha(const struct script *script, struct peri_slice sha)
{
    for (size_t i = 0; i < SHA_DIGITS && sha.size == SHA_DIGITS; i++) {
        char c = sha.data[i];
        if ((c >= 'A' && c <= 'F' ? (char)(c - 'A' + 'a') : c) != script->sha[i])
            return false;
    }
    return sha.size == SHA_DIGITS;
}

/* The script, which was used now; or NULL. */
static struct script *find(struct resp_server *server, struct peri_slice sha)
{
    for (struct peri_list *at = server->scripts.next; at != &server->scripts; at = at->next) {
        struct script *script = container_of(at, struct script, link);
        if (!is_sha(script, sha))
            continue;
        peri_list_remove(&script->link);
        peri_list_append(&server->scripts, &script->link);
        return script;
    }
    return NULL;
}

static void forget_first(struct resp_server *server)
{
    struct script *script = container_of(server->scripts.next, struct script, link);
    server->script_count--;
    server->script_bytes -= script->size;
    peri_list_remove(&script->link);
    free(script);
}

void resp_scripts_clear(struct resp_server *server)
{
    while (!peri_list_is_empty(&server->scripts))
        forget_first(server);
}

/* Remembers a script: that, or NULL without memory. */
static const struct script *remember(struct resp_server *server, struct peri_slice text)
{
    char sha[SHA_DIGITS];
    if (!make_sha(text, sha))
        return NULL;
    struct script *script = find(server, peri_slice_of(sha, SHA_DIGITS));
    if (script != NULL)
        return script;
    script = malloc(sizeof *script + text.size);
    if (script == NULL)
        return NULL;
    memcpy(script->sha, sha, SHA_DIGITS);
    memcpy(script->text, text.data, text.size);
    script->size = text.size;
    peri_list_init(&script->link);
    peri_list_append(&server->scripts, &script->link);
    server->script_bytes += text.size;
    server->script_count++;
    while (server->script_count > RESP_SCRIPTS_MAX || server->script_bytes > RESP_SCRIPTS_BYTES_MAX)
        forget_first(server);
    return script;
}

/* ---- EVAL ---- */

static void on_answer(struct resp_call *call, struct wire_unpacker *answer)
{
    struct peri_slice reply = wire_unpack_bytes(answer);
    if (answer->rc != 0 || peri_buffer_append(&call->reply, reply.data, reply.size) != 0)
        call->conn->is_ending = true;
    resp_call_done(call);
}

static void pack_list(struct wire_packer *out, const struct resp_conn *conn, uint32_t first,
                      uint32_t end)
{
    wire_pack_array(out, end - first);
    for (uint32_t at = first; at < end; at++)
        wire_pack_bytes(out, resp_arg(conn, at));
}

/* EVAL script count key ... argument ... */
static void eval(struct resp_conn *conn, struct peri_slice text)
{
    int64_t keys = 0;
    const uint32_t first = 3, count = resp_arg_count(conn);
    if (!resp_read_integer(resp_arg(conn, 2), &keys)) {
        resp_reply_error(conn, "ERR value is not an integer or out of range");
        return;
    }
    if (keys < 0 || keys > (int64_t)(count - first)) {
        resp_reply_error(conn, keys < 0
                                   ? "ERR Number of keys can't be negative"
                                   : "ERR Number of keys can't be greater than number of args");
        return;
    }
    struct resp_call *call = resp_call_create(conn, RESP_WRITES);
    if (call == NULL)
        return;
    struct wire_packer body = resp_command_begin(call, "eval", 5);
    wire_pack_bytes(&body, text);
    wire_pack_uint(&body, (uint64_t)resp_wall_ms(conn));
    wire_pack_uint(&body, (uint64_t)conn->version);
    pack_list(&body, conn, first, first + (uint32_t)keys);
    pack_list(&body, conn, first + (uint32_t)keys, count);
    call->on_answer = on_answer;
    resp_call_propose(call, &body);
}

void resp_do_eval(struct resp_conn *conn)
{
    struct peri_slice text = resp_arg(conn, 1);
    if (text.size <= KV_SCRIPT_MAX)
        (void)remember(conn->server, text);
    eval(conn, text);
}

void resp_do_evalsha(struct resp_conn *conn)
{
    const struct script *script = find(conn->server, resp_arg(conn, 1));
    if (script == NULL)
        resp_reply_error(conn, "NOSCRIPT No matching script. Please use EVAL.");
    else
        eval(conn, peri_slice_of(script->text, script->size));
}

/* ---- SCRIPT ---- */

void resp_script(struct resp_conn *conn, struct resp_writer *writer)
{
    struct peri_slice what = resp_arg(conn, 1);
    uint32_t count = resp_arg_count(conn);
    if (resp_is_word(what, "LOAD") && count == 3) {
        const struct script *script = resp_arg(conn, 2).size <= KV_SCRIPT_MAX
                                          ? remember(conn->server, resp_arg(conn, 2))
                                          : NULL;
        if (script != NULL)
            resp_bulk(writer, peri_slice_of(script->sha, SHA_DIGITS));
        else
            resp_error(writer, "ERR a script has at most %d bytes", KV_SCRIPT_MAX);
    } else if (resp_is_word(what, "EXISTS") && count >= 3) {
        resp_array(writer, count - 2);
        for (uint32_t at = 2; at < count; at++)
            resp_integer(writer, find(conn->server, resp_arg(conn, at)) != NULL);
    } else if (resp_is_word(what, "FLUSH")) {
        resp_scripts_clear(conn->server);
        resp_status(writer, "OK");
    } else {
        resp_error(writer, "ERR unknown SCRIPT subcommand or wrong number of arguments: there are "
                           "LOAD, EXISTS and FLUSH");
    }
}
