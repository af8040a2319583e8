/* file.h - files, paths and directories, blocking: for background work and worker processes.
 *
 * Part of the door that env.h is. All return 0 (or a count) or a negative errno code; err says
 * which path and why. */
#ifndef PERI_ENV_FILE_H
#define PERI_ENV_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct env;
struct env_file;
struct env_dir;

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

/* ---- paths ---- */

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
/* ---- directories ---- */

/* A directory's entries without "." and "..", in no order. *name is lent until the next call;
 * env_dir_next returns 1 for an entry, 0 at the end, negative on error. */
int env_dir_open(struct env *env, const char *path, struct env_dir **out, struct peri_error *err);
int env_dir_next(struct env_dir *dir, const char **name, enum env_file_type *type,
                 struct peri_error *err);
void env_dir_close(struct env_dir *dir); /* accepts NULL */

#endif
