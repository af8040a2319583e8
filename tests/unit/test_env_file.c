/* Files, paths and the log of the libuv environment. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "alloc.h"
#include "env/log.h"
#include "env/uv.h"

struct place {
    struct env *env;
    char *dir;
    char path[512]; /* of "file" in dir */
};

static int set_up(void **state)
{
    struct place *place = calloc(1, sizeof *place);
    assert_non_null(place);
    assert_int_equal(env_uv_create(&place->env, NULL), 0);
    assert_int_equal(env_path_tempdir(place->env, "/tmp/perilune-test-", &place->dir, NULL), 0);
    (void)snprintf(place->path, sizeof place->path, "%s/file", place->dir);
    *state = place;
    return 0;
}

static int tear_down(void **state)
{
    struct place *place = *state;
    (void)env_path_remove(place->env, place->path, NULL);
    assert_int_equal(env_path_remove(place->env, place->dir, NULL), 0);
    free(place->dir);
    env_close(place->env);
    free(place);
    return 0;
}

static struct env_file *open_file(struct place *place, int flags)
{
    struct env_file *file = NULL;
    assert_int_equal(env_file_open(place->env, place->path, flags, &file, NULL), 0);
    return file;
}

static void write_file(struct place *place, const char *text)
{
    struct env_file *file = open_file(place, ENV_FILE_WRITE | ENV_FILE_CREATE | ENV_FILE_TRUNCATE);
    assert_int_equal(env_file_write(file, text, strlen(text), NULL), 0);
    assert_int_equal(env_file_close(file, NULL), 0);
}

static void bytes_come_back(void **state)
{
    struct place *place = *state;
    char bytes[16] = {0};
    struct env_stat stat;
    struct env_file *file =
        open_file(place, ENV_FILE_READ | ENV_FILE_WRITE | ENV_FILE_CREATE | ENV_FILE_EXCLUSIVE);
    assert_int_equal(env_file_write(file, "hello world", 11, NULL), 0);
    assert_int_equal(env_file_pwrite(file, "W", 1, 6, NULL), 0);
    env_file_sync_start(file, 0, 11);
    assert_int_equal(env_file_sync(file, NULL), 0);
    assert_int_equal(env_file_read(file, bytes, sizeof bytes, NULL), 0); /* at the end */
    assert_int_equal(env_file_seek(file, ENV_SEEK_START, 4, NULL), 4);
    assert_int_equal(env_file_read(file, bytes, 3, NULL), 3);
    assert_memory_equal(bytes, "o W", 3);
    assert_int_equal(env_file_pread(file, bytes, sizeof bytes, 0, NULL), 11);
    assert_memory_equal(bytes, "hello World", 11);
    assert_int_equal(env_file_stat(file, &stat, NULL), 0);
    assert_int_equal(stat.type, ENV_TYPE_FILE);
    assert_int_equal(stat.size_bytes, 11);
    assert_false(env_file_is_terminal(file));
    assert_int_equal(env_file_close(file, NULL), 0);
    file = open_file(place, ENV_FILE_APPEND);
    assert_int_equal(env_file_write(file, "!", 1, NULL), 0);
    assert_int_equal(env_file_close(file, NULL), 0);
    assert_int_equal(env_path_stat(place->env, place->path, &stat, NULL), 0);
    assert_int_equal(stat.size_bytes, 12);
}

static void failures_name_path_and_reason(void **state)
{
    struct place *place = *state;
    struct peri_error err = PERI_ERROR_INIT;
    struct env_file *file = NULL;
    char *text = NULL;
    struct env_dir *dir = NULL;
    struct env_stat stat;
    assert_int_equal(env_file_open(place->env, place->path, ENV_FILE_READ, &file, &err), -ENOENT);
    assert_null(file);
    assert_non_null(strstr(err.text, place->path));
    assert_non_null(strstr(err.text, "No such file"));
    assert_int_equal(env_path_stat(place->env, place->path, &stat, &err), -ENOENT);
    assert_int_equal(env_path_lstat(place->env, place->path, &stat, &err), -ENOENT);
    assert_int_equal(env_path_remove(place->env, place->path, &err), -ENOENT);
    assert_int_equal(env_path_rename(place->env, place->path, "x", &err), -ENOENT);
    assert_int_equal(env_path_real(place->env, place->path, &text, &err), -ENOENT);
    assert_int_equal(env_path_sync(place->env, place->path, &err), -ENOENT);
    assert_int_equal(env_path_mkdir(place->env, place->dir, &err), -EEXIST);
    assert_int_equal(env_path_tempdir(place->env, "/no/such/", &text, &err), -ENOENT);
    assert_int_equal(env_dir_open(place->env, place->path, &dir, &err), -ENOENT);
    assert_null(text);
    write_file(place, "");
    assert_int_equal(
        env_file_open(place->env, place->path, ENV_FILE_WRITE | ENV_FILE_EXCLUSIVE, &file, &err),
        -EEXIST);
    assert_int_equal(env_dir_open(place->env, place->path, &dir, &err), -ENOTDIR);
    assert_int_equal(env_file_open(place->env, place->dir, ENV_FILE_WRITE, &file, &err), -EISDIR);
    assert_int_equal(env_file_close(NULL, NULL), 0);
}

static void access_is_refused(void **state)
{
    struct place *place = *state;
    struct env_file *file = NULL;
    if (geteuid() == 0) {
        print_message("root may read everything: skipped\n");
        skip();
    }
    write_file(place, "secret");
    assert_int_equal(chmod(place->path, 0), 0);
    assert_int_equal(env_file_open(place->env, place->path, ENV_FILE_READ, &file, NULL), -EACCES);
}

static void full_disk_is_an_error(void **state)
{
    struct place *place = *state;
    struct env_file *file = NULL;
    struct peri_error err = PERI_ERROR_INIT;
    assert_int_equal(env_file_open(place->env, "/dev/full", ENV_FILE_WRITE, &file, NULL), 0);
    assert_int_equal(env_file_write(file, "x", 1, &err), -ENOSPC);
    assert_non_null(strstr(err.text, "/dev/full"));
    assert_int_equal(env_file_pwrite(file, "x", 1, 0, &err), -ENOSPC);
    assert_int_equal(env_file_close(file, NULL), 0);
}

static void mapping_outlives_the_file(void **state)
{
    struct place *place = *state;
    struct env_mapping mapping;
    write_file(place, "mapped");
    struct env_file *file = open_file(place, ENV_FILE_READ);
    assert_int_equal(env_file_map(file, &mapping, NULL), 0);
    assert_int_equal(env_file_close(file, NULL), 0);
    assert_int_equal(mapping.size, 6);
    assert_memory_equal(mapping.data, "mapped", 6);
    env_file_unmap(place->env, &mapping);
    env_file_unmap(place->env, &mapping); /* again: nothing */
    write_file(place, "");
    file = open_file(place, ENV_FILE_READ);
    assert_int_equal(env_file_map(file, &mapping, NULL), 0);
    assert_null(mapping.data);
    assert_int_equal(mapping.size, 0);
    env_file_unmap(place->env, &mapping);
    assert_int_equal(env_file_close(file, NULL), 0);
    assert_int_equal(env_file_open(place->env, "/dev/null", ENV_FILE_READ, &file, NULL), 0);
    assert_int_equal(env_file_map(file, &mapping, NULL), -ENODEV);
    assert_int_equal(env_file_close(file, NULL), 0);
}

/* ---- locks ---- */

_Noreturn static void hold_lock(struct place *place, int ready_fd)
{
    struct env_file *file = NULL;
    int rc = env_file_open(place->env, place->path, ENV_FILE_WRITE | ENV_FILE_CREATE, &file, NULL);
    char ok = rc == 0 && env_file_lock(file, NULL) == 0;
    (void)!write(ready_fd, &ok, 1);
    for (;;)
        (void)pause();
}

static void lock_of_another_process_holds_until_it_dies(void **state)
{
    struct place *place = *state;
    struct peri_error err = PERI_ERROR_INIT;
    int ready[2];
    char ok = 0;
    assert_int_equal(pipe(ready), 0);
    pid_t holder = fork();
    if (holder == 0)
        hold_lock(place, ready[1]);
    assert_int_equal(read(ready[0], &ok, 1), 1);
    assert_true(ok);
    struct env_file *file = open_file(place, ENV_FILE_WRITE);
    assert_int_equal(env_file_lock(file, &err), PERI_EBUSY);
    assert_non_null(strstr(err.text, "somebody else holds it"));
    assert_int_equal(kill(holder, SIGKILL), 0);
    assert_int_equal(waitpid(holder, NULL, 0), holder);
    assert_int_equal(env_file_lock(file, NULL), 0);
    struct env_file *second = open_file(place, ENV_FILE_WRITE);
    assert_int_equal(env_file_lock(second, NULL), PERI_EBUSY); /* in this process as well */
    assert_int_equal(env_file_close(second, NULL), 0);
    assert_int_equal(env_file_close(file, NULL), 0);
    (void)close(ready[0]);
    (void)close(ready[1]);
}

/* ---- interruptions and shared pipes ---- */

static void on_alarm(int signum)
{
    (void)signum;
}

/* A read that a signal interrupts, of a pipe that somebody made non-blocking, still blocks until
 * there are bytes. */
static void reading_survives_signals_and_nonblocking_pipes(void **state)
{
    struct place *place = *state;
    int fds[2];
    char bytes[8];
    int saved = dup(STDIN_FILENO);
    struct sigaction action = {.sa_handler = on_alarm};
    struct sigaction before;
    assert_int_equal(pipe(fds), 0);
    assert_int_equal(fcntl(fds[0], F_SETFL, O_NONBLOCK), 0);
    assert_int_equal(dup2(fds[0], STDIN_FILENO), STDIN_FILENO);
    assert_int_equal(sigaction(SIGUSR1, &action, &before), 0); /* no SA_RESTART */
    pid_t parent = getpid();
    pid_t helper = fork();
    if (helper == 0) {
        for (int i = 0; i < 5; i++) {
            (void)usleep(10000);
            (void)kill(parent, SIGUSR1);
        }
        (void)!write(fds[1], "bytes", 5);
        _exit(0);
    }
    int64_t got = env_file_read(env_file_stdin(place->env), bytes, sizeof bytes, NULL);
    assert_int_equal(dup2(saved, STDIN_FILENO), STDIN_FILENO);
    (void)close(saved);
    assert_int_equal(got, 5);
    assert_int_equal(waitpid(helper, NULL, 0), helper);
    assert_int_equal(sigaction(SIGUSR1, &before, NULL), 0);
    (void)close(fds[0]);
    (void)close(fds[1]);
}

/* Nobody writes: to open it, or to read it, would take for ever. */
static void pipes_are_no_files(void **state)
{
    struct place *place = *state;
    struct env_file *file = NULL;
    struct peri_error err = PERI_ERROR_INIT;
    int fds[2];
    char path[64];
    assert_int_equal(pipe(fds), 0);
    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", fds[0]);
    assert_int_equal(env_file_open(place->env, path, ENV_FILE_READ, &file, &err), -ESPIPE);
    assert_non_null(strstr(err.text, "it is a pipe"));
    (void)close(fds[0]);
    (void)close(fds[1]);
}

static void standard_files_are_lent(void **state)
{
    struct place *place = *state;
    int fds[2];
    int saved = dup(STDOUT_FILENO);
    char bytes[8];
    assert_int_equal(pipe(fds), 0);
    assert_int_equal(fcntl(fds[1], F_SETFL, O_NONBLOCK), 0); /* a full pipe must not lose bytes */
    (void)fflush(stdout);
    assert_int_equal(dup2(fds[1], STDOUT_FILENO), STDOUT_FILENO);
    int rc = env_file_write(env_file_stdout(place->env), "out", 3, NULL);
    int closed = env_file_close(env_file_stdout(place->env), NULL);
    int again = env_file_write(env_file_stdout(place->env), "put", 3, NULL);
    assert_int_equal(dup2(saved, STDOUT_FILENO), STDOUT_FILENO);
    assert_int_equal(rc, 0);
    assert_int_equal(closed, 0);
    assert_int_equal(again, 0);
    assert_int_equal(read(fds[0], bytes, sizeof bytes), 6);
    assert_memory_equal(bytes, "output", 6);
    assert_int_equal(env_file_read(env_file_stdin(place->env), bytes, 0, NULL), 0);
    (void)close(saved);
    (void)close(fds[0]);
    (void)close(fds[1]);
}

/* ---- paths ---- */

static void directories_list_their_entries(void **state)
{
    struct place *place = *state;
    struct env_dir *dir = NULL;
    const char *name = NULL;
    enum env_file_type type;
    char sub[600];
    write_file(place, "x");
    (void)snprintf(sub, sizeof sub, "%s/sub", place->dir);
    assert_int_equal(env_path_mkdir(place->env, sub, NULL), 0);
    assert_int_equal(env_path_sync(place->env, place->dir, NULL), 0);
    assert_int_equal(env_dir_open(place->env, place->dir, &dir, NULL), 0);
    int files = 0;
    int directories = 0;
    int rc;
    while ((rc = env_dir_next(dir, &name, &type, NULL)) == 1) {
        files += type == ENV_TYPE_FILE && strcmp(name, "file") == 0;
        directories += type == ENV_TYPE_DIRECTORY && strcmp(name, "sub") == 0;
    }
    assert_int_equal(rc, 0);
    assert_int_equal(files, 1);
    assert_int_equal(directories, 1);
    env_dir_close(dir);
    env_dir_close(NULL);
    assert_int_equal(env_path_remove(place->env, sub, NULL), 0);
}

static void paths_are_resolved(void **state)
{
    struct place *place = *state;
    char dotted[600];
    char *real = NULL;
    char *cwd = NULL;
    char *program = NULL;
    write_file(place, "");
    (void)snprintf(dotted, sizeof dotted, "%s/./../%s/file", place->dir,
                   strrchr(place->dir, '/') + 1);
    assert_int_equal(env_path_real(place->env, dotted, &real, NULL), 0);
    assert_string_equal(real, place->path);
    assert_int_equal(env_path_cwd(place->env, &cwd, NULL), 0);
    assert_int_equal(cwd[0], '/');
    assert_int_equal(env_executable(place->env, &program, NULL), 0);
    assert_non_null(strstr(program, "test_env_file"));
    free(real);
    free(cwd);
    free(program);
}

static void peak_memory_outlasts_its_use(void **state)
{
    enum { SIZE = 64 << 20 };
    struct place *place = *state;
    char *bytes =
        mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    assert_ptr_not_equal(bytes, MAP_FAILED);
    assert_int_equal(munmap(bytes, SIZE), 0);
    assert_true(env_max_rss_bytes(place->env) > SIZE);
}

static void process_knows_itself(void **state)
{
    struct place *place = *state;
    assert_int_equal(env_pid(place->env), getpid());
    assert_true(env_pid_is_alive(place->env, getpid()));
    assert_false(env_pid_is_alive(place->env, 0));
    assert_false(env_pid_is_alive(place->env, -1));
    assert_true(env_processors(place->env) >= 1);
    assert_non_null(env_variable(place->env, "PATH"));
    assert_null(env_variable(place->env, "PERILUNE_NO_SUCH_VARIABLE"));
    assert_non_null(env_variables(place->env)[0]);
    int null = open("/dev/null", O_RDONLY);
    assert_int_equal(env_terminal_columns(place->env, null), 0);
    (void)close(null);
}

/* ---- allocation failures ---- */

static int open_and_close(struct place *place)
{
    struct env_file *file = NULL;
    struct peri_error err = PERI_ERROR_INIT;
    int rc = env_file_open(place->env, place->path, ENV_FILE_READ, &file, &err);
    return rc != 0 ? rc : env_file_close(file, &err);
}

static int walk_and_close(struct place *place)
{
    struct env_dir *dir = NULL;
    int rc = env_dir_open(place->env, place->dir, &dir, NULL);
    env_dir_close(dir);
    return rc;
}

static int create_and_close(struct place *place)
{
    struct env *env = NULL;
    (void)place;
    int rc = env_uv_create(&env, NULL);
    env_close(env);
    return rc;
}

static void on_nothing(void *data)
{
    (void)data;
}

static void on_nothing_done(void *data, int status)
{
    (void)data;
    (void)status;
}

static int create_handles(struct place *place)
{
    struct env_timer *timer = NULL;
    struct env_turn *turn = NULL;
    struct env_ticker *ticker = NULL;
    int rc = env_timer_create(place->env, on_nothing, NULL, &timer);
    if (rc == 0)
        rc = env_turn_create(place->env, on_nothing, NULL, &turn);
    if (rc == 0)
        rc = env_ticker_create(place->env, 1000, on_nothing, NULL, &ticker);
    if (rc == 0)
        rc = env_work(place->env, on_nothing, on_nothing_done, NULL);
    env_timer_close(timer);
    env_turn_close(turn);
    env_ticker_close(ticker);
    env_run(place->env);
    return rc;
}

static void on_exit_(void *data, const struct env_process_exit *exit)
{
    (void)exit;
    (*(int *)data)++;
}

static int spawn_and_close(struct place *place)
{
    const char *const argv[] = {"cat", NULL};
    struct env_process_options options = {
        .argv = argv, .stdio = {ENV_STDIO_PIPE, ENV_STDIO_PIPE, ENV_STDIO_PIPE}};
    struct env_stream *streams[3] = {NULL, NULL, NULL};
    struct env_process *process = NULL;
    int exits = 0;
    int rc = env_process_spawn(place->env, &options, on_exit_, &exits, streams, &process, NULL);
    if (rc == 0)
        rc = env_stream_write(streams[0], "x", 1, on_nothing_done, NULL);
    for (int i = 0; i < 3; i++)
        env_stream_close(streams[i]);
    env_process_close(process);
    env_run(place->env);
    return rc;
}

/* Whatever allocation fails, the call says so and leaks nothing (ASan looks). */
static void every_allocation_may_fail(void **state)
{
    enum { ALLOCATIONS_MAX = 100 };
    static int (*const calls[])(struct place * place) = {
        open_and_close, walk_and_close, create_and_close, create_handles, spawn_and_close};
    struct place *place = *state;
    write_file(place, "x");
    for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++) {
        long n = 1;
        for (; n < ALLOCATIONS_MAX; n++) {
            test_alloc_fail(n);
            int rc = calls[i](place);
            if (!test_alloc_end()) {
                assert_int_equal(rc, 0);
                break;
            }
            assert_int_equal(rc, PERI_ENOMEM);
        }
        assert_in_range(n, 2, ALLOCATIONS_MAX - 1); /* some failed, then all was well */
    }
}

/* ---- log ---- */

static void log_writes_one_line_a_call(void **state)
{
    struct place *place = *state;
    int fds[2];
    char bytes[512] = {0};
    int saved = dup(STDERR_FILENO);
    assert_int_equal(pipe(fds), 0);
    assert_int_equal(dup2(fds[1], STDERR_FILENO), STDERR_FILENO);
    env_log(place->env, ENV_LOG_DEBUG, "test", "dropped");
    env_log(place->env, ENV_LOG_WARN, "test", "%d\nlines", 2);
    assert_int_equal(dup2(saved, STDERR_FILENO), STDERR_FILENO);
    assert_true(read(fds[0], bytes, sizeof bytes - 1) > 0);
    assert_memory_equal(bytes, "time=20", 7);
    assert_string_equal(strstr(bytes, " level="), " level=warn component=test msg=\"2\\nlines\"\n");
    assert_int_equal(env_log_level_from_name("error"), ENV_LOG_ERROR);
    assert_int_equal(env_log_level_from_name("loud"), PERI_EINVAL);
    env_log_set_level(place->env, ENV_LOG_ERROR);
    assert_int_equal(env_log_level(place->env), ENV_LOG_ERROR);
    assert_false(env_log_is_on(place->env, ENV_LOG_WARN));
    (void)close(saved);
    (void)close(fds[0]);
    (void)close(fds[1]);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(bytes_come_back),
        TEST(failures_name_path_and_reason),
        TEST(access_is_refused),
        TEST(full_disk_is_an_error),
        TEST(mapping_outlives_the_file),
        TEST(lock_of_another_process_holds_until_it_dies),
        TEST(reading_survives_signals_and_nonblocking_pipes),
        TEST(pipes_are_no_files),
        TEST(standard_files_are_lent),
        TEST(directories_list_their_entries),
        TEST(paths_are_resolved),
        TEST(peak_memory_outlasts_its_use),
        TEST(process_knows_itself),
        TEST(every_allocation_may_fail),
        TEST(log_writes_one_line_a_call),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
