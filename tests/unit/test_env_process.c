/* Child processes and the streams of their pipes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "env/uv.h"

enum { OUTPUT_MAX = 4096 };

struct child {
    struct env *env;
    struct env_process *process;
    struct env_stream *streams[3];
    struct env_process_exit exit;
    int exits;
    char output[OUTPUT_MAX];
    size_t output_size;
    int64_t output_total;
    int ends;
    int written;
    int write_status;
};

static struct env *create_env(void)
{
    struct env *env = NULL;
    assert_int_equal(env_uv_create(&env, NULL), 0);
    return env;
}

static void on_exit_(void *data, const struct env_process_exit *exit)
{
    struct child *child = data;
    child->exits++;
    child->exit = *exit;
}

static void on_read(void *data, const char *bytes, int64_t size)
{
    struct child *child = data;
    if (size <= 0) {
        child->ends++;
        return;
    }
    child->output_total += size;
    size_t room = OUTPUT_MAX - child->output_size;
    size_t take = (size_t)size < room ? (size_t)size : room;
    memcpy(child->output + child->output_size, bytes, take);
    child->output_size += take;
}

static void on_written(void *data, int status)
{
    struct child *child = data;
    child->written++;
    child->write_status = status;
}

static int spawn(struct child *child, const char *const *argv, enum env_stdio in,
                 enum env_stdio out, struct peri_error *err)
{
    struct env_process_options options = {.argv = argv, .stdio = {in, out, ENV_STDIO_INHERIT}};
    return env_process_spawn(child->env, &options, on_exit_, child, child->streams, &child->process,
                             err);
}

static void close_child(struct child *child)
{
    for (int i = 0; i < 3; i++)
        env_stream_close(child->streams[i]);
    env_process_close(child->process);
    env_close(child->env);
}

static void status_and_usage_are_reported(void **state)
{
    (void)state;
    struct child child = {.env = create_env()};
    const char *const argv[] = {"sh", "-c",
                                "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; exit 7", NULL};
    assert_int_equal(spawn(&child, argv, ENV_STDIO_NULL, ENV_STDIO_NULL, NULL), 0);
    assert_true(env_process_pid(child.process) > 1);
    assert_true(env_pid_is_alive(child.env, env_process_pid(child.process)));
    assert_int_equal(child.exits, 0);
    env_run(child.env);
    assert_int_equal(child.exits, 1);
    assert_int_equal(child.exit.status, 7);
    assert_int_equal(child.exit.signal, 0);
    assert_true(child.exit.cpu_us > 0);
    assert_true(child.exit.max_rss_bytes > 100000);
    assert_int_equal(env_process_kill(child.process, SIGTERM), -ESRCH);
    close_child(&child);
}

static void bytes_go_through_a_child_and_back(void **state)
{
    (void)state;
    struct child child = {.env = create_env()};
    const char *const argv[] = {"cat", NULL};
    assert_int_equal(spawn(&child, argv, ENV_STDIO_PIPE, ENV_STDIO_PIPE, NULL), 0);
    assert_non_null(child.streams[0]);
    assert_non_null(child.streams[1]);
    assert_null(child.streams[2]);
    assert_int_equal(env_stream_write(child.streams[0], "one\n", 4, on_written, &child), 0);
    assert_int_equal(env_stream_write(child.streams[0], "", 0, on_written, &child), 0);
    assert_int_equal(env_stream_write(child.streams[0], "two\n", 4, on_written, &child), 0);
    assert_int_equal(child.written, 0); /* never from inside the call */
    env_stream_shutdown(child.streams[0]);
    assert_int_equal(env_stream_write(child.streams[0], "x", 1, on_written, &child), PERI_ECLOSED);
    assert_int_equal(env_stream_read_start(child.streams[1], on_read, &child), 0);
    env_run(child.env);
    assert_int_equal(child.written, 3);
    assert_int_equal(child.write_status, 0);
    assert_int_equal(child.ends, 1);
    assert_int_equal(child.output_size, 8);
    assert_memory_equal(child.output, "one\ntwo\n", 8);
    assert_int_equal(child.exit.status, 0);
    assert_int_equal(env_stream_read_start(child.streams[1], on_read, &child), PERI_ECLOSED);
    close_child(&child);
}

static void on_stop(void *data)
{
    env_stop(data);
}

static void run_for(struct env *env, uint64_t us)
{
    struct env_timer *timer = NULL;
    assert_int_equal(env_timer_create(env, on_stop, env, &timer), 0);
    env_timer_start(timer, us);
    env_run(env);
    env_timer_close(timer);
}

/* The reader stops: the pipe fills, then the child waits instead of our memory growing. */
static void stopped_reader_stops_the_child(void **state)
{
    (void)state;
    struct child child = {.env = create_env()};
    const char *const argv[] = {"head", "-c", "3000000", "/dev/zero", NULL};
    assert_int_equal(spawn(&child, argv, ENV_STDIO_NULL, ENV_STDIO_PIPE, NULL), 0);
    run_for(child.env, 100000);
    assert_int_equal(child.exits, 0);
    assert_int_equal(child.output_total, 0);
    assert_int_equal(env_stream_read_start(child.streams[1], on_read, &child), 0);
    env_run(child.env);
    assert_int_equal(child.output_total, 3000000);
    assert_int_equal(child.exits, 1);
    close_child(&child);
}

static void full_queue_pushes_back(void **state)
{
    (void)state;
    enum { PIECE = 4 << 20 };
    struct child child = {.env = create_env()};
    const char *const argv[] = {"sleep", "100", NULL};
    char *piece = calloc(1, PIECE);
    assert_non_null(piece);
    assert_int_equal(spawn(&child, argv, ENV_STDIO_PIPE, ENV_STDIO_NULL, NULL), 0);
    int accepted = 0;
    int rc;
    while ((rc = env_stream_write(child.streams[0], piece, PIECE, on_written, &child)) == 0)
        accepted++;
    assert_int_equal(rc, PERI_EBUSY);
    assert_int_equal(accepted, 5);
    free(piece);
    close_child(&child);
    assert_int_equal(child.written, accepted);
    assert_int_equal(child.write_status, PERI_ECANCELLED);
    assert_int_equal(child.exits, 0); /* closed before: its callback is gone with it */
}

static void writing_to_a_dead_child_is_an_error_not_a_signal(void **state)
{
    (void)state;
    struct child child = {.env = create_env()};
    const char *const argv[] = {"true", NULL};
    assert_int_equal(spawn(&child, argv, ENV_STDIO_PIPE, ENV_STDIO_NULL, NULL), 0);
    env_run(child.env);
    assert_int_equal(env_stream_write(child.streams[0], "x", 1, on_written, &child), 0);
    env_run(child.env);
    assert_int_equal(child.write_status, -EPIPE);
    close_child(&child);
}

static void kill_is_reported_as_signal(void **state)
{
    (void)state;
    struct child child = {.env = create_env()};
    const char *const argv[] = {"sleep", "100", NULL};
    assert_int_equal(spawn(&child, argv, ENV_STDIO_NULL, ENV_STDIO_NULL, NULL), 0);
    assert_int_equal(env_process_kill(child.process, SIGTERM), 0);
    env_run(child.env);
    assert_int_equal(child.exit.signal, SIGTERM);
    assert_int_equal(child.exit.status, 0);
    close_child(&child);
}

static void close_kills_and_reaps(void **state)
{
    (void)state;
    struct child child = {.env = create_env()};
    const char *const argv[] = {"sleep", "100", NULL};
    assert_int_equal(spawn(&child, argv, ENV_STDIO_NULL, ENV_STDIO_NULL, NULL), 0);
    int64_t pid = env_process_pid(child.process);
    env_close(child.env); /* without closing the child first */
    assert_int_equal(child.exits, 0);
    assert_int_equal(kill((pid_t)pid, 0), -1);
    assert_int_equal(waitpid((pid_t)pid, NULL, WNOHANG), -1); /* no zombie is left */
    env_process_close(NULL);
}

static void failures_to_start_say_what_and_why(void **state)
{
    (void)state;
    struct child child = {.env = create_env()};
    struct peri_error err = PERI_ERROR_INIT;
    const char *const missing[] = {"perilune-no-such-program", NULL};
    assert_int_equal(spawn(&child, missing, ENV_STDIO_PIPE, ENV_STDIO_PIPE, &err), -ENOENT);
    assert_non_null(strstr(err.text, "perilune-no-such-program"));
    const char *const directory[] = {"/", NULL};
    assert_int_equal(spawn(&child, directory, ENV_STDIO_PIPE, ENV_STDIO_PIPE, &err), -EACCES);
    const char *const argv[] = {"true", NULL};
    struct env_process_options options = {.argv = argv, .cwd = "/no/such/directory"};
    assert_int_equal(env_process_spawn(child.env, &options, on_exit_, &child, child.streams,
                                       &child.process, &err),
                     -ENOENT);
    assert_non_null(strstr(err.text, "/no/such/directory"));
    assert_null(child.process);
    assert_null(child.streams[0]);
    env_run(child.env); /* returns: nothing is left */
    assert_int_equal(child.exits, 0);
    env_close(child.env);
}

static void environment_and_directory_reach_the_child(void **state)
{
    (void)state;
    struct child child = {.env = create_env()};
    const char *const argv[] = {"sh", "-c", "echo \"$PERI_TEST $HOME.\"; pwd", NULL};
    const char *const envp[] = {"PERI_TEST=moon", NULL};
    struct env_process_options options = {
        .argv = argv,
        .envp = envp,
        .cwd = "/",
        .stdio = {ENV_STDIO_NULL, ENV_STDIO_PIPE, ENV_STDIO_INHERIT}};
    assert_int_equal(env_process_spawn(child.env, &options, on_exit_, &child, child.streams,
                                       &child.process, NULL),
                     0);
    assert_int_equal(env_stream_read_start(child.streams[1], on_read, &child), 0);
    env_run(child.env);
    assert_int_equal(child.output_size, 9);
    assert_memory_equal(child.output, "moon .\n/\n", 9);
    close_child(&child);
}

/* What the child inherits: no descriptor beyond 0, 1 and 2, no blocked and no ignored signal. */
static void child_inherits_nothing_by_accident(void **state)
{
    (void)state;
    struct child child = {.env = create_env()};
    int leaky = open("/dev/null", O_RDONLY); /* as foreign code opens: without O_CLOEXEC */
    sigset_t blocked;
    (void)sigemptyset(&blocked);
    (void)sigaddset(&blocked, SIGUSR1);
    (void)pthread_sigmask(SIG_BLOCK, &blocked, NULL);
    const char *const argv[] = {"sh", "-c",
                                "ls -m /proc/$$/fd;" /* not into a pipe, which would be one more */
                                "grep -E 'SigBlk|SigIgn' /proc/$$/status | tr '\\t\\n' '  '",
                                NULL};
    assert_int_equal(spawn(&child, argv, ENV_STDIO_NULL, ENV_STDIO_PIPE, NULL), 0);
    assert_int_equal(env_stream_read_start(child.streams[1], on_read, &child), 0);
    env_run(child.env);
    child.output[child.output_size] = '\0';
    assert_string_equal(child.output,
                        "0, 1, 2\nSigBlk: 0000000000000000 SigIgn: 0000000000000000 ");
    (void)pthread_sigmask(SIG_UNBLOCK, &blocked, NULL);
    (void)close(leaky);
    close_child(&child);
}

/* ---- dies_with_parent ---- */

/* Runs in a process of its own: starts a child that would sleep on, tells its pid, and waits. */
_Noreturn static void be_the_parent(int report_fd)
{
    struct child child = {.env = create_env()};
    const char *const argv[] = {"sleep", "100", NULL};
    struct env_process_options options = {.argv = argv, .dies_with_parent = true};
    int rc = env_process_spawn(child.env, &options, on_exit_, &child, child.streams, &child.process,
                               NULL);
    int64_t pid = rc == 0 ? env_process_pid(child.process) : rc;
    (void)!write(report_fd, &pid, sizeof pid);
    for (;;)
        (void)pause();
}

static bool ends_within(struct env *env, int64_t pid, int tenths)
{
    while (env_pid_is_alive(env, pid) && tenths-- > 0)
        run_for(env, 100000);
    return !env_pid_is_alive(env, pid);
}

static void child_dies_with_a_killed_parent(void **state)
{
    (void)state;
    int report_fds[2];
    int64_t pid = 0;
    assert_int_equal(pipe(report_fds), 0);
    pid_t parent = fork();
    if (parent == 0)
        be_the_parent(report_fds[1]);
    assert_int_equal(read(report_fds[0], &pid, sizeof pid), sizeof pid);
    assert_true(pid > 0);
    struct env *env = create_env();
    assert_true(env_pid_is_alive(env, pid));
    assert_int_equal(kill(parent, SIGKILL), 0);
    assert_int_equal(waitpid(parent, NULL, 0), parent);
    /* Whoever inherits the orphan reaps it; until then it is a zombie, hence the patience. */
    assert_true(ends_within(env, pid, 50));
    env_close(env);
    (void)close(report_fds[0]);
    (void)close(report_fds[1]);
}

/* ---- our own standard streams ---- */

/* Puts fd in the place of standard input, and returns what was there. */
static int replace_stdin(int fd)
{
    int saved = dup(STDIN_FILENO);
    assert_int_equal(dup2(fd, STDIN_FILENO), STDIN_FILENO);
    (void)close(fd);
    return saved;
}

static void restore_stdin(int saved)
{
    assert_int_equal(dup2(saved, STDIN_FILENO), STDIN_FILENO);
    (void)close(saved);
}

static void standard_input_reads_a_pipe(void **state)
{
    (void)state;
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    int shared = dup(fds[0]);
    int saved = replace_stdin(fds[0]);
    struct child child = {.env = create_env()};
    assert_int_equal(env_stream_standard(child.env, 0, &child.streams[0], NULL), 0);
    assert_int_equal(env_stream_read_start(child.streams[0], on_read, &child), 0);
    assert_int_equal(write(fds[1], "hello", 5), 5);
    (void)close(fds[1]);
    env_run(child.env);
    assert_int_equal(child.output_total, 5);
    assert_int_equal(child.ends, 1);
    assert_true(fcntl(shared, F_GETFL) & O_NONBLOCK);
    close_child(&child);
    assert_false(fcntl(shared, F_GETFL) & O_NONBLOCK); /* as it was found */
    restore_stdin(saved);
    (void)close(shared);
}

static void standard_input_reads_a_file(void **state)
{
    (void)state;
    char path[] = "/tmp/perilune-test-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    char block[1000];
    memset(block, 'x', sizeof block);
    for (int i = 0; i < 300; i++)
        assert_int_equal(write(fd, block, sizeof block), sizeof block);
    assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
    int saved = replace_stdin(fd);
    struct child child = {.env = create_env()};
    assert_int_equal(env_stream_standard(child.env, 0, &child.streams[0], NULL), 0);
    assert_int_equal(env_stream_read_start(child.streams[0], on_read, &child), 0);
    env_stream_read_stop(child.streams[0]);
    run_for(child.env, 20000);
    assert_int_equal(child.output_total, 0); /* stopped: what was read waits */
    assert_int_equal(env_stream_read_start(child.streams[0], on_read, &child), 0);
    env_run(child.env);
    assert_int_equal(child.output_total, 300000);
    assert_int_equal(child.ends, 1);
    close_child(&child);
    restore_stdin(saved);
    (void)unlink(path);
}

static void standard_stream_writes_a_file(void **state)
{
    (void)state;
    char path[] = "/tmp/perilune-test-XXXXXX";
    int fd = mkstemp(path);
    int check = dup(fd);
    int saved = replace_stdin(fd); /* any of the three will do: the file is open for both */
    struct child child = {.env = create_env()};
    assert_int_equal(env_stream_standard(child.env, 0, &child.streams[0], NULL), 0);
    for (int i = 0; i < 100; i++)
        assert_int_equal(env_stream_write(child.streams[0], "line\n", 5, on_written, &child), 0);
    env_stream_shutdown(child.streams[0]);
    assert_int_equal(env_stream_write(child.streams[0], "x", 1, on_written, &child), PERI_ECLOSED);
    env_run(child.env);
    assert_int_equal(child.written, 100);
    assert_int_equal(child.write_status, 0);
    assert_int_equal(lseek(check, 0, SEEK_END), 500);
    close_child(&child);
    restore_stdin(saved);
    (void)close(check);
    (void)unlink(path);
}

static void closing_a_file_stream_cancels_its_queue(void **state)
{
    (void)state;
    int saved = replace_stdin(open("/dev/null", O_RDWR));
    struct child child = {.env = create_env()};
    assert_int_equal(env_stream_standard(child.env, 0, &child.streams[0], NULL), 0);
    for (int i = 0; i < 10; i++)
        assert_int_equal(env_stream_write(child.streams[0], "x", 1, on_written, &child), 0);
    assert_int_equal(env_stream_read_start(child.streams[0], on_read, &child), 0);
    close_child(&child);
    assert_int_equal(child.written, 10);
    assert_int_equal(child.write_status, PERI_ECANCELLED);
    assert_int_equal(child.ends, 0);
    restore_stdin(saved);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(status_and_usage_are_reported),
        cmocka_unit_test(bytes_go_through_a_child_and_back),
        cmocka_unit_test(stopped_reader_stops_the_child),
        cmocka_unit_test(full_queue_pushes_back),
        cmocka_unit_test(writing_to_a_dead_child_is_an_error_not_a_signal),
        cmocka_unit_test(kill_is_reported_as_signal),
        cmocka_unit_test(close_kills_and_reaps),
        cmocka_unit_test(failures_to_start_say_what_and_why),
        cmocka_unit_test(environment_and_directory_reach_the_child),
        cmocka_unit_test(child_inherits_nothing_by_accident),
        cmocka_unit_test(child_dies_with_a_killed_parent),
        cmocka_unit_test(standard_input_reads_a_pipe),
        cmocka_unit_test(standard_input_reads_a_file),
        cmocka_unit_test(standard_stream_writes_a_file),
        cmocka_unit_test(closing_a_file_stream_cancels_its_queue),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
