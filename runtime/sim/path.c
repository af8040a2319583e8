/* path.c - names on the disk of a simulated node. There are no links, so lstat is stat. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim/disk_internal.h"

/* Where a path leads. */
struct place {
    struct sim_inode *parent;
    struct sim_inode *inode; /* or NULL */
    char name[SIM_NAME_MAX + 1];
};

static int find(struct sim_node *node, const char *path, struct place *place)
{
    int rc = sim_disk_access(node);
    return rc == 0 ? sim_path_find(node->disk, path, &place->parent, place->name, &place->inode)
                   : rc;
}

/* The same for what has to be there. */
static int find_existing(struct sim_node *node, const char *path, struct place *place)
{
    int rc = find(node, path, place);
    return rc == 0 && place->inode == NULL ? -ENOENT : rc;
}

static int path_stat(struct env *env, const char *path, struct env_stat *out,
                     struct peri_error *err)
{
    struct sim_node *node = sim_node_cast(env);
    struct place place;
    int rc = find_existing(node, path, &place);
    if (rc != 0)
        return peri_fail(err, rc, "stat %s", path);
    sim_inode_stat(node, place.inode, out);
    return 0;
}

static bool is_within(const struct sim_inode *inner, const struct sim_inode *outer)
{
    if (inner == outer)
        return true;
    for (size_t i = 0; i < outer->live_names.count; i++)
        if (is_within(inner, outer->live_names.entries[i].inode))
            return true;
    return false;
}

static int may_replace(const struct sim_inode *moved, const struct sim_inode *replaced)
{
    if (replaced == NULL || replaced == moved)
        return 0;
    if (replaced->is_directory != moved->is_directory)
        return replaced->is_directory ? -EISDIR : -ENOTDIR;
    return replaced->live_names.count > 0 ? -ENOTEMPTY : 0;
}

static int rename_place(struct sim_node *node, const char *from, const char *to)
{
    struct place source;
    struct place target;
    int rc = find_existing(node, from, &source);
    if (rc == 0)
        rc = find(node, to, &target);
    if (rc != 0)
        return rc;
    if (source.name[0] == '\0' || target.name[0] == '\0')
        return PERI_EBUSY; /* the root, or "..": what is on the way there */
    if (source.inode->is_directory && is_within(target.parent, source.inode))
        return PERI_EINVAL;
    rc = may_replace(source.inode, target.inode);
    if (rc != 0 || source.inode == target.inode)
        return rc;
    return sim_disk_change_names(node, source.parent, source.name, target.parent, target.name,
                                 source.inode);
}

static void note_name(struct sim_node *node, const char *what, const char *path)
{
    sim_world_note(node->world, node, what, sim_hash_bytes(path, strlen(path)), "%s", path);
}

static int path_rename(struct env *env, const char *from, const char *to, struct peri_error *err)
{
    struct sim_node *node = sim_node_cast(env);
    int rc = rename_place(node, from, to);
    if (rc != 0)
        return peri_fail(err, rc, "rename %s to %s", from, to);
    note_name(node, "rename", to);
    return 0;
}

static int path_remove(struct env *env, const char *path, struct peri_error *err)
{
    struct sim_node *node = sim_node_cast(env);
    struct place place;
    int rc = find_existing(node, path, &place);
    if (rc == 0 && place.name[0] == '\0')
        rc = PERI_EBUSY;
    if (rc == 0 && place.inode->live_names.count > 0)
        rc = -ENOTEMPTY;
    if (rc == 0)
        rc = sim_disk_change_names(node, place.parent, place.name, NULL, NULL, NULL);
    if (rc != 0)
        return peri_fail(err, rc, "remove %s", path);
    note_name(node, "remove", path);
    return 0;
}

static int make_directory(struct sim_node *node, const char *path)
{
    struct place place;
    int rc = find(node, path, &place);
    if (rc != 0)
        return rc;
    if (place.inode != NULL)
        return -EEXIST;
    rc = sim_inode_create(node->disk, true, &place.inode);
    if (rc != 0)
        return rc;
    rc = sim_disk_change_names(node, NULL, NULL, place.parent, place.name, place.inode);
    if (rc != 0)
        sim_inode_release(node->disk, place.inode);
    else
        place.inode->modified_us = env_wall_us(&node->base);
    return rc;
}

static int path_mkdir(struct env *env, const char *path, struct peri_error *err)
{
    struct sim_node *node = sim_node_cast(env);
    int rc = make_directory(node, path);
    if (rc != 0)
        return peri_fail(err, rc, "mkdir %s", path);
    note_name(node, "mkdir", path);
    return 0;
}

static int sync_directory(struct sim_node *node, const char *path)
{
    struct sim_stream *stream = &node->streams[SIM_DISK];
    struct place place;
    uint64_t durable_us = 0;
    int rc = find_existing(node, path, &place);
    if (rc == 0 && !place.inode->is_directory)
        rc = -ENOTDIR;
    if (rc == 0)
        rc = sim_disk_begin_sync(node, &durable_us);
    if (rc == 0)
        rc = sim_naming_settle(node->disk, node->world->now_us);
    if (rc != 0)
        return rc;
    if (sim_stream_chance(stream, node->settings.disk_sync_error_ppm))
        return -EIO;
    if (!sim_stream_chance(stream, node->settings.disk_sync_lie_ppm))
        sim_naming_sync(node->disk, place.inode, durable_us);
    return 0;
}

static int path_sync(struct env *env, const char *path, struct peri_error *err)
{
    int rc = sync_directory(sim_node_cast(env), path);
    return rc == 0 ? 0 : peri_fail(err, rc, "sync %s", path);
}

/* Writes the absolute path of a place that exists: the names on the way up are found by search, as
 * a directory does not know its parent. */
static bool spell(const struct sim_inode *at, const struct sim_inode *wanted, char *out,
                  size_t size)
{
    if (at == wanted)
        return true;
    size_t used = strlen(out);
    for (size_t i = 0; i < at->live_names.count; i++) {
        const struct sim_entry *entry = &at->live_names.entries[i];
        (void)snprintf(out + used, size - used, "/%s", entry->name);
        if (spell(entry->inode, wanted, out, size))
            return true;
    }
    out[used] = '\0';
    return false;
}

static int path_real(struct env *env, const char *path, char **out, struct peri_error *err)
{
    struct sim_node *node = sim_node_cast(env);
    struct place place;
    char spelled[SIM_PATH_MAX + 1] = "";
    int rc = find_existing(node, path, &place);
    if (rc != 0)
        return peri_fail(err, rc, "resolve %s", path);
    (void)spell(node->disk->root, place.inode, spelled, sizeof spelled);
    *out = strdup(spelled[0] != '\0' ? spelled : "/");
    return *out != NULL ? 0 : peri_fail(err, PERI_ENOMEM, "resolve %s", path);
}

static int path_cwd(struct env *env, char **out, struct peri_error *err)
{
    (void)env;
    *out = strdup("/");
    return *out != NULL ? 0 : peri_fail(err, PERI_ENOMEM, "working directory");
}

static void draw_letters(struct sim_stream *stream, char *out, size_t count)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz0123456789";
    for (size_t i = 0; i < count; i++)
        out[i] = letters[sim_stream_below(stream, sizeof letters - 1)];
}

static int path_tempdir(struct env *env, const char *prefix, char **out, struct peri_error *err)
{
    enum { LETTERS = 6, TRIES = 100 };
    struct sim_node *node = sim_node_cast(env);
    size_t length = strlen(prefix);
    char *path = calloc(1, length + LETTERS + 1);
    int rc = path != NULL ? -EEXIST : PERI_ENOMEM;
    for (int i = 0; rc == -EEXIST && i < TRIES; i++) {
        memcpy(path, prefix, length);
        draw_letters(&node->streams[SIM_DISK], path + length, LETTERS);
        rc = make_directory(node, path);
    }
    if (rc != 0) {
        free(path);
        return peri_fail(err, rc, "temporary directory %sXXXXXX", prefix);
    }
    note_name(node, "mkdir", path);
    *out = path;
    return 0;
}

/* ---- directories ---- */

struct sim_dir {
    struct env_dir base;
    struct sim_handle handle;
    struct sim_inode *inode;
    char last[SIM_NAME_MAX + 1]; /* the name given last: entries may come and go in between */
    char *path;
};

static void dir_free(struct sim_dir *dir)
{
    peri_list_remove(&dir->handle.link);
    dir->inode->opens--;
    sim_inode_release(sim_node_cast(dir->base.env)->disk, dir->inode);
    free(dir->path);
    free(dir);
}

static void dir_end(struct sim_handle *handle)
{
    dir_free(container_of(handle, struct sim_dir, handle));
}

static int open_directory(struct sim_node *node, const char *path, struct sim_dir *dir)
{
    struct place place;
    int rc = find_existing(node, path, &place);
    if (rc == 0 && !place.inode->is_directory)
        rc = -ENOTDIR;
    if (rc != 0)
        return rc;
    dir->base.env = &node->base;
    dir->inode = place.inode;
    dir->inode->opens++;
    (void)sim_node_add_handle(node, &dir->handle, dir_end);
    return 0;
}

static int dir_open(struct env *env, const char *path, struct env_dir **out, struct peri_error *err)
{
    struct sim_dir *dir = calloc(1, sizeof *dir);
    int rc = dir != NULL ? 0 : PERI_ENOMEM;
    if (rc == 0) {
        dir->path = strdup(path);
        rc = dir->path != NULL ? open_directory(sim_node_cast(env), path, dir) : PERI_ENOMEM;
    }
    if (rc != 0) {
        if (dir != NULL)
            free(dir->path);
        free(dir);
        return peri_fail(err, rc, "open directory %s", path);
    }
    *out = &dir->base;
    return 0;
}

static int dir_next(struct env_dir *base, const char **name, enum env_file_type *type,
                    struct peri_error *err)
{
    struct sim_dir *dir = container_of(base, struct sim_dir, base);
    const struct sim_names *names = &dir->inode->live_names;
    int rc = sim_disk_access(sim_node_cast(base->env));
    if (rc != 0)
        return peri_fail(err, rc, "read directory %s", dir->path);
    size_t at = sim_names_after(names, dir->last);
    if (at == names->count)
        return 0;
    (void)snprintf(dir->last, sizeof dir->last, "%s", names->entries[at].name);
    *name = dir->last;
    *type = names->entries[at].inode->is_directory ? ENV_TYPE_DIRECTORY : ENV_TYPE_FILE;
    return 1;
}

static void dir_close(struct env_dir *base)
{
    dir_free(container_of(base, struct sim_dir, base));
}

const struct env_path_ops sim_path_ops = {
    .stat = path_stat,
    .lstat = path_stat,
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
