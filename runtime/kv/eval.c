/* eval.c - scripts over declared keys: commands of Redis as operations, within one run.
 *
 * Only keys that the command names can be used. They are read before the script runs: a run that
 * has to wait for the disk begins again, and a script that could ask for any key would run once for
 * each. */
#include <stdlib.h>

#include "kv/parts.h"
#include "kv/resp_plan.h"
#include "kv/script.h"

struct eval {
    struct kv_run *run;
    const struct kv_script *script;
    const struct peri_slice *keys;
    struct peri_buffer operations, results;
    struct kv_command command; /* what a script does, as if it came alone */
};

/* ---- what scripts ask for ---- */

static int refuse(struct peri_buffer *reply, const char *format, struct peri_slice what)
{
    struct resp_writer writer = {reply, 2, 0};
    resp_error(&writer, format, (int)(what.size < 128 ? what.size : 128), what.data);
    return writer.rc;
}

static bool is_declared(const struct eval *eval, struct peri_slice key)
{
    for (uint32_t i = 0; i < eval->script->key_count; i++)
        if (peri_slice_compare(eval->keys[i], key) == 0)
            return true;
    return false;
}

/* Makes the command that a command of Redis stands for. 1: it is in eval->command; 0: it is
 * refused, as the reply says. */
static int plan(struct eval *eval, const struct resp_word *word, const struct resp_command *command,
                struct resp_plan *planned, struct peri_buffer *reply)
{
    struct peri_error err = PERI_ERROR_INIT;
    struct peri_buffer *bytes = &eval->operations;
    struct peri_buffer operations = {NULL, 0, 0};
    struct wire_packer body = {&operations, 0}, out = {bytes, 0};
    int rc = resp_plan_make(word, command, (int64_t)eval->script->wall_ms, planned, &body, NULL,
                            NULL, &err);
    bytes->size = 0;
    kv_command_begin(&out, 8, "do");
    wire_pack_array(&out, 0);
    wire_pack_array(&out, planned->operations);
    if (rc == 0 && out.rc == 0)
        out.rc = peri_buffer_append(bytes, operations.data, operations.size);
    wire_pack_array(&out, 0);
    peri_buffer_deinit(&operations);
    if (rc == 0 && out.rc == 0) {
        rc = kv_command_decode(peri_buffer_slice(bytes), &eval->command, &err);
        if (rc == 0)
            return 1;
        return refuse(reply, "ERR %.*s", peri_slice_of(err.text, strlen(err.text)));
    }
    if (out.rc != 0 || err.code == 0)
        return PERI_ENOMEM;
    return refuse(reply, "%.*s", peri_slice_of(err.text, strlen(err.text)));
}

/* What has been planned happens; its results become the reply. */
static int carry_out(struct eval *eval, const struct resp_plan *planned, struct peri_buffer *reply)
{
    struct kv_run *run = eval->run;
    struct wire_packer before = run->result;
    struct resp_writer writer = {reply, 2, 0};
    eval->results.size = 0;
    run->result = (struct wire_packer){&eval->results, 0};
    int rc = kv_operate_all(run, eval->command.then, eval->command.then_count);
    if (rc == 0)
        rc = run->result.rc;
    run->result = before;
    if (rc == PERI_EINVAL && planned->operations == 1) { /* it refuses before it changes anything */
        const char *text = resp_error_text(run->err->text);
        rc = refuse(reply, "ERR %.*s", peri_slice_of(text, strlen(text)));
        peri_error_clear(run->err);
        return rc;
    }
    if (rc != 0)
        return rc;
    struct wire_unpacker results = wire_unpack(peri_buffer_slice(&eval->results));
    (void)wire_unpack_array(&results);
    resp_plan_answer(planned, &results, &writer);
    return writer.rc;
}

static int command(void *host, const struct resp_command *command, struct peri_buffer *reply)
{
    struct eval *eval = host;
    const struct peri_slice name = command->args[0];
    const struct resp_word *word = resp_word_find(name);
    struct resp_plan planned;
    if (word == NULL)
        return refuse(reply, "ERR Unknown Redis command called from script: '%.*s'", name);
    if (word->plan == NULL)
        return refuse(reply, "ERR '%.*s' is not allowed from script", name);
    if (!resp_word_takes(word, command->count))
        return refuse(reply, "ERR Wrong number of args calling '%.*s' from script", name);
    int rc = plan(eval, word, command, &planned, reply);
    if (rc != 1)
        return rc;
    for (uint32_t i = 0; i < eval->command.then_count; i++)
        if (!is_declared(eval, eval->command.then[i].key))
            return refuse(reply, "ERR a script uses only keys that EVAL names, and not '%.*s'",
                          eval->command.then[i].key);
    return carry_out(eval, &planned, reply);
}

/* ---- the script ---- */

/* All keys, and what their lives depend on, side by side. */
static int read_keys(const struct eval *eval)
{
    struct kv_entry entry;
    struct kv_name name;
    int status = 0;
    for (uint32_t i = 0; i < eval->script->key_count; i++) {
        kv_name_key(&name, eval->keys[i]);
        kv_view_want(eval->run->view, &name);
    }
    for (uint32_t i = 0; i < eval->script->key_count; i++) {
        int rc = kv_find_alive(eval->run, eval->keys[i], &entry);
        if (rc < 0 && (status == 0 || status == KV_LATER))
            status = rc;
    }
    return status;
}

static int run_script(struct eval *eval, struct peri_slice *words)
{
    const struct kv_script *script = eval->script;
    struct kv_run *run = eval->run;
    struct kv_engine *engine = run->view->engine;
    struct peri_buffer reply = {NULL, 0, 0};
    kv_script_words(script, words);
    eval->keys = words;
    int rc = read_keys(eval);
    if (rc != 0)
        return rc;
    if (engine == NULL)
        return peri_fail_plain(run->err, PERI_EINVAL, "this store runs no scripts");
    const struct kv_script_call call = {.text = script->text,
                                        .words = words,
                                        .key_count = script->key_count,
                                        .arg_count = script->arg_count,
                                        .version = (int)script->version,
                                        .host = eval,
                                        .command = command};
    rc = engine->run(engine, &call, &reply, run->err);
    if (rc == 0 && reply.size > KV_RESULT_MAX)
        rc = peri_fail_plain(run->err, PERI_ETOOBIG, "the result of a command has at most %d bytes",
                             KV_RESULT_MAX);
    if (rc == 0)
        wire_pack_bytes(&run->result, peri_buffer_slice(&reply));
    peri_buffer_deinit(&reply);
    return rc;
}

int kv_eval(struct kv_run *run)
{
    const struct kv_script *script = &run->command->script;
    struct eval *eval = calloc(1, sizeof *eval);
    struct peri_slice *words = calloc(script->key_count + script->arg_count + 1U, sizeof *words);
    int rc = PERI_ENOMEM;
    if (eval != NULL && words != NULL) {
        eval->run = run;
        eval->script = script;
        rc = run_script(eval, words);
        peri_buffer_deinit(&eval->operations);
        peri_buffer_deinit(&eval->results);
    }
    free(eval);
    free(words);
    return rc;
}
