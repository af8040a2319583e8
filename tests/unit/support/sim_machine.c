#include "sim_machine.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <string.h>

#include "sim/disk.h"
#include "sim_fixture.h"

static int start_node(void *data, struct sim_node *node)
{
    (void)data;
    (void)node;
    return 0;
}

struct machine *machine_create(uint64_t seed)
{
    static struct machine machine;
    struct sim_options options = {.seed = seed};
    struct sim_node_events events = {.on_start = start_node};
    machine = (struct machine){.world = NULL};
    assert_int_equal(sim_world_create(&machine.world, &options, NULL), 0);
    assert_int_equal(sim_node_create(machine.world, "n1", &events, NULL, &machine.node, NULL), 0);
    assert_int_equal(sim_node_start(machine.node, NULL), 0);
    machine.env = sim_node_env(machine.node);
    advance(machine.world, 1);
    return &machine;
}

void machine_job(void *data)
{
    struct machine *machine = data;
    machine->job(machine);
}

static void on_job_done(void *data, int status)
{
    struct machine *machine = data;
    assert_int_equal(status, 0);
    machine->is_done = true;
}

void machine_perform(struct machine *machine, void (*job)(struct machine *machine))
{
    uint64_t begin_us = sim_world_now_us(machine->world);
    machine->job = job;
    machine->is_done = false;
    assert_int_equal(env_work(machine->env, machine_job, on_job_done, machine), 0);
    advance(machine->world, UINT64_MAX);
    assert_true(machine->is_done);
    machine->took_us = sim_world_now_us(machine->world) - begin_us;
}

void machine_set(struct machine *machine, enum env_fault fault, int64_t number)
{
    struct env_fault_value value = {.number = number};
    assert_int_equal(sim_fault_apply(machine->world, fault, machine->node, NULL, &value, NULL), 0);
}

void machine_set_crash(struct machine *machine, int64_t keep, int64_t tear, int64_t garble)
{
    machine_set(machine, ENV_FAULT_DISK_KEEP, keep);
    machine_set(machine, ENV_FAULT_DISK_TEAR, tear);
    machine_set(machine, ENV_FAULT_DISK_GARBLE, garble);
}

void machine_restart(struct machine *machine)
{
    machine_set(machine, ENV_FAULT_CRASH, 0);
    machine_set(machine, ENV_FAULT_RESTART, 0);
    advance(machine->world, UINT64_MAX);
}

struct env_file *machine_open(struct machine *machine, const char *path, int flags)
{
    struct env_file *file = NULL;
    assert_int_equal(env_file_open(machine->env, path, flags, &file, NULL), 0);
    return file;
}

struct peri_buffer machine_content(struct machine *machine, const char *path)
{
    struct peri_buffer content = {0};
    assert_int_equal(sim_disk_get(machine->node, path, &content), 0);
    return content;
}

bool machine_has(struct machine *machine, const char *path)
{
    struct peri_buffer content = {0};
    int rc = sim_disk_get(machine->node, path, &content);
    peri_buffer_deinit(&content);
    return rc != -ENOENT;
}

void machine_assert_content(struct machine *machine, const char *path, const char *wanted)
{
    struct peri_buffer content = machine_content(machine, path);
    assert_int_equal(content.size, strlen(wanted));
    assert_memory_equal(content.data, wanted, content.size);
    peri_buffer_deinit(&content);
}

void machine_write_hello(struct machine *machine)
{
    machine->file = machine_open(machine, "/f", ENV_FILE_WRITE | ENV_FILE_CREATE);
    assert_int_equal(env_path_sync(machine->env, "/", NULL), 0);
    assert_int_equal(env_file_write(machine->file, "hello", 5, NULL), 0);
}

void machine_sync_file(struct machine *machine)
{
    machine->rc = env_file_sync(machine->file, &machine->err);
}
