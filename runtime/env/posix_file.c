/* posix_file.c - files of the operating system. */
#include "env/posix_file.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { CREATE_MODE = 0666 };

static struct posix_file *file_of(struct env_file *file)
{
    return container_of(file, struct posix_file, base);
}

static int open_flags(int flags)
{
    int out = O_CLOEXEC | O_NOCTTY;
    bool is_read = (flags & ENV_FILE_READ) != 0;
    bool is_write = (flags & (ENV_FILE_WRITE | ENV_FILE_APPEND)) != 0;
    PERI_ASSERT(is_read || is_write);
    if (is_write)
        out |= is_read ? O_RDWR : O_WRONLY;
    out |= flags & ENV_FILE_CREATE ? O_CREAT : 0;
    out |= flags & ENV_FILE_EXCLUSIVE ? O_CREAT | O_EXCL : 0;
    out |= flags & ENV_FILE_TRUNCATE ? O_TRUNC : 0;
    out |= flags & ENV_FILE_APPEND ? O_APPEND : 0;
    return out;
}

/* What would wait for another process may wait for ever, and keep a thread of the pool meanwhile:
 * opening a FIFO does, and reading one. Returns 0 or a negative errno code. */
static int make_file(int fd, int flags)
{
    struct stat stat;
    if (fstat(fd, &stat) != 0)
        return -errno;
    if (S_ISFIFO(stat.st_mode))
        return -ESPIPE;
    return S_ISCHR(stat.st_mode) && fcntl(fd, F_SETFL, flags) != 0 ? -errno : 0;
}

static int open_fd(const char *path, int flags)
{
    int fd;
    do
        fd = open(path, flags | O_NONBLOCK, CREATE_MODE);
    while (fd < 0 && errno == EINTR);
    if (fd < 0)
        return -errno;
    int rc = make_file(fd, flags);
    if (rc != 0)
        (void)close(fd);
    return rc == 0 ? fd : rc;
}

static int file_open(struct env *env, const char *path, int flags, struct env_file **out,
                     struct peri_error *err)
{
    struct posix_file *file = calloc(1, sizeof *file);
    char *copy = strdup(path);
    if (file == NULL || copy == NULL) {
        free(file);
        free(copy);
        return peri_fail(err, PERI_ENOMEM, "open %s", path);
    }
    *file = (struct posix_file){{env}, open_fd(path, open_flags(flags)), copy, false, 0};
    if (file->fd < 0) {
        int rc = file->fd;
        free(file);
        free(copy);
        if (rc == -ESPIPE)
            return peri_fail_plain(err, rc, "open %s: it is a pipe, which may wait for ever", path);
        return peri_fail(err, rc, "open %s", path);
    }
    *out = &file->base;
    return 0;
}

static struct env_file *file_standard(struct env *env, int fd)
{
    return &env_uv_of(env)->standard[fd].base;
}

/* The other side of a shared pipe may have made it non-blocking; our files block all the same. */
static bool may_retry(int fd, short events)
{
    if (errno == EINTR)
        return true;
    if (errno != EAGAIN)
        return false;
    struct pollfd wanted = {.fd = fd, .events = events};
    return poll(&wanted, 1, -1) >= 0 || errno == EINTR;
}

static int64_t file_read(struct env_file *base, void *out, size_t size, struct peri_error *err)
{
    struct posix_file *file = file_of(base);
    ssize_t got;
    do
        got = read(file->fd, out, size);
    while (got < 0 && may_retry(file->fd, POLLIN));
    return got >= 0 ? got : peri_fail(err, -errno, "read %s", file->path);
}

static int64_t file_pread(struct env_file *base, void *out, size_t size, uint64_t offset,
                          struct peri_error *err)
{
    struct posix_file *file = file_of(base);
    ssize_t got;
    do
        got = pread(file->fd, out, size, (off_t)offset);
    while (got < 0 && may_retry(file->fd, POLLIN));
    return got >= 0 ? got : peri_fail(err, -errno, "read %s", file->path);
}

/* Larger writes make Linux take large pieces of page cache, which are more often memory that a
 * virtual machine has to ask its host for: seen 1 to 7 times the time for 256 KiB at once, never
 * for these. Cut at multiples of that size, as a new file is, they share no page: seen a quarter
 * less time. */
enum { WRITE_MAX = 32 << 10 };

static size_t piece_size(const struct posix_file *file, size_t size)
{
    size_t piece = WRITE_MAX - file->written % WRITE_MAX;
    return size < piece ? size : piece;
}

static int file_write(struct env_file *base, const void *data, size_t size, struct peri_error *err)
{
    struct posix_file *file = file_of(base);
    const char *at = data;
    while (size > 0) {
        ssize_t put = write(file->fd, at, piece_size(file, size));
        if (put < 0 && !may_retry(file->fd, POLLOUT))
            return peri_fail(err, -errno, "write %s", file->path);
        if (put > 0) {
            at += put;
            size -= (size_t)put;
            file->written += (uint64_t)put;
        }
    }
    return 0;
}

static int file_pwrite(struct env_file *base, const void *data, size_t size, uint64_t offset,
                       struct peri_error *err)
{
    struct posix_file *file = file_of(base);
    const char *at = data;
    while (size > 0) {
        ssize_t put = pwrite(file->fd, at, size, (off_t)offset);
        if (put < 0 && !may_retry(file->fd, POLLOUT))
            return peri_fail(err, -errno, "write %s", file->path);
        if (put > 0) {
            at += put;
            offset += (uint64_t)put;
            size -= (size_t)put;
        }
    }
    return 0;
}

static int64_t file_seek(struct env_file *base, enum env_seek from, int64_t offset,
                         struct peri_error *err)
{
    static const int whence[] = {
        [ENV_SEEK_START] = SEEK_SET, [ENV_SEEK_CURRENT] = SEEK_CUR, [ENV_SEEK_END] = SEEK_END};
    struct posix_file *file = file_of(base);
    off_t position = lseek(file->fd, (off_t)offset, whence[from]);
    return position >= 0 ? position : peri_fail(err, -errno, "seek %s", file->path);
}

/* The data and what is needed to read it back; not the access times. */
static int file_sync(struct env_file *base, struct peri_error *err)
{
    struct posix_file *file = file_of(base);
    int rc;
    do
        rc = fdatasync(file->fd);
    while (rc != 0 && errno == EINTR);
    return rc == 0 ? 0 : peri_fail(err, -errno, "sync %s", file->path);
}

static void file_sync_start(struct env_file *base, uint64_t offset, uint64_t size)
{
    int fd = file_of(base)->fd;
    (void)sync_file_range(fd, (off_t)offset, (off_t)size, SYNC_FILE_RANGE_WRITE);
}

static int file_reserve(struct env_file *base, uint64_t size, struct peri_error *err)
{
    struct posix_file *file = file_of(base);
    int rc;
    do
        rc = fallocate(file->fd, FALLOC_FL_KEEP_SIZE, 0, (off_t)size);
    while (rc != 0 && errno == EINTR);
    return rc == 0 ? 0 : peri_fail(err, -errno, "reserve room for %s", file->path);
}

enum env_file_type env_posix_type(unsigned int mode)
{
    if (S_ISREG(mode))
        return ENV_TYPE_FILE;
    if (S_ISDIR(mode))
        return ENV_TYPE_DIRECTORY;
    return S_ISLNK(mode) ? ENV_TYPE_LINK : ENV_TYPE_OTHER;
}

void env_posix_stat_fill(struct env_stat *out, const struct stat *from)
{
    enum { US_PER_S = 1000000, NS_PER_US = 1000, PERMISSIONS = 07777 };
    *out = (struct env_stat){
        .type = env_posix_type(from->st_mode),
        .size_bytes = (uint64_t)from->st_size,
        .modified_us = (int64_t)from->st_mtim.tv_sec * US_PER_S + from->st_mtim.tv_nsec / NS_PER_US,
        .mode = from->st_mode & PERMISSIONS,
        .inode = from->st_ino,
        .device = from->st_dev,
    };
}

static int file_stat(struct env_file *base, struct env_stat *out, struct peri_error *err)
{
    struct posix_file *file = file_of(base);
    struct stat found;
    if (fstat(file->fd, &found) != 0)
        return peri_fail(err, -errno, "stat %s", file->path);
    env_posix_stat_fill(out, &found);
    return 0;
}

static int file_map(struct env_file *base, struct env_mapping *out, struct peri_error *err)
{
    struct posix_file *file = file_of(base);
    struct env_stat found = {0};
    int rc = file_stat(base, &found, err);
    if (rc != 0)
        return rc;
    if (found.type != ENV_TYPE_FILE)
        return peri_fail(err, -ENODEV, "map %s", file->path);
    *out = (struct env_mapping){NULL, (size_t)found.size_bytes};
    if (out->size == 0)
        return 0;
    void *data = mmap(NULL, out->size, PROT_READ, MAP_PRIVATE, file->fd, 0);
    if (data == MAP_FAILED)
        return peri_fail(err, -errno, "map %s", file->path);
    out->data = data;
    return 0;
}

static void file_unmap(struct env *env, struct env_mapping *mapping)
{
    (void)env;
    if (mapping->data != NULL)
        (void)munmap((void *)(uintptr_t)mapping->data, mapping->size);
    *mapping = (struct env_mapping){NULL, 0};
}

/* flock, not fcntl: its lock belongs to this open file, so closing another handle of the same file
 * does not drop it. Children do not inherit the descriptor. */
static int file_lock(struct env_file *base, struct peri_error *err)
{
    struct posix_file *file = file_of(base);
    int rc;
    do
        rc = flock(file->fd, LOCK_EX | LOCK_NB);
    while (rc != 0 && errno == EINTR);
    if (rc == 0)
        return 0;
    if (errno == EWOULDBLOCK)
        return peri_fail_plain(err, PERI_EBUSY, "lock %s: somebody else holds it", file->path);
    return peri_fail(err, -errno, "lock %s", file->path);
}

static bool file_is_terminal(struct env_file *base)
{
    return isatty(file_of(base)->fd) == 1;
}

/* Linux frees the descriptor even when close reports EINTR. */
static int file_close(struct env_file *base, struct peri_error *err)
{
    struct posix_file *file = file_of(base);
    if (file->is_standard)
        return 0;
    int rc = 0;
    if (close(file->fd) != 0 && errno != EINTR)
        rc = peri_fail(err, -errno, "close %s", file->path);
    free(file->path);
    free(file);
    return rc;
}

const struct env_file_ops env_posix_file_ops = {
    .open = file_open,
    .standard = file_standard,
    .read = file_read,
    .pread = file_pread,
    .write = file_write,
    .pwrite = file_pwrite,
    .seek = file_seek,
    .sync = file_sync,
    .sync_start = file_sync_start,
    .reserve = file_reserve,
    .stat = file_stat,
    .map = file_map,
    .unmap = file_unmap,
    .lock = file_lock,
    .is_terminal = file_is_terminal,
    .close = file_close,
};
