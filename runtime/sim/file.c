/* file.c - open files of a simulated node, and its standard input and output. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "sim/disk_internal.h"

/* The open file behind a handle, or NULL for standard input and output, which are in the node. */
static struct sim_file *file_of(struct env_file *base)
{
    const struct sim_node *node = sim_node_cast(base->env);
    for (int fd = 0; fd < 3; fd++)
        if (base == &node->standard[fd].base)
            return NULL;
    return container_of(base, struct sim_file, base);
}

static int fd_of(struct env_file *base)
{
    return container_of(base, struct sim_output, base)->fd;
}

/* ---- open and close ---- */

static void file_free(struct sim_file *file)
{
    struct sim_inode *inode = file->inode;
    peri_list_remove(&file->handle.link);
    if (inode->lock == file)
        inode->lock = NULL;
    inode->opens--;
    sim_inode_release(sim_node_cast(file->base.env)->disk, inode);
    free(file->path);
    free(file);
}

/* Twice, as lane_on_end: background work that is told that it ends may still close its files. */
static void file_end(struct sim_handle *handle)
{
    struct sim_file *file = container_of(handle, struct sim_file, handle);
    if (file->is_ended) {
        file_free(file);
        return;
    }
    file->is_ended = true;
    peri_list_remove(&handle->link);
    peri_list_append(&sim_node_cast(file->base.env)->handles, &handle->link);
}

static int create_inode(struct sim_node *node, struct sim_inode *parent, const char *name,
                        struct sim_inode **out)
{
    int rc = sim_inode_create(node->disk, false, out);
    if (rc != 0)
        return rc;
    rc = sim_disk_change_names(node, NULL, NULL, parent, name, *out);
    if (rc != 0)
        sim_inode_release(node->disk, *out);
    else
        (*out)->modified_us = env_wall_us(&node->base);
    return rc;
}

static int find_inode(struct sim_node *node, const char *path, int flags, struct sim_inode **inode)
{
    char name[SIM_NAME_MAX + 1];
    struct sim_inode *parent = NULL;
    int rc = sim_path_find(node->disk, path, &parent, name, inode);
    if (rc != 0)
        return rc;
    if (*inode == NULL)
        return flags & ENV_FILE_CREATE ? create_inode(node, parent, name, inode) : -ENOENT;
    if ((flags & ENV_FILE_EXCLUSIVE) != 0)
        return -EEXIST;
    if ((*inode)->is_directory && sim_file_is_writing(flags))
        return -EISDIR;
    if ((flags & ENV_FILE_TRUNCATE) != 0 && (*inode)->live.size > 0)
        return sim_inode_truncate(node->disk, *inode, 0, sim_disk_writeback_us(node));
    return 0;
}

static int open_inode(struct sim_node *node, const char *path, int flags, struct env_file **out)
{
    struct sim_file *file = calloc(1, sizeof *file);
    char *copy = strdup(path);
    int rc = file != NULL && copy != NULL ? 0 : PERI_ENOMEM;
    if (rc == 0)
        rc = find_inode(node, path, flags, &file->inode);
    if (rc != 0) {
        free(file);
        free(copy);
        return rc;
    }
    file->base.env = &node->base;
    file->flags = flags;
    file->path = copy;
    file->inode->opens++;
    (void)sim_node_add_handle(node, &file->handle, file_end);
    *out = &file->base;
    return 0;
}

static int file_open(struct env *env, const char *path, int flags, struct env_file **out,
                     struct peri_error *err)
{
    struct sim_node *node = sim_node_cast(env);
    int rc = sim_disk_access(node);
    if (rc == 0)
        rc = open_inode(node, path, flags, out);
    return rc == 0 ? 0 : peri_fail(err, rc, "open %s", path);
}

static struct env_file *file_standard(struct env *env, int fd)
{
    return &sim_node_cast(env)->standard[fd].base;
}

static int file_close(struct env_file *base, struct peri_error *err)
{
    struct sim_file *file = file_of(base);
    (void)err;
    if (file != NULL)
        file_free(file);
    return 0;
}

/* ---- reading ---- */

/* What stands before a read: time, and errors of the medium. */
static int begin_read(struct sim_node *node, struct sim_file *file, struct peri_error *err)
{
    int rc = sim_disk_access(node);
    if (rc == 0 && file->inode->is_directory)
        rc = -EISDIR;
    if (rc == 0 && (file->flags & ENV_FILE_READ) == 0)
        rc = -EBADF;
    if (rc == 0 && sim_stream_chance(&node->streams[SIM_DISK], node->settings.disk_read_error_ppm))
        rc = -EIO;
    return rc == 0 ? 0 : peri_fail(err, rc, "read %s", file->path);
}

static int64_t file_pread(struct env_file *base, void *out, size_t size, uint64_t offset,
                          struct peri_error *err)
{
    struct sim_file *file = file_of(base);
    if (file == NULL)
        return peri_fail(err, -ESPIPE, "read at a place of standard input");
    int rc = begin_read(sim_node_cast(base->env), file, err);
    if (rc != 0)
        return rc;
    const struct peri_buffer *image = &file->inode->live;
    size_t left = offset < image->size ? image->size - (size_t)offset : 0;
    size_t got = size < left ? size : left;
    if (got > 0)
        memcpy(out, image->data + offset, got);
    return (int64_t)got;
}

static int64_t file_read(struct env_file *base, void *out, size_t size, struct peri_error *err)
{
    struct sim_file *file = file_of(base);
    if (file == NULL)
        return 0; /* standard input is empty */
    int64_t got = file_pread(base, out, size, file->position, err);
    if (got > 0)
        file->position += (uint64_t)got;
    return got;
}

/* ---- writing ---- */

static int write_output(struct env_file *base, const void *data, size_t size)
{
    struct sim_node *node = sim_node_cast(base->env);
    const struct sim_options *options = &node->world->options;
    if (!sim_node_is_up(node))
        return PERI_ECANCELLED;
    sim_world_note(node->world, node, "output", sim_hash_bytes(data, size), "fd %d %zu bytes",
                   fd_of(base), size);
    if (options->on_output != NULL)
        options->on_output(options->data, node, fd_of(base), peri_slice_of(data, size));
    return 0;
}

static int file_pwrite(struct env_file *base, const void *data, size_t size, uint64_t offset,
                       struct peri_error *err)
{
    struct sim_file *file = file_of(base);
    if (file == NULL)
        return peri_fail(err, -ESPIPE, "write at a place of standard output");
    int rc = sim_file_write(sim_node_cast(base->env), file, data, size, offset);
    return rc == 0 ? 0 : peri_fail(err, rc, "write %s", file->path);
}

static int file_write(struct env_file *base, const void *data, size_t size, struct peri_error *err)
{
    struct sim_file *file = file_of(base);
    if (file == NULL)
        return write_output(base, data, size);
    if ((file->flags & ENV_FILE_APPEND) != 0)
        file->position = file->inode->live.size;
    int rc = file_pwrite(base, data, size, file->position, err);
    if (rc == 0)
        file->position += size;
    return rc;
}

/* ---- durability and room ---- */

static int file_sync(struct env_file *base, struct peri_error *err)
{
    struct sim_file *file = file_of(base);
    if (file == NULL)
        return peri_fail(err, PERI_EINVAL, "sync standard output");
    int rc = sim_file_sync(sim_node_cast(base->env), file);
    return rc == 0 ? 0 : peri_fail(err, rc, "sync %s", file->path);
}

static int file_reserve(struct env_file *base, uint64_t size, struct peri_error *err)
{
    struct sim_file *file = file_of(base);
    if (file == NULL)
        return peri_fail(err, PERI_EINVAL, "reserve room for standard output");
    int rc = sim_file_reserve(sim_node_cast(base->env), file, size);
    return rc == 0 ? 0 : peri_fail(err, rc, "reserve room for %s", file->path);
}

/* ---- the rest ---- */

static int64_t file_seek(struct env_file *base, enum env_seek from, int64_t offset,
                         struct peri_error *err)
{
    struct sim_file *file = file_of(base);
    if (file == NULL)
        return peri_fail(err, -ESPIPE, "seek in a standard stream");
    int64_t origin = 0;
    if (from == ENV_SEEK_CURRENT)
        origin = (int64_t)file->position;
    else if (from == ENV_SEEK_END)
        origin = (int64_t)file->inode->live.size;
    if (offset < -origin || offset > SIM_FILE_BYTES_MAX - origin)
        return peri_fail(err, PERI_EINVAL, "seek %s", file->path);
    file->position = (uint64_t)(origin + offset);
    return origin + offset;
}

static int file_stat(struct env_file *base, struct env_stat *out, struct peri_error *err)
{
    struct sim_node *node = sim_node_cast(base->env);
    struct sim_file *file = file_of(base);
    if (file == NULL) {
        *out = (struct env_stat){.type = ENV_TYPE_OTHER};
        return 0;
    }
    int rc = sim_disk_access(node);
    if (rc != 0)
        return peri_fail(err, rc, "stat %s", file->path);
    sim_inode_stat(node, file->inode, out);
    return 0;
}

static int file_map(struct env_file *base, struct env_mapping *out, struct peri_error *err)
{
    struct sim_file *file = file_of(base);
    if (file == NULL)
        return peri_fail(err, -ENODEV, "map a standard stream");
    int rc = begin_read(sim_node_cast(base->env), file, err);
    if (rc != 0)
        return rc;
    const struct peri_buffer *image = &file->inode->live;
    char *copy = NULL;
    if (image->size > 0) {
        copy = malloc(image->size);
        if (copy == NULL)
            return peri_fail(err, PERI_ENOMEM, "map %s", file->path);
        memcpy(copy, image->data, image->size);
    }
    *out = (struct env_mapping){copy, image->size};
    return 0;
}

static void file_unmap(struct env *env, struct env_mapping *mapping)
{
    (void)env;
    free((void *)(uintptr_t)mapping->data);
    *mapping = (struct env_mapping){NULL, 0};
}

static int file_lock(struct env_file *base, struct peri_error *err)
{
    struct sim_file *file = file_of(base);
    if (file == NULL)
        return peri_fail(err, PERI_EINVAL, "lock a standard stream");
    if (file->inode->lock != NULL && file->inode->lock != file)
        return peri_fail_plain(err, PERI_EBUSY, "lock %s: somebody else holds it", file->path);
    file->inode->lock = file;
    return 0;
}

static bool file_is_terminal(struct env_file *base)
{
    (void)base;
    return false;
}

const struct env_file_ops sim_file_ops = {
    .open = file_open,
    .standard = file_standard,
    .read = file_read,
    .pread = file_pread,
    .write = file_write,
    .pwrite = file_pwrite,
    .seek = file_seek,
    .sync = file_sync,
    .reserve = file_reserve,
    .stat = file_stat,
    .map = file_map,
    .unmap = file_unmap,
    .lock = file_lock,
    .is_terminal = file_is_terminal,
    .close = file_close,
};
