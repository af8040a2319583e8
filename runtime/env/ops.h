/* ops.h - what stands behind the door: the table of functions that an environment provides.
 *
 * Only implementations of env.h include this file. An environment embeds struct env as its first
 * member and fills ops; each of its handles embeds the struct of the same name (struct env_timer,
 * ...) as its first member and fills it. The functions do what env.h says of their namesakes;
 * arguments that env.h lets be NULL never reach a close function as NULL. */
#ifndef PERI_ENV_OPS_H
#define PERI_ENV_OPS_H

#include <stdatomic.h>

#include "env/env.h"

struct env_loop_ops {
    void (*run)(struct env *env);
    void (*stop)(struct env *env);
    void (*close)(struct env *env);
};

struct env_clock_ops {
    uint64_t (*now_us)(struct env *env);
    int64_t (*wall_us)(struct env *env);
    uint64_t (*cpu_us)(struct env *env);
    void (*random)(struct env *env, void *out, size_t size);
};

struct env_timer_ops {
    int (*create)(struct env *env, void (*on_timer)(void *data), void *data,
                  struct env_timer **out);
    void (*start)(struct env_timer *timer, uint64_t delay_us);
    void (*stop)(struct env_timer *timer);
    void (*close)(struct env_timer *timer);
};

struct env_turn_ops {
    int (*create)(struct env *env, void (*on_turn)(void *data), void *data, struct env_turn **out);
    void (*start)(struct env_turn *turn);
    void (*stop)(struct env_turn *turn);
    void (*close)(struct env_turn *turn);
};

struct env_signal_ops {
    int (*watch)(struct env *env, int signum, void (*on_signal)(void *data, int signum), void *data,
                 struct env_signal **out);
    void (*close)(struct env_signal *watch);
    int (*guard)(struct env *env, const int *signums, size_t count, uint64_t limit_us);
    void (*guard_limit)(struct env *env, uint64_t limit_us);
};

struct env_ticker_ops {
    int (*create)(struct env *env, uint64_t period_us, void (*tick)(void *data), void *data,
                  struct env_ticker **out);
    void (*start)(struct env_ticker *ticker);
    void (*stop)(struct env_ticker *ticker);
    void (*close)(struct env_ticker *ticker);
};

struct env_work_ops {
    int (*submit)(struct env *env, void (*run)(void *data), void (*done)(void *data, int status),
                  void *data);
};

struct env_lane_ops {
    int (*create)(struct env *env, struct env_lane **out);
    int (*submit)(struct env_lane *lane, void (*run)(void *data),
                  void (*done)(void *data, int status), void *data);
    void (*close)(struct env_lane *lane);
};

struct env_file_ops {
    int (*open)(struct env *env, const char *path, int flags, struct env_file **out,
                struct peri_error *err);
    struct env_file *(*standard)(struct env *env, int fd);
    int64_t (*read)(struct env_file *file, void *out, size_t size, struct peri_error *err);
    int64_t (*pread)(struct env_file *file, void *out, size_t size, uint64_t offset,
                     struct peri_error *err);
    int (*write)(struct env_file *file, const void *data, size_t size, struct peri_error *err);
    int (*pwrite)(struct env_file *file, const void *data, size_t size, uint64_t offset,
                  struct peri_error *err);
    int64_t (*seek)(struct env_file *file, enum env_seek from, int64_t offset,
                    struct peri_error *err);
    int (*sync)(struct env_file *file, struct peri_error *err);
    void (*sync_start)(struct env_file *file, uint64_t offset, uint64_t size); /* or NULL */
    int (*reserve)(struct env_file *file, uint64_t size, struct peri_error *err);
    int (*stat)(struct env_file *file, struct env_stat *out, struct peri_error *err);
    int (*map)(struct env_file *file, struct env_mapping *out, struct peri_error *err);
    void (*unmap)(struct env *env, struct env_mapping *mapping);
    int (*lock)(struct env_file *file, struct peri_error *err);
    bool (*is_terminal)(struct env_file *file);
    int (*close)(struct env_file *file, struct peri_error *err);
};

struct env_path_ops {
    int (*stat)(struct env *env, const char *path, struct env_stat *out, struct peri_error *err);
    int (*lstat)(struct env *env, const char *path, struct env_stat *out, struct peri_error *err);
    int (*rename)(struct env *env, const char *from, const char *to, struct peri_error *err);
    int (*remove)(struct env *env, const char *path, struct peri_error *err);
    int (*mkdir)(struct env *env, const char *path, struct peri_error *err);
    int (*sync)(struct env *env, const char *path, struct peri_error *err);
    int (*real)(struct env *env, const char *path, char **out, struct peri_error *err);
    int (*cwd)(struct env *env, char **out, struct peri_error *err);
    int (*tempdir)(struct env *env, const char *prefix, char **out, struct peri_error *err);
    int (*dir_open)(struct env *env, const char *path, struct env_dir **out,
                    struct peri_error *err);
    int (*dir_next)(struct env_dir *dir, const char **name, enum env_file_type *type,
                    struct peri_error *err);
    void (*dir_close)(struct env_dir *dir);
};

struct env_stream_ops {
    int (*read_start)(struct env_stream *stream, env_read_cb on_read, void *data);
    void (*read_stop)(struct env_stream *stream);
    int (*write)(struct env_stream *stream, const void *bytes, size_t size,
                 void (*on_written)(void *data, int status), void *data);
    void (*shutdown)(struct env_stream *stream);
    void (*close)(struct env_stream *stream);
};

struct env_conn_ops {
    int (*connect)(struct env *env, const char *address, const struct env_conn_events *events,
                   void *data, struct env_conn **out, struct peri_error *err);
    void (*accept)(struct env_conn *conn, const struct env_conn_events *events, void *data);
    int (*send)(struct env_conn *conn, const struct peri_slice *parts, size_t count);
    size_t (*queued_bytes)(const struct env_conn *conn);
    void (*set_message_max)(struct env_conn *conn, size_t size_max);
    void (*set_idle_limit)(struct env_conn *conn, uint64_t limit_us);
    void (*pause)(struct env_conn *conn);
    void (*resume)(struct env_conn *conn);
    void (*close)(struct env_conn *conn);
};

struct env_listener_ops {
    int (*open)(struct env *env, const char *address,
                void (*on_connection)(void *data, struct env_conn *conn), void *data,
                struct env_listener **out, struct peri_error *err);
    const char *(*address)(const struct env_listener *listener);
    void (*close)(struct env_listener *listener);
};

struct env_process_ops {
    int (*spawn)(struct env *env, const struct env_process_options *options,
                 void (*on_exit)(void *data, const struct env_process_exit *exit), void *data,
                 struct env_stream *streams[3], struct env_process **out, struct peri_error *err);
    int64_t (*pid)(const struct env_process *process);
    int (*kill)(struct env_process *process, int signum);
    void (*close)(struct env_process *process);
};

struct env_self_ops {
    int64_t (*pid)(struct env *env);
    bool (*pid_is_alive)(struct env *env, int64_t pid);
    int (*pid_kill)(struct env *env, int64_t pid, int signum);
    int (*notify)(struct env *env, const char *path, const char *text);
    const char *(*variable)(struct env *env, const char *name);
    const char *const *(*variables)(struct env *env);
    int (*executable)(struct env *env, char **out, struct peri_error *err);
    uint32_t (*processors)(struct env *env);
    uint32_t (*terminal_columns)(struct env *env, int fd);
    uint64_t (*max_rss_bytes)(struct env *env);
    void (*return_memory)(struct env *env);
};

struct env_ops {
    const struct env_loop_ops *loop;
    const struct env_clock_ops *clock;
    const struct env_timer_ops *timer;
    const struct env_turn_ops *turn;
    const struct env_signal_ops *signal;
    const struct env_ticker_ops *ticker;
    const struct env_work_ops *work;
    const struct env_lane_ops *lane;
    const struct env_file_ops *file;
    const struct env_path_ops *path;
    bool has_real_files; /* env_files_are_real */
    int (*stream_standard)(struct env *env, int fd, struct env_stream **out,
                           struct peri_error *err);
    const struct env_conn_ops *conn;
    const struct env_listener_ops *listener;
    const struct env_process_ops *process;
    int (*copy)(struct env *env, const struct env_copy *copy, struct peri_buffer *output,
                struct env_process_exit *exit, struct peri_error *err); /* NULL: not here */
    const struct env_self_ops *self;
};

struct env {
    const struct env_ops *ops;
    atomic_int log_level;              /* enum env_log_level; log.h */
    atomic_int log_format;             /* enum env_log_format */
    atomic_bool log_colour;            /* log lines carry terminal colours */
    struct env_region *_Atomic region; /* given back last, or NULL; region.c */
    const char *log_node;              /* which simulated node speaks, for log lines; or NULL */
};

struct env_timer {
    struct env *env;
};
struct env_turn {
    struct env *env;
};
struct env_signal {
    struct env *env;
};
struct env_ticker {
    struct env *env;
};
struct env_lane {
    struct env *env;
};
struct env_file {
    struct env *env;
};
struct env_dir {
    struct env *env;
};
struct env_stream {
    const struct env_stream_ops *ops; /* an environment may have several kinds of stream */
};
struct env_listener {
    struct env *env;
};
struct env_process {
    struct env *env;
};

/* Fills what every environment shares; log.h says how the log starts. */
void env_init(struct env *env, const struct env_ops *ops);

#endif
