/* What a simulated process knows about itself, what it cannot have, and its standard files. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "env/env.h"
#include "env/uv.h"
#include "sim/node.h"

enum { SECOND = 1000000 };

static int start_nothing(void *data, struct sim_node *node)
{
    (void)data;
    (void)node;
    return 0;
}

static struct sim_world *new_world(struct sim_node *nodes[2])
{
    struct sim_world *world = NULL;
    struct sim_options options = {.seed = 1};
    struct sim_node_events events = {.on_start = start_nothing};
    assert_int_equal(sim_world_create(&world, &options, NULL), 0);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(
            sim_node_create(world, i == 0 ? "n1" : "n2", &events, world, &nodes[i], NULL), 0);
        assert_int_equal(sim_node_start(nodes[i], NULL), 0);
    }
    (void)sim_world_run(world, 1);
    return world;
}

static void a_process_knows_only_simulated_things(void **state)
{
    (void)state;
    struct sim_node *nodes[2];
    struct sim_world *world = new_world(nodes);
    struct env *env = sim_node_env(nodes[0]);
    char *path = NULL;
    int64_t pid = env_pid(env);
    assert_ptr_equal(sim_node_of(env), nodes[0]);
    assert_ptr_equal(sim_node_data(nodes[0]), world);
    assert_true(env_pid_is_alive(env, pid));
    assert_true(env_pid(sim_node_env(nodes[1])) != pid);
    assert_false(env_pid_is_alive(env, env_pid(sim_node_env(nodes[1]))));
    sim_node_kill(nodes[0]);
    assert_int_equal(sim_node_start(nodes[0], NULL), 0);
    assert_true(env_pid(env) != pid);
    assert_null(env_variable(env, "PATH"));
    assert_null(env_variables(env)[0]);
    assert_int_equal(sim_node_set_variable(nodes[0], "A", "1"), 0);
    assert_int_equal(sim_node_set_variable(nodes[0], "AB", "2"), 0);
    assert_int_equal(sim_node_set_variable(nodes[0], "A", "3"), 0);
    assert_string_equal(env_variable(env, "A"), "3");
    assert_string_equal(env_variable(env, "AB"), "2");
    assert_null(env_variable(env, "B"));
    assert_string_equal(env_variables(env)[0], "A=3");
    assert_null(env_variables(env)[2]);
    assert_null(env_variable(sim_node_env(nodes[1]), "A"));
    assert_int_equal(env_executable(env, &path, NULL), 0);
    assert_string_equal(path, "/usr/bin/perilune");
    free(path);
    assert_int_equal(env_path_cwd(env, &path, NULL), 0);
    assert_string_equal(path, "/");
    free(path);
    assert_int_equal(env_processors(env), 1);
    assert_int_equal(env_terminal_columns(env, 1), 0);
    assert_int_equal(env_max_rss_bytes(env), 0);
    sim_world_close(world);
}

static void on_signal(void *data, int signum)
{
    (void)data;
    (void)signum;
}

static void on_exit_(void *data, const struct env_process_exit *exit)
{
    (void)data;
    (void)exit;
}

static void what_cannot_be_simulated_is_refused(void **state)
{
    (void)state;
    static const char *const argv[] = {"true", NULL};
    static const int signals[] = {SIGTERM};
    struct sim_node *nodes[2];
    struct sim_world *world = new_world(nodes);
    struct env *env = sim_node_env(nodes[0]);
    struct peri_error err = PERI_ERROR_INIT;
    struct env_signal *watch = NULL;
    struct env_stream *stream = NULL;
    struct env_stream *streams[3];
    struct env_process *process = NULL;
    struct env_process_options options = {.argv = argv};
    assert_int_equal(env_signal_watch(env, SIGTERM, on_signal, NULL, &watch),
                     PERI_ENONDETERMINISTIC);
    assert_int_equal(env_signal_guard(env, signals, 1, SECOND), PERI_ENONDETERMINISTIC);
    assert_int_equal(env_stream_standard(env, 0, &stream, &err), PERI_ENONDETERMINISTIC);
    assert_non_null(strstr(err.text, "descriptor 0"));
    peri_error_clear(&err);
    assert_int_equal(env_process_spawn(env, &options, on_exit_, NULL, streams, &process, &err),
                     PERI_ENONDETERMINISTIC);
    assert_non_null(strstr(err.text, "cannot start true"));
    sim_world_close(world);
}

static void standard_files_are_no_files(void **state)
{
    (void)state;
    struct sim_node *nodes[2];
    struct sim_world *world = new_world(nodes);
    struct env *env = sim_node_env(nodes[0]);
    struct env_file *out = env_file_stdout(env);
    struct env_stat stat;
    struct env_mapping mapping;
    char byte;
    uint64_t hash = sim_world_hash(world);
    assert_int_equal(env_file_write(out, "x", 1, NULL), 0); /* nobody listens: that is fine */
    assert_true(sim_world_hash(world) != hash);
    assert_int_equal(env_file_pwrite(out, "x", 1, 0, NULL), -ESPIPE);
    assert_int_equal(env_file_pread(out, &byte, 1, 0, NULL), -ESPIPE);
    assert_int_equal(env_file_seek(out, ENV_SEEK_END, 0, NULL), -ESPIPE);
    assert_int_equal(env_file_sync(out, NULL), PERI_EINVAL);
    assert_int_equal(env_file_lock(out, NULL), PERI_EINVAL);
    assert_int_equal(env_file_map(out, &mapping, NULL), -ENODEV);
    assert_int_equal(env_file_stat(out, &stat, NULL), 0);
    assert_int_equal(stat.type, ENV_TYPE_OTHER);
    assert_false(env_file_is_terminal(out));
    assert_int_equal(env_file_close(out, NULL), 0);
    assert_int_equal(env_file_write(out, "x", 1, NULL), 0);
    sim_world_close(world);
}

/* ---- a node's loop is the world's ---- */

static void on_timer(void *data)
{
    env_stop(data);
}

static void the_loop_of_a_node_runs_the_world(void **state)
{
    (void)state;
    struct sim_node *nodes[2];
    struct sim_world *world = new_world(nodes);
    struct env *env = sim_node_env(nodes[0]);
    struct env_timer *timer = NULL;
    uint64_t cpu_us = env_cpu_us(env);
    assert_int_equal(env_timer_create(env, on_timer, env, &timer), 0);
    env_timer_start(timer, 5 * SECOND);
    env_run(env);
    assert_int_equal(sim_world_now_us(world), 5 * SECOND);
    assert_int_equal(env_cpu_us(env), cpu_us + 1);
    env_timer_close(timer);
    env_close(env);
    assert_int_equal(sim_node_state(nodes[0]), SIM_NODE_DOWN);
    sim_world_close(world);
}

/* ---- C code that never returns ---- */

static int start_spinning(void *data, struct sim_node *node)
{
    volatile bool is_spinning = true;
    (void)data;
    (void)node;
    while (is_spinning)
        continue;
    return 0;
}

static int spin(void *data, struct env_file *out)
{
    struct sim_world *world = NULL;
    struct sim_node *node = NULL;
    struct sim_node_events events = {.on_start = start_spinning};
    struct sim_options options = {.host = data, .watchdog_us = 20000};
    (void)out;
    if (sim_world_create(&world, &options, NULL) == 0 &&
        sim_node_create(world, "n1", &events, NULL, &node, NULL) == 0 &&
        sim_node_start(node, NULL) == 0)
        (void)sim_world_run(world, UINT64_MAX);
    return EXIT_SUCCESS;
}

static void c_code_that_never_returns_aborts(void **state)
{
    (void)state;
    struct env *host = NULL;
    struct peri_buffer output = {0};
    struct env_process_exit exit = {0};
    assert_int_equal(env_uv_create(&host, NULL), 0);
    struct env_copy copy = {.body = spin, .data = host, .limit_us = 30 * SECOND};
    assert_int_equal(env_copy_run(host, &copy, &output, &exit, NULL), 0);
    assert_int_equal(exit.signal, SIGABRT);
    peri_buffer_deinit(&output);
    env_close(host);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_process_knows_only_simulated_things),
        cmocka_unit_test(what_cannot_be_simulated_is_refused),
        cmocka_unit_test(standard_files_are_no_files),
        cmocka_unit_test(the_loop_of_a_node_runs_the_world),
        cmocka_unit_test(c_code_that_never_returns_aborts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
