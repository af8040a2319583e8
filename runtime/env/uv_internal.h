/* uv_internal.h - what the files behind uv.h share. */
#ifndef PERI_ENV_UV_INTERNAL_H
#define PERI_ENV_UV_INTERNAL_H

#include <uv.h>

#include "base/assert.h"
#include "base/list.h"
#include "env/ops.h"

/* Something that env_close must end when its owner did not. */
struct uv_owned {
    struct peri_list link; /* in env_uv.owned until closed */
    void (*close)(struct uv_owned *owned);
};

/* A file of the operating system; fd is -1 once closed. */
struct posix_file {
    struct env_file base;
    int fd;
    char *path;       /* for messages; owned, or lent for the standard files */
    bool is_standard; /* lent to everybody: closing leaves it open */
    uint64_t written; /* bytes so far, for cutting writes where pages end */
};

struct env_uv {
    struct env base;
    uv_loop_t loop;
    bool is_closing;
    struct peri_list owned; /* struct uv_owned */
    struct peri_list work;  /* struct uv_work that waits or runs */
    struct peri_list lanes; /* that their owners have not closed (uv_lane.c) */
    struct posix_file standard[3];
    struct uv_guard *guard; /* or NULL */
    struct uv_net *net;     /* what connections share (uv_conn.h); NULL before the first */

    /* Child processes (uv_process.c). SIGCHLD is watched while some child is not reaped. */
    struct peri_list children;
    uv_signal_t child_signal;
    bool child_signal_is_open;
};

/* The libuv side of an environment that env_uv_create made. */
static inline struct env_uv *env_uv_of(struct env *env)
{
    return container_of(env, struct env_uv, base);
}

/* Registers and unregisters with env_close. */
void env_uv_owned_add(struct env_uv *uv, struct uv_owned *owned,
                      void (*close)(struct uv_owned *owned));
void env_uv_owned_remove(struct uv_owned *owned);

/* Cancels what has not started (uv_work.c). */
void env_uv_work_cancel_all(struct env_uv *uv);

/* Frees lanes that nobody has closed; their threads have ended (uv_lane.c). */
void env_uv_lanes_free(struct env_uv *uv);

/* Makes a stream of a pipe's end; the stream owns fd on success. Errors: PERI_ENOMEM, errno codes.
 */
int env_uv_stream_open(struct env_uv *uv, int fd, struct env_stream **out);

/* Is env_stream_standard (env.h). */
int env_uv_stream_standard(struct env *env, int fd, struct env_stream **out,
                           struct peri_error *err);

/* The stream of a descriptor that cannot be polled: a file, /dev/null (uv_file_stream.c). */
int env_uv_file_stream_create(struct env_uv *uv, struct env_file *file, struct env_stream **out);

/* Is env_copy_run (env.h). */
int env_posix_copy(struct env *env, const struct env_copy *request, struct peri_buffer *output,
                   struct env_process_exit *exit, struct peri_error *err);

/* How many bytes may wait in one stream before it answers PERI_EBUSY. */
enum { ENV_STREAM_QUEUE_MAX = 16 << 20, ENV_STREAM_READ_SIZE = 64 << 10 };

/* Ends what connections share; the last of them is gone (uv_write.c). */
void env_uv_net_close(struct env_uv *uv);

/* Ends the watch for SIGCHLD once every child has been reaped. */
void env_uv_process_deinit(struct env_uv *uv);

/* True for a SIGHUP that our parent told us to ignore (nohup): we outlive the terminal. */
bool env_uv_signal_is_ignored(int signum);

/* Is env_signal_guard (env.h). */
int env_uv_signal_guard(struct env *env, const int *signums, size_t count, uint64_t limit_us);
void env_uv_signal_guard_limit(struct env *env, uint64_t limit_us);

/* Ends the guard. Accepts NULL. */
void env_uv_guard_close(struct uv_guard *guard);

extern const struct env_clock_ops env_posix_clock_ops;
extern const struct env_timer_ops env_uv_timer_ops;
extern const struct env_turn_ops env_uv_turn_ops;
extern const struct env_signal_ops env_uv_signal_ops;
extern const struct env_ticker_ops env_posix_ticker_ops;
extern const struct env_work_ops env_uv_work_ops;
extern const struct env_lane_ops env_uv_lane_ops;
extern const struct env_file_ops env_posix_file_ops;
extern const struct env_path_ops env_posix_path_ops;
extern const struct env_conn_ops env_uv_conn_ops;
extern const struct env_listener_ops env_uv_listener_ops;
extern const struct env_process_ops env_uv_process_ops;
extern const struct env_self_ops env_posix_self_ops;

#endif
