/* Faults of the simulated disk, and the time that it takes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <string.h>

#include "sim/disk.h"
#include "sim_fixture.h"
#include "sim_machine.h"

enum { SEEDS = 100, SECTOR = SIM_SECTOR_BYTES };

/* ---- faults ---- */

static void write_more(struct machine *machine)
{
    machine->rc = env_file_write(machine->file, " world", 6, &machine->err);
}

static void read_some(struct machine *machine)
{
    char bytes[8];
    struct env_file *file = machine_open(machine, "/f", ENV_FILE_READ);
    machine->rc = (int)env_file_read(file, bytes, sizeof bytes, &machine->err);
    (void)env_file_close(file, NULL);
}

static void reads_and_writes_fail(void **state)
{
    (void)state;
    struct machine *machine = machine_create(1);
    machine_perform(machine, machine_write_hello);
    machine_set(machine, ENV_FAULT_DISK_WRITE_ERROR, PPM);
    machine_perform(machine, write_more);
    assert_int_equal(machine->rc, -EIO);
    assert_non_null(strstr(machine->err.text, "write /f"));
    machine_assert_content(machine, "/f", "hello");
    machine_set(machine, ENV_FAULT_DISK_WRITE_ERROR, 0);
    machine_set(machine, ENV_FAULT_DISK_READ_ERROR, PPM);
    machine_perform(machine, read_some);
    assert_int_equal(machine->rc, -EIO);
    machine_set(machine, ENV_FAULT_DISK_READ_ERROR, 0);
    machine_perform(machine, read_some);
    assert_int_equal(machine->rc, 5);
    sim_world_close(machine->world);
}

static void a_failed_sync_drops_and_says_so_once(void **state)
{
    (void)state;
    struct machine *machine = machine_create(1);
    machine_perform(machine, machine_write_hello);
    machine_perform(machine, machine_sync_file);
    machine_perform(machine, write_more);
    machine_set(machine, ENV_FAULT_DISK_SYNC_ERROR, PPM);
    machine_perform(machine, machine_sync_file);
    assert_int_equal(machine->rc, -EIO);
    machine_assert_content(machine, "/f", "hello");
    machine_set(machine, ENV_FAULT_DISK_SYNC_ERROR, 0);
    machine_perform(machine, machine_sync_file);
    assert_int_equal(machine->rc, 0);
    machine_assert_content(machine, "/f", "hello");
    sim_world_close(machine->world);
}

static void the_kernel_writes_back_in_the_end(void **state)
{
    (void)state;
    for (int is_late = 0; is_late < 2; is_late++) {
        struct machine *machine = machine_create(1);
        machine_perform(machine, machine_write_hello);
        machine_set_crash(machine, 0, 0, 0);
        advance(machine->world,
                sim_world_now_us(machine->world) + (uint64_t)(is_late ? 31 : 29) * SECOND);
        machine_restart(machine);
        machine_assert_content(machine, "/f", is_late ? "hello" : "");
        sim_world_close(machine->world);
    }
}

static void a_lying_sync_keeps_nothing(void **state)
{
    (void)state;
    struct machine *machine = machine_create(1);
    machine_perform(machine, machine_write_hello);
    machine_set(machine, ENV_FAULT_DISK_SYNC_LIE, PPM);
    machine_perform(machine, machine_sync_file);
    assert_int_equal(machine->rc, 0);
    assert_int_equal(sim_disk_usage(machine->node).unsynced_bytes, 5);
    machine_set_crash(machine, 0, 0, 0);
    machine_restart(machine);
    machine_assert_content(machine, "/f", "");
    sim_world_close(machine->world);
}

static void overwrite(struct machine *machine)
{
    struct env_file *file = machine_open(machine, "/f", ENV_FILE_WRITE);
    machine->rc = env_file_pwrite(file, "HELLO", 5, 0, NULL);
    (void)env_file_close(file, NULL);
}

static void a_phantom_write_leaves_what_was_there(void **state)
{
    (void)state;
    struct machine *machine = machine_create(1);
    machine_perform(machine, machine_write_hello);
    machine_set(machine, ENV_FAULT_DISK_PHANTOM, PPM);
    machine_perform(machine, overwrite);
    assert_int_equal(machine->rc, 0);
    machine_assert_content(machine, "/f", "hello");
    sim_world_close(machine->world);
}

static void a_misdirected_write_lands_at_another_sector(void **state)
{
    (void)state;
    static char zeroes[20 * SECTOR];
    size_t elsewhere = 0;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        struct machine *machine = machine_create(seed);
        struct peri_slice content = {zeroes, sizeof zeroes};
        assert_int_equal(sim_disk_put(machine->node, "/f", content, NULL), 0);
        machine_set(machine, ENV_FAULT_DISK_MISDIRECT, PPM);
        machine_perform(machine, overwrite);
        assert_int_equal(machine->rc, 0);
        struct peri_buffer found = machine_content(machine, "/f");
        assert_int_equal(found.size, sizeof zeroes);
        size_t at = 0;
        while (found.data[at] == 0)
            at++;
        assert_int_equal(at % SECTOR, 0);
        assert_memory_equal(found.data + at, "HELLO", 5);
        elsewhere += at != 0;
        peri_buffer_deinit(&found);
        sim_world_close(machine->world);
    }
    assert_true(elsewhere > SEEDS / 2);
}

static void a_full_disk_refuses(void **state)
{
    (void)state;
    struct machine *machine = machine_create(1);
    machine_perform(machine, machine_write_hello);
    machine_set(machine, ENV_FAULT_DISK_CAPACITY, 10);
    machine_perform(machine, write_more);
    assert_int_equal(machine->rc, -ENOSPC);
    machine_assert_content(machine, "/f", "hello");
    machine_set(machine, ENV_FAULT_DISK_CAPACITY, 11);
    machine_perform(machine, write_more);
    assert_int_equal(machine->rc, 0);
    sim_world_close(machine->world);
}

static void bits_turn_over_at_rest(void **state)
{
    (void)state;
    static char zeroes[10000];
    struct machine *machine = machine_create(1);
    struct peri_slice content = {zeroes, sizeof zeroes};
    assert_int_equal(sim_disk_put(machine->node, "/a/b/c", content, NULL), 0);
    machine_set(machine, ENV_FAULT_DISK_FLIP, 3);
    machine_restart(machine);
    struct peri_buffer found = machine_content(machine, "/a/b/c");
    size_t bits = 0;
    for (size_t i = 0; i < found.size; i++)
        bits += (size_t)__builtin_popcount((unsigned char)found.data[i]);
    assert_int_equal(bits, 3);
    peri_buffer_deinit(&found);
    sim_world_close(machine->world);
}

static void a_stalled_disk_answers_later(void **state)
{
    (void)state;
    struct machine *machine = machine_create(1);
    machine_perform(machine, machine_write_hello);
    machine_perform(machine, read_some);
    assert_true(machine->took_us < 1000);
    machine_set(machine, ENV_FAULT_DISK_STALL, 5 * SECOND);
    machine_perform(machine, read_some);
    assert_in_range(machine->took_us, 5 * SECOND, 5 * SECOND + 1000);
    machine_perform(machine, read_some);
    assert_true(machine->took_us < 1000);
    sim_world_close(machine->world);
}

static void a_wiped_disk_is_empty(void **state)
{
    (void)state;
    struct machine *machine = machine_create(1);
    struct env_fault_value none = {0};
    machine_perform(machine, machine_write_hello);
    assert_int_equal(
        sim_fault_apply(machine->world, ENV_FAULT_WIPE, machine->node, NULL, &none, NULL),
        PERI_EBUSY);
    machine_set(machine, ENV_FAULT_KILL, 0);
    machine_set(machine, ENV_FAULT_WIPE, 0);
    machine_set(machine, ENV_FAULT_RESTART, 0);
    assert_int_equal(sim_disk_usage(machine->node).files, 0);
    sim_world_close(machine->world);
}

/* ---- time ---- */

static void on_blocking_timer(void *data)
{
    struct machine *machine = data;
    uint64_t before_us = env_now_us(machine->env);
    (void)env_file_sync(machine->file, NULL);
    machine->took_us = env_now_us(machine->env) - before_us;
    env_timer_start(machine->timer, 0);
    machine->job = NULL;
}

static void on_second_timer(void *data)
{
    struct machine *machine = data;
    if (machine->is_done)
        return;
    machine->is_done = true;
    on_blocking_timer(data);
}

static void a_loop_that_blocks_is_deaf(void **state)
{
    (void)state;
    struct machine *machine = machine_create(1);
    struct env_fault_value slow = {.delay = {ENV_DELAY_CONSTANT, SECOND, 0, 0}};
    machine_perform(machine, machine_write_hello);
    assert_int_equal(
        sim_fault_apply(machine->world, ENV_FAULT_DISK_SYNC_DELAY, NULL, NULL, &slow, NULL), 0);
    machine->is_done = false;
    assert_int_equal(env_timer_create(machine->env, on_second_timer, machine, &machine->timer), 0);
    env_timer_start(machine->timer, 0);
    uint64_t begin_us = sim_world_now_us(machine->world);
    assert_int_equal(sim_world_run(machine->world, UINT64_MAX), SIM_END_IDLE);
    assert_int_equal(machine->took_us, SECOND);
    assert_int_equal(sim_world_now_us(machine->world) - begin_us, SECOND);
    sim_world_close(machine->world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_and_writes_fail),
        cmocka_unit_test(a_failed_sync_drops_and_says_so_once),
        cmocka_unit_test(the_kernel_writes_back_in_the_end),
        cmocka_unit_test(a_lying_sync_keeps_nothing),
        cmocka_unit_test(a_phantom_write_leaves_what_was_there),
        cmocka_unit_test(a_misdirected_write_lands_at_another_sector),
        cmocka_unit_test(a_full_disk_refuses),
        cmocka_unit_test(bits_turn_over_at_rest),
        cmocka_unit_test(a_stalled_disk_answers_later),
        cmocka_unit_test(a_wiped_disk_is_empty),
        cmocka_unit_test(a_loop_that_blocks_is_deaf),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
