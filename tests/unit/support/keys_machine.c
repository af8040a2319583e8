#include "keys_machine.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "alloc.h"
#include "base/assert.h"
#include "store/chunk.h"

enum { PAGE = 7 };

static struct keys_machine *keys_of(struct node_machine *machine)
{
    return container_of(machine, struct keys_machine, machine);
}

static struct peri_slice text_of(const char *text)
{
    return peri_slice_of(text, strlen(text));
}

/* The machine's own memory does not fail. */
static void append(struct peri_buffer *out, const void *data, size_t size)
{
    test_alloc_spare(true);
    PERI_ASSERT(peri_buffer_append(out, data, size) == 0);
    test_alloc_spare(false);
}

static void set_from(struct keys_machine *machine, struct peri_slice key)
{
    machine->from.size = 0;
    append(&machine->from, key.data, key.size);
    machine->read.from = peri_buffer_slice(&machine->from);
    machine->read.found.size = 0;
}

/* ---- commands ---- */

static void put(struct node_task *task, const char *key, struct peri_slice value)
{
    int rc = node_keys_put(task->keys, text_of(key), value, NULL);
    PERI_ASSERT(rc == 0 || rc == PERI_ENOMEM); /* then the replica has ended */
}

static bool begins_with(struct peri_slice text, const char *start)
{
    return text.size >= strlen(start) && memcmp(text.data, start, strlen(start)) == 0;
}

static void add(struct node_task *task, uint64_t number)
{
    char key[32], value[32];
    int size = snprintf(value, sizeof value, "%" PRIu64, number + 1);
    put(task, "n", peri_slice_of(value, (size_t)size));
    (void)snprintf(key, sizeof key, "e%08" PRIu64, number);
    put(task, key, task->input);
    if (begins_with(task->input, "pad")) {
        char *pad = malloc(KEYS_PAD_BYTES);
        PERI_ASSERT(pad != NULL);
        memset(pad, (int)('a' + number % 26), KEYS_PAD_BYTES);
        (void)snprintf(key, sizeof key, "p%08" PRIu64, number);
        put(task, key, peri_slice_of(pad, KEYS_PAD_BYTES));
        free(pad);
    }
    append(&task->output, value, (size_t)size);
}

static void add_looked(struct node_task *task, uint32_t count)
{
    int rc = node_keys_put(task->keys, task->input, peri_slice_of("", 0), NULL);
    PERI_ASSERT(rc == 0 || rc == PERI_ENOMEM); /* then the replica has ended */
    append(&task->output, count > 0 ? "there" : "new", count > 0 ? 5 : 3);
}

/* What was read is known. */
static void go_on(struct keys_machine *machine)
{
    struct node_task *task = machine->task;
    struct peri_buffer *found = &machine->read.found;
    uint64_t number = 0;
    if (begins_with(task->input, "look")) {
        add_looked(task, machine->read.count);
        node_task_done(task, 0);
        return;
    }
    if (machine->read.count > 0) {
        append(found, "", 1);
        number = strtoull(found->data, NULL, 10);
    }
    if (!begins_with(task->input, "drop"))
        add(task, number);
    if (begins_with(task->input, "fail"))
        (void)peri_fail_plain(&task->err, PERI_EINVAL, "it fails");
    node_task_done(task, task->err.code);
}

static void on_count(struct node_keys_read *read, int status)
{
    if (status == 0)
        go_on(container_of(read, struct keys_machine, read));
}

static void drop_first(struct keys_machine *machine)
{
    struct peri_slice key, value;
    size_t at = 0;
    if (machine->read.count > 0) {
        PERI_ASSERT(store_chunk_next(peri_buffer_slice(&machine->read.found), &at, &key, &value) ==
                    0);
        int rc = node_keys_delete(machine->task->keys, key, NULL);
        PERI_ASSERT(rc == 0 || rc == PERI_ENOMEM); /* then the replica has ended */
    }
    node_task_done(machine->task, 0);
}

static void on_first(struct node_keys_read *read, int status)
{
    if (status == 0)
        drop_first(container_of(read, struct keys_machine, read));
}

static void on_apply(struct node_machine *node_machine, struct node_task *task)
{
    struct keys_machine *machine = keys_of(node_machine);
    struct node_keys_read *read = &machine->read;
    machine->task = task;
    if (begins_with(task->input, "drop")) {
        set_from(machine, text_of("e"));
        read->to = text_of("f");
        read->count_max = 1;
        read->size_max = 1000;
        read->on_done = on_first;
        int rc = node_keys_range(task->keys, read, NULL);
        PERI_ASSERT(rc == 0 || rc == PERI_ENOMEM); /* then the replica has ended */
        return;
    }
    set_from(machine, begins_with(task->input, "look") ? task->input : text_of("n"));
    read->to = peri_slice_of(NULL, 0);
    read->on_done = on_count;
    if (node_keys_get(task->keys, read, NULL) == 1)
        go_on(machine);
    else
        machine->waits++;
}

static void on_foresee(struct node_machine *machine, struct node_keys *keys,
                       struct peri_slice command)
{
    (void)machine;
    node_keys_want(keys, begins_with(command, "look") ? command : text_of("n"));
}

/* ---- queries ---- */

static void on_page(struct node_keys_read *read, int status);

static void next_page(struct keys_machine *machine)
{
    struct node_keys_read *read = &machine->read;
    read->to = text_of("f");
    read->count_max = PAGE;
    read->size_max = 1000;
    read->on_done = on_page;
    int rc = node_keys_range(machine->task->keys, read, NULL);
    PERI_ASSERT(rc == 0 || rc == PERI_ENOMEM); /* then the replica has ended */
}

static void on_page(struct node_keys_read *read, int status)
{
    struct keys_machine *machine = container_of(read, struct keys_machine, read);
    struct node_task *task = machine->task;
    struct peri_slice key, value;
    size_t at = 0;
    if (status != 0)
        return;
    for (uint32_t i = 0; i < read->count; i++) {
        PERI_ASSERT(store_chunk_next(peri_buffer_slice(&read->found), &at, &key, &value) == 0);
        append(&task->output, value.data, value.size);
        append(&task->output, ";", 1);
    }
    PERI_ASSERT(at == read->found.size);
    if (!read->is_more) {
        node_task_done(task, 0);
        return;
    }
    set_from(machine, peri_buffer_slice(&read->next));
    next_page(machine);
}

static void on_query(struct node_machine *node_machine, struct node_task *task)
{
    struct keys_machine *machine = keys_of(node_machine);
    machine->task = task;
    set_from(machine, text_of("e"));
    next_page(machine);
}

static void on_restore(struct node_machine *node_machine, struct node_task *task)
{
    keys_of(node_machine)->restores++;
    node_task_done(task, 0);
}

void keys_machine_init(struct keys_machine *machine)
{
    keys_machine_deinit(machine);
    machine->machine = (struct node_machine){.keeps_keys = true,
                                             .apply = on_apply,
                                             .foresee = on_foresee,
                                             .query = on_query,
                                             .restore = on_restore};
}

void keys_machine_deinit(struct keys_machine *machine)
{
    peri_buffer_deinit(&machine->from);
    peri_buffer_deinit(&machine->read.found);
    peri_buffer_deinit(&machine->read.next);
    *machine = (struct keys_machine){.restores = 0};
}
