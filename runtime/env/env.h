/* env.h - the one door to the world: time, randomness, signals, work, files, streams, processes.
 *
 * Everything above this folder reaches the world through a struct env and nothing else, so that a
 * whole cluster can live in one process and replay from a seed. Behind the door stands libuv
 * (env_uv_create in uv.h) or, for the same code, the simulator. Nothing here is global.
 *
 * One thread runs the loop; every function without the word "blocking" belongs to it, and every
 * callback runs on it, never from inside the call that asked for it. Times are microseconds.
 * Handles are made by *_create or *_open and ended by *_close; a close is asynchronous where the
 * world is, but no callback of the handle runs after it, except that requests still open complete
 * first with PERI_ECANCELLED. */
#ifndef PERI_ENV_ENV_H
#define PERI_ENV_ENV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/error.h"
#include "base/slice.h"

struct env;
struct env_timer;
struct env_turn;
struct env_signal;
struct env_ticker;
struct env_lane;
struct env_file;
struct env_dir;
struct env_stream;
struct env_process;
struct env_conn;
struct env_listener;

/* ---- the loop ---- */

/* Runs the loop until env_stop is called or nothing is left that could wake it. */
void env_run(struct env *env);

/* Makes env_run return after the callback that is running. */
void env_stop(struct env *env);

/* Closes what is left, drains the loop and frees env. */
void env_close(struct env *env);

/* ---- time and randomness ---- */

/* Monotonic clock; starts anywhere. Safe on any thread. */
uint64_t env_now_us(struct env *env);

/* Wall clock since 1970-01-01 UTC; may jump. Safe on any thread. */
int64_t env_wall_us(struct env *env);

/* CPU time that this process has used so far. */
uint64_t env_cpu_us(struct env *env);

/* Fills size bytes at out from the environment's generator (the kernel's, or the seeded one). */
void env_random(struct env *env, void *out, size_t size);

/* ---- timers: one shot ---- */

/* Creates a stopped timer that the caller owns. Errors: PERI_ENOMEM. */
int env_timer_create(struct env *env, void (*on_timer)(void *data), void *data,
                     struct env_timer **out);
/* (Re)starts the timer: on_timer runs once, not before delay_us from now. */
void env_timer_start(struct env_timer *timer, uint64_t delay_us);
void env_timer_stop(struct env_timer *timer);
void env_timer_close(struct env_timer *timer); /* accepts NULL */

/* ---- turns: run again as soon as timers and I/O that are due have been served ---- */

/* Creates a stopped turn that the caller owns. While started, on_turn runs once per round of the
 * loop and the loop does not sleep. Errors: PERI_ENOMEM. */
int env_turn_create(struct env *env, void (*on_turn)(void *data), void *data,
                    struct env_turn **out);
void env_turn_start(struct env_turn *turn);
void env_turn_stop(struct env_turn *turn);
void env_turn_close(struct env_turn *turn); /* accepts NULL */

/* ---- signals ---- */

/* Watches a signal until closed; does not keep env_run alive. A SIGHUP that our parent told us to
 * ignore, as nohup does, stays ignored. Errors: PERI_ENOMEM, errno codes. */
int env_signal_watch(struct env *env, int signum, void (*on_signal)(void *data, int signum),
                     void *data, struct env_signal **out);
void env_signal_close(struct env_signal *watch); /* accepts NULL */

/* Ends the process with status 128 + signal when it is still there limit_us after one of the
 * signals arrived, whatever the loop's thread does then, or when a second one arrives. Lasts until
 * env_close has done everything else; at most one an environment, at most 4 signals. Errors:
 * PERI_ENOMEM, errno codes. */
int env_signal_guard(struct env *env, const int *signums, size_t count, uint64_t limit_us);

/* ---- ticker: interrupts the code that runs on the loop thread ---- */

/* Creates a stopped ticker. While started, tick(data) runs every period_us of real time on the
 * thread that created it, from a signal handler: it may do only what is async-signal-safe (and
 * lua_sethook). In simulation a ticker never ticks, unless the event that runs does not return:
 * then it ends the code, and the run with it. Errors: PERI_ENOMEM, errno codes. */
int env_ticker_create(struct env *env, uint64_t period_us, void (*tick)(void *data), void *data,
                      struct env_ticker **out);
void env_ticker_start(struct env_ticker *ticker);
void env_ticker_stop(struct env_ticker *ticker);
void env_ticker_close(struct env_ticker *ticker); /* accepts NULL */

/* ---- background work ---- */

/* Calls run(data) on a background thread, then done(data, 0) on the loop. When env closes before
 * run started, only done(data, PERI_ECANCELLED) is called. Errors: PERI_ENOMEM; PERI_ECANCELLED
 * while env closes. */
int env_work(struct env *env, void (*run)(void *data), void (*done)(void *data, int status),
             void *data);

/* ---- lanes: background work that waits for nobody else's ---- */

/* Creates a lane: a thread that does what it is given one by one, in order, and nothing else. The
 * caller owns it. Errors: PERI_ENOMEM, errno codes. */
int env_lane_create(struct env *env, struct env_lane **out);

/* Like env_work, on the lane's thread and behind what the lane was given before. */
int env_lane_work(struct env_lane *lane, void (*run)(void *data),
                  void (*done)(void *data, int status), void *data);

/* Takes no more work; what was given is still done, and says so. Allowed inside a done. Accepts
 * NULL. */
void env_lane_close(struct env_lane *lane);

/* ---- regions: large memory that is walked at random; safe on any thread ---- */

/* Lends size bytes, whose contents are whatever they are, in huge pages where the system has them
 * (the walk then misses the address cache less). Ended by env_region_give. NULL without memory. */
void *env_region_take(struct env *env, size_t size);

/* Takes a region back and keeps it for the next who asks for as much, without the cost of fresh
 * pages; one region at a time, which stays part of the process's memory until env_region_trim or
 * env_close. Accepts NULL. */
void env_region_give(struct env *env, void *memory);

/* Lets go of the region that is kept. */
void env_region_trim(struct env *env);

/* ---- files: blocking, for background work and for worker processes ----
 *
 * All return 0 (or a count) or a negative errno code; err says which path and why. */

enum env_file_flags {
    ENV_FILE_READ = 1,
    ENV_FILE_WRITE = 2,
    ENV_FILE_CREATE = 4,
    ENV_FILE_EXCLUSIVE = 8, /* fails with -EEXIST when the file exists */
    ENV_FILE_TRUNCATE = 16,
    ENV_FILE_APPEND = 32,
};

enum env_seek { ENV_SEEK_START, ENV_SEEK_CURRENT, ENV_SEEK_END };

enum env_file_type { ENV_TYPE_FILE, ENV_TYPE_DIRECTORY, ENV_TYPE_LINK, ENV_TYPE_OTHER };

struct env_stat {
    enum env_file_type type;
    uint64_t size_bytes;
    int64_t modified_us; /* wall clock */
    uint32_t mode;       /* permission bits */
    uint64_t inode;
    uint64_t device;
};

struct env_mapping {
    const char *data; /* NULL when size is 0 */
    size_t size;
};

/* True when paths lead to the operating system's files, so that a library that opens files by
 * itself sees the same ones. */
bool env_files_are_real(struct env *env);

/* "-" is not special here; env_file_stdin and env_file_stdout lend the process's own. A FIFO is
 * refused with ESPIPE: it waits for somebody else. */
int env_file_open(struct env *env, const char *path, int flags, struct env_file **out,
                  struct peri_error *err);
struct env_file *env_file_stdin(struct env *env);
struct env_file *env_file_stdout(struct env *env);
struct env_file *env_file_stderr(struct env *env);
/* Returns bytes read, 0 at the end. env_file_read moves the file's own position. */
int64_t env_file_read(struct env_file *file, void *out, size_t size, struct peri_error *err);
int64_t env_file_pread(struct env_file *file, void *out, size_t size, uint64_t offset,
                       struct peri_error *err);
/* Writes all of data or fails; a short write is an error (-ENOSPC and the like). */
int env_file_write(struct env_file *file, const void *data, size_t size, struct peri_error *err);
int env_file_pwrite(struct env_file *file, const void *data, size_t size, uint64_t offset,
                    struct peri_error *err);
/* Moves the file's own position and returns the new one. */
int64_t env_file_seek(struct env_file *file, enum env_seek from, int64_t offset,
                      struct peri_error *err);
int env_file_sync(struct env_file *file, struct peri_error *err);
/* Has the system begin to write the file's bytes [offset, offset + size) to the disk, so that a
 * later env_file_sync waits less. A hint: promises nothing, reports nothing. */
void env_file_sync_start(struct env_file *file, uint64_t offset, uint64_t size);
/* Has the file system keep room for size bytes of the file, which stays as long as it is, until it
 * is removed. Errors: -ENOSPC, -EOPNOTSUPP where the file system cannot. */
int env_file_reserve(struct env_file *file, uint64_t size, struct peri_error *err);
int env_file_stat(struct env_file *file, struct env_stat *out, struct peri_error *err);
/* Maps a whole regular file for reading; the mapping outlives the file, until env_file_unmap. */
int env_file_map(struct env_file *file, struct env_mapping *out, struct peri_error *err);
void env_file_unmap(struct env *env, struct env_mapping *mapping);
/* Takes an exclusive advisory lock that the kernel drops with the process; -EBUSY when held. */
int env_file_lock(struct env_file *file, struct peri_error *err);
/* True when the file is a terminal. */
bool env_file_is_terminal(struct env_file *file);
/* Closes; reports the close error that a full network disk may give. Accepts NULL. */
int env_file_close(struct env_file *file, struct peri_error *err);

/* What path is, and with a symbolic link what it points to. */
int env_path_stat(struct env *env, const char *path, struct env_stat *out, struct peri_error *err);
/* Like env_path_stat, but a symbolic link is itself, not what it points to. */
int env_path_lstat(struct env *env, const char *path, struct env_stat *out, struct peri_error *err);
int env_path_rename(struct env *env, const char *from, const char *to, struct peri_error *err);
int env_path_remove(struct env *env, const char *path,
                    struct peri_error *err); /* file or empty dir */
int env_path_mkdir(struct env *env, const char *path, struct peri_error *err);
int env_path_sync(struct env *env, const char *path, struct peri_error *err); /* a directory */
/* Absolute path without links; the caller frees *out with free(). */
int env_path_real(struct env *env, const char *path, char **out, struct peri_error *err);
/* The process's working directory; the caller frees *out with free(). */
int env_path_cwd(struct env *env, char **out, struct peri_error *err);
/* Creates a fresh directory named <prefix>XXXXXX that only this user may enter; the caller frees
 * *out, its path, with free(). */
int env_path_tempdir(struct env *env, const char *prefix, char **out, struct peri_error *err);
/* A directory's entries without "." and "..", in no order. *name is lent until the next call;
 * env_dir_next returns 1 for an entry, 0 at the end, negative on error. */
int env_dir_open(struct env *env, const char *path, struct env_dir **out, struct peri_error *err);
int env_dir_next(struct env_dir *dir, const char **name, enum env_file_type *type,
                 struct peri_error *err);
void env_dir_close(struct env_dir *dir); /* accepts NULL */

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

/* ---- message connections: what nodes say to each other ----
 *
 * A connection carries messages, which are byte strings with boundaries, in order, each once or the
 * connection ends. Over TCP and Unix sockets a message travels in a frame (wire/frame.h); in
 * simulation it is an event. Handshakes, ids, deadlines and reconnecting are the caller's (rpc).
 *
 * An address is "host:port", ":port" (this machine only), "host", "[v6 address]:port" or
 * "unix:/path"; the port defaults to ENV_PORT_DEFAULT. In simulation the host is a node's name. */

enum { ENV_PORT_DEFAULT = 7100 };

/* Limits of a connection. Bytes queued beyond the mark are a reason to wait for on_writable before
 * sending bulk; a full queue refuses. */
enum {
    ENV_CONN_MESSAGE_MAX = 4 << 10, /* received, until env_conn_set_message_max */
    ENV_CONN_QUEUE_MARK = 1 << 20,
    ENV_CONN_QUEUE_MAX = 16 << 20,
};
#define ENV_CONN_IDLE_LIMIT_US UINT64_C(10000000) /* until env_conn_set_idle_limit */

/* What happens on a connection. No callback runs after env_conn_close or on_close. */
struct env_conn_events {
    /* A connect ended: 0, or an error code, and then the connection is only good for closing. Not
     * called for accepted connections. */
    void (*on_open)(void *data, int status);
    /* A message arrived; lent for the call. May close the connection. */
    void (*on_message)(void *data, struct peri_slice message);
    /* More than ENV_CONN_QUEUE_MARK were queued, and now it is less than half of that. */
    void (*on_writable)(void *data);
    /* The connection ended, and is only good for closing: PERI_ECLOSED when the peer closed it,
     * PERI_EFORMAT or PERI_ETOOBIG when it broke the framing, -ETIMEDOUT when it passed the idle
     * limit, or what the network did. */
    void (*on_close)(void *data, int status);
};

/* Starts to connect; on_open says how that ended, and before it messages may be sent already. A
 * connect takes no longer than the idle limit. The caller owns *out and ends it with
 * env_conn_close. events is lent until then. Errors: PERI_EINVAL for an address that is none,
 * PERI_ENOMEM. */
int env_conn_connect(struct env *env, const char *address, const struct env_conn_events *events,
                     void *data, struct env_conn **out, struct peri_error *err);

/* Takes over a connection inside the listener's on_connection; events is lent until the close. */
void env_conn_accept(struct env_conn *conn, const struct env_conn_events *events, void *data);

/* Copies the parts, which together are one message, and sends it after those before. What is sent
 * in one round of the loop leaves together. Errors: PERI_ECLOSED once the connection has ended;
 * PERI_EBUSY while more than ENV_CONN_QUEUE_MAX are queued; PERI_EINVAL for an empty message,
 * PERI_ETOOBIG beyond 2^32 - 1 bytes; PERI_ENOMEM. Then nothing was sent. */
int env_conn_send(struct env_conn *conn, const struct peri_slice *parts, size_t count);

/* Bytes sent that the network has not taken yet; who sends bulk keeps this small. */
size_t env_conn_queued_bytes(const struct env_conn *conn);

/* Messages longer than size_max end the connection. Starts at ENV_CONN_MESSAGE_MAX, which is for
 * peers that have not proved who they are. */
void env_conn_set_message_max(struct env_conn *conn, size_t size_max);

/* The connection ends when no whole message arrived for limit_us, paused time not counted; 0:
 * never. A peer that is gone without a word, or sends its bytes one by one, costs no more than
 * that. */
void env_conn_set_idle_limit(struct env_conn *conn, uint64_t limit_us);

/* Stops and goes on reading (back-pressure). on_message does not run while paused; on_close may. */
void env_conn_pause(struct env_conn *conn);
void env_conn_resume(struct env_conn *conn);

/* When the message of the running on_message came, on env_now_us's clock; costs nothing. */
uint64_t env_conn_heard_us(const struct env_conn *conn);

/* True when the peer is on this machine: a loopback address or a Unix socket. */
bool env_conn_is_local(const struct env_conn *conn);

/* The peer's address, for people; lent until the close. */
const char *env_conn_peer(const struct env_conn *conn);

/* What went wrong, for people, once on_open or on_close said that something did; else "". Lent
 * until the close. */
const char *env_conn_failure(const struct env_conn *conn);

/* Ends the connection for its owner. What is queued still leaves while the peer keeps taking it,
 * for ten seconds at most. Accepts NULL. */
void env_conn_close(struct env_conn *conn);

/* Listens. Port 0 takes a free one. A Unix socket may only be used by this user; one that a dead
 * process left behind is replaced. on_connection owns conn, and accepts or closes it before it
 * returns. A host name is looked up before the call returns. Errors: PERI_EINVAL for an address
 * that is none, -EADDRINUSE and other errno codes, PERI_ENOMEM. */
int env_listener_open(struct env *env, const char *address,
                      void (*on_connection)(void *data, struct env_conn *conn), void *data,
                      struct env_listener **out, struct peri_error *err);

/* Where it listens, with the port that was given for 0; lent until the close. */
const char *env_listener_address(const struct env_listener *listener);

/* Listens no more; connections stay. Accepts NULL. */
void env_listener_close(struct env_listener *listener);

/* ---- child processes ---- */

enum env_stdio { ENV_STDIO_NULL, ENV_STDIO_INHERIT, ENV_STDIO_PIPE };

struct env_process_options {
    const char *const *argv; /* NULL-terminated; argv[0] is looked up in PATH */
    const char *const *envp; /* NULL-terminated "NAME=value", or NULL to inherit */
    const char *cwd;         /* or NULL */
    enum env_stdio stdio[3];
    bool dies_with_parent; /* the kernel kills the child when this process ends, however it ends */
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
void env_process_close(struct env_process *process); /* kills a running child first; accepts NULL */

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

/* ---- the process itself ---- */

/* The id of this process. */
int64_t env_pid(struct env *env);
/* True when a process with that pid exists. */
bool env_pid_is_alive(struct env *env, int64_t pid);
/* Value of an environment variable, or NULL; lent until the environment changes. */
const char *env_variable(struct env *env, const char *name);
/* All environment variables, "NAME=value", ended by NULL; lent until the environment changes. */
const char *const *env_variables(struct env *env);
/* Path of the running program; the caller frees *out with free(). */
int env_executable(struct env *env, char **out, struct peri_error *err);
uint32_t env_processors(struct env *env);
/* Columns of the terminal behind fd 0, 1 or 2; 0 when it is not one. */
uint32_t env_terminal_columns(struct env *env, int fd);
/* The most memory that this process has had resident so far, in bytes. */
uint64_t env_max_rss_bytes(struct env *env);

#endif
