/* posix_path.c - names in the file system of the operating system. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "env/posix_file.h"

enum { DIRECTORY_MODE = 0777 };

struct posix_dir {
    struct env_dir base;
    DIR *stream;
    char *path;
};

static int path_stat(struct env *env, const char *path, struct env_stat *out,
                     struct peri_error *err)
{
    (void)env;
    struct stat found;
    if (stat(path, &found) != 0)
        return peri_fail(err, -errno, "stat %s", path);
    env_posix_stat_fill(out, &found);
    return 0;
}

static int path_lstat(struct env *env, const char *path, struct env_stat *out,
                      struct peri_error *err)
{
    (void)env;
    struct stat found;
    if (lstat(path, &found) != 0)
        return peri_fail(err, -errno, "stat %s", path);
    env_posix_stat_fill(out, &found);
    return 0;
}

static int path_rename(struct env *env, const char *from, const char *to, struct peri_error *err)
{
    (void)env;
    return rename(from, to) == 0 ? 0 : peri_fail(err, -errno, "rename %s to %s", from, to);
}

static int path_remove(struct env *env, const char *path, struct peri_error *err)
{
    (void)env;
    return remove(path) == 0 ? 0 : peri_fail(err, -errno, "remove %s", path);
}

static int path_mkdir(struct env *env, const char *path, struct peri_error *err)
{
    (void)env;
    return mkdir(path, DIRECTORY_MODE) == 0 ? 0 : peri_fail(err, -errno, "mkdir %s", path);
}

/* Makes the names in a directory durable. */
static int path_sync(struct env *env, const char *path, struct peri_error *err)
{
    (void)env;
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return peri_fail(err, -errno, "open %s", path);
    int rc = fsync(fd) == 0 ? 0 : peri_fail(err, -errno, "sync %s", path);
    (void)close(fd);
    return rc;
}

static int path_real(struct env *env, const char *path, char **out, struct peri_error *err)
{
    (void)env;
    char *real = realpath(path, NULL);
    if (real == NULL)
        return peri_fail(err, -errno, "resolve %s", path);
    *out = real;
    return 0;
}

static int path_cwd(struct env *env, char **out, struct peri_error *err)
{
    (void)env;
    char *cwd = getcwd(NULL, 0);
    if (cwd == NULL)
        return peri_fail(err, -errno, "working directory");
    *out = cwd;
    return 0;
}

static int path_tempdir(struct env *env, const char *prefix, char **out, struct peri_error *err)
{
    (void)env;
    char *path = NULL;
    if (asprintf(&path, "%sXXXXXX", prefix) < 0)
        return peri_fail(err, PERI_ENOMEM, "temporary directory %s", prefix);
    if (mkdtemp(path) == NULL) {
        int rc = peri_fail(err, -errno, "temporary directory %s", path);
        free(path);
        return rc;
    }
    *out = path;
    return 0;
}

static void dir_close(struct env_dir *base)
{
    struct posix_dir *dir = container_of(base, struct posix_dir, base);
    if (dir->stream != NULL)
        (void)closedir(dir->stream);
    free(dir->path);
    free(dir);
}

static int dir_open(struct env *env, const char *path, struct env_dir **out, struct peri_error *err)
{
    struct posix_dir *dir = calloc(1, sizeof *dir);
    if (dir == NULL)
        return peri_fail(err, PERI_ENOMEM, "open directory %s", path);
    dir->base.env = env;
    dir->path = strdup(path);
    dir->stream = dir->path != NULL ? opendir(path) : NULL;
    if (dir->stream == NULL) {
        int rc = peri_fail(err, -errno, "open directory %s", path);
        dir_close(&dir->base);
        return rc;
    }
    *out = &dir->base;
    return 0;
}

static bool is_dots(const char *name)
{
    return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

/* Some file systems leave d_type unknown; then one stat tells. An entry that has just gone counts
 * as other. */
static enum env_file_type entry_type(struct posix_dir *dir, const struct dirent *entry)
{
    struct stat found;
    if (entry->d_type != DT_UNKNOWN)
        return env_posix_type((unsigned int)DTTOIF(entry->d_type));
    if (fstatat(dirfd(dir->stream), entry->d_name, &found, AT_SYMLINK_NOFOLLOW) != 0)
        return ENV_TYPE_OTHER;
    return env_posix_type(found.st_mode);
}

static int dir_next(struct env_dir *base, const char **name, enum env_file_type *type,
                    struct peri_error *err)
{
    struct posix_dir *dir = container_of(base, struct posix_dir, base);
    struct dirent *entry;
    do {
        errno = 0;
        entry = readdir(dir->stream);
    } while (entry != NULL && is_dots(entry->d_name));
    if (entry == NULL)
        return errno == 0 ? 0 : peri_fail(err, -errno, "read directory %s", dir->path);
    *name = entry->d_name;
    *type = entry_type(dir, entry);
    return 1;
}

const struct env_path_ops env_posix_path_ops = {
    .stat = path_stat,
    .lstat = path_lstat,
    .rename = path_rename,
    .remove = path_remove,
    .mkdir = path_mkdir,
    .sync = path_sync,
    .real = path_real,
    .cwd = path_cwd,
    .tempdir = path_tempdir,
    .dir_open = dir_open,
    .dir_next = dir_next,
    .dir_close = dir_close,
};
