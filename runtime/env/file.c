/* file.c - the door's files and paths: hands each call to the environment behind it. */
#include "env/ops.h"

bool env_files_are_real(struct env *env)
{
    return env->ops->has_real_files;
}

int env_file_open(struct env *env, const char *path, int flags, struct env_file **out,
                  struct peri_error *err)
{
    return env->ops->file->open(env, path, flags, out, err);
}

struct env_file *env_file_stdin(struct env *env)
{
    return env->ops->file->standard(env, 0);
}

struct env_file *env_file_stdout(struct env *env)
{
    return env->ops->file->standard(env, 1);
}

struct env_file *env_file_stderr(struct env *env)
{
    return env->ops->file->standard(env, 2);
}

int64_t env_file_read(struct env_file *file, void *out, size_t size, struct peri_error *err)
{
    return file->env->ops->file->read(file, out, size, err);
}

int64_t env_file_pread(struct env_file *file, void *out, size_t size, uint64_t offset,
                       struct peri_error *err)
{
    return file->env->ops->file->pread(file, out, size, offset, err);
}

int env_file_write(struct env_file *file, const void *data, size_t size, struct peri_error *err)
{
    return file->env->ops->file->write(file, data, size, err);
}

int env_file_pwrite(struct env_file *file, const void *data, size_t size, uint64_t offset,
                    struct peri_error *err)
{
    return file->env->ops->file->pwrite(file, data, size, offset, err);
}

int64_t env_file_seek(struct env_file *file, enum env_seek from, int64_t offset,
                      struct peri_error *err)
{
    return file->env->ops->file->seek(file, from, offset, err);
}

int env_file_sync(struct env_file *file, struct peri_error *err)
{
    return file->env->ops->file->sync(file, err);
}

void env_file_sync_start(struct env_file *file, uint64_t offset, uint64_t size)
{
    if (file->env->ops->file->sync_start != NULL)
        file->env->ops->file->sync_start(file, offset, size);
}

int env_file_reserve(struct env_file *file, uint64_t size, struct peri_error *err)
{
    return file->env->ops->file->reserve(file, size, err);
}

int env_file_stat(struct env_file *file, struct env_stat *out, struct peri_error *err)
{
    return file->env->ops->file->stat(file, out, err);
}

int env_file_map(struct env_file *file, struct env_mapping *out, struct peri_error *err)
{
    return file->env->ops->file->map(file, out, err);
}

void env_file_unmap(struct env *env, struct env_mapping *mapping)
{
    env->ops->file->unmap(env, mapping);
}

int env_file_lock(struct env_file *file, struct peri_error *err)
{
    return file->env->ops->file->lock(file, err);
}

bool env_file_is_terminal(struct env_file *file)
{
    return file->env->ops->file->is_terminal(file);
}

int env_file_close(struct env_file *file, struct peri_error *err)
{
    return file == NULL ? 0 : file->env->ops->file->close(file, err);
}

int env_path_stat(struct env *env, const char *path, struct env_stat *out, struct peri_error *err)
{
    return env->ops->path->stat(env, path, out, err);
}

int env_path_lstat(struct env *env, const char *path, struct env_stat *out, struct peri_error *err)
{
    return env->ops->path->lstat(env, path, out, err);
}

int env_path_rename(struct env *env, const char *from, const char *to, struct peri_error *err)
{
    return env->ops->path->rename(env, from, to, err);
}

int env_path_remove(struct env *env, const char *path, struct peri_error *err)
{
    return env->ops->path->remove(env, path, err);
}

int env_path_mkdir(struct env *env, const char *path, struct peri_error *err)
{
    return env->ops->path->mkdir(env, path, err);
}

int env_path_sync(struct env *env, const char *path, struct peri_error *err)
{
    return env->ops->path->sync(env, path, err);
}

int env_path_real(struct env *env, const char *path, char **out, struct peri_error *err)
{
    return env->ops->path->real(env, path, out, err);
}

int env_path_cwd(struct env *env, char **out, struct peri_error *err)
{
    return env->ops->path->cwd(env, out, err);
}

int env_path_tempdir(struct env *env, const char *prefix, char **out, struct peri_error *err)
{
    return env->ops->path->tempdir(env, prefix, out, err);
}

int env_dir_open(struct env *env, const char *path, struct env_dir **out, struct peri_error *err)
{
    return env->ops->path->dir_open(env, path, out, err);
}

int env_dir_next(struct env_dir *dir, const char **name, enum env_file_type *type,
                 struct peri_error *err)
{
    return dir->env->ops->path->dir_next(dir, name, type, err);
}

void env_dir_close(struct env_dir *dir)
{
    if (dir != NULL)
        dir->env->ops->path->dir_close(dir);
}
