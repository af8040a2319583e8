/* apply.c - a command from its bytes to its effect: log time, the session's slot, what it does. */
#include <inttypes.h>

#include "base/assert.h"
#include "kv/parts.h"
#include "node/session.h"

int kv_meta_find(struct kv_view *view, struct kv_meta *out)
{
    struct kv_name name;
    struct peri_slice bytes;
    kv_name_meta(&name);
    int rc = kv_view_get(view, &name, &bytes);
    *out = (struct kv_meta){.hash = 1};
    if (rc == 1)
        rc = kv_meta_get(bytes, out);
    if (rc == 0)
        view->hash = out->hash;
    return rc;
}

/* Replicas compare it (node/compare.h). The record about all is part of it in its new form. */
static int roll_hash(struct kv_run *run)
{
    uint64_t hash = kv_view_hash(run->view, run->meta.hash);
    int rc = kv_meta_put(&run->scratch, &run->meta);
    hash ^= node_keymap_hash(peri_buffer_slice(&run->scratch));
    run->scratch.size = 0;
    run->meta.hash = run->view->hash = hash != 0 ? hash : 1;
    return rc;
}

static int write_meta(struct kv_run *run)
{
    struct kv_name name;
    kv_name_meta(&name);
    run->meta.revision += run->changes > 0;
    if (run->meta.hash != 0 && roll_hash(run) != 0)
        return PERI_ENOMEM;
    return kv_put_scratch(run, &name, kv_meta_put(&run->scratch, &run->meta));
}

/* How a resolved sequence ended: the result that it had, or never. */
static void tell_outcome(struct kv_run *run, const struct kv_session *slot)
{
    wire_pack_bool(&run->result, !slot->is_skipped);
    wire_pack_bytes(&run->result, slot->result);
}

/* Lets go of history. What it takes on disk goes by and by (sweep.h). */
static int compact(struct kv_run *run)
{
    uint64_t revision = run->command->number;
    if (revision > run->meta.revision)
        return peri_fail_plain(run->err, PERI_EINVAL,
                               "revision %" PRIu64 " is still to come: the last one is %" PRIu64,
                               revision, run->meta.revision);
    if (revision > run->meta.compacted)
        run->meta.compacted = revision;
    run->view->compacted = run->meta.compacted;
    wire_pack_bool(&run->result, false); /* once: is more to be swept */
    return 0;
}

static int carry_out(struct kv_run *run)
{
    switch (run->command->kind) {
    case KV_DO:
        return kv_operate(run);
    case KV_OPEN:
        return kv_session_open(run);
    case KV_CLOSE:
        return kv_session_shut(run);
    case KV_GRANT:
        return kv_lease_grant(run);
    case KV_KEEP:
        return kv_lease_keep(run);
    case KV_REVOKE:
        return kv_lease_revoke(run);
    case KV_TICK:
        return kv_tick(run);
    case KV_COMPACT:
        return compact(run);
    case KV_EVAL:
        return kv_eval(run);
    case KV_BATCH:
        return kv_batch(run);
    case KV_RESOLVE: /* on a slot that had not come so far: nothing to do but to take it */
        tell_outcome(run, &(struct kv_session){.is_skipped = true});
        return 0;
    case KV_KINDS:
        break;
    }
    return PERI_EINVAL;
}

/* An array of revision, clock and what the command has to say. */
static int finish_result(const struct kv_run *run, struct peri_buffer *out)
{
    static const uint32_t parts[KV_KINDS] = {
        [KV_DO] = 2,     [KV_OPEN] = 1, [KV_RESOLVE] = 2, [KV_GRANT] = 1, [KV_KEEP] = 1,
        [KV_REVOKE] = 1, [KV_TICK] = 1, [KV_COMPACT] = 1, [KV_EVAL] = 1,  [KV_BATCH] = 1};
    struct wire_packer head = {out, 0};
    struct peri_slice result = peri_buffer_slice(run->result.out);
    wire_pack_array(&head, 2 + parts[run->command->kind]);
    wire_pack_uint(&head, run->meta.revision + (run->changes > 0));
    wire_pack_uint(&head, run->meta.clock_ms);
    if (head.rc == 0)
        head.rc = peri_buffer_append(out, result.data, result.size);
    return head.rc != 0 ? head.rc : run->result.rc;
}

/* The command happens: its effect, the slot, the record about all. slot: NULL without session. */
static int happen(struct kv_run *run, const struct kv_session *slot, struct peri_buffer *out)
{
    const struct kv_command *command = run->command;
    int rc = carry_out(run);
    if (rc == 0)
        rc = finish_result(run, out);
    if (rc == 0 && slot != NULL && command->kind != KV_CLOSE) {
        const struct kv_session next = {.sequence = command->sequence,
                                        .ttl_ms = slot->ttl_ms,
                                        .expires_ms = run->meta.clock_ms + slot->ttl_ms,
                                        .is_skipped = command->kind == KV_RESOLVE,
                                        .result = command->kind == KV_RESOLVE
                                                      ? peri_slice_of(NULL, 0)
                                                      : peri_buffer_slice(out)};
        rc = kv_session_write(run, command->session, &next);
    }
    return rc == 0 ? write_meta(run) : rc;
}

/* A command that the slot has already: it was sent again. */
static int repeat(struct kv_run *run, const struct kv_session *slot, struct peri_buffer *out)
{
    if (run->command->kind == KV_RESOLVE) {
        tell_outcome(run, slot);
        return finish_result(run, out);
    }
    if (slot->is_skipped)
        return peri_fail_plain(run->err, PERI_ESESSION,
                               "command %" PRIu64 " of the session was given up", slot->sequence);
    return peri_buffer_append(out, slot->result.data, slot->result.size);
}

static int apply_in_session(struct kv_run *run, struct peri_buffer *out)
{
    const struct kv_command *command = run->command;
    struct kv_session slot;
    int rc = kv_session_find(run, command->session, &slot);
    if (rc < 0)
        return rc;
    if (rc == 0)
        return node_session_fail(command->session, run->err);
    int turn = node_session_judge(slot.sequence, command->sequence, run->err);
    if (turn < 0)
        return turn;
    if (turn == NODE_SESSION_AGAIN)
        return repeat(run, &slot, out);
    return happen(run, &slot, out);
}

void kv_explain_size(struct peri_error *err)
{
    if (err != NULL && err->code == 0)
        (void)peri_fail_plain(err, PERI_ETOOBIG,
                              "a command reads at most %d and writes at most %d bytes", KV_READ_MAX,
                              KV_EFFECT_MAX);
}

int kv_apply(struct kv_view *view, const struct kv_command *command, struct peri_buffer *out,
             struct peri_error *err)
{
    struct peri_buffer result = {NULL, 0, 0};
    struct kv_run run = {.view = view, .command = command, .result = {.out = &result}, .err = err};
    struct kv_name name;
    PERI_ASSERT(out->size == 0);
    if (command->session != 0) {
        kv_name_session(&name, command->session);
        kv_view_want(view, &name);
    }
    int rc = kv_meta_find(view, &run.meta);
    if (rc == 0 && command->now_ms > run.meta.clock_ms)
        run.meta.clock_ms = command->now_ms;
    if (rc == 0)
        rc = command->session != 0 ? apply_in_session(&run, out) : happen(&run, NULL, out);
    if (rc == PERI_ETOOBIG)
        kv_explain_size(err);
    peri_buffer_deinit(&result);
    peri_buffer_deinit(&run.scratch);
    return rc;
}
