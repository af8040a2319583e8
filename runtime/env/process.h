/* process.h - byte streams, child processes, and copies of this process.
 *
 * Part of the door that env.h is. */
#ifndef PERI_ENV_PROCESS_H
#define PERI_ENV_PROCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/error.h"

struct env;
struct env_file;
struct env_stream;
struct env_process;

/* ---- byte streams: pipes of child processes, and our own standard input and output ---- */

/* on_read(data, bytes, size): size > 0 bytes lent for the call; size 0 is the end; a negative size
 * is an error code. After the end or an error on_read does not run again. */
typedef void (*env_read_cb)(void *data, const char *bytes, int64_t size);

/* Starts and stops reading (back-pressure). */
int env_stream_read_start(struct env_stream *stream, env_read_cb on_read, void *data);
void env_stream_read_stop(struct env_stream *stream);
/* Copies the bytes and writes them in order; on_written runs once. Errors: PERI_ENOMEM;
 * PERI_EBUSY when more than 16 MiB wait already; PERI_ECLOSED. */
int env_stream_write(struct env_stream *stream, const void *bytes, size_t size,
                     void (*on_written)(void *data, int status), void *data);
/* Ends the writing side after what is queued. */
void env_stream_shutdown(struct env_stream *stream);
void env_stream_close(struct env_stream *stream); /* accepts NULL */
/* The process's own standard input (fd 0) or output (1, 2) as a stream that the caller owns. */
int env_stream_standard(struct env *env, int fd, struct env_stream **out, struct peri_error *err);

/* ---- child processes ---- */

enum env_stdio { ENV_STDIO_NULL, ENV_STDIO_INHERIT, ENV_STDIO_PIPE };

struct env_process_options {
    const char *const *argv; /* NULL-terminated; argv[0] is looked up in PATH */
    const char *const *envp; /* NULL-terminated "NAME=value", or NULL to inherit */
    const char *cwd;         /* or NULL */
    enum env_stdio stdio[3];
    bool dies_with_parent; /* the kernel kills the child when this process ends, however it ends */
    bool is_detached;      /* a session of its own; it lives on when its handle is closed, and when
                              this process ends */
    const char *output;    /* a file that the child's output and error output are appended to, made
                              when it is not there (0600); or NULL: as stdio has them */
};

struct env_process_exit {
    int64_t status; /* exit status, when signal is 0 */
    int signal;     /* the signal that ended it, or 0 */
    uint64_t cpu_us;
    uint64_t max_rss_bytes;
};

/* Starts a child. on_exit runs once. streams[i] (owned by the caller) is set for each piped stdio.
 * Errors: errno codes (-ENOENT when argv[0] is not found). */
int env_process_spawn(struct env *env, const struct env_process_options *options,
                      void (*on_exit)(void *data, const struct env_process_exit *exit), void *data,
                      struct env_stream *streams[3], struct env_process **out,
                      struct peri_error *err);
int64_t env_process_pid(const struct env_process *process);
int env_process_kill(struct env_process *process, int signum);
/* Kills a running child first, unless it is detached. Accepts NULL. */
void env_process_close(struct env_process *process);

/* ---- copies of this process ---- */

struct env_copy {
    /* Runs in the copy; what it writes to out is the result, what it returns the exit status. */
    int (*body)(void *data, struct env_file *out);
    void *data;
    uint64_t limit_us; /* of real time; then the copy is killed (signal 9) */
};

/* Blocking. Forks, runs body in the copy, and returns when the copy has ended, which it does
 * without anything that this process would do at its end. The copy has no loop and one thread: body
 * may use the functions above that are called blocking, the clocks, and tickers that it creates
 * itself. What it wrote is appended to output, also on errors; *exit says how it ended. For
 * processes without other threads. Errors: PERI_EDEADLINE after limit_us, PERI_ETOOBIG past 256 MiB
 * of output, PERI_ENOMEM, errno codes (-ENOSYS in simulation). */
int env_copy_run(struct env *env, const struct env_copy *copy, struct peri_buffer *output,
                 struct env_process_exit *exit, struct peri_error *err);

#endif
