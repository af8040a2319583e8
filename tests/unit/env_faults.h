/* env_faults.h - an environment whose n-th file call fails, or whose reads give a few bytes only.
 *
 * Wraps the file functions of a real environment; one at a time, since the calls carry no data of
 * ours. Removing files is not counted: it is how code cleans up. */
#ifndef PERI_TESTS_ENV_FAULTS_H
#define PERI_TESTS_ENV_FAULTS_H

#include "env/env.h"
#include "env/ops.h"

struct env_faults {
    struct env_file_ops files;
    struct env_path_ops paths;
    struct env_ops ops;
    const struct env_ops *real;
    long countdown; /* calls until one fails; 0: none does */
    int code;       /* what it fails with */
    bool has_failed;
    size_t read_max; /* bytes that one read gives; 0: all */
};

static struct env_faults env_faults;

static inline bool faults_now(struct peri_error *err)
{
    if (env_faults.countdown == 0 || --env_faults.countdown > 0)
        return false;
    env_faults.has_failed = true;
    (void)peri_fail(err, env_faults.code, "injected");
    return true;
}

static inline size_t faults_size(size_t size)
{
    return env_faults.read_max != 0 && env_faults.read_max < size ? env_faults.read_max : size;
}

static inline int faults_open(struct env *env, const char *path, int flags, struct env_file **out,
                              struct peri_error *err)
{
    return faults_now(err) ? env_faults.code
                           : env_faults.real->file->open(env, path, flags, out, err);
}

static inline int64_t faults_read(struct env_file *file, void *out, size_t size,
                                  struct peri_error *err)
{
    return faults_now(err) ? env_faults.code
                           : env_faults.real->file->read(file, out, faults_size(size), err);
}

static inline int64_t faults_pread(struct env_file *file, void *out, size_t size, uint64_t offset,
                                   struct peri_error *err)
{
    return faults_now(err)
               ? env_faults.code
               : env_faults.real->file->pread(file, out, faults_size(size), offset, err);
}

static inline int faults_pwrite(struct env_file *file, const void *data, size_t size,
                                uint64_t offset, struct peri_error *err)
{
    return faults_now(err) ? env_faults.code
                           : env_faults.real->file->pwrite(file, data, size, offset, err);
}

static inline int faults_write(struct env_file *file, const void *data, size_t size,
                               struct peri_error *err)
{
    return faults_now(err) ? env_faults.code : env_faults.real->file->write(file, data, size, err);
}

static inline int faults_sync(struct env_file *file, struct peri_error *err)
{
    return faults_now(err) ? env_faults.code : env_faults.real->file->sync(file, err);
}

static inline int faults_stat(struct env_file *file, struct env_stat *out, struct peri_error *err)
{
    return faults_now(err) ? env_faults.code : env_faults.real->file->stat(file, out, err);
}

static inline int faults_rename(struct env *env, const char *from, const char *to,
                                struct peri_error *err)
{
    return faults_now(err) ? env_faults.code : env_faults.real->path->rename(env, from, to, err);
}

static inline int faults_mkdir(struct env *env, const char *path, struct peri_error *err)
{
    return faults_now(err) ? env_faults.code : env_faults.real->path->mkdir(env, path, err);
}

static inline int faults_sync_path(struct env *env, const char *path, struct peri_error *err)
{
    return faults_now(err) ? env_faults.code : env_faults.real->path->sync(env, path, err);
}

/* Puts the wrapper in front of env, without faults yet. */
static inline void env_faults_install(struct env *env)
{
    env_faults = (struct env_faults){.files = *env->ops->file, .ops = *env->ops, .real = env->ops};
    env_faults.files.open = faults_open;
    env_faults.files.read = faults_read;
    env_faults.files.pread = faults_pread;
    env_faults.files.write = faults_write;
    env_faults.files.pwrite = faults_pwrite;
    env_faults.files.sync = faults_sync;
    env_faults.files.stat = faults_stat;
    env_faults.ops.file = &env_faults.files;
    env->ops = &env_faults.ops;
}

/* Has making, renaming and syncing directories count, too. */
static inline void env_faults_install_paths(struct env *env)
{
    env_faults.paths = *env_faults.real->path;
    env_faults.paths.rename = faults_rename;
    env_faults.paths.mkdir = faults_mkdir;
    env_faults.paths.sync = faults_sync_path;
    env_faults.ops.path = &env_faults.paths;
    env->ops = &env_faults.ops;
}

static inline void env_faults_remove(struct env *env)
{
    env->ops = env_faults.real;
}

/* From now on the n-th call (1 is the next) fails with code, once. */
static inline void env_faults_fail(long n, int code)
{
    env_faults.countdown = n;
    env_faults.code = code;
    env_faults.has_failed = false;
}

/* Ends that; returns true when a call has failed since. */
static inline bool env_faults_end(void)
{
    env_faults.countdown = 0;
    return env_faults.has_failed;
}

#endif
