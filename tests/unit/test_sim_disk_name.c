/* Names on the simulated disk, what survives a crash of them; files and paths as POSIX has them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "sim/disk.h"
#include "sim_fixture.h"
#include "sim_machine.h"

enum { SEEDS = 100 };

/* ---- names ---- */

static void create_letters(struct machine *machine)
{
    char path[] = "/d/a";
    assert_int_equal(env_path_mkdir(machine->env, "/d", NULL), 0);
    assert_int_equal(env_path_sync(machine->env, "/", NULL), 0);
    for (; path[3] <= 'h'; path[3]++)
        (void)env_file_close(machine_open(machine, path, ENV_FILE_WRITE | ENV_FILE_CREATE), NULL);
}

static void names_of_a_directory_survive_in_order(void **state)
{
    (void)state;
    size_t survivors[9] = {0};
    for (uint64_t seed = 0; seed < 2 * SEEDS; seed++) {
        struct machine *machine = machine_create(seed);
        machine_perform(machine, create_letters);
        machine_set_crash(machine, 700000, 0, 0);
        machine_restart(machine);
        char path[] = "/d/a";
        size_t count = 0;
        while (count < 8 && machine_has(machine, path)) {
            count++;
            path[3]++;
        }
        for (; path[3] <= 'h'; path[3]++)
            assert_false(machine_has(machine, path));
        survivors[count]++;
        sim_world_close(machine->world);
    }
    assert_true(survivors[0] > 20 && survivors[1] > 10 && survivors[8] > 0);
}

static void sync_directory(struct machine *machine)
{
    assert_int_equal(env_path_sync(machine->env, "/d", NULL), 0);
}

static void synced_names_survive(void **state)
{
    (void)state;
    struct machine *machine = machine_create(1);
    machine_perform(machine, create_letters);
    machine_set_crash(machine, 0, 0, 0);
    machine_perform(machine, sync_directory);
    machine_restart(machine);
    assert_true(machine_has(machine, "/d/a") && machine_has(machine, "/d/h"));
    assert_int_equal(sim_disk_usage(machine->node).files, 9);
    sim_world_close(machine->world);
}

static void replace_file(struct machine *machine)
{
    machine->file = machine_open(machine, "/new", ENV_FILE_WRITE | ENV_FILE_CREATE);
    assert_int_equal(env_file_write(machine->file, "new", 3, NULL), 0);
    assert_int_equal(env_file_sync(machine->file, NULL), 0);
    assert_int_equal(env_file_close(machine->file, NULL), 0);
    assert_int_equal(env_path_rename(machine->env, "/new", "/f", NULL), 0);
}

static void replace_and_sync(struct machine *machine)
{
    replace_file(machine);
    assert_int_equal(env_path_sync(machine->env, "/", NULL), 0);
}

static void a_rename_happens_whole_or_not_at_all(void **state)
{
    (void)state;
    size_t replaced = 0;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        struct machine *machine = machine_create(seed);
        struct peri_slice old = {"old", 3};
        assert_int_equal(sim_disk_put(machine->node, "/f", old, NULL), 0);
        machine_perform(machine, replace_file);
        machine_assert_content(machine, "/f", "new");
        machine_set_crash(machine, 700000, 0, 0);
        machine_restart(machine);
        struct peri_buffer content = machine_content(machine, "/f");
        bool is_new = memcmp(content.data, "new", 3) == 0;
        assert_true(is_new || memcmp(content.data, "old", 3) == 0);
        assert_false(is_new && machine_has(machine, "/new"));
        replaced += is_new;
        peri_buffer_deinit(&content);
        sim_world_close(machine->world);
    }
    assert_in_range(replaced, SEEDS * 3 / 10, SEEDS * 7 / 10);
}

static void sync_root(void *data)
{
    const struct machine *machine = data;
    assert_int_equal(env_path_sync(machine->env, "/", NULL), 0);
}

static void on_anything(void *data, int status)
{
    (void)data;
    (void)status;
}

/* Another thread's sync of the directory, begun before the rename, is done before the file's. */
static void a_rename_is_not_durable_before_its_file(void **state)
{
    (void)state;
    size_t replaced = 0;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        struct machine *machine = machine_create(seed);
        struct peri_slice old = {"old", 3};
        struct env_fault_value slow = {.delay = {ENV_DELAY_EXPONENTIAL, 0, SECOND, 0}};
        assert_int_equal(sim_disk_put(machine->node, "/f", old, NULL), 0);
        machine_set_crash(machine, 0, 0, 0);
        assert_int_equal(sim_fault_apply(machine->world, ENV_FAULT_DISK_SYNC_DELAY, machine->node,
                                         NULL, &slow, NULL),
                         0);
        machine->job = replace_and_sync;
        assert_int_equal(env_work(machine->env, machine_job, on_anything, machine), 0);
        assert_int_equal(env_work(machine->env, sync_root, on_anything, machine), 0);
        advance(machine->world, sim_world_now_us(machine->world) + SECOND);
        machine_restart(machine);
        struct peri_buffer content = machine_content(machine, "/f");
        bool is_new = content.size == 3 && memcmp(content.data, "new", 3) == 0;
        assert_true(is_new || (content.size == 3 && memcmp(content.data, "old", 3) == 0));
        replaced += is_new;
        peri_buffer_deinit(&content);
        sim_world_close(machine->world);
    }
    assert_in_range(replaced, 1, SEEDS - 1);
}

static void move_between_directories(struct machine *machine)
{
    assert_int_equal(env_path_mkdir(machine->env, "/from", NULL), 0);
    assert_int_equal(env_path_mkdir(machine->env, "/to", NULL), 0);
    machine->file = machine_open(machine, "/from/f", ENV_FILE_WRITE | ENV_FILE_CREATE);
    assert_int_equal(env_file_write(machine->file, "hello", 5, NULL), 0);
    assert_int_equal(env_file_sync(machine->file, NULL), 0);
    assert_int_equal(env_path_rename(machine->env, "/from/f", "/to/f", NULL), 0);
    assert_int_equal(env_path_sync(machine->env, "/to", NULL), 0);
    assert_int_equal(env_path_sync(machine->env, "/", NULL), 0);
}

static void a_move_between_directories_leaves_one_name(void **state)
{
    (void)state;
    struct machine *machine = machine_create(1);
    machine_perform(machine, move_between_directories);
    machine_set_crash(machine, PPM, 0, 0);
    machine_restart(machine);
    machine_assert_content(machine, "/to/f", "hello");
    assert_false(machine_has(machine, "/from/f"));
    sim_world_close(machine->world);
}

static void remove_synced(struct machine *machine)
{
    assert_int_equal(env_path_remove(machine->env, "/f", NULL), 0);
}

static void a_removed_file_may_come_back(void **state)
{
    (void)state;
    struct machine *machine = machine_create(1);
    struct peri_slice old = {"old", 3};
    assert_int_equal(sim_disk_put(machine->node, "/f", old, NULL), 0);
    machine_set_crash(machine, 0, 0, 0);
    machine_perform(machine, remove_synced);
    assert_false(machine_has(machine, "/f"));
    machine_restart(machine);
    machine_assert_content(machine, "/f", "old");
    sim_world_close(machine->world);
}

static void use_paths(struct machine *machine)
{
    struct env *env = machine->env;
    struct env_stat stat;
    struct env_dir *dir = NULL;
    const char *name = NULL;
    enum env_file_type type;
    char *text = NULL;
    assert_int_equal(env_path_mkdir(env, "/a", NULL), 0);
    assert_int_equal(env_path_mkdir(env, "a", NULL), -EEXIST);
    assert_int_equal(env_path_mkdir(env, "/a/../a/./b", NULL), 0);
    assert_int_equal(env_path_mkdir(env, "/x/y", NULL), -ENOENT);
    (void)env_file_close(machine_open(machine, "/a/f", ENV_FILE_WRITE | ENV_FILE_CREATE), NULL);
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
    struct machine *machine = machine_create(1);
    machine_perform(machine, use_paths);
    sim_world_close(machine->world);
}

static void use_files(struct machine *machine)
{
    struct env *env = machine->env;
    struct env_file *file = NULL;
    struct env_file *other = NULL;
    struct env_mapping mapping;
    char bytes[8];
    assert_int_equal(env_file_open(env, "/f", ENV_FILE_READ, &file, NULL), -ENOENT);
    file = machine_open(machine, "/f", ENV_FILE_WRITE | ENV_FILE_CREATE | ENV_FILE_EXCLUSIVE);
    assert_int_equal(env_file_open(env, "/f", ENV_FILE_WRITE | ENV_FILE_CREATE | ENV_FILE_EXCLUSIVE,
                                   &other, NULL),
                     -EEXIST);
    assert_int_equal(env_file_read(file, bytes, sizeof bytes, NULL), -EBADF);
    assert_int_equal(env_file_write(file, "hello", 5, NULL), 0);
    assert_int_equal(env_file_seek(file, ENV_SEEK_CURRENT, -3, NULL), 2);
    assert_int_equal(env_file_write(file, "L", 1, NULL), 0);
    assert_int_equal(env_file_seek(file, ENV_SEEK_START, -1, NULL), PERI_EINVAL);
    assert_int_equal(env_file_lock(file, NULL), 0);
    other = machine_open(machine, "/f", ENV_FILE_READ | ENV_FILE_APPEND);
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
    file = machine_open(machine, "/f", ENV_FILE_WRITE | ENV_FILE_CREATE);
    assert_int_equal(env_file_close(file, NULL), 0);
    assert_int_equal(env_file_read(env_file_stdin(env), bytes, sizeof bytes, NULL), 0);
}

static void make_and_remove(struct machine *machine)
{
    assert_int_equal(env_path_mkdir(machine->env, "/x", NULL), 0);
    assert_int_equal(env_path_remove(machine->env, "/x", NULL), 0);
}

static void files_are_as_posix_has_them(void **state)
{
    (void)state;
    struct machine *machine = machine_create(1);
    machine_perform(machine, use_files);
    assert_int_equal(sim_disk_usage(machine->node).bytes, 6); /* its removal is not durable */
    advance(machine->world, sim_world_now_us(machine->world) + 31 * SECOND);
    machine_perform(machine, make_and_remove);
    assert_int_equal(sim_disk_usage(machine->node).bytes, 0);
    sim_world_close(machine->world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_of_a_directory_survive_in_order),
        cmocka_unit_test(synced_names_survive),
        cmocka_unit_test(a_rename_happens_whole_or_not_at_all),
        cmocka_unit_test(a_rename_is_not_durable_before_its_file),
        cmocka_unit_test(a_move_between_directories_leaves_one_name),
        cmocka_unit_test(a_removed_file_may_come_back),
        cmocka_unit_test(paths_are_as_posix_has_them),
        cmocka_unit_test(files_are_as_posix_has_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
