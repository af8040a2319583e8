/* The simulated disk: what survives a crash of contents, compared with a plain model. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "sim/disk.h"
#include "sim_fixture.h"
#include "sim_machine.h"

enum { SEEDS = 100 };

/* ---- contents against a model ----
 *
 * Each write has bytes of its own, so that every byte on the disk names the write that it comes
 * from: 0 is nobody's. The model knows which writes were synced. */

enum { FILE_BYTES = 6000, WRITES = 12, SECTOR = SIM_SECTOR_BYTES };

struct model {
    struct machine *machine;
    struct sim_stream stream;
    uint64_t positions;
    unsigned char live[FILE_BYTES], synced[FILE_BYTES];
    size_t live_size, synced_size;
    struct {
        size_t offset, size;
        bool is_synced;
    } writes[WRITES + 1]; /* from 1, as their bytes */
    size_t count;
};

static struct model model;

static void write_one(struct model *m)
{
    static char bytes[FILE_BYTES];
    size_t offset = (size_t)sim_stream_below(&m->stream, FILE_BYTES / 2);
    size_t size = 1 + (size_t)sim_stream_below(&m->stream, FILE_BYTES / 2 - 1);
    m->writes[++m->count].offset = offset;
    m->writes[m->count].size = size;
    m->writes[m->count].is_synced = false;
    memset(bytes, (int)m->count, size);
    assert_int_equal(env_file_pwrite(m->machine->file, bytes, size, offset, NULL), 0);
    memset(m->live + offset, (int)m->count, size);
    if (offset + size > m->live_size)
        m->live_size = offset + size;
}

static void sync_all(struct model *m)
{
    assert_int_equal(env_file_sync(m->machine->file, NULL), 0);
    memcpy(m->synced, m->live, sizeof m->live);
    m->synced_size = m->live_size;
    for (size_t i = 1; i <= m->count; i++)
        m->writes[i].is_synced = true;
}

static void write_and_sync(struct machine *machine)
{
    machine->file = machine_open(machine, "/f", ENV_FILE_READ | ENV_FILE_WRITE | ENV_FILE_CREATE);
    assert_int_equal(env_path_sync(machine->env, "/", NULL), 0);
    while (model.count < WRITES) {
        write_one(&model);
        if (sim_stream_below(&model.stream, 4) == 0)
            sync_all(&model);
    }
}

static void build_model(uint64_t seed)
{
    memset(&model, 0, sizeof model);
    model.machine = machine_create(seed);
    sim_stream_init(&model.stream, seed, SIM_WORKLOAD, 0, 0, &model.positions);
    machine_perform(model.machine, write_and_sync);
    struct peri_buffer content = machine_content(model.machine, "/f");
    assert_int_equal(content.size, model.live_size);
    assert_memory_equal(content.data, model.live, content.size);
    peri_buffer_deinit(&content);
}

static struct peri_buffer crash_model(int64_t keep, int64_t tear, int64_t garble)
{
    machine_set_crash(model.machine, keep, tear, garble);
    machine_restart(model.machine);
    return machine_content(model.machine, "/f");
}

static void what_was_synced_survives_and_nothing_else(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        build_model(seed);
        struct peri_buffer content = crash_model(0, 0, 0);
        assert_int_equal(content.size, model.synced_size);
        if (content.size > 0)
            assert_memory_equal(content.data, model.synced, content.size);
        peri_buffer_deinit(&content);
        sim_world_close(model.machine->world);
    }
}

static void a_kind_disk_keeps_everything(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        build_model(seed);
        struct peri_buffer content = crash_model(PPM, 0, 0);
        assert_int_equal(content.size, model.live_size);
        assert_memory_equal(content.data, model.live, content.size);
        peri_buffer_deinit(&content);
        sim_world_close(model.machine->world);
    }
}

static bool covers(size_t write, size_t at)
{
    return at >= model.writes[write].offset &&
           at < model.writes[write].offset + model.writes[write].size;
}

/* A byte is what was synced there, or that of a later write; 0 where the file has grown past it. */
static bool is_explained(unsigned char byte, size_t at)
{
    if (byte == (at < model.synced_size ? model.synced[at] : 0))
        return true;
    return byte >= 1 && byte <= model.count && !model.writes[byte].is_synced && covers(byte, at);
}

static bool is_written(size_t at)
{
    for (size_t i = 1; i <= model.count; i++)
        if (!model.writes[i].is_synced && covers(i, at))
            return true;
    return false;
}

static void a_crash_keeps_loses_or_tears_each_write(void **state)
{
    (void)state;
    size_t survived = 0;
    size_t lost = 0;
    size_t torn = 0;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        build_model(seed);
        struct peri_buffer content = crash_model(300000, 500000, 0);
        for (size_t at = 0; at < content.size; at++) {
            unsigned char byte = (unsigned char)content.data[at];
            assert_true(is_explained(byte, at));
            /* where one write ends amid another's, it is at a sector */
            if (at > 0 && (unsigned char)content.data[at - 1] != byte) {
                bool is_begin = byte >= 1 && model.writes[byte].offset == at;
                unsigned char before = (unsigned char)content.data[at - 1];
                bool is_end = before >= 1 && !covers(before, at);
                torn += !is_begin && !is_end && at % SECTOR == 0;
                assert_true(is_begin || is_end || at % SECTOR == 0 || at == model.synced_size);
            }
        }
        size_t last = model.count;
        if (!model.writes[last].is_synced) {
            size_t end = model.writes[last].offset + model.writes[last].size;
            bool is_there = content.size >= end && (size_t)content.data[end - 1] == last;
            survived += is_there;
            lost += !is_there;
        }
        peri_buffer_deinit(&content);
        sim_world_close(model.machine->world);
    }
    assert_true(survived > SEEDS / 10 && lost > SEEDS / 10 && torn > SEEDS / 10);
}

static void garbage_stays_inside_unsynced_writes(void **state)
{
    (void)state;
    size_t garbage = 0;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        build_model(seed);
        struct peri_buffer content = crash_model(0, PPM, PPM);
        for (size_t at = 0; at < content.size; at++) {
            bool is_plain = is_explained((unsigned char)content.data[at], at);
            assert_true(is_plain || is_written(at));
            garbage += !is_plain;
        }
        peri_buffer_deinit(&content);
        sim_world_close(model.machine->world);
    }
    assert_true(garbage > SEEDS * SECTOR);
}

static void a_killed_process_loses_nothing(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        build_model(seed);
        machine_set_crash(model.machine, 0, 0, 0);
        machine_set(model.machine, ENV_FAULT_KILL, 0);
        machine_set(model.machine, ENV_FAULT_RESTART, 0);
        struct peri_buffer content = machine_content(model.machine, "/f");
        assert_int_equal(content.size, model.live_size);
        assert_memory_equal(content.data, model.live, content.size);
        peri_buffer_deinit(&content);
        content = crash_model(0, 0, 0); /* only now */
        assert_int_equal(content.size, model.synced_size);
        peri_buffer_deinit(&content);
        sim_world_close(model.machine->world);
    }
}

/* ---- a sync takes its time ---- */

static void on_cancelled_or_done(void *data, int status)
{
    struct machine *machine = data;
    machine->rc = status;
}

static void a_crash_during_a_sync_may_lose_it(void **state)
{
    (void)state;
    for (int is_late = 0; is_late < 2; is_late++) {
        struct machine *machine = machine_create(1);
        struct env_fault_value slow = {.delay = {ENV_DELAY_CONSTANT, SECOND, 0, 0}};
        machine_perform(machine, machine_write_hello);
        machine_set_crash(machine, 0, 0, 0);
        assert_int_equal(sim_fault_apply(machine->world, ENV_FAULT_DISK_SYNC_DELAY, machine->node,
                                         NULL, &slow, NULL),
                         0);
        machine->job = machine_sync_file;
        assert_int_equal(env_work(machine->env, machine_job, on_cancelled_or_done, machine), 0);
        uint64_t now_us = sim_world_now_us(machine->world);
        machine->rc = 1;
        advance(machine->world, now_us + (is_late ? 2 * SECOND : SECOND / 2));
        machine_restart(machine);
        assert_int_equal(machine->rc, is_late ? 0 : PERI_ECANCELLED);
        machine_assert_content(machine, "/f", is_late ? "hello" : "");
        sim_world_close(machine->world);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_synced_survives_and_nothing_else),
        cmocka_unit_test(a_kind_disk_keeps_everything),
        cmocka_unit_test(a_crash_keeps_loses_or_tears_each_write),
        cmocka_unit_test(garbage_stays_inside_unsynced_writes),
        cmocka_unit_test(a_killed_process_loses_nothing),
        cmocka_unit_test(a_crash_during_a_sync_may_lose_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
