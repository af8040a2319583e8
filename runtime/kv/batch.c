/* batch.c - commands that came together, one after the other: each has a revision and a result of
 * its own, and one that fails leaves no trace, like one that came alone.
 *
 * The result of each is [code, bytes]: what it would have given alone behind revision and clock, or
 * the error's text. A batch that has done much stops: the list is shorter then, and the rest has
 * not happened. */
#include <stdlib.h>

#include "kv/parts.h"

struct batch {
    struct kv_run *run;
    struct wire_unpacker in; /* of the commands that are left */
    struct kv_command part;
    struct peri_buffer result, results;
    uint32_t done;
    size_t bytes; /* read and written so far */
};

/* What this replica alone has met, or has to wait for. */
static bool ends_run(int rc)
{
    return rc == KV_LATER || rc == PERI_ENOMEM || rc == PERI_ECORRUPT;
}

/* Does one, or nothing of it; what it has to say is in batch->result. */
static int operate_part(struct batch *batch)
{
    struct kv_run *run = batch->run;
    const struct kv_command *whole = run->command;
    const struct kv_meta before = run->meta;
    struct wire_packer result = run->result;
    batch->result.size = 0;
    run->command = &batch->part;
    run->result = (struct wire_packer){&batch->result, 0};
    kv_view_begin_part(run->view);
    int rc = kv_operate(run);
    if (rc == 0)
        rc = run->result.rc;
    kv_view_end_part(run->view, rc == 0);
    if (rc == 0)
        run->meta.revision += run->changes > 0;
    else
        run->meta = before;
    run->changes = 0;
    run->command = whole;
    run->result = result;
    return rc;
}

static int pack_result(struct batch *batch, int code)
{
    struct wire_packer out = {&batch->results, 0};
    struct peri_error *err = batch->run->err;
    struct peri_slice bytes = peri_buffer_slice(&batch->result);
    if (code == PERI_ETOOBIG)
        kv_explain_size(err);
    if (code != 0)
        bytes = err != NULL ? peri_slice_of(err->text, strlen(err->text)) : peri_slice_of("", 0);
    wire_pack_array(&out, 2);
    wire_pack_int(&out, code);
    wire_pack_bytes(&out, bytes);
    if (err != NULL)
        peri_error_clear(err);
    return out.rc;
}

/* One has to wait for the disk: those behind it will be read meanwhile. */
static void want_rest(struct batch *batch)
{
    for (uint32_t i = batch->done + 1; i < batch->run->command->part_count; i++) {
        kv_batch_next(&batch->in, &batch->part);
        kv_want_keys(batch->run, &batch->part);
    }
}

static int carry_out(struct batch *batch)
{
    struct kv_run *run = batch->run;
    int rc = 0;
    (void)wire_unpack_array(&batch->in);
    while (rc == 0 && batch->done < run->command->part_count && batch->bytes <= KV_BATCH_BYTES) {
        kv_batch_next(&batch->in, &batch->part);
        int code = operate_part(batch);
        batch->bytes += run->view->read_bytes + run->view->written_bytes;
        if (code == KV_LATER)
            want_rest(batch);
        rc = ends_run(code) ? code : pack_result(batch, code);
        if (batch->results.size > KV_RANGE_BYTES_MAX)
            batch->bytes = KV_BATCH_BYTES + 1;
        batch->done += rc == 0;
    }
    if (rc != 0)
        return rc;
    wire_pack_array(&run->result, batch->done);
    return run->result.rc != 0
               ? run->result.rc
               : peri_buffer_append(run->result.out, batch->results.data, batch->results.size);
}

int kv_batch(struct kv_run *run)
{
    struct batch *batch = calloc(1, sizeof *batch);
    if (batch == NULL)
        return PERI_ENOMEM;
    batch->run = run;
    batch->in = wire_unpack(run->command->parts);
    int rc = carry_out(batch);
    peri_buffer_deinit(&batch->result);
    peri_buffer_deinit(&batch->results);
    free(batch);
    return rc;
}
