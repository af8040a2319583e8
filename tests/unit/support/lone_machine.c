#include "lone_machine.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "wire/pack.h"

void lone_open(struct lone_machine *it, struct env *env, const char *text)
{
    const struct vm_machine_options options = {.env = env};
    *it = (struct lone_machine){.err = PERI_ERROR_INIT};
    if (vm_machine_create(&it->machine, &options, peri_slice_of(text, strlen(text)), "test.lua",
                          &it->err) != 0)
        fail_msg("%s", it->err.text);
    assert_int_equal(lone_run(it, VM_MACHINE_INIT, peri_slice_of("", 0)), 0);
}

void lone_close(struct lone_machine *it)
{
    vm_machine_close(it->machine);
    peri_buffer_deinit(&it->output);
    peri_buffer_deinit(&it->entry);
}

int lone_run(struct lone_machine *it, enum vm_machine_kind kind, struct peri_slice input)
{
    struct vm_machine_job job = {
        .kind = kind, .index = it->index, .input = input, .output = &it->output, .err = &it->err};
    it->output.size = 0;
    peri_error_clear(&it->err);
    bool is_over = vm_machine_start(it->machine, &job);
    while (!is_over)
        is_over = vm_machine_continue(it->machine);
    return job.status;
}

void lone_prepare(struct lone_machine *it, const struct vm_entry *entry)
{
    struct wire_packer packer = {&it->entry, 0};
    it->entry.size = 0;
    wire_pack_array(&packer, 7);
    wire_pack_uint(&packer, 1);
    wire_pack_uint(&packer, entry->kind);
    wire_pack_uint(&packer, entry->now_us);
    wire_pack_uint(&packer, entry->seed);
    wire_pack_uint(&packer, entry->session);
    wire_pack_uint(&packer, entry->sequence);
    wire_pack_bytes(&packer, entry->body);
    assert_int_equal(packer.rc, 0);
}

int lone_apply(struct lone_machine *it)
{
    it->index++;
    return lone_run(it, VM_MACHINE_APPLY, peri_buffer_slice(&it->entry));
}

int lone_command(struct lone_machine *it, const char *command, uint64_t seed)
{
    struct peri_buffer body = {NULL, 0, 0};
    struct wire_packer packer = {&body, 0};
    wire_pack_bytes(&packer, peri_slice_of(command, strlen(command)));
    assert_int_equal(packer.rc, 0);
    lone_prepare(it, &(struct vm_entry){.kind = VM_ENTRY_COMMAND,
                                        .now_us = 1000000,
                                        .seed = seed,
                                        .body = peri_buffer_slice(&body)});
    peri_buffer_deinit(&body);
    return lone_apply(it);
}
