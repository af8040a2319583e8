/* machine.c - tasks of a group as runs: begun again whenever keys have been read in the background.
 */
#include "kv/machine.h"

#include <stdlib.h>

#include "base/assert.h"
#include "kv/clock.h"
#include "kv/lay.h"
#include "kv/run.h"
#include "kv/sweep.h"
#include "node/hashes.h"
#include "node/keys.h"
#include "wire/pack.h"

enum { READS_MAX = 64 }; /* at once */

/* A read in the background. */
struct read {
    struct node_keys_read read;
    struct kv_machine *machine;
    struct read *next;
    struct kv_page *page; /* NULL: it is of a key, which stands in name */
    bool is_open;
    struct kv_name name;
};

enum task { APPLY, QUERY, RESTORE };

struct kv_machine {
    struct node_machine node;
    struct node_task *task; /* under way; or NULL */
    enum task kind;         /* of it */
    struct kv_view view;
    struct read *reads;  /* in the order in which they were started */
    struct read *spare;  /* for the next one */
    unsigned read_count; /* that have not been answered */
    int status;          /* of those that have */
    void (*on_applied)(void *data);
    void *data;
    uint64_t clock_ms; /* log time, as of the last task; 0: none came since the start */
    struct kv_clock clock;
    struct kv_command command, foreseen;
    struct kv_query query;
    uint64_t hash; /* of all that has happened; 0: not known */
    struct node_hashes hashes;
};

static void free_read(struct read *read)
{
    if (read == NULL)
        return;
    if (read->is_open)
        node_keys_cancel(&read->read);
    kv_page_close(read->page);
    peri_buffer_deinit(&read->read.found);
    peri_buffer_deinit(&read->read.next);
    free(read);
}

static void free_reads(struct kv_machine *machine)
{
    while (machine->reads != NULL) {
        struct read *read = machine->reads;
        machine->reads = read->next;
        free_read(read);
    }
    machine->read_count = 0;
}

/* ---- the end of a task ---- */

/* Memory that is short and damage are this replica's own: it cannot go on as if nothing was. */
static int check_replica(struct node_task *task, int rc)
{
    return rc == PERI_ENOMEM || rc == PERI_ECORRUPT
               ? node_keys_end_replica(task->keys, rc, &task->err)
               : rc;
}

/* Log time stands in each result and answer; a result that was given before says what it was then.
 */
static void learn_clock(struct kv_machine *machine, struct peri_slice result)
{
    struct wire_unpacker in = wire_unpack(result);
    (void)wire_unpack_array(&in);
    (void)wire_unpack_uint(&in);
    uint64_t clock_ms = wire_unpack_uint(&in);
    if (clock_ms > machine->clock_ms)
        machine->clock_ms = clock_ms;
}

static int take_effect(struct kv_machine *machine, struct node_task *task)
{
    int rc = node_keys_write(task->keys, &machine->view.written, &task->err);
    machine->hash = machine->view.hash;
    if (rc == 0)
        rc = node_keys_tell(task->keys, &machine->view.told, &task->err);
    if (rc == 0 && machine->view.compacted != 0) {
        node_keys_mark(task->keys, machine->view.compacted);
        node_keys_sweep(task->keys);
    }
    return rc;
}

static void end(struct kv_machine *machine, int rc)
{
    struct node_task *task = machine->task;
    rc = check_replica(task, rc);
    if (rc == 0 && machine->kind != RESTORE)
        learn_clock(machine, peri_buffer_slice(&task->output));
    if (rc == 0 && machine->kind == APPLY)
        rc = take_effect(machine, task);
    if (rc == 0 && machine->kind == RESTORE) {
        node_hashes_forget(&machine->hashes);
        machine->hash = machine->view.hash;
    }
    if (machine->kind != QUERY && machine->hash != 0)
        node_hashes_note(&machine->hashes, task->index, machine->hash);
    if (rc == 0 && machine->kind != QUERY && machine->on_applied != NULL)
        machine->on_applied(machine->data);
    if (machine->view.has_searched)
        node_keys_lay_soon(task->keys);
    free_reads(machine); /* some may be wanted no more */
    kv_view_clear(&machine->view);
    machine->task = NULL;
    node_task_done(task, rc);
}

/* ---- runs ---- */

static int run_kind(struct kv_machine *machine, struct node_task *task)
{
    struct kv_meta meta;
    switch (machine->kind) {
    case APPLY:
        return kv_apply(&machine->view, &machine->command, &task->output, &task->err);
    case QUERY:
        return kv_ask(&machine->view, &machine->query, &task->output, &task->err);
    case RESTORE: /* the keys are others now */
        return kv_meta_find(&machine->view, &meta);
    }
    return PERI_EINVAL;
}

static void run(struct kv_machine *machine)
{
    struct node_task *task = machine->task;
    task->output.size = 0;
    peri_error_clear(&task->err);
    kv_view_begin(&machine->view);
    int rc = run_kind(machine, task);
    if (machine->status != 0)
        rc = machine->status; /* a read could not be started: the replica has ended */
    if (rc != KV_LATER)
        end(machine, rc);
}

/* Keeps what was read. */
static int learn(struct kv_machine *machine, struct read *read)
{
    if (read->page == NULL)
        return kv_view_learn(&machine->view, kv_name_slice(&read->name),
                             peri_buffer_slice(&read->read.found), read->read.count > 0);
    struct kv_page *page = read->page;
    read->page = NULL;
    page->pairs = read->read.found;
    page->next = read->read.next;
    page->count = read->read.count;
    page->is_more = read->read.is_more;
    read->read.found = read->read.next = (struct peri_buffer){NULL, 0, 0};
    kv_view_learn_page(&machine->view, page);
    return 0;
}

static void on_read(struct node_keys_read *node_read, int status)
{
    struct read *read = container_of(node_read, struct read, read);
    struct kv_machine *machine = read->machine;
    read->is_open = false;
    if (status == 0)
        status = learn(machine, read);
    if (machine->status == 0)
        machine->status = status;
    if (--machine->read_count > 0)
        return;
    free_reads(machine);
    if (machine->status != 0)
        end(machine, machine->status);
    else
        run(machine);
}

/* ---- the source of views ---- */

static struct read *take_spare(struct kv_machine *machine)
{
    struct read *read = machine->spare != NULL ? machine->spare : calloc(1, sizeof *read);
    machine->spare = NULL;
    return read;
}

/* The read goes on in the background. */
static int await(struct kv_machine *machine, struct read *read)
{
    read->is_open = true;
    read->next = machine->reads;
    machine->reads = read;
    machine->read_count++;
    return KV_LATER;
}

static bool is_asked_for(const struct kv_machine *machine, struct peri_slice name)
{
    for (const struct read *read = machine->reads; read != NULL; read = read->next)
        if (read->page == NULL && peri_slice_compare(kv_name_slice(&read->name), name) == 0)
            return true;
    return false;
}

static int get(void *data, struct peri_slice name, struct peri_slice *value)
{
    struct kv_machine *machine = data;
    int is_there = node_keys_peek(machine->task->keys, name, value);
    if (is_there >= 0)
        return is_there;
    if (machine->read_count == READS_MAX || (machine->reads != NULL && is_asked_for(machine, name)))
        return KV_LATER;
    struct read *read = take_spare(machine);
    if (read == NULL)
        return PERI_ENOMEM;
    read->machine = machine;
    read->name.size = name.size;
    memcpy(read->name.data, name.data, name.size);
    read->read.from = kv_name_slice(&read->name);
    read->read.on_done = on_read;
    read->read.found.size = 0;
    int rc = node_keys_get(machine->task->keys, &read->read, &machine->task->err);
    PERI_ASSERT(rc <= 0); /* memory does not know */
    if (rc == 0)
        return await(machine, read);
    machine->status = rc;
    machine->spare = read;
    return rc;
}

static int range(void *data, const struct kv_page *wanted)
{
    struct kv_machine *machine = data;
    if (machine->read_count == READS_MAX)
        return KV_LATER;
    struct read *read = take_spare(machine);
    if (read == NULL)
        return PERI_ENOMEM;
    read->machine = machine;
    read->page = kv_page_create(wanted);
    if (read->page == NULL) {
        machine->spare = read;
        return PERI_ENOMEM;
    }
    peri_buffer_deinit(&read->read.found);
    read->read = (struct node_keys_read){.from = peri_buffer_slice(&read->page->from),
                                         .to = peri_buffer_slice(&read->page->to),
                                         .count_max = wanted->count_max,
                                         .size_max = KV_RANGE_BYTES_MAX,
                                         .on_done = on_read};
    int rc = node_keys_range(machine->task->keys, &read->read, &machine->task->err);
    if (rc == 0)
        return await(machine, read);
    free_read(read);
    machine->status = rc;
    return rc;
}

/* ---- the machine ---- */

static void begin(struct kv_machine *machine, struct node_task *task, enum task kind)
{
    PERI_ASSERT(machine->task == NULL && machine->reads == NULL);
    machine->task = task;
    machine->kind = kind;
    machine->status = 0;
    machine->view.tail = node_keys_tail(task->keys);
    int rc = kind == APPLY   ? kv_command_decode(task->input, &machine->command, &task->err)
             : kind == QUERY ? kv_query_decode(task->input, &machine->query, &task->err)
                             : 0;
    if (rc == 0)
        run(machine);
    else
        end(machine, rc);
}

static void on_apply(struct node_machine *node, struct node_task *task)
{
    begin(container_of(node, struct kv_machine, node), task, APPLY);
}

static void on_query(struct node_machine *node, struct node_task *task)
{
    begin(container_of(node, struct kv_machine, node), task, QUERY);
}

static void on_restore(struct node_machine *node, struct node_task *task)
{
    begin(container_of(node, struct kv_machine, node), task, RESTORE);
}

static bool on_hash_at(struct node_machine *node, uint64_t index, uint64_t *hash)
{
    const struct kv_machine *machine = container_of(node, struct kv_machine, node);
    return node_hashes_find(&machine->hashes, index, hash);
}

/* ---- commands to come ---- */

static void want_key(struct node_keys *keys, struct peri_slice key)
{
    struct kv_name name;
    kv_name_key(&name, key);
    node_keys_want(keys, kv_name_slice(&name));
}

static void want_operations(struct node_keys *keys, const struct kv_operation *operations,
                            uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        if (operations[i].kind != KV_RANGE && operations[i].kind != KV_DELETE_RANGE)
            want_key(keys, operations[i].key);
}

static void want_script(struct node_keys *keys, const struct kv_script *script)
{
    struct wire_unpacker in = wire_unpack(script->keys);
    (void)wire_unpack_array(&in);
    for (uint32_t i = 0; i < script->key_count; i++)
        want_key(keys, wire_unpack_bytes(&in));
}

static void want_branches(struct node_keys *keys, const struct kv_command *command)
{
    for (uint32_t i = 0; i < command->compare_count; i++)
        want_key(keys, command->compares[i].key);
    want_operations(keys, command->then, command->then_count);
    want_operations(keys, command->otherwise, command->else_count);
}

static void on_foresee(struct node_machine *node, struct node_keys *keys, struct peri_slice bytes)
{
    struct kv_machine *machine = container_of(node, struct kv_machine, node);
    struct kv_command *command = &machine->foreseen;
    if (kv_command_decode(bytes, command, NULL) != 0)
        return;
    if (command->session != 0) {
        struct kv_name name;
        kv_name_session(&name, command->session);
        node_keys_want(keys, kv_name_slice(&name));
    }
    if (command->kind == KV_EVAL)
        want_script(keys, &command->script);
    if (command->kind == KV_DO)
        want_branches(keys, command);
    if (command->kind != KV_BATCH)
        return;
    struct wire_unpacker in = wire_unpack(command->parts);
    (void)wire_unpack_array(&in);
    for (uint32_t i = 0; i < command->part_count; i++) {
        kv_batch_next(&in, command);
        want_branches(keys, command);
    }
}

int kv_machine_create(struct kv_machine **out, void (*on_applied)(void *data), void *data)
{
    struct kv_machine *machine = calloc(1, sizeof *machine);
    if (machine == NULL)
        return PERI_ENOMEM;
    machine->node = (struct node_machine){.keeps_keys = true,
                                          .apply = on_apply,
                                          .foresee = on_foresee,
                                          .sweep = kv_sweep,
                                          .lay = kv_lay,
                                          .query = on_query,
                                          .restore = on_restore,
                                          .hash_at = on_hash_at};
    machine->view.source = (struct kv_source){get, range, machine};
    machine->on_applied = on_applied;
    machine->data = data;
    *out = machine;
    return 0;
}

void kv_machine_close(struct kv_machine *machine)
{
    if (machine == NULL)
        return;
    free_reads(machine);
    free_read(machine->spare);
    kv_view_clear(&machine->view);
    free(machine);
}

void kv_machine_set_engine(struct kv_machine *machine, struct kv_engine *engine)
{
    machine->view.engine = engine;
}

struct node_machine *kv_machine_node(struct kv_machine *machine)
{
    return &machine->node;
}

struct kv_machine *kv_machine_of(struct node_machine *node)
{
    return node->apply == on_apply ? container_of(node, struct kv_machine, node) : NULL;
}

uint64_t kv_machine_clock(struct kv_machine *machine, const struct node_group *group,
                          uint64_t now_us)
{
    uint64_t term = 0;
    bool leads = node_group_leads(group, &term);
    return kv_clock_read(&machine->clock, leads ? term : 0, machine->clock_ms, now_us);
}
