/* The simulated disk: what survives a crash, compared with a plain model; each fault's effect. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "env/env.h"
#include "sim/disk.h"
#include "sim/fault.h"
#include "sim/node.h"
#include "sim_fixture.h"

enum { SEEDS = 100, SECOND = 1000000, PPM = 1000000 };

struct fixture {
    struct sim_world *world;
    struct sim_node *node;
    struct env *env;
    void (*job)(struct fixture *fixture);
    struct env_timer *timer;
    bool is_done;
    struct env_file *file;
    struct peri_error err;
    int rc;
    uint64_t took_us;
};

static int start_node(void *data, struct sim_node *node)
{
    (void)data;
    (void)node;
    return 0;
}

static struct fixture *new_fixture(uint64_t seed)
{
    static struct fixture fixture;
    struct sim_options options = {.seed = seed};
    struct sim_node_events events = {.on_start = start_node};
    fixture = (struct fixture){.world = NULL};
    assert_int_equal(sim_world_create(&fixture.world, &options, NULL), 0);
    assert_int_equal(sim_node_create(fixture.world, "n1", &events, NULL, &fixture.node, NULL), 0);
    assert_int_equal(sim_node_start(fixture.node, NULL), 0);
    fixture.env = sim_node_env(fixture.node);
    advance(fixture.world, 1);
    return &fixture;
}

static void run_job(void *data)
{
    struct fixture *fixture = data;
    fixture->job(fixture);
}

static void on_job_done(void *data, int status)
{
    struct fixture *fixture = data;
    assert_int_equal(status, 0);
    fixture->is_done = true;
}

/* Runs job as background work, and then until it is done. */
static void perform(struct fixture *fixture, void (*job)(struct fixture *fixture))
{
    uint64_t begin_us = sim_world_now_us(fixture->world);
    fixture->job = job;
    fixture->is_done = false;
    assert_int_equal(env_work(fixture->env, run_job, on_job_done, fixture), 0);
    advance(fixture->world, UINT64_MAX);
    assert_true(fixture->is_done);
    fixture->took_us = sim_world_now_us(fixture->world) - begin_us;
}

static void set(struct fixture *fixture, enum env_fault fault, int64_t number)
{
    struct env_fault_value value = {.number = number};
    assert_int_equal(sim_fault_apply(fixture->world, fault, fixture->node, NULL, &value, NULL), 0);
}

static void set_crash(struct fixture *fixture, int64_t keep, int64_t tear, int64_t garble)
{
    set(fixture, ENV_FAULT_DISK_KEEP, keep);
    set(fixture, ENV_FAULT_DISK_TEAR, tear);
    set(fixture, ENV_FAULT_DISK_GARBLE, garble);
}

static void crash_and_restart(struct fixture *fixture)
{
    set(fixture, ENV_FAULT_CRASH, 0);
    set(fixture, ENV_FAULT_RESTART, 0);
    advance(fixture->world, UINT64_MAX);
}

static struct env_file *open_file(struct fixture *fixture, const char *path, int flags)
{
    struct env_file *file = NULL;
    assert_int_equal(env_file_open(fixture->env, path, flags, &file, NULL), 0);
    return file;
}

/* What the process would read; fails the test when the file is not there. */
static struct peri_buffer content_of(struct fixture *fixture, const char *path)
{
    struct peri_buffer content = {0};
    assert_int_equal(sim_disk_get(fixture->node, path, &content), 0);
    return content;
}

static bool exists(struct fixture *fixture, const char *path)
{
    struct peri_buffer content = {0};
    int rc = sim_disk_get(fixture->node, path, &content);
    peri_buffer_deinit(&content);
    return rc != -ENOENT;
}

static void assert_content(struct fixture *fixture, const char *path, const char *wanted)
{
    struct peri_buffer content = content_of(fixture, path);
    assert_int_equal(content.size, strlen(wanted));
    assert_memory_equal(content.data, wanted, content.size);
    peri_buffer_deinit(&content);
}

/* ---- contents against a model ----
 *
 * Each write has bytes of its own, so that every byte on the disk names the write that it comes
 * from: 0 is nobody's. The model knows which writes were synced. */

enum { FILE_BYTES = 6000, WRITES = 12, SECTOR = SIM_SECTOR_BYTES };

struct model {
    struct fixture *fixture;
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
    assert_int_equal(env_file_pwrite(m->fixture->file, bytes, size, offset, NULL), 0);
    memset(m->live + offset, (int)m->count, size);
    if (offset + size > m->live_size)
        m->live_size = offset + size;
}

static void sync_all(struct model *m)
{
    assert_int_equal(env_file_sync(m->fixture->file, NULL), 0);
    memcpy(m->synced, m->live, sizeof m->live);
    m->synced_size = m->live_size;
    for (size_t i = 1; i <= m->count; i++)
        m->writes[i].is_synced = true;
}

static void write_and_sync(struct fixture *fixture)
{
    fixture->file = open_file(fixture, "/f", ENV_FILE_READ | ENV_FILE_WRITE | ENV_FILE_CREATE);
    assert_int_equal(env_path_sync(fixture->env, "/", NULL), 0);
    while (model.count < WRITES) {
        write_one(&model);
        if (sim_stream_below(&model.stream, 4) == 0)
            sync_all(&model);
    }
}

static void build_model(uint64_t seed)
{
    memset(&model, 0, sizeof model);
    model.fixture = new_fixture(seed);
    sim_stream_init(&model.stream, seed, SIM_WORKLOAD, 0, 0, &model.positions);
    perform(model.fixture, write_and_sync);
    struct peri_buffer content = content_of(model.fixture, "/f");
    assert_int_equal(content.size, model.live_size);
    assert_memory_equal(content.data, model.live, content.size);
    peri_buffer_deinit(&content);
}

static struct peri_buffer crash_model(int64_t keep, int64_t tear, int64_t garble)
{
    set_crash(model.fixture, keep, tear, garble);
    crash_and_restart(model.fixture);
    return content_of(model.fixture, "/f");
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
        sim_world_close(model.fixture->world);
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
        sim_world_close(model.fixture->world);
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
        sim_world_close(model.fixture->world);
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
        sim_world_close(model.fixture->world);
    }
    assert_true(garbage > SEEDS * SECTOR);
}

static void a_killed_process_loses_nothing(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        build_model(seed);
        set_crash(model.fixture, 0, 0, 0);
        set(model.fixture, ENV_FAULT_KILL, 0);
        set(model.fixture, ENV_FAULT_RESTART, 0);
        struct peri_buffer content = content_of(model.fixture, "/f");
        assert_int_equal(content.size, model.live_size);
        assert_memory_equal(content.data, model.live, content.size);
        peri_buffer_deinit(&content);
        content = crash_model(0, 0, 0); /* only now */
        assert_int_equal(content.size, model.synced_size);
        peri_buffer_deinit(&content);
        sim_world_close(model.fixture->world);
    }
}

/* ---- a sync takes its time ---- */

static void write_hello(struct fixture *fixture)
{
    fixture->file = open_file(fixture, "/f", ENV_FILE_WRITE | ENV_FILE_CREATE);
    assert_int_equal(env_path_sync(fixture->env, "/", NULL), 0);
    assert_int_equal(env_file_write(fixture->file, "hello", 5, NULL), 0);
}

static void sync_file(struct fixture *fixture)
{
    fixture->rc = env_file_sync(fixture->file, &fixture->err);
}

static void on_cancelled_or_done(void *data, int status)
{
    struct fixture *fixture = data;
    fixture->rc = status;
}

static void a_crash_during_a_sync_may_lose_it(void **state)
{
    (void)state;
    for (int is_late = 0; is_late < 2; is_late++) {
        struct fixture *fixture = new_fixture(1);
        struct env_fault_value slow = {.delay = {ENV_DELAY_CONSTANT, SECOND, 0, 0}};
        perform(fixture, write_hello);
        set_crash(fixture, 0, 0, 0);
        assert_int_equal(sim_fault_apply(fixture->world, ENV_FAULT_DISK_SYNC_DELAY, fixture->node,
                                         NULL, &slow, NULL),
                         0);
        fixture->job = sync_file;
        assert_int_equal(env_work(fixture->env, run_job, on_cancelled_or_done, fixture), 0);
        uint64_t now_us = sim_world_now_us(fixture->world);
        fixture->rc = 1;
        advance(fixture->world, now_us + (is_late ? 2 * SECOND : SECOND / 2));
        crash_and_restart(fixture);
        assert_int_equal(fixture->rc, is_late ? 0 : PERI_ECANCELLED);
        assert_content(fixture, "/f", is_late ? "hello" : "");
        sim_world_close(fixture->world);
    }
}

/* ---- names ---- */

static void create_letters(struct fixture *fixture)
{
    char path[] = "/d/a";
    assert_int_equal(env_path_mkdir(fixture->env, "/d", NULL), 0);
    assert_int_equal(env_path_sync(fixture->env, "/", NULL), 0);
    for (; path[3] <= 'h'; path[3]++)
        (void)env_file_close(open_file(fixture, path, ENV_FILE_WRITE | ENV_FILE_CREATE), NULL);
}

static void names_of_a_directory_survive_in_order(void **state)
{
    (void)state;
    size_t survivors[9] = {0};
    for (uint64_t seed = 0; seed < 2 * SEEDS; seed++) {
        struct fixture *fixture = new_fixture(seed);
        perform(fixture, create_letters);
        set_crash(fixture, 700000, 0, 0);
        crash_and_restart(fixture);
        char path[] = "/d/a";
        size_t count = 0;
        while (count < 8 && exists(fixture, path)) {
            count++;
            path[3]++;
        }
        for (; path[3] <= 'h'; path[3]++)
            assert_false(exists(fixture, path));
        survivors[count]++;
        sim_world_close(fixture->world);
    }
    assert_true(survivors[0] > 20 && survivors[1] > 10 && survivors[8] > 0);
}

static void sync_directory(struct fixture *fixture)
{
    assert_int_equal(env_path_sync(fixture->env, "/d", NULL), 0);
}

static void synced_names_survive(void **state)
{
    (void)state;
    struct fixture *fixture = new_fixture(1);
    perform(fixture, create_letters);
    set_crash(fixture, 0, 0, 0);
    perform(fixture, sync_directory);
    crash_and_restart(fixture);
    assert_true(exists(fixture, "/d/a") && exists(fixture, "/d/h"));
    assert_int_equal(sim_disk_usage(fixture->node).files, 9);
    sim_world_close(fixture->world);
}

static void replace_file(struct fixture *fixture)
{
    fixture->file = open_file(fixture, "/new", ENV_FILE_WRITE | ENV_FILE_CREATE);
    assert_int_equal(env_file_write(fixture->file, "new", 3, NULL), 0);
    assert_int_equal(env_file_sync(fixture->file, NULL), 0);
    assert_int_equal(env_file_close(fixture->file, NULL), 0);
    assert_int_equal(env_path_rename(fixture->env, "/new", "/f", NULL), 0);
}

static void a_rename_happens_whole_or_not_at_all(void **state)
{
    (void)state;
    size_t replaced = 0;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        struct fixture *fixture = new_fixture(seed);
        struct peri_slice old = {"old", 3};
        assert_int_equal(sim_disk_put(fixture->node, "/f", old, NULL), 0);
        perform(fixture, replace_file);
        assert_content(fixture, "/f", "new");
        set_crash(fixture, 700000, 0, 0);
        crash_and_restart(fixture);
        struct peri_buffer content = content_of(fixture, "/f");
        bool is_new = memcmp(content.data, "new", 3) == 0;
        assert_true(is_new || memcmp(content.data, "old", 3) == 0);
        assert_false(is_new && exists(fixture, "/new"));
        replaced += is_new;
        peri_buffer_deinit(&content);
        sim_world_close(fixture->world);
    }
    assert_in_range(replaced, SEEDS * 3 / 10, SEEDS * 7 / 10);
}

static void move_between_directories(struct fixture *fixture)
{
    assert_int_equal(env_path_mkdir(fixture->env, "/from", NULL), 0);
    assert_int_equal(env_path_mkdir(fixture->env, "/to", NULL), 0);
    fixture->file = open_file(fixture, "/from/f", ENV_FILE_WRITE | ENV_FILE_CREATE);
    assert_int_equal(env_file_write(fixture->file, "hello", 5, NULL), 0);
    assert_int_equal(env_file_sync(fixture->file, NULL), 0);
    assert_int_equal(env_path_rename(fixture->env, "/from/f", "/to/f", NULL), 0);
    assert_int_equal(env_path_sync(fixture->env, "/to", NULL), 0);
    assert_int_equal(env_path_sync(fixture->env, "/", NULL), 0);
}

static void a_move_between_directories_leaves_one_name(void **state)
{
    (void)state;
    struct fixture *fixture = new_fixture(1);
    perform(fixture, move_between_directories);
    set_crash(fixture, PPM, 0, 0);
    crash_and_restart(fixture);
    assert_content(fixture, "/to/f", "hello");
    assert_false(exists(fixture, "/from/f"));
    sim_world_close(fixture->world);
}

static void remove_synced(struct fixture *fixture)
{
    assert_int_equal(env_path_remove(fixture->env, "/f", NULL), 0);
}

static void a_removed_file_may_come_back(void **state)
{
    (void)state;
    struct fixture *fixture = new_fixture(1);
    struct peri_slice old = {"old", 3};
    assert_int_equal(sim_disk_put(fixture->node, "/f", old, NULL), 0);
    set_crash(fixture, 0, 0, 0);
    perform(fixture, remove_synced);
    assert_false(exists(fixture, "/f"));
    crash_and_restart(fixture);
    assert_content(fixture, "/f", "old");
    sim_world_close(fixture->world);
}

static void use_paths(struct fixture *fixture)
{
    struct env *env = fixture->env;
    struct env_stat stat;
    struct env_dir *dir = NULL;
    const char *name = NULL;
    enum env_file_type type;
    char *text = NULL;
    assert_int_equal(env_path_mkdir(env, "/a", NULL), 0);
    assert_int_equal(env_path_mkdir(env, "a", NULL), -EEXIST);
    assert_int_equal(env_path_mkdir(env, "/a/../a/./b", NULL), 0);
    assert_int_equal(env_path_mkdir(env, "/x/y", NULL), -ENOENT);
    (void)env_file_close(open_file(fixture, "/a/f", ENV_FILE_WRITE | ENV_FILE_CREATE), NULL);
    assert_int_equal(env_path_mkdir(env, "/a/f/g", NULL), -ENOTDIR);
    assert_int_equal(env_path_stat(env, "/a/f", &stat, NULL), 0);
    assert_int_equal(stat.type, ENV_TYPE_FILE);
    assert_int_equal(env_path_stat(env, "/", &stat, NULL), 0);
    assert_int_equal(stat.type, ENV_TYPE_DIRECTORY);
    assert_int_equal(env_path_rename(env, "/a", "/a/b/c", NULL), PERI_EINVAL);
    assert_int_equal(env_path_rename(env, "/a/b", "/a/f", NULL), -ENOTDIR);
    assert_int_equal(env_path_rename(env, "/a/f", "/a/b", NULL), -EISDIR);
    assert_int_equal(env_path_rename(env, "/a/b", "/c", NULL), 0);
    assert_int_equal(env_path_remove(env, "/a", NULL), -ENOTEMPTY);
    assert_int_equal(env_path_remove(env, "/", NULL), PERI_EBUSY);
    assert_int_equal(env_path_real(env, "c/.././c", &text, NULL), 0);
    assert_string_equal(text, "/c");
    free(text);
    assert_int_equal(env_path_tempdir(env, "/tmp", &text, NULL), 0);
    assert_int_equal(strlen(text), strlen("/tmpXXXXXX"));
    assert_int_equal(env_path_remove(env, text, NULL), 0);
    free(text);
    assert_int_equal(env_dir_open(env, "/", &dir, NULL), 0);
    assert_int_equal(env_dir_next(dir, &name, &type, NULL), 1);
    assert_string_equal(name, "a");
    assert_int_equal(type, ENV_TYPE_DIRECTORY);
    assert_int_equal(env_dir_next(dir, &name, &type, NULL), 1);
    assert_string_equal(name, "c");
    assert_int_equal(env_dir_next(dir, &name, &type, NULL), 0);
    env_dir_close(dir);
}

static void paths_are_as_posix_has_them(void **state)
{
    (void)state;
    struct fixture *fixture = new_fixture(1);
    perform(fixture, use_paths);
    sim_world_close(fixture->world);
}

static void use_files(struct fixture *fixture)
{
    struct env *env = fixture->env;
    struct env_file *file = NULL;
    struct env_file *other = NULL;
    struct env_mapping mapping;
    char bytes[8];
    assert_int_equal(env_file_open(env, "/f", ENV_FILE_READ, &file, NULL), -ENOENT);
    file = open_file(fixture, "/f", ENV_FILE_WRITE | ENV_FILE_CREATE | ENV_FILE_EXCLUSIVE);
    assert_int_equal(env_file_open(env, "/f", ENV_FILE_WRITE | ENV_FILE_CREATE | ENV_FILE_EXCLUSIVE,
                                   &other, NULL),
                     -EEXIST);
    assert_int_equal(env_file_read(file, bytes, sizeof bytes, NULL), -EBADF);
    assert_int_equal(env_file_write(file, "hello", 5, NULL), 0);
    assert_int_equal(env_file_seek(file, ENV_SEEK_CURRENT, -3, NULL), 2);
    assert_int_equal(env_file_write(file, "L", 1, NULL), 0);
    assert_int_equal(env_file_seek(file, ENV_SEEK_START, -1, NULL), PERI_EINVAL);
    assert_int_equal(env_file_lock(file, NULL), 0);
    other = open_file(fixture, "/f", ENV_FILE_READ | ENV_FILE_APPEND);
    assert_int_equal(env_file_lock(other, NULL), PERI_EBUSY);
    assert_int_equal(env_file_close(file, NULL), 0);
    assert_int_equal(env_file_lock(other, NULL), 0);
    assert_int_equal(env_file_write(other, "!", 1, NULL), 0);
    assert_int_equal(env_file_pread(other, bytes, sizeof bytes, 1, NULL), 5);
    assert_memory_equal(bytes, "eLlo!", 5);
    assert_int_equal(env_path_remove(env, "/f", NULL), 0);
    assert_int_equal(env_file_map(other, &mapping, NULL), 0); /* it is open still */
    assert_int_equal(env_file_close(other, NULL), 0);
    assert_memory_equal(mapping.data, "heLlo!", 6);
    env_file_unmap(env, &mapping);
    assert_null(mapping.data);
    file = open_file(fixture, "/f", ENV_FILE_WRITE | ENV_FILE_CREATE);
    assert_int_equal(env_file_close(file, NULL), 0);
    assert_int_equal(env_file_read(env_file_stdin(env), bytes, sizeof bytes, NULL), 0);
}

static void make_and_remove(struct fixture *fixture)
{
    assert_int_equal(env_path_mkdir(fixture->env, "/x", NULL), 0);
    assert_int_equal(env_path_remove(fixture->env, "/x", NULL), 0);
}

static void files_are_as_posix_has_them(void **state)
{
    (void)state;
    struct fixture *fixture = new_fixture(1);
    perform(fixture, use_files);
    assert_int_equal(sim_disk_usage(fixture->node).bytes, 6); /* its removal is not durable */
    advance(fixture->world, sim_world_now_us(fixture->world) + 31 * SECOND);
    perform(fixture, make_and_remove);
    assert_int_equal(sim_disk_usage(fixture->node).bytes, 0);
    sim_world_close(fixture->world);
}

/* ---- faults ---- */

static void write_more(struct fixture *fixture)
{
    fixture->rc = env_file_write(fixture->file, " world", 6, &fixture->err);
}

static void read_some(struct fixture *fixture)
{
    char bytes[8];
    struct env_file *file = open_file(fixture, "/f", ENV_FILE_READ);
    fixture->rc = (int)env_file_read(file, bytes, sizeof bytes, &fixture->err);
    (void)env_file_close(file, NULL);
}

static void reads_and_writes_fail(void **state)
{
    (void)state;
    struct fixture *fixture = new_fixture(1);
    perform(fixture, write_hello);
    set(fixture, ENV_FAULT_DISK_WRITE_ERROR, PPM);
    perform(fixture, write_more);
    assert_int_equal(fixture->rc, -EIO);
    assert_non_null(strstr(fixture->err.text, "write /f"));
    assert_content(fixture, "/f", "hello");
    set(fixture, ENV_FAULT_DISK_WRITE_ERROR, 0);
    set(fixture, ENV_FAULT_DISK_READ_ERROR, PPM);
    perform(fixture, read_some);
    assert_int_equal(fixture->rc, -EIO);
    set(fixture, ENV_FAULT_DISK_READ_ERROR, 0);
    perform(fixture, read_some);
    assert_int_equal(fixture->rc, 5);
    sim_world_close(fixture->world);
}

static void a_failed_sync_drops_and_says_so_once(void **state)
{
    (void)state;
    struct fixture *fixture = new_fixture(1);
    perform(fixture, write_hello);
    perform(fixture, sync_file);
    perform(fixture, write_more);
    set(fixture, ENV_FAULT_DISK_SYNC_ERROR, PPM);
    perform(fixture, sync_file);
    assert_int_equal(fixture->rc, -EIO);
    assert_content(fixture, "/f", "hello");
    set(fixture, ENV_FAULT_DISK_SYNC_ERROR, 0);
    perform(fixture, sync_file);
    assert_int_equal(fixture->rc, 0);
    assert_content(fixture, "/f", "hello");
    sim_world_close(fixture->world);
}

static void the_kernel_writes_back_in_the_end(void **state)
{
    (void)state;
    for (int is_late = 0; is_late < 2; is_late++) {
        struct fixture *fixture = new_fixture(1);
        perform(fixture, write_hello);
        set_crash(fixture, 0, 0, 0);
        advance(fixture->world,
                sim_world_now_us(fixture->world) + (uint64_t)(is_late ? 31 : 29) * SECOND);
        crash_and_restart(fixture);
        assert_content(fixture, "/f", is_late ? "hello" : "");
        sim_world_close(fixture->world);
    }
}

static void a_lying_sync_keeps_nothing(void **state)
{
    (void)state;
    struct fixture *fixture = new_fixture(1);
    perform(fixture, write_hello);
    set(fixture, ENV_FAULT_DISK_SYNC_LIE, PPM);
    perform(fixture, sync_file);
    assert_int_equal(fixture->rc, 0);
    assert_int_equal(sim_disk_usage(fixture->node).unsynced_bytes, 5);
    set_crash(fixture, 0, 0, 0);
    crash_and_restart(fixture);
    assert_content(fixture, "/f", "");
    sim_world_close(fixture->world);
}

static void overwrite(struct fixture *fixture)
{
    struct env_file *file = open_file(fixture, "/f", ENV_FILE_WRITE);
    fixture->rc = env_file_pwrite(file, "HELLO", 5, 0, NULL);
    (void)env_file_close(file, NULL);
}

static void a_phantom_write_leaves_what_was_there(void **state)
{
    (void)state;
    struct fixture *fixture = new_fixture(1);
    perform(fixture, write_hello);
    set(fixture, ENV_FAULT_DISK_PHANTOM, PPM);
    perform(fixture, overwrite);
    assert_int_equal(fixture->rc, 0);
    assert_content(fixture, "/f", "hello");
    sim_world_close(fixture->world);
}

static void a_misdirected_write_lands_at_another_sector(void **state)
{
    (void)state;
    static char zeroes[20 * SECTOR];
    size_t elsewhere = 0;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        struct fixture *fixture = new_fixture(seed);
        struct peri_slice content = {zeroes, sizeof zeroes};
        assert_int_equal(sim_disk_put(fixture->node, "/f", content, NULL), 0);
        set(fixture, ENV_FAULT_DISK_MISDIRECT, PPM);
        perform(fixture, overwrite);
        assert_int_equal(fixture->rc, 0);
        struct peri_buffer found = content_of(fixture, "/f");
        assert_int_equal(found.size, sizeof zeroes);
        size_t at = 0;
        while (found.data[at] == 0)
            at++;
        assert_int_equal(at % SECTOR, 0);
        assert_memory_equal(found.data + at, "HELLO", 5);
        elsewhere += at != 0;
        peri_buffer_deinit(&found);
        sim_world_close(fixture->world);
    }
    assert_true(elsewhere > SEEDS / 2);
}

static void a_full_disk_refuses(void **state)
{
    (void)state;
    struct fixture *fixture = new_fixture(1);
    perform(fixture, write_hello);
    set(fixture, ENV_FAULT_DISK_CAPACITY, 10);
    perform(fixture, write_more);
    assert_int_equal(fixture->rc, -ENOSPC);
    assert_content(fixture, "/f", "hello");
    set(fixture, ENV_FAULT_DISK_CAPACITY, 11);
    perform(fixture, write_more);
    assert_int_equal(fixture->rc, 0);
    sim_world_close(fixture->world);
}

static void bits_turn_over_at_rest(void **state)
{
    (void)state;
    static char zeroes[10000];
    struct fixture *fixture = new_fixture(1);
    struct peri_slice content = {zeroes, sizeof zeroes};
    assert_int_equal(sim_disk_put(fixture->node, "/a/b/c", content, NULL), 0);
    set(fixture, ENV_FAULT_DISK_FLIP, 3);
    crash_and_restart(fixture);
    struct peri_buffer found = content_of(fixture, "/a/b/c");
    size_t bits = 0;
    for (size_t i = 0; i < found.size; i++)
        bits += (size_t)__builtin_popcount((unsigned char)found.data[i]);
    assert_int_equal(bits, 3);
    peri_buffer_deinit(&found);
    sim_world_close(fixture->world);
}

static void a_stalled_disk_answers_later(void **state)
{
    (void)state;
    struct fixture *fixture = new_fixture(1);
    perform(fixture, write_hello);
    perform(fixture, read_some);
    assert_true(fixture->took_us < 1000);
    set(fixture, ENV_FAULT_DISK_STALL, 5 * SECOND);
    perform(fixture, read_some);
    assert_in_range(fixture->took_us, 5 * SECOND, 5 * SECOND + 1000);
    perform(fixture, read_some);
    assert_true(fixture->took_us < 1000);
    sim_world_close(fixture->world);
}

static void a_wiped_disk_is_empty(void **state)
{
    (void)state;
    struct fixture *fixture = new_fixture(1);
    struct env_fault_value none = {0};
    perform(fixture, write_hello);
    assert_int_equal(
        sim_fault_apply(fixture->world, ENV_FAULT_WIPE, fixture->node, NULL, &none, NULL),
        PERI_EBUSY);
    set(fixture, ENV_FAULT_KILL, 0);
    set(fixture, ENV_FAULT_WIPE, 0);
    set(fixture, ENV_FAULT_RESTART, 0);
    assert_int_equal(sim_disk_usage(fixture->node).files, 0);
    sim_world_close(fixture->world);
}

/* ---- time ---- */

static void on_blocking_timer(void *data)
{
    struct fixture *fixture = data;
    uint64_t before_us = env_now_us(fixture->env);
    (void)env_file_sync(fixture->file, NULL);
    fixture->took_us = env_now_us(fixture->env) - before_us;
    env_timer_start(fixture->timer, 0);
    fixture->job = NULL;
}

static void on_second_timer(void *data)
{
    struct fixture *fixture = data;
    if (fixture->is_done)
        return;
    fixture->is_done = true;
    on_blocking_timer(data);
}

static void a_loop_that_blocks_is_deaf(void **state)
{
    (void)state;
    struct fixture *fixture = new_fixture(1);
    struct env_fault_value slow = {.delay = {ENV_DELAY_CONSTANT, SECOND, 0, 0}};
    perform(fixture, write_hello);
    assert_int_equal(
        sim_fault_apply(fixture->world, ENV_FAULT_DISK_SYNC_DELAY, NULL, NULL, &slow, NULL), 0);
    fixture->is_done = false;
    assert_int_equal(env_timer_create(fixture->env, on_second_timer, fixture, &fixture->timer), 0);
    env_timer_start(fixture->timer, 0);
    uint64_t begin_us = sim_world_now_us(fixture->world);
    assert_int_equal(sim_world_run(fixture->world, UINT64_MAX), SIM_END_IDLE);
    assert_int_equal(fixture->took_us, SECOND);
    assert_int_equal(sim_world_now_us(fixture->world) - begin_us, SECOND);
    sim_world_close(fixture->world);
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
        cmocka_unit_test(names_of_a_directory_survive_in_order),
        cmocka_unit_test(synced_names_survive),
        cmocka_unit_test(a_rename_happens_whole_or_not_at_all),
        cmocka_unit_test(a_move_between_directories_leaves_one_name),
        cmocka_unit_test(a_removed_file_may_come_back),
        cmocka_unit_test(paths_are_as_posix_has_them),
        cmocka_unit_test(files_are_as_posix_has_them),
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
